"""The simulation itself: block after block of orders, with the outcomes that fall due."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl

from orders.tables import ORDER_SCHEMA
from training.simulation.attackers import incidents
from training.simulation.attacks import ATTACKS, LATE, AttackKind, hold_sizes
from training.simulation.calendar import Span
from training.simulation.config import SimulationConfig
from training.simulation.drafts import DRAFT_SCHEMA, FIRST_ATTACK, gather
from training.simulation.honest import honest_orders
from training.simulation.keys import numbered, root_key
from training.simulation.look_alikes import LOOK_ALIKES, price_rush
from training.simulation.outcome_rows import ROW_SCHEMA, together, written
from training.simulation.outcomes import outcome_rows
from training.simulation.world import World, build_world
from training.simulation.writing import TRUTH_SCHEMA, orders_table, truth_table

OUTCOMES_AT_A_TIME = 500_000


@dataclass(frozen=True, slots=True)
class SimulatedBlock:
    """A stretch of time: its orders and their truth, and the outcomes that happen in it.

    Each table is sorted by event time and begins where that of the block before it ends. The last
    blocks have outcomes only: those that come after the last day.
    """

    orders: pl.DataFrame
    outcomes: pl.DataFrame
    truth: pl.DataFrame


def simulate(config: SimulationConfig) -> Iterator[SimulatedBlock]:
    """Simulate; holds one block and what is still to come of orders already placed.

    Equal configurations give equal tables.
    """
    world = build_world(config)
    blocks = -(-config.orders // config.block_orders)
    cuts = world.calendar.times_of_shares(np.arange(1, blocks) / blocks)
    edges = [config.start, *cuts.tolist(), config.end]
    later_orders = pl.DataFrame(schema=DRAFT_SCHEMA)
    later_outcomes = pl.DataFrame(schema=ROW_SCHEMA)
    order_root = root_key(config.seed, "order ids")
    done = 0
    for number in range(blocks):
        span = Span(edges[number], edges[number + 1])
        rng = np.random.default_rng([config.seed, 1, number])
        target = round(config.orders * (number + 1) / blocks) - done
        drafts, later_orders = _drafts(rng, world, span, target, later_orders)
        ids = numbered(order_root, np.arange(done, done + drafts.height), "order")
        drafts = drafts.with_columns(pl.Series("order", ids))
        done += drafts.height
        pending = together([later_outcomes, outcome_rows(rng, world, drafts)])
        due = pending["time"] < span.end
        later_outcomes = pending.filter(~due)
        yield SimulatedBlock(
            orders=orders_table(rng, world, drafts),
            outcomes=written(pending.filter(due)),
            truth=truth_table(drafts),
        )
    yield from _afterwards(later_outcomes)


def _drafts(
    rng: np.random.Generator, world: World, span: Span, target: int, earlier: pl.DataFrame
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The `target` orders of a block, sorted by time, and orders that its episodes place later."""
    episodes = gather([earlier, *_honest_episodes(rng, world, span), *_attacks(rng, world, span)])
    now = episodes["time"] < span.end
    later = episodes.filter(~now).filter(pl.col("time") < world.config.end)
    episodes = episodes.filter(now)
    missing = target - episodes.height
    if missing < 0:
        episodes = _trimmed(rng, episodes, target)
    times = world.calendar.sample(rng, max(missing, 0), span)
    block = gather([episodes, honest_orders(rng, world, times)])
    # orders of the same millisecond come in a random order, whoever placed them
    chance = pl.Series("chance", rng.random(block.height))
    return block.with_columns(chance).sort("time", "chance").drop("chance"), later


def _trimmed(rng: np.random.Generator, drafts: pl.DataFrame, number: int) -> pl.DataFrame:
    """Only so many of the drafts; honest ones go first."""
    honest = drafts["kind"].to_numpy() < FIRST_ATTACK
    rank = np.argsort(honest + rng.random(len(honest)), kind="stable")
    return drafts[np.sort(rank[:number])]


def _starts(rng: np.random.Generator, world: World, span: Span, rate: float) -> np.ndarray:
    """When episodes start: `rate` of them over the whole time, as orders come, evenly spread.

    Evenly, because with few incidents chance alone would fill some hours with attacks.
    """
    calendar = world.calendar
    low, high = calendar.share_before(span.start), calendar.share_before(span.end)
    expected = rate * (high - low)
    number = int(expected) + int(rng.random() < expected % 1)
    shares = low + (high - low) * (np.arange(number) + rng.random(number)) / max(number, 1)
    return np.clip(calendar.times_of_shares(shares), span.start, span.end - 1)


def _honest_episodes(rng: np.random.Generator, world: World, span: Span) -> Iterator[pl.DataFrame]:
    config = world.config
    for persona in LOOK_ALIKES:
        starts = _starts(rng, world, span, config.orders * persona.orders / persona.mean_size)
        if persona.name == "gift_sender":
            starts = _at_festivals(rng, world, span, starts)
        if len(starts):
            yield persona.make(rng, world, starts)
    for error, slip in enumerate(world.calendar.price_errors):
        if span.start <= slip.start < span.end:
            usual = world.calendar.share_before(slip.end) - world.calendar.share_before(slip.start)
            yield price_rush(rng, world, round(0.6 * usual * config.orders), error)


def _at_festivals(
    rng: np.random.Generator, world: World, span: Span, starts: np.ndarray
) -> np.ndarray:
    """Starts, many of them moved to the days of promotions, which are days of gifts."""
    other = world.calendar.sample(rng, len(starts), span)
    moves = world.calendar.is_festive(other) & (rng.random(len(starts)) < 0.6)
    return np.where(moves, other, starts)


def _attacks(rng: np.random.Generator, world: World, span: Span) -> Iterator[pl.DataFrame]:
    for kind in ATTACKS:
        typical = world.calendar.sample(rng, 1000, span)
        size = kind.mean_size or float(hold_sizes(rng, world, typical).mean())
        for part, weight in _parts(world, span, kind):
            rate = world.config.orders * world.config.attack_share * weight / size
            starts = _starts(rng, world, part, rate)
            if len(starts):
                yield kind.make(rng, world, incidents(rng, world, starts))


def _parts(world: World, span: Span, kind: AttackKind) -> Iterator[tuple[Span, float]]:
    """The early and the late part of a span, with the kind's weight in each."""
    config = world.config
    change = config.start + round(LATE * (config.end - config.start))
    if span.start < change and kind.early:
        yield Span(span.start, min(span.end, change)), kind.early
    if span.end > change and kind.late:
        yield Span(max(span.start, change), span.end), kind.late


def _afterwards(pending: pl.DataFrame) -> Iterator[SimulatedBlock]:
    """The outcomes after the last day, in order."""
    pending = pending.sort("time", "order", "kind")
    nothing = [pl.DataFrame(schema=schema) for schema in (ORDER_SCHEMA, TRUTH_SCHEMA)]
    for rows in pending.iter_slices(OUTCOMES_AT_A_TIME):
        yield SimulatedBlock(orders=nothing[0], outcomes=written(rows), truth=nothing[1])
