"""Rules matched against a chunk of orders in one vectorised pass."""

from collections.abc import Sequence

import numpy as np
import polars as pl

from features.feature_set import FeatureSet
from orders.errors import UserError
from orders.events import Order
from serving.conditions import ConditionError, parse_condition
from serving.rule_columns import rule_columns
from serving.rules import Rule


class RuleMatcher:
    """The enabled rules, compiled against the features that a shop has.

    Raises:
        UserError: when a condition cannot be used; it names the rule and what is wrong.
    """

    def __init__(self, rules: Sequence[Rule], feature_set: FeatureSet) -> None:
        self.rules = tuple(rule for rule in rules if rule.enabled)
        sources = rule_columns(feature_set)
        schema = {name: dtype for name, (dtype, _) in sources.items()}
        self._expressions: list[pl.Expr] = []
        read: set[str] = set()
        for rule in self.rules:
            try:
                condition = parse_condition(rule.when, schema)
            except ConditionError as error:
                raise UserError(f"rule {rule.name}: {error}, in: {rule.when[:120]}") from None
            self._expressions.append(condition.expression.alias(rule.name))
            read |= condition.columns
        self._columns = [(name, sources[name][1]) for name in sorted(read)]

    def match(
        self, vectors: np.ndarray, orders: Sequence[Order], probability: np.ndarray | None
    ) -> np.ndarray:
        """Which rule matches which order, (n, R) bool, the rules in the order of `rules`.

        Args:
            vectors: (n, F) float64, one row an order, NaN where a feature is unknown.
            orders: the n orders.
            probability: (n,) float64, or None without a model.
        """
        if not self.rules or not orders:
            return np.zeros((len(orders), len(self.rules)), dtype=bool)
        # Only what some rule reads becomes a column: building columns costs more than rules do.
        series = [
            column(vectors, orders, probability).alias(name) for name, column in self._columns
        ]
        return pl.DataFrame(series).select(self._expressions).to_numpy()
