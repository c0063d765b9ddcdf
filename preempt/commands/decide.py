"""`preempt decide`: orders of a file through features, model, rules and policy, offline."""

import os
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated

import msgspec
from cyclopts import Parameter

from orders.decoding import decode_orders
from orders.errors import UsageError, UserError
from preempt.console import console, progress
from preempt.order_files import open_orders
from preempt.paths import require_file_place
from preempt.settings import load_settings

if TYPE_CHECKING:
    from serving.decisions import Decision

COMPLAINTS = 20  # lines of stderr; a file of another kind must not flood it

# The vector is left out: people read these lines. `preempt backfill` gives the features.
_SHOWN = (
    "order_id",
    "event_time",
    "points",
    "tier",
    "action",
    "reasons",
    "rule_points",
    "model_points",
    "probability",
    "fast_lane",
    "model",
    "rules",
)


def decide(
    orders: Annotated[Path, Parameter(allow_leading_hyphen=True)],  # a lone - is a file
    /,
    *,
    rules: Path | None = None,
    model: str = "none",
    state: Path | None = None,
    out: Path | None = None,
    tracking_uri: str | None = None,
    json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> None:
    """Decide on the orders of a file, in the order of the file, without a broker.

    Prints one JSON object a line: order_id, points, tier, action, reasons, and what they were
    made of. Each order counts for those after it, so a file sorted by event time gives what the
    live stream gives. A line that is no order is left out, and the first 20 are reported on stderr
    with their numbers; the others are decided all the same, and the command ends with 1.

    For example:

        preempt decide orders.jsonl
        preempt decide data/hotel/orders.parquet --out decisions.jsonl
        preempt decide orders.jsonl --rules my-rules.toml --model risk --out decisions.jsonl
        head -1000 orders.jsonl | preempt decide - --state state.bin

    Args:
        orders: JSON Lines, one order a line, or the orders.parquet that `preempt import` writes; - reads JSON Lines from standard input.
        rules: Rules file; default: the ones that come with us.
        model: A registered name (its champion), models:/NAME@ALIAS, models:/NAME/VERSION, a folder, or none for rules alone.
        state: What was known before the first order, from `preempt backfill --state-out`; default: nothing.
        out: Write the decisions to this file instead of printing them.
        tracking_uri: MLflow server, or sqlite:///FILE; default: PREEMPT_TRACKING_URI, else SQLite in the data folder.
        json: Accepted for uniformity; the output is always JSON Lines.
    """
    _check_out(orders, out)
    settings = load_settings(rules=rules, model=model, tracking_uri=tracking_uri)
    settings = settings.model_copy(update={"store": "memory", "redis_url": None})  # offline
    with ExitStack() as files:
        unit, chunks = open_orders(files, orders, sys.stdin.buffer)
        from preempt.bootstrap import build_scorer, wall_clock

        scorer = build_scorer(settings, state, guarded=False)
        written = _written(files, out)
        seen = decided = rejected = 0
        bar = files.enter_context(progress("Deciding", None))
        for numbers, raws in chunks:
            found = decode_orders(raws)
            for count, fault in enumerate(found.rejected, start=rejected + 1):
                if count <= COMPLAINTS:
                    _complain(f"{unit} {numbers[fault.index]}: {fault.detail}")
                elif count == COMPLAINTS + 1:
                    _complain(f"… further {unit}s that are no orders are only counted")
            decisions = scorer.decide(found.events, now=wall_clock())
            _write(written, decisions)
            seen += len(raws)
            decided += len(decisions)
            rejected += len(found.rejected)
            bar.advance(bar.task_ids[0], len(raws))
    if rejected:
        raise UserError(
            f"{rejected:,} of {seen:,} {unit}s are no orders, see above; the other {decided:,} "
            "were decided"
        )


def _check_out(orders: Path, out: Path | None) -> None:
    if out is None:
        return
    require_file_place(out, "decisions.jsonl")
    if out.resolve() == orders.resolve():
        raise UsageError(f"--out {out} is the file of the orders: name another file")


def _written(files: ExitStack, out: Path | None) -> IO[bytes]:
    if out is None:
        return sys.stdout.buffer
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        return files.enter_context(out.open("wb"))
    except OSError as error:
        raise UserError(f"cannot write {out}: {error.strerror}") from None


def _complain(detail: str) -> None:
    console.print(detail, markup=False, highlight=False, soft_wrap=True)


def _write(file: IO[bytes], decisions: "list[Decision]") -> None:
    shown = [{name: getattr(decision, name) for name in _SHOWN} for decision in decisions]
    try:
        file.write(msgspec.json.Encoder().encode_lines(shown))
        file.flush()
    except BrokenPipeError:
        # The reader, say `head`, has enough. What is still buffered must not fail again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), file.fileno())
        sys.exit(0)
