"""What an import does with each row: a mapping and a file, put together and checked.

A row goes through these columns: the file's own; `source.*`, what the mapping takes from them;
`value.*`, that in its own type; `present.*`, whether the row tells of an outcome; `fault.*`, the
number of the first check that fails, null where none does.
"""

from dataclasses import dataclass

import polars as pl

from orders.conversion import Check, Conversion, convert, shown_column
from orders.errors import UserError
from orders.events import Order, Outcome
from orders.mapping import Mapping, SourceSettings, Where, as_field
from orders.mapping_file import KeyPath, MappingFile
from orders.row_expressions import columns_of, row_expression
from orders.sources import BROKEN, PLACE, ROW, Source
from orders.tables import ORDER_SCHEMA


@dataclass(frozen=True, slots=True)
class PlannedEvent:
    """An order, or one kind of outcome, as it is made from a row.

    Attributes:
        name: `order`, or the kind of the outcome.
        present: The column that says whether a row tells of it; None for the order.
        fault: The column with the number of the check that fails.
        conversions: By the name of the field.
        checks: Which reject it, the first that fails counts.
    """

    name: str
    present: str | None
    fault: str
    conversions: dict[str, Conversion]
    checks: list[Check]

    def value(self, field: str) -> pl.Expr:
        """The field in its own type; null where the mapping does not have it."""
        made = self.conversions.get(field)
        return pl.lit(None) if made is None else pl.col(made.value_column)


@dataclass(frozen=True, slots=True)
class Plan:
    """All that is done with a row.

    Attributes:
        source: The file.
        order: The order of a row.
        outcomes: What became of it.
        cleaned: Over the file's columns: what means nothing becomes null.
        typed: Over those: columns that are text and mean something else.
        kept: Columns that the checks need beside those of the events.
        conditions: Over those: the columns `present.*`.
    """

    source: Source
    order: PlannedEvent
    outcomes: list[PlannedEvent]
    cleaned: list[pl.Expr]
    typed: list[pl.Expr]
    kept: list[str]
    conditions: list[pl.Expr]

    @property
    def events(self) -> list[PlannedEvent]:
        """The order and the outcomes."""
        return [self.order, *self.outcomes]

    def convert(self, lazy: pl.LazyFrame, *keep: str) -> pl.LazyFrame:
        """Rows of the file with the columns `source.*`, `value.*`, `present.*`, `fault.*`."""
        made = [one for event in self.events for one in event.conversions.values()]
        lazy = lazy.with_columns(self.cleaned).with_columns(self.typed)
        lazy = lazy.select(
            ROW,
            PLACE,
            BROKEN,
            *keep,
            *self.kept,
            *(one.source.alias(one.source_column) for one in made),
            *(one.plus.alias(one.plus_column) for one in made if one.plus is not None),
            *self.conditions,
        )
        lazy = lazy.with_columns(one.value.alias(one.value_column) for one in made)
        return lazy.with_columns(_fault(event).alias(event.fault) for event in self.events)


def _fault(event: PlannedEvent) -> pl.Expr:
    fault = pl.coalesce(
        pl.when(check.fails).then(pl.lit(number, pl.UInt16))
        for number, check in enumerate(event.checks)
    )
    return fault if event.present is None else pl.when(event.present).then(fault)


def used_columns(mapping: Mapping, file: MappingFile) -> set[str]:
    """The columns of the source that the mapping names."""
    used = set(mapping.source.types)
    wheres: list[tuple[KeyPath, Where]] = [
        (("order", name), where) for name, where in mapping.order.items()
    ]
    wheres += [(("attributes", name), where) for name, where in mapping.attributes.items()]
    sqls: list[tuple[KeyPath, str | None]] = []
    for number, outcome in enumerate(mapping.outcome):
        place = ("outcome", number)
        wheres += [((*place, name), where) for name, where in outcome.fields.items()]
        sqls.append(((*place, "when"), outcome.when))
    for path, field in ((path, as_field(where)) for path, where in wheres):
        if field.column is not None:
            used.add(field.column)
        sqls += [(path, field.expr), ((*path, "plus"), field.plus)]
    for path, sql in sqls:
        if sql is not None:
            used |= columns_of(sql, file.at(*path))
    return used


