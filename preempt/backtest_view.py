"""A backtest for a terminal; reads as well without one."""

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from preempt.live_view import printable
from serving.backtest_result import Backtest, RuleResult
from training.money import money


def view_of_backtest(found: Backtest) -> RenderableType:
    """What would change, money by outcome, and rules."""
    against = found.against.name if found.against.version else "what was decided"
    share = found.changed / found.orders
    head = Text(
        f"{found.candidate.name} ({found.candidate.version}) against {against}: of {found.orders:,} "
        f"orders {found.changed:,} ({share:.2%}) would be decided otherwise"
    )
    return Group(head, Text(""), _moves(found), Text(""), _money(found), Text(""), _rules(found))


def _moves(found: Backtest) -> Table:
    table = Table(title="Changes", title_justify="left", box=None)
    for name in ("before", "after"):
        table.add_column(name)
    table.add_column("orders", justify="right")
    for move in sorted(found.moves, key=lambda move: -move.orders):
        if move.before != move.after:
            table.add_row(move.before, move.after, f"{move.orders:,}")
    return table


def _money(found: Backtest) -> Table:
    table = Table(title="Money by outcome", title_justify="left", box=None)
    table.add_column("outcome")
    for name in ("all", "stopped before", "stopped after"):
        table.add_column(name, justify="right")
    for each in found.money:
        sums = (each.all, each.stopped_before, each.stopped_after)
        table.add_row(each.fate, *(money(amount.amount, each.currency) for amount in sums))
    return table


def _rules(found: Backtest) -> Table:
    table = Table(title="Rules", title_justify="left", box=None)
    table.add_column("rule", no_wrap=True)
    for name in ("matches", "alone", "newly stopped", "precision"):
        table.add_column(name, justify="right")
    for rule in sorted(found.rules, key=lambda rule: -rule.matches):
        counts = (rule.matches, rule.alone, rule.newly_stopped)
        table.add_row(printable(rule.name), *(f"{n:,}" for n in counts), _precision(rule))
    return table


def _precision(rule: RuleResult) -> str:
    said = [
        f"{p.target} {p.precision.share:.1%} ({p.precision.low:.1%}-{p.precision.high:.1%})"
        for p in rule.precision
        if p.precision is not None
    ]
    return ", ".join(said) or "–"
