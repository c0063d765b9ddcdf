"""Python deques by hand: each entity value keeps its orders of the longest window."""

import math
from collections import defaultdict, deque
from collections.abc import Sequence

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
    return one_at_a_time(Deques(contest.declared.features), contest)


class Deques:
    """The state: a deque of orders for each entity value."""

    def __init__(self, features: Sequence[Feature]) -> None:
        self._columns = len(features)
        self._features = by_entity(features)
        self._longest = {
            entity: max(window_ms(feature) for _, feature in mine)
            for entity, mine in self._features.items()
        }
        self._orders: defaultdict[tuple[str, str], deque[Row]] = defaultdict(deque)

    def __call__(self, row: Row) -> list[float]:
        """Features of this order; then it is remembered."""
        values = [math.nan] * self._columns
        for entity, mine in self._features.items():
            if row[entity] is None:
                continue
            orders = self._orders[entity, row[entity]]
            while orders and orders[0]["time"] < row["time"] - self._longest[entity]:
                orders.popleft()
            windows: dict[int, list[Row]] = {}
            for column, feature in mine:
                if feature.aggregate == "seconds_since_last":
                    if orders:
                        values[column] = (row["time"] - orders[-1]["time"]) / 1000
                    continue
                length = window_ms(feature)
                if length not in windows:
                    windows[length] = _since(orders, row["time"] - length)
                values[column] = _aggregate(feature, windows[length])
            orders.append(row)
        return values


def _since(orders: deque[Row], earliest: int) -> list[Row]:
    recent = []
    for order in reversed(orders):
        if order["time"] < earliest:
            break
        recent.append(order)
    return recent


def _aggregate(feature: Feature, recent: list[Row]) -> float:
    of = str(feature.of)
    match feature.aggregate:
        case "count":
            return len(recent)
        case "sum":
            return sum(order[of] for order in recent)
        case "max":
            return max((order[of] for order in recent), default=math.nan)
        case "distinct":
            return len({order[of] for order in recent} - {None})
        case other:
            raise ValueError(f"the contest has no {other}")
