"""The functions of `features/redis_state.lua`, called on one server or on a cluster."""

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Any, Protocol

from redis.cluster import RedisCluster
from redis.exceptions import (
    ClusterDownError,
    ClusterError,
    MasterDownError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisClusterException,
    RedisError,
    ResponseError,
    TryAgainError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from features.state import StateCorruptedError, StateLostError, StateUnavailableError
from features.timelines import EVENT_BYTES, RECORD_BYTES

SHARDS = 64

_UNAVAILABLE = (
    RedisConnectionError,
    RedisTimeoutError,
    OutOfMemoryError,
    ReadOnlyError,
    NoPermissionError,
    ClusterDownError,
    ClusterError,
    MasterDownError,
    TryAgainError,
    RedisClusterException,
)

_LOST = (
    "the feature state in Redis is gone or was replaced: fill it with preempt backfill --store "
    "redis, then start the workers again"
)


@dataclass(frozen=True, slots=True)
class Where:
    """Where a state's keys are: `before`, the shard's number, `after`; and what they hold."""

    before: str
    after: str
    facts_bytes: int
    spec: str

    def meta(self, shard: int) -> str:
        """Key of what is known of a shard as a whole."""
        return f"{self.before}{shard:02d}{self.after}meta"


@dataclass(frozen=True, slots=True)
class Call:
    """What every function is told besides its events."""

    tag: bytes  # (8,) of this call; the same when it is made again
    ttl_ms: int
    trim_from_bytes: int
    trim_before: int  # event time
    trim_at: int  # event time
    newest: int  # event time


@dataclass(frozen=True, slots=True)
class Known:
    """What the server knew before a call."""

    newest: int  # event time, after the call
    order_keys: bytes  # 8 each
    orders: list[bytes]
    names: bytes  # keys of the timelines, which all have one length
    timelines: list[bytes]


class Functions(Protocol):
    """The steps of `RedisState`, one server or many."""

    def open(self, fresh: bytes) -> list[bytes]:
        """The metas, each put there if there was none; they begin with the epoch."""
        ...

    def metas(self) -> list[bytes]:
        """The metas as they are now."""
        ...

    def apply(self, call: Call, heads: bytes, facts: bytes) -> Known:
        """Take events: register them at their orders, append them to their timelines."""
        ...


@lru_cache(maxsize=1)
def _library() -> tuple[str, str]:
    """Source and version. The version is in every name, so that workers of two can live together."""
    source = files("features").joinpath("redis_state.lua").read_text(encoding="utf-8")
    version = hashlib.sha256(source.encode()).hexdigest()[:8]
    return source.replace("@VERSION@", version), version


def functions_on(client: Any, where: Where) -> Functions:
    """For a `redis.Redis` or a `redis.cluster.RedisCluster`, which returns bytes."""
    if isinstance(client, RedisCluster):
        return ClusterFunctions(client, where)
    return ServerFunctions(client, where)


class ServerFunctions:
    """All on one server: one call, one round trip, atomic."""

    def __init__(self, client: Any, where: Where) -> None:
        self._client = client
        self._where = where
        self._epoch = b""

    def open(self, fresh: bytes) -> list[bytes]:
        """See `Functions`."""
        meta = self._call("open", self._where.meta(0), fresh)
        self._epoch = meta[:8]
        return [meta]

    def metas(self) -> list[bytes]:
        """See `Functions`."""
        meta = self._call("open", self._where.meta(0))
        _same_epoch(meta, self._epoch)
        return [meta]

    def apply(self, call: Call, heads: bytes, facts: bytes) -> Known:
        """See `Functions`."""
        context = _context(self._where, self._epoch, call, alone=True)
        newest, *known = self._call("apply", self._where.meta(0), *context, heads, facts)
        return Known(_integer(newest), *known)

    def _call(self, name: str, key: str, *args: object) -> Any:
        library, version = _library()
        with _named_errors():
            try:
                return self._client.fcall(f"preempt_{name}_{version}", 1, key, *args)
            except ResponseError as error:
                if not _is_lost_function(error):
                    raise
                self._client.function_load(library, replace=True)
                return self._client.fcall(f"preempt_{name}_{version}", 1, key, *args)


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
            _same_epoch(metas[shard], epoch)
        return [metas[shard] for shard in range(SHARDS)]

    def apply(self, call: Call, heads: bytes, facts: bytes) -> Known:
        """See `Functions`."""
        contexts = [_context(self._where, epoch, call, alone=False) for epoch in self._epochs]
        events = _by_shard(heads, facts, self._where.facts_bytes)
        newest, order_keys, orders = call.newest, [], []
        steps: dict[int, list[bytes]] = defaultdict(list)
        wanted: dict[bytes, tuple[list[bytes], bool]] = {}
        registered = self._round("orders", {s: [*contexts[s], *events[s]] for s in events})
        for shard in sorted(registered):
            newest_there, keys, before, found = registered[shard]
            newest = max(newest, _integer(newest_there))
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
        names, timelines = [], []
        appended = self._round("timelines", {s: [*contexts[s], *steps[s]] for s in steps})
        for shard in sorted(appended):
            newest_there, named, before = appended[shard]
            newest = max(newest, _integer(newest_there))
            names.append(named)
            timelines += before
        return Known(newest, b"".join(order_keys), orders, b"".join(names), timelines)

    def _round(self, name: str, calls: dict[int, list]) -> dict[int, Any]:
        """One function on several shards at once: shard → its arguments, shard → its answer."""
        library, version = _library()
        with _named_errors():
            answers = self._pipelined(f"preempt_{name}_{version}", calls)
            lost = [shard for shard, answer in answers.items() if _is_lost_function(answer)]
            if lost:
                self._client.function_load(library, replace=True)
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


def _context(where: Where, epoch: bytes, call: Call, *, alone: bool) -> list[object]:
    return [
        where.before, where.after, where.facts_bytes, where.spec, epoch, call.tag, call.ttl_ms,
        call.trim_from_bytes, call.trim_before, call.trim_at, call.newest, int(alone),
    ]  # fmt: skip


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


def _same_epoch(meta: bytes, epoch: bytes) -> None:
    if meta[:8] != epoch:
        raise StateLostError(_LOST)


def _is_lost_function(answer: object) -> bool:
    return isinstance(answer, ResponseError) and "unction not found" in str(answer)


def _integer(bytes_: bytes) -> int:
    return int.from_bytes(bytes_, "little", signed=True)


@contextmanager
def _named_errors() -> Iterator[None]:
    try:
        yield
    except _UNAVAILABLE as error:
        raise StateUnavailableError(
            f"the feature state in Redis cannot be used: {error}"
        ) from error
    except RedisError as error:
        name, _, rest = str(error).partition(" ")
        if name == "STATELOST":
            raise StateLostError(_LOST) from error
        if name == "CORRUPTED":
            raise StateCorruptedError(damaged(bytes.fromhex(rest.split()[0]))) from error
        if name == "WRONGTYPE":
            raise StateCorruptedError(
                f"a key of the feature state has another type: {rest}"
            ) from error
        raise


def damaged(key: bytes) -> str:
    """What to say of a damaged value."""
    return f"the value of {key!r} in Redis is damaged: delete it, or build the state again"
