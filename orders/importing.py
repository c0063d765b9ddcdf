"""A shop's own history becomes a data set: orders, outcomes, and what was rejected and why.

One row of the file is one order and what became of it. The file is read as a stream: converted
and checked into a staging file, then sorted by time. Rejected rows are read a second time, so
that only they pay for their explanation.
"""

import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import msgspec
import polars as pl

from orders.dataset import DatasetSettings
from orders.errors import UserError
from orders.external_sort import BUCKET_ROWS, stream_to, write_sorted
from orders.import_plan import Plan, make_plan, used_columns
from orders.mapping import Mapping, read_mapping
from orders.mapping_file import MappingFile
from orders.rejects import Fault, faults, find_repeats, reject_rows
from orders.sources import PLACE, ROW, open_source
from orders.tables import ORDER_SCHEMA, OUTCOME_SCHEMA, first_line

MAX_REJECTS = 0.5
"""Share of the rows that may be no valid order; beyond it the mapping is more likely at fault."""

FAILED_REJECTS = "rejects.failed.parquet"
"""The rejects of an import that failed for them, beside the files of an earlier one."""

STEPS = ("reading", "finding repeats", "sorting orders", "sorting outcomes", "writing rejects")

_RANK = "__rank__"


class Unmatched(msgspec.Struct, frozen=True):
    """An `[[outcome]]` of the mapping that no row of the file tells of: its number, from 1, its
    kind and its condition."""

    number: int
    kind: str
    when: str | None


class Imported(msgspec.Struct, frozen=True):
    """What an import made.

    Attributes:
        orders: Rows of `orders.parquet`.
        outcomes: Rows of `outcomes.parquet`.
        rejects: Rows of `rejects.parquet`.
        reasons: Those by the code of their fault.
        kinds: The outcomes by kind, the most frequent first.
        faults: The rejects by field and code, the most frequent first.
        unmatched: What the mapping expects to happen and never does.
    """

    orders: int
    outcomes: int
    rejects: int
    reasons: dict[str, int]
    kinds: dict[str, int] = {}
    faults: list[Fault] = []
    unmatched: list[Unmatched] = []


def import_history(
    file: Path,
    mapping_file: Path,
    out: Path,
    *,
    max_rejects: float = MAX_REJECTS,
    on_step: Callable[[str], None] = lambda _: None,
    bucket_rows: int = BUCKET_ROWS,
) -> Imported:
    """Import `file` into the folder `out`, which gets all of its files or none.

    Where too many rows are rejected it gets FAILED_REJECTS alone.

    Args:
        file: CSV, Parquet or JSON Lines.
        mapping_file: As `docs/import.md` describes it.
        out: Made if it is not there; the files of an earlier import are replaced.
        max_rejects: Most rows that may be no valid order, as a share of all.
        on_step: Is called with each of STEPS before it begins.
        bucket_rows: About how many rows are sorted in memory at once.

    Raises:
        UserError: The mapping or the file cannot be used, no row is a valid order, or more than
            `max_rejects` of them are none; one line says why.
    """
    missing = [folder for folder in (out, *out.parents) if not folder.exists()]
    written = MappingFile.read(mapping_file)
    mapping = read_mapping(written)
    used = used_columns(mapping, written)
    scratch = out / ".import"
    try:
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True)
        source = open_source(file, mapping.source, used, scratch=scratch)
        plan = make_plan(mapping, source, used, written)
        imported = _run(mapping, plan, scratch, on_step, bucket_rows)
        _refuse_too_many(imported, max_rejects, file, scratch, out)
        _put_in_place(mapping, scratch, out)
    except pl.exceptions.PolarsError as error:
        hint = "; [source] encoding says how text is encoded" * ("utf" in str(error).lower())
        raise UserError(f"{file} cannot be imported: {first_line(error)}{hint}") from None
    except OSError as error:
        raise UserError(f"{out} cannot be written: {first_line(error)}") from None
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        for folder in missing:  # those that were made and that nothing came into
            if not folder.exists() or any(folder.iterdir()):
                break
            folder.rmdir()
    return imported


def _refuse_too_many(
    imported: Imported, max_rejects: float, file: Path, scratch: Path, out: Path
) -> None:
    rejected = sum(fault.rows for fault in imported.faults if fault.event == "order")
    rows = imported.orders + rejected
    if rows == 0:
        raise UserError(f"{file} has no rows")
    if imported.orders and rejected <= max_rejects * rows:
        return
    (scratch / "rejects.parquet").replace(out / FAILED_REJECTS)
    worst = next(fault for fault in imported.faults if fault.event == "order")
    said = (
        "none of the rows is a valid order"
        if not imported.orders
        else f"{rejected / rows:.1%} of the rows are no valid order, "
        f"which is more than --max-rejects {max_rejects:.0%}"
    )
    kept = "; the earlier import is kept" if (out / "orders.parquet").exists() else ""
    raise UserError(
        f"{file}: {said}; {worst.rows:,} of {rows:,} for the same reason, as row "
        f"{worst.first_row}: {worst.reason}; "
        f"all are in {out / FAILED_REJECTS}{kept}"
    )


