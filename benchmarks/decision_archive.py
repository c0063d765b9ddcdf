"""A made-up archive of orders, decisions and outcomes, of any size, written block by block."""

from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
from deltalake import write_deltalake

from features.declare import Feature
from features.feature_set import FeatureSet
from orders.decision_table import DECISION_SCHEMA, FEATURE_LIST, TIERS, feature_column
from orders.tables import ORDER_SCHEMA, OUTCOME_SCHEMA, TIME
from streams.archive import name_features

Layout = Literal["columns", "list"]

START_MS = 1_767_225_600_000  # 2026-01-01
DAY_MS = 86_400_000
PARTITIONS = 4
BLOCK = 250_000
CATEGORIES = ("phone", "clothing", "gift card", "card_key", "food")
CHANNELS = ("web", "app", "mini_program", "marketplace")


def write_archive(
    folder: Path,
    decisions: int,
    feature_set: FeatureSet,
    *,
    days: int = 60,
    seed: int = 0,
    layout: Layout = "columns",
) -> None:
    """Write the tables `orders`, `outcomes` and `decisions`, and name the features.

    One order in fifty is fraud; its device is busy and its phone often virtual. Four of five honest
    orders are delivered, the others expire or are cancelled.
    """
    draw = np.random.default_rng(seed)
    name_features(folder, feature_set)
    for first in range(0, decisions, BLOCK):
        n = min(BLOCK, decisions - first)
        number = np.arange(first, first + n)
        time = START_MS + number * (days * DAY_MS) // decisions
        fraud = draw.random(n) < 0.02
        place = {
            "partition": pl.Series(number % PARTITIONS, dtype=pl.Int32),
            "offset": pl.Series(number // PARTITIONS, dtype=pl.Int64),
            "appended_time": pl.Series(time, dtype=pl.Int64).cast(TIME),
        }
        orders = _orders(draw, number, time, fraud)
        _append(folder / "orders", orders.with_columns(**place))
        vectors = [_feature(draw, each, orders, fraud) for each in feature_set.features]
        decided = _decisions(draw, orders, fraud, feature_set, vectors)
        of_order = {
            "order_offset": place["offset"],
            "order_appended_time": place["appended_time"],
        }
        log = pl.DataFrame(place | of_order)
        if layout == "columns":
            held = vectors
        else:
            whole = pl.DataFrame(vectors).select(pl.concat_list(pl.all()).alias(FEATURE_LIST))
            held = whole.get_columns()
        _append(folder / "decisions", log.hstack([*decided, *held]))
        _append(folder / "outcomes", _outcomes(draw, orders, time, fraud))


def _append(path: Path, rows: pl.DataFrame) -> None:
    write_deltalake(str(path), rows, mode="append")


def _orders(
    draw: np.random.Generator, number: np.ndarray, time: np.ndarray, fraud: np.ndarray
) -> pl.DataFrame:
    n = len(number)
    device = np.where(fraud, draw.integers(0, 2_000, n), draw.integers(0, 2_000_000, n))
    cells: dict[str, Any] = {
        "order_id": pl.Series(number).cast(pl.String).str.zfill(12).str.replace("^", "order-"),
        "event_time": pl.Series(time).cast(TIME),
        "account": pl.Series(draw.integers(0, 3_000_000, n)).cast(pl.String),
        "device": pl.Series(device).cast(pl.String),
        "ip": pl.Series(draw.integers(0, 256, n)).cast(pl.String) + ".0.0.1",
        "member_level": draw.choice(7, n, p=(0.4, 0.2, 0.15, 0.1, 0.08, 0.05, 0.02)),
        "channel": _choice(draw, CHANNELS, n),
        "merchant": pl.Series(draw.zipf(1.6, n) % 500).cast(pl.String),
        "sku": pl.Series(draw.integers(0, 20_000, n)).cast(pl.String),
        "category": _choice(draw, CATEGORIES, n),
        "quantity": draw.geometric(0.7, n),
        "unit_price": np.round(draw.lognormal(9, 1.1, n)).astype(np.int64),
        "currency": np.where(draw.random(n) < 0.95, "CNY", "USD"),
    }
    return pl.select(
        *(pl.lit(cells.get(name)).cast(dtype).alias(name) for name, dtype in ORDER_SCHEMA.items()),
        pl.lit(None, pl.String).alias("attributes"),
    )


def _choice(draw: np.random.Generator, values: tuple[str, ...], n: int) -> pl.Series:
    return pl.Series(values).gather(draw.integers(0, len(values), n))


def _feature(
    draw: np.random.Generator, feature: Feature, orders: pl.DataFrame, fraud: np.ndarray
) -> pl.Series:
    n = len(fraud)
    if feature.name == "amount":
        values = (orders["quantity"] * orders["unit_price"]).to_numpy().astype(np.float64)
    elif feature.unit == "flag":
        values = (draw.random(n) < np.where(fraud, 0.5, 0.05)).astype(np.float64)
    elif feature.unit == "s":
        values = np.round(draw.exponential(np.where(fraud, 1e5, 3e6)), 3)
    elif feature.unit in ("share", "ratio"):
        values = draw.integers(0, 40, n) / draw.integers(1, 40, n)
    elif feature.unit == "minor units":
        values = np.round(draw.lognormal(9, 1.1, n))
    elif feature.dtype == "string":
        values = draw.integers(0, 5, n).astype(np.float64) * 1e15
    else:
        values = draw.poisson(np.where(fraud, 5.0, 0.3)).astype(np.float64)
    known = draw.random(n) > 0.05
    cells = pl.Series(feature_column(feature.name), values)
    return cells if feature.aggregate == "order" else cells.set(pl.Series(~known), None)


def _decisions(
    draw: np.random.Generator,
    orders: pl.DataFrame,
    fraud: np.ndarray,
    feature_set: FeatureSet,
    vectors: list[pl.Series],
) -> list[pl.Series]:
    n = len(fraud)
    score = draw.normal(np.where(fraud, 0.5, -5.0), 1.5)
    probability = 1 / (1 + np.exp(-score))
    model_points = np.round(np.clip(120 + 20 * score / np.log(2), -20, 150), 1)
    burst = pl.DataFrame(vectors)[feature_column("device_orders_5m")].fill_null(0).to_numpy() >= 4
    rule_points = np.where(burst, 50.0, 0.0)
    points = model_points + rule_points
    tier = (points[:, None] >= (80, 100, 120)).sum(axis=1)
    explored = (tier == 3) & (draw.random(n) < 0.01)
    tiers = pl.Series(TIERS).gather(np.where(explored, 2, tier))
    actions = pl.Series(("accept", "verify_sms", "verify_call", "freeze"))
    reason = {
        "code": "rule:device_burst",
        "points": 50.0,
        "text": "At least the fifth order of this device within 5 minutes",
        "text_zh": "同一设备5分钟内提交5次订单",
        "values": '{"device_orders_5m":4.0}',
        "snoozed": False,
    }
    dtype = DECISION_SCHEMA["reasons"]
    reasons = pl.Series([[], [reason]], dtype=dtype).gather(burst.astype(np.uint32))
    as_of = {"state": "0" * 16, "batch": 1, "position": 1, "orders": [1] * 4, "outcomes": [1] * 4}
    cells: dict[str, Any] = {
        "order_id": orders["order_id"],
        "event_time": orders["event_time"],
        "decided_time": orders["event_time"],
        "feature_hash": feature_set.hash,
        "as_of": pl.Series([as_of], dtype=DECISION_SCHEMA["as_of"]).new_from_index(0, n),
        "probability": pl.Series(probability),
        "rule_points": pl.Series(rule_points),
        "model_points": pl.Series(model_points),
        "points": pl.Series(points),
        "tier": tiers,
        "action": actions.gather(np.where(explored, 2, tier)),
        "reasons": reasons,
        "fast_lane": False,
        "model": "risk/1",
        "rules": "0" * 12,
        "propensity": pl.Series(np.where(explored, 0.01, np.where(tier == 3, 0.99, 1.0))),
        "explored": pl.Series(explored),
        "softened_by": pl.Series([[]], dtype=DECISION_SCHEMA["softened_by"]).new_from_index(0, n),
    }
    return pl.select(
        pl.lit(cells.get(name)).cast(kind).alias(name) for name, kind in DECISION_SCHEMA.items()
    ).get_columns()


def _outcomes(
    draw: np.random.Generator, orders: pl.DataFrame, time: np.ndarray, fraud: np.ndarray
) -> pl.DataFrame:
    n = len(fraud)
    chance = draw.random(n)
    honest = np.select([chance < 0.8, chance < 0.92], ["delivered", "expired"], "cancelled")
    attack = np.select([chance < 0.5, chance < 0.8], ["charged_back", "expired"], "cancelled")
    kind = np.where(fraud, attack, honest)
    days = np.where(kind == "charged_back", draw.uniform(1, 12, n), draw.uniform(0.01, 2, n))
    ends = pl.DataFrame(
        {
            "order_id": orders["order_id"],
            "kind": kind,
            "event_time": time + np.where(kind == "expired", 0.02, days) * DAY_MS,
            "reason": np.where(fraud, "risk.payment_fraud", "user.changed_mind"),
        }
    ).with_columns(reason=pl.when(pl.col("kind") == "cancelled").then("reason"))
    paid = (
        ends.with_columns(event_time=pl.Series(time) + 60_000.0, reason=pl.lit(None, pl.String))
        .filter(pl.col("kind") != "expired")
        .with_columns(kind=pl.lit("paid"))
    )
    return pl.concat([paid, ends], how="vertical_relaxed").select(
        *(
            (pl.col(name) if name in ends.columns else pl.lit(None))
            .cast(pl.Int64 if dtype == TIME else dtype)
            .cast(dtype)
            .alias(name)
            for name, dtype in OUTCOME_SCHEMA.items()
        ),
        pl.lit(0, pl.Int32).alias("partition"),
        pl.lit(0, pl.Int64).alias("offset"),
    )
