"""Decisions at rest: the columns that the archive writes and that reports read.

The decision itself is `serving.decisions.Decision`; training, which stands beside serving, reads
its table by these names. The vector is one column a feature, so that a reader of twelve features
reads twelve columns (docs/adr/0011).
"""

from collections.abc import Mapping, Sequence
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
                "values": pl.String(),  # JSON
                "snoozed": pl.Boolean(),
            }
        )
    ),
    "fast_lane": pl.Boolean(),
    "model": pl.String(),
    "rules": pl.String(),
    "lists": pl.String(),
    "shadow": pl.Struct({"rules": pl.String(), "points": pl.Float64(), "tier": pl.String()}),
    "propensity": pl.Float64(),
    "explored": pl.Boolean(),
    "softened_by": pl.List(pl.String()),
}
"""The fields of a decision, in order."""

FEATURE_LIST = "features"
"""A whole vector in the order of its feature set: what tables had before they had a column a
feature, and what still holds vectors whose feature set nobody had named when they were archived."""


def feature_column(name: str) -> str:
    """The column of a feature: null where it was unknown, or not in the row's feature set."""
    return f"f_{name}"


def archived_features(
    schema: Mapping[str, pl.DataType], read: Sequence[str], names: Sequence[str]
) -> list[pl.Expr]:
    """Columns of features by their own names, for rows of one feature set.

    Args:
        schema: of the table of decisions.
        read: which features; one that the table does not have is null.
        names: all features of the set, in its order: where each stands in a whole vector.
    """
    places = {name: place for place, name in enumerate(names)}
    return [
        pl.coalesce(*_cells(schema, name, places.get(name)), pl.lit(None, pl.Float64)).alias(name)
        for name in read
    ]


def _cells(schema: Mapping[str, pl.DataType], name: str, place: int | None) -> list[pl.Expr]:
    cells = []
    if feature_column(name) in schema:
        cells.append(pl.col(feature_column(name)))
    if FEATURE_LIST in schema and place is not None:
        cells.append(pl.col(FEATURE_LIST).list.get(place, null_on_oob=True))
    return cells
