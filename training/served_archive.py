"""The archive of a stream as parity reads it: events and decisions, with their places in the log."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import xxhash
from deltalake import DeltaTable

from features.columns import outcome_code
from features.feature_set import AttributeKind, FeatureSet, feature_set
from orders.archived import archived_table
from orders.decision_table import archived_features, feature_column
from orders.errors import UserError
from orders.tables import ORDER_SCHEMA, OUTCOME_SCHEMA, TIME

# Event times first; of one moment, what the broker took first.
IN_TIME = ("event_time", "appended_time", "partition", "offset")

Ends = Mapping[str, Mapping[int, int]]  # table → partition → the first offset not archived


@dataclass(frozen=True, slots=True)
class ServedArchive:
    """What a stream left behind.

    Attributes:
        orders: Every archived order, repeats included, sorted by `IN_TIME`; `orders.tables`, and
            `partition`, `offset`, `appended_time`.
        outcomes: The same of the outcomes that features know, with their `code`.
        decisions: Those to compare, one row for each vector that was computed: `order_id`, `row`
            (of the order in `orders`), `as_of`, and one column a feature, named by
            `feature_column`; `as_of` is null where it is not known.
        placed: Every traceable decision, one row for each vector: `row`, `state`, `snapshot`,
            `batch`, `position`, the offsets `covered_orders`, `covered_outcomes`, and of a state
            that workers share its name `shared` and the `turn`.
        feature_set: That the vectors were served with.
        too_recent: Decisions left out because what they depend on is not archived yet.
        of_other_features: Decisions left out because they carry another feature set.
    """

    orders: pl.DataFrame
    outcomes: pl.DataFrame
    decisions: pl.DataFrame
    placed: pl.DataFrame
    feature_set: FeatureSet
    too_recent: int
    of_other_features: int

    def vectors(self) -> np.ndarray:
        """The served vectors of `decisions`, (n, F) float64, NaN where a feature was unknown."""
        return self.decisions.select(map(feature_column, self.feature_set.names)).to_numpy()


def read_archive(folder: Path, ends: Ends, *, sample: int) -> ServedArchive:
    """Read the archive, and choose about `sample` decisions of whole accounts.

    Accounts are taken in the order of a hash of their value until there are enough decisions; an
    order without an account stands for itself. So the same archive gives the same sample, and a
    larger sample holds the smaller one.

    Args:
        folder: With the Delta tables `orders`, `outcomes` and `decisions`, and `feature_sets/`.
        ends: Of `orders` and `outcomes`, how far each partition is archived.
        sample: How many decisions to compare, at least 1.

    Raises:
        UserError: There is no archive, nothing in it can be compared, or it was served with
            features that this program does not declare.
    """
    decisions = _decisions(folder)
    declared, of_other_features = _feature_set(folder, decisions)
    answered = decisions.group_by("partition").agg(answered=pl.col("order_offset").max())
    decisions = decisions.filter(pl.col("feature_hash") == declared.hash)
    orders = _orders(folder, declared)
    outcomes = _outcomes(folder)
    found = decisions.join(
        orders.select("partition", "account", order_offset="offset", row="row"),
        on=["partition", "order_offset"],
        how="left",
        maintain_order="left",
    )
    settled = found.filter(_is_settled(found, orders, answered, ends))
    covered = pl.col("covered_orders").list.get(pl.col("partition"), null_on_oob=True)
    own = pl.col("state").is_null() | (pl.col("order_offset") < covered)  # not that of a repeat
    vectors = (
        settled.filter(own)
        .sort("row")
        .unique(["order_id", "state", "batch", "position"], keep="first", maintain_order=True)
        .sort("row")
    )
    if vectors.is_empty():
        raise UserError(
            f"{folder}: of {len(decisions):,} decisions none can be compared yet, their orders and "
            "outcomes are not archived; let the archive worker finish, and check "
            "PREEMPT_TOPIC_PREFIX"
        )
    chosen = _sample(vectors, sample)
    table = archived_table(folder, "decisions")
    names = declared.names
    served = (
        table.select(
            "partition", "offset", *archived_features(table.collect_schema(), names, names)
        )
        .rename({name: feature_column(name) for name in names})
        .join(chosen.select("partition", "offset").lazy(), on=["partition", "offset"], how="semi")
        .collect()
    )
    return ServedArchive(
        orders=orders.drop("row"),
        outcomes=outcomes,
        decisions=chosen.join(
            served, on=["partition", "offset"], how="left", maintain_order="left"
        ),
        placed=vectors.filter(pl.col("state").is_not_null()),
        feature_set=declared,
        too_recent=len(found) - len(settled),
        of_other_features=of_other_features,
    )


def _decisions(folder: Path) -> pl.DataFrame:
    """One row a record, without the vectors: a day of them is large."""
    table = archived_table(folder, "decisions")
    known = table.collect_schema().names()
    if "as_of" not in known or "order_offset" not in known:
        raise UserError(
            f"{folder}: the decisions do not say where the feature state stood, they were archived "
            "by an older version of Preempt; only newer ones can be compared"
        )
    state = pl.col("as_of").struct
    held = {field.name for field in table.collect_schema()["as_of"].fields}  # type: ignore[attr-defined]
    decisions = table.select(
        "order_id",
        "feature_hash",
        "partition",
        "offset",
        "order_offset",
        pl.col("appended_time").cast(TIME),
        state=state.field("state"),
        snapshot=state.field("snapshot"),
        batch=state.field("batch"),
        position=state.field("position"),
        covered_orders=state.field("orders"),
        covered_outcomes=state.field("outcomes"),
        # Archives of before workers could share a state in their sequence have none.
        shared=state.field("shared") if "shared" in held else pl.lit(None, pl.String),
        turn=state.field("turn") if "turn" in held else pl.lit(None, pl.Int64),
    ).collect()
    if decisions.is_empty():
        raise UserError(f"{folder} holds no decision: has a worker decided an order?")
    return decisions.sort("appended_time", "partition", "offset")


def _feature_set(folder: Path, decisions: pl.DataFrame) -> tuple[FeatureSet, int]:
    """The newest feature set that this program can compute, and how many decisions have others."""
    by_hash = decisions.group_by("feature_hash").agg(pl.len(), pl.col("appended_time").max())
    for found, count, _ in by_hash.sort("appended_time", descending=True).iter_rows():
        declared = feature_set(_attributes(folder, found))
        if declared.hash == found:
            return declared, len(decisions) - count
    hashes = ", ".join(sorted(by_hash["feature_hash"]))
    raise UserError(
        f"{folder}: the decisions were served with feature set {hashes}, this program declares "
        f"{feature_set().hash}: use the version of Preempt that served them"
    )


def _attributes(folder: Path, feature_hash: str) -> dict[str, AttributeKind]:
    try:
        described = json.loads((folder / "feature_sets" / f"{feature_hash}.json").read_bytes())
    except FileNotFoundError:
        return {}
    return described.get("attributes", {})


def _orders(folder: Path, declared: FeatureSet) -> pl.DataFrame:
    orders = (
        archived_table(folder, "orders")
        .select(*(pl.col(name).cast(dtype) for name, dtype in ORDER_SCHEMA.items()), *_place(), "attributes")
        .sort(IN_TIME)
        .collect()
    )  # fmt: skip
    if declared.attributes:
        texts = orders["attributes"].to_list()
        rows = [{} if text is None else json.loads(text) for text in texts]
        fields = [_attribute(name, kind, rows) for name, kind in declared.attributes.items()]
        orders = orders.with_columns(pl.struct(fields).alias("attributes"))
    else:
        orders = orders.drop("attributes")
    return orders.with_row_index("row")


def _attribute(name: str, kind: AttributeKind, rows: list[dict[str, Any]]) -> pl.Series:
    """A column of the declared kind; a value of the other kind is missing, as in the stream."""
    values = [row.get(name) for row in rows]
    if kind == "categorical":
        texts = [value if isinstance(value, str) else None for value in values]
        return pl.Series(name, texts, dtype=pl.String)
    numbers = [float(value) if isinstance(value, float | int) else None for value in values]
    return pl.Series(name, numbers, dtype=pl.Float64)


def _outcomes(folder: Path) -> pl.DataFrame:
    """Outcomes that features know; a shop may run without any."""
    if not DeltaTable.is_deltatable(str(folder / "outcomes")):
        place = {"partition": pl.Int32(), "offset": pl.Int64(), "appended_time": TIME}
        return pl.DataFrame(schema=OUTCOME_SCHEMA | place | {"code": pl.Int8()})
    outcomes = (
        archived_table(folder, "outcomes")
        .select(*(pl.col(name).cast(dtype) for name, dtype in OUTCOME_SCHEMA.items()), *_place())
        .sort(IN_TIME)
        .collect()
    )
    said = ["kind", "reason", "verdict"]
    classes = outcomes.select(said).unique()
    codes = [outcome_code(*row) for row in classes.iter_rows()]
    classes = classes.with_columns(pl.Series("code", codes, dtype=pl.Int8))
    coded = outcomes.join(classes, on=said, how="left", nulls_equal=True, maintain_order="left")
    return coded.filter(pl.col("code") != 0)


def _place() -> list[pl.Expr]:
    return [pl.col("partition"), pl.col("offset"), pl.col("appended_time").cast(TIME)]


def _is_settled(
    found: pl.DataFrame, orders: pl.DataFrame, answered: pl.DataFrame, ends: Ends
) -> pl.Series:
    """Which decisions have everything archived that came before them, decisions included."""
    reach = {table: dict(ends.get(table, {})) for table in ("orders", "outcomes")}
    # Below the first order that has no decision in the archive yet, every decision is there.
    waiting = orders.join(answered, on="partition", how="left").filter(
        pl.col("offset") > pl.col("answered").fill_null(-1)
    )
    for partition, offset in waiting.group_by("partition").agg(pl.col("offset").min()).iter_rows():
        reach["orders"][partition] = min(offset, reach["orders"].get(partition, offset))
    settled = found["row"].is_not_null()
    for table in ("orders", "outcomes"):
        covered = found[f"covered_{table}"]
        widths = found.select(pl.col(f"covered_{table}").list.len().max()).item()
        for partition in range(widths or 0):
            offsets = covered.list.get(partition, null_on_oob=True).fill_null(0)
            settled &= offsets <= reach[table].get(partition, 0)
    return settled


def _sample(vectors: pl.DataFrame, size: int) -> pl.DataFrame:
    """About `size` rows: whole accounts, in the order of a hash of their value."""
    values = vectors.select(
        pl.coalesce("account", pl.concat_str(pl.lit("\0"), "order_id"))
    ).to_series()
    different = values.unique()
    hashes = [xxhash.xxh64_intdigest(value.encode()) for value in different]
    ranks = pl.DataFrame({"value": different, "hash": pl.Series(hashes, dtype=pl.UInt64)})
    counts = (
        values.rename("value").value_counts().join(ranks, on="value").sort("hash", "value")
    )  # fmt: skip
    before = counts["count"].cum_sum() - counts["count"]
    taken = counts.filter(before < min(size, len(vectors)))["value"]
    return vectors.filter(values.is_in(taken.implode()))
