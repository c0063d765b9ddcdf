from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orders.errors import UserError
from orders.events import Instant, Order, Outcome
from orders.tables import (
    ORDER_SCHEMA,
    OUTCOME_SCHEMA,
    frame_from_orders,
    frame_from_outcomes,
    orders_from_frame,
    outcomes_from_frame,
    scan_orders,
    scan_outcomes,
)

ORDER = Order(order_id="a", event_time=Instant(17), quantity=1, unit_price=5, currency="CNY")
OUTCOME = Outcome(order_id="a", kind="paid", event_time=Instant(18))

times = st.integers(0, 253_402_300_799_999).map(Instant)
orders = st.builds(
    Order,
    order_id=st.text(min_size=1, max_size=5),
    event_time=times,
    received_time=st.none() | times,
    account=st.none() | st.text(max_size=5),
    member_level=st.none() | st.integers(0, 6),
    quantity=st.integers(1, 1_000_000),
    unit_price=st.integers(0, 10**13),
    currency=st.just("CNY"),
    attributes=st.none()
    | st.fixed_dictionaries(
        {},
        optional={
            "number": st.floats(allow_nan=False, allow_infinity=False),
            "text": st.text(max_size=5),
            "yes": st.booleans(),
        },
    ).map(lambda own: own or None),
)


def test_the_columns_are_the_fields_of_the_events() -> None:
    wire = ("schema", "version", "attributes")
    assert list(ORDER_SCHEMA) == [name for name in Order.__struct_fields__ if name not in wire]
    assert list(OUTCOME_SCHEMA) == [name for name in Outcome.__struct_fields__ if name not in wire]


@given(st.lists(orders, max_size=5))
def test_orders_survive_being_a_table(given: list[Order]) -> None:
    frame = frame_from_orders(given)
    assert frame.drop("attributes", strict=False).schema == ORDER_SCHEMA
    assert orders_from_frame(frame) == given


def test_outcomes_survive_being_a_table() -> None:
    given = [
        OUTCOME,
        Outcome(order_id="b", kind="reviewed", event_time=Instant(1), verdict="fraud"),
    ]
    frame = frame_from_outcomes(given)
    assert frame.schema == OUTCOME_SCHEMA
    assert outcomes_from_frame(frame) == given
    assert frame_from_outcomes([]).schema == OUTCOME_SCHEMA


def test_an_attribute_is_text_or_number_but_not_both() -> None:
    one, other = ({"x": 1.0}, {"x": "one"})
    mixed = [Order(**{**_fields(ORDER), "attributes": own}) for own in (one, other)]
    with pytest.raises(UserError, match="attribute 'x' is text in one order and not in another"):
        frame_from_orders(mixed)


def _fields(order: Order) -> dict[str, object]:
    return {name: getattr(order, name) for name in order.__struct_fields__}


def test_tables_are_read_from_the_folder_of_a_data_set(tmp_path: Path) -> None:
    frame_from_orders([ORDER]).write_parquet(tmp_path / "orders.parquet")
    frame_from_outcomes([OUTCOME]).write_parquet(tmp_path / "outcomes.parquet")
    assert orders_from_frame(scan_orders(tmp_path).collect()) == [ORDER]
    assert outcomes_from_frame(scan_outcomes(tmp_path).collect()) == [OUTCOME]


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (frame_from_orders([ORDER]).drop("currency"), "column 'currency' is missing"),
        (frame_from_orders([ORDER]).with_columns(quantity=pl.lit("2")), "column 'quantity' is String, expected Int64"),
        (frame_from_orders([ORDER]).with_columns(attributes=pl.lit(1)), "column 'attributes' is Int32, expected a Struct"),
        (frame_from_orders([ORDER]).with_columns(attributes=pl.struct(x=pl.lit(1))), "attribute 'x' is Int32, expected String, Float64 or Boolean"),
    ],
)  # fmt: skip
def test_a_table_of_another_shape_is_refused(
    tmp_path: Path, frame: pl.DataFrame, message: str
) -> None:
    frame.write_parquet(tmp_path / "orders.parquet")
    with pytest.raises(UserError, match=message):
        scan_orders(tmp_path)


def test_a_file_that_is_missing_or_broken_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"orders\.parquet is not there: make it with"):
        scan_orders(tmp_path)
    (tmp_path / "orders.parquet").write_text("nonsense")
    with pytest.raises(UserError, match="is not a readable Parquet file"):
        scan_orders(tmp_path)
