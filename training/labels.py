"""Labels: what the outcomes known at a time say about each order.

The declarations are in `orders.targets`; this is their computation, vectorised.
"""

from collections.abc import Iterable
from datetime import datetime

import polars as pl

from orders.reasons import side_of
from orders.tables import TIME
from orders.targets import Burst, Evidence, Target

LABEL_SCHEMA: dict[str, pl.DataType] = {
    "order_id": pl.String(),
    "label": pl.Int8(),
    "known_time": TIME,
}


def labels(
    orders: pl.LazyFrame,
    outcomes: pl.LazyFrame,
    target: Target,
    known_at: datetime | None = None,
) -> pl.DataFrame:
    """The label of each order as it is known at `known_at`.

    An outcome is known from the later of its event time and its received time. Nothing that is
    known later has any influence.

    Args:
        orders: The orders table (`order_id`, `event_time`, and the entities of the burst rule);
            ids and entities may be numbers that stand for them.
        outcomes: The outcomes table.
        target: The declaration.
        known_at: With zone; None: everything known, as of the last event of both tables.

    Returns:
        `order_id`, `label` (1, 0, or null: not known yet) and `known_time` (since when; null
        with the label), one row per order, in the order of `orders`.
    """
    burst = target.burst
    entities = list(burst.entities) if burst else []
    ordered = orders.select("order_id", "event_time", *entities).collect()
    known_outcomes = outcomes.select(
        "order_id",
        "kind",
        "event_time",
        pl.max_horizontal("event_time", "received_time").alias("known_time"),
        "reason",
        "verdict",
    ).collect()
    if known_at is None:
        last = [ordered["event_time"].max(), known_outcomes["known_time"].max()]
        horizon = max((moment for moment in last if isinstance(moment, datetime)), default=None)
    else:
        horizon = known_at
    if horizon is None:  # no orders at all
        return pl.DataFrame(schema=LABEL_SCHEMA)
    happened = _with_side(known_outcomes.filter(pl.col("known_time") <= horizon))

    overruled = (
        pl.concat(
            [
                _matching(happened, target.overrules_to_one).with_columns(overrule=pl.lit(1)),
                _matching(happened, target.overrules_to_zero).with_columns(overrule=pl.lit(0)),
            ]
        )
        # the latest decides; at the same instant the one in the customer's favour
        .sort("event_time", pl.col("overrule").neg(), "known_time")
        .group_by("order_id")
        .agg(pl.col("overrule").last(), pl.col("known_time").last().alias("overrule_time"))
    )
    ones = _earliest(_matching(happened, target.ones), "one_time")
    zeros = _earliest(_matching(happened, target.zeros), "zero_time")
    if burst:
        in_burst, outside = _bursts(ordered, happened, burst)
        ones = _earliest(pl.concat([ones.rename({"one_time": "known_time"}), in_burst]), "one_time")
        zeros = _earliest(
            pl.concat([zeros.rename({"zero_time": "known_time"}), outside]), "zero_time"
        )

    joined = ordered.select("order_id", "event_time")
    for evidence in (overruled, ones, zeros):
        joined = joined.join(evidence, on="order_id", how="left", maintain_order="left")
    never = pl.lit(None, dtype=TIME)
    ripe_time = never if target.maturity is None else pl.col("event_time") + target.maturity
    ripe = (ripe_time <= pl.lit(horizon)).fill_null(False)
    return joined.select(
        "order_id",
        pl.when(pl.col("overrule").is_not_null())
        .then(pl.col("overrule"))
        .when(pl.col("one_time").is_not_null())
        .then(1)
        .when(pl.col("zero_time").is_not_null() | ripe)
        .then(0)
        .cast(pl.Int8)
        .alias("label"),
        pl.when(pl.col("overrule").is_not_null())
        .then(pl.col("overrule_time"))
        .when(pl.col("one_time").is_not_null())
        .then(pl.col("one_time"))
        .when(pl.col("zero_time").is_not_null())
        .then(pl.col("zero_time"))
        .when(ripe)
        .then(ripe_time)
        .cast(TIME)
        .alias("known_time"),
    )


def _with_side(outcomes: pl.DataFrame) -> pl.DataFrame:
    reasons = outcomes["reason"].drop_nulls().unique()
    sides = pl.DataFrame(
        {"reason": reasons, "side": [side_of(reason) for reason in reasons]},
        schema={"reason": pl.String, "side": pl.String},
    )
    return outcomes.join(sides, on="reason", how="left")


def _matching(outcomes: pl.DataFrame, evidence: Iterable[Evidence]) -> pl.DataFrame:
    """The outcomes that are one of the pieces of evidence."""
    speaks = pl.lit(False)
    for piece in evidence:
        match = pl.col("kind") == piece.kind
        if piece.sides is not None:
            match &= pl.col("side").is_in(sorted(piece.sides)).fill_null(False)
        if piece.verdict is not None:
            match &= (pl.col("verdict") == piece.verdict).fill_null(False)
        speaks |= match
    return outcomes.filter(speaks)


def _earliest(found: pl.DataFrame, name: str) -> pl.DataFrame:
    return found.group_by("order_id").agg(pl.col("known_time").min().alias(name))


def _bursts(
    ordered: pl.DataFrame, happened: pl.DataFrame, burst: Burst
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Orders that ended in the burst's kind: (in a burst, outside), `order_id`, `known_time`.

    In a burst, the label is known since the last order that completes the burst is known.
    """
    ended = (
        happened.filter(pl.col("kind") == burst.kind)
        .sort("event_time", "known_time")
        .unique("order_id", keep="first", maintain_order=True)
        .join(ordered.drop("event_time"), on="order_id", how="inner", maintain_order="left")
    )
    found = [pl.DataFrame(schema={"order_id": ordered.schema["order_id"], "known_time": TIME})]
    for entity in burst.entities:
        mine = ended.filter(pl.col(entity).is_not_null())
        windows = (
            mine.rolling(
                "event_time",
                period=2 * burst.within,
                offset=-burst.within,
                closed="both",
                group_by=entity,
            )
            .agg(
                pl.col("known_time")
                .sort()
                .get(burst.orders - 1, null_on_oob=True)
                .alias("complete_time")
            )
            .unique([entity, "event_time"])
            .drop_nulls("complete_time")
        )
        found.append(
            mine.join(windows, on=[entity, "event_time"]).select(
                "order_id", pl.max_horizontal("known_time", "complete_time").alias("known_time")
            )
        )
    in_burst = pl.concat(found)
    outside = ended.join(in_burst, on="order_id", how="anti").select("order_id", "known_time")
    return in_burst, outside
