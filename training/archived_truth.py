"""What is known of the orders of past decisions: their fates and their labels."""

from collections.abc import Collection
from datetime import datetime
from pathlib import Path

import polars as pl
from deltalake import DeltaTable

from orders.fates import FATE_OF_KIND
from orders.tables import OUTCOME_SCHEMA, TIME
from orders.targets import TARGETS, Target
from training.labels import labels


def kinds_of(target: Target) -> list[str]:
    """The kinds of outcome that a label by the target depends on."""
    evidence = (target.ones, target.zeros, target.overrules_to_one, target.overrules_to_zero)
    kinds: set[str] = {each.kind for several in evidence for each in several}
    return sorted(kinds | ({target.burst.kind} if target.burst else set()))


_KINDS: list[str] = sorted(
    FATE_OF_KIND.keys() | {kind for target in TARGETS.values() for kind in kinds_of(target)}
)


def archived_truth(folder: Path, rows: pl.DataFrame, targets: Collection[Target]) -> pl.DataFrame:
    """Fates and labels of orders, by all that is archived.

    A label counts once the order is older than the maturity of the target: what is known sooner is
    mostly bad news, and shares among it would be too high.

    Args:
        folder: of the archive, with `orders`, and `outcomes` if there are any.
        rows: `key`, a hash of the order id by `pl.Expr.hash`, and `event_time`.
        targets: what to label by.

    Returns:
        In the order of `rows`: `fate`, an index into FATES, and `label_<target>`: 1, 0, or null
        while it is not known or not mature.
    """
    outcomes = _outcomes(folder)
    ordered = rows.lazy().select("event_time", order_id="key")
    fates = outcomes.filter(pl.col("fate") > 0).group_by("order_id").agg(pl.col("fate").max())
    columns = [_joined(ordered, fates, "fate").fill_null(0)]
    newest_order = pl.scan_delta(DeltaTable(str(folder / "orders"))).select(
        pl.col("event_time").cast(TIME).max()
    )
    known = [newest_order.collect().item(), outcomes["known_time"].max()]
    now = max((moment for moment in known if isinstance(moment, datetime)), default=None)
    for target in targets:
        found = _labels(folder, ordered, outcomes, target, now)
        label = _joined(ordered, found, "label")
        if target.maturity is not None and now is not None:
            # Of an order without evidence the label is 0 as soon as it is mature.
            mature = rows["event_time"] + target.maturity <= now
            label = label.fill_null(0).zip_with(mature, pl.Series([None], dtype=pl.Int8))
        columns.append(label.alias(f"label_{target.name}"))
    return pl.DataFrame(columns)


def _joined(ordered: pl.LazyFrame, found: pl.DataFrame, column: str) -> pl.Series:
    joined = ordered.select("order_id").join(
        found.lazy().select("order_id", column), on="order_id", how="left", maintain_order="left"
    )
    return joined.select(column).collect().to_series()


def _labels(
    folder: Path,
    ordered: pl.LazyFrame,
    outcomes: pl.DataFrame,
    target: Target,
    now: datetime | None,
) -> pl.DataFrame:
    """The labels of those orders, each once, that have outcomes which the target knows."""
    speaking = outcomes.filter(pl.col("kind").cast(pl.String).is_in(kinds_of(target)))
    touched = ordered.join(speaking.lazy().select("order_id"), on="order_id", how="semi").unique(
        "order_id"
    )
    return labels(_with_entities(folder, touched, speaking, target), speaking.lazy(), target, now)


def _outcomes(folder: Path) -> pl.DataFrame:
    kinds = pl.Enum(_KINDS)
    if not DeltaTable.is_deltatable(str(folder / "outcomes")):
        table = pl.LazyFrame(schema=OUTCOME_SCHEMA)
    else:
        table = pl.scan_delta(DeltaTable(str(folder / "outcomes")))
    event, received = (pl.col(name).cast(TIME) for name in ("event_time", "received_time"))
    return (
        table.filter(pl.col("kind").is_in(_KINDS))
        .select(
            pl.col("order_id").hash(),
            pl.col("kind").cast(kinds),
            event,
            received,
            "reason",
            "verdict",
            known_time=pl.max_horizontal(event, received),
            fate=pl.col("kind").replace_strict(FATE_OF_KIND, default=0, return_dtype=pl.UInt8),
        )
        .collect(engine="streaming")
    )


def _with_entities(
    folder: Path, ordered: pl.LazyFrame, outcomes: pl.DataFrame, target: Target
) -> pl.LazyFrame:
    """Orders with the entities of the target's burst, where an order can be part of one."""
    burst = target.burst
    if burst is None:
        return ordered
    ended = outcomes.lazy().filter(pl.col("kind") == burst.kind).select("order_id")
    entities = (
        pl.scan_delta(DeltaTable(str(folder / "orders")))
        .select(
            pl.col("order_id").hash(),
            *(
                pl.when(pl.col(name).is_not_null()).then(pl.col(name).hash()).alias(name)
                for name in burst.entities
            ),
        )
        .join(ended, on="order_id", how="semi")
        .unique("order_id")
    )
    return ordered.join(entities, on="order_id", how="left", maintain_order="left")
