"""The shared store: many workers, one Redis or Valkey, or a cluster of them."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import xxhash
from redis.cluster import RedisCluster

from features import kernels
from features.columns import EventColumns
from features.declare import LONGEST_WINDOW_S
from features.feature_set import FeatureSet
from features.folding import FOLD_BYTES, LONG_BYTES, Folds, name_of
from features.kernels import Tables
from features.memory import HORIZON_MS
from features.plan import Plan, compile_plan
from features.redis_cluster import ClusterFunctions
from features.redis_functions import Call, Folded, Functions, Known, ServerFunctions, Where, damaged
from features.scratch_tables import ScratchTables
from features.state import StateCorruptedError, StateUnavailableError
from features.tables import kernel_events, scratch_for, with_room_in_pools
from features.timeline_layout import FACTS_BYTES, TimelineLayout, timeline_layout
from features.timeline_tiles import read_tiles
from features.timelines import (
    Timelines,
    count_records,
    packed_events,
    read_orders,
    record_parts,
    timelines_of,
)

# Beyond the horizon, for a backlog: events may be read so long after they happened.
MARGIN_MS = 7 * 86_400_000

_BLOCK = 1024  # events in one call: the server does nothing else meanwhile
_BLOCKS_FOLDED = 4  # blocks of a long call after which is stored what they folded
_RECORDS = 4096  # that are read and entered at once, and fit into the cache meanwhile
_REMEMBERED_FAILURES = 16  # calls that may be made again


class RedisState:
    """A `FeatureState` that many workers share.

    A call fetches the timelines of its orders as they were before it and appends to them, in one
    step on the server. What came back is put into small tables, and the kernel of `InMemoryState`
    runs over them, so that one worker alone gets the very same vectors.

    What is known expires by the server's clock, `horizon_ms` and 7 days after it was last
    touched. Workers tell each other the newest event time: with several, an event that is later
    than the horizon may be taken by one and not by another.

    Args:
        client: A `redis.Redis` or `redis.cluster.RedisCluster` that returns bytes; owned by the
            caller.
        feature_set: What is computed; states of different sets do not meet.
        horizon_ms: How long events are remembered behind the newest.
        prefix: Put before every key; without "{".
        long_bytes: Timelines with so many bytes of single events are looked at: those that are
            hot are folded, and what is older than the horizon is dropped.
        random_bytes: So many random bytes, to tell states and calls apart.

    Attributes:
        is_new: Nobody had opened this state before.
        was_empty: It held no event when it was opened.
        name: Tells this state from every other one, also from those under the same prefix.

    Raises:
        StateUnavailableError: Redis does not answer, or cannot write.
        ValueError: The prefix or the horizon cannot be used; there is a state of another horizon.
    """

    def __init__(
        self,
        client: Any,
        feature_set: FeatureSet,
        horizon_ms: int = HORIZON_MS,
        *,
        prefix: str = "",
        long_bytes: int = LONG_BYTES,
        random_bytes: Callable[[int], bytes] = os.urandom,
    ) -> None:
        if horizon_ms < 1000 * LONGEST_WINDOW_S:
            raise ValueError("the horizon must not be shorter than the longest window")
        if "{" in prefix:
            raise ValueError('the prefix must not have "{": it would choose the slot on a cluster')
        self.feature_set = feature_set
        self._plan: Plan = compile_plan(feature_set, horizon_ms)
        self._scratch = scratch_for(self._plan.program)
        self._tables = ScratchTables(self._plan)
        self._layout: TimelineLayout = timeline_layout(self._plan)
        self._records = np.empty((_RECORDS, 6 + len(self._plan.entities)), np.int64)
        self._horizon_ms = horizon_ms
        self._long_bytes = long_bytes
        self._random_bytes = random_bytes
        where = Where(
            f"{prefix}{{s", f"}}:{feature_set.hash[:12]}:", FACTS_BYTES, self._layout.spec
        )
        self._functions: Functions = (
            ClusterFunctions(client, where)
            if isinstance(client, RedisCluster)
            else ServerFunctions(client, where)
        )
        self._failed: dict[int, tuple[int, int]] = {}  # events → tag, newest of the first try
        self._turns: list[np.ndarray] = []  # of each block, those of its orders
        self._newest = int(kernels.NEVER)
        epoch = random_bytes(8)
        fresh = epoch + np.array([horizon_ms, kernels.NEVER, 0], np.int64).tobytes()
        metas = self._functions.open(fresh)
        self.is_new = all(meta[:8] == epoch for meta in metas)
        self.name = metas[0][:8].hex()
        for meta in metas:
            horizon, newest, _ = np.frombuffer(meta, np.int64, offset=8)
            if horizon != horizon_ms:
                raise ValueError(
                    f"the state in Redis remembers {horizon / 86_400_000:g} days, "
                    f"not {horizon_ms / 86_400_000:g}"
                )
            self._newest = max(self._newest, int(newest))
        self.was_empty = self._newest == kernels.NEVER

    @property
    def unattributed(self) -> int:
        """As `FeatureState.unattributed`, over all workers."""
        return sum(int(np.frombuffer(meta, np.int64)[3]) for meta in self._functions.metas())

    @property
    def turns(self) -> np.ndarray | None:
        """As `FeatureState.turns`; on a cluster there is no sequence of all calls."""
        return np.concatenate(self._turns) if self._turns else np.empty(0, np.int64)

    def apply(self, events: EventColumns) -> np.ndarray:
        """As `FeatureState.apply`."""
        n_orders = len(events.entity_key)
        out = np.full((n_orders, len(self.feature_set.features)), np.nan)
        if n_orders:
            out[:, self._plan.order_columns] = events.order_values
        identity = _identity(events) if self._failed else 0
        tag = int.from_bytes(self._random_bytes(8), "little")
        tag, newest = self._failed.get(identity, (tag, self._newest))
        try:
            self._newest = max(self._newest, self._take(list(_blocks(events, out)), tag, newest))
        except StateUnavailableError:
            while len(self._failed) >= _REMEMBERED_FAILURES:
                del self._failed[next(iter(self._failed))]
            self._failed[identity or _identity(events)] = tag, newest
            raise
        if self._failed.pop(identity, None):  # then the first try may have had the turns that count
            self._turns = [np.zeros_like(turns) for turns in self._turns]
        return out

    def _take(self, blocks: list[tuple[EventColumns, np.ndarray]], tag: int, newest: int) -> int:
        """Take blocks, each while the server takes the next one; returns the newest event time."""
        seen = newest
        self._turns.clear()
        folds = Folds(self._layout, self._plan.program, min(FOLD_BYTES, self._long_bytes // 2))
        coming: Future[Known] | None = None
        with ThreadPoolExecutor(1) as ahead:
            for i, (block, out) in enumerate(blocks):
                known = coming.result() if coming else self._fetch(block, tag + i, newest)
                self._turns.append(_turns(block, known))
                before, newest = newest, max(newest, int(block.time.max()))
                is_last = i + 1 == len(blocks) or (i + 1) % _BLOCKS_FOLDED == 0
                coming = None
                if not is_last:
                    coming = ahead.submit(self._fetch, blocks[i + 1][0], tag + i + 1, newest)
                seen = max(seen, self._compute(block, known, before, out, folds))
                if is_last:
                    self._store(folds.folded)
        return seen

    def _store(self, folded: dict[bytes, Folded]) -> None:
        """Store what was folded, and forget it."""
        try:
            if folded:
                self._functions.replace(folded)
        except StateUnavailableError:
            # The events are taken already. What is not stored the next call folds, or it says
            # itself that Redis cannot be used.
            pass
        folded.clear()

    def _fetch(self, events: EventColumns, tag: int, newest: int) -> Known:
        """Let the server take a block; returns what was known before it."""
        running = np.maximum.accumulate(np.maximum(events.time, newest))
        call = Call(
            tag=(tag % 2**64 or 1).to_bytes(8, "little"),
            ttl_ms=self._horizon_ms + MARGIN_MS,
            long_bytes=self._long_bytes,
            newest=int(running[-1]),
        )
        return self._functions.apply(call, *packed_events(events, running - self._horizon_ms))

    def _compute(
        self,
        events: EventColumns,
        known: Known,
        newest: int,
        out: np.ndarray,
        folds: Folds,
    ) -> int:
        """Write the features of a block into `out`; returns the newest event time."""
        known = folds.seen_in(known)
        long = known.long["number"].astype(np.int64)
        timelines = timelines_of(self._layout, known.names, known.timelines, long)
        tables = self._filled_tables(events, known, timelines, newest)
        columns, program = kernel_events(events), self._plan.program
        start = 0
        while start < len(events):
            tables = with_room_in_pools(tables, program)
            start = kernels.apply_events(
                start, len(events), columns, tables, program, self._scratch, out
            )
        folds.note(known, timelines, tables)
        self._tables.keep(tables)
        return max(int(tables.counters[kernels.NEWEST]), known.newest)

    def _filled_tables(
        self, events: EventColumns, known: Known, timelines: Timelines, newest: int
    ) -> Tables:
        """What was known, with room for the events."""
        facts, outcomes = read_orders(self._layout, known.order_keys, known.orders)
        reach, oldest = self._layout.reach, newest - self._horizon_ms
        since = np.full((2, *reach.shape), oldest)
        if len(events.entity_key):  # of long ones all count: they decide what is folded
            since[0] = np.maximum(events.time[events.kind == 0].min() - reach, oldest)
        per_tile = self._plan.program.sketched.shape[1]
        runs, tiles, sketches, bad = read_tiles(timelines, per_tile)
        counts = count_records(self._layout, timelines, since)
        bad = max(bad, counts.damaged)
        if bad >= 0:
            raise StateCorruptedError(damaged(name_of(known, bad)))
        n_orders = len(facts) + counts.orders + counts.outcomes + len(events)
        n_outcomes = len(outcomes) + counts.outcomes + len(events)
        n_slots = len(timelines.key) + counts.keys
        n_slots += len(self._plan.entities) * (len(facts) + len(events.entity_key))
        tables = self._tables.empty((n_orders, n_outcomes, n_slots), (len(runs), len(sketches)))
        tables.counters[kernels.NEWEST] = newest
        kernels.enter_orders(facts, outcomes, tables)
        kernels.enter_tiles(runs, tiles, sketches, tables)
        for records in record_parts(self._layout, timelines, since, self._records):
            start = 0
            while start < len(records):
                tables = with_room_in_pools(tables, self._plan.program)
                start = kernels.enter_timelines(start, records, tables, self._plan.program)
        return tables


def _blocks(events: EventColumns, out: np.ndarray) -> Iterator[tuple[EventColumns, np.ndarray]]:
    """Events in blocks, each with the rows of `out` for its orders."""
    n_orders = np.concatenate([[0], np.cumsum(events.kind == 0)])
    for start in range(0, len(events), _BLOCK):
        stop = min(start + _BLOCK, len(events))
        placed = slice(n_orders[start], n_orders[stop])
        block = EventColumns(
            events.order_key[start:stop],
            events.time[start:stop],
            events.kind[start:stop],
            events.entity_key[placed],
            events.quantity[placed],
            events.unit_price[placed],
            events.order_values[placed],
        )
        yield block, out[placed]


def _turns(events: EventColumns, known: Known) -> np.ndarray:
    """The turn of each order; 0 of one that was known: another call took it, before."""
    keys = np.frombuffer(known.order_keys, np.uint64)
    # Behind the time stands the tag of the call that took the order, zeros where it only has outcomes.
    was_placed = [bool(order) and order[8:16] != bytes(8) for order in known.orders]
    repeated = np.isin(events.order_key[events.kind == 0], keys[np.array(was_placed, bool)])
    return np.where(repeated, 0, known.turn)


def _identity(events: EventColumns) -> int:
    """The same for the same events, never 0."""
    digest = xxhash.xxh3_64()
    for column in (
        events.order_key, events.time, events.kind, events.entity_key, events.quantity,
        events.unit_price,
    ):  # fmt: skip
        digest.update(np.ascontiguousarray(column).data.cast("B") if column.size else b"")
    return digest.intdigest() or 1
