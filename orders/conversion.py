"""The contract of the wire as Polars expressions: source columns become checked fields.

What a field may hold is read from the type of the event, so that a row is held to exactly what a
message is held to. A field passes through three columns: `source.x` as the file has it,
`value.x` in its own type, null where that is not possible, and the checks over both.
"""

from dataclasses import dataclass, replace
from typing import Any

import msgspec
import polars as pl
from msgspec import inspect

from orders.errors import UserError
from orders.events import Instant
from orders.expectations import bare, expectation, fields
from orders.mapping import Field
from orders.mapping_words import expected_of, taken_from
from orders.row_expressions import row_expression
from orders.sources import PLACE
from orders.tables import TIME

_FIRST = 0
_LAST = 253_402_300_800_000  # the year 10000


@dataclass(frozen=True, slots=True)
class Check:
    """A reason to reject a row.

    Attributes:
        field: The field at fault.
        code: As in `orders.decoding`.
        fails: Where it is at fault, never null.
        expected: What would have been right.
        shown: What is there instead, as text.
        taken: Where the mapping takes the field from, in its words.
    """

    field: str
    code: str
    fails: pl.Expr
    expected: str
    shown: pl.Expr
    taken: str = ""


def shown_column(seen: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    """The values of a column as `orders.expectations.shown` shows one."""
    text = seen.cast(pl.String)
    if dtype == pl.String:
        short = pl.when(text.str.len_chars() > 64).then(text.str.slice(0, 64) + "…").otherwise(text)
        text = pl.lit('"') + short + pl.lit('"')
    return text.fill_null("nothing")


@dataclass(frozen=True, slots=True)
class Conversion:
    """How one field is made.

    Attributes:
        name: The key of its columns `source.<name>` and `value.<name>`.
        source: Over the columns of the file.
        plus: What is added to a time, over the columns of the file; it becomes `plus.<name>`.
        value: Over `source.<name>` and `plus.<name>`.
        checks: Over both columns, the first that fails counts.
    """

    name: str
    source: pl.Expr
    plus: pl.Expr | None
    value: pl.Expr
    checks: list[Check]

    @property
    def source_column(self) -> str:
        """Holds what the file has."""
        return f"source.{self.name}"

    @property
    def plus_column(self) -> str:
        """Holds what is added to a time."""
        return f"plus.{self.name}"

    @property
    def value_column(self) -> str:
        """Holds the value in its own type, or null."""
        return f"value.{self.name}"


def convert(
    name: str,
    field: Field,
    event: type[msgspec.Struct],
    columns: pl.DataFrame,
    *,
    key: str,
    place: str,
) -> Conversion:
    """How `name` of `event` is made from the columns of a file.

    Args:
        name: A field of `event`, or `attributes.<x>`.
        field: Where the mapping takes it from.
        event: `Order` or `Outcome`.
        columns: A frame without rows that has the columns of the file.
        key: The key of the columns that are made.
        place: Where the mapping says so, for messages.

    Raises:
        UserError: A column is not there, or is of a type that can never become this field.
    """
    source, dtype = _source(field, columns, place)
    conversion = Conversion(key, source, _plus(field, columns, place), pl.lit(None), [])
    if name.startswith("attributes."):
        return _attribute(conversion, name, field, event, dtype, place=place)
    declared = fields(event)[name]
    type_ = bare(declared.type)
    seen, value = pl.col(conversion.source_column), pl.col(conversion.value_column)
    match type_:
        case inspect.IntType(ge=low, le=high):
            made = _integer(seen, dtype, field.decimals, place)
            out_of_range = ~value.is_between(
                low if low is not None else -(2**63), high or 2**63 - 1
            )
        case inspect.StrType(min_length=low, max_length=high, pattern=pattern):
            made = _text(seen, dtype, place)
            out_of_range = value.str.len_chars() > (high or 2**32 - 1)
            if pattern:
                out_of_range |= ~value.str.contains(pattern)
        case inspect.LiteralType(values=values):
            made = _text(seen, dtype, place)
            out_of_range = ~value.is_in(list(values))
        case inspect.CustomType(cls=cls) if cls is Instant:
            made = _instant(seen, pl.col(conversion.plus_column), dtype, field, place)
            instant = value.cast(pl.Int64)
            out_of_range = ~instant.is_between(_FIRST, _LAST, closed="left")
        case other:
            raise TypeError(f"no conversion to {other}")
    checks = [("wrong_type", seen.is_not_null() & value.is_null()), ("out_of_range", out_of_range)]
    if declared.required:
        checks.insert(0, ("missing_field", seen.is_null()))
    expected, shown = expected_of(event, name, field, dtype), shown_column(seen, dtype)
    return replace(
        conversion,
        value=made,
        checks=[
            Check(name, code, fails.fill_null(False), expected, shown, taken_from(field))
            for code, fails in checks
        ],
    )


def _source(field: Field, columns: pl.DataFrame, place: str) -> tuple[pl.Expr, pl.DataType]:
    if field.column is not None:
        return pl.col(field.column), columns.schema[field.column]
    if field.expr is not None:
        expression, dtype = row_expression(field.expr, columns, place)
        # Empty text is no text, wherever it comes from.
        return (_nonempty(expression) if dtype == pl.String else expression), dtype
    if field.row_number is not None:
        return pl.lit(field.row_number) + pl.col(PLACE).cast(pl.String), pl.String()
    constant = pl.lit(field.value)
    return constant, pl.select(constant).to_series().dtype


def _nonempty(expression: pl.Expr) -> pl.Expr:
    return pl.when(expression != "").then(expression)


def _refuse(dtype: pl.DataType, wanted: str, place: str) -> UserError:
    return UserError(f"{place}: the source is {dtype}, which is no {wanted}; convert it with expr")


def _text(seen: pl.Expr, dtype: pl.DataType, place: str) -> pl.Expr:
    if dtype == pl.String:
        return seen
    if isinstance(dtype, pl.Categorical | pl.Enum) or dtype.is_integer() or dtype == pl.Null:
        return seen.cast(pl.String)
    raise _refuse(dtype, "text", place)


def _number(seen: pl.Expr, dtype: pl.DataType, place: str) -> pl.Expr:
    """As Float64; null where it is not a finite number."""
    if not (dtype.is_numeric() or dtype in (pl.String, pl.Null)):
        raise _refuse(dtype, "number", place)
    text = seen.str.strip_chars() if dtype == pl.String else seen
    number = text.cast(pl.Float64, strict=False)
    return pl.when(number.is_finite()).then(number)


def _integer(seen: pl.Expr, dtype: pl.DataType, decimals: int | None, place: str) -> pl.Expr:
    if decimals is not None:
        amount = (_number(seen, dtype, place) * 10**decimals).round()
        return amount.cast(pl.Int64, strict=False)
    if dtype.is_integer():
        return seen.cast(pl.Int64, strict=False)
    number = _number(seen, dtype, place)
    whole = pl.when(number == number.round()).then(number).cast(pl.Int64, strict=False)
    if dtype != pl.String:
        return whole
    return pl.coalesce(seen.str.strip_chars().cast(pl.Int64, strict=False), whole)


_ZONED = "%+"
_NAIVE = ("%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d %H:%M", "%Y-%m-%d")


def _instant(seen: pl.Expr, plus: pl.Expr, dtype: pl.DataType, field: Field, place: str) -> pl.Expr:
    moment, is_naive = _moment(seen, dtype, field, place)
    if field.plus is not None:
        moment = moment + plus
    if is_naive:
        if field.zone is None:
            raise UserError(
                f"{place}: these times carry no zone; give one, as zone = 'Asia/Shanghai'"
            )
        # An hour that the clock shows twice is the first of the two; one it skips is no time.
        moment = moment.dt.replace_time_zone(field.zone, ambiguous="earliest", non_existent="null")
    elif field.zone is not None:
        raise UserError(f"{place}: these times carry their own zone; leave 'zone' out")
    return moment.dt.convert_time_zone("UTC").cast(TIME)


def _plus(field: Field, columns: pl.DataFrame, place: str) -> pl.Expr | None:
    if field.plus is None:
        return None
    expression, dtype = row_expression(field.plus, columns, f"{place} plus")
    if dtype != pl.Duration:
        raise UserError(f"{place} plus: expected an interval, got {dtype}")
    return expression.cast(pl.Duration("ms"))


def _moment(seen: pl.Expr, dtype: pl.DataType, field: Field, place: str) -> tuple[pl.Expr, bool]:
    """The time in milliseconds, and whether it is without a zone."""
    if isinstance(dtype, pl.Datetime):
        if field.format is not None:
            raise UserError(f"{place}: the source is {dtype} already; leave 'format' out")
        return seen.cast(pl.Datetime("ms", dtype.time_zone)), dtype.time_zone is None
    if dtype == pl.Date:
        return seen.cast(pl.Datetime("ms")), True
    if field.format in ("epoch_s", "epoch_ms"):
        factor = 1000 if field.format == "epoch_s" else 1
        number = (_number(seen, dtype, place) * factor).round().cast(pl.Int64, strict=False)
        return number.cast(TIME), False
    if dtype != pl.String:
        wanted = "time; say format = 'epoch_s' or 'epoch_ms'" if dtype.is_numeric() else "time"
        raise _refuse(dtype, wanted, place)
    if field.format is not None:
        is_naive = not any(mark in field.format for mark in ("%z", "%:z", "%#z", "%+"))
        zone: Any = None if is_naive else "UTC"
        moment = seen.str.to_datetime(
            field.format, time_unit="ms", time_zone=zone, strict=False, ambiguous="null"
        )
        return moment, is_naive
    if field.zone is None:
        return seen.str.to_datetime(_ZONED, time_unit="ms", time_zone="UTC", strict=False), False
    spaced = seen.str.replace("T", " ", literal=True)
    return pl.coalesce(
        spaced.str.to_datetime(form, time_unit="ms", strict=False) for form in _NAIVE
    ), True


def _attribute(
    conversion: Conversion,
    name: str,
    field: Field,
    event: type[msgspec.Struct],
    dtype: pl.DataType,
    *,
    place: str,
) -> Conversion:
    """An attribute keeps its kind: text, number (null where not finite) or yes/no."""
    seen, value = pl.col(conversion.source_column), pl.col(conversion.value_column)
    if dtype == pl.Boolean:
        return replace(conversion, value=seen)
    if dtype.is_numeric():
        return replace(conversion, value=_number(seen, dtype, place))
    made = _text(seen, dtype, place)
    too_long = (value.str.len_chars() > 2048).fill_null(False)
    expected = expectation(event, name)
    check = Check(
        name, "out_of_range", too_long, expected, shown_column(seen, dtype), taken_from(field)
    )
    return replace(conversion, value=made, checks=[check])
