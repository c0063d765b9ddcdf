"""River's rolling statistics: a `utils.TimeRolling` for each feature and entity value.

River's count and maximum cannot forget, and it has no distinct count, so `Max` and `Distinct` are
written here as its documentation asks for: any class with `update` and `revert` can roll.

A rolling statistic forgets only when it is updated, so the order at hand goes in first and is
taken out of what is read. River's window leaves its far edge out; a millisecond more lets it in.
"""

import datetime as dt
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from functools import partial

from river import stats, utils

from benchmarks.feature_engines.contest import (
    Contest,
    Row,
    Run,
    by_entity,
    one_at_a_time,
    window_ms,
)
from features.declare import Feature


def run(contest: Contest) -> Run:
    """One order at a time."""
    return one_at_a_time(RiverStatistics(contest.declared.features), contest)


class Distinct:
    """How many different values others carry."""

    def __init__(self) -> None:
        self._times: Counter[str | None] = Counter()
        self._latest: str | None = None

    def update(self, x: str | None) -> None:
        """Take a value; None only moves the time."""
        self._latest = x
        if x is not None:
            self._times[x] += 1

    def revert(self, x: str | None) -> None:
        """Forget a value."""
        if x is not None:
            self._times[x] -= 1
            if not self._times[x]:
                del self._times[x]

    def get(self) -> int:
        """Without the latest."""
        return len(self._times) - (self._latest is not None and self._times[self._latest] == 1)


class Max:
    """The largest value of others."""

    def __init__(self) -> None:
        self._times: Counter[float] = Counter()
        self._latest = math.nan

    def update(self, x: float) -> None:
        """Take a value."""
        self._latest = x
        self._times[x] += 1

    def revert(self, x: float) -> None:
        """Forget a value."""
        self._times[x] -= 1
        if not self._times[x]:
            del self._times[x]

    def get(self) -> float:
        """Without the latest; NaN when there is no other."""
        once = self._times[self._latest] == 1
        return max((x for x in self._times if x != self._latest or not once), default=math.nan)


class RiverStatistics:
    """The state: a rolling statistic for each feature and entity value."""

    def __init__(self, features: Sequence[Feature]) -> None:
        self._columns = len(features)
        self._features = by_entity(features)
        self._rolling = [defaultdict(_rolling(feature)) for feature in features]
        self._last: dict[tuple[str, str], int] = {}

    def __call__(self, row: Row) -> list[float]:
        """Features of this order; then it is remembered."""
        values = [math.nan] * self._columns
        t = dt.datetime.fromtimestamp(row["time"] / 1000, dt.UTC).replace(tzinfo=None)
        for entity, mine in self._features.items():
            value = row[entity]
            if value is None:
                continue
            for column, feature in mine:
                if feature.aggregate == "seconds_since_last":
                    if (entity, value) in self._last:
                        values[column] = (row["time"] - self._last[entity, value]) / 1000
                    self._last[entity, value] = row["time"]
                    continue
                rolling = self._rolling[column][value]
                x = 1 if feature.aggregate == "count" else row[str(feature.of)]
                rolling.update(x, t=t)
                own = x if feature.aggregate in ("count", "sum") else 0
                values[column] = rolling.obj.get() - own
        return values


def _rolling(feature: Feature) -> Callable[[], utils.TimeRolling]:
    statistic = {"count": stats.Sum, "sum": stats.Sum, "max": Max, "distinct": Distinct}
    if feature.aggregate == "seconds_since_last":
        return lambda: utils.TimeRolling(stats.Sum, dt.timedelta(0))  # never asked
    period = dt.timedelta(milliseconds=window_ms(feature) + 1)
    return partial(utils.TimeRolling, statistic[feature.aggregate], period)
