"""Simulations that several tests look at, made once."""

from functools import cache
from typing import NamedTuple

import polars as pl

from training.simulation.config import SimulationConfig
from training.simulation.generate import SimulatedBlock, simulate


class Shop(NamedTuple):
    orders: pl.DataFrame
    outcomes: pl.DataFrame
    truth: pl.DataFrame


@cache
def blocks(config: SimulationConfig) -> tuple[SimulatedBlock, ...]:
    return tuple(simulate(config))


@cache
def shop(orders: int = 60_000, days: float = 10, seed: int = 7, block: int = 50_000) -> Shop:
    made = blocks(SimulationConfig(orders, days, seed=seed, block_orders=block))
    return Shop(
        pl.concat([each.orders for each in made]),
        pl.concat([each.outcomes for each in made]),
        pl.concat([each.truth for each in made]),
    )
