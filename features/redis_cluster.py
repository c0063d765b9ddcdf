"""The functions of `features/redis_state.lua`, called on a cluster."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from redis.cluster import RedisCluster

from features.redis_functions import (
    LONG,
    Call,
    Folded,
    Known,
    Where,
    context,
    integer,
    is_lost_function,
    library,
    named_errors,
    raise_unless_lost,
    replacing,
    require_epoch,
)
from features.timeline_layout import EVENT_BYTES, RECORD_BYTES

SHARDS = 64


class ClusterFunctions:
    """Shards on several servers: two rounds, one call a shard in each, atomic per shard.

    A worker that dies between the rounds leaves orders registered and not in their timelines;
    whoever gets them again puts them there.
    """

    def __init__(self, client: RedisCluster, where: Where) -> None:
        self._client = client
        self._where = where
        self._epochs: list[bytes] = []

    def open(self, fresh: bytes) -> list[bytes]:
        """See `Functions`."""
        metas = self._round("open", {shard: [fresh] for shard in range(SHARDS)})
        self._epochs = [metas[shard][:8] for shard in range(SHARDS)]
        return [metas[shard] for shard in range(SHARDS)]

    def metas(self) -> list[bytes]:
        """See `Functions`."""
        metas = self._round("open", {shard: [] for shard in range(SHARDS)})
        for shard, epoch in enumerate(self._epochs):
            require_epoch(metas[shard], epoch)
        return [metas[shard] for shard in range(SHARDS)]

    def apply(self, call: Call, heads: bytes, facts: bytes) -> Known:
        """See `Functions`."""
        contexts = [context(self._where, epoch, call, alone=False) for epoch in self._epochs]
        events = _by_shard(heads, facts, self._where.facts_bytes)
        newest, order_keys, orders = call.newest, [], []
        steps: dict[int, list[bytes]] = defaultdict(list)
        wanted: dict[bytes, tuple[list[bytes], bool]] = {}
        registered = self._round("orders", {s: [*contexts[s], *events[s]] for s in events})
        for shard in sorted(registered):
            newest_there, keys, before, found = registered[shard]
            newest = max(newest, integer(newest_there))
            order_keys.append(keys)
            orders += before
            for key, is_wanted, items in _steps(found):
                earlier, was_wanted = wanted.get(key, ([], False))
                wanted[key] = (earlier + items, was_wanted or is_wanted)
        position = _positions(heads)
        for key, (items, is_wanted) in wanted.items():
            shard = key[-1] // (256 // SHARDS)
            flag = b"1" if is_wanted else b"0"
            steps[shard] += [key, flag, b"%d" % (len(items) // 2), *_in_sequence(items, position)]
        names, timelines, long = [], [], []
        appended = self._round("timelines", {s: [*contexts[s], *steps[s]] for s in steps})
        for shard in sorted(appended):
            newest_there, named, before, found_long = appended[shard]
            newest = max(newest, integer(newest_there))
            names.append(named)
            long.append(np.frombuffer(found_long, LONG).copy())
            long[-1]["number"] += len(timelines)
            timelines += before
        return Known(
            newest, b"".join(order_keys), orders, b"".join(names), timelines,
            np.concatenate(long) if long else np.empty(0, LONG),
        )  # fmt: skip

    def replace(self, folded: Mapping[bytes, Folded]) -> None:
        """See `Functions`."""
        with named_errors(), self._client.pipeline() as pipeline:
            for key, each in folded.items():
                node = self._client.get_node_from_key(key)
                pipeline.execute_command(*replacing(key, each), target_nodes=node)
            raise_unless_lost(pipeline.execute(raise_on_error=False))

    def _round(self, name: str, calls: dict[int, list]) -> dict[int, Any]:
        """One function on several shards at once: shard → its arguments, shard → its answer."""
        source, version = library()
        with named_errors():
            answers = self._pipelined(f"preempt_{name}_{version}", calls)
            lost = [shard for shard, answer in answers.items() if is_lost_function(answer)]
            if lost:
                self._client.function_load(source, replace=True)
                again = {shard: calls[shard] for shard in lost}
                answers |= self._pipelined(f"preempt_{name}_{version}", again)
            for answer in answers.values():
                if isinstance(answer, Exception):
                    raise answer
        return answers

    def _pipelined(self, function: str, calls: dict[int, list]) -> dict[int, Any]:
        with self._client.pipeline() as pipeline:
            for shard, args in calls.items():
                key = self._where.meta(shard)
                # Without the node the client asks a server where the keys are in the arguments.
                node = self._client.get_node_from_key(key)
                pipeline.execute_command("FCALL", function, 1, key, *args, target_nodes=node)
            return dict(zip(calls, pipeline.execute(raise_on_error=False), strict=True))


def _by_shard(heads: bytes, facts: bytes, facts_bytes: int) -> dict[int, tuple[bytes, bytes]]:
    """Events by the shard of their order's key, in their sequence."""
    found: dict[int, tuple[list[bytes], list[bytes]]] = defaultdict(lambda: ([], []))
    facts_at = 0
    for at in range(0, len(heads), EVENT_BYTES):
        of_shard = found[heads[at + 7] // (256 // SHARDS)]
        of_shard[0].append(heads[at : at + EVENT_BYTES])
        if heads[at + 8] == 0:
            of_shard[1].append(facts[facts_at : facts_at + facts_bytes])
            facts_at += facts_bytes
    return {shard: (b"".join(h), b"".join(f)) for shard, (h, f) in found.items()}


def _steps(found: Sequence[bytes]) -> Iterator[tuple[bytes, bool, list[bytes]]]:
    at = 0
    while at < len(found):
        stop = at + 3 + 2 * int(found[at + 2])
        yield found[at], found[at + 1] == b"1", list(found[at + 3 : stop])
        at = stop


def _positions(heads: bytes) -> dict[bytes, int]:
    """Where in the call each event is, by what its records begin with."""
    found: dict[bytes, int] = {}
    for at in range(0, len(heads), EVENT_BYTES):
        found.setdefault(heads[at : at + RECORD_BYTES], at)
    return found


def _in_sequence(items: list[bytes], position: dict[bytes, int]) -> Iterator[bytes]:
    """Records of one timeline, from the orders of several shards, in the sequence of the call."""
    pairs = [(items[i], items[i + 1]) for i in range(0, len(items), 2)]
    pairs.sort(key=lambda pair: position.get(pair[0][:RECORD_BYTES], -1))
    return (each for pair in pairs for each in pair)
