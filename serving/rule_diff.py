"""What differs between two policies, field by field."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import msgspec

from serving.policy import Policy
from serving.rules import Rule
from serving.tiers import Tiers, TiersFor


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """One field of one rule or part that is not the same; or a rule that only one policy has."""

    what: Literal["added", "removed", "changed"]
    where: str  # "rule device_burst", "tiers", "tiers_for merchant m1", "fast_lane", ...
    field: str | None = None  # of it, as in "sms.from"; None: all of it
    before: Any = None
    after: Any = None


def differences(before: Policy, after: Policy) -> list[Difference]:
    """What is not the same, rules first; nothing where both are one version."""
    rules = {rule.name: rule for rule in before.rules}, {rule.name: rule for rule in after.rules}
    parts = [_parts(before), _parts(after)]
    return [*_compared("rule ", *rules), *_compared("", *parts)]


def _parts(policy: Policy) -> dict[str, msgspec.Struct]:
    parts: dict[str, msgspec.Struct] = {"tiers": policy.tiers}
    for tiers in policy.tiers_for:
        # A merchant or channel has one table; how they are put together says nothing.
        for kind, keys in (("merchant", tiers.merchants), ("channel", tiers.channels)):
            parts |= {f"tiers_for {kind} {key}": _thresholds(tiers) for key in keys}
    for name in ("fast_lane", "exploration", "circuit_breaker"):
        parts[name] = getattr(policy, name)
    return parts


def _thresholds(tiers: TiersFor) -> Tiers:
    return Tiers(sms=tiers.sms, call=tiers.call, freeze=tiers.freeze)


def _compared(
    prefix: str, before: Mapping[str, msgspec.Struct], after: Mapping[str, msgspec.Struct]
) -> Iterator[Difference]:
    for name in dict.fromkeys([*before, *after]):
        where = prefix + name
        if name not in after:
            yield Difference(what="removed", where=where, before=_said(before[name]))
        elif name not in before:
            yield Difference(what="added", where=where, after=_said(after[name]))
        else:
            old, new = _fields(before[name]), _fields(after[name])
            for field in dict.fromkeys([*old, *new]):
                if old.get(field) != new.get(field):
                    yield Difference(
                        what="changed",
                        where=where,
                        field=field,
                        before=old.get(field),
                        after=new.get(field),
                    )


def _said(struct: msgspec.Struct) -> dict[str, Any]:
    """What is not as by default."""
    fields = _fields(struct)
    if not isinstance(struct, Rule):
        return fields
    default = _fields(Rule(name="x", title="x", title_zh="x", when="", points=1))
    return {name: value for name, value in fields.items() if default.get(name) != value}


def _fields(struct: msgspec.Struct) -> dict[str, Any]:
    """Its fields by dotted names, as in the file."""
    return dict(_flat("", msgspec.to_builtins(struct)))


def _flat(prefix: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _flat(f"{prefix}.{name}" if prefix else name, inner)
    elif isinstance(value, Sequence) and not isinstance(value, str):
        yield prefix, list(value)
    else:
        yield prefix, value
