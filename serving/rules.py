"""Rules: what people know about risk, as data."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from orders.errors import UserError

Side = Literal["block", "verify", "allow"]
HardAction = Literal["cancel", "freeze", "verify_call", "verify_sms", "accept"]

HARD_ACTIONS: dict[Side, tuple[HardAction, ...]] = {
    "block": ("cancel", "freeze"),
    "verify": ("verify_call", "verify_sms"),
    "allow": ("accept",),
}
"""What a rule of each side may do by itself."""

Text = Annotated[str, Meta(min_length=1, max_length=200)]
Words = Annotated[str, Meta(max_length=1000)]
Time = Annotated[datetime, Meta(tz=True)]
Key = Annotated[str, Meta(min_length=1, max_length=200)]


class Rule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """If `when` holds for an order, it adds its points, or decides by itself.

    `when` is a SQL expression over the features, the fields of the order, lists, and
    `model_probability`; see `serving.conditions` for what it may use.
    """

    name: Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
    title: Text
    title_zh: Text
    when: str
    side: Side = "block"
    points: Annotated[float, Meta(ge=-1000, le=1000)] = 0.0  # below 0 on the side of allow
    action: HardAction | None = None  # a hard rule: it decides whatever the points are
    overridable: bool = True  # False: neither the fast lane nor an allowing rule lifts it
    targets: tuple[Key, ...] = ("risk",)  # what it is judged by in a backtest
    channels: tuple[Key, ...] = ()  # where it holds; empty: everywhere
    merchants: tuple[Key, ...] = ()
    valid_from: Time | None = None  # by the event time of orders
    valid_until: Time | None = None  # that time excluded
    author: Words = ""
    reason: Words = ""  # why it is there
    enabled: bool = True

    def __post_init__(self) -> None:
        if (self.action is None) == (self.points == 0):
            raise ValueError("give either points other than 0, or an action")
        if round(self.points, 1) != self.points:
            raise ValueError("points have one decimal at most")
        if self.points and (self.points < 0) != (self.side == "allow"):
            wanted = "below 0" if self.side == "allow" else "above 0"
            raise ValueError(f"points must be {wanted} on the side {self.side!r}")
        if self.action is not None and self.action not in HARD_ACTIONS[self.side]:
            allowed = " or ".join(map(repr, HARD_ACTIONS[self.side]))
            raise ValueError(f"the action on the side {self.side!r} must be {allowed}")
        if self.side == "allow" and not self.overridable:
            raise ValueError("overridable = false is for rules that stop, not for those that allow")
        if self.valid_from and self.valid_until and self.valid_from >= self.valid_until:
            raise ValueError("valid_from must be before valid_until")


def read_rules(tables: Sequence[Mapping[str, Any]], source: str) -> tuple[Rule, ...]:
    """Rules from the `[[rules]]` of a rule file.

    Raises:
        UserError: names the rule and what is wrong with it.
    """
    rules: dict[str, Rule] = {}
    for number, table in enumerate(tables, start=1):
        named = isinstance(table, Mapping) and "name" in table
        name = str(table["name"])[:80] if named else f"number {number}"
        try:
            rule = msgspec.convert(table, Rule)
        except msgspec.ValidationError as error:
            raise UserError(f"{source}: rule {name}: {error}") from None
        if rule.name in rules:
            raise UserError(f"{source}: rule {rule.name}: another rule has this name; rename one")
        rules[rule.name] = rule
    return tuple(rules.values())
