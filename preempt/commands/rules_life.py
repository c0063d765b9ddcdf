"""`preempt rules draft | shadow | publish | rollback`: what moves a rule set on."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from orders.errors import UserError
from preempt.console import console, emit
from preempt.settings import load_settings

Json = Annotated[bool, Parameter(name="--json", negative="")]

PICKED_UP = "every worker takes it up within 10 s"


def rules_draft(
    file: Path,
    /,
    *,
    by: str,
    comment: str = "",
    model: str | None = None,
    data_dir: Path | None = None,
    json: Json = False,
) -> None:
    """Store a rules file as a version that can be tried, published, and never changed.

    The file is checked as by `preempt rules lint`. The same rules are the same version, whatever
    their layout: a version that is there already stays as it is.

    For example:

        preempt rules draft my-rules.toml --by ana --comment "fewer calls at night"

    Args:
        file: Rules in TOML.
        by: Who wrote it.
        comment: What it is for.
        model: As for `preempt rules lint`.
        data_dir: Folder of the operational database, unless PREEMPT_DATABASE_URL says else.
        json: Print one JSON object.
    """
    settings = load_settings(model=model, data_dir=data_dir)
    from preempt.clock import wall_clock
    from preempt.commands.rules_lint import (
        checked_features,
        counted,
        errors_of,
        findings_of,
        show_findings,
    )
    from preempt.operational import build_rule_store
    from serving.policy import read_text

    content = read_text(file)
    features, words = checked_features(settings)
    findings = findings_of(content, features, settings)
    show_findings(file, findings, console)
    if broken := errors_of(findings):
        raise UserError(f"{file} was not stored: {counted(broken, 'error')}, checked {words}")
    store = build_rule_store(settings)
    version, new = store.draft(content, by=by, at=wall_clock(), comment=comment)
    said = "is drafted" if new else "was there already, and stays as it is"
    result = {"version": version, "new": new, "findings": findings}
    emit(result, as_json=json, text=f"{version} {said}")


def rules_shadow(
    version: str,
    /,
    *,
    by: str,
    comment: str = "",
    data_dir: Path | None = None,
    json: Json = False,
) -> None:
    """Let a version run beside the live one: decisions say what it would have said.

    One version at most is in shadow; another one takes its place.

    For example:

        preempt rules shadow 3f2a --by ana
        preempt rules shadow off --by ana

    Args:
        version: Its first letters are enough; off ends it.
        by: Who does this.
        comment: Why.
        data_dir: Folder of the operational database, unless PREEMPT_DATABASE_URL says else.
        json: Print one JSON object.
    """
    settings = load_settings(data_dir=data_dir)
    from preempt.clock import wall_clock
    from preempt.operational import build_rule_store

    store = build_rule_store(settings)
    meant = None if version == "off" else store.resolve(version)
    store.shadow(meant, by=by, at=wall_clock(), comment=comment)
    text = "nothing is in shadow" if meant is None else f"{meant} is in shadow; {PICKED_UP}"
    emit({"shadow": meant}, as_json=json, text=text)


def rules_publish(
    version: str,
    /,
    *,
    by: str,
    comment: str = "",
    data_dir: Path | None = None,
    json: Json = False,
) -> None:
    """Make a version live, or ask for it where a second person must approve.

    One person may publish what a backtest against the live version has shown to change few
    decisions: PREEMPT_PUBLISH_ALONE_SHARE, 1 % by default. Otherwise the first call asks, and
    the call of another person, who did not write it either, approves it and makes it live.

    For example:

        preempt rules publish 3f2a --by ana --comment "less trouble for travellers"
        preempt rules publish 3f2a --by ben

    Args:
        version: Its first letters are enough.
        by: Who does this.
        comment: Why.
        data_dir: Folder of the operational database, unless PREEMPT_DATABASE_URL says else.
        json: Print one JSON object.
    """
    settings = load_settings(data_dir=data_dir)
    from preempt.clock import wall_clock
    from preempt.operational import build_rule_store

    store = build_rule_store(settings)
    meant = store.resolve(version)
    share = settings.publish_alone_share
    why = store.publish(meant, by=by, at=wall_clock(), comment=comment, alone_share=share)
    text = f"{meant} is live; {PICKED_UP}"
    if why is not None:
        author = store.rule_set(meant).author
        text = (
            f"{meant} is not live yet, {by} has asked for it: {why}. A second person, neither {by} "
            f"nor its author {author}, publishes it with: preempt rules publish {meant} --by NAME"
        )
    emit({"version": meant, "live": why is None, "why_not": why}, as_json=json, text=text)


def rules_rollback(
    *,
    by: str,
    comment: str,
    data_dir: Path | None = None,
    json: Json = False,
) -> None:
    """Return at once to the version that was live before.

    One person may do it. Done again, it goes one version further back.

    For example:

        preempt rules rollback --by ana --comment "night orders are frozen by mistake"

    Args:
        by: Who does this.
        comment: The reason.
        data_dir: Folder of the operational database, unless PREEMPT_DATABASE_URL says else.
        json: Print one JSON object.
    """
    settings = load_settings(data_dir=data_dir)
    from preempt.clock import wall_clock
    from preempt.operational import build_rule_store

    version = build_rule_store(settings).rollback(by=by, at=wall_clock(), reason=comment)
    emit({"live": version}, as_json=json, text=f"{version} is live again; {PICKED_UP}")
