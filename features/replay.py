"""History through the engine: the features that were known when each order was placed."""

from collections.abc import Callable, Generator
from contextlib import closing
from datetime import datetime

import numpy as np
import polars as pl

from features.arrivals import in_arrival_order
from features.columns import EventColumns, event_columns_from_frames
from features.feature_set import FeatureSet
from features.pipeline import ahead
from features.state import FeatureState

BLOCK = 32_768  # rows of a table read at a time; larger ones are not faster

# Long texts that no feature looks at are not read.
_UNREAD = {"user_agent", "currency", "reason_text"}


def replay(
    orders: pl.LazyFrame,
    outcomes: pl.LazyFrame,
    state: FeatureState,
    feature_set: FeatureSet,
    *,
    after: datetime | None = None,
    start: datetime | None = None,
    stop: datetime | None = None,
    block: int = BLOCK,
    on_orders: Callable[[int], None] = lambda _n: None,
) -> Generator[pl.DataFrame]:
    """Point-in-time features of the orders that arrived in [start, stop), in the sequence of arrival.

    Both tables are as in `orders.tables`, sorted by event time, and read in blocks. Events are
    applied as they arrived (see `features.arrivals`), so an order has the features that could be
    known when it was served. After the last frame the state holds what arrived before `stop`, and
    a replay of the same tables `after` that time continues as if there had been no break.

    Reading, the engine and the consumer of the frames work at the same time, each in a thread of
    its own: until the last frame was taken, `state` is ahead of the frames. Close the generator
    (`contextlib.closing`) where the frames may not all be taken.

    Args:
        orders: As `scan_orders` gives it.
        outcomes: As `scan_outcomes` gives it.
        state: What was known before; it is changed.
        feature_set: Of the state.
        after: What arrived before is in the state already and is left out.
        start: No frame for what arrived before; it still builds the state.
        stop: What arrived then or later is left out.
        block: Rows of a table that are read at a time; makes no difference to the result.
        on_orders: Called with the number of orders that were applied since the last call.

    Yields:
        `order_id`, `event_time`, then the features: Float64 with null where missing, text as text.

    Raises:
        UserError: A table is not sorted by event time, lacks a value, or cannot be read.
    """
    orders, outcomes = _read_columns(orders), _read_columns(outcomes)

    def read() -> Generator[tuple[pl.DataFrame, EventColumns]]:
        for placed, known in in_arrival_order(
            orders, outcomes, after=after, stop=stop, block=block
        ):
            yield placed, event_columns_from_frames(placed, known, feature_set)

    def served() -> Generator[tuple[pl.DataFrame, np.ndarray]]:
        with closing(ahead(read(), 1, "replay-read")) as pieces:
            for placed, events in pieces:
                yield placed, state.apply(events)

    with closing(ahead(served(), 1, "replay-apply")) as pieces:
        for placed, vectors in pieces:
            skipped = 0
            if start is not None:
                skipped = int(placed["arrival"].search_sorted(start, side="left"))
            if skipped < len(placed):
                yield frame_of_vectors(placed.slice(skipped), vectors[skipped:], feature_set)
            on_orders(len(placed))


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


def _read_columns(table: pl.LazyFrame) -> pl.LazyFrame:
    return table.select(name for name in table.collect_schema() if name not in _UNREAD)


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
