"""Rules on the orders of the past: what each matches, how often rightly, and what hangs on it alone."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import polars as pl

from models.intervals import wilson
from serving.backtest_result import Precision, RuleResult, Share
from serving.policy_on_history import HistoricVerdicts, PolicyOnHistory
from serving.rules import Rule
from serving.tiers import FREEZE, PASS


class Observed(NamedTuple):
    """What is known of n orders besides their vectors.

    Attributes:
        amount: (n,) int64, minor units.
        currency: (n,) strings.
        before: (n,) intp, tiers.
        decided: (n,) intp, tiers that were acted on.
        propensity: (n,) float64.
        labels: by target, (n,) int8: 1, 0, or -1 where not known or not mature.
    """

    amount: np.ndarray
    currency: pl.Series
    before: np.ndarray
    decided: np.ndarray
    propensity: np.ndarray
    labels: dict[str, np.ndarray]


class _Labels:
    """Sums of the labels of a rule's matches by one target."""

    def __init__(self) -> None:
        self.ones = self.zeros = self.unknown = 0
        self.weight = self.weight_of_ones = self.weight_squared = 0.0
        self.explored = False

    def add(self, label: np.ndarray, let_through: np.ndarray, propensity: np.ndarray) -> None:
        self.ones += int((label == 1).sum())
        self.zeros += int((label == 0).sum())
        self.unknown += int((label < 0).sum())
        seen = let_through & (label >= 0)
        weight = 1 / propensity[seen]
        self.weight += float(weight.sum())
        self.weight_squared += float((weight**2).sum())
        self.weight_of_ones += float(weight[label[seen] == 1].sum())
        self.explored |= bool((weight > 1).any())

    def precision(self, target: str) -> Precision:
        unselected = None
        if self.explored:
            effective = self.weight**2 / self.weight_squared
            unselected = share_of(self.weight_of_ones / self.weight * effective, effective)
        return Precision(
            target=target,
            ones=self.ones,
            zeros=self.zeros,
            unknown=self.unknown,
            precision=share_of(self.ones, self.ones + self.zeros),
            unselected=unselected,
        )


def share_of(ones: float, n: float) -> Share | None:
    """A share with its interval; None of nothing."""
    if n == 0:
        return None
    low, high = wilson(np.array([ones / n]), np.array([float(n)]))
    return Share(share=ones / n, low=float(low[0]), high=float(high[0]), n=n)


class _Tally:
    """Sums over the matches of one rule."""

    def __init__(self, rule: Rule, targets: Sequence[str]) -> None:
        self.rule = rule
        self.matches = self.stopped = self.alone = self.newly_stopped = self.newly_passed = 0
        self.amount: dict[str, int] = {}
        self.amount_alone: dict[str, int] = {}
        self.labels = {target: _Labels() for target in rule.targets if target in targets}

    def add(self, rows: np.ndarray, alone: np.ndarray, after: np.ndarray, seen: Observed) -> None:
        self.matches += len(rows)
        self.alone += len(alone)
        passed_before, passes = seen.before[rows] == PASS, after[rows] == PASS
        self.stopped += int((~passes).sum())
        self.newly_stopped += int((passed_before & ~passes).sum())
        self.newly_passed += int((~passed_before & passes).sum())
        _add_amounts(self.amount, rows, seen)
        _add_amounts(self.amount_alone, alone, seen)
        for target, labels in self.labels.items():
            labels.add(
                seen.labels[target][rows], seen.decided[rows] < FREEZE, seen.propensity[rows]
            )

    def result(self) -> RuleResult:
        return RuleResult(
            name=self.rule.name,
            title=self.rule.title,
            title_zh=self.rule.title_zh,
            side=self.rule.side,
            matches=self.matches,
            stopped=self.stopped,
            alone=self.alone,
            newly_stopped=self.newly_stopped,
            newly_passed=self.newly_passed,
            amount=self.amount,
            amount_alone=self.amount_alone,
            precision=[labels.precision(target) for target, labels in self.labels.items()],
        )


class RuleTallies:
    """Sums over the matches of all rules of a policy, and of each pair of them."""

    def __init__(self, policy: PolicyOnHistory, targets: Sequence[str]) -> None:
        self._policy = policy
        self._tallies = [_Tally(rule, targets) for rule in policy.rules]
        self._pairs = np.zeros((len(policy.rules), len(policy.rules)))

    def add(self, judged: HistoricVerdicts, seen: Observed) -> None:
        """Take a block."""
        hits, after = judged.counted, judged.verdicts.tier
        for number, tally in enumerate(self._tallies):
            rows = np.flatnonzero(hits[:, number])
            allows = tally.rule.side == "allow"
            decided = rows[(after[rows] == PASS) == allows]
            without = self._policy.tier_without(judged, decided, [number])
            alone = decided[(without == PASS) != allows]
            tally.add(rows, alone, after, seen)
        several = hits[hits.sum(axis=1) > 1].astype(np.float32)
        self._pairs += several.T @ several

    def results(self) -> list[RuleResult]:
        """What each rule did."""
        return [tally.result() for tally in self._tallies]

    def overlap(self) -> list[list[float]]:
        """Jaccard index of each pair; 1 of a rule with itself."""
        matches = np.array([float(tally.matches) for tally in self._tallies])
        pairs = self._pairs.copy()
        np.fill_diagonal(pairs, matches)
        either = matches[:, None] + matches - pairs
        return np.divide(pairs, either, out=np.zeros_like(pairs), where=either > 0).tolist()


def _add_amounts(sums: dict[str, int], rows: np.ndarray, seen: Observed) -> None:
    if not len(rows):
        return
    found = pl.DataFrame({"currency": seen.currency.gather(rows), "amount": seen.amount[rows]})
    for currency, amount in found.group_by("currency").agg(pl.col("amount").sum()).iter_rows():
        sums[currency] = sums.get(currency, 0) + amount
