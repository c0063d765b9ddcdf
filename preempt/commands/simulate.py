"""`preempt simulate`: a data set out of nothing."""

import dataclasses
import time
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from preempt.console import console, emit, progress
from training.simulation.config import DEFAULT_START, SimulationConfig, parse_start


def simulate(
    *,
    orders: int,
    days: float,
    out: Path,
    seed: int = 7,
    start: str = DEFAULT_START,
    attack_share: float = 0.05,
    json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> None:
    """Make a shop's orders and outcomes, with attacks among them, and the truth about each.

    Writes `orders.parquet`, `outcomes.parquet` and `truth.parquet` into a folder, each sorted by
    event time. The same options always make the same tables. From 1,000 orders on there are attacks
    among them; fewer may have none.

    For example, `preempt simulate --orders 60000 --days 10 --out data/shop`, or, larger and of
    another seed, `preempt simulate --orders 1000000 --days 30 --seed 11 --out data/big --json`.

    Args:
        orders: How many orders, exactly.
        days: Over how many days; may be a fraction.
        out: The folder; made if it is not there, its other files are left alone.
        seed: Another seed makes another shop.
        start: When the first day begins, ISO 8601 with a zone.
        attack_share: About which share of the orders are attacks.
        json: Print the counts as one JSON object.
    """
    config = SimulationConfig(
        orders=orders, days=days, seed=seed, start=parse_start(start), attack_share=attack_share
    )
    from training.simulation.dataset import write_dataset

    began = time.perf_counter()
    with progress("Simulating orders", orders) as bar:
        counts = write_dataset(config, out, lambda done: bar.advance(bar.task_ids[0], done))
    seconds = time.perf_counter() - began
    if not counts.attacks and attack_share:
        console.print(
            f"[yellow]Warning:[/] no attack among these {orders:,} orders: make 1,000 or more "
            "to be sure of some, or take another --seed.",
            soft_wrap=True,
        )
    emit(
        dataclasses.asdict(counts) | {"orders_per_s": round(counts.orders / seconds)},
        as_json=json,
        text=(
            f"{counts.orders} orders and {counts.outcomes} outcomes in {out}; "
            f"{counts.attack_orders} of the orders belong to {counts.attacks} attacks"
        ),
    )
