"""A policy compiled against a feature set, ready to judge chunks: the live one, or a shadow."""

from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np

from features.feature_set import FeatureSet
from orders.events import Order
from serving.circuit_breaker import Part
from serving.decisions import Action, Reason
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
        self.hard_codes = {f"rule:{r.name}" for r in self.matcher.rules if r.action is not None}
        self._weights: Weights = weights_of(self.matcher.rules)
        self._tiers = TierTables(policy.tiers, policy.tiers_for)
        rules = self.matcher.rules
        self._stopping = np.array([rule.side != "allow" for rule in rules], np.bool_)
        self._numbers = {f"rule:{rule.name}": number for number, rule in enumerate(rules)}
        self.reasons = [
            Reason(
                code=f"rule:{rule.name}",
                points=rule.points,
                text=rule.title,
                text_zh=rule.title_zh,
            )
            for rule in rules
        ]
        """Of each enabled rule."""

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

    def parts(self, judged: Judged, order: int, without: Collection[str] = ()) -> list[Part]:
        """What adds to a stop of the order, and its tier without each.

        Args:
            judged: what the policy says.
            order: its number.
            without: keys that count no more.
        """
        counted, model_points = self._what_counts(judged, order, without)
        rules = np.flatnonzero(counted & self._stopping).tolist()
        keys = [f"rule:{self.matcher.rules[rule].name}" for rule in rules]
        matched = np.repeat(counted[None], len(keys) + 1, axis=0)
        matched[np.arange(len(keys)), rules] = False
        of_model = np.full(len(keys) + 1, model_points)
        of_model[-1] = 0.0
        tiers = self._tiers_of(judged, order, matched, of_model)
        if model_points > 0:
            keys.append(MODEL)
        return list(map(Part, keys, tiers))

    def tier_without(self, judged: Judged, order: int, keys: Collection[str]) -> int:
        """The tier of an order if some of its `parts` did not count."""
        counted, model_points = self._what_counts(judged, order, keys)
        return self._tiers_of(judged, order, counted[None], np.array([model_points]))[0]

    def _what_counts(
        self, judged: Judged, order: int, without: Collection[str]
    ) -> tuple[np.ndarray, float]:
        """(R,) bool, the rules that count for an order; the model's points."""
        counted = judged.matched.counted[order].copy()
        counted[[self._numbers[key] for key in without if key in self._numbers]] = False
        return counted, 0.0 if MODEL in without else judged.verdicts.model_points[order]

    def _tiers_of(
        self, judged: Judged, order: int, matched: np.ndarray, model_points: np.ndarray
    ) -> list[int]:
        """The tier of an order by each row of what might have matched."""
        member_level = np.full(len(matched), judged.member_level[order])
        starts = self._tiers.starts[judged.table[order]]
        return self.policy.judge(
            matched, self._weights, model_points, member_level, starts
        ).tier.tolist()

    def values_read(
        self, judged: Judged, order: int, rule: int
    ) -> dict[str, float | str | bool | None]:
        """What the condition of a rule read of an order; times in ISO 8601."""
        condition = self.matcher.conditions[rule]
        names = [*sorted(condition.columns), *sorted(read.column for read in condition.lists)]
        return {name: self.matcher.cell(judged.matched, order, name) for name in names}


def _member_level(orders: Sequence[Order]) -> np.ndarray:
    levels = [np.nan if order.member_level is None else order.member_level for order in orders]
    return np.array(levels, dtype=np.float64)
