"""Lists as the `preempt lists` commands take and show them."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table
from rich.text import Text

from orders.errors import UsageError, UserError
from preempt.live_view import printable
from preempt.settings import load_settings

if TYPE_CHECKING:
    from serving.list_entries import Entry
    from serving.list_store import ListStore

Json = Annotated[bool, Parameter(name="--json", negative="")]
By = Annotated[str, Parameter(name="--by")]


@contextmanager
def open_lists() -> "Iterator[ListStore]":
    """The lists that the settings name; what goes wrong in them ends a command as it should.

    Raises:
        UserError: there is no Redis, or it cannot be used.
        UsageError: what is asked for cannot be.
    """
    from preempt.redis_stores import list_store
    from serving.list_entries import EntryError
    from serving.list_store import ListsUnavailableError

    try:
        yield list_store(load_settings())
    except EntryError as error:
        raise UserError(str(error)) from None
    except ListsUnavailableError as error:
        raise UserError(f"{error} (PREEMPT_REDIS_URL)") from error


def checked(entity: str, value: str, **words: str) -> None:
    """Refuse what can be on no list, and words that say nothing, before Redis is asked.

    Raises:
        UsageError: it says what is wrong.
    """
    from serving.list_entries import EntryError, key_of_value, require_words

    try:
        key_of_value(entity, value)
        for what, text in words.items():
            require_words(f"--{what}", text)
    except EntryError as error:
        raise UsageError(str(error)) from None


def end_of(now: int, for_: timedelta | None, until: datetime | None) -> int | None:
    """When an entry ends, UTC ms; None: never.

    Raises:
        UsageError: both are given, or the end is past.
    """
    if for_ is not None and until is not None:
        raise UsageError("--for and --until say the same: give one of them")
    if for_ is not None:
        return now + for_ // timedelta(milliseconds=1)
    if until is None:
        return None
    end = milliseconds(until)
    if end <= now:
        raise UsageError(f"--until {until.isoformat()} is past")
    return end


def milliseconds(time: datetime) -> int:
    """UTC milliseconds."""
    return (time - datetime.fromtimestamp(0, UTC)) // timedelta(milliseconds=1)


def iso(time: int | None) -> str | None:
    """ISO 8601 in UTC, to the second; None where there is no time, or it never comes."""
    from serving.lists import FOREVER

    if time is None or time >= FOREVER:
        return None
    return f"{datetime.fromtimestamp(time // 1000, UTC):%Y-%m-%dT%H:%M:%SZ}"


def as_json(entry: "Entry") -> dict[str, Any]:
    """An entry as --json prints it."""
    return {
        "entity": entry.entity,
        "value": entry.value,
        "since": iso(entry.since),
        "until": iso(entry.until),
        "author": entry.author,
        "comment": entry.comment,
    }


def print_table(
    columns: Iterable[str], rows: Iterable[Iterable[str | int | None]], *, empty: str
) -> None:
    """Rows on stdout; `empty` where there are none. Times are UTC."""
    table = Table(box=None, pad_edge=False)
    for column in columns:
        if column == "comment":
            table.add_column(column, min_width=16, overflow="fold")
        else:
            table.add_column(column, no_wrap=True, overflow="ellipsis")
    for row in rows:
        table.add_row(*(Text(_cell(cell)) for cell in row))
    console = Console()
    console.print(table if table.row_count else empty, highlight=False)


def _cell(cell: str | int | None) -> str:
    if cell is None:
        return ""
    return f"{cell:,}" if isinstance(cell, int) else printable(cell, most=60)


def minute(time: int | None) -> str | None:
    """A time for people, in UTC; None as of `iso`."""
    whole = iso(time)
    return whole and whole[:16].replace("T", " ")


def until_words(entry: "Entry", now: int) -> str:
    """When an entry ends, for people."""
    end = minute(entry.until)
    if end is None:
        return "never"
    return end if now < entry.until else f"over {end}"
