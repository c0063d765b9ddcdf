"""What the default policy does on simulated days. Prints one JSON object a seed, one a line.

    python -m benchmarks.policy_days 7 21

Each day is the last of 30 with 200,000 orders, its model trained on the days before. Rules, model
and tiers decide; there is no exploration and no circuit breaker. Shares are of orders, in percent:

honest_stopped  false positives: honest orders that do not pass
attacks_stopped, precision, rings_stopped
to_a_person     called or frozen
first_stop      of the median incident: seconds and orders after its first order; null: never
gifts_passed    orders of gift senders that pass, with and without the rule family_address, beside
                the model and by rules alone
"""

import argparse
import json
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
import polars as pl

from features.columns import event_columns_from_orders
from features.feature_set import FeatureSet, attributes_of, feature_set
from features.frame_file import frame_writer
from features.memory import InMemoryState
from features.replay import replay
from models.points import model_points
from orders.events import Order
from orders.tables import orders_from_frame, scan_orders, scan_outcomes
from preempt.live_day import live_start_of
from serving.policy import Policy
from serving.prepared_policy import PreparedPolicy
from serving.rule_matcher import RuleInput
from serving.tiers import CALL, PASS
from training.frame import open_frame
from training.simulation.config import SimulationConfig
from training.simulation.dataset import write_dataset
from training.train import Recipe, predict_rows, train_model

GIFT_RULE = "family_address"


class Day(NamedTuple):
    """The orders of a day with their vectors, what the model says, and the truth."""

    orders: list[Order]
    vectors: np.ndarray
    keys: np.ndarray
    probability: np.ndarray
    truth: pl.DataFrame
    feature_set: FeatureSet


def day_of(seed: int, folder: Path) -> Day:
    """Simulate, replay, train, and score the last day."""
    config = SimulationConfig(orders=200_000, days=30, seed=seed)
    write_dataset(config, folder, lambda _: None)
    start = datetime.fromtimestamp(live_start_of(config) / 1000, UTC)
    orders, outcomes = scan_orders(folder), scan_outcomes(folder)
    features = feature_set(attributes_of(orders.collect_schema()))
    with frame_writer(folder / "frame.parquet", features) as write:
        for block in replay(orders, outcomes, InMemoryState(features), features):
            write(block)
    trained = train_model(folder / "frame.parquet", folder, "risk", start, recipe=Recipe(seed=seed))
    frame = open_frame(folder / "frame.parquet")
    rows = np.flatnonzero((frame.keys["event_time"] >= start).to_numpy())
    of_day = frame.keys[rows].select("order_id")
    live = of_day.join(orders.collect(), on="order_id", how="left", maintain_order="left")
    truth = pl.read_parquet(folder / "truth.parquet")
    placed = orders_from_frame(live)
    [vectors] = frame.matrices([rows])
    return Day(
        placed,
        np.ascontiguousarray(vectors),
        event_columns_from_orders(placed, features).entity_key,
        predict_rows(trained.model, frame, rows),
        live.select("order_id", "event_time").join(
            truth, on="order_id", how="left", maintain_order="left"
        ),
        features,
    )


def tiers_of(day: Day, policy: Policy, *, with_model: bool = True) -> np.ndarray:
    """(n,) the tier of each order."""
    prepared = PreparedPolicy(policy, day.feature_set)
    chunk = RuleInput(day.orders, day.vectors, day.keys, day.probability if with_model else None)
    points = model_points(day.probability) if with_model else None
    return prepared.judge(chunk, points).verdicts.tier


def first_stop(day: Day, stopped: np.ndarray) -> dict[str, float | None]:
    """Of the median incident, a stop that never comes counting as the latest."""
    incidents = (
        day.truth.with_columns(stopped=pl.Series(stopped))
        .filter(pl.col("attack_id").is_not_null())
        .sort("event_time")
        .with_columns(
            number=pl.int_range(1, pl.len() + 1).over("attack_id"),
            seconds=(
                pl.col("event_time") - pl.col("event_time").min().over("attack_id")
            ).dt.total_seconds(fractional=True),
        )
        .group_by("attack_id")
        .agg(
            pl.col("seconds", "number").filter("stopped").min(),
        )
    )
    never = float("inf")
    medians = incidents.select(pl.col("seconds", "number").fill_null(never).median()).row(0)
    return {
        "incidents": incidents.height,
        "seconds": None if medians[0] == never else medians[0],
        "orders": None if medians[1] == never else medians[1],
        "within_30_s": percent(incidents["seconds"].fill_null(never).to_numpy() <= 30),
        "within_10_orders": percent(incidents["number"].fill_null(never).to_numpy() <= 10),
    }


def percent(flags: np.ndarray) -> float:
    """The share of flags that are set."""
    return round(100 * float(flags.mean()), 2)


def figures(day: Day) -> dict[str, object]:
    """What the default policy does with a day."""
    policy = Policy.default()
    without = msgspec.structs.replace(
        policy, rules=tuple(rule for rule in policy.rules if rule.name != GIFT_RULE)
    )
    attack, kind = day.truth["is_attack"].to_numpy(), day.truth["kind"].to_numpy()
    gifts = kind == "gift_sender"
    tier = tiers_of(day, policy)
    stopped = tier != PASS

    def gifts_passed(chosen: Policy, *, with_model: bool) -> float:
        return percent(tiers_of(day, chosen, with_model=with_model)[gifts] == PASS)

    return {
        "orders": len(tier),
        "honest_stopped": percent(stopped[~attack]),
        "attacks_stopped": percent(stopped[attack]),
        "precision": percent(attack[stopped]),
        "rings_stopped": percent(stopped[kind == "ring"]),
        "rings_stopped_without_gift_rule": percent(tiers_of(day, without)[kind == "ring"] != PASS),
        "to_a_person": percent(tier >= CALL),
        "first_stop": first_stop(day, stopped),
        "gifts_passed": {
            "with_model": [gifts_passed(p, with_model=True) for p in (without, policy)],
            "rules_alone": [gifts_passed(p, with_model=False) for p in (without, policy)],
        },
    }


def main() -> None:
    """Print a line for each seed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("seeds", nargs="+", type=int)
    for seed in parser.parse_args().seeds:
        with tempfile.TemporaryDirectory() as folder:
            found = figures(day_of(seed, Path(folder)))
        print(json.dumps({"seed": seed, **found}), flush=True)


if __name__ == "__main__":
    main()
