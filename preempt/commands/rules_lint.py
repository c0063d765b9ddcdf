"""`preempt rules lint`: what is wrong or odd about a rules file."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from rich.console import Console
from rich.text import Text

from orders.errors import UserError
from preempt.console import emit
from preempt.settings import Settings, load_settings

if TYPE_CHECKING:
    from features.feature_set import FeatureSet
    from serving.rule_lint import Finding


def rules_lint(
    file: Path,
    /,
    *,
    model: str | None = None,
    json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> None:
    """Check a rules file: all that is wrong or odd about it, one line each.

    Ends with 0 where the file can be used, warnings or not, and with 1 where it cannot.

    For example:

        preempt rules lint my-rules.toml
        preempt rules lint my-rules.toml --model risk --json

    Args:
        file: Rules in TOML.
        model: A model whose features, with the shop's own attributes, conditions may read, or none; default: PREEMPT_MODEL, else the declared features.
        json: Print one JSON object.
    """
    settings = load_settings(model=model)
    from serving.policy import Policy, read_text

    content = read_text(file)
    features, words = checked_features(settings)
    findings = findings_of(content, features, settings)
    broken = errors_of(findings)
    if json:
        version = None if broken else Policy.parse(content, str(file)).version
        result = {"file": str(file), "version": version, "findings": findings, "checked": words}
        emit(result, as_json=True, text="")
    else:
        show_findings(file, findings, Console())
    if broken:
        raise UserError(f"{file} cannot be used: {counted(broken, 'error')}, checked {words}")
    if not json:
        Console(stderr=True).print(f"{file} can be used; checked {words}.", soft_wrap=True)


def checked_features(settings: Settings) -> "tuple[FeatureSet, str]":
    """What conditions may read, and what to call it.

    Raises:
        UserError: a model is named and cannot be had.
    """
    # The default model need not exist yet, and looking for it takes seconds: only one that is named.
    if "model" not in settings.model_fields_set or settings.model == "none":
        from features.feature_set import feature_set

        return feature_set(), "against the declared features (--model NAME adds a shop's own)"
    from preempt.bootstrap import build_model, feature_set_of

    model = build_model(settings)
    assert model is not None  # it was not "none"
    return feature_set_of(model), f"against the features of the model {model.name}/{model.version}"


def findings_of(content: str, features: "FeatureSet", settings: Settings) -> "list[Finding]":
    """What is wrong or odd about rules, now; where there is a Redis, with the lists that it has.

    Raises:
        UserError: the Redis that is named does not answer.
    """
    from preempt.clock import wall_clock
    from serving.rule_lint import lint

    known = None
    if settings.redis_url is not None:
        from preempt.redis_stores import list_store

        known = list_store(settings).lists()
    return lint(content, features, now=wall_clock(), known_lists=known)


def errors_of(findings: "list[Finding]") -> int:
    """How many of them make the rules useless."""
    return sum(finding.severity == "error" for finding in findings)


def show_findings(file: Path, findings: "list[Finding]", console: Console) -> None:
    """One line each, as compilers write them."""
    for finding in findings:
        line = Text(f"{file}:{finding.line}: " if finding.line else f"{file}: ")
        style = "bold red" if finding.severity == "error" else "yellow"
        line.append(finding.severity, style)
        line.append(f": {finding.text}")
        console.print(line, soft_wrap=True)


def counted(number: int, what: str) -> str:
    """1 error, 2 errors."""
    return f"{number} {what}{'s' * (number != 1)}"
