"""The columns that a condition may read, and how to get each for a chunk of orders."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import polars as pl

from features.feature_set import ATTRIBUTE_PREFIX, FeatureSet
from orders.events import Order

MODEL_PROBABILITY = "model_probability"

_TEXT_FIELDS = (
    "order_id",
    "account",
    "phone",
    "recipient",
    "channel",
    "device",
    "ip",
    "user_agent",
    "merchant",
    "sku",
    "category",
    "currency",
    "address",
    "payment_method",
    "payment",
    "coupon",
)
_NUMBER_FIELDS = ("member_level", "quantity", "unit_price", "list_price")
_TIME_FIELDS = ("event_time", "account_created_time")
_TIME = pl.Datetime("ms", "UTC")

Column = Callable[[np.ndarray, Sequence[Order], np.ndarray | None], pl.Series]


def rule_columns(feature_set: FeatureSet) -> dict[str, tuple[pl.DataType, Column]]:
    """Every column that a condition may read: its type and how to get it for a chunk."""
    columns: dict[str, tuple[pl.DataType, Column]] = {}
    for name in _TEXT_FIELDS:
        columns[name] = pl.String(), _order_field(name, pl.String())
    for name in _NUMBER_FIELDS:
        columns[name] = pl.Float64(), _order_field(name, pl.Float64())
    for name in _TIME_FIELDS:
        columns[name] = _TIME, _order_field(name, pl.Int64(), _TIME)
    for index, feature in enumerate(feature_set.features):
        name = feature.name
        if name not in feature_set.categorical:
            columns[name] = _feature(index, flag=feature.unit == "flag")
        elif name not in columns:  # the matrix has hashes of texts; rules read the texts
            columns[name] = pl.String(), _attribute(name.removeprefix(ATTRIBUTE_PREFIX))
    columns[MODEL_PROBABILITY] = pl.Float64(), _probability
    return columns


def _feature(index: int, *, flag: bool) -> tuple[pl.DataType, Column]:
    # NaN means unknown, and Polars holds NaN to be above every number: rules must see null.
    if flag:
        return (
            pl.Boolean(),
            lambda vectors, _orders, _probability: (
                pl.Series(np.ascontiguousarray(vectors[:, index]), nan_to_null=True) != 0
            ),
        )
    return pl.Float64(), lambda vectors, _orders, _probability: pl.Series(
        np.ascontiguousarray(vectors[:, index]), nan_to_null=True
    )


def _order_field(name: str, dtype: pl.DataType, shown_as: pl.DataType | None = None) -> Column:
    def column(_vectors: Any, orders: Sequence[Order], _probability: Any) -> pl.Series:
        series = pl.Series([getattr(order, name) for order in orders], dtype=dtype, strict=False)
        return series if shown_as is None else series.cast(shown_as)

    return column


def _attribute(name: str) -> Column:
    def column(_vectors: Any, orders: Sequence[Order], _probability: Any) -> pl.Series:
        cells = [(order.attributes or {}).get(name) for order in orders]
        return pl.Series([c if isinstance(c, str) else None for c in cells], dtype=pl.String)

    return column


def _probability(
    _vectors: Any, orders: Sequence[Order], probability: np.ndarray | None
) -> pl.Series:
    if probability is None:
        return pl.Series([None] * len(orders), dtype=pl.Float64)
    return pl.Series(probability, nan_to_null=True)
