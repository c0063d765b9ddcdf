"""Served vectors against recomputed ones, value by value.

Every order is recomputed twice. In event-time order, where nothing is late: what a training frame
of a complete history gives; the equal share is counted against this. And in the sequence in which
the state really took the events. A difference to the first that is none to the second is
explained: some event came late. A difference to the second is not, and must not be.

Of a state that several workers share, the sequence is known except for events that were under way
at one worker while another one decided. Only a difference that such an event can make, one that
the feature counts, is explained by it.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import numpy as np

from training.late_events import LateEvent, LateEvents
from training.recomputed import Vectors, recompute
from training.served_archive import ServedArchive
from training.starts import Starts

EXAMPLES = 3


class Example(msgspec.Struct, frozen=True, kw_only=True):
    """One order whose served value differs; null is a missing value."""

    order_id: str
    served: float | None
    recomputed: float | None  # in event-time order
    as_applied: float | None  # in the sequence of the state; null too where that is not known


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
    concurrent: int  # not as applied, by events that were under way at another worker
    untraced: int  # differing, of decisions of which the past or the sequence is not known
    unnamed: int  # explained, but no event can be named
    orders_equal: int
    orders_unexplained: list[str]  # order ids
    late_events: list[LateEvent]  # those that moved the most orders first
    concurrent_events: list[LateEvent]  # the same of those under way
    archived_orders: int
    archived_outcomes: int
    states: int  # processes of workers that served them
    too_recent: int  # decisions left out
    of_other_features: int  # decisions left out
    feature_hash: str


def measure_parity(
    archive: ServedArchive,
    snapshots: Sequence[Path] = (),
    on_progress: Callable[[int, int], None] = lambda _done, _total: None,
    *,
    past: Path | None = None,
) -> Parity:
    """Recompute, compare, and explain what differs.

    Args:
        archive: what was served, and the events.
        snapshots: files among which are those that the states began with.
        on_progress: told how many events have been applied, of how many.
        past: a snapshot of what shared states held before the first worker came. Without it
            decisions of those that held something are not judged.

    Raises:
        UserError: a snapshot that a state began with is not among `snapshots`.
    """
    starts = Starts(archive.feature_set, snapshots, past)
    vectors, late = recompute(archive, starts, on_progress)
    return _result(archive, vectors, late)


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


def _result(archive: ServedArchive, vectors: Vectors, late: LateEvents) -> Parity:
    order_ids = archive.decisions["order_id"].to_list()
    differs, unexplained = vectors.differs, vectors.unexplained
    untraced = differs & ~vectors.traced
    return Parity(
        orders=len(order_ids),
        features=differs.shape[1],
        equal_share=1 - int(differs.sum()) / differs.size,
        worst=compare(vectors, archive.feature_set.names, order_ids),
        differing=int(differs.sum()),
        explained=int((differs & ~unexplained & ~untraced).sum()),
        unexplained=int(unexplained.sum()),
        untraced=int(untraced.sum()),
        concurrent=int(vectors.concurrent.sum()),
        unnamed=late.unnamed,
        orders_equal=int((~differs.any(axis=1)).sum()),
        orders_unexplained=[order_ids[row] for row in np.flatnonzero(unexplained.any(axis=1))],
        late_events=late.named(archive),
        concurrent_events=late.concurrent(archive),
        archived_orders=len(archive.orders),
        archived_outcomes=len(archive.outcomes),
        states=archive.decisions["state"].drop_nulls().str.extract("^([^-]*)").n_unique(),
        too_recent=archive.too_recent,
        of_other_features=archive.of_other_features,
        feature_hash=archive.feature_set.hash,
    )


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
