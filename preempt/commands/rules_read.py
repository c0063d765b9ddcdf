"""`preempt rules list | history | show`: what is there, and what happened to it."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
from cyclopts import Parameter
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from preempt.console import emit
from preempt.settings import load_settings

if TYPE_CHECKING:
    from serving.rule_history import RuleEvent

Json = Annotated[bool, Parameter(name="--json", negative="")]

_STYLES = {"live": "bold green", "shadow": "cyan", "retired": "dim", "draft": ""}


def rules_list(*, data_dir: Path | None = None, json: Json = False) -> None:
    """List the versions of the rules with their states.

    For example:

        preempt rules list
        preempt rules list --json

    Args:
        data_dir: Folder of the operational database, unless PREEMPT_DATABASE_URL says else.
        json: Print one JSON list.
    """
    settings = load_settings(data_dir=data_dir)
    from preempt.operational import build_rule_store

    store = build_rule_store(settings)
    history = store.history()
    sets = store.rule_sets()
    if json:
        rows = [
            {
                "version": each.version,
                "state": history.state(each.version),
                "author": each.author,
                "created_at": each.created_at,
                "comment": each.comment,
            }
            for each in sets
        ]
        emit(rows, as_json=True, text="")
        return
    table = _table("version", "state", "author", "drafted (UTC)", "comment")
    for each in sets:
        state = history.state(each.version)
        table.add_row(each.version, state, each.author, _shown(each.created_at), each.comment)
        table.rows[-1].style = _STYLES[state]
    Console().print(table)


def rules_history(
    version: str | None = None, /, *, data_dir: Path | None = None, json: Json = False
) -> None:
    """List what happened to the rules, who did it, when and why; the newest last.

    For example:

        preempt rules history
        preempt rules history 3f2a --json

    Args:
        version: Only what happened to it; its first letters are enough.
        data_dir: Folder of the operational database, unless PREEMPT_DATABASE_URL says else.
        json: Print one JSON list.
    """
    settings = load_settings(data_dir=data_dir)
    from preempt.operational import build_rule_store

    store = build_rule_store(settings)
    events = store.history().events
    if version is not None:
        meant = store.resolve(version)
        events = tuple(event for event in events if event.version == meant)
    if json:
        emit(events, as_json=True, text="")
        return
    table = _table("when (UTC)", "version", "what", "by", "details")
    for event in events:
        table.add_row(
            _shown(event.at),
            event.version,
            event.kind.replace("_", " "),
            event.by,
            _details(event),
        )
    Console().print(table)


def rules_show(version: str, /, *, data_dir: Path | None = None, json: Json = False) -> None:
    """Print a version as a rules file, with what is known of it in comments above.

    For example:

        preempt rules show live > my-rules.toml
        preempt rules show 3f2a --json

    Args:
        version: Its first letters are enough; live and shadow are those.
        data_dir: Folder of the operational database, unless PREEMPT_DATABASE_URL says else.
        json: Print one JSON object: with its newest backtest against the live version.
    """
    settings = load_settings(data_dir=data_dir)
    from preempt.operational import build_rule_store

    store = build_rule_store(settings)
    found = store.rule_set(store.resolve(version))
    history = store.history()
    state = history.state(found.version)
    if json:
        result = store.backtest_result(found.version, history.live)
        backtest = None if result is None else msgspec.Raw(result.encode())
        whole = {**msgspec.structs.asdict(found), "state": state, "backtest": backtest}
        emit(whole, as_json=True, text="")
        return
    drafted = f", {_shown(found.created_at)} UTC" if found.created_at else ""
    about = f"{found.version}, {state}\nby {found.author}{drafted}"
    header = "\n".join(f"# {line}" for line in f"{about}\n{found.comment}".splitlines() if line)
    emit(None, as_json=False, text=f"{header}\n{found.content.rstrip()}")


def _table(*columns: str) -> Table:
    """Only the last column may be broken into lines."""
    table = Table(box=SIMPLE_HEAD)
    for column in columns:
        table.add_column(column, no_wrap=column != columns[-1])
    return table


def _details(event: "RuleEvent") -> str:
    if event.changed_share is not None:
        return f"against {event.against}: changes {event.changed_share:.2%} of decisions"
    if event.against is None:
        return event.comment
    return f"in place of {event.against}{event.comment and ': '}{event.comment}"


def _shown(at: int) -> str:
    """A time for people; nothing for what was never drafted by anybody."""
    return f"{datetime.fromtimestamp(at // 1000, UTC):%Y-%m-%d %H:%M:%S}" if at else ""
