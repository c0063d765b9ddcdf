"""History through the engine: the features that were known when each order was placed."""

from collections.abc import Iterator
from datetime import datetime

import numpy as np
import polars as pl

from features.columns import event_columns_from_frames
from features.feature_set import FeatureSet
from features.state import FeatureState
from orders.errors import UserError

BLOCK = 65_536  # orders held at a time


def replay(
    orders: pl.LazyFrame,
    outcomes: pl.LazyFrame,
    state: FeatureState,
    feature_set: FeatureSet,
    *,
    start: datetime | None = None,
    stop: datetime | None = None,
    block: int = BLOCK,
) -> Iterator[pl.DataFrame]:
    """Point-in-time features of the orders in [start, stop), in blocks.

    Both tables are as in `orders.tables`, sorted by event time, and are read in blocks. Orders
    and outcomes before `start` build the state; what is at or after `stop` is not read. After the
    last block the state holds everything before `stop`, late outcomes included.

    Yields:
        `order_id`, `event_time`, then the features: Float64 with null where missing, text as text.

    Raises:
        UserError: A table is not sorted by event time.
    """
    if stop is not None:
        orders = orders.filter(pl.col("event_time") < stop)
        outcomes = outcomes.filter(pl.col("event_time") < stop)
    waiting = _Outcomes(outcomes, block)
    previous: datetime | None = None
    for placed in orders.collect_batches(chunk_size=block, maintain_order=True, lazy=True):
        for part in placed.iter_slices(block):
            _sorted("orders", part, previous)
            previous = newest = part["event_time"][-1]
            known = waiting.up_to(newest)
            vectors = state.apply(event_columns_from_frames(part, known, feature_set))
            frame = frame_of_vectors(part, vectors, feature_set)
            if start is not None:
                frame = frame.filter(pl.col("event_time") >= start)
            if len(frame):
                yield frame
    nothing = pl.DataFrame(schema=orders.collect_schema())
    for known in waiting.rest():
        state.apply(event_columns_from_frames(nothing, known, feature_set))


def frame_of_vectors(
    orders: pl.DataFrame, vectors: np.ndarray, feature_set: FeatureSet
) -> pl.DataFrame:
    """A frame of feature vectors; the text of categorical features is taken from the orders."""
    columns = [orders["order_id"], orders["event_time"]]
    for i, feature in enumerate(feature_set.features):
        if feature.dtype == "string":
            columns.append(_text(orders, str(feature.of)).alias(feature.name))
        else:
            numbers = pl.Series(feature.name, np.ascontiguousarray(vectors[:, i]))
            columns.append(numbers.fill_nan(None))
    return pl.DataFrame(columns)


def frame_schema(feature_set: FeatureSet) -> dict[str, pl.DataType]:
    """The columns of a frame of features."""
    return {
        "order_id": pl.String(),
        "event_time": pl.Datetime("ms", "UTC"),
        **{
            f.name: pl.String() if f.dtype == "string" else pl.Float64()
            for f in feature_set.features
        },
    }


class _Outcomes:
    """Outcomes read in blocks and handed out by time."""

    def __init__(self, outcomes: pl.LazyFrame, block: int) -> None:
        self._blocks = outcomes.collect_batches(chunk_size=block, maintain_order=True, lazy=True)
        self._held = pl.DataFrame(schema=outcomes.collect_schema())
        self._newest: datetime | None = None
        self._ended = False

    def up_to(self, time: datetime) -> pl.DataFrame:
        """Those not handed out yet, up to and with this time."""
        while not self._ended and (self._newest is None or self._newest <= time):
            self._read()
        count = self._held["event_time"].search_sorted(time, side="right")
        taken, self._held = self._held.head(count), self._held.slice(count)
        return taken

    def rest(self) -> Iterator[pl.DataFrame]:
        """All that are left."""
        yield self._held
        while not self._ended:
            self._held = self._held.clear()
            self._read()
            yield self._held

    def _read(self) -> None:
        read = next(self._blocks, None)
        if read is None:
            self._ended = True
        elif len(read):
            _sorted("outcomes", read, self._newest)
            self._newest = read["event_time"][-1]
            self._held = pl.concat([self._held, read]) if len(self._held) else read


def _sorted(table: str, part: pl.DataFrame, previous: datetime | None) -> None:
    times = part["event_time"]
    if times.null_count():
        raise UserError(f"{table}: an event_time is missing: every event needs one")
    if not times.is_sorted() or (previous is not None and len(part) and times[0] < previous):
        raise UserError(f"{table} are not sorted by event_time: sort the file and try again")


def _text(orders: pl.DataFrame, of: str) -> pl.Series:
    name = of.removeprefix("attribute:")
    if name == of:
        return orders[of]
    struct = orders.schema.get("attributes")
    if isinstance(struct, pl.Struct) and any(
        f.name == name and f.dtype == pl.String for f in struct.fields
    ):
        return orders["attributes"].struct.field(name)
    return pl.Series(name, [None] * len(orders), pl.String)
