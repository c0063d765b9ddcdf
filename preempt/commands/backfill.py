"""`preempt backfill`: point-in-time features by replay."""

import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Literal

import polars as pl
from cyclopts import Parameter

from features.arrivals import ARRIVAL
from features.feature_set import (
    FeatureSet,
    FeatureSetMismatchError,
    attributes_of,
    feature_set,
)
from features.frame_file import frame_writer
from features.memory import InMemoryState
from features.replay import replay
from features.snapshot import SnapshotError
from features.state import (
    FeatureState,
    StateCorruptedError,
    StateLostError,
    StateUnavailableError,
)
from orders.errors import UsageError, UserError
from orders.tables import first_line, scan_orders, scan_outcomes
from preempt.console import console, emit, progress
from preempt.options import Time
from preempt.paths import require_data_set, require_file_place
from preempt.settings import load_settings

# In the metadata of a state file: the state holds exactly what arrived before, UTC ms.
_HOLDS_UNTIL = "holds_until"

_EMPTY = "an empty Redis or another PREEMPT_TOPIC_PREFIX"

_EPOCH, _MILLISECOND = datetime(1970, 1, 1, tzinfo=UTC), timedelta(milliseconds=1)


def backfill(
    directory: Path,
    /,
    *,
    out: Path,
    store: Literal["memory", "redis"] = "memory",
    from_: Annotated[Time | None, Parameter(name="--from")] = None,
    until: Time | None = None,
    state_in: Path | None = None,
    state_out: Path | None = None,
    json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> None:
    """Compute the features that were known when each order was placed, by replaying history.

    Orders and outcomes are applied in the sequence in which they arrived, an outcome that we
    learnt of late from then on, and streamed, so the data set may be larger than memory. The frame
    has `order_id`, `event_time` and one column a feature; its rows are in the sequence of arrival.

    For example:

        preempt backfill data/history --out data/frame.parquet --until 2025-03-01T00:00:00Z
        preempt backfill data/history --out data/frame.parquet --store redis

    Where there is no order to write, it fails, and what was there stays. Into Redis it is slower by
    an order of magnitude, and begins with an empty state: after Ctrl-C empty that Redis, or take
    another PREEMPT_TOPIC_PREFIX.

    Args:
        directory: A data set: the folder with `orders.parquet` and `outcomes.parquet`.
        out: The Parquet file to write.
        store: Where the state is kept: "redis" fills the one that workers with --store redis share, at PREEMPT_REDIS_URL.
        from_: Write orders that arrived from this time on (ISO 8601 with a zone). Earlier ones still build the state.
        until: Take what arrived before this time (ISO 8601 with a zone).
        state_in: Start from a state that `--state-out` wrote, with what arrived after it.
        state_out: Write the state after the last event to this file.
        json: Print one JSON object.
    """
    for option, file in (("--state-in", state_in), ("--state-out", state_out)):
        if store == "redis" and file is not None:
            raise UsageError(f"{option} is for --store memory: what is in Redis stays there")
    from_, until = _whole(from_), _whole(until)
    if from_ is not None and until is not None and from_ >= until:
        raise UsageError(
            f"--from {from_.isoformat()} is not before --until {until.isoformat()}: "
            "no order lies between them"
        )
    _check_files(directory, out, state_in, state_out)
    orders, outcomes = scan_orders(directory), scan_outcomes(directory)
    declared = feature_set(attributes_of(orders.collect_schema()))
    after = None
    if store == "redis":
        state = _shared_state(declared)
    elif state_in is None:
        state = InMemoryState(declared)
    else:
        state, after = _loaded(state_in, declared)
        _check_continuation(state_in, after, from_, until)
    bound = until
    until, total = _extent(orders, outcomes, after, until)
    rows = total if from_ is None else _extent(orders, outcomes, from_, until)[1]
    moves_state = (state_out is not None or store == "redis") and (total > 0 or after is not None)
    if not rows and not moves_state:
        raise UserError(_nothing(directory, orders, from_ or after, bound))
    with console.status("Loading the engine"):  # the first time on a machine it is compiled
        for _ in replay(orders.head(1), outcomes.head(1), InMemoryState(declared), declared):
            pass

    started = time.perf_counter()
    written = replayed = 0

    def on_orders(count: int) -> None:
        nonlocal replayed
        replayed += count
        bar.advance(bar.task_ids[0], count)

    try:
        with (
            progress("Replaying orders", total) as bar,
            frame_writer(out, declared) as write,
            closing(
                replay(
                    orders,
                    outcomes,
                    state,
                    declared,
                    after=after,
                    start=from_,
                    stop=until,
                    on_orders=on_orders,
                )
            ) as frames,
        ):
            try:
                for frame in frames:
                    write(frame)
                    written += len(frame)
                unattributed = state.unattributed
            except (StateUnavailableError, StateLostError, StateCorruptedError) as error:
                raise UserError(f"{error}; then begin again with {_EMPTY}") from error
    except KeyboardInterrupt:
        raise KeyboardInterrupt(_stopped(replayed, total, out, store)) from None
    seconds = time.perf_counter() - started
    if state_out is not None and isinstance(state, InMemoryState):
        _save(state, state_out, until)
    result = {
        "orders": written,
        "orders_per_s": round(total / seconds, 1),
        "features": len(declared.features),
        "unattributed": unattributed,
        "feature_hash": declared.hash,
    }
    text = (
        f"{written:,} orders, {len(declared.features)} features each, "
        f"{total / seconds:,.0f} orders/s → {out}"
    )
    if unattributed:
        text += f"\n{unattributed:,} outcomes name no order of this data set"
    emit(result, as_json=json, text=text)


def _stopped(done: int, total: int, out: Path, store: str) -> str:
    said = f"stopped after {done:,} of {total:,} orders; {out} is as it was before"
    if store == "redis":
        return f"{said}, and Redis holds a part of the history: begin again with {_EMPTY}"
    return f"{said}: begin again"


def _nothing(
    directory: Path, orders: pl.LazyFrame, start: datetime | None, stop: datetime | None
) -> str:
    """Why there is nothing to write, for people."""
    known = orders.select(first=ARRIVAL.min(), last=ARRIVAL.max())
    [first, last] = known.collect().row(0)
    if first is None:
        return f"{directory} has no orders: nothing is written; look at what made it"
    bounds = [f"from {start.isoformat()} on"] if start else []
    bounds += [f"before {stop.isoformat()}"] if stop else []
    return (
        f"no order of {directory} arrived {' and '.join(bounds)}: nothing is written; they arrived "
        f"from {first.isoformat()} to {last.isoformat()}"
    )


def _shared_state(declared: FeatureSet) -> FeatureState:
    settings = load_settings()  # before what is slow to import
    from preempt.bootstrap import shared_state

    state = shared_state(settings, declared)
    if not state.is_new:
        raise UserError(
            "the feature state in Redis holds events already, which would be taken for repeats: "
            f"begin with {_EMPTY}"
        )
    return state


def _whole(moment: datetime | None) -> datetime | None:
    """In UTC, at a whole millisecond: the first one that is not before."""
    if moment is None:
        return None
    return _EPOCH - (_EPOCH - moment) // _MILLISECOND * _MILLISECOND


def _check_files(directory: Path, out: Path, state_in: Path | None, state_out: Path | None) -> None:
    """What would only come out after hours of work, or destroy what was read."""
    require_data_set(directory)
    require_file_place(out, "frame.parquet")
    if state_out is not None:
        require_file_place(state_out, "state.bin")
    read = [directory / "orders.parquet", directory / "outcomes.parquet"]
    if out.resolve() in [path.resolve() for path in read]:
        raise UserError(f"--out {out} is a table of the data set: name another file")
    if state_out is not None and state_out.resolve() in [path.resolve() for path in [*read, out]]:
        raise UserError(
            f"--state-out {state_out} is --out or a table of the data set: name another file"
        )


def _check_continuation(
    path: Path, after: datetime | None, from_: datetime | None, until: datetime | None
) -> None:
    if after is None:
        return
    holds = f"{path} holds what arrived before {after.isoformat()}"
    if from_ is not None and from_ < after:
        raise UserError(
            f"{holds}: orders from {from_.isoformat()} on are in it already; "
            "leave --from out, or replay without --state-in"
        )
    if until is not None and until <= after:
        raise UserError(
            f"{holds}: nothing is left until {until.isoformat()}; give a later --until, or leave it out"
        )


def _extent(
    orders: pl.LazyFrame, outcomes: pl.LazyFrame, after: datetime | None, until: datetime | None
) -> tuple[datetime | None, int]:
    """The time before which everything that is taken arrived, and how many orders that are."""
    known = orders.select(arrival=ARRIVAL)
    try:
        if until is None:
            [last] = pl.concat([known, outcomes.select(arrival=ARRIVAL)]).max().collect().row(0)
            ends = [after, None if last is None else last + _MILLISECOND]
            until = max((end for end in ends if end is not None), default=None)
        if after is not None:
            known = known.filter(pl.col("arrival") >= after)
        if until is not None:
            known = known.filter(pl.col("arrival") < until)
        return until, known.select(pl.len()).collect().item()
    except (pl.exceptions.PolarsError, OSError) as error:
        raise UserError(f"the data set cannot be read: {first_line(error)}") from None


def _save(state: InMemoryState, path: Path, until: datetime | None) -> None:
    holds_until = None if until is None else (until - _EPOCH) // _MILLISECOND
    try:
        state.save(path, {_HOLDS_UNTIL: holds_until})
    except OSError as error:
        reason = error.strerror or "the disk took only a part of it"
        raise UserError(f"cannot write {path}: {reason}") from None


def _loaded(path: Path, declared: FeatureSet) -> tuple[InMemoryState, datetime | None]:
    """The state, and what it holds: everything that arrived before this time, None for nothing."""
    try:
        state, metadata = InMemoryState.load(path, declared)
    except (SnapshotError, FeatureSetMismatchError) as error:
        raise UserError(str(error)) from None
    if _HOLDS_UNTIL not in metadata:
        raise UserError(
            f"{path} does not say until when it holds events: make it with "
            "'preempt backfill --state-out'"
        )
    until = metadata[_HOLDS_UNTIL]
    return state, None if until is None else _EPOCH + until * _MILLISECOND
