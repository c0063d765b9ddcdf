"""Served vectors beside the two that a replay gives, and why they differ."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from features.feature_set import FeatureSet
from training.applied import Events, Timeline, replay_sequence
from training.late_events import LateEvents
from training.served_archive import ServedArchive
from training.starts import Starts
from training.turns import is_recent, turns_of

# More events never make them smaller, or never larger.
_MONOTONE = {
    "count", "sum", "max", "distinct", "matches", "first_use", "known_to_circle",
    "seconds_since_last", "seconds_since_first",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Vectors:
    """Vectors of the same decisions, each (n, F) float64, NaN is missing.

    Attributes:
        served: as archived.
        ideal: recomputed in event-time order.
        applied: recomputed in the sequence of the state that served it.
        traced: (n, F) whether `applied` can be judged by: the sequence and its start are known.
        concurrent: (n, F) whether events that were under way explain that it is not `applied`.
    """

    served: NDArray[np.float64]
    ideal: NDArray[np.float64]
    applied: NDArray[np.float64]
    traced: NDArray[np.bool_]
    concurrent: NDArray[np.bool_]

    @property
    def differs(self) -> NDArray[np.bool_]:
        """(n, F) where the served value is not the ideal one."""
        return ~bit_equal(self.served, self.ideal)

    @property
    def unexplained(self) -> NDArray[np.bool_]:
        """(n, F) where the served value is not what the state gives, taken through the same."""
        return self.differs_from_applied & ~self.concurrent

    @property
    def differs_from_applied(self) -> NDArray[np.bool_]:
        """(n, F) the same, whether events under way explain it or not."""
        return ~bit_equal(self.served, self.applied) & self.traced


def bit_equal(left: NDArray[np.float64], right: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Where two float64 arrays hold the same bits, or both a NaN."""
    same = np.ascontiguousarray(left).view(np.int64) == np.ascontiguousarray(right).view(np.int64)
    return same | (np.isnan(left) & np.isnan(right))


def recompute(
    archive: ServedArchive, starts: Starts, on_progress: Callable[[int, int], None]
) -> tuple[Vectors, LateEvents]:
    """Recompute the decisions of an archive, and find the events that explain differences.

    Raises:
        UserError: what a state of one worker began with is not among `starts`.
    """
    decisions = _with_starts(archive).with_row_index("number")
    groups = decisions.partition_by("start", "shared", maintain_order=True)
    own = decisions.filter(pl.col("shared").is_null())
    states = own.drop_nulls("state").partition_by("state", maintain_order=True)
    shared = decisions.drop_nulls("shared").partition_by("shared", maintain_order=True)
    for group in groups:
        if group["shared"][0] is None:
            starts.require(group["start"][0])
    replays = _Replays(archive, starts, decisions, on_progress)
    replays.expected = len(groups) + len(states) + 2 * len(shared)
    for group in groups:
        replays.ideal(group)
    for group in states:
        replays.own(group)
    for group in shared:
        replays.shared(group)
    return replays.vectors, replays.late


def _with_starts(archive: ServedArchive) -> pl.DataFrame:
    """The decisions with `start`, as `Starts` takes it."""
    # Only the first process on a shared state finds it empty.
    empty = archive.placed.filter(pl.col("snapshot").is_null())["shared"].drop_nulls().unique()
    is_shared = pl.col("shared").is_not_null()
    knew_nothing = pl.col("shared").is_in(empty.implode())
    start = (
        pl.when(is_shared & ~knew_nothing)
        .then("shared")
        .when(~is_shared)
        .then("snapshot")
        .otherwise(None)
    )
    return archive.decisions.with_columns(start=start)


