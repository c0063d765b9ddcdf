"""`preempt import`: a shop's own history becomes a data set."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.markup import escape

from orders.importing import MAX_REJECTS, STEPS, Imported
from orders.importing import import_history as import_into
from orders.rejects import Fault
from preempt.console import console, emit, progress
from preempt.options import Share
from preempt.paths import require_folder_place


def import_history(
    file: Path,
    /,
    *,
    mapping: Path,
    out: Path,
    max_rejects: Share = MAX_REJECTS,
    json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> None:
    """Turn your own order history into orders.parquet, outcomes.parquet and rejects.parquet.

    Each row of the file is one order and what became of it. The mapping says which column becomes
    which field: `docs/import.md` describes it, `examples/` has two. A row that is no valid order
    goes to `rejects.parquet` with the reason. Where most rows are none, or all, the import fails,
    what an earlier one made stays, and the rejects are in `rejects.failed.parquet`.

    For example, `preempt import bookings.csv --mapping examples/hotel_bookings.toml --out data/hotel`.

    Args:
        file: CSV, Parquet or JSON Lines.
        mapping: The mapping file, TOML.
        out: The folder to write to; made if it is not there.
        max_rejects: Most rows that may be no valid order, as in 50%.
        json: Print the counts as one JSON object.
    """
    require_folder_place(out)
    with progress("reading", len(STEPS)) as bar:
        begun: list[str] = []

        def on_step(step: str) -> None:
            bar.update(bar.task_ids[0], description=step, completed=len(begun))
            begun.append(step)

        imported = import_into(file, mapping, out, max_rejects=max_rejects, on_step=on_step)
        bar.update(bar.task_ids[0], description="done", completed=len(STEPS))
    for idle in imported.unmatched:
        condition = f"when = {idle.when!r}" if idle.when else "its event_time is empty everywhere"
        _warn(f"[[outcome]] {idle.number} ({idle.kind}) matches no row: {condition}")
    emit(imported, as_json=json, text=_in_words(imported, out))


def _warn(text: str) -> None:
    console.print(f"[yellow]Warning:[/] {escape(text)}", soft_wrap=True, highlight=False)


def _in_words(imported: Imported, out: Path) -> str:
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in imported.kinds.items())
    lines = [f"{imported.orders:,} orders and {imported.outcomes:,} outcomes in {out}"]
    if kinds:
        lines[0] += f": {kinds}"
    if imported.rejects:
        lines.append(f"{imported.rejects:,} rejected, see {out / 'rejects.parquet'}:")
        lines += [
            f"  {fault.rows:>10,}  {_kind(fault)}, as row {fault.first_row}: {fault.reason}"
            for fault in imported.faults
        ]
    return "\n".join(lines)


def _kind(fault: Fault) -> str:
    event = "" if fault.event == "order" else f"{fault.event} "
    return f"{event}{fault.field or 'row'} {fault.code}"
