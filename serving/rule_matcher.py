"""Rules matched against a chunk of orders in one vectorised pass."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import polars as pl

from features.feature_set import FeatureSet
from orders.errors import UserError
from orders.events import Order
from serving.conditions import Condition, ConditionError, ListRead, parse_condition
from serving.lists import EntityLists
from serving.rule_columns import rule_columns
from serving.rules import Rule


class RuleInput(NamedTuple):
    """What rules see of n orders.

    Attributes:
        orders: the n orders.
        vectors: (n, F) float64, one row an order, NaN where a feature is unknown.
        keys: (n, len(ENTITIES)) uint64, as in `EventColumns.entity_key`.
        probability: (n,) float64, or None without a model.
        lists: what lists hold.
    """

    orders: Sequence[Order]
    vectors: np.ndarray
    keys: np.ndarray
    probability: np.ndarray | None = None
    lists: EntityLists = EntityLists()

    @property
    def time(self) -> np.ndarray:
        """(n,) int64, event times in UTC milliseconds."""
        return np.array([order.event_time for order in self.orders], np.int64)


class Matched(NamedTuple):
    """Which of R rules match which of n orders.

    Attributes:
        hits: (n, R) bool.
        snoozed: (n, R) bool: it matches and shall not count, for the value of an entity is snoozed.
        cells: what the rules read, one row an order; null where unknown.
    """

    hits: np.ndarray
    snoozed: np.ndarray
    cells: pl.DataFrame

    @property
    def counted(self) -> np.ndarray:
        """(n, R) bool: hits that are not snoozed."""
        return self.hits & ~self.snoozed


class RuleMatcher:
    """The enabled rules, compiled against the features that a shop has.

    Attributes:
        rules: the R enabled rules.
        conditions: theirs.

    Raises:
        UserError: when a condition cannot be used; it names the rule and what is wrong.
    """

    def __init__(self, rules: Sequence[Rule], feature_set: FeatureSet) -> None:
        self.rules = tuple(rule for rule in rules if rule.enabled)
        sources = rule_columns(feature_set)
        self.schema: Mapping[str, pl.DataType] = {
            name: dtype for name, (dtype, _) in sources.items()
        }
        self.conditions = tuple(_condition(rule, self.schema) for rule in self.rules)
        self._expressions = [
            condition.expression.alias(rule.name)
            for rule, condition in zip(self.rules, self.conditions, strict=True)
        ]
        self.columns: list[str] = sorted({c for each in self.conditions for c in each.columns})
        self.lists: list[ListRead] = sorted(
            {read for each in self.conditions for read in each.lists}
        )
        self._sources = [(name, sources[name][1]) for name in self.columns]

    def match(self, chunk: RuleInput) -> Matched:
        """Which rules match which orders."""
        shape = (len(chunk.orders), len(self.rules))
        if not all(shape):
            nothing = np.zeros(shape, np.bool_)
            return Matched(nothing, nothing, pl.DataFrame())
        # Only what some rule reads becomes a column: building columns costs more than rules do.
        cells = [
            column(chunk.vectors, chunk.orders, chunk.probability).alias(name)
            for name, column in self._sources
        ]
        at = chunk.time if self.lists or chunk.lists.snoozes else np.empty(0, np.int64)
        cells += [
            pl.Series(read.column, chunk.lists.hold(read.name, read.entity, chunk.keys, at))
            for read in self.lists
        ]
        frame = pl.DataFrame(cells)
        hits = self.match_frame(frame)
        return Matched(hits, self._snoozed(hits, chunk, at), frame)

    def match_frame(self, cells: pl.DataFrame) -> np.ndarray:
        """(n, R) bool, from a frame with `columns` and the columns of `lists`."""
        return cells.select(self._expressions).to_numpy()

    def _snoozed(self, hits: np.ndarray, chunk: RuleInput, at: np.ndarray) -> np.ndarray:
        snoozed = np.zeros(hits.shape, np.bool_)
        for number, rule in enumerate(self.rules):
            found = chunk.lists.snoozes.get(rule.name)
            if found is not None and hits[:, number].any():
                snoozed[:, number] = hits[:, number] & found.hold(chunk.keys, at)
        return snoozed


def _condition(rule: Rule, schema: Mapping[str, pl.DataType]) -> Condition:
    """The condition of a rule, where and while the rule holds."""
    try:
        condition = parse_condition(rule.when, schema)
    except ConditionError as error:
        raise UserError(f"rule {rule.name}: {error}, in: {rule.when[:120]}") from None
    expression, columns = condition.expression, set(condition.columns)
    for column, values in (("channel", rule.channels), ("merchant", rule.merchants)):
        if values:
            expression &= pl.col(column).is_in(values).fill_null(False)
            columns.add(column)
    time = pl.col("event_time")
    if rule.valid_from is not None:
        expression &= time >= rule.valid_from
    if rule.valid_until is not None:
        expression &= time < rule.valid_until
    if rule.valid_from is not None or rule.valid_until is not None:
        columns.add("event_time")
    return Condition(expression, frozenset(columns), condition.lists)
