"""`preempt rules backtest`: a rules file tried on the archive."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
from cyclopts import Parameter

from orders.errors import UsageError, UserError
from preempt.console import console, emit, progress
from preempt.options import Time
from preempt.settings import Settings, load_settings

if TYPE_CHECKING:
    from serving.lists import EntityLists
    from serving.policy import Policy
    from serving.rule_store import RuleStore

LIVE = "live"


def rules_backtest(
    rules: str,
    /,
    *,
    from_: Annotated[Time | None, Parameter(name="--from")] = None,
    to: Time | None = None,
    against: str = LIVE,
    by: str | None = None,
    out: Path | None = None,
    lang: Literal["en", "zh"] = "en",
    data_dir: Path | None = None,
    json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> None:
    """Try rules on the orders of the past: what would have been decided otherwise.

    Reads the archive of a stream. Each order is judged with the features and the model's points
    that it was decided with, and compared with what was decided, or with what other rules say. Lists
    are as they are now, with the times of their entries. Nothing is changed; with --by the result of a
    stored version against the live one is remembered for its publication.

    For example:

        preempt rules backtest my-rules.toml --out report.html
        preempt rules backtest my-rules.toml --from 2026-03-01T00:00Z --to 2026-03-08T00:00Z --json
        preempt rules backtest my-rules.toml --against serving/rules.toml
        preempt rules backtest 96ad --by ana

    Args:
        rules: The rules to try: a file, or the first letters of a stored version.
        from_: First event time of orders, ISO 8601 with a zone; default: the first order.
        to: End, exclusive; default: the last order.
        against: What to compare with: live for what was decided, a file, or a stored version.
        by: Who tries it; the result is remembered in the operational database. Stored versions only.
        out: Write a page with charts to this file.
        lang: What the page opens in.
        data_dir: The data folder whose archive is read, with the operational database.
        json: Print one JSON object.
    """
    settings = load_settings(data_dir=data_dir)
    if by is not None and against != LIVE:
        raise UsageError("--by remembers a comparison with the live rules: leave --against out")
    from preempt.operational import build_rule_store

    store = build_rule_store(settings)
    candidate, version = policy_named(rules, store)
    if by is not None and version is None:
        raise UsageError(
            f"{rules} is no stored version: preempt rules draft {rules} --by NAME first"
        )
    # What was decided may come from several versions; a publication asks about the live one.
    live = store.resolve(LIVE) if by is not None else None
    other, _ = (None, None) if against == LIVE else policy_named(against, store)
    if live is not None:
        other = store.policy(live)
    lists = lists_now(settings)
    from preempt.past_decisions import past_decisions, unknown_targets
    from serving.backtest import run_backtest
    from serving.policy_on_history import PolicyOnHistory

    with console.status("Reading outcomes"):
        past = past_decisions(settings.archive_dir, from_, to, [candidate])
    declared = past.history.feature_set
    tried = PolicyOnHistory(candidate, declared, lists)
    other_tried = None if other is None else PolicyOnHistory(other, declared, lists)
    with progress("Judging", len(past.history.rows)) as bar:
        found = run_backtest(
            past.history,
            past.truth,
            tried,
            other_tried,
            name=version or Path(rules).name,
            against_name=LIVE if against == LIVE else Path(against).name,
            on_progress=lambda n: bar.advance(bar.task_ids[0], n),
        )
    found = msgspec.structs.replace(found, warnings=[*found.warnings, *unknown_targets(candidate)])
    if by is not None and version is not None and live is not None:
        from preempt.clock import wall_clock

        store.record_backtest(
            version,
            live,
            changed_share=found.changed / found.orders if found.orders else 0.0,
            result_json=msgspec.json.encode(found).decode(),
            by=by,
            at=wall_clock(),
        )
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


def policy_named(name: str, store: "RuleStore") -> "tuple[Policy, str | None]":
    """A policy from a file, or from the store with its version."""
    from serving.policy import Policy

    if Path(name).exists() or name.endswith(".toml"):
        return Policy.load(Path(name)), None
    version = store.resolve(name)
    return store.policy(version), version


def lists_now(settings: Settings) -> "EntityLists | None":
    """What lists hold now; None where there is no Redis."""
    if settings.redis_url is None:
        return None
    from preempt.redis_stores import list_store
    from serving.list_reader import ListReader

    return ListReader(list_store(settings).news).read()
