"""`preempt parity`: served vectors against recomputed ones."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter, validators
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from orders.errors import UserError
from preempt.console import emit, progress
from preempt.live_view import printable
from preempt.parity import parity_of_archive
from preempt.settings import Settings, load_settings
from training.late_events import LateEvent
from training.parity import FeatureParity, Parity

SHOWN = 12  # rows of a table
ORDER_ID: dict[str, Any] = {"no_wrap": True, "max_width": 12}  # JSON has all of it


def parity(
    *,
    data_dir: Path | None = None,
    sample: Annotated[int, Parameter(validator=validators.Number(gte=1))] = 1_000,
    state: Annotated[list[Path] | None, Parameter(negative="")] = None,
    json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> None:
    """Compare the feature vectors that were served with recomputed ones.

    Reads the archive of a stream, replays it, and compares every value of about SAMPLE orders, of
    whole accounts. Differences that events which came late explain are shown with these events;
    one that nothing explains ends the command with 1.

    For example:

        preempt parity --data-dir data
        preempt parity --data-dir data --sample 1000 --state state.snapshot --json

    Args:
        data_dir: The data folder whose archive is read.
        sample: How many orders to compare.
        state: The snapshot that the worker began with; several if workers began with different ones. Default: state.snapshot in the data folder, if it is there. Of workers with --store redis: what `backfill --state-out` makes of the history that filled Redis.
        json: Print one JSON object.
    """
    settings = load_settings(data_dir=data_dir)
    with progress("Replaying the archive", None) as bar:
        found = parity_of_archive(
            settings,
            _snapshots(settings, state),
            sample=sample,
            past=state[0] if state and len(state) == 1 else None,
            on_progress=lambda done, total: bar.update(
                bar.task_ids[0], completed=done, total=total
            ),
        )
    if json:
        emit(found, as_json=True, text="")
    else:
        Console().print(render_parity(found))
    if found.unexplained:
        worst = found.worst[0]
        example = worst.examples[0]
        raise UserError(
            f"{found.unexplained:,} served values of {len(found.orders_unexplained):,} orders are not "
            f"what the worker's state gives; first {worst.feature} of order {example.order_id}: "
            f"served {_value(example.served)}, recomputed {_value(example.as_applied)}"
        )


def _snapshots(settings: Settings, given: list[Path] | None) -> Sequence[Path]:
    if given:
        return given
    usual = settings.data_dir / "state.snapshot"
    return [usual] if usual.exists() else []


def render_parity(found: Parity) -> RenderableType:
    """What was found, for people; reads as well without a terminal."""
    parts: list[RenderableType] = [_headline(found)]
    if found.worst:
        parts += [Text(""), _features(found.worst)]
    if found.late_events:
        parts += [Text(""), _events("Late events", found.late_events)]
    if found.concurrent_events:
        title = "Events under way at another worker"
        parts += [Text(""), _events(title, found.concurrent_events)]
    return Group(*parts)


def _headline(found: Parity) -> Text:
    lines = [
        f"{found.orders:,} orders x {found.features} features: {_share(found.equal_share)} equal, "
        f"{found.orders_equal:,} orders in every value",
        f"{found.differing:,} values differ: {found.explained:,} explained by late events, "
        f"{found.unexplained:,} unexplained",
        f"replayed {found.archived_orders:,} orders and {found.archived_outcomes:,} outcomes of "
        f"{found.states:,} worker process{'es' * (found.states != 1)}",
    ]
    left_out = [
        (found.concurrent, "values that events under way at another worker explain"),
        (found.untraced, "values differ of decisions whose past or sequence is not known"),
        (found.unnamed, "explained values for which no single event can be named"),
        (found.too_recent, "decisions left out: what came before them is not archived yet"),
        (found.of_other_features, "decisions left out: served with another feature set"),
    ]
    lines += [f"{count:,} {words}" for count, words in left_out if count]
    return Text("\n".join(lines), style="bold red" if found.unexplained else "")


def _features(worst: Sequence[FeatureParity]) -> Table:
    table = Table(title=_title("Features with differences", worst), title_justify="left", box=None)
    table.add_column("feature", no_wrap=True)
    for name in ("equal", "largest", "served", "recomputed"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("for example", **ORDER_ID)
    for each in worst[:SHOWN]:
        example = each.examples[0]
        again = example.as_applied if each.unexplained else example.recomputed
        table.add_row(
            each.feature,
            _share(each.equal_share),
            _value(each.largest_difference, 6),
            _value(example.served, 6),
            _value(again, 6),
            printable(example.order_id),
            style="red" if each.unexplained else "",
        )
    return table


def _events(title: str, events: Sequence[LateEvent]) -> Table:
    table = Table(title=_title(title, events), title_justify="left", box=None)
    table.add_column("event", no_wrap=True, max_width=14)
    table.add_column("of order", **ORDER_ID)
    for name in ("event time", "late by", "in the log"):
        table.add_column(name, no_wrap=True)
    table.add_column("moved", justify="right", no_wrap=True)
    for each in events[:SHOWN]:
        moment = datetime.fromtimestamp(each.event_time / 1000, UTC)
        table.add_row(
            each.kind if each.certain else f"{each.kind}?",
            printable(each.order_id),
            f"{moment:%m-%d %H:%M:%S}",
            "not taken" if each.late_ms is None else f"{each.late_ms / 1000:,.1f} s",
            f"{each.table}-{each.partition} {each.offset}",
            f"{each.moved:,}",
        )
    return table


def _title(words: str, rows: Sequence[object]) -> str:
    return words if len(rows) <= SHOWN else f"{words}: the first {SHOWN} of {len(rows):,}"


def _share(share: float) -> str:
    """In percent; 100 % only when nothing differs."""
    text = f"{100 * share:.3f} %"
    return text if share == 1 or not text.startswith("100") else "99.999 %"


def _value(value: float | None, digits: int = 17) -> str:
    return "missing" if value is None else f"{value:.{digits}g}"
