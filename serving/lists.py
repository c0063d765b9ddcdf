"""Lists of entity values that rules read: `ip_prefix IN LIST('bad_segments')`.

What is here is one version of all lists, as a worker holds it in memory; it never changes. Keys are
those of `features.entities`, which differ between entities for the same text, so the values of all
entities of a list are in one array.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from features.declare import ENTITIES

ANY_ENTITY = "any_entity"
LIST_ENTITIES = (*ENTITIES, ANY_ENTITY)
"""What can stand before `IN LIST(…)`; the last one means any of the others."""

LIST_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")

FOREVER = 2**62


@dataclass(frozen=True, slots=True)
class Entries:
    """The entries of one list.

    Attributes:
        keys: (n,) uint64, sorted, each once.
        since: (n,) int64, UTC milliseconds; an entry counts from then on.
        until: (n,) int64, UTC milliseconds; it counts no more from then on.
    """

    keys: np.ndarray
    since: np.ndarray
    until: np.ndarray

    def hold(self, keys: np.ndarray, at: np.ndarray) -> np.ndarray:
        """(n,) bool: whether any of an order's keys is listed at its event time.

        Args:
            keys: (n, k) uint64; 0 where the order has no value.
            at: (n,) int64, UTC milliseconds.
        """
        if not len(self.keys):
            return np.zeros(len(keys), np.bool_)
        place = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        counts = (self.since[place] <= at[:, None]) & (at[:, None] < self.until[place])
        return ((self.keys[place] == keys) & counts).any(axis=1)


def entries(keys: np.ndarray, since: np.ndarray, until: np.ndarray) -> Entries:
    """Entries in any sequence; each key once."""
    order = np.argsort(keys)
    return Entries(keys[order], since[order], until[order])


@dataclass(frozen=True, slots=True)
class EntityLists:
    """All lists in one version.

    Attributes:
        version: names this content; None where there are no lists.
        lists: by name. A list that is not there holds nothing.
        snoozes: by name of a rule, for whom it is recorded and not counted.
    """

    version: str | None = None
    lists: Mapping[str, Entries] = field(default_factory=dict)
    snoozes: Mapping[str, Entries] = field(default_factory=dict)

    def hold(self, name: str, entity: str, keys: np.ndarray, at: np.ndarray) -> np.ndarray:
        """(n,) bool: which orders are on a list.

        Args:
            name: of the list.
            entity: by which value; one of `LIST_ENTITIES`.
            keys: (n, len(ENTITIES)) uint64, as in `EventColumns.entity_key`.
            at: (n,) int64, event times.
        """
        found = self.lists.get(name)
        if found is None:
            return np.zeros(len(keys), np.bool_)
        if entity != ANY_ENTITY:
            column = ENTITIES.index(entity)
            keys = keys[:, column : column + 1]
        return found.hold(keys, at)
