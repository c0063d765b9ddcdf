"""Frames: point-in-time features at rest, read column by column into the model's matrix."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from models.signature import text_hashes
from orders.errors import UserError
from orders.tables import ORDER_SCHEMA, TIME

KEYS = ("order_id", "event_time")


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame on disk: `order_id`, `event_time`, and one column a feature.

    A categorical feature is a String column. Nothing but the two keys is held in memory.

    Attributes:
        keys: `order_id` and `event_time`, in the order of the file.
        features: Names in the order of the file, which is the order of the vector.
        categorical: Those of them that are text.
    """

    path: Path
    keys: pl.DataFrame
    features: tuple[str, ...]
    categorical: tuple[str, ...]

    def matrices(self, rows: Sequence[NDArray[np.intp]]) -> list[NDArray[np.float64]]:
        """The feature vectors of several sets of rows, each (n, F) float64, C order.

        Text becomes its 32-bit hash and missing becomes NaN, as in the vectors that the feature
        engine makes. Each column is read once.
        """
        matrices = [np.empty((len(chosen), len(self.features))) for chosen in rows]
        for column, name in enumerate(self.features):
            values = _numbers(self._column(name))
            for matrix, chosen in zip(matrices, rows, strict=True):
                matrix[:, column] = values[chosen]
        return matrices

    def category_counts(self, rows: NDArray[np.intp]) -> dict[str, dict[str, int]]:
        """How often each text of each categorical feature occurs in these rows."""
        counts = {}
        for name in self.categorical:
            texts = self._column(name)[rows].drop_nulls().value_counts()
            counts[name] = dict(texts.iter_rows())
        return counts

    def _column(self, name: str) -> pl.Series:
        return pl.scan_parquet(self.path).select(name).collect()[name]


def open_frame(path: Path) -> Frame:
    """Read the keys of a frame and the names of its features.

    Raises:
        UserError: The file is missing, is not Parquet, has no rows, or lacks a column.
    """
    if path.is_dir():
        raise UserError(
            f"{path} is a folder: name the frame that `preempt backfill {path} --out frame.parquet` "
            "makes"
        )
    if not path.is_file():
        raise UserError(f"{path}: no such file; make it with `preempt backfill DIR --out {path}`")
    try:
        schema = pl.scan_parquet(path).collect_schema()
    except pl.exceptions.PolarsError as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"{path} is not a Parquet file: {reason}") from None
    if schema.keys() >= ORDER_SCHEMA.keys():
        raise UserError(
            f"{path} is the orders of a data set, not features: make them with "
            f"`preempt backfill {path.parent} --out frame.parquet`"
        )
    for name, dtype in zip(KEYS, (pl.String(), TIME), strict=True):
        if schema.get(name) != dtype:
            found = schema.get(name, "absent")
            raise UserError(f"{path}: column {name} must be {dtype}, it is {found}")
    features = tuple(name for name in schema if name not in KEYS)
    if not features:
        raise UserError(f"{path}: no feature columns beside {' and '.join(KEYS)}")
    for name in features:
        if not (
            schema[name] == pl.String or schema[name].is_numeric() or schema[name] == pl.Boolean
        ):
            raise UserError(
                f"{path}: feature {name} is {schema[name]}, expected numbers, yes/no or text"
            )
    keys = pl.scan_parquet(path).select(KEYS).collect()
    if keys.is_empty():
        raise UserError(f"{path}: no rows; were there orders in the range of the backfill?")
    if keys["event_time"].null_count() or keys["order_id"].null_count():
        raise UserError(f"{path}: rows without order_id or event_time")
    return Frame(
        path=path,
        keys=keys,
        features=features,
        categorical=tuple(name for name in features if schema[name] == pl.String),
    )


def _numbers(column: pl.Series) -> NDArray[np.float64]:
    if column.dtype == pl.String:
        texts = column.unique().drop_nulls()
        numbers = pl.Series(text_hashes(texts.to_list()), dtype=pl.Float64)
        column = column.replace_strict(texts, numbers, return_dtype=pl.Float64)
    # a null becomes NaN
    return column.cast(pl.Float64).to_numpy()
