"""Everything that is wrong or odd about a rule file, found at once, each with its place."""

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any, Literal

import msgspec

from features.feature_set import FeatureSet
from orders.errors import UserError
from serving.policy import PARTS, Policy, default_text, read_content
from serving.rule_matcher import RuleMatcher
from serving.rules import Rule, read_rules

Severity = Literal["error", "warning"]

_LONG_TEXT = re.compile(r'"""(?:\\.|[^\\])*?"""|' + r"'''.*?'''", re.S)
_RULES_HEADER = re.compile(r"^\s*\[\[\s*rules\s*\]\]")


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is wrong (`error`: the file cannot be used) or odd (`warning`)."""

    severity: Severity
    text: str
    line: int | None = None  # of the file, from 1: where the rule begins; None: no one place
    rule: str | None = None


def lint(
    text: str,
    feature_set: FeatureSet,
    *,
    now: int,
    known_lists: Collection[str] | None = None,
) -> list[Finding]:
    """Check a rule file.

    Args:
        text: TOML.
        feature_set: what conditions may read.
        now: UTC milliseconds, to tell which terms are over.
        known_lists: names of the lists that people have made; None: they are not known, and no rule
            is said to read a missing one.

    Returns:
        Errors and warnings, in the sequence of the file; no error means that the file can be used.
    """
    try:
        content = read_content(text, "")
    except UserError as error:
        return [_error(_bare(error))]
    findings = list(_broken_parts(content))
    tables = content.get("rules", [])
    if isinstance(tables, list):
        findings += _Rules(text, feature_set, now, known_lists).check(tables)
    return findings


def _broken_parts(content: Mapping[str, Any]) -> Iterator[Finding]:
    """Errors outside of the rules; each part is tried among those of the default policy."""
    default = {**read_content(default_text(), ""), "rules": []}
    for part in PARTS:
        tried = {**default, part: content.get(part, [])}
        if part not in content:
            tried = {name: value for name, value in default.items() if name != part}
        elif part == "rules" and isinstance(content[part], list):
            continue
        try:
            Policy.of_content(tried, "")
        except UserError as error:
            yield _error(_bare(error))


class _Rules:
    def __init__(
        self,
        text: str,
        feature_set: FeatureSet,
        now: int,
        known_lists: Collection[str] | None,
    ) -> None:
        self._feature_set = feature_set
        self._now = now
        self._known_lists = known_lists
        shown = _LONG_TEXT.sub(lambda match: "\n" * match[0].count("\n"), text)
        lines = enumerate(shown.splitlines(), start=1)
        self._lines = [number for number, line in lines if _RULES_HEADER.match(line)]
        self._names: dict[str, int | None] = {}
        self._conditions: dict[str, str] = {}

    def check(self, tables: list[Any]) -> Iterator[Finding]:
        for index, table in enumerate(tables):
            # Rules written as an inline array have no line of their own.
            line = self._lines[index] if len(self._lines) == len(tables) else None
            try:
                (rule,) = read_rules([table], "")
            except UserError as error:
                name = table.get("name") if isinstance(table, Mapping) else None
                named = name if isinstance(name, str) else None
                text = _bare(error).replace("rule number 1:", f"rule number {index + 1}:", 1)
                yield _error(text, line, named)
                continue
            if rule.name in self._names:
                first = self._names[rule.name]
                where = f" in line {first}" if first else ""
                text = f"rule {rule.name}: another rule{where} has this name; rename one"
                yield _error(text, line, rule.name)
            self._names.setdefault(rule.name, line)
            for finding in self._about(rule):
                yield msgspec.structs.replace(finding, line=line, rule=rule.name)

    def _about(self, rule: Rule) -> Iterator[Finding]:
        def odd(text: str) -> Finding:
            return Finding(severity="warning", text=f"rule {rule.name}: {text}")

        if not rule.enabled:
            yield odd("it is disabled")
        if rule.valid_until is not None and rule.valid_until.timestamp() * 1000 <= self._now:
            yield odd(f"its term is over since {rule.valid_until.isoformat()}")
        if not rule.overridable and rule.action is None:
            yield odd(
                "overridable = false, with points only: it closes the fast lane and allowing "
                "rules for every order that it matches, though its points alone may stop none"
            )
        try:
            matcher = RuleMatcher([msgspec.structs.replace(rule, enabled=True)], self._feature_set)
        except UserError as error:
            if rule.enabled:
                yield _error(str(error))
            else:
                yield odd(f"it could not be enabled: {_bare(error, f'rule {rule.name}:')}")
            return
        if self._known_lists is not None:
            missing = sorted({read.name for read in matcher.lists} - set(self._known_lists))
            for name in missing:
                yield odd(f"nobody has made the list {name!r}, so nothing is on it")
        asked = matcher.conditions[0].expression.meta.serialize(format="json")
        if asked in self._conditions:
            yield odd(f"rule {self._conditions[asked]} has the same condition")
        self._conditions.setdefault(asked, rule.name)


def _error(text: str, line: int | None = None, rule: str | None = None) -> Finding:
    # A condition may have several lines; a finding has one.
    return Finding(severity="error", text=" ".join(text.split()), line=line, rule=rule)


def _bare(error: UserError, prefix: str = "") -> str:
    """A message without the source, or the rule, that it begins with."""
    return str(error).removeprefix(prefix).removeprefix(":").strip()
