"""Lists as workers hold them: read from the store in one call, and after that only what is new."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from serving.lists import EntityLists, Entries

RECORD = np.dtype([("key", "<u8"), ("since", "<i8"), ("until", "<i8")])
"""A change of one entry; since = until: it was removed."""

NO_ENTRIES = Entries(np.empty(0, np.uint64), np.empty(0, np.int64), np.empty(0, np.int64))

LIST, SNOOZE = "list:", "snooze:"
"""What the name of a shelf begins with; the name of the list or of the rule follows."""


class Shelf(NamedTuple):
    """One list, or the snoozes of one rule, as far as it was read."""

    generation: bytes
    size: int  # bytes of records
    entries: Entries


class News(NamedTuple):
    """What a store has that a reader has not."""

    version: str  # empty: there is nothing, and never was
    shelves: Sequence[tuple[str, bytes, int, bytes]] | None
    """Name, generation, how many bytes are left out, the records after these; of every shelf
    there is. None: the version is the one that is known."""


Ask = Callable[[str, Mapping[str, Shelf]], News]


class ListReader:
    """Follows the lists of a store.

    Args:
        ask: what is new against a version and its shelves; `ListStore.news`.
    """

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._version = ""
        self._shelves: dict[str, Shelf] = {}

    def read(self) -> EntityLists | None:
        """All lists as they are now; None when nothing has changed since this was called last.

        Not from two threads at once.

        Raises:
            ListsUnavailableError: they cannot be read; the next call tries again.
        """
        news = self._ask(self._version, self._shelves)
        if news.shelves is None:
            return None
        shelves: dict[str, Shelf] = {}
        for name, generation, left_out, records in news.shelves:
            base = self._shelves[name].entries if left_out else NO_ENTRIES
            entries = merged(base, np.frombuffer(records, RECORD)) if records else base
            shelves[name] = Shelf(generation, left_out + len(records), entries)
        self._version, self._shelves = news.version, shelves
        return EntityLists(news.version or None, self._named(LIST), self._named(SNOOZE))

    def _named(self, beginning: str) -> dict[str, Entries]:
        return {
            name.removeprefix(beginning): shelf.entries
            for name, shelf in self._shelves.items()
            if name.startswith(beginning)
        }


def merged(base: Entries, records: np.ndarray) -> Entries:
    """Entries after some changes.

    Args:
        base: before them.
        records: (m,) RECORD; of one key the last counts.
    """
    keys = np.concatenate([base.keys, records["key"]])
    since = np.concatenate([base.since, records["since"]])
    until = np.concatenate([base.until, records["until"]])
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    last = np.ones(len(keys), np.bool_)
    last[:-1] = keys[1:] != keys[:-1]
    order = order[last]
    counts = since[order] < until[order]
    order = order[counts]
    return Entries(keys[last][counts], since[order], until[order])
