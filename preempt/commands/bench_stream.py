"""`preempt bench stream`: the worker, broker to broker."""

from typing import Annotated, Literal

import msgspec
from cyclopts import Parameter
from rich.table import Table

from preempt.console import console, emit
from preempt.machine import machine
from preempt.options import Count, CountOrNone, Rate

OURS = ("preempt", "worker")
PER_MESSAGE = ("preempt.per_message_faust",)


def bench_stream(
    *,
    orders: Count = 200_000,
    store: Literal["memory", "redis"] = "memory",
    rate: Rate | None = None,
    compare: CountOrNone = 4_000,
    json: Annotated[bool, Parameter(name="--json", negative=())] = False,
) -> None:
    """Measure one worker from broker to broker: features, a model of 300 trees, rules, decision.

    Without --rate a backlog is drained as fast as it goes, and beside it, in the same run, the
    same scorer decides in a Faust agent that takes one message at a time. With --rate orders come
    at that pace and the latency counts.

    For example:

        preempt bench stream --orders 200000 --json
        preempt bench stream --orders 40000 --rate 2000

    Args:
        orders: How many orders.
        store: Where feature state lives.
        rate: Orders a second; by default all are there from the beginning.
        compare: How many orders per-message Faust gets; 0 leaves it out. It is slow.
        json: Print one JSON object.
    """
    from preempt.stream_benchmark import Benchmark

    with Benchmark(orders, store) as benchmark:
        if rate is not None:
            runs = {"chunked": benchmark.pace(*OURS, rate=rate)}
        else:
            with console.status(f"Draining {orders:,} orders"):
                runs = {"chunked": benchmark.drain(*OURS)}
            if compare:
                with console.status(f"Draining {compare:,} orders one message at a time"):
                    runs["per_message_faust"] = benchmark.drain(*PER_MESSAGE, orders=compare)
    result = msgspec.to_builtins(runs.pop("chunked")) | {"rate": rate, "store": store}
    others = {name: msgspec.to_builtins(run) for name, run in runs.items()}
    emit(result | others | {"machine": machine()}, as_json=json, text="")
    if not json:
        console.print(_table({"chunked (ours)": result} | others))


def _table(runs: dict[str, dict]) -> Table:
    from preempt.stream_benchmark import StreamFigures

    table = Table(box=None)
    for name in ("", "orders", "orders/s", "p50 ms", "p99 ms", "lost", "duplicates"):
        table.add_column(name, justify="left" if not name else "right")
    for name, run in runs.items():
        cells = [f"{run[key]:,.0f}" for key in StreamFigures.__struct_fields__]
        table.add_row(name, *cells)
    return table
