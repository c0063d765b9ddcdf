"""How the cost of an order grows in our engine, in memory. Prints one JSON object.

    python -m benchmarks.feature_growth [--quick] [--only PART]...

events    microseconds an order, when the orders at hand are on a device, IP or merchant that has
          1 to 100,000 orders in its longest window (the others are normal traffic), and when
          orders agree in every entity, within five minutes. The state always holds as many orders.
features  microseconds an order with 10 to 200 features: some of ours, and more by the same verbs.
history   1 to 10 million orders of 30 days with an outcome each: microseconds an order of the
          last 200,000, one order alone, memory; each in a process of its own, and with the
          accounts, devices, … of a shop of 10 million orders ("same_shop"). The smallest once
          more with as many of them as go with it ("growing_shop").

Times are processor time of `InMemoryState.apply` alone: columns in, features out.
"""

import argparse
import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.crowd import Crowd
from features.columns import EventColumns
from features.declare import (
    ENTITIES,
    FIVE_MINUTES,
    Feature,
    count,
    distinct,
    largest,
    mean,
    seconds_since_last,
    total,
)
from features.definitions import FEATURES
from features.feature_set import FeatureSet, feature_set
from features.memory import InMemoryState
from preempt.feature_traffic import Traffic, order_rows, values_of_shop

PARTS = ("events", "features", "history")
SEED = 7
FILL_S = 120.0  # a state that is not filled by then is given up: null
FILL_BLOCK = 2_048
LAST = 200_000  # orders of a history that are timed
BLOCK = 50_000
SINGLES = 2_000

# The shop of the 10 million.
SHOP = values_of_shop(10_000_000) | {"account": 1_000_000, "device": 700_000, "address": 400_000}


def events_growth(sizes: tuple[int, ...], held: int, timed: int) -> dict[str, dict]:
    """Cost by the number of orders that an entity value has in its window."""
    declared = feature_set()
    result: dict[str, dict] = {}
    for entity in ("device", "ip", "merchant", "every_entity"):
        hot = ENTITIES if entity == "every_entity" else (entity,)
        windows = [f.window_s or 0 for f in declared.features if f.entity == entity]
        window_ms = 1000 * max(windows, default=FIVE_MINUTES)
        result[entity] = {}
        for size in sizes:
            crowd = Crowd.make(
                hot, window_ms, size, held=held, timed=timed, declared=declared, seed=SEED
            )
            result[entity][str(size)] = _cost_in(crowd, declared)
            _say(f"{entity}, {size:,} in the window: {result[entity][str(size)]}")
    return result


def _cost_in(crowd: Crowd, declared: FeatureSet) -> dict | None:
    """Fill a state, then time the first half of the orders after at once, the others singly."""
    state = InMemoryState(declared)
    begun = time.perf_counter()
    for start in range(0, len(crowd.before), FILL_BLOCK):
        state.apply(order_rows(crowd.before, slice(start, start + FILL_BLOCK)))
        if time.perf_counter() - begun > FILL_S:
            return None
    half = len(crowd.after) // 2
    started = time.process_time()
    state.apply(order_rows(crowd.after, slice(0, half)))
    seconds = time.process_time() - started
    singles = (order_rows(crowd.after, slice(i, i + 1)) for i in range(half, 2 * half))
    return {
        "us_per_order": round(1e6 * seconds / half, 2),
        "one_order_us": _one_by_one(state, singles),
    }


