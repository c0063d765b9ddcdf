"""Served vectors against recomputed ones, value by value.

Every order is recomputed twice. In event-time order, where nothing is late: what a training frame
of a complete history gives; the equal share is counted against this. And in the sequence in which
the worker's state really took the events. A difference to the first that is none to the second is
explained: some event came late. A difference to the second is not, and must not be.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from features.feature_set import FeatureSet, FeatureSetMismatchError
from features.memory import InMemoryState
from features.snapshot import SnapshotError, fingerprint
from orders.errors import UserError
from training.applied import Timeline, replay_sequence
from training.late_events import LateEvent, LateEvents
from training.served_archive import ServedArchive

EXAMPLES = 3


class Example(msgspec.Struct, frozen=True, kw_only=True):
    """One order whose served value differs; null is a missing value."""

    order_id: str
    served: float | None
    recomputed: float | None  # in event-time order
    as_applied: float | None  # in the sequence of the worker; null too where that is not known


class FeatureParity(msgspec.Struct, frozen=True, kw_only=True):
    """How one feature compares.

    `largest_difference` is among values that are there both times; null when there is none.
    """

    feature: str
    equal_share: float
    differing: int
    unexplained: int
    largest_difference: float | None
    examples: list[Example]  # unexplained ones first


class Parity(msgspec.Struct, frozen=True, kw_only=True):
    """What was compared and what came out; counts are of values unless they name orders."""

    orders: int
    features: int
    equal_share: float
    worst: list[FeatureParity]  # every feature that differs, the lowest share first
    differing: int
    explained: int
    unexplained: int
    untraced: int  # differing, of decisions that do not say where the state stood
    unnamed: int  # explained, but no event can be named
    orders_equal: int
    orders_unexplained: list[str]  # order ids
    late_events: list[LateEvent]  # those that moved the most orders first
    archived_orders: int
    archived_outcomes: int
    states: int  # processes of workers that served them
    too_recent: int  # decisions left out
    of_other_features: int  # decisions left out
    feature_hash: str


@dataclass(frozen=True, slots=True)
class Vectors:
    """Vectors of the same decisions, each (n, F) float64, NaN is missing.

    Attributes:
        served: as archived.
        ideal: recomputed in event-time order.
        applied: recomputed in the sequence of the state that served it.
        traced: (n,) whether that sequence is known; where not, `applied` says nothing.
    """

    served: NDArray[np.float64]
    ideal: NDArray[np.float64]
    applied: NDArray[np.float64]
    traced: NDArray[np.bool_]

    @property
    def differs(self) -> NDArray[np.bool_]:
        """(n, F) where the served value is not the ideal one."""
        return ~bit_equal(self.served, self.ideal)

    @property
    def unexplained(self) -> NDArray[np.bool_]:
        """(n, F) where the served value is not what the state gives, taken through the same."""
        return ~bit_equal(self.served, self.applied) & self.traced[:, None]


def measure_parity(
    archive: ServedArchive,
    snapshots: Sequence[Path] = (),
    on_progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Parity:
    """Recompute, compare, and explain what differs.

    Args:
        archive: what was served, and the events.
        snapshots: files among which are those that the states began with.
        on_progress: told how many events have been applied, of how many.

    Raises:
        UserError: a snapshot that a state began with is not among `snapshots`.
    """
    decisions = archive.decisions.with_row_index("number")
    starts = _Starts(archive.feature_set, snapshots)
    by_snapshot = decisions.partition_by("snapshot", maintain_order=True)
    states = decisions.drop_nulls("state").partition_by("state", maintain_order=True)
    for group in by_snapshot:
        starts.require(group["snapshot"][0])
    timeline = Timeline.of(archive)
    rows = timeline.first_order + decisions["row"].to_numpy().astype(np.intp)
    in_time = timeline.in_time()
    total = len(timeline) * (len(by_snapshot) + len(states))
    done = 0

    def replayed(group: pl.DataFrame, sequence: NDArray[np.intp], into: np.ndarray) -> None:
        def progressed(count: int) -> None:
            nonlocal done
            done += count
            on_progress(done, total)

        mine = group["number"].to_numpy()
        state = starts.state(group["snapshot"][0])
        into[mine] = replay_sequence(timeline, sequence, rows[mine], state, progressed)

    shape = (len(decisions), len(archive.feature_set.names))
    vectors = Vectors(
        served=archive.vectors(),
        ideal=np.full(shape, np.nan),
        applied=np.full(shape, np.nan),
        traced=decisions["state"].is_not_null().to_numpy(),
    )
    for group in by_snapshot:
        replayed(group, in_time, vectors.ideal)
    late = LateEvents(timeline, archive.feature_set, in_time)
    for group in states:
        state = group["state"][0]
        sequence = timeline.as_applied(archive.placed.filter(pl.col("state") == state))
        replayed(group, sequence, vectors.applied)
        mine = group["number"].to_numpy()
        late.look(sequence, rows[mine], (vectors.differs & ~vectors.unexplained)[mine])
    on_progress(total, total)
    return _result(archive, vectors, late, len(states))


def bit_equal(left: NDArray[np.float64], right: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Where two float64 arrays hold the same bits, or both a NaN."""
    same = np.ascontiguousarray(left).view(np.int64) == np.ascontiguousarray(right).view(np.int64)
    return same | (np.isnan(left) & np.isnan(right))


