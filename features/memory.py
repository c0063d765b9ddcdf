"""The in-memory store: one worker, backfills, tests."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from features import kernels, snapshot
from features.columns import EventColumns
from features.declare import LONGEST_WINDOW_S
from features.feature_set import FeatureSet
from features.kernels import Tables
from features.plan import Plan, compile_plan
from features.snapshot import SnapshotError
from features.tables import (
    compact,
    empty_tables,
    kernel_events,
    row_widths,
    rows_held,
    scratch_for,
    stored_rows,
    tables_of,
    with_room,
)

# How long events are remembered behind the newest: the longest window, and 15 days more. An order
# that is late by no more than that has exact windows, and a chargeback that comes up to 45 days
# after its order still finds it.
HORIZON_MS = 1000 * LONGEST_WINDOW_S + 15 * 86_400_000

_BLOCK = 8192  # events between two looks at the room that is left
_LAST_QUERY = 2**31 - 2**27


class InMemoryState:
    """A `FeatureState` in numpy tables of this process.

    What is older than the horizon behind the newest event time is forgotten, exactly: an order is
    remembered until the horizon has passed after its last event. An order that arrives later than
    that gets the features that can still be known, and leaves no trace.
    """

    turns = None  # nobody else writes

    def __init__(self, feature_set: FeatureSet, horizon_ms: int = HORIZON_MS) -> None:
        if horizon_ms < 1000 * LONGEST_WINDOW_S:
            raise ValueError("the horizon must not be shorter than the longest window")
        self.feature_set = feature_set
        self._plan: Plan = compile_plan(feature_set, horizon_ms)
        self._scratch = scratch_for(self._plan.program)
        self._tables: Tables = empty_tables(
            row_widths(self._plan), self._plan.program.sketched.shape[1]
        )

    @property
    def unattributed(self) -> int:
        """Outcomes taken whose order never came, so far."""
        return int(self._tables.counters[kernels.UNATTRIBUTED])

    @property
    def nbytes(self) -> int:
        """Bytes of live rows and of the hash tables, without room that is not used yet."""
        hashed = self._tables.order_table.nbytes + self._tables.slot_table.nbytes
        return sum(rows.nbytes for rows in stored_rows(self._tables).values()) + hashed

    @property
    def n_live(self) -> Mapping[str, int]:
        """How many orders, outcomes and entity values are held."""
        return dict(
            zip(("orders", "outcomes", "entity_values"), rows_held(self._tables), strict=True)
        )

    def apply(self, events: EventColumns) -> np.ndarray:
        """As `FeatureState.apply`."""
        n_orders = len(events.entity_key)
        out = np.full((n_orders, len(self.feature_set.features)), np.nan)
        if n_orders:
            out[:, self._plan.order_columns] = events.order_values
        columns = kernel_events(events)
        if self._tables.counters[kernels.QUERY] > _LAST_QUERY:
            self._forget_stamps()
        start = 0
        while start < len(events):
            stop = min(start + _BLOCK, len(events))
            self._tables = with_room(self._tables, self._plan.program, stop - start)
            start = kernels.apply_events(
                start, stop, columns, self._tables, self._plan.program, self._scratch, out
            )
        return out

    def compact(self) -> None:
        """Give up the rows that no feature depends on any more; `apply` does it when needed."""
        compact(self._tables, self._plan.program)

    def save(self, path: Path, metadata: Mapping[str, Any] | None = None) -> None:
        """Write the state and small JSON `metadata` to one file, atomically and durably."""
        snapshot.save(
            path,
            feature_hash=self.feature_set.hash,
            horizon_ms=int(self._plan.program.horizon[0]),
            arrays=stored_rows(self._tables) | {"counters": self._tables.counters},
            metadata=metadata or {},
        )

    @classmethod
    def load(cls, path: Path, feature_set: FeatureSet) -> tuple["InMemoryState", dict[str, Any]]:
        """The state that was saved, and its metadata.

        Raises:
            SnapshotError: No readable snapshot, of another version, cut short or damaged.
            FeatureSetMismatchError: It was made with other declarations.
        """
        loaded = snapshot.load(path, feature_set.hash)
        state = cls(feature_set, loaded.horizon_ms)
        counters = loaded.arrays.pop("counters")
        for name, rows in stored_rows(state._tables).items():
            if loaded.arrays[name].shape[1] != rows.shape[1]:
                raise SnapshotError(f"{path} has another layout of {name}: build the state again")
        state._tables = tables_of(loaded.arrays, counters)
        return state, loaded.metadata

    def _forget_stamps(self) -> None:
        self._tables.slots[:, kernels.S_STAMP] = -1
        self._tables.counters[kernels.QUERY] = 0
