"""Decisions at rest: the columns that the archive writes and that reports read.

The decision itself is `serving.decisions.Decision`; training, which stands beside serving, reads
its table by these names.
"""

from typing import Literal, get_args

import polars as pl

from orders.tables import TIME

Tier = Literal["pass", "sms", "call", "freeze", "cancel"]

TIERS: tuple[Tier, ...] = get_args(Tier)
"""Softest first."""

AS_OF = pl.Struct(
    {
        "state": pl.String(),
        "snapshot": pl.String(),
        "batch": pl.Int64(),
        "position": pl.Int64(),
        "orders": pl.List(pl.Int64()),
        "outcomes": pl.List(pl.Int64()),
        "shared": pl.String(),
        "turn": pl.Int64(),
    }
)
"""Where the feature state stood, as in `serving.decisions.AsOf`."""

DECISION_SCHEMA: dict[str, pl.DataType] = {
    "order_id": pl.String(),
    "event_time": TIME,
    "decided_time": TIME,
    "features": pl.List(pl.Float64()),
    "feature_hash": pl.String(),
    "as_of": AS_OF,
    "probability": pl.Float64(),
    "rule_points": pl.Float64(),
    "model_points": pl.Float64(),
    "points": pl.Float64(),
    "tier": pl.String(),
    "action": pl.String(),
    "reasons": pl.List(
        pl.Struct(
            {
                "code": pl.String(),
                "points": pl.Float64(),
                "text": pl.String(),
                "text_zh": pl.String(),
            }
        )
    ),
    "fast_lane": pl.Boolean(),
    "model": pl.String(),
    "rules": pl.String(),
    "propensity": pl.Float64(),
}
"""The fields of a decision, in order."""
