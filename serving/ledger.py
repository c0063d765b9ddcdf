"""The ledger of decisions: the same order id again gets the very same decision."""

from collections.abc import Sequence
from typing import Any, Protocol

from redis.cluster import RedisCluster
from redis.exceptions import RedisClusterException, RedisError

from serving.decisions import Decision, decision_decoder, decision_encoder


class LedgerUnavailableError(RuntimeError):
    """The ledger cannot be reached: nothing was recalled or recorded, and trying again is safe."""


class DecisionLedger(Protocol):
    """Remembers decisions for a while, by order id."""

    def recall(self, order_ids: Sequence[str]) -> list[Decision | None]:
        """The decision recorded for each id, None where there is none.

        Raises:
            LedgerUnavailableError: when it cannot be reached.
        """
        ...

    def record(self, decisions: Sequence[Decision]) -> None:
        """Remember decisions; of an id that has one already, the first stays.

        Raises:
            LedgerUnavailableError: when it cannot be reached.
        """
        ...


class InMemoryLedger:
    """The latest `capacity` decisions of this process."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._decisions: dict[str, Decision] = {}

    def recall(self, order_ids: Sequence[str]) -> list[Decision | None]:
        """See `DecisionLedger`."""
        return [self._decisions.get(order_id) for order_id in order_ids]

    def record(self, decisions: Sequence[Decision]) -> None:
        """See `DecisionLedger`; the oldest are forgotten first."""
        for decision in decisions:
            self._decisions.setdefault(decision.order_id, decision)
        surplus = len(self._decisions) - self._capacity
        if surplus > 0:
            for order_id in list(self._decisions)[:surplus]:  # a dict keeps insertion order
                del self._decisions[order_id]


_RECORD = """
for i, key in ipairs(KEYS) do
  redis.call('SET', key, ARGV[i + 1], 'EX', ARGV[1], 'NX')
end
"""


class RedisLedger:
    """Decisions in one Redis that all workers share, as they are on the wire.

    One MGET and one script a chunk: a pipeline of SETs costs ten times as much in the client.
    On a Redis Cluster, where the keys are on several servers, it is such pipelines.

    Args:
        client: a `redis.Redis` or `redis.cluster.RedisCluster` that returns bytes
            (`decode_responses=False`); owned by the caller.
        ttl: seconds for which a decision is remembered.
        prefix: put before every key `decision:<order id>`.
    """

    def __init__(self, client: Any, ttl: int, prefix: str = "") -> None:
        self._client = client
        self._is_cluster = isinstance(client, RedisCluster)
        self._record = None if self._is_cluster else client.register_script(_RECORD)
        self._ttl = ttl
        self._prefix = f"{prefix}decision:"

    def recall(self, order_ids: Sequence[str]) -> list[Decision | None]:
        """See `DecisionLedger`."""
        if not order_ids:
            return []
        try:
            get = self._client.mget_nonatomic if self._is_cluster else self._client.mget
            values = get([self._prefix + order_id for order_id in order_ids])
        except (RedisError, RedisClusterException) as error:
            raise LedgerUnavailableError(f"cannot recall decisions: {error}") from error
        decode = decision_decoder.decode
        return [None if value is None else decode(value) for value in values]

    def record(self, decisions: Sequence[Decision]) -> None:
        """See `DecisionLedger`."""
        if not decisions:
            return
        keys = [self._prefix + decision.order_id for decision in decisions]
        values = [decision_encoder.encode(decision) for decision in decisions]
        try:
            if self._record is not None:
                self._record(keys, [self._ttl, *values])
            else:
                with self._client.pipeline() as pipeline:
                    for key, value in zip(keys, values, strict=True):
                        pipeline.set(key, value, ex=self._ttl, nx=True)
                    pipeline.execute()
        except (RedisError, RedisClusterException) as error:
            raise LedgerUnavailableError(f"cannot record decisions: {error}") from error
