"""Policies and orders for the tests of what is decided, without features or model."""

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from features.declare import ENTITIES
from features.feature_set import feature_set
from orders.decision_table import TIERS
from orders.events import Instant, Order
from serving.circuit_breaker import StopCounts
from serving.final_tiers import FinalTiers, final_tiers
from serving.lists import EntityLists
from serving.policy import Policy
from serving.prepared_policy import Judged, PreparedPolicy
from serving.rule_matcher import RuleInput
from serving.rules import Rule

NOW = 1_700_000_000_000
FEATURE_SET = feature_set()
DEFAULT = Policy.default()


def rule(name: str, when: str = "currency = 'CNY'", **fields: Any) -> Rule:
    """A rule that matches every order, unless something else is said."""
    return Rule(name=name, title=f"Title of {name}", title_zh="标题", when=when, **fields)


def policy(*rules: Rule, **parts: Any) -> Policy:
    """The default policy with these rules."""
    return msgspec.structs.replace(DEFAULT, rules=rules, **parts)


def prepared(*rules: Rule, **parts: Any) -> PreparedPolicy:
    """The same, compiled."""
    return PreparedPolicy(policy(*rules, **parts), FEATURE_SET)


def order(number: int = 0, **fields: Any) -> Order:
    """An honest order."""
    known: dict[str, Any] = {
        "order_id": f"order-{number}",
        "event_time": Instant(NOW + number),
        "quantity": 1,
        "unit_price": 9_900,
        "currency": "CNY",
        "category": "clothes",
        "channel": "own",
        "merchant": "m1",
    }
    return Order(**{**known, **fields})


def chunk(orders: Sequence[Order], lists: EntityLists | None = None) -> RuleInput:
    """Orders of which no feature is known."""
    vectors = np.full((len(orders), len(FEATURE_SET.names)), np.nan)
    keys = np.zeros((len(orders), len(ENTITIES)), np.uint64)
    return RuleInput(orders, vectors, keys, None, lists or EntityLists())


def judge(
    by: PreparedPolicy, orders: Sequence[Order], model_points: np.ndarray | None = None
) -> Judged:
    """What the policy says of orders."""
    return by.judge(chunk(orders), model_points)


def tiers(by: PreparedPolicy, *orders: Order, model: float | None = None) -> list[str]:
    """Their tiers, before exploration and circuit breaker."""
    points = None if model is None else np.full(len(orders), model)
    return [TIERS[tier] for tier in judge(by, orders, points).verdicts.tier]


def final(
    by: PreparedPolicy,
    orders: Sequence[Order],
    stops: StopCounts | None = None,
    now: int = NOW,
    model: float | None = None,
) -> FinalTiers:
    """What is done with orders."""
    points = None if model is None else np.full(len(orders), model)
    return final_tiers(by, judge(by, orders, points), orders, now, stops)
