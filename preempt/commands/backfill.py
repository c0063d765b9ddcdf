"""`preempt backfill`: point-in-time features by replay."""

import time
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

import polars as pl
from cyclopts import Parameter

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
from orders.errors import UserError
from orders.tables import scan_orders, scan_outcomes
from preempt.console import emit, progress
from preempt.settings import load_settings


def backfill(
    directory: Path,
    /,
    *,
    out: Path,
    store: Literal["memory", "redis"] = "memory",
    from_: Annotated[datetime | None, Parameter(name="--from")] = None,
    until: datetime | None = None,
    state_in: Path | None = None,
    state_out: Path | None = None,
    json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> None:
    """Compute the features that were known when each order was placed, by replaying history.

    Orders and outcomes are streamed, so the data set may be larger than memory. The frame has
    `order_id`, `event_time` and one column a feature.

    For example:

        preempt backfill data/history --out data/frame.parquet --until 2025-03-01T00:00:00Z

    Args:
        directory: A data set: the folder with `orders.parquet` and `outcomes.parquet`.
        out: The Parquet file to write.
        store: Where the state is kept: "redis" fills the one that workers with --store redis share,
            at PREEMPT_REDIS_URL.
        from_: Write orders from this time on (ISO 8601 with a zone). Earlier ones still build the state.
        until: Stop before this time (ISO 8601 with a zone).
        state_in: Start from a state that `--state-out` wrote.
        state_out: Write the state after the last event to this file.
        json: Print one JSON object.
    """
    for option, file in (("--state-in", state_in), ("--state-out", state_out)):
        if store == "redis" and file is not None:
            raise UserError(f"{option} is for --store memory: what is in Redis stays there")
    for option, moment in (("--from", from_), ("--until", until)):
        if moment is not None and moment.tzinfo is None:
            raise UserError(f"{option} needs a zone, such as {moment.isoformat()}Z")
    orders, outcomes = scan_orders(directory), scan_outcomes(directory)
    declared = feature_set(attributes_of(orders.collect_schema()))
    state = _state(store, declared, state_in)

    to_write = orders
    if from_ is not None:
        to_write = to_write.filter(pl.col("event_time") >= from_)
    if until is not None:
        to_write = to_write.filter(pl.col("event_time") < until)
    total = to_write.select(pl.len()).collect().item()

    started = time.perf_counter()
    written = 0
    with progress("Replaying orders", total) as bar, frame_writer(out, declared) as write:
        try:
            for frame in replay(orders, outcomes, state, declared, start=from_, stop=until):
                write(frame)
                written += len(frame)
                bar.advance(bar.task_ids[0], len(frame))
        except (StateUnavailableError, StateLostError, StateCorruptedError) as error:
            raise UserError(f"{error}; then run the same command again") from error
    seconds = time.perf_counter() - started
    if state_out is not None and isinstance(state, InMemoryState):
        state.save(state_out)
    result = {
        "orders": written,
        "orders_per_s": round(written / seconds, 1),
        "features": len(declared.features),
        "unattributed": state.unattributed,
        "feature_hash": declared.hash,
    }
    text = (
        f"{written:,} orders, {len(declared.features)} features each, "
        f"{written / seconds:,.0f} orders/s → {out}"
    )
    if state.unattributed:
        text += f"\n{state.unattributed:,} outcomes name no order of this data set"
    emit(result, as_json=json, text=text)


def _state(store: str, declared: FeatureSet, path: Path | None) -> FeatureState:
    if store == "redis":
        from preempt.bootstrap import shared_state

        return shared_state(load_settings(), declared)
    if path is None:
        return InMemoryState(declared)
    try:
        return InMemoryState.load(path, declared)[0]
    except (SnapshotError, FeatureSetMismatchError) as error:
        raise UserError(str(error)) from None
