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

from features.feature_set import FeatureSet, feature_set
from features.memory import InMemoryState
from features.redis_state import RedisState
from features.state import FeatureState
from preempt.console import emit, progress
from preempt.embedded import Valkey
from preempt.feature_traffic import Traffic
from preempt.options import Count, Seed
from preempt.settings import load_settings


def bench_features(
    *,
    store: Literal["memory", "redis"] = "memory",
    orders: Count = 1_000_000,
    seed: Seed = 7,
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
    declared = feature_set()
    traffic = Traffic.of_shop(orders, seed)
    InMemoryState(declared).apply(next(traffic.afterwards(declared, 1)))  # compiles
    if store == "memory":
        state = InMemoryState(declared)
        result = _measure(state, traffic, declared, lambda _: {})
        result["state_mb"] = round(state.nbytes / 2**20, 1)
    else:
        with _redis() as url:
            result = _measure_redis(url, traffic, declared)
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
    traffic: Traffic,
    declared: FeatureSet,
    look: Callable[[int], dict[str, float]],
) -> dict[str, Any]:
    """What `look` finds after the given number of events, and what every store is measured by."""
    seconds = cpu_s = 0.0
    n_events = 0
    with progress("Applying orders", traffic.orders) as bar:
        for events in traffic.blocks(declared):
            started, cpu_started = time.perf_counter(), time.process_time()
            state.apply(events)
            seconds += time.perf_counter() - started
            cpu_s += time.process_time() - cpu_started
            n_events += len(events)
            bar.advance(bar.task_ids[0], len(events.entity_key))
    found = look(n_events)
    latencies = _single_order_latencies(state, traffic, declared)
    return {
        "orders_per_s": round(traffic.orders / seconds, 1),
        "peak_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
        "features": len(declared.features),
        "orders": traffic.orders,
        "client_us": round(1e6 * cpu_s / traffic.orders, 1),
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


def _measure_redis(url: str, traffic: Traffic, declared: FeatureSet) -> dict[str, Any]:
    from preempt.bootstrap import redis_client

    client: Any = redis_client(url)
    prefix = f"bench-{os.getpid()}-"
    try:
        few = next(traffic.afterwards(declared, 1))
        RedisState(client, declared, prefix=f"{prefix}warm-").apply(few)
        state = RedisState(client, declared, prefix=prefix)
        before = _server(client)

        def look(n_events: int) -> dict[str, float]:
            memory, calls, call_us, cpu_us = (
                after - earlier for after, earlier in zip(_server(client), before, strict=True)
            )
            return {
                "state_mb": round(memory / 2**20, 1),
                "server_us": round(call_us / traffic.orders, 1),
                "server_cpu_us": round(cpu_us / traffic.orders, 1),
                "events_per_call": round(n_events / calls, 1),
            }

        return _measure(state, traffic, declared, look)
    finally:
        for key in client.scan_iter(f"{prefix}*", count=10_000):
            client.unlink(key)


def _server(client: Any) -> tuple[float, float, float, float]:
    """Bytes of memory, calls that took events, microseconds in functions, and of CPU in all."""
    commands = client.info("commandstats")
    # Each call that takes events asks for the time once; those that store folds do not.
    taken, call_us = commands["cmdstat_time"]["calls"], commands["cmdstat_fcall"]["usec"]
    cpu = client.info("cpu")
    cpu_s = cpu["used_cpu_user"] + cpu["used_cpu_sys"]
    return client.info("memory")["used_memory"], taken, call_us, 1e6 * cpu_s


def _single_order_latencies(
    state: FeatureState, traffic: Traffic, declared: FeatureSet
) -> np.ndarray:
    """Microseconds of 2,000 single orders that come after the traffic."""
    latencies = []
    for order in traffic.afterwards(declared, 2_000):
        started = time.perf_counter()
        state.apply(order)
        latencies.append(1e6 * (time.perf_counter() - started))
    return np.array(latencies)
