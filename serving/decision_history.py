"""Decisions of the past with their orders, read from the archive block by block.

Memory holds one block, and 17 bytes of every decision: its order's key, its time, whether it is a
repeat. Columns that nobody asks for are not read.
"""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path

import polars as pl

from features.feature_set import AttributeKind, FeatureSet, feature_set
from orders.archived import archived_table
from orders.decision_table import FEATURE_LIST, feature_column
from orders.errors import UserError
from orders.tables import ORDER_SCHEMA, TIME

BLOCK = 500_000  # decisions

KEY = pl.col("order_id").hash().alias("key")
"""64 bits that stand for an order id; the same for the same text within one process."""

_PLACE = ["partition", "order_offset"]


@dataclass(frozen=True)
class DecisionHistory:
    """Decisions in a range of time.

    Attributes:
        rows: one row a decision, in the order of `blocks`: `key` (`KEY`), `event_time`, `again`
            (an order that came again and got the decision that it had).
        feature_set: the features that the program declares, with all attributes that were archived.
        by_feature_set: how many decisions carry each hash.
    """

    rows: pl.DataFrame
    feature_set: FeatureSet
    by_feature_set: Mapping[str, int]
    _names: Mapping[str, Sequence[str]]
    _decisions: pl.LazyFrame
    _orders: pl.LazyFrame

    @cached_property
    def _columns(self) -> frozenset[str]:
        return frozenset(self._decisions.collect_schema().names())

    def lacking(self, feature: str) -> int:
        """How many of the decisions were served with a feature set that did not have it."""
        if not {feature_column(feature), FEATURE_LIST} & self._columns:
            return len(self.rows)
        return sum(
            count
            for found, count in self.by_feature_set.items()
            if found in self._names and feature not in self._names[found]
        )

    def blocks(
        self, features: Collection[str], of_decision: Collection[str], of_order: Collection[str]
    ) -> Iterator[pl.DataFrame]:
        """The decisions, about `BLOCK` at a time, with the columns asked for by their own names.

        Args:
            features: names of features; null where a feature set did not have them.
            of_decision: columns of the table of decisions.
            of_order: columns of orders, `attributes` (JSON) among them; null in all of them where
                the order is not archived.
        """
        decisions = self._decisions.select(
            *_PLACE, *sorted(of_decision), *map(self._feature, sorted(features))
        )
        orders = self._orders.select("partition", "offset", *sorted(of_order)).with_columns(
            has_order=pl.lit(True)
        )
        for block in decisions.collect_batches(
            chunk_size=BLOCK, maintain_order=True, engine="streaming"
        ):
            offsets = block["order_offset"]
            # An archive grows by offset, so few row groups hold the orders of a block.
            found = orders.filter(pl.col("offset").is_between(offsets.min(), offsets.max()))
            yield block.join(
                found.collect(engine="streaming"),
                left_on=_PLACE,
                right_on=["partition", "offset"],
                how="left",
                maintain_order="left",
            ).with_columns(pl.col("has_order").fill_null(False))

    def _feature(self, name: str) -> pl.Expr:
        cells = [pl.lit(None, pl.Float64)]
        if feature_column(name) in self._columns:
            cells.insert(0, pl.col(feature_column(name)))
        if FEATURE_LIST in self._columns:  # of an older version, or of a set without names then
            cells += [
                pl.when(pl.col("feature_hash") == found).then(
                    pl.col(FEATURE_LIST).list.get(names.index(name), null_on_oob=True)
                )
                for found, names in self._names.items()
                if name in names
            ]
        return pl.coalesce(cells).alias(name)


def read_history(
    folder: Path, start: datetime | None = None, end: datetime | None = None
) -> DecisionHistory:
    """Look at the decisions on orders of [start, end) by event time.

    Args:
        folder: of the archive, with `orders`, `decisions` and `feature_sets`.
        start: with zone; None: from the first on.
        end: with zone, excluded; None: to the last.

    Raises:
        UserError: There is no such archive, or it has no decision in the range.
    """
    decisions = archived_table(folder, "decisions")
    if start is not None:
        decisions = decisions.filter(pl.col("event_time") >= start)
    if end is not None:
        decisions = decisions.filter(pl.col("event_time") < end)
    found = decisions.select(
        KEY, pl.col("event_time").cast(TIME), pl.col("feature_hash").cast(pl.Categorical)
    ).collect(engine="streaming")
    if found.is_empty():
        raise UserError(
            f"{folder} holds no decision from {start or 'the first'} to {end or 'the last'}"
        )
    counts = dict(found["feature_hash"].cast(pl.String).value_counts().iter_rows())
    described = {each: _described(folder, each) for each in counts}
    attributes: dict[str, AttributeKind] = {}
    for each in described.values():
        attributes.update(each.get("attributes", {}))
    return DecisionHistory(
        rows=found.select("key", "event_time", again=~pl.col("key").is_first_distinct()),
        feature_set=feature_set(attributes),
        by_feature_set=counts,
        _names={each: tuple(said["features"]) for each, said in described.items() if said},
        _decisions=decisions,
        _orders=archived_table(folder, "orders").select(
            "partition",
            "offset",
            *(pl.col(name).cast(dtype) for name, dtype in ORDER_SCHEMA.items()),
            "attributes",
        ),
    )


def _described(folder: Path, feature_hash: str) -> dict:
    try:
        return json.loads((folder / "feature_sets" / f"{feature_hash}.json").read_bytes())
    except FileNotFoundError:
        return {}
