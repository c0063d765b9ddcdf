"""The columns that a condition may read, and how to get each for a chunk of orders."""

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any

import numpy as np
import polars as pl

from features.feature_set import ATTRIBUTE_PREFIX, FeatureSet
from orders.events import Order
from serving.rule_program import Values

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

Column = Callable[[np.ndarray, Sequence[Order], np.ndarray | None], Values]


def rule_columns(feature_set: FeatureSet) -> dict[str, tuple[pl.DataType, Column]]:
    """Every column that a condition may read: its type and how to get it for a chunk."""
    columns: dict[str, tuple[pl.DataType, Column]] = {}
    for name in _TEXT_FIELDS:
        columns[name] = pl.String(), _text_field(name)
    for name in _NUMBER_FIELDS:
        columns[name] = pl.Float64(), _number_field(name)
    for name in _TIME_FIELDS:
        columns[name] = _TIME, _number_field(name)
    for index, feature in enumerate(feature_set.features):
        name = feature.name
        if name not in feature_set.categorical:
            dtype = pl.Boolean() if feature.unit == "flag" else pl.Float64()
            columns[name] = dtype, _feature(index)
        elif name not in columns:  # the matrix has hashes of texts; rules read the texts
            columns[name] = pl.String(), _attribute(name.removeprefix(ATTRIBUTE_PREFIX))
    columns[MODEL_PROBABILITY] = pl.Float64(), _probability
    return columns


def series_of(name: str, dtype: pl.DataType, cells: Values) -> pl.Series:
    """A column as Polars has it: unknown is null, for Polars holds NaN to be above every number."""
    if isinstance(cells, list):
        return pl.Series(name, cells, dtype=pl.String)
    if cells.dtype == np.bool_:
        return pl.Series(name, cells)
    series = pl.Series(name, cells, nan_to_null=True)
    if dtype == pl.Boolean:
        return series != 0
    return series.cast(pl.Int64).cast(dtype) if dtype == _TIME else series


def _feature(index: int) -> Column:
    return lambda vectors, _orders, _probability: np.ascontiguousarray(vectors[:, index])


def _text_field(name: str) -> Column:
    get = attrgetter(name)
    return lambda _vectors, orders, _probability: list(map(get, orders))


def _number_field(name: str) -> Column:
    get = attrgetter(name)
    # None becomes NaN.
    return lambda _vectors, orders, _probability: np.array(list(map(get, orders)), np.float64)


def _attribute(name: str) -> Column:
    def column(_vectors: Any, orders: Sequence[Order], _probability: Any) -> Values:
        cells = [(order.attributes or {}).get(name) for order in orders]
        return [cell if isinstance(cell, str) else None for cell in cells]

    return column


def _probability(
    _vectors: Any, orders: Sequence[Order], probability: np.ndarray | None
) -> np.ndarray:
    return np.full(len(orders), np.nan) if probability is None else probability
