"""Why rows were rejected: read a second time, each with its reason in words and the row itself."""

from pathlib import Path

import msgspec
import polars as pl

from orders.conversion import Check, shown_column
from orders.import_plan import Plan, PlannedEvent
from orders.sources import ROW

REJECT_SCHEMA: dict[str, pl.DataType] = {
    "row": pl.Int64(),
    "event": pl.String(),
    "field": pl.String(),
    "code": pl.String(),
    "reason": pl.String(),
    "raw": pl.String(),
}
"""The columns of `rejects.parquet`: the row's number in the file, from 1; `order`, or the kind of
the outcome; the field at fault; the code of the fault, as in `orders.decoding`; the reason in
words; the row as it was, as JSON text."""


FIRST = "__first__"
_RAW = "__raw__"


def find_repeats(accepted: pl.LazyFrame) -> pl.DataFrame:
    """The rows whose order number an earlier row has: ROW, and FIRST, the row that has it.

    Holds a number and a hash of each row in memory, not the rows.
    """
    hashes = accepted.select(ROW, hash=pl.col("order_id").hash()).collect(engine="streaming")
    suspects = hashes.filter(pl.col("hash").is_duplicated()).select(ROW)
    if suspects.is_empty():
        return pl.DataFrame(schema={ROW: pl.Int64, FIRST: pl.Int64})
    return (
        accepted.select(ROW, "order_id")
        .join(suspects.lazy(), on=ROW, how="semi")
        .select(ROW, pl.col(ROW).min().over("order_id").alias(FIRST))
        .filter(pl.col(ROW) != pl.col(FIRST))
        .collect(engine="streaming")
    )


def reject_rows(
    plan: Plan, staged: pl.LazyFrame, accepted: pl.LazyFrame, repeats: pl.DataFrame
) -> pl.LazyFrame:
    """The contents of `rejects.parquet`: orders at fault, repeats, outcomes, each as in the file.

    Args:
        plan: How rows are converted.
        staged: All rows, with ROW and the columns `fault.*`.
        accepted: Those whose order was accepted: only their outcomes can be rejected.
        repeats: As `find_repeats` gives them.
    """
    parts = [_explained(plan, plan.order, staged), _repeated(plan, repeats)]
    parts += [_explained(plan, event, accepted) for event in plan.outcomes]
    return pl.concat(parts)


def _explained(plan: Plan, event: PlannedEvent, staged: pl.LazyFrame) -> pl.LazyFrame:
    faulty = staged.filter(pl.col(event.fault).is_not_null()).select(ROW)
    rows = faulty.collect(engine="streaming")
    if rows.is_empty():
        return pl.LazyFrame(schema=REJECT_SCHEMA)

    def by_number(texts: list[str]) -> pl.Expr:
        names = dict(enumerate(texts))
        return pl.col(event.fault).replace_strict(names, return_dtype=pl.String)

    reason = pl.coalesce(
        pl.when(pl.col(event.fault) == number).then(_in_words(check))
        for number, check in enumerate(event.checks)
    )
    return _again(plan, rows).select(
        pl.col(ROW).alias("row"),
        pl.lit(event.name).alias("event"),
        by_number([check.field for check in event.checks]).alias("field"),
        by_number([check.code for check in event.checks]).alias("code"),
        reason.alias("reason"),
        pl.col(_RAW).alias("raw"),
    )


def _in_words(check: Check) -> pl.Expr:
    taken = f" ({check.taken})" if check.taken else ""
    field = f"{check.field}{taken}: " if check.field else ""
    return pl.lit(f"{field}expected {check.expected}, got ") + check.shown


class Fault(msgspec.Struct, frozen=True):
    """Rejects of the same kind: what they tell of, the field and code of their fault, how many
    rows, and of the first of them the number and the reason in words."""

    event: str
    field: str
    code: str
    rows: int
    first_row: int
    reason: str


def faults(rejects: Path) -> list[Fault]:
    """The kinds of faults among the rejects in a file, the most frequent first."""
    kind = ["event", "field", "code"]
    grouped = (
        pl.scan_parquet(rejects)
        .group_by(kind)
        .agg(pl.len(), pl.col("row").min(), pl.col("reason").sort_by("row").first())
        .sort("len", *kind, descending=[True, False, False, False])
        .collect(engine="streaming")
    )
    return [Fault(*row) for row in grouped.iter_rows()]


def _repeated(plan: Plan, repeats: pl.DataFrame) -> pl.LazyFrame:
    if repeats.is_empty():
        return pl.LazyFrame(schema=REJECT_SCHEMA)
    number = shown_column(plan.order.value("order_id"), pl.String())
    first = pl.col(FIRST).cast(pl.String)
    return _again(plan, repeats).select(
        pl.col(ROW).alias("row"),
        pl.lit("order").alias("event"),
        pl.lit("order_id").alias("field"),
        pl.lit("repeated").alias("code"),
        (pl.lit("order_id: expected once, got ") + number + pl.lit(", as in row ") + first).alias(
            "reason"
        ),
        pl.col(_RAW).alias("raw"),
    )


def _again(plan: Plan, rows: pl.DataFrame) -> pl.LazyFrame:
    """Rows of the file a second time, converted, with `raw` and the columns of `rows`."""
    extra = [name for name in rows.columns if name != ROW]
    lazy = plan.source.lazy.join(rows.lazy(), on=ROW, how="inner", maintain_order="left")
    return plan.convert(lazy.with_columns(plan.source.raw.alias(_RAW)), _RAW, *extra)
