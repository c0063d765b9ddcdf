"""Foreign files, opened lazily: CSV, Parquet and JSON Lines, as columns and a row number."""

import codecs
import json
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path

import polars as pl

from orders.errors import UserError
from orders.mapping import SourceSettings
from orders.tables import first_line

ROW = "__row__"
"""The number of a row of data, from 1; a CSV file's header is not counted."""

PLACE = "__place__"
"""A number of its own for each row, that orders rows of the same instant: the row's, or, where
rows are shuffled, one that tells nothing of the row's place in the file."""

BROKEN = "__broken__"
"""True where a row has another shape than the file; its columns hold nothing of use."""

_OVERFLOW = "__overflow__"
_LINE = "__line__"
_FORMATS = {
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "csv",
    ".parquet": "parquet",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
}


@dataclass(frozen=True, slots=True)
class Source:
    """A file that can be read any number of times.

    Attributes:
        file: Its path, for messages.
        lazy: Its columns, and ROW, PLACE and BROKEN.
        schema: Its columns alone.
        raw: The row as JSON text, or the line as it stands, over the columns of `lazy`.
        shape: What a row that is BROKEN was expected to be.
    """

    file: Path
    lazy: pl.LazyFrame
    schema: dict[str, pl.DataType]
    raw: pl.Expr
    shape: str


def open_source(file: Path, settings: SourceSettings, used: set[str], *, scratch: Path) -> Source:
    """Open a file; text that is not UTF-8 is first recoded into `scratch`.

    Args:
        file: The foreign file.
        settings: How to read it.
        used: The columns that the mapping names. Of JSON Lines only these are read.
        scratch: A folder that exists and may be written to.

    Raises:
        UserError: The file cannot be read, or a column that is used is not in it.
    """
    kind = settings.format or _FORMATS.get(file.suffix.lower())
    if kind is None:
        endings = ", ".join(_FORMATS)
        raise UserError(
            f"{file}: cannot tell its format from {file.suffix!r} (known: {endings}); "
            "set [source] format to csv, parquet or jsonl"
        )
    if not file.is_file():
        raise UserError(f"{file} is not there" if not file.exists() else f"{file} is not a file")
    if file.stat().st_size == 0:
        raise UserError(f"{file} is empty")
    try:
        if kind == "parquet":
            source = _parquet(file)
        else:
            text = _in_utf8(file, settings.encoding, scratch)
            source = _csv(file, text, settings) if kind == "csv" else _jsonl(file, text, used)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise UserError(f"{file} cannot be read as {kind}: {first_line(error)}") from None
    for name in sorted(used):
        check_column(name, source.schema, str(file))
    place = _shuffled_place() if settings.ties == "shuffled" else pl.col(ROW)
    return replace(source, lazy=source.lazy.with_columns(place.alias(PLACE)))


def check_column(name: str, schema: dict[str, pl.DataType], place: str) -> None:
    """Refuse a column that is not there, and tell which one might be meant."""
    if name in schema:
        return
    by_lower = {known.lower(): known for known in schema}
    close = get_close_matches(name.lower(), by_lower, n=3, cutoff=0.6)
    if close:
        hint = f"did you mean {' or '.join(repr(by_lower[match]) for match in close)}?"
    else:
        hint = f"there are: {', '.join(schema)}"
    raise UserError(f"{place}: there is no column {name!r}; {hint}")


def _row_number() -> pl.Expr:
    return pl.col(ROW).cast(pl.Int64) + 1


def _shuffled_place() -> pl.Expr:
    # Knuth's multiplicative hash: neighbours are spread evenly, always alike, no two to one place.
    row = pl.col(ROW).cast(pl.UInt64)
    return (row * pl.lit(2_654_435_761, pl.UInt64) % pl.lit(2**32, pl.UInt64)).cast(pl.Int64)


def _parquet(file: Path) -> Source:
    lazy = pl.scan_parquet(file, row_index_name=ROW, glob=False)
    schema = dict(lazy.collect_schema())
    del schema[ROW]
    # Polars has no JSON for bytes; a row stays recognisable without them.
    told = [name for name, dtype in schema.items() if dtype != pl.Binary]
    raw = pl.struct(told).struct.json_encode() if told else pl.lit("{}")
    lazy = lazy.with_columns(_row_number(), pl.lit(False).alias(BROKEN))
    return Source(file, lazy, schema, raw, "a row")


