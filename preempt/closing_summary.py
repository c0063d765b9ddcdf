"""The last thing that a live day prints: its figures, in two tables."""

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from preempt.live_view import TIER_NAMES, TIER_STYLES, printable
from training.live_summary import Attack, Latency, Summary


def render_summary(summary: Summary) -> RenderableType:
    """The day and its attacks; reads as well without a terminal, from 80 columns on."""
    return Group(_day(summary), Text(""), _attacks(summary))


def _day(summary: Summary) -> Table:
    peak = summary.peak
    table = Table(title="The live day", title_justify="left", title_style="bold", box=None)
    table.add_column("", style="dim", no_wrap=True)
    table.add_column("day", justify="right", no_wrap=True, header_style="dim")
    table.add_column("peak", justify="right", no_wrap=True, header_style="dim")
    table.add_column("", no_wrap=True)
    answered = not (summary.lost or summary.duplicates)
    table.add_row("orders", _count(summary.orders), _count(peak.orders), _tiers(summary))
    table.add_row(
        "decisions",
        _count(summary.decisions),
        "",
        Text(
            f"{summary.lost:,} lost · {summary.duplicates:,} repeated · "
            f"{summary.dead_letters:,} dead",
            style="" if answered else "bold red",
        ),
    )
    table.add_row(
        "orders a second", _count(summary.orders_per_s), _count(peak.orders_per_s), "broker's clock"
    )
    table.add_row("latency p99", _p99(summary.latency_ms), _p99(peak.latency_ms), _p50(summary))
    table.add_row(
        "attack orders stopped",
        _share(summary.recall),
        _share(peak.recall),
        f"recall, of {summary.attack_orders:,}; precision {_share(summary.precision)}",
    )
    table.add_row(
        "honest orders stopped",
        _share(summary.false_positive_rate, 2),
        _share(peak.false_positive_rate, 2),
        "false positives",
    )
    table.add_row("gift orders passed", _share(summary.gift_pass_rate), "", "")
    table.add_row("seen by a person", _share(summary.human_share), "", "the frozen orders")
    table.add_row("AUC", _number(summary.auc), "", f"average precision {_number(summary.ap)}")
    if (parity := summary.parity) is not None:
        table.add_row(
            "served values equal",
            _share(parity.equal_share, 2),
            "",
            Text(
                f"{parity.explained:,} late · {parity.unexplained:,} unexplained",
                style="bold red" if parity.unexplained else "",
            ),
        )
    return table


def _attacks(summary: Summary) -> RenderableType:
    if not summary.attacks:
        return Text("No attack is known on this day.", style="dim")
    table = Table(title="Attacks", title_justify="left", title_style="bold", box=None)
    table.add_column("kind", no_wrap=True, header_style="dim")
    for name in ("orders", "stopped", "incidents", "missed", "first stop", "at order"):
        table.add_column(name, justify="right", no_wrap=True, header_style="dim")
    for attack in summary.attacks:
        table.add_row(
            Text(printable(attack.kind.replace("_", " "), 18)),
            _count(attack.orders),
            _share(attack.recall),
            _count(attack.incidents),
            Text(f"{attack.never_stopped:,}", style="red" if attack.never_stopped else ""),
            _first_stop(attack),
            f"{attack.first_stop_order:g}" if attack.first_stop_order is not None else "–",
        )
    return table


def _tiers(summary: Summary) -> Text:
    counts = (
        ("sms", summary.tiers.sms),
        ("call", summary.tiers.call),
        ("freeze", summary.tiers.freeze),
        ("cancel", summary.tiers.cancel),
    )
    parts = [
        Text(f"{TIER_NAMES[tier]} {count:,}", style=TIER_STYLES[tier])
        for tier, count in counts
        if count
    ]
    return Text(" · ").join(parts)


def _first_stop(attack: Attack) -> str:
    if not attack.incidents:
        return "–"
    return "never" if attack.first_stop_s is None else f"{attack.first_stop_s:,.1f} s"


def _p99(latency: Latency) -> str:
    return "–" if latency.p99 is None else f"{latency.p99:,.0f} ms"


def _p50(summary: Summary) -> str:
    latency = summary.latency_ms
    return "" if latency.p50 is None else f"p50 {latency.p50:,.0f} ms · p95 {latency.p95:,.0f} ms"


def _count(value: float | None) -> str:
    return "–" if value is None else f"{value:,.0f}"


def _share(value: float | None, decimals: int = 1) -> str:
    return "–" if value is None else f"{value:.{decimals}%}"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
