"""What a mapping asks of a column, in its own terms (`decimals`, `format`): the wire has others."""

import msgspec
import polars as pl

from orders.expectations import expectation
from orders.mapping import Field


def taken_from(field: Field) -> str:
    """Where a field comes from."""
    if field.column is not None:
        return f"column {field.column!r}"
    return f"expr {field.expr!r}" if field.expr is not None else ""


def expected_of(event: type[msgspec.Struct], name: str, field: Field, dtype: pl.DataType) -> str:
    """What a field may hold, in words of the mapping.

    Args:
        event: `Order` or `Outcome`.
        name: A field of it.
        field: Where the mapping takes it from.
        dtype: What the file has there.
    """
    usual = expectation(event, name)
    if name.endswith("_price"):
        if field.decimals is None:
            return f"{usual}, in minor units (decimals = 2 reads 19.99 as 1999)"
        return f"an amount of 0 or more, in major units (decimals = {field.decimals})"
    if not name.endswith("_time") or dtype.is_temporal():
        return usual.partition(", in UTC")[0]
    match field.format:
        case "epoch_s" | "epoch_ms":
            unit = "seconds" if field.format == "epoch_s" else "milliseconds"
            return f"{unit} since 1970 (format = {field.format!r})"
        case str(form):
            return f"a time from 1970 to 9999 like {form!r} (format)"
    if field.zone is not None:
        return (
            "a time from 1970 to 9999 like 2024-05-31 13:45:00 (format says if it looks different)"
        )
    return (
        "a time from 1970 to 9999 like 2024-05-31T13:45:00+08:00 "
        "(format says if it looks different, zone where it carries none)"
    )