def compare(vectors: Vectors, names: Sequence[str], order_ids: list[str]) -> list[FeatureParity]:
    """Every feature that differs, the lowest share of equal values first."""
    differs, unexplained = vectors.differs, vectors.unexplained
    found = []
    for column, name in enumerate(names):
        # A difference that no lateness made may even hide one: then only the second shows it.
        rows = np.flatnonzero(differs[:, column] | unexplained[:, column])
        if not len(rows):
            continue
        served, ideal = vectors.served[rows, column], vectors.ideal[rows, column]
        distance = np.abs(served - ideal)
        both = distance[~np.isnan(distance)]
        first = rows[np.argsort(~unexplained[rows, column], kind="stable")][:EXAMPLES]
        found.append(
            FeatureParity(
                feature=name,
                equal_share=1 - int(differs[:, column].sum()) / len(differs),
                differing=int(differs[:, column].sum()),
                unexplained=int(unexplained[:, column].sum()),
                largest_difference=float(both.max()) if len(both) else None,
                examples=[
                    Example(
                        order_id=order_ids[row],
                        served=_number(vectors.served[row, column]),
                        recomputed=_number(vectors.ideal[row, column]),
                        as_applied=_number(vectors.applied[row, column]),
                    )
                    for row in first.tolist()
                ],
            )
        )
    return sorted(found, key=lambda each: (-each.unexplained, each.equal_share, each.feature))


def _result(archive: ServedArchive, vectors: Vectors, late: LateEvents, states: int) -> Parity:
    order_ids = archive.decisions["order_id"].to_list()
    differs, unexplained = vectors.differs, vectors.unexplained
    untraced = differs & ~vectors.traced[:, None]
    return Parity(
        orders=len(order_ids),
        features=differs.shape[1],
        equal_share=1 - int(differs.sum()) / differs.size,
        worst=compare(vectors, archive.feature_set.names, order_ids),
        differing=int(differs.sum()),
        explained=int((differs & ~unexplained & ~untraced).sum()),
        unexplained=int(unexplained.sum()),
        untraced=int(untraced.sum()),
        unnamed=late.unnamed,
        orders_equal=int((~differs.any(axis=1)).sum()),
        orders_unexplained=[order_ids[row] for row in np.flatnonzero(unexplained.any(axis=1))],
        late_events=late.named(archive),
        archived_orders=len(archive.orders),
        archived_outcomes=len(archive.outcomes),
        states=states,
        too_recent=archive.too_recent,
        of_other_features=archive.of_other_features,
        feature_hash=archive.feature_set.hash,
    )


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


class _Starts:
    """The states that workers began with, by the fingerprint of their snapshot."""

    def __init__(self, feature_set: FeatureSet, snapshots: Sequence[Path]) -> None:
        self._feature_set = feature_set
        try:
            self._files = {fingerprint(path): path for path in snapshots}
        except SnapshotError as error:
            raise UserError(f"{error}; name the snapshot with --state") from None

    def require(self, snapshot: str | None) -> None:
        """Raise `UserError` unless a state can begin with it."""
        if snapshot is None or snapshot in self._files:
            return
        held = ", ".join(f"{path} is {found}" for found, path in self._files.items())
        raise UserError(
            f"a worker began with snapshot {snapshot}, {held or 'none was given'}: name its file "
            "with --state"
        )

    def state(self, snapshot: str | None) -> InMemoryState:
        """A new state as it was at the start."""
        if snapshot is None:
            return InMemoryState(self._feature_set)
        try:
            return InMemoryState.load(self._files[snapshot], self._feature_set)[0]
        except (SnapshotError, FeatureSetMismatchError) as error:
            raise UserError(str(error)) from None
