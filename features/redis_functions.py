"""The functions of `features/redis_state.lua`, called on one server."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Any, Protocol

import numpy as np
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

# A disk that is full, a function that does not end, too few replicas.
_NOT_NOW = ("MISCONF", "BUSY", "NOREPLICAS")

_LOST = (
    "the feature state in Redis is gone or was replaced: fill it with preempt backfill --store "
    "redis, then start the workers again"
)


# A timeline that is long after a call: its number, its generation, and the bytes of its records, or
# 0 when these are others than were shown before the call and those of the call.
LONG = np.dtype([("number", "<u4"), ("generation", "<u4"), ("record_bytes", "<u4")])


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
    long_bytes: int  # of records, from which a timeline is shown as long
    newest: int  # event time


@dataclass(frozen=True, slots=True)
class Known:
    """What the server knew before a call."""

    newest: int  # event time, after the call
    order_keys: bytes  # 8 each
    orders: list[bytes]
    names: bytes  # keys of the timelines, which all have one length
    timelines: list[bytes]
    long: np.ndarray  # (n,) LONG, of those that may have to be folded
    turn: int = 0  # which call of all that the server took, from 1; 0: there is no such sequence


@dataclass(frozen=True, slots=True)
class Folded:
    """What shall be put in the place of a timeline as a call left it."""

    generation: int
    record_bytes: int  # what it replaces, beside the tiles
    tiles: bytes
    records: bytes


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

    def replace(self, folded: Mapping[bytes, Folded]) -> None:
        """Replace timelines, by key, except those that somebody else replaced meanwhile."""
        ...


@lru_cache(maxsize=1)
def library() -> tuple[str, str]:
    """Source and version. The version is in every name, so that workers of two can live together."""
    source = files("features").joinpath("redis_state.lua").read_text(encoding="utf-8")
    version = hashlib.sha256(source.encode()).hexdigest()[:8]
    return source.replace("@VERSION@", version), version


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
        require_epoch(meta, self._epoch)
        return [meta]

    def apply(self, call: Call, heads: bytes, facts: bytes) -> Known:
        """See `Functions`."""
        told = context(self._where, self._epoch, call, alone=True)
        answer = self._call("apply", self._where.meta(0), *told, heads, facts)
        newest, order_keys, orders, names, timelines, long, turn = answer
        return Known(
            integer(newest), order_keys, orders, names, timelines, np.frombuffer(long, LONG), turn
        )

    def replace(self, folded: Mapping[bytes, Folded]) -> None:
        """See `Functions`."""
        with named_errors(), self._client.pipeline(transaction=False) as pipeline:
            for key, each in folded.items():
                pipeline.execute_command(*replacing(key, each))
            raise_unless_lost(pipeline.execute(raise_on_error=False))

    def _call(self, name: str, key: str, *args: object) -> Any:
        source, version = library()
        with named_errors():
            try:
                return self._client.fcall(f"preempt_{name}_{version}", 1, key, *args)
            except ResponseError as error:
                if not is_lost_function(error):
                    raise
                self._client.function_load(source, replace=True)
                return self._client.fcall(f"preempt_{name}_{version}", 1, key, *args)


def context(where: Where, epoch: bytes, call: Call, *, alone: bool) -> list[object]:
    """The arguments that every step takes first; `alone`: the server holds the whole state."""
    return [
        where.before, where.after, where.facts_bytes, where.spec, epoch, call.tag, call.ttl_ms,
        call.long_bytes, call.newest, int(alone),
    ]  # fmt: skip


def replacing(key: bytes, folded: Folded) -> tuple[object, ...]:
    """The command that replaces one timeline."""
    _, version = library()
    what = (folded.generation, folded.record_bytes, folded.tiles, folded.records)
    return ("FCALL", f"preempt_replace_{version}", 1, key, *what)


def require_epoch(meta: bytes, epoch: bytes) -> None:
    """Raise `StateLostError` when the meta is of another state, or of none."""
    if meta[:8] != epoch:
        raise StateLostError(_LOST)


def is_lost_function(answer: object) -> bool:
    """Whether a server answers that it has not got the functions."""
    return isinstance(answer, ResponseError) and "unction not found" in str(answer)


def raise_unless_lost(answers: Iterable[object]) -> None:
    """Raise what went wrong, but not that functions are lost: the next call loads them."""
    for answer in answers:
        if isinstance(answer, Exception) and not is_lost_function(answer):
            raise answer


def integer(bytes_: bytes) -> int:
    """A signed little-endian integer."""
    return int.from_bytes(bytes_, "little", signed=True)


@contextmanager
def named_errors() -> Iterator[None]:
    """Turn what Redis says into the errors of `features.state`."""
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
        if name in _NOT_NOW:
            raise StateUnavailableError(
                f"the feature state in Redis cannot be used: {error}"
            ) from error
        if str(error).startswith("unknown command"):
            raise StateUnavailableError(
                "this Redis has no functions: Redis 7 or Valkey is needed"
            ) from error
        raise


def damaged(key: bytes) -> str:
    """What to say of a damaged value."""
    return f"the value of {key!r} in Redis is damaged: delete it, or build the state again"
