"""`preempt bench features`: the engine alone."""

import resource
import time
from typing import Annotated, Literal

import numpy as np
from cyclopts import Parameter

from features.feature_set import FeatureSet, feature_set
from features.memory import InMemoryState
from orders.errors import UserError
from preempt.console import emit, progress
from preempt.feature_traffic import Traffic
from preempt.options import Count, Seed


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
        store: Where the state is kept.
        orders: How many orders.
        seed: The traffic's seed.
        json: Print one JSON object.
    """
    if store == "redis":
        raise UserError("--store redis is not built yet: use --store memory")
    declared = feature_set()
    traffic = Traffic.of_shop(orders, seed)
    InMemoryState(declared).apply(next(traffic.afterwards(declared, 1)))  # compiles
    state = InMemoryState(declared)
    seconds = 0.0
    with progress("Applying orders", orders) as bar:
        for events in traffic.blocks(declared):
            started = time.perf_counter()
            state.apply(events)
            seconds += time.perf_counter() - started
            bar.advance(bar.task_ids[0], len(events.entity_key))
    latencies = _single_order_latencies(state, traffic, declared)
    result = {
        "orders_per_s": round(orders / seconds, 1),
        "peak_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
        "features": len(declared.features),
        "orders": orders,
        "state_mb": round(state.nbytes / 2**20, 1),
        "single_order_us": {
            "p50": round(float(np.percentile(latencies, 50)), 1),
            "p99": round(float(np.percentile(latencies, 99)), 1),
        },
    }
    text = (
        f"{result['orders_per_s']:,.0f} orders/s with {result['features']} features; "
        f"state {result['state_mb']:,.0f} MB, peak memory {result['peak_rss_mb']:,.0f} MB; "
        f"one order alone: median {result['single_order_us']['p50']} µs, "
        f"p99 {result['single_order_us']['p99']} µs"
    )
    emit(result, as_json=json, text=text)


def _single_order_latencies(
    state: InMemoryState, traffic: Traffic, declared: FeatureSet
) -> np.ndarray:
    """Microseconds of 2,000 single orders that come after the traffic."""
    latencies = []
    for order in traffic.afterwards(declared, 2_000):
        started = time.perf_counter()
        state.apply(order)
        latencies.append(1e6 * (time.perf_counter() - started))
    return np.array(latencies)
