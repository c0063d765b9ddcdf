"""A policy compiled against a feature set, ready to judge chunks: the live one, or a shadow."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from features.feature_set import FeatureSet
from orders.events import Order
from serving.circuit_breaker import Part
from serving.decisions import Action
from serving.policy import Policy, Verdicts, Weights, weights_of
from serving.rule_matcher import Matched, RuleInput, RuleMatcher
from serving.tiers import TierTables

MODEL = "model"


class Judged(NamedTuple):
    """What a policy says about n orders."""

    matched: Matched
    verdicts: Verdicts
    table: np.ndarray  # (n,) intp, which table of tiers each order has
    member_level: np.ndarray  # (n,) float64


class PreparedPolicy:
    """A policy that can judge.

    Args:
        policy: as published.
        feature_set: what vectors hold.

    Raises:
        UserError: a rule cannot be used with these features.
    """

    def __init__(self, policy: Policy, feature_set: FeatureSet) -> None:
        self.policy = policy
        self.version = policy.version
        self.matcher = RuleMatcher(policy.rules, feature_set)
        self._weights: Weights = weights_of(self.matcher.rules)
        self._tiers = TierTables(policy.tiers, policy.tiers_for)

    def judge(self, chunk: RuleInput, model_points: np.ndarray | None) -> Judged:
        """Judge a chunk: a pure function of what is given."""
        matched = self.matcher.match(chunk)
        table = self._tiers.of(chunk.orders)
        member_level = _member_level(chunk.orders)
        verdicts = self.policy.judge(
            matched.counted,
            self._weights,
            model_points,
            member_level,
            self._tiers.starts[table],
        )
        return Judged(matched, verdicts, table, member_level)

    def action(self, table: int, tier: int) -> Action:
        """What is done in a tier."""
        return self._tiers.tables[table].actions[tier]

    def notifies(self, table: int, tier: int) -> bool:
        """Whether a risk officer is told of an order in a tier."""
        return self._tiers.tables[table].notify[tier]

    def parts(self, judged: Judged, order: int) -> list[Part]:
        """What adds to a stop of the order, and its tier without each."""
        verdicts = judged.verdicts
        keys = [
            (f"rule:{self.matcher.rules[rule].name}", rule)
            for rule in np.flatnonzero(judged.matched.counted[order]).tolist()
            if self.matcher.rules[rule].side != "allow"
        ]
        parts = [Part(key, self._without(judged, order, [rule])) for key, rule in keys]
        if verdicts.model_points[order] > 0:
            parts.append(Part(MODEL, self._without(judged, order, [], model=False)))
        return parts

    def tier_without(self, judged: Judged, order: int, keys: Sequence[str]) -> int:
        """The tier of an order if some of its `parts` did not count."""
        numbers = {f"rule:{rule.name}": n for n, rule in enumerate(self.matcher.rules)}
        rules = [numbers[key] for key in keys if key in numbers]
        return self._without(judged, order, rules, model=MODEL not in keys)

    def _without(
        self, judged: Judged, order: int, rules: Sequence[int], *, model: bool = True
    ) -> int:
        row = slice(order, order + 1)
        counted = judged.matched.counted[row].copy()
        counted[:, list(rules)] = False
        points = judged.verdicts.model_points[row] * model
        verdicts = self.policy.judge(
            counted,
            self._weights,
            points,
            judged.member_level[row],
            self._tiers.starts[judged.table[row]],
        )
        return int(verdicts.tier[0])

    def values_read(
        self, judged: Judged, order: int, rule: int
    ) -> dict[str, float | str | bool | None]:
        """What the condition of a rule read of an order; times in ISO 8601."""
        condition = self.matcher.conditions[rule]
        names = [*sorted(condition.columns), *sorted(read.column for read in condition.lists)]
        return dict(_cells(names, judged.matched.cells.row(order, named=True)))


def _cells(names: Sequence[str], row: dict) -> Iterator[tuple[str, float | str | bool | None]]:
    for name in names:
        cell = row[name]
        yield name, cell.isoformat() if hasattr(cell, "isoformat") else cell


def _member_level(orders: Sequence[Order]) -> np.ndarray:
    levels = [np.nan if order.member_level is None else order.member_level for order in orders]
    return np.array(levels, dtype=np.float64)
