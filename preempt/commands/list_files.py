"""`preempt lists import | export`: many values at a time."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from orders.errors import UserError
from preempt.console import console, emit, progress
from preempt.list_shown import By, Json, open_lists

if TYPE_CHECKING:
    from preempt.list_files import BadRow
    from serving.list_entries import Entry

_TOLD = 5  # bad rows


def import_list(
    name: str,
    file: Path,
    /,
    *,
    by: By,
    comment: str,
    skip_bad: Annotated[bool, Parameter(negative="")] = False,
    json: Json = False,
) -> None:
    """Put the values of a CSV file on a list.

    The first line names the columns: entity and value; if you like until (ISO 8601 with a zone, a
    time span such as 7d, or nothing: never), comment, since and author. All rows are checked
    before the first is written. Two rows of one value are one entry, the later row's. Should it
    be interrupted, do it again: what is on the list already is renewed.

    For example:

        preempt lists import bad_segments segments.csv --by ana --comment "CERT, March"

    Args:
        name: Of the list.
        file: UTF-8 CSV.
        by: Who adds them.
        comment: Why; of rows that have none of their own.
        skip_bad: Leave out rows that are no entries; without it nothing is written if there are any.
        json: Print one JSON object.
    """
    with open_lists() as store:
        from preempt.clock import wall_clock
        from preempt.list_files import BadRow, rows
        from serving.list_entries import Why

        now, why = wall_clock(), Why(by, comment)
        good, bad = 0, []
        with progress("Checking", None) as bar:
            for row in rows(file, now=now, why=why):
                if isinstance(row, BadRow):
                    bad.append(row)
                else:
                    good += 1
                bar.advance(bar.task_ids[0])
        _refuse(file, good, bad, skip_bad=skip_bad)
        with progress("Adding", good) as bar:

            def entries() -> "Iterator[Entry]":
                for row in rows(file, now=now, why=why):
                    if not isinstance(row, BadRow):
                        yield row
                        bar.advance(bar.task_ids[0])

            written = store.add(name, entries(), why)
    emit(
        {"list": name, **written._asdict(), "skipped": len(bad)},
        as_json=json,
        text=f"{written.added:,} values added to {name}, {written.renewed:,} renewed"
        + (f"; {len(bad):,} rows skipped" if bad else ""),
    )


def export_list(name: str, /, *, out: Path | None = None) -> None:
    """Write a list as CSV.

    It can be imported again. Entries that have ended are left out.

    For example:

        preempt lists export blocked --out blocked.csv

    Args:
        name: Of the list.
        out: Write to this file instead of printing.
    """
    with open_lists() as store:
        from preempt.clock import wall_clock
        from preempt.list_files import write_rows

        now = wall_clock()
        left = (entry for entry in store.entries(name) if entry.until > now)
        if out is None:
            write_rows(sys.stdout, left)
            return
        try:
            with out.open("w", encoding="utf-8", newline="") as file:
                count = write_rows(file, left)
        except OSError as error:
            raise UserError(f"cannot write {out}: {error.strerror}") from None
    console.print(f"{count:,} entries in {out}", highlight=False, markup=False, soft_wrap=True)


def _refuse(file: Path, good: int, bad: "list[BadRow]", *, skip_bad: bool) -> None:
    """Tell the first bad rows; an error unless they are to be skipped."""
    for row in bad[:_TOLD]:
        console.print(f"line {row.line}: {row.why}", markup=False, highlight=False, soft_wrap=True)
    if bad and not skip_bad:
        raise UserError(
            f"{len(bad):,} of {good + len(bad):,} rows of {file} are no entries, the first are "
            "above; nothing was written (--skip-bad leaves them out)"
        )
    if not good:
        raise UserError(f"{file} has no entries; nothing was written")
