"""Rules: what people know about risk, as data, matched against a chunk of orders in one pass."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from orders.errors import UserError

MODEL_PROBABILITY = "model_probability"


class Rule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """If `when` holds for an order, it adds its points, or decides by itself.

    `when` is a SQL expression over the features, the fields of the order and `model_probability`;
    see `serving.conditions` for what it may use.
    """

    name: Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
    title: Annotated[str, Meta(min_length=1, max_length=200)]
    title_zh: Annotated[str, Meta(min_length=1, max_length=200)]
    when: str
    points: Annotated[float, Meta(ge=-1000, le=1000)] = 0.0
    action: Literal["cancel"] | None = None  # a hard rule: it decides whatever the points are
    overridable: bool = True  # False: the fast lane does not lift it
    enabled: bool = True

    def __post_init__(self) -> None:
        if (self.action is None) == (self.points == 0):
            raise ValueError("give either points other than 0, or an action")


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
