"""Rules matched against a chunk of orders in one vectorised pass."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import numpy as np
import polars as pl

from features.feature_set import FeatureSet
from orders.errors import UserError
from orders.events import Order
from serving.condition_text import ConditionError, ListRead
from serving.conditions import Condition, parse_condition
from serving.lists import EntityLists
from serving.rule_columns import rule_columns, series_of
from serving.rule_program import RuleProgram, Values
from serving.rules import Rule

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


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
        counted: (n, R) bool: hits that are not snoozed.
        columns: what the rules read, n cells each; see `serving.rule_program.Values`.
        failed: by name the rules that could not be evaluated, and why; they match no order.
    """

    hits: np.ndarray
    snoozed: np.ndarray
    counted: np.ndarray
    columns: Mapping[str, Values]
    failed: Mapping[str, str]


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
        self.columns: list[str] = sorted({c for each in self.conditions for c in each.columns})
        self.lists: list[ListRead] = sorted(
            {read for each in self.conditions for read in each.lists}
        )
        self._sources = [(name, sources[name][1]) for name in self.columns]
        self._numbers = {rule.name: number for number, rule in enumerate(self.rules)}
        self._dtypes = {name: self.schema[name] for name in self.columns}
        self._dtypes |= {read.column: pl.Boolean() for read in self.lists}
        self._program = RuleProgram([each.expression for each in self.conditions], self._dtypes)

    def match(self, chunk: RuleInput) -> Matched:
        """Which rules match which orders."""
        n = len(chunk.orders)
        if not n or not self.rules:
            nothing = np.zeros((n, len(self.rules)), np.bool_)
            return Matched(nothing, nothing, nothing, {}, {})
        # Only what some rule reads becomes a column.
        columns: dict[str, Values] = {
            name: column(chunk.vectors, chunk.orders, chunk.probability)
            for name, column in self._sources
        }
        at = chunk.time if self.lists or chunk.lists.snoozes else np.empty(0, np.int64)
        for read in self.lists:
            columns[read.column] = chunk.lists.hold(read.name, read.entity, chunk.keys, at)
        hits, failed = self._program.run(columns, lambda: self._frame(columns), n)
        snoozed = self._snoozed(hits, chunk, at)
        return Matched(
            hits,
            snoozed,
            hits & ~snoozed if chunk.lists.snoozes else hits,
            columns,
            {self.rules[number].name: why for number, why in failed.items()},
        )

    def match_frame(self, cells: pl.DataFrame) -> np.ndarray:
        """(n, R) bool, from a frame with `columns` and the columns of `lists`, by Polars alone.

        For millions of orders at once; `match` says the same, and is faster for thousands.
        """
        return cells.select(
            condition.expression.alias(rule.name)
            for rule, condition in zip(self.rules, self.conditions, strict=True)
        ).to_numpy()

    def cell(self, matched: Matched, order: int, column: str) -> float | str | bool | None:
        """What the rules read of an order; a time in ISO 8601; None where unknown."""
        cell = matched.columns[column][order]
        if cell is None or isinstance(cell, str):
            return cell
        if np.isnan(cell):
            return None
        dtype = self._dtypes[column]
        if dtype == pl.Boolean():
            return bool(cell)
        if dtype == pl.Float64():
            return float(cell)
        return (_EPOCH + timedelta(milliseconds=int(cell))).isoformat()

    def _frame(self, columns: Mapping[str, Values]) -> pl.DataFrame:
        return pl.DataFrame(
            [
                series_of(name, self._dtypes[name], columns[name])
                for name in self._program.polars_columns
            ]
        )

    def _snoozed(self, hits: np.ndarray, chunk: RuleInput, at: np.ndarray) -> np.ndarray:
        snoozed = np.zeros(hits.shape, np.bool_)
        for name, entries in chunk.lists.snoozes.items():
            number = self._numbers.get(name)
            if number is not None and hits[:, number].any():
                snoozed[:, number] = hits[:, number] & entries.hold(chunk.keys, at)
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
