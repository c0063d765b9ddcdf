"""Events in one sequence or another, through the engine.

`Timeline` holds every archived event once, as columns. `in_time` is the sequence in which nothing
is late; `as_applied` is the one in which a worker's state really took the events.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from features.columns import EventColumns, columns_of_order_frame, columns_of_outcome_frame
from features.memory import InMemoryState
from training.served_archive import ServedArchive

BLOCK = 65_536  # events

Events = NDArray[np.intp]  # event numbers: an outcome has its row, an order comes after them all
NEVER = np.iinfo(np.int64).max  # the position of an event that a state did not take


@dataclass(frozen=True, slots=True)
class Timeline:
    """Every event of an archive; arrays of n events, outcomes first, then orders, as archived.

    Attributes:
        key: uint64 of the order id.
        time: int64, UTC ms.
        kind: int8, 0 is an order, else a code of OUTCOME_CODES.
        partition: int64; offset and appended (UTC ms) beside it: the place in the log.
        placed: columns of the orders alone.
    """

    key: np.ndarray
    time: np.ndarray
    kind: np.ndarray
    partition: np.ndarray
    offset: np.ndarray
    appended: np.ndarray
    placed: EventColumns

    @classmethod
    def of(cls, archive: ServedArchive) -> "Timeline":
        """The events of an archive."""
        taken = columns_of_outcome_frame(archive.outcomes)
        placed = columns_of_order_frame(archive.orders, archive.feature_set)
        tables = (archive.outcomes, archive.orders)

        def both(name: str) -> np.ndarray:
            return np.concatenate([table[name].cast(pl.Int64).to_numpy() for table in tables])

        return cls(
            key=np.concatenate([taken.order_key, placed.order_key]),
            time=np.concatenate([taken.time, placed.time]),
            kind=np.concatenate([taken.kind, placed.kind]),
            partition=both("partition"),
            offset=both("offset"),
            appended=both("appended_time"),
            placed=placed,
        )

    def __len__(self) -> int:
        return len(self.kind)

    @property
    def first_order(self) -> int:
        """The event number of order row 0."""
        return len(self) - len(self.placed)

    def in_time(self) -> Events:
        """All events by event time; of one moment, outcomes first, then as the broker took them."""
        keys = (self.offset, self.partition, self.appended, self.kind == 0, self.time)
        return np.lexsort(keys)

    def columns(self, events: Events) -> EventColumns:
        """These events, in this sequence, for a state."""
        rows = events[self.kind[events] == 0] - self.first_order
        return EventColumns(
            order_key=self.key[events],
            time=self.time[events],
            kind=self.kind[events],
            entity_key=self.placed.entity_key[rows],
            quantity=self.placed.quantity[rows],
            unit_price=self.placed.unit_price[rows],
            order_values=self.placed.order_values[rows],
        )

    def as_applied(self, decided: pl.DataFrame) -> Events:
        """The sequence in which one state took events, until its last decision.

        Args:
            decided: the rows of `ServedArchive.placed` of this state.

        Before the orders of a batch come all records that the state covered since the batch before
        and that are not decided in this one: outcomes, and orders that it absorbed. Of two of them
        the one that the broker took first comes first; between them the sequence changes no
        feature, for an outcome waits for its order.
        """
        batches = decided.unique("batch", keep="first").sort("batch")
        first = self.first_order
        batch = np.empty(len(self), np.int64)  # in which batch an event was covered
        batch[:first] = self._covering(slice(0, first), batches["covered_outcomes"])
        batch[first:] = self._covering(slice(first, len(self)), batches["covered_orders"])
        position = np.full(len(self), -1)  # in the batch; -1: before its orders
        mine = first + decided["row"].to_numpy().astype(np.intp)
        batch[mine] = np.searchsorted(batches["batch"].to_numpy(), decided["batch"].to_numpy())
        # Another record of the same order in the same batch: it got the decision, and no more.
        batch[self._beside(mine, batch)] = len(batches)
        position[mine] = decided["position"].to_numpy()
        keys = (self.offset, self.partition, self.kind == 0, self.appended, position, batch)
        sequence = np.lexsort(keys)
        return sequence[: int((batch < len(batches)).sum())]

    def _beside(self, decided: Events, batch: np.ndarray) -> Events:
        """The other records of decided orders that their batch covers."""
        orders = pl.DataFrame(
            {
                "event": np.arange(self.first_order, len(self)),
                "key": self.key[self.first_order :],
                "batch": batch[self.first_order :],
            }
        )
        same = orders.filter(pl.col("event").is_in(decided)).drop("event")
        again = orders.join(same, on=["key", "batch"], how="semi")["event"].to_numpy()
        return np.setdiff1d(again, decided)

    def _covering(self, part: slice, covered: pl.Series) -> np.ndarray:
        """The first batch whose offsets cover each event; `len(covered)` where none does."""
        partition, offset = self.partition[part], self.offset[part]
        batch = np.full(len(offset), len(covered), np.int64)
        for number in np.unique(partition).tolist():
            ends = covered.list.get(number, null_on_oob=True).fill_null(0).to_numpy()
            here = partition == number
            batch[here] = np.searchsorted(ends, offset[here], side="right")
        return batch


def replay_sequence(
    timeline: Timeline,
    sequence: Events,
    wanted: Events,
    state: InMemoryState,
    on_progress: Callable[[int], None],
) -> np.ndarray:
    """Apply the sequence to a state; the features of the wanted orders, (len(wanted), F).

    What comes after the last wanted order is left out. A wanted order that is not in the sequence
    has NaN throughout. `on_progress` is told how many events were applied, block by block.
    """
    row_of = np.full(len(timeline), -1, np.intp)
    row_of[wanted] = np.arange(len(wanted))
    vectors = np.full((len(wanted), len(state.feature_set.names)), np.nan)
    there = np.flatnonzero(row_of[sequence] >= 0)
    end = int(there[-1]) + 1 if len(there) else 0
    for start in range(0, end, BLOCK):
        events = sequence[start : min(start + BLOCK, end)]
        found = state.apply(timeline.columns(events))
        rows = row_of[events[timeline.kind[events] == 0]]
        vectors[rows[rows >= 0]] = found[rows >= 0]
        on_progress(len(events))
    return vectors


def positions(sequence: Events, count: int) -> np.ndarray:
    """(count,) int64: at which place of the sequence each event is, or NEVER."""
    places = np.full(count, NEVER, np.int64)
    places[sequence] = np.arange(len(sequence))
    return places
