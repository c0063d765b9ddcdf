"""Which events came late, order by order and feature by feature.

An event is late for an order when it lies before it in event time but was applied after it. It
moves a feature of that order only when it carries the same entity value, lies in the window and is
of a kind that the feature counts: so much follows from the declarations, and nothing is guessed.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from features.declare import CIRCLE, ENTITIES, OUTCOME_CODES, Feature
from features.feature_set import FeatureSet
from training.applied import NEVER, Events, Timeline, positions
from training.served_archive import ServedArchive

_ORDER = 0  # the kind of an order
TILES_FROM = 256  # events of one value: then its older ones are folded (docs/adr/0007)


class LateEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An event that was applied out of its time, and what that moved.

    `late_ms` says by how much the newest event time that the state had seen lay after this event;
    0: of one moment with the order it moved, in another sequence; null: the state never took it
    before its last decision, or at all, because another worker held its partition.
    `certain` is false for an outcome of an order that is not in the archive: its entity values are
    not known, and it is named only where nothing else is.
    """

    table: str  # "orders" or "outcomes"
    kind: str  # "order", or that of the outcome
    order_id: str
    event_time: int  # UTC ms
    late_ms: int | None
    partition: int
    offset: int
    appended_time: int  # UTC ms, by the broker
    moved: int  # orders compared that it moved
    features: list[str]
    example: str  # one of these orders
    certain: bool


@dataclass(slots=True)
class _Moved:
    orders: list[int] = field(default_factory=list)  # event numbers
    features: set[int] = field(default_factory=set)
    certain: bool = False
    late_ms: int | None = None


