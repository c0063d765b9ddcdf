"""Events as columns: what a store takes, whatever they came from."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import polars as pl
import xxhash

from features.arrivals import ARRIVAL
from features.declare import ENTITIES, OUTCOME_CODES
from features.entities import (
    ip_columns,
    ip_facts,
    keys_of_column,
    phone_columns,
    phone_facts,
    text_keys,
)
from features.feature_set import FeatureSet
from features.hashing import key_of_text
from features.order_values import (
    PRICE_CAP,
    QUANTITY_CAP,
    OrderFields,
    category_code,
    order_values,
)
from orders.events import Order, Outcome

CATEGORICAL_FIELDS = ("channel", "category", "payment_method")

_remembered_code = lru_cache(maxsize=1 << 15)(category_code)


@dataclass(frozen=True, slots=True)
class EventColumns:
    """Events in the sequence in which they are to be applied, as a structure of arrays.

    The first three arrays have a row for every event; the others one for every order among them,
    in the same sequence.
    """

    order_key: np.ndarray  # (n,) uint64
    time: np.ndarray  # (n,) int64, event time in UTC ms
    kind: np.ndarray  # (n,) int8: 0 = order, else a code of OUTCOME_CODES

    entity_key: np.ndarray  # (n_orders, len(ENTITIES)) uint64, 0 = missing
    quantity: np.ndarray  # (n_orders,) int64
    unit_price: np.ndarray  # (n_orders,) int64, minor units
    order_values: np.ndarray  # (n_orders, len(feature_set.order_features)) float64, NaN = missing

    def __len__(self) -> int:
        return len(self.kind)


def event_columns_from_orders(orders: Sequence[Order], feature_set: FeatureSet) -> EventColumns:
    """Columns of orders, in their sequence."""
    n = len(orders)
    keys = np.zeros((n, len(ENTITIES)), np.uint64)
    for column, entity in enumerate(ENTITIES):
        if entity in text_keys:
            key_of = text_keys[entity]
            keys[:, column] = np.array([key_of(getattr(o, entity)) for o in orders], np.uint64)
    phones = [phone_facts(o.phone) for o in orders]
    ips = [ip_facts(o.ip) for o in orders]
    keys[:, ENTITIES.index("phone")] = np.array([p.key for p in phones], np.uint64)
    keys[:, ENTITIES.index("ip")] = np.array([p.key for p in ips], np.uint64)
    keys[:, ENTITIES.index("ip_prefix")] = np.array([p.prefix_key for p in ips], np.uint64)

    others = {field: _codes([getattr(o, field) for o in orders]) for field in CATEGORICAL_FIELDS}
    for name, kind in feature_set.attributes.items():
        values = [o.attributes.get(name) if o.attributes else None for o in orders]
        others[f"attribute:{name}"] = _codes(values) if kind == "categorical" else _numbers(values)
    fields = OrderFields(
        time=np.array([o.event_time for o in orders], np.int64),
        quantity=_capped([o.quantity for o in orders], QUANTITY_CAP),
        unit_price=_capped([o.unit_price for o in orders], PRICE_CAP),
        list_price=np.array([o.list_price for o in orders], np.float64),
        account_created_time=np.array([o.account_created_time for o in orders], np.float64),
        member_level=np.array([o.member_level for o in orders], np.float64),
        virtual_phone=np.array([p.is_virtual for p in phones], np.float64),
        ip_v6=np.array([p.is_v6 for p in ips], np.float64),
        has_coupon=np.array([o.coupon is not None for o in orders], np.float64),
        others=others,
    )
    return EventColumns(
        order_key=_order_keys([o.order_id for o in orders]),
        time=fields.time,
        kind=np.zeros(n, np.int8),
        entity_key=keys,
        quantity=fields.quantity,
        unit_price=fields.unit_price,
        order_values=order_values(fields, feature_set),
    )


def event_columns_from_outcomes(outcomes: Sequence[Outcome]) -> EventColumns:
    """Columns of outcomes, in their sequence; classes that no feature knows are left out."""
    coded = [(outcome_code(o.kind, o.reason, o.verdict), o) for o in outcomes]
    coded = [(code, o) for code, o in coded if code]
    return _only_outcomes(
        _order_keys([o.order_id for _, o in coded]),
        np.array([o.event_time for _, o in coded], np.int64),
        np.array([code for code, _ in coded], np.int8),
    )


def event_columns_from_frames(
    orders: pl.DataFrame, outcomes: pl.DataFrame, feature_set: FeatureSet
) -> EventColumns:
    """Columns of both tables merged by arrival; of equal arrivals outcomes come first.

    Both must be sorted by arrival, the later of event time and `received_time`, so that the
    features of row i are those of order i. See `features.arrivals`.
    """
    coded = _coded(outcomes)
    taken, placed = _columns_of_coded(coded), columns_of_order_frame(orders, feature_set)
    arrivals = [_times(table.select(ARRIVAL).to_series()) for table in (coded, orders)]
    if any((np.diff(arrival) < 0).any() for arrival in arrivals):
        raise ValueError("events are not sorted by arrival")
    sequence = np.argsort(np.concatenate(arrivals), kind="stable")
    return EventColumns(
        order_key=np.concatenate([taken.order_key, placed.order_key])[sequence],
        time=np.concatenate([taken.time, placed.time])[sequence],
        kind=np.concatenate([taken.kind, placed.kind])[sequence],
        entity_key=placed.entity_key,
        quantity=placed.quantity,
        unit_price=placed.unit_price,
        order_values=placed.order_values,
    )


def columns_of_order_frame(orders: pl.DataFrame, feature_set: FeatureSet) -> EventColumns:
    """Columns of a table of orders as in `orders.tables`, in its sequence."""
    n = len(orders)
    keys = np.zeros((n, len(ENTITIES)), np.uint64)
    for column, entity in enumerate(ENTITIES):
        if entity in text_keys:
            keys[:, column] = keys_of_column(entity, orders[entity])
    keys[:, ENTITIES.index("phone")], virtual_phone = phone_columns(orders["phone"])
    ip_keys, prefix_keys, ip_v6 = ip_columns(orders["ip"])
    keys[:, ENTITIES.index("ip")] = ip_keys
    keys[:, ENTITIES.index("ip_prefix")] = prefix_keys

    others = {field: _codes_of_column(orders[field]) for field in CATEGORICAL_FIELDS}
    for name, kind in feature_set.attributes.items():
        others[f"attribute:{name}"] = _attribute(orders, name, kind)
    fields = OrderFields(
        time=_times(orders["event_time"]),
        quantity=np.clip(orders["quantity"].to_numpy(), None, QUANTITY_CAP),
        unit_price=np.clip(orders["unit_price"].to_numpy(), None, PRICE_CAP),
        list_price=_floats(orders["list_price"]),
        account_created_time=_floats(orders["account_created_time"].cast(pl.Int64)),
        member_level=_floats(orders["member_level"]),
        virtual_phone=virtual_phone,
        ip_v6=ip_v6,
        has_coupon=orders["coupon"].is_not_null().to_numpy().astype(np.float64),
        others=others,
    )
    return EventColumns(
        order_key=key_of_text(orders["order_id"], 0),
        time=fields.time,
        kind=np.zeros(n, np.int8),
        entity_key=keys,
        quantity=fields.quantity,
        unit_price=fields.unit_price,
        order_values=order_values(fields, feature_set),
    )


def columns_of_outcome_frame(outcomes: pl.DataFrame) -> EventColumns:
    """Columns of a table of outcomes, in its sequence; classes no feature knows are left out."""
    return _columns_of_coded(_coded(outcomes))


def _coded(outcomes: pl.DataFrame) -> pl.DataFrame:
    """The outcomes of classes that a feature knows, with their `code`."""
    kind, reason, verdict = pl.col("kind"), pl.col("reason"), pl.col("verdict")
    codes = (
        pl.when(kind == "cancelled")
        .then(
            pl.when(reason.str.starts_with("risk.").fill_null(False))
            .then(OUTCOME_CODES["cancelled_risk"])
            .otherwise(OUTCOME_CODES["cancelled_other"])
        )
        .when((kind == "reviewed") & (verdict == "fraud").fill_null(False))
        .then(OUTCOME_CODES["reviewed_fraud"])
        .otherwise(kind.replace_strict(_CODE_OF_KIND, default=0, return_dtype=pl.Int32))
    )
    columns = outcomes.select("order_id", "event_time", "received_time", code=codes)
    return columns.filter(pl.col("code") != 0)


def _columns_of_coded(coded: pl.DataFrame) -> EventColumns:
    return _only_outcomes(
        key_of_text(coded["order_id"], 0),
        _times(coded["event_time"]),
        coded["code"].to_numpy().astype(np.int8),
    )


def outcome_code(kind: str, reason: str | None, verdict: str | None) -> int:
    """The class of an outcome, a code of OUTCOME_CODES, or 0.

    >>> outcome_code("delivered", None, None) == OUTCOME_CODES["completed"]
    True
    """
    if kind == "cancelled":
        is_risk = reason is not None and reason.startswith("risk.")
        return OUTCOME_CODES["cancelled_risk" if is_risk else "cancelled_other"]
    if kind == "reviewed" and verdict == "fraud":
        return OUTCOME_CODES["reviewed_fraud"]
    return _CODE_OF_KIND.get(kind, 0)


_CODE_OF_KIND = {
    "expired": OUTCOME_CODES["expired"],
    "payment_failed": OUTCOME_CODES["payment_failed"],
    "verification_failed": OUTCOME_CODES["verification_failed"],
    "charged_back": OUTCOME_CODES["charged_back"],
    "delivered": OUTCOME_CODES["completed"],
}


def _only_outcomes(keys: np.ndarray, time: np.ndarray, kind: np.ndarray) -> EventColumns:
    return EventColumns(
        order_key=keys,
        time=time,
        kind=kind,
        entity_key=np.zeros((0, len(ENTITIES)), np.uint64),
        quantity=np.zeros(0, np.int64),
        unit_price=np.zeros(0, np.int64),
        order_values=np.zeros((0, 0), np.float64),
    )


def _order_keys(order_ids: list[str]) -> np.ndarray:
    digest = xxhash.xxh64_intdigest
    return np.array([digest(i.encode("utf-8", "surrogatepass")) or 1 for i in order_ids], np.uint64)


def _capped(values: list[int], cap: int) -> np.ndarray:
    return np.array([value if value < cap else cap for value in values], np.int64)


def _codes(values: Sequence[object]) -> np.ndarray:
    # A number where the shop declared text is missing, like no value at all.
    return np.array(
        [_remembered_code(v) if isinstance(v, str) else np.nan for v in values], np.float64
    )


def _numbers(values: Sequence[object]) -> np.ndarray:
    # Yes and no are 1 and 0. A text where the shop declared a number is missing.
    numbers = [float(v) if isinstance(v, float | int) else np.nan for v in values]
    return _finite(np.array(numbers, np.float64))


def _finite(values: np.ndarray) -> np.ndarray:
    return np.where(np.isfinite(values), values, np.nan)


def _times(column: pl.Series) -> np.ndarray:
    return column.cast(pl.Datetime("ms", "UTC")).cast(pl.Int64).to_numpy()


def _floats(column: pl.Series) -> np.ndarray:
    return column.cast(pl.Float64).fill_null(np.nan).to_numpy()


def _distinct(column: pl.Series) -> tuple[list[str | None], np.ndarray]:
    """The different values of a column, and which of them each row has."""
    values = column.unique()
    places = pl.int_range(len(values), eager=True)
    rows = column.replace_strict(values, places).to_numpy().astype(np.intp)  # also of no rows
    return values.to_list(), rows


def _codes_of_column(column: pl.Series) -> np.ndarray:
    values, rows = _distinct(column)
    return _codes(values)[rows]


def _attribute(orders: pl.DataFrame, name: str, kind: str) -> np.ndarray:
    struct = orders.schema.get("attributes")
    if not isinstance(struct, pl.Struct) or name not in {f.name for f in struct.fields}:
        return np.full(len(orders), np.nan)
    column = orders["attributes"].struct.field(name)
    if (column.dtype == pl.String) != (kind == "categorical"):
        return np.full(len(orders), np.nan)
    return _codes_of_column(column) if kind == "categorical" else _finite(_floats(column))