def _csv(file: Path, text: Path, settings: SourceSettings) -> Source:
    separator = settings.separator or ("\t" if file.suffix.lower() == ".tsv" else ",")
    header = pl.scan_csv(
        text, separator=separator, quote_char=settings.quote, infer_schema=False, glob=False
    )
    names = header.collect_schema().names()
    # Everything is text: a type that is guessed from the first rows may fail on the last one.
    # A cell beyond the header lands in one column more, which marks the row.
    lazy = pl.scan_csv(
        text,
        separator=separator,
        quote_char=settings.quote,
        has_header=False,
        skip_rows=1,
        schema=dict.fromkeys([*names, _OVERFLOW], pl.String()),
        missing_columns="insert",
        extra_columns="ignore",
        empty_string_is_null=False,
        row_index_name=ROW,
        glob=False,
    )
    lazy = lazy.filter(pl.any_horizontal(pl.col(name) != "" for name in names))
    broken = pl.col(_OVERFLOW).fill_null("") != ""
    lazy = lazy.with_columns(_row_number(), broken.alias(BROKEN))
    beyond = pl.col(_OVERFLOW).alias("(beyond the header)")
    raw = (
        pl.when(BROKEN)
        .then(pl.struct(*names, beyond).struct.json_encode())
        .otherwise(pl.struct(names).struct.json_encode())
    )
    schema: dict[str, pl.DataType] = dict.fromkeys(names, pl.String())
    return Source(file, lazy, schema, raw, f"{len(names)} cells in a row")


_LOOKED_AT = 10_000


def _jsonl(file: Path, text: Path, used: set[str]) -> Source:
    names: dict[str, None] = {}
    with text.open(encoding="utf-8-sig", errors="replace") as lines:
        for _, line in zip(range(_LOOKED_AT), lines, strict=False):
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if isinstance(row, dict):
                names.update(dict.fromkeys(row))
    schema: dict[str, pl.DataType] = dict.fromkeys(names, pl.String())
    # A column that shows up later than that is one that a mapping cannot use.
    wanted = pl.Struct({name: pl.String() for name in sorted(used) if name in schema})
    line = pl.col(_LINE).str.strip_chars(" \t\r\ufeff")
    is_object = line.str.starts_with("{") & line.str.json_path_match("$").is_not_null()
    lazy = (
        pl.scan_lines(text, name=_LINE, row_index_name=ROW, glob=False)
        .filter(line != "")
        .with_columns(_row_number(), (~is_object).alias(BROKEN))
    )
    if wanted.fields:
        decoded = pl.when(~pl.col(BROKEN)).then(line).otherwise(None).str.json_decode(wanted)
        lazy = lazy.with_columns(decoded.alias("__decoded__")).unnest("__decoded__")
    return Source(file, lazy, schema, pl.col(_LINE), "a JSON object")


def _in_utf8(file: Path, encoding: str, scratch: Path) -> Path:
    try:
        name = codecs.lookup(encoding).name
    except LookupError:
        raise UserError(f"[source] encoding: {encoding!r} is not known, as 'gb18030' is") from None
    if name in ("utf-8", "ascii"):
        _require_utf8(file)
        return file
    recoded = scratch / "recoded.txt"
    try:
        with (
            file.open(encoding=name, newline="") as source,
            recoded.open("w", encoding="utf-8", newline="") as target,
        ):
            while block := source.read(1 << 20):
                target.write(block)
    except UnicodeError as error:
        raise UserError(f"{file} is not in {encoding}: {first_line(error)}") from None
    return recoded


def _require_utf8(file: Path) -> None:
    """Look at the beginning, the header above all: Polars reads any bytes as names of columns."""
    with file.open("rb") as source:
        beginning = source.read(1 << 16)
    try:
        codecs.getincrementaldecoder("utf-8")().decode(beginning)
    except UnicodeDecodeError as error:
        raise UserError(
            f"{file} is not in utf-8 (byte {beginning[error.start]:#04x} at {error.start}): say in "
            f"the mapping how it is encoded, as [source] encoding = {_likely(beginning)!r}"
        ) from None


def _likely(beginning: bytes) -> str:
    if beginning.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    try:
        codecs.getincrementaldecoder("gb18030")().decode(beginning)
    except UnicodeDecodeError:
        return "latin-1"
    return "gb18030"
