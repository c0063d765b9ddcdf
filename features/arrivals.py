"""A data set in the sequence in which it became known, read in bounded memory.

An event is known from its arrival on: the later of its event time and the time it was received.
The tables are sorted by event time and nothing arrives before its own time, so what a table has
not been read yet arrives no earlier than the last row that was. Everything up to there can be
handed out; what arrives later is held back until its turn. Memory is a block of each table, and
what is late.
"""

from collections.abc import Iterator
from datetime import datetime
from itertools import count

import polars as pl

from orders.errors import UserError
from orders.tables import first_line

ARRIVAL = pl.max_horizontal("event_time", "received_time")
"""When an order or an outcome was known, UTC; `received_time` may be missing."""

# The columns no event can do without.
_ORDER_NEEDS = ("event_time", "order_id", "quantity", "unit_price")
_OUTCOME_NEEDS = ("event_time", "order_id", "kind")

_ENDED = 2**63 - 1


def in_arrival_order(
    orders: pl.LazyFrame,
    outcomes: pl.LazyFrame,
    *,
    after: datetime | None = None,
    stop: datetime | None = None,
    block: int,
) -> Iterator[tuple[pl.DataFrame, pl.DataFrame]]:
    """What arrived in [after, stop), in pieces: everything of a piece comes before the next one.

    The sequence is by arrival; of what arrives in the same millisecond outcomes come before
    orders; then by event time; then by position in the file.

    Args:
        orders: As in `orders.tables`, sorted by event time. It is read slice by slice, which is
            quick of a file and slow of a filter over it.
        outcomes: The same.
        after: What arrived before is left out.
        stop: What arrives then or later is left out.
        block: Rows of a table that are read at a time.

    Yields:
        Orders and outcomes, at most a block of either beside what was held back, each in its
        sequence, with their `arrival` as an added column. One of the two may be empty.

    Raises:
        UserError: A table is not sorted by event time, lacks a value that it must have, or
            cannot be read.
    """
    placed = _Table("orders", orders, block, needs=_ORDER_NEEDS, after=after, stop=stop)
    taken = _Table("outcomes", outcomes, block, needs=_OUTCOME_NEEDS, after=after, stop=stop)
    while placed.read_until < _ENDED or taken.read_until < _ENDED:
        (taken if taken.read_until <= placed.read_until else placed).read()
        known = taken.up_to(min(placed.read_until, taken.read_until))
        # An outcome still to be read may arrive at the very time up to which outcomes were read,
        # and comes before an order of that time.
        ready = placed.up_to(min(placed.read_until, taken.read_until - 1))
        if len(ready) or len(known):
            yield ready, known


class _Table:
    """One table, read by event time and handed out by arrival.

    Attributes:
        read_until: No row still to be read arrives before this, UTC ms.
    """

    def __init__(
        self,
        name: str,
        table: pl.LazyFrame,
        block: int,
        *,
        needs: tuple[str, ...],
        after: datetime | None,
        stop: datetime | None,
    ) -> None:
        self.read_until = -(2**63)
        self._name = name
        self._needs = needs
        self._after = after
        self._stop = stop
        self._blocks = _blocks(name, table, block)
        schema = table.collect_schema()
        self._held = pl.DataFrame(schema={**schema, "arrival": schema["event_time"]})

    def read(self) -> None:
        read = next(self._blocks, None)
        if read is None:
            self.read_until = _ENDED
            return
        self._check(read)
        self.read_until = _milliseconds(read["event_time"])[-1]
        if self._stop is not None and read["event_time"][-1] >= self._stop:
            self.read_until = _ENDED  # the rest is later still
        read = read.with_columns(arrival=ARRIVAL)
        if self._after is not None:
            read = read.filter(pl.col("arrival") >= self._after)
        if self._stop is not None:
            read = read.filter(pl.col("arrival") < self._stop)
        # What was held stands before in the file, so a stable sort keeps the sequence.
        self._held = pl.concat([self._held, read]).sort("arrival", maintain_order=True)

    def up_to(self, time: int) -> pl.DataFrame:
        """Those not handed out yet that arrived at this time, UTC ms, or before."""
        count = int(_milliseconds(self._held["arrival"]).search_sorted(time, side="right"))
        ready, self._held = self._held.head(count), self._held.slice(count)
        return ready

    def _check(self, read: pl.DataFrame) -> None:
        for column in self._needs:
            if read[column].null_count():
                raise UserError(f"{self._name}: a row has no {column}: every row needs one")
        for column, least in _AT_LEAST.items():
            if column in self._needs and read[column].min() < least:  # type: ignore[operator]
                raise UserError(f"{self._name}: a {column} is below {least}: correct it")
        times = read["event_time"]
        if not times.is_sorted() or _milliseconds(times)[0] < self.read_until:
            raise UserError(
                f"{self._name} are not sorted by event_time: sort the file and try again"
            )


_AT_LEAST = {"quantity": 1, "unit_price": 0}  # as `orders.events.Order` has it


def _blocks(name: str, table: pl.LazyFrame, block: int) -> Iterator[pl.DataFrame]:
    # One slice after the other. `LazyFrame.collect_batches` decodes ahead without a bound when
    # the batches are taken more slowly: https://github.com/pola-rs/polars/issues/28569
    for offset in count(0, block):
        try:
            rows = table.slice(offset, block).collect()
        except (pl.exceptions.PolarsError, OSError) as error:
            raise UserError(f"{name} cannot be read: {first_line(error)}") from None
        if len(rows):
            yield rows
        if len(rows) < block:
            return


def _milliseconds(times: pl.Series) -> pl.Series:
    return times.cast(pl.Int64)  # tables hold `orders.tables.TIME`
