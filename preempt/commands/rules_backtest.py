"""`preempt rules backtest`: a rules file tried on the archive."""

from pathlib import Path
from typing import Annotated, Literal

import msgspec
from cyclopts import Parameter

from orders.errors import UserError
from preempt.console import console, emit, progress
from preempt.options import Time
from preempt.settings import load_settings

LIVE = "live"


def rules_backtest(
    file: Path,
    /,
    *,
    from_: Annotated[Time | None, Parameter(name="--from")] = None,
    to: Time | None = None,
    against: str = LIVE,
    out: Path | None = None,
    lang: Literal["en", "zh"] = "en",
    data_dir: Path | None = None,
    json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> None:
    """Try a rules file on the orders of the past: what would have been decided otherwise.

    Reads the archive of a stream. Each order is judged with the features and the model's points
    that it was decided with, and compared with what was decided, or with what another rules file
    says. Nothing is changed.

    For example:

        preempt rules backtest my-rules.toml --out report.html
        preempt rules backtest my-rules.toml --from 2026-03-01T00:00Z --to 2026-03-08T00:00Z --json
        preempt rules backtest my-rules.toml --against serving/rules.toml

    Args:
        file: The rules file to try.
        from_: First event time of orders, ISO 8601 with a zone; default: the first order.
        to: End, exclusive; default: the last order.
        against: What to compare with: live for what was decided, or another rules file.
        out: Write a page with charts to this file.
        lang: What the page opens in.
        data_dir: The data folder whose archive is read.
        json: Print one JSON object.
    """
    settings = load_settings(data_dir=data_dir)
    from preempt.past_decisions import past_decisions, unknown_targets
    from serving.backtest import run_backtest
    from serving.policy import Policy
    from serving.policy_on_history import PolicyOnHistory

    candidate = Policy.load(file)
    other = None if against == LIVE else Policy.load(Path(against))
    with console.status("Reading outcomes"):
        past = past_decisions(settings.archive_dir, from_, to, [candidate])
    declared = past.history.feature_set
    tried = PolicyOnHistory(candidate, declared)
    other_tried = None if other is None else PolicyOnHistory(other, declared)
    with progress("Judging", len(past.history.rows)) as bar:
        found = run_backtest(
            past.history,
            past.truth,
            tried,
            other_tried,
            name=file.name,
            against_name=LIVE if other is None else Path(against).name,
            on_progress=lambda n: bar.advance(bar.task_ids[0], n),
        )
    found = msgspec.structs.replace(found, warnings=[*found.warnings, *unknown_targets(candidate)])
    if out is not None:
        from preempt.backtest_page import render_backtest

        try:
            out.write_text(render_backtest(found, lang), encoding="utf-8")
        except OSError as error:
            raise UserError(f"cannot write {out}: {error.strerror}") from None
    if json:
        emit(found, as_json=True, text="")
        return
    from rich.console import Console

    from preempt.backtest_view import view_of_backtest

    for warning in found.warnings:
        console.print(f"warning: {warning}", markup=False, highlight=False, soft_wrap=True)
    Console().print(view_of_backtest(found))