def make_plan(mapping: Mapping, source: Source, used: set[str], file: MappingFile) -> Plan:
    """Check the mapping against the file.

    Raises:
        UserError: An expression or a type does not fit the file; one line says which.
    """
    schema = {name: source.schema[name] for name in source.schema if name in used}
    nothing = ["", *mapping.source.null_values]
    cleaned = [
        pl.when(~pl.col(name).is_in(nothing)).then(pl.col(name)).alias(name)
        for name, dtype in schema.items()
        if dtype == pl.String
    ]
    typed, kept, checks = _types(mapping.source, schema, file.at("source", "types"))
    columns = pl.DataFrame(schema=schema)
    order = _order(mapping, columns, file)
    broken = Check("", "broken_row", pl.col(BROKEN), source.shape, pl.lit("another shape"))
    order.checks[:0] = [broken, *checks]
    outcomes, conditions = _outcomes(mapping, columns, order, file)
    return Plan(source, order, outcomes, cleaned, typed, kept, conditions)


_TYPES = {
    "number": (pl.Float64(), "a number"),
    "integer": (pl.Int64(), "an integer"),
    "boolean": (pl.Boolean(), "true or false"),
}


def _types(
    settings: SourceSettings, schema: dict[str, pl.DataType], place: str
) -> tuple[list[pl.Expr], list[str], list[Check]]:
    """Columns to add, which of them to keep, and checks; `schema` gets the types."""
    typed, kept, checks = [], [], []
    for name, wanted in settings.types.items():
        if schema[name] != pl.String:
            raise UserError(f"{place}: column {name!r} is {schema[name]} already, not text")
        schema[name], words = _TYPES[wanted]
        text = pl.col(name).str.strip_chars()
        lower = text.str.to_lowercase()
        value = (
            pl.when(lower.is_in(["true", "t", "yes", "y", "1"]))
            .then(True)
            .when(lower.is_in(["false", "f", "no", "n", "0"]))
            .then(False)
            if wanted == "boolean"
            else text.cast(schema[name], strict=False)
        )
        as_text, bad = f"text.{name}", f"bad.{name}"
        fails = text.is_not_null() & value.is_null()
        typed += [value.alias(name), pl.col(name).alias(as_text), fails.alias(bad)]
        kept += [as_text, bad]
        shown = shown_column(pl.col(as_text), pl.String())
        checks.append(Check(name, "wrong_type", pl.col(bad), words, shown))
    return typed, kept, checks


def _order(mapping: Mapping, columns: pl.DataFrame, file: MappingFile) -> PlannedEvent:
    wheres = {
        name: (mapping.order[name], ("order", name))
        for name in ORDER_SCHEMA
        if name in mapping.order
    }
    wheres |= {
        f"attributes.{name}": (where, ("attributes", name))
        for name, where in mapping.attributes.items()
    }
    conversions = {
        name: convert(
            name, as_field(where), Order, columns, key=f"order.{name}", place=file.at(*path)
        )
        for name, (where, path) in wheres.items()
    }
    checks = [check for made in conversions.values() for check in made.checks]
    return PlannedEvent("order", None, "fault.order", conversions, checks)


def _outcomes(
    mapping: Mapping, columns: pl.DataFrame, order: PlannedEvent, file: MappingFile
) -> tuple[list[PlannedEvent], list[pl.Expr]]:
    events, conditions = [], []
    for number, outcome in enumerate(mapping.outcome, 1):
        path = ("outcome", number - 1)
        conversions = {
            name: convert(
                name, field, Outcome, columns, key=f"{number}.{name}", place=file.at(*path, name)
            )
            for name, field in outcome.fields.items()
        }
        time = conversions["event_time"]
        condition = time.source.is_not_null()
        if outcome.when is not None:
            place = file.at(*path, "when")
            condition, dtype = row_expression(outcome.when, columns, place)
            if dtype != pl.Boolean:
                raise UserError(f"{place}: expected a condition, got {dtype}")
        checks = [check for made in conversions.values() for check in made.checks]
        too_early = pl.col(time.value_column) < order.value("event_time")
        expected = "a time that is not before the order's"
        shown = pl.col(time.value_column).dt.to_string("iso:strict")
        checks.append(
            Check("event_time", "before_order", too_early.fill_null(False), expected, shown)
        )
        present = f"present.{number}"
        conditions.append(condition.fill_null(False).alias(present))
        events.append(PlannedEvent(outcome.kind, present, f"fault.{number}", conversions, checks))
    return events, conditions