def features_growth(sizes: tuple[int, ...], orders: int) -> dict[str, dict]:
    """Cost by the number of features, on normal traffic; of the second half of the orders."""
    result = {}
    for size in sizes:
        declared = feature_set(features=some_features(size))
        state = InMemoryState(declared)
        seconds, timed = 0.0, 0
        for number, events in enumerate(
            Traffic.of_shop(orders, SEED).blocks(declared, orders // 4)
        ):
            started = time.process_time()
            state.apply(events)
            if number >= 2:
                seconds += time.process_time() - started
                timed += len(events.entity_key)
        result[str(size)] = {"us_per_order": round(1e6 * seconds / timed, 2)}
        _say(f"{size} features: {result[str(size)]}")
    return result


def some_features(size: int) -> tuple[Feature, ...]:
    """So many features: ours evenly thinned out, or ours and others by the same verbs."""
    if size <= len(FEATURES):
        return tuple(FEATURES[i * len(FEATURES) // size] for i in range(size))
    known = {feature.name for feature in FEATURES}
    more = (feature for feature in _more_features() if feature.name not in known)
    return FEATURES + tuple(itertools.islice(more, size - len(FEATURES)))


def _more_features() -> Iterator[Feature]:
    """Counts, sums, maxima, means and distinct values of every entity, window by window."""
    for per in ENTITIES:
        yield seconds_since_last(per=per, catches="")
    for within in (86_400, 3_600, FIVE_MINUTES, 604_800, 2_592_000, 60):
        for i, per in enumerate(ENTITIES):
            yield count("orders", per=per, within=within, catches="")
            yield total("amount", per=per, within=within, catches="")
            yield largest("amount", per=per, within=within, catches="")
            yield mean("unit_price", per=per, within=within, catches="")
            for of in (ENTITIES[i - 1], ENTITIES[i - 3]):
                yield distinct(of, per=per, within=within, catches="")


def history_growth(sizes: tuple[int, ...]) -> dict[str, dict]:
    """Cost and memory by the number of orders held, each in a process of its own."""
    result: dict[str, dict] = {}
    for shop, size in [("growing_shop", sizes[0]), *(("same_shop", size) for size in sizes)]:
        command = [
            sys.executable,
            "-m",
            "benchmarks.feature_growth",
            "--one-history",
            shop,
            str(size),
        ]
        done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
        result.setdefault(shop, {})[str(size)] = json.loads(done.stdout)
        _say(f"{shop}, {size:,} orders: {result[shop][str(size)]}")
    return result


def one_history(shop: str, orders: int) -> dict:
    """A history through the engine; memory is this process's."""
    declared = feature_set()
    traffic = Traffic.of_shop(orders, SEED)
    if shop == "same_shop":
        traffic = replace(traffic, values=SHOP)
    InMemoryState(declared).apply(next(traffic.afterwards(declared, 1)))  # compiles
    before_mb = _peak_rss_mb()
    state = InMemoryState(declared)
    seconds, last_seconds, last, done = 0.0, 0.0, 0, 0
    for events in traffic.blocks(declared, BLOCK):
        started = time.process_time()
        state.apply(events)
        took = time.process_time() - started
        seconds += took
        done += len(events.entity_key)
        if done > orders - LAST:
            last_seconds += took
            last += len(events.entity_key)
    peak_mb = _peak_rss_mb()
    live = state.n_live
    return {
        "orders_per_s": round(orders / seconds, 1),
        "us_per_order_of_the_last": round(1e6 * last_seconds / last, 2),
        "timed_orders": last,
        "one_order_us": _one_by_one(state, traffic.afterwards(declared, SINGLES)),
        "peak_rss_mb": peak_mb,
        "peak_rss_before_mb": before_mb,
        "state_mb": round(state.nbytes / 2**20, 1),
        "live": dict(live),
        "state_mb_per_million_entity_values": round(
            state.nbytes / 2**20 / live["entity_values"] * 1e6, 1
        ),
    }


def _one_by_one(state: InMemoryState, orders: Iterator[EventColumns]) -> dict[str, float]:
    took = []
    for order in orders:
        started = time.process_time()
        state.apply(order)
        took.append(1e6 * (time.process_time() - started))
    p50, p99 = np.percentile(took, (50, 99)).tolist()
    return {"p50": round(p50, 1), "p99": round(p99, 1)}


def _peak_rss_mb() -> float:
    """The most resident memory so far (Linux). `ru_maxrss` would have the parent's in it."""
    status = Path("/proc/self/status").read_text()
    kilobytes = next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]
    return round(int(kilobytes) / 1024, 1)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    """Measure what was chosen."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.feature_growth",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that it works")
    parser.add_argument("--only", action="append", choices=PARTS, help="one part; several times")
    parser.add_argument("--one-history", nargs=2, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.one_history:
        shop, orders = chosen.one_history
        print(json.dumps(one_history(shop, int(orders))))
        return
    from preempt.machine import machine  # a history's memory is to be the engine's alone

    parts = chosen.only or PARTS
    load = os.getloadavg()[0]
    declared = feature_set()
    InMemoryState(declared).apply(
        next(Traffic.of_shop(1, SEED).afterwards(declared, 1))
    )  # compiles
    result: dict = {"machine": machine(), "load_average_before": round(load, 2)}
    result["declared_features"] = len(declared.features)
    if "events" in parts:
        result["events"] = (
            events_growth((1, 10, 100, 1_000), held=20_000, timed=20)
            if chosen.quick
            else events_growth((1, 10, 100, 1_000, 10_000, 100_000), held=200_000, timed=1_000)
        )
    if "features" in parts:
        orders = 20_000 if chosen.quick else 400_000
        result["features"] = features_growth((10, 50, 100, 200), orders)
    if "history" in parts:
        sizes = (20_000, 40_000) if chosen.quick else (1_000_000, 2_000_000, 5_000_000, 10_000_000)
        result["history"] = history_growth(sizes)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
