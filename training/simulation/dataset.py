"""A simulation as a data set on disk, written block by block and put in place when it is whole."""

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from orders.errors import UserError
from training.simulation.config import SimulationConfig
from training.simulation.generate import simulate

TABLES = ("orders", "outcomes", "truth")
PARTS = ".simulating"


@dataclass(frozen=True, slots=True)
class DatasetCounts:
    """What was written."""

    orders: int
    outcomes: int
    attack_orders: int
    attacks: int


def write_dataset(
    config: SimulationConfig,
    folder: Path,
    on_progress: Callable[[int], None] = lambda orders: None,
) -> DatasetCounts:
    """Write `orders.parquet`, `outcomes.parquet` and `truth.parquet` into a folder.

    Other files of the folder are left alone. The three files are written under other names and
    renamed at the end, so an interrupted run leaves the folder as it was.

    Args:
        config: What to simulate.
        folder: Made if it is not there.
        on_progress: Called with the number of orders of each block once they are written.

    Raises:
        UserError: The folder cannot be made or written to.
    """
    parts = folder / PARTS
    try:
        if parts.exists():
            shutil.rmtree(parts)
        parts.mkdir(parents=True)
        try:
            counts = _write_parts(config, parts, on_progress)
            for table in TABLES:
                _join(parts, table)
            for table in TABLES:
                os.replace(parts / f"{table}.parquet", folder / f"{table}.parquet")
        finally:
            shutil.rmtree(parts, ignore_errors=True)
    except OSError as error:
        raise UserError(
            f"cannot write to {folder}: {error.strerror or error}; choose another --out"
        ) from None
    return counts


def _write_parts(
    config: SimulationConfig, parts: Path, on_progress: Callable[[int], None]
) -> DatasetCounts:
    orders = outcomes = attack_orders = attacks = 0
    for number, block in enumerate(simulate(config)):
        for table in TABLES:
            frame: pl.DataFrame = getattr(block, table)
            frame.write_parquet(parts / f"{table}-{number:06}.parquet", compression="lz4")
        orders += block.orders.height
        outcomes += block.outcomes.height
        attack_orders += int(block.truth["is_attack"].sum())
        first = block.truth.filter(pl.col("event_time") == pl.col("attack_start"))
        attacks += first["attack_id"].n_unique()
        on_progress(block.orders.height)
    return DatasetCounts(orders, outcomes, attack_orders, attacks)


def _join(parts: Path, table: str) -> None:
    """One file out of a table's parts, in their order, without holding them."""
    pl.scan_parquet(sorted(parts.glob(f"{table}-*.parquet"))).sink_parquet(
        parts / f"{table}.parquet", row_group_size=100_000
    )
