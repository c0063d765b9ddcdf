"""`preempt bench features`: the engine alone."""

import os
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from cyclopts import Parameter

from features.columns import EventColumns
from features.declare import ENTITIES, OUTCOME_CODES
from features.feature_set import FeatureSet, feature_set
from features.memory import InMemoryState
from features.redis_state import RedisState
from features.state import FeatureState
from orders.errors import UserError
from preempt.console import emit, progress
from preempt.embedded import Valkey
from preempt.settings import load_settings

_DAYS = 30
_BLOCK = 65_536

# Orders per entity value over the 30 days, and the share of orders without a value.
_ORDERS_PER_VALUE = {
    "account": (10, 0.0),
    "device": (14, 0.02),
    "ip": (8, 0.01),
    "ip_prefix": (60, 0.01),
    "address": (25, 0.3),
    "phone": (10, 0.05),
    "recipient": (12, 0.3),
    "payment": (9, 0.1),
}
_MERCHANTS, _SKUS = 300, 5_000


def bench_features(
    *,
    store: Literal["memory", "redis"] = "memory",
    orders: int = 1_000_000,
    seed: int = 7,
    json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> None:
    """Measure the feature engine alone, on made-up traffic of 30 days.

    For example:

        preempt bench features --orders 1000000 --json

    Args:
        store: Where the state is kept: "redis" at PREEMPT_REDIS_URL, or in an embedded Valkey.
        orders: How many orders.
        seed: The traffic's seed.
        json: Print one JSON object.
    """
    if orders < 1:
        raise UserError("--orders must be at least 1")
    declared = feature_set()
    InMemoryState(declared).apply(next(traffic(100, seed, declared)))  # compiles
    if store == "memory":
        state = InMemoryState(declared)
        result = _measure(state, orders, seed, declared, lambda _: {})
        result["state_mb"] = round(state.nbytes / 2**20, 1)
    else:
        with _redis() as url:
            result = _measure_redis(url, orders, seed, declared)
    text = (
        f"{result['orders_per_s']:,.0f} orders/s with {result['features']} features; "
        f"state {result['state_mb']:,.0f} MB, peak memory {result['peak_rss_mb']:,.0f} MB; "
        f"one order alone: median {result['single_order_us']['p50']} µs, "
        f"p99 {result['single_order_us']['p99']} µs"
    )
    if store == "redis":
        text += (
            f"; an order takes the server {result['server_us']} µs and the client "
            f"{result['client_us']} µs; {result['events_per_call']} events a round trip"
        )
    emit(result, as_json=json, text=text)


def _measure(
    state: FeatureState,
    orders: int,
    seed: int,
    declared: FeatureSet,
    look: Callable[[int], dict[str, float]],
) -> dict[str, Any]:
    """What `look` finds after the given number of events, and what every store is measured by."""
    seconds = cpu_s = 0.0
    n_events = 0
    with progress("Applying orders", orders) as bar:
        for events in traffic(orders, seed, declared):
            started, cpu_started = time.perf_counter(), time.process_time()
            state.apply(events)
            seconds += time.perf_counter() - started
            cpu_s += time.process_time() - cpu_started
            n_events += len(events)
            bar.advance(bar.task_ids[0], len(events.entity_key))
    found = look(n_events)
    latencies = _single_order_latencies(state, orders, seed, declared)
    return {
        "orders_per_s": round(orders / seconds, 1),
        "peak_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
        "features": len(declared.features),
        "orders": orders,
        "client_us": round(1e6 * cpu_s / orders, 1),
        "single_order_us": {
            "p50": round(float(np.percentile(latencies, 50)), 1),
            "p99": round(float(np.percentile(latencies, 99)), 1),
        },
        **found,
    }


@contextmanager
def _redis() -> Iterator[str]:
    """URL of the Redis of the settings, or of an embedded one that is gone afterwards."""
    url = load_settings().redis_url
    if url is not None:
        yield url
        return
    with tempfile.TemporaryDirectory(prefix="preempt-") as folder, Valkey(Path(folder)) as server:
        yield server.url


def _measure_redis(url: str, orders: int, seed: int, declared: FeatureSet) -> dict[str, Any]:
    from preempt.bootstrap import redis_client

    client: Any = redis_client(url)
    prefix = f"bench-{os.getpid()}-"
    try:
        few = next(traffic(100, seed, declared))
        RedisState(client, declared, prefix=f"{prefix}warm-").apply(few)
        state = RedisState(client, declared, prefix=prefix)
        before = _server(client)

        def look(n_events: int) -> dict[str, float]:
            memory, calls, call_us, cpu_us = (
                after - earlier for after, earlier in zip(_server(client), before, strict=True)
            )
            return {
                "state_mb": round(memory / 2**20, 1),
                "server_us": round(call_us / orders, 1),
                "server_cpu_us": round(cpu_us / orders, 1),
                "events_per_call": round(n_events / calls, 1),
            }

        return _measure(state, orders, seed, declared, look)
    finally:
        for key in client.scan_iter(f"{prefix}*", count=10_000):
            client.unlink(key)


def _server(client: Any) -> tuple[float, float, float, float]:
    """Bytes of memory, calls of functions, microseconds in them, and of CPU in all."""
    calls = client.info("commandstats")["cmdstat_fcall"]
    cpu = client.info("cpu")
    cpu_s = cpu["used_cpu_user"] + cpu["used_cpu_sys"]
    return client.info("memory")["used_memory"], calls["calls"], calls["usec"], 1e6 * cpu_s


def traffic(orders: int, seed: int, declared: FeatureSet) -> Iterator[EventColumns]:
    """Orders evenly over 30 days with an outcome each, in blocks, values drawn by popularity.

    Nine outcomes of ten follow within 12 hours and are completed or expired, as in most shops.
    """
    draw = np.random.default_rng(seed)
    late: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    span = _DAYS * 86_400_000
    for start in range(0, orders, _BLOCK):
        n = min(_BLOCK, orders - start)
        window = (span * start // orders, span * (start + n) // orders)
        time_ = np.sort(draw.integers(*window, n))
        key = _spread(np.arange(start, start + n, dtype=np.uint64) + np.uint64(1))
        entities = np.zeros((n, len(ENTITIES)), np.uint64)
        for column, entity in enumerate(ENTITIES):
            per_value, missing = _ORDERS_PER_VALUE.get(entity, (0, 0.0))
            values = {"merchant": _MERCHANTS, "sku": _SKUS}.get(entity) or orders // per_value + 2
            value = (values * draw.random(n) ** 1.5).astype(np.uint64)
            keys = _spread(value + np.uint64((column + 1) << 40))
            entities[:, column] = np.where(draw.random(n) < missing, 0, keys)
        codes = [OUTCOME_CODES[kind] for kind in ("completed", "expired", "cancelled_other")]
        kinds = draw.choice(codes, n, p=[0.8, 0.15, 0.05]).astype(np.int8)
        late.append((key, time_ + draw.integers(60_000, 43_200_000, n), kinds))

        waiting = [np.concatenate(part) for part in zip(*late, strict=True)]
        due = waiting[1] <= time_[-1]
        late = [(waiting[0][~due], waiting[1][~due], waiting[2][~due])]
        all_times = np.concatenate([waiting[1][due], time_])
        sequence = np.argsort(all_times, kind="stable")
        yield EventColumns(
            order_key=np.concatenate([waiting[0][due], key])[sequence],
            time=all_times[sequence],
            kind=np.concatenate([waiting[2][due], np.zeros(n, np.int8)])[sequence],
            entity_key=entities,
            quantity=draw.integers(1, 4, n),
            unit_price=draw.integers(100, 100_000, n),
            order_values=draw.random((n, len(declared.order_features))),
        )


def _single_order_latencies(
    state: FeatureState, orders: int, seed: int, declared: FeatureSet
) -> np.ndarray:
    """Microseconds of up to 2,000 single orders that come after the traffic."""
    events = next(traffic(orders, seed + 1, declared))
    placed = np.flatnonzero(events.kind == 0)[:2_000]
    last = _DAYS * 86_400_000
    latencies = np.empty(len(placed))
    for i, row in enumerate(placed):
        one = EventColumns(
            order_key=events.order_key[row : row + 1] ^ np.uint64(seed + 1),
            time=np.array([last + i], np.int64),
            kind=events.kind[row : row + 1],
            entity_key=events.entity_key[i : i + 1],
            quantity=events.quantity[i : i + 1],
            unit_price=events.unit_price[i : i + 1],
            order_values=events.order_values[i : i + 1],
        )
        started = time.perf_counter()
        state.apply(one)
        latencies[i] = 1e6 * (time.perf_counter() - started)
    return latencies


def _spread(values: np.ndarray) -> np.ndarray:
    """The finaliser of SplitMix64: keys as evenly spread as hashes."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
