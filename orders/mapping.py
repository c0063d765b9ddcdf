"""The mapping file of an import: which source column becomes which field of an order or outcome.

`docs/import.md` describes the format.
"""

from datetime import datetime
from typing import Annotated, Literal

import msgspec
import polars as pl
from msgspec import Meta

from orders.dataset import TargetSettings, apply_settings
from orders.errors import UserError
from orders.events import Order, Outcome, OutcomeKind, decode_instant
from orders.expectations import expectation, fields, shown
from orders.mapping_file import MappingFile, nearest
from orders.reasons import REASONS


class Field(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Where one field comes from: exactly one of the first four, and how to read it.

    Attributes:
        column: A column of the source.
        expr: A Polars SQL expression over the columns of one row.
        value: The same for every row.
        row_number: This text, followed by the number of the row (a shuffled one, if ties are).
        format: Of a time: a strptime format, `epoch_s` or `epoch_ms`; default: ISO 8601.
        zone: The zone of times that carry none, as in `Asia/Shanghai`.
        plus: An SQL expression of an interval that is added to a time, on the clock of `zone`.
        decimals: Of an amount in major units: how many digits the minor unit has.
    """

    column: str | None = None
    expr: str | None = None
    value: str | int | float | bool | None = None
    row_number: str | None = None
    format: str | None = None
    zone: str | None = None
    plus: str | None = None
    decimals: Annotated[int, Meta(ge=0, le=6)] | None = None


Where = str | Field  # text alone names a column


class SourceSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How to read the source file.

    Attributes:
        format: Default: by the ending of the file's name.
        encoding: Of text files; any that Python knows.
        null_values: Texts that mean that nothing is there, besides the empty one.
        types: Columns that are text in the file and mean something else.
        ties: How orders of the same instant are put in order: as in the file, or shuffled (always
            alike), for files whose order tells what only the future knew.
    """

    format: Literal["csv", "parquet", "jsonl"] | None = None
    separator: Annotated[str, Meta(min_length=1, max_length=1)] | None = None
    quote: Annotated[str, Meta(min_length=1, max_length=1)] = '"'
    encoding: str = "utf-8"
    null_values: list[str] = []
    types: dict[str, Literal["number", "integer", "boolean"]] = {}
    ties: Literal["row", "shuffled"] = "row"


class OutcomeMapping(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One kind of outcome that a row may tell of.

    Attributes:
        when: An SQL condition; default: wherever the source of the time is not empty.
    """

    kind: OutcomeKind
    event_time: Where
    when: str | None = None
    received_time: Where | None = None
    reason: Where | None = None
    reason_text: Where | None = None
    verdict: Where | None = None

    @property
    def fields(self) -> dict[str, Field]:
        """The mapped fields besides `kind`, the time first."""
        names = ("event_time", "received_time", "reason", "reason_text", "verdict")
        return {name: as_field(where) for name in names if (where := getattr(self, name))}


class TargetMapping(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What differs for a target in this history; it goes to `dataset.json`."""

    maturity_days: Annotated[float, Meta(ge=0)] | Literal["never"]


class Mapping(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole mapping file."""

    order: dict[str, Where]
    source: SourceSettings = SourceSettings()
    attributes: dict[str, Where] = {}
    outcome: list[OutcomeMapping] = []
    targets: dict[str, TargetMapping] = {}

    @property
    def target_settings(self) -> dict[str, TargetSettings]:
        """The targets as `dataset.json` writes them."""
        return {
            name: TargetSettings(
                maturity_days=None if own.maturity_days == "never" else own.maturity_days
            )
            for name, own in self.targets.items()
        }


def as_field(where: Where) -> Field:
    """The long form of where a field comes from."""
    return Field(column=where) if isinstance(where, str) else where


def read_mapping(file: MappingFile) -> Mapping:
    """Check a mapping file; what depends on the source is checked when that is opened.

    Raises:
        UserError: One line that names the key at fault, and its line where it can be told.
    """
    mapping: Mapping = file.as_type(Mapping)
    _check(mapping, file)
    return mapping


def _check(mapping: Mapping, file: MappingFile) -> None:
    allowed = [name for name in fields(Order) if name not in ("schema", "version", "attributes")]
    for name in mapping.order:
        if name not in allowed:
            raise UserError(
                f"{file.at('order', name)} is not a field of an order; {nearest(name, allowed)}"
            )
    for name in allowed:
        if fields(Order)[name].required and name not in mapping.order:
            raise UserError(f"{file.at('order')}: {name!r} is missing; an order must have it")
    if len(mapping.attributes) > 256:
        raise UserError(
            f"{file.at('attributes')}: expected at most 256, got {len(mapping.attributes)}"
        )
    for name in mapping.attributes:
        if not 1 <= len(name) <= 128:
            raise UserError(
                f"{file.at('attributes')}: expected names of 1 to 128 characters, got {shown(name)}"
            )
    for name, where in mapping.order.items():
        _check_field(file.at("order", name), as_field(where), Order, name)
    for name, where in mapping.attributes.items():
        _check_field(file.at("attributes", name), as_field(where), Order, f"attributes.{name}")
    for number, outcome in enumerate(mapping.outcome):
        for name, field in outcome.fields.items():
            place = file.at("outcome", number, name)
            _check_field(place, field, Outcome, name)
            if name == "reason" and field.value is not None and field.value not in REASONS:
                hint = nearest(str(field.value), list(REASONS))
                raise UserError(f"{place}: {shown(field.value)} is not in the taxonomy; {hint}")
    apply_settings(mapping.target_settings, file.at("targets"))


def _check_field(place: str, field: Field, event: type[msgspec.Struct], name: str) -> None:
    given = [
        key for key in ("column", "expr", "value", "row_number") if getattr(field, key) is not None
    ]
    if len(given) != 1:
        seen = " and ".join(given) or "none"
        raise UserError(f"{place}: expected one of column, expr, value, row_number, got {seen}")
    is_time = name.endswith("_time")
    is_amount = name.endswith("_price")
    for key, fits in (
        ("format", is_time),
        ("zone", is_time),
        ("plus", is_time),
        ("decimals", is_amount),
    ):
        if getattr(field, key) is not None and not fits:
            raise UserError(
                f"{place}: {key!r} is for {'times' if key != 'decimals' else 'amounts'}"
            )
    if field.zone is not None:
        try:
            pl.Series([datetime(2000, 1, 1)]).dt.replace_time_zone(field.zone)
        except pl.exceptions.ComputeError:
            raise UserError(
                f"{place}: {field.zone!r} is no time zone, as 'Asia/Shanghai' is"
            ) from None
    if field.value is not None and not name.startswith("attributes."):
        try:
            msgspec.convert(field.value, event.__annotations__[name], dec_hook=decode_instant)
        except msgspec.ValidationError:
            expected = expectation(event, name)
            raise UserError(f"{place}: expected {expected}, got {shown(field.value)}") from None
