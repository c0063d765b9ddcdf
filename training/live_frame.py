"""A live day at rest: what was ordered, decided and true, joined to one row per order."""

from dataclasses import dataclass
from typing import NamedTuple

import polars as pl

from orders.decision_table import DECISION_SCHEMA

_NOT_READ = ("as_of", "feature_hash", "propensity")

LIVE_DECISION_SCHEMA: dict[str, pl.DataType] = {
    **{name: dtype for name, dtype in DECISION_SCHEMA.items() if name not in _NOT_READ},
    "order_appended_ms": pl.Int64(),
    "decision_appended_ms": pl.Int64(),
}
"""A decision as the summary reads it; the last two are the broker's append timestamps."""

TRUTH_SCHEMA: dict[str, pl.DataType] = {
    "order_id": pl.String(),
    "is_attack": pl.Boolean(),
    "kind": pl.String(),
    "attack_id": pl.String(),
}

ORDER_COLUMNS = ("order_id", "event_time", "account", "quantity", "unit_price", "currency")

HOUR = 3_600_000


class Interval(NamedTuple):
    """A time range, its end excluded, in UTC milliseconds."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class LiveDay:
    """Everything that a live day left behind.

    Attributes:
        orders: The orders that were sent; `ORDER_COLUMNS` of the orders table are read.
        decisions: All decisions that came back, repeats included; `LIVE_DECISION_SCHEMA`.
        truth: What each order really was; `TRUTH_SCHEMA`; empty where nobody knows.
        dead_letters: Messages that went to the dead-letter topic.
        day: The day by event time.
        peak: The promotion peak by event time; None: the busiest hour of the day stands for it.
        seed: Of the simulation, if there was one.
        machine: One line for people.
    """

    orders: pl.DataFrame
    decisions: pl.DataFrame
    truth: pl.DataFrame
    day: Interval
    peak: Interval | None = None
    dead_letters: int = 0
    seed: int | None = None
    machine: str = ""


def order_rows(live: LiveDay) -> pl.DataFrame:
    """One row per order id, by event time: the order, its first decision and its truth.

    Columns: order_id, event_time, account, amount (minor units), currency, the columns of
    `LIVE_DECISION_SCHEMA` (null where there is no decision), is_attack, kind, attack_id (null where the
    truth is not known), and `decided`, `stopped`, `latency_ms`.
    """
    orders = (
        live.orders.select(
            "order_id",
            "event_time",
            "account",
            (pl.col("quantity") * pl.col("unit_price")).alias("amount"),
            "currency",
        )
        .unique("order_id", keep="first", maintain_order=True)
        .sort("event_time", maintain_order=True)
    )
    first_decisions = (
        live.decisions.select(LIVE_DECISION_SCHEMA.keys())
        .drop("event_time")
        .sort("decision_appended_ms", nulls_last=True, maintain_order=True)
        .unique("order_id", keep="first", maintain_order=True)
        .with_columns(pl.lit(True).alias("decided"))
    )
    truth = live.truth.select(TRUTH_SCHEMA.keys()).unique("order_id", keep="first")
    return (
        orders.join(first_decisions, on="order_id", how="left", maintain_order="left")
        .join(truth, on="order_id", how="left", maintain_order="left")
        .with_columns(
            pl.col("decided").fill_null(False),
            # an order without a decision was not stopped: the shop let it through
            (pl.col("action") != "accept").fill_null(False).alias("stopped"),
            (pl.col("decision_appended_ms") - pl.col("order_appended_ms")).alias("latency_ms"),
        )
    )


def within(interval: Interval) -> pl.Expr:
    """Whether a row's event time lies in the interval."""
    millis = pl.col("event_time").dt.epoch("ms")
    return (millis >= interval.start) & (millis < interval.end)


def peak_of(live: LiveDay) -> Interval:
    """The promotion peak, or else the hour (from its full hour) with the most orders."""
    if live.peak is not None:
        return live.peak
    if live.orders.is_empty():
        return Interval(live.day.start, min(live.day.start + HOUR, live.day.end))
    hours = live.orders.select(pl.col("event_time").dt.epoch("ms") // HOUR * HOUR).to_series()
    counts = hours.value_counts().sort("count", "event_time", descending=[True, False])
    start = int(counts["event_time"][0])
    return Interval(start, start + HOUR)
