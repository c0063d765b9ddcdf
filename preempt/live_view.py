"""What a live day looks like while it runs: figures, tiers, and the newest frozen orders."""

from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from preempt.live_snapshot import LiveSnapshot
from training.money import money

TIER_STYLES = {
    "pass": "blue",
    "sms": "yellow",
    "call": "dark_orange",
    "freeze": "red",
    "cancel": "magenta",
}
TIER_NAMES = {
    "pass": "pass",
    "sms": "SMS",
    "call": "AI call",
    "freeze": "freeze",
    "cancel": "cancel",
}

MOST_FROZEN = 12  # rows, on a terminal that is tall enough


@dataclass(frozen=True, slots=True)
class SnapshotView:
    """A snapshot as people see it; fits itself to the width and height it gets."""

    snapshot: LiveSnapshot

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """See `rich.console`."""
        height = options.height or (console.height if console.is_terminal else 30)
        half = options.max_width // 2
        top = Table.grid(expand=True)
        top.add_column(width=half)
        top.add_column(width=options.max_width - half)
        top.add_row(
            _now(self.snapshot, half - 4), _tiers(self.snapshot, options.max_width - half - 4)
        )
        frozen = min(max(height - 14, 2), MOST_FROZEN)
        yield Group(_header(self.snapshot), top, _frozen(self.snapshot, frozen, options.max_width))


def plain_line(snapshot: LiveSnapshot) -> str:
    """The same on one plain line."""
    tiers = " · ".join(f"{TIER_NAMES[t]} {n:,}" for t, n in snapshot.tiers.items() if n)
    return (
        f"{_clock(snapshot.clock)}  {snapshot.decided:,}/{snapshot.total:,} orders  "
        f"{snapshot.orders_per_s:,.0f}/s  p50 {_ms(snapshot.p50_ms)}  p99 {_ms(snapshot.p99_ms)}  "
        f"{tiers or 'no decisions'}  waiting {snapshot.waiting:,}  dead letters {snapshot.dead_letters:,}"
    )


class LiveView:
    """Shows snapshots: in place on a terminal, otherwise a plain line every few seconds.

    Use as a context manager and call `show` as often as you like.
    """

    def __init__(self, console: Console, *, every_s: float = 5.0) -> None:
        self._console = console
        self._every_s = every_s
        self._next_s: float | None = None
        self._live = (
            Live(console=console, auto_refresh=False, vertical_overflow="crop")
            if console.is_terminal
            else None
        )

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, snapshot: LiveSnapshot, *, now_s: float) -> None:
        """Show it; `now_s` is any clock that runs forward, in seconds."""
        if self._live is not None:
            self._live.update(SnapshotView(snapshot), refresh=True)
        elif self._next_s is None or now_s >= self._next_s:
            self._next_s = now_s + self._every_s
            self._console.print(Text(plain_line(snapshot)), soft_wrap=True)


def printable(text: str, most: int = 80) -> str:
    """Text from outside, fit for a terminal: no control, escape or direction characters."""
    shown = "".join(c if c.isprintable() else "·" for c in text[: most + 1])
    return shown if len(text) <= most else f"{shown[: most - 1]}…"


def _header(snapshot: LiveSnapshot) -> Panel:
    done = snapshot.decided + snapshot.dead_letters
    row = Table.grid(expand=True, padding=(0, 2, 0, 0))
    row.add_column(no_wrap=True)
    row.add_column(ratio=1)
    row.add_column(no_wrap=True, justify="right")
    share = done / snapshot.total if snapshot.total else 1.0
    row.add_row(
        Text(f"{_clock(snapshot.clock)} UTC", style="bold"),
        ProgressBar(total=max(snapshot.total, 1), completed=done, complete_style="blue"),
        Text(f"{done:,} of {snapshot.total:,} orders  {share:4.0%}"),
    )
    return Panel(row, title="[bold]Preempt[/] · live day", title_align="left", border_style="dim")


def _now(snapshot: LiveSnapshot, width: int) -> Panel:
    figures = Table.grid(padding=(0, 2, 0, 0))
    figures.add_column(style="dim", no_wrap=True)
    figures.add_column(justify="right", no_wrap=True)
    figures.add_column(no_wrap=True)
    dead = Text(f"{snapshot.dead_letters:,}", style="red" if snapshot.dead_letters else "")
    spark = Text(_sparkline(snapshot.rates, width - 25), style="blue")
    figures.add_row("orders/s", Text(f"{snapshot.orders_per_s:,.0f}", style="bold"), spark)
    figures.add_row("latency p50", Text(_ms(snapshot.p50_ms), style="bold"))
    figures.add_row("latency p99", Text(_ms(snapshot.p99_ms), style="bold"))
    figures.add_row("waiting", Text(f"{snapshot.waiting:,}"))
    figures.add_row("dead letters", dead)
    return Panel(figures, title="Now", title_align="left", border_style="dim")


def _tiers(snapshot: LiveSnapshot, width: int) -> Panel:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(no_wrap=True)
    decided = max(snapshot.decided, 1)
    stopped = max(sum(n for tier, n in snapshot.tiers.items() if tier != "pass"), 1)
    room = max(width - 30, 4)
    for tier, count in snapshot.tiers.items():
        # passed orders dwarf the rest: a bar shows a tier's part of the stopped ones
        length = 0 if tier == "pass" else round(room * count / stopped)
        table.add_row(
            Text(f"● {TIER_NAMES[tier]}", style=TIER_STYLES[tier]),
            f"{count:,}",
            Text(f"{count / decided:.1%}", style="dim"),
            Text("━" * length, style=TIER_STYLES[tier]),
        )
    return Panel(table, title="Tiers", title_align="left", border_style="dim")


def _frozen(snapshot: LiveSnapshot, rows: int, width: int) -> Panel:
    wide = width >= 100
    table = Table(box=None, expand=True, pad_edge=False, header_style="dim")
    table.add_column("time", no_wrap=True, width=8)
    table.add_column("order", no_wrap=True, width=20 if wide else 13)
    if wide:
        table.add_column("account", no_wrap=True, width=14, style="dim")
    table.add_column("amount", justify="right", no_wrap=True)
    table.add_column("points", justify="right", no_wrap=True, style="bold red")
    table.add_column("first reason", no_wrap=True, ratio=1)
    for order in snapshot.frozen[:rows]:
        account = (order.facts.account if order.facts else None) or "–"
        amount = money(order.facts.amount, order.facts.currency) if order.facts else "–"
        cells = [_clock(order.event_time), order.order_id, account, amount]
        cells += [f"{order.points:.0f}", order.reason]
        if not wide:
            del cells[2]
        table.add_row(*(Text(printable(cell), overflow="ellipsis") for cell in cells))
    for _ in range(rows - len(snapshot.frozen)):
        table.add_row("")  # the panel keeps its height while it fills
    return Panel(table, title="Newest frozen orders", title_align="left", border_style="dim")


def _sparkline(values: tuple[float, ...], width: int) -> str:
    shown = values[-width:] if width > 0 else ()
    highest = max(shown, default=0)
    if not highest:
        return ""
    return "".join(" ▁▂▃▄▅▆▇█"[-(-int(8 * value) // max(int(highest), 1))] for value in shown)


def _clock(millis: int | None) -> str:
    if millis is None:
        return "--:--:--"
    return datetime.fromtimestamp(millis / 1000, UTC).strftime("%H:%M:%S")


def _ms(value: float | None) -> str:
    return "–" if value is None else f"{value:,.0f} ms"