class _Replays:
    """Fills `vectors`, group by group."""

    def __init__(
        self,
        archive: ServedArchive,
        starts: Starts,
        decisions: pl.DataFrame,
        on_progress: Callable[[int, int], None],
    ) -> None:
        self._archive = archive
        self._starts = starts
        self._on_progress = on_progress
        self.expected = 1  # replays
        self._done = 0
        self._timeline = Timeline.of(archive)
        self._rows = self._timeline.first_order + decisions["row"].to_numpy().astype(np.intp)
        self._in_time = self._timeline.in_time()
        shape = (len(decisions), len(archive.feature_set.names))
        traced = decisions["state"].is_not_null().to_numpy()
        self.vectors = Vectors(
            served=archive.vectors(),
            ideal=np.full(shape, np.nan),
            applied=np.full(shape, np.nan),
            traced=np.repeat(traced[:, None], shape[1], axis=1),
            concurrent=np.zeros(shape, bool),
        )
        self.late = LateEvents(self._timeline, archive.feature_set, self._in_time)

    def ideal(self, group: pl.DataFrame) -> None:
        """In event-time order."""
        self.vectors.ideal[_numbers(group)] = self._replayed(group, self._in_time)

    def own(self, group: pl.DataFrame) -> None:
        """In the sequence of a state that one worker had alone."""
        mine = _numbers(group)
        state = group["state"][0]
        placed = self._archive.placed.filter(pl.col("state") == state)
        sequence = self._timeline.as_applied(placed)
        self.vectors.applied[mine] = self._replayed(group, sequence)
        as_applied = self.vectors.differs & ~self.vectors.unexplained
        self.late.look(sequence, self._rows[mine], as_applied[mine])

    def shared(self, group: pl.DataFrame) -> None:
        """In the sequence of a state that workers shared, as far as it is known."""
        mine, vectors = _numbers(group), self.vectors
        if not self._starts.knows(group["start"][0]):
            vectors.traced[mine] = False
            return
        placed = self._archive.placed
        of_state = pl.col("shared") == group["shared"][0]
        decided = placed.filter(of_state)
        elsewhere = placed.filter(~of_state.fill_null(False))["row"].to_numpy()
        turns = turns_of(self._timeline, decided, elsewhere)
        orders = self._rows[mine]
        sequence = turns.latest(self._timeline)
        vectors.applied[mine] = self._replayed(group, sequence)
        # An order that was decided twice has one place; a second vector cannot be judged.
        turn = group["turn"].fill_null(-1).to_numpy()
        vectors.traced[mine] = (turn == turns.last[orders])[:, None]
        doubtful = vectors.differs_from_applied[mine]
        self.late.look(sequence, orders, vectors.differs[mine] & vectors.traced[mine] & ~doubtful)

        early = self._replayed(group, turns.earliest(self._timeline))
        possible = _between(
            self._archive.feature_set, vectors.served[mine], vectors.applied[mine], early
        )
        explained = self.late.overlapping(turns.first, sequence, orders, turn, doubtful & possible)
        vectors.concurrent[mine] = explained
        recent = is_recent(self._timeline, group)
        vectors.traced[mine] &= ~(recent[:, None] & doubtful & ~explained)

    def _replayed(self, group: pl.DataFrame, sequence: Events) -> np.ndarray:
        def progressed(count: int) -> None:
            self._done += count
            self._on_progress(min(self._done, total), total)

        total = self.expected * len(self._timeline)
        state = self._starts.state(group["start"][0])
        return replay_sequence(
            self._timeline, sequence, self._rows[_numbers(group)], state, progressed
        )


def _numbers(group: pl.DataFrame) -> np.ndarray:
    return group["number"].to_numpy()


def _between(
    feature_set: FeatureSet, served: np.ndarray, late: np.ndarray, early: np.ndarray
) -> NDArray[np.bool_]:
    """(n, F) false where no choice of the events in doubt can give the served value.

    Args:
        feature_set: what is computed.
        served: (n, F) as served.
        late: (n, F) without any event in doubt.
        early: (n, F) with all of them.
    """
    possible = np.ones(served.shape, bool)
    flags = {f.entity: i for i, f in enumerate(feature_set.features) if f.aggregate == "saturated"}
    for column, feature in enumerate(feature_set.features):
        flag = flags.get(feature.entity)
        if flag is None or feature.aggregate not in _MONOTONE:
            continue
        low = np.fmin(late[:, column], early[:, column])
        high = np.fmax(late[:, column], early[:, column])
        value = served[:, column]
        beyond = (value < low) | (value > high)  # of a missing value neither is so
        exact = (late[:, flag] == 0) & (early[:, flag] == 0) & (served[:, flag] == 0)
        known = ~np.isnan(late[:, column]) & ~np.isnan(early[:, column])
        possible[:, column] = ~(beyond & exact & known)
    return possible