def _run(
    mapping: Mapping,
    plan: Plan,
    scratch: Path,
    on_step: Callable[[str], None],
    bucket_rows: int,
) -> Imported:
    reading, repeating, ordering, following, rejecting = STEPS
    on_step(reading)
    stage = scratch / "stage.parquet"
    stream_to(_stage(plan), stage)
    staged = pl.scan_parquet(stage)

    on_step(repeating)
    accepted = staged.filter(pl.col(plan.order.fault).is_null())
    repeats = find_repeats(accepted)
    if len(repeats):
        accepted = accepted.join(repeats.lazy(), on=ROW, how="anti")

    on_step(ordering)
    columns = [
        (pl.col(name) if name in plan.order.conversions else pl.lit(None, dtype)).alias(name)
        for name, dtype in ORDER_SCHEMA.items()
    ]
    if "attributes" in staged.collect_schema():
        columns.append(pl.col("attributes"))
    orders = write_sorted(
        accepted,
        "event_time",
        [PLACE],
        columns,
        scratch / "orders.parquet",
        scratch=scratch / "orders",
        bucket_rows=bucket_rows,
    )

    on_step(following)
    outcomes = write_sorted(
        _outcome_rows(plan, accepted),
        "event_time",
        [PLACE, _RANK],
        [pl.col(name) for name in OUTCOME_SCHEMA],
        scratch / "outcomes.parquet",
        scratch=scratch / "outcomes",
        bucket_rows=bucket_rows,
    )

    on_step(rejecting)
    rejects = scratch / "rejects.parquet"
    reject_rows(plan, staged, accepted, repeats).sink_parquet(rejects, engine="streaming")
    found = faults(rejects)
    reasons: Counter[str] = Counter()
    for fault in found:
        reasons[fault.code] += fault.rows
    return Imported(
        orders,
        outcomes,
        reasons.total(),
        dict(sorted(reasons.items())),
        kinds=_kinds(scratch / "outcomes.parquet"),
        faults=found,
        unmatched=_unmatched(mapping, plan, staged),
    )


def _kinds(outcomes: Path) -> dict[str, int]:
    kinds = pl.scan_parquet(outcomes).group_by("kind").len()
    kinds = kinds.sort("len", "kind", descending=[True, False])
    return dict(kinds.collect(engine="streaming").iter_rows())


def _unmatched(mapping: Mapping, plan: Plan, staged: pl.LazyFrame) -> list[Unmatched]:
    """Looks at all rows: those of rejected orders show, too, that a condition is right."""
    matched = [pl.col(event.present or "").any() for event in plan.outcomes]
    [matches] = staged.select(matched).collect(engine="streaming").iter_rows() if matched else [()]
    return [
        Unmatched(number, outcome.kind, outcome.when)
        for number, (outcome, matches) in enumerate(zip(mapping.outcome, matches, strict=True), 1)
        if not matches
    ]


def _stage(plan: Plan) -> pl.LazyFrame:
    """Every row of the file: its order in canonical columns, its outcomes, and their faults."""
    order = [plan.order.value(name).cast(dtype).alias(name) for name, dtype in ORDER_SCHEMA.items()]
    attributes = [
        pl.col(made.value_column).alias(name.removeprefix("attributes."))
        for name, made in plan.order.conversions.items()
        if name.startswith("attributes.")
    ]
    if attributes:
        order.append(pl.struct(attributes).alias("attributes"))
    outcomes = [
        column
        for event in plan.outcomes
        for column in (event.present, *(made.value_column for made in event.conversions.values()))
    ]
    faults = [event.fault for event in plan.events]
    return plan.convert(plan.source.lazy).select(ROW, PLACE, *order, *outcomes, *faults)


def _outcome_rows(plan: Plan, accepted: pl.LazyFrame) -> pl.LazyFrame:
    """The outcomes of accepted orders, each kind after the other."""
    parts = [pl.LazyFrame(schema=OUTCOME_SCHEMA | {PLACE: pl.Int64(), _RANK: pl.Int32()})]
    for rank, event in enumerate(plan.outcomes):
        happened = pl.col(event.present or "") & pl.col(event.fault).is_null()
        columns = [
            event.value(name).cast(dtype).alias(name)
            for name, dtype in OUTCOME_SCHEMA.items()
            if name not in ("order_id", "kind")
        ]
        kind = pl.lit(event.name).alias("kind")
        rank_column = pl.lit(rank, pl.Int32).alias(_RANK)
        parts.append(
            accepted.filter(happened).select("order_id", kind, *columns, PLACE, rank_column)
        )
    return pl.concat(parts)


def _put_in_place(mapping: Mapping, scratch: Path, out: Path) -> None:
    """Everything is written: move it to where it belongs, and drop what it replaces."""
    settings = out / "dataset.json"
    if mapping.targets:
        content = msgspec.json.encode(DatasetSettings(targets=mapping.target_settings))
        (scratch / settings.name).write_bytes(msgspec.json.format(content) + b"\n")
        (scratch / settings.name).replace(settings)
    else:
        settings.unlink(missing_ok=True)
    for name in ("orders.parquet", "outcomes.parquet", "rejects.parquet"):
        (scratch / name).replace(out / name)
    (out / FAILED_REJECTS).unlink(missing_ok=True)
