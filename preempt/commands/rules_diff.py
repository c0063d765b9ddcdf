"""`preempt rules diff`: what differs between two versions."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from cyclopts import Parameter
from rich.console import Console
from rich.text import Text

from preempt.console import emit
from preempt.settings import load_settings

if TYPE_CHECKING:
    from serving.policy import Policy
    from serving.rule_diff import Difference
    from serving.rule_store import RuleStore

_SIGNS = {"added": ("+", "green"), "removed": ("-", "red"), "changed": ("~", "yellow")}


def rules_diff(
    before: str,
    after: str,
    /,
    *,
    data_dir: Path | None = None,
    json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> None:
    """Compare two versions: rules that were added, removed or changed, field by field, and the rest.

    For example:

        preempt rules diff live 3f2a
        preempt rules diff live my-rules.toml --json

    Args:
        before: A version by its first letters, live, shadow, or a file that ends with .toml.
        after: As before.
        data_dir: Folder of the operational database, unless PREEMPT_DATABASE_URL says else.
        json: Print one JSON object.
    """
    settings = load_settings(data_dir=data_dir)
    from preempt.operational import build_rule_store
    from serving.rule_diff import differences

    store = build_rule_store(settings)
    old, new = _policy(store, before), _policy(store, after)
    found = differences(old, new)
    if json:
        result = {"before": old.version, "after": new.version, "differences": found}
        emit(result, as_json=True, text="")
        return
    console = Console()
    console.print(f"{old.version} → {new.version}", style="bold", highlight=False)
    if not found:
        console.print("no difference")
    for difference in found:
        console.print(_line(difference), soft_wrap=True)


def _policy(store: "RuleStore", name: str) -> "Policy":
    from serving.policy import Policy

    return Policy.load(Path(name)) if name.endswith(".toml") else store.policy(store.resolve(name))


def _line(difference: "Difference") -> Text:
    sign, style = _SIGNS[difference.what]
    line = Text(f"{sign} {difference.where}", style)
    if difference.field is None:
        value = difference.after if difference.what == "added" else difference.before
        for name, cell in value.items():
            line.append(f"\n    {name} = {_cell(cell)}", style)
        return line
    line.append(f": {difference.field}  ", "default")
    line.append(_cell(difference.before), "red")
    line.append(" → ", "default")
    return line.append(_cell(difference.after), "green")


def _cell(value: Any) -> str:
    return "nothing" if value is None else msgspec.json.encode(value).decode()
