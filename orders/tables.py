"""Orders and outcomes at rest: the canonical Parquet files of a data set.

A data set is a folder with `orders.parquet` and `outcomes.parquet`, each sorted by event time.
Their columns are the fields of `Order` and `Outcome` without `schema` and `version`. The shop's
own fields are one Struct column `attributes` (text, number or yes/no each), absent when the shop
has none.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl

from orders.errors import UserError
from orders.events import AttributeValue, Instant, Order, Outcome

TIME = pl.Datetime("ms", "UTC")

ORDER_SCHEMA: dict[str, pl.DataType] = {
    "order_id": pl.String(),
    "event_time": TIME,
    "received_time": TIME,
    "account": pl.String(),
    "account_created_time": TIME,
    "member_level": pl.Int8(),
    "phone": pl.String(),
    "recipient": pl.String(),
    "channel": pl.String(),
    "device": pl.String(),
    "ip": pl.String(),
    "user_agent": pl.String(),
    "merchant": pl.String(),
    "sku": pl.String(),
    "category": pl.String(),
    "quantity": pl.Int64(),
    "unit_price": pl.Int64(),
    "list_price": pl.Int64(),
    "currency": pl.String(),
    "address": pl.String(),
    "payment_method": pl.String(),
    "payment": pl.String(),
    "coupon": pl.String(),
}
"""The columns of `orders.parquet` in order; `attributes`, where there is one, comes last."""

OUTCOME_SCHEMA: dict[str, pl.DataType] = {
    "order_id": pl.String(),
    "kind": pl.String(),
    "event_time": TIME,
    "received_time": TIME,
    "reason": pl.String(),
    "reason_text": pl.String(),
    "verdict": pl.String(),
}
"""The columns of `outcomes.parquet` in order."""

ATTRIBUTE_TYPES = (pl.String(), pl.Float64(), pl.Boolean())


def scan_orders(folder: Path) -> pl.LazyFrame:
    """The orders of a data set, sorted by event time.

    Raises:
        UserError: The file is not there or cannot be read, or a column is missing or mistyped.
    """
    return scan_order_table(folder / "orders.parquet")


def scan_order_table(file: Path) -> pl.LazyFrame:
    """The orders of one file that has the columns of `orders.parquet`.

    Raises:
        UserError: The file is not there or cannot be read, or a column is missing or mistyped.
    """
    lazy, schema = _scan(file, ORDER_SCHEMA)
    columns = list(ORDER_SCHEMA)
    if "attributes" in schema:
        columns.append("attributes")
        attributes = schema["attributes"]
        if not isinstance(attributes, pl.Struct):
            raise UserError(f"{file}: column 'attributes' is {attributes}, expected a Struct")
        for field in attributes.fields:
            if field.dtype not in ATTRIBUTE_TYPES:
                raise UserError(
                    f"{file}: attribute {field.name!r} is {field.dtype}, "
                    "expected String, Float64 or Boolean"
                )
    return lazy.select(columns)


def scan_outcomes(folder: Path) -> pl.LazyFrame:
    """The outcomes of a data set, sorted by event time.

    Raises:
        UserError: The file is not there or cannot be read, or a column is missing or mistyped.
    """
    lazy, _ = _scan(folder / "outcomes.parquet", OUTCOME_SCHEMA)
    return lazy.select(list(OUTCOME_SCHEMA))


def _scan(file: Path, expected: dict[str, pl.DataType]) -> tuple[pl.LazyFrame, pl.Schema]:
    if not file.is_file():
        raise UserError(f"{file} is not there: make it with 'preempt simulate' or 'preempt import'")
    lazy = pl.scan_parquet(file)
    try:
        schema = lazy.collect_schema()
    except (pl.exceptions.PolarsError, OSError) as error:
        raise UserError(f"{file} is not a readable Parquet file: {first_line(error)}") from None
    for name, dtype in expected.items():
        if name not in schema:
            raise UserError(
                f"{file}: column {name!r} is missing; 'preempt import' makes such a table"
            )
        if schema[name] != dtype:
            raise UserError(f"{file}: column {name!r} is {schema[name]}, expected {dtype}")
    return lazy, schema


def first_line(error: Exception) -> str:
    """What an error says, on one line."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def orders_from_frame(frame: pl.DataFrame) -> list[Order]:
    """The rows of an orders table as orders; the rows are trusted, not checked again."""
    columns = _columns(frame, ORDER_SCHEMA)
    if "attributes" in frame.columns:
        columns["attributes"] = [_present(row) for row in frame["attributes"].to_list()]
    names = list(columns)
    rows = zip(*columns.values(), strict=True)
    return [Order(**dict(zip(names, row, strict=True))) for row in rows]


def outcomes_from_frame(frame: pl.DataFrame) -> list[Outcome]:
    """The rows of an outcomes table as outcomes; the rows are trusted, not checked again."""
    columns = _columns(frame, OUTCOME_SCHEMA)
    names = list(columns)
    rows = zip(*columns.values(), strict=True)
    return [Outcome(**dict(zip(names, row, strict=True))) for row in rows]


def _columns(frame: pl.DataFrame, schema: dict[str, pl.DataType]) -> dict[str, list[Any]]:
    return {
        name: [
            None if value is None else Instant(value)
            for value in frame[name].cast(pl.Int64).to_list()
        ]
        if dtype == TIME
        else frame[name].to_list()
        for name, dtype in schema.items()
    }


def _present(attributes: dict[str, AttributeValue] | None) -> dict[str, AttributeValue] | None:
    if attributes is None:
        return None
    return {name: value for name, value in attributes.items() if value is not None} or None


def frame_from_orders(orders: Sequence[Order]) -> pl.DataFrame:
    """Orders as a table, in the order given.

    Raises:
        UserError: An attribute is text in one order and a number or yes/no in another.
    """
    frame = _frame(orders, ORDER_SCHEMA)
    types = _attribute_types(orders)
    if not types:
        return frame
    rows = [order.attributes or {} for order in orders]
    fields = [
        pl.Series(name, [row.get(name) for row in rows], dtype=dtype, strict=False)
        for name, dtype in types.items()
    ]
    return frame.with_columns(pl.struct(fields).alias("attributes"))


def frame_from_outcomes(outcomes: Sequence[Outcome]) -> pl.DataFrame:
    """Outcomes as a table, in the order given."""
    return _frame(outcomes, OUTCOME_SCHEMA)


def _frame(
    events: Sequence[Order] | Sequence[Outcome], schema: dict[str, pl.DataType]
) -> pl.DataFrame:
    physical = {name: pl.Int64() if dtype == TIME else dtype for name, dtype in schema.items()}
    columns = [
        pl.Series(name, [getattr(event, name) for event in events], dtype=dtype)
        for name, dtype in physical.items()
    ]
    return pl.DataFrame(columns).with_columns(
        pl.col(name).cast(TIME) for name, dtype in schema.items() if dtype == TIME
    )


def _attribute_types(orders: Sequence[Order]) -> dict[str, pl.DataType]:
    """The type of each attribute, in order of first sight; a mix of number and yes/no is a number."""
    types: dict[str, pl.DataType] = {}
    for order in orders:
        for name, value in (order.attributes or {}).items():
            if value is None:
                continue
            dtype: pl.DataType = (
                pl.Boolean()
                if type(value) is bool
                else pl.String()
                if type(value) is str
                else pl.Float64()
            )
            known = types.setdefault(name, dtype)
            if known == dtype:
                continue
            if pl.String() in (known, dtype):
                raise UserError(f"attribute {name!r} is text in one order and not in another")
            types[name] = pl.Float64()
    return types
