"""Lists as CSV: entity, value, until, comment; and since and author, as an export has them."""

import csv
from collections.abc import Iterable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import IO, NamedTuple

from orders.errors import UserError
from preempt.list_shown import iso, milliseconds
from preempt.options import duration, moment
from serving.list_entries import Entry, EntryError, Why, key_of_value, require_words
from serving.lists import FOREVER

COLUMNS = ("entity", "value", "until", "comment", "since", "author")
_NEEDED = ("entity", "value")


class BadRow(NamedTuple):
    """A row that is no entry."""

    line: int  # in the file, from 1; the last one of a row that has several
    why: str


def rows(file: Path, *, now: int, why: Why) -> Iterator[Entry | BadRow]:
    """The entries of a file.

    Args:
        file: UTF-8 CSV with a header.
        now: UTC ms: when an entry begins that does not say so, and what until must lie after.
        why: of entries that do not say.

    Raises:
        UserError: it cannot be read, or it is no such file.
    """
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            yield from _rows(file, csv.DictReader(lines, strict=True), now, why)
    except OSError as error:
        raise UserError(f"cannot read {file}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UserError(f"{file} is not UTF-8 text; save it as UTF-8") from None


def write_rows(file: IO[str], entries: Iterable[Entry]) -> int:
    """Write entries as a file that `rows` reads; how many."""
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(COLUMNS)
    count = 0
    for entry in entries:
        writer.writerow(
            (
                entry.entity,
                entry.value,
                iso(entry.until) or "",
                entry.comment,
                iso(entry.since),
                entry.author,
            )
        )
        count += 1
    return count


def _rows(
    file: Path, reader: "csv.DictReader[str]", now: int, why: Why
) -> Iterator[Entry | BadRow]:
    try:
        _require_header(file, reader.fieldnames)
        for row in reader:
            try:
                yield _entry(row, now, why)
            except ValueError as error:
                yield BadRow(reader.line_num, str(error))
    except csv.Error as error:
        raise UserError(f"{file} is not CSV after line {reader.line_num}: {error}") from None


def _require_header(file: Path, header: Iterable[str] | None) -> None:
    found = list(header or ())
    missing = [name for name in _NEEDED if name not in found]
    unknown = [name for name in found if name not in COLUMNS]
    if missing or unknown or len(set(found)) != len(found):
        shown = ", ".join(found)[:120] or "nothing"
        raise UserError(
            f"the first line of {file} must name the columns entity, value and, if you like, "
            f"{', '.join(COLUMNS[2:])}; it has {shown}"
        )


def _entry(row: dict[str, str | None], now: int, why: Why) -> Entry:
    if None in row:
        raise EntryError("it has more cells than the first line")
    cells = {name: cell or "" for name, cell in row.items()}
    entity, value = cells["entity"].strip(), cells["value"]
    key_of_value(entity, value)
    begin = cells.get("since", "").strip()
    entry = Entry(
        entity=entity,
        value=value,
        since=milliseconds(moment(begin)) if begin else now,
        until=_end(cells.get("until", "").strip(), now),
        author=cells.get("author", "").strip() or why.author,
        comment=cells.get("comment", "").strip() or why.comment,
    )
    require_words("the author", entry.author)
    require_words("the comment", entry.comment)
    if entry.until <= entry.since:
        raise EntryError("it ends before it begins")
    return entry


def _end(text: str, now: int) -> int:
    if not text or text == "never":
        return FOREVER
    if text[-1] in "mhdw":
        return now + duration(text) // timedelta(milliseconds=1)
    end = milliseconds(moment(text))
    if end <= now:
        raise EntryError(f"until {text} is past")
    return end