class LateEvents:
    """Collects the late events of one state after the other.

    Attributes:
        unnamed: differing values for which no event was found.
    """

    def __init__(self, timeline: Timeline, feature_set: FeatureSet, in_time: Events) -> None:
        self._timeline = timeline
        self._features = feature_set.features
        self._moved: dict[int, _Moved] = {}
        self._concurrent: dict[int, _Moved] = {}
        self._events_of_value: dict[int, dict[int, int]] = {}  # by column of the entity
        self.unnamed = 0
        events = pl.DataFrame(
            {
                "event": np.arange(len(timeline)),
                "key": timeline.key,
                "kind": timeline.kind,
                "time": np.where(timeline.kind == _ORDER, 0, timeline.time),
            }
        )
        # Repeats change nothing: the first record stands for all.
        same = pl.col("event").min().over("key", "kind", "time")
        self._first = events.select(same).to_series().to_numpy()
        orders = events.filter(pl.col("kind") == _ORDER).group_by("key").agg(pl.col("event").min())
        owners = events.join(orders, on="key", how="left", maintain_order="left")["event_right"]
        self._owner = owners.fill_null(-1).to_numpy()  # the order that an event belongs to
        self._ideal = self._counted(positions(in_time, len(timeline)))

    def look(self, sequence: Events, orders: Events, differs: NDArray[np.bool_]) -> None:
        """Find what moved the orders of one state.

        Args:
            sequence: in which the state took events.
            orders: (n,) event numbers.
            differs: (n, F), the values that differ between this sequence and event time.
        """
        timeline, ideal = self._timeline, self._ideal
        applied = self._counted(positions(sequence, len(timeline)))
        place = np.minimum(applied, len(sequence))
        before = np.maximum.accumulate(np.append(-1, ideal[sequence]))
        newest = np.maximum.accumulate(np.append(-NEVER, timeline.time[sequence]))
        stands = self._first == np.arange(len(timeline))
        overtaken = np.flatnonzero(stands & (before[place] > ideal))
        for number in np.flatnonzero(differs.any(axis=1)).tolist():
            order = int(orders[number])
            late = overtaken[
                (ideal[overtaken] < ideal[order]) & (applied[overtaken] > applied[order])
            ]
            ties = np.flatnonzero(stands & (timeline.time == timeline.time[order]))
            early = ties[(ideal[ties] > ideal[order]) & (applied[ties] < applied[order])]
            candidates = np.union1d(late, early)
            candidates = candidates[timeline.key[candidates] != timeline.key[order]]
            # What was applied before, out of its time, the order itself included, moved tiles.
            folded = overtaken[applied[overtaken] <= applied[order]]
            for feature in np.flatnonzero(differs[number]).tolist():
                self._name(order, feature, (candidates, folded), applied, newest)

    def overlapping(
        self,
        first: np.ndarray,
        sequence: Events,
        orders: Events,
        turns: np.ndarray,
        differs: NDArray[np.bool_],
    ) -> NDArray[np.bool_]:
        """Find what a shared state may have taken earlier than in this sequence.

        Args:
            first: of all events, the turn before which the state did not take them.
            sequence: in which each event is as late as it may be.
            orders: (n,) event numbers.
            turns: (n,) in which they were taken.
            differs: (n, F), the values that differ from this sequence.

        Returns:
            (n, F), which of them such an event explains.
        """
        timeline = self._timeline
        applied = self._counted(positions(sequence, len(timeline)))
        begins = self._of_first_records(first)
        owner = np.maximum(self._owner, 0)
        stands = self._first == np.arange(len(timeline))
        explained = np.zeros_like(differs)
        for number in np.flatnonzero(differs.any(axis=1)).tolist():
            order = int(orders[number])
            may_be_before = begins < turns[number]
            # An outcome counts as soon as its order, which may be of this call, does.
            counts = (self._owner < 0) | may_be_before[owner] | (applied[owner] < applied[order])
            in_doubt = may_be_before & counts & (applied > applied[order]) & stands
            candidates = np.flatnonzero(in_doubt & (timeline.key != timeline.key[order]))
            for feature in np.flatnonzero(differs[number]).tolist():
                fitting = self._fitting(order, self._features[feature], candidates)
                if not len(fitting):
                    fitting = self._in_tiles(order, self._features[feature], candidates)
                explained[number, feature] = len(fitting) > 0
                for event in fitting.tolist():
                    self._note(self._concurrent, self._cause(event, applied), order, feature)
        return explained

    def named(self, archive: ServedArchive) -> list[LateEvent]:
        """All late ones that were found; those that moved the most orders first."""
        return self._listed(archive, self._moved)

    def concurrent(self, archive: ServedArchive) -> list[LateEvent]:
        """The same of those that `overlapping` found."""
        return self._listed(archive, self._concurrent)

    def _listed(self, archive: ServedArchive, moved: dict[int, _Moved]) -> list[LateEvent]:
        found = [self._late_event(archive, *each) for each in moved.items()]
        return sorted(found, key=lambda e: (not e.certain, -e.moved, e.event_time, e.order_id))

    def _cause(self, event: int, applied: np.ndarray) -> int:
        """Of an outcome and its order, the one that came last: it made both count so late."""
        owner = int(self._owner[event])
        return owner if owner >= 0 and applied[owner] == applied[event] else event

    def _note(self, moved: dict[int, _Moved], event: int, order: int, feature: int) -> _Moved:
        found = moved.setdefault(event, _Moved())
        found.orders.append(order)
        found.features.add(feature)
        found.certain |= bool(self._owner[event] >= 0)
        return found

    def _of_first_records(self, places: np.ndarray) -> np.ndarray:
        first = np.full(len(places), NEVER)
        np.minimum.at(first, self._first, places)
        return first[self._first]

    def _counted(self, places: np.ndarray) -> np.ndarray:
        """When each event begins to count: an outcome waits for its order, repeats for nothing."""
        first = self._of_first_records(places)
        known = self._owner >= 0
        first[known] = np.maximum(first[known], first[self._owner[known]])
        return first

    def _name(
        self,
        order: int,
        feature: int,
        candidates: tuple[Events, Events],
        applied: np.ndarray,
        newest: np.ndarray,
    ) -> None:
        timeline, owner = self._timeline, self._owner
        late, folded = candidates
        fitting = self._fitting(order, self._features[feature], late)
        known = fitting[owner[fitting] >= 0]
        chosen = known if len(known) else fitting
        if not len(chosen):
            chosen = self._in_tiles(order, self._features[feature], np.union1d(late, folded))
        if not len(chosen):
            self.unnamed += 1
        for event in chosen.tolist():
            cause = self._cause(event, applied)
            moved = self._note(self._moved, cause, order, feature)
            if applied[cause] < len(newest):
                late = int(newest[applied[cause]] - timeline.time[cause])
                moved.late_ms = max(late, moved.late_ms or 0)

    def _in_tiles(self, order: int, feature: Feature, candidates: Events) -> Events:
        """Those of the candidates that could move an estimate: in its window or not.

        What a tile holds depends on the sequence in which its events came.
        """
        if feature.entity is None:
            return candidates[:0]
        column = ENTITIES.index(feature.entity)
        key = self._timeline.placed.entity_key[order - self._timeline.first_order, column]
        if self._most_events(column).get(int(key), 0) < TILES_FROM:
            return candidates[:0]
        return self._fitting(order, feature, candidates, in_window=False)

    def _most_events(self, column: int) -> dict[int, int]:
        """Of each value of an entity, how many orders there are, or outcomes if these are more."""
        if column not in self._events_of_value:
            first, keys = self._timeline.first_order, self._timeline.placed.entity_key[:, column]
            stands = self._first == np.arange(len(self._timeline))
            counts: dict[int, int] = {}
            for is_order in (True, False):
                known = stands & (self._owner >= 0) & ((self._timeline.kind == _ORDER) == is_order)
                found = np.unique(keys[self._owner[known] - first], return_counts=True)
                for key, count in zip(*(each.tolist() for each in found), strict=True):
                    counts[key] = max(count, counts.get(key, 0))
            counts.pop(0, None)  # has no value
            self._events_of_value[column] = counts
        return self._events_of_value[column]

    def _fitting(
        self, order: int, feature: Feature, candidates: Events, *, in_window: bool = True
    ) -> Events:
        """Those of the candidates that the feature of this order could count."""
        timeline = self._timeline
        if feature.entity is None or feature.window_s is None:
            return candidates[:0]
        owner = self._owner[candidates]
        carries = self._carries(order, owner, [feature.entity])
        if feature.aggregate == "known_to_circle":  # orders widen the circle
            is_order = timeline.kind[candidates] == _ORDER
            carries = np.where(is_order, self._carries(order, owner, CIRCLE[1:]), carries)
        age = timeline.time[order] - timeline.time[candidates]
        near = (age >= 0) & (age <= 1000 * feature.window_s)
        counts = np.isin(timeline.kind[candidates], _kinds(feature))
        return candidates[carries & (near if in_window else True) & counts]

    def _carries(self, order: int, owner: np.ndarray, entities: Sequence[str]) -> np.ndarray:
        """Whether the owners share a value of one of the entities; of unknown ones we assume so."""
        first, keys = self._timeline.first_order, self._timeline.placed.entity_key
        columns = [ENTITIES.index(entity) for entity in entities]
        known = owner >= 0
        theirs = keys[np.where(known, owner - first, 0)][:, columns]
        mine = keys[order - first, columns]
        return ~known | ((theirs == mine) & (mine != 0)).any(axis=1)

    def _late_event(self, archive: ServedArchive, event: int, moved: _Moved) -> LateEvent:
        first_order = self._timeline.first_order
        is_order = event >= first_order
        table = archive.orders if is_order else archive.outcomes
        row = table.row(event - first_order if is_order else event, named=True)
        return LateEvent(
            table="orders" if is_order else "outcomes",
            kind="order" if is_order else row["kind"],
            order_id=row["order_id"],
            event_time=int(self._timeline.time[event]),
            late_ms=moved.late_ms,
            partition=row["partition"],
            offset=row["offset"],
            appended_time=int(self._timeline.appended[event]),
            moved=len(set(moved.orders)),
            features=[self._features[i].name for i in sorted(moved.features)],
            example=archive.orders["order_id"][moved.orders[0] - first_order],
            certain=moved.certain,
        )


def _kinds(feature: Feature) -> list[int]:
    if feature.events == "orders":
        return [_ORDER]
    kinds = [OUTCOME_CODES[name] for name in feature.events.split("|")]
    return [_ORDER, *kinds] if feature.aggregate in ("rate", "known_to_circle") else kinds
