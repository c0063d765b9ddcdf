"""Redis sorted sets, as tutorials on rate limits and velocity checks use them.

A set per entity value holds its orders by time, another one per entity value and counted entity
holds the latest time of each value seen. One pipeline an order.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

from redis import Redis
from redis.client import Pipeline

from benchmarks.feature_engines.contest import (
    Contest,
    Row,
    Run,
    by_entity,
    one_at_a_time,
    window_ms,
)
from features.declare import Feature
from preempt.embedded import Valkey

Reader = Callable[[Any], float]


def run(contest: Contest) -> Run:
    """One order at a time, each one round trip."""
    with (
        Valkey(contest.folder / "valkey-sorted-sets") as server,
        Redis.from_url(server.url, decode_responses=True) as client,
    ):
        return one_at_a_time(SortedSets(client, contest.declared.features), contest)


class SortedSets:
    """The state, on a Redis."""

    def __init__(self, client: Redis, features: Sequence[Feature]) -> None:
        self._client = client
        self._columns = len(features)
        self._features = by_entity(features)

    def __call__(self, row: Row) -> list[float]:
        """Features of this order; then it is remembered."""
        values = [math.nan] * self._columns
        pipeline = self._client.pipeline(transaction=False)
        readers: dict[int, tuple[int, Reader]] = {}  # place of the reply → column, what it says
        for entity, mine in self._features.items():
            if row[entity] is not None:
                self._ask(pipeline, entity, mine, row, readers)
        replies = pipeline.execute()
        for place, (column, read) in readers.items():
            values[column] = read(replies[place])
        return values

    def _ask(
        self,
        pipeline: Pipeline,
        entity: str,
        mine: list[tuple[int, Feature]],
        row: Row,
        readers: dict[int, tuple[int, Reader]],
    ) -> None:
        now = row["time"]
        key = f"{entity}:{row[entity]}"
        longest = max(window_ms(feature) for _, feature in mine)
        pipeline.zremrangebyscore(key, "-inf", f"({now - longest}")
        seen = {str(f.of): window_ms(f) for _, f in mine if f.aggregate == "distinct"}
        for of, length in seen.items():  # features come by window, so the longest is left
            pipeline.zremrangebyscore(f"{key}:{of}", "-inf", f"({now - length}")
        for column, feature in mine:
            earliest = now - window_ms(feature)
            read: Reader = float
            place = len(pipeline)
            match feature.aggregate:
                case "count":
                    pipeline.zcount(key, earliest, now)
                case "distinct":
                    pipeline.zcount(f"{key}:{feature.of}", earliest, now)
                case "sum":
                    pipeline.zrangebyscore(key, earliest, now)
                    read = lambda members: sum(map(_amount, members))  # noqa: E731
                case "max":
                    pipeline.zrangebyscore(key, earliest, now)
                    read = lambda members: max(map(_amount, members), default=math.nan)  # noqa: E731
                case "seconds_since_last":
                    pipeline.zrange(key, 0, 0, desc=True, withscores=True)
                    read = lambda last, now=now: (now - last[0][1]) / 1000 if last else math.nan  # noqa: E731
                case other:
                    raise ValueError(f"the contest has no {other}")
            readers[place] = column, read
        pipeline.zadd(key, {f"{row['order_id']}:{row['amount']}": now})
        pipeline.pexpire(key, longest)
        for of, length in seen.items():
            if row[of] is not None:
                pipeline.zadd(f"{key}:{of}", {row[of]: now})
                pipeline.pexpire(f"{key}:{of}", length)


def _amount(member: str) -> int:
    return int(member.rpartition(":")[2])
