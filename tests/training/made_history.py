"""A small data set and its frame, as `preempt import` and `preempt backfill` write them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from orders.events import Instant, Order, Outcome
from orders.tables import frame_from_orders, frame_from_outcomes

START = datetime(2026, 1, 1, tzinfo=UTC)


def at(days: float = 0, *, hours: float = 0, minutes: float = 0) -> datetime:
    return START + timedelta(days=days, hours=hours, minutes=minutes)


def instant(moment: datetime) -> Instant:
    return Instant(round(moment.timestamp() * 1000))


def order(order_id: str, moment: datetime, **fields: Any) -> Order:
    return Order(
        order_id=order_id,
        event_time=instant(moment),
        quantity=1,
        unit_price=1000,
        currency="CNY",
        **fields,
    )


def outcome(order_id: str, kind: Any, moment: datetime, **fields: Any) -> Outcome:
    if "received" in fields:
        fields["received_time"] = instant(fields.pop("received"))
    return Outcome(order_id=order_id, kind=kind, event_time=instant(moment), **fields)


def tables(
    orders: Sequence[Order], outcomes: Sequence[Outcome]
) -> tuple[pl.LazyFrame, pl.LazyFrame]:
    return frame_from_orders(orders).lazy(), frame_from_outcomes(outcomes).lazy()


@dataclass(frozen=True)
class History:
    folder: Path
    frame: Path


def made_history(
    folder: Path, rows: int = 4_000, days: float = 80, seed: int = 5, *, telling: bool = True
) -> History:
    """Orders over `days`; an order of many in an hour, or from the app, is mostly cancelled.

    Cancelled for a risk after a day or two; else paid, and after 14 days of silence a 0. Where the
    features are not `telling`, half of the orders are cancelled, whatever they look like.
    """
    random = np.random.default_rng(seed)
    times = np.sort(random.random(rows)) * days
    busy = random.poisson(1.5, rows).astype(float)
    channel = random.choice(["web", "app", "shop"], rows)
    chance = 1 / (1 + np.exp(4.0 - 1.0 * busy - 1.5 * (channel == "app")))
    bad = random.random(rows) < (chance if telling else 0.5)
    orders = [order(f"o{i:05}", at(float(times[i]))) for i in range(rows)]
    outcomes = [
        outcome(f"o{i:05}", "cancelled", at(float(times[i]) + 1.5), reason="risk.scalper")
        if bad[i]
        else outcome(f"o{i:05}", "paid", at(float(times[i]), minutes=3))
        for i in range(rows)
    ]
    folder.mkdir(parents=True, exist_ok=True)
    frame_from_orders(orders).write_parquet(folder / "orders.parquet")
    frame_from_outcomes(outcomes).sort("event_time").write_parquet(folder / "outcomes.parquet")
    frame = folder / "frame.parquet"
    frame_from_orders(orders).select(
        "order_id",
        "event_time",
        pl.Series("orders_1h", busy),
        pl.Series("channel", channel).replace("shop", None),
        pl.Series("unit_price", random.lognormal(5, 1, rows)),
    ).write_parquet(frame)
    return History(folder, frame)
