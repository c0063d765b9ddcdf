"""Rules: what people know about risk, as data, matched against a chunk of orders in one pass."""

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
import polars as pl
from msgspec import Meta

from features.feature_set import ATTRIBUTE_PREFIX, FeatureSet
from orders.errors import UserError
from orders.events import Order
from serving.conditions import ConditionError, parse_condition

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


_TEXT_FIELDS = (
    "order_id",
    "account",
    "phone",
    "recipient",
    "channel",
    "device",
    "ip",
    "user_agent",
    "merchant",
    "sku",
    "category",
    "currency",
    "address",
    "payment_method",
    "payment",
    "coupon",
)
_NUMBER_FIELDS = ("member_level", "quantity", "unit_price", "list_price")
_TIME_FIELDS = ("event_time", "account_created_time")
_TIME = pl.Datetime("ms", "UTC")

Column = Callable[[np.ndarray, Sequence[Order], np.ndarray | None], pl.Series]


class RuleMatcher:
    """The enabled rules, compiled against the features that a shop has.

    Raises:
        UserError: when a condition cannot be used; it names the rule and what is wrong.
    """

    def __init__(self, rules: Sequence[Rule], feature_set: FeatureSet) -> None:
        self.rules = tuple(rule for rule in rules if rule.enabled)
        sources = _columns(feature_set)
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


def _columns(feature_set: FeatureSet) -> dict[str, tuple[pl.DataType, Column]]:
    """Every column that a condition may read: its type and how to get it for a chunk."""
    columns: dict[str, tuple[pl.DataType, Column]] = {}
    for name in _TEXT_FIELDS:
        columns[name] = pl.String(), _order_field(name, pl.String())
    for name in _NUMBER_FIELDS:
        columns[name] = pl.Float64(), _order_field(name, pl.Float64())
    for name in _TIME_FIELDS:
        columns[name] = _TIME, _order_field(name, pl.Int64(), _TIME)
    for index, feature in enumerate(feature_set.features):
        name = feature.name
        if name not in feature_set.categorical:
            columns[name] = _feature(index, flag=feature.unit == "flag")
        elif name not in columns:  # the matrix has hashes of texts; rules read the texts
            columns[name] = pl.String(), _attribute(name.removeprefix(ATTRIBUTE_PREFIX))
    columns[MODEL_PROBABILITY] = pl.Float64(), _probability
    return columns


def _feature(index: int, *, flag: bool) -> tuple[pl.DataType, Column]:
    # NaN means unknown, and Polars holds NaN to be above every number: rules must see null.
    if flag:
        return (
            pl.Boolean(),
            lambda vectors, _orders, _probability: (
                pl.Series(np.ascontiguousarray(vectors[:, index]), nan_to_null=True) != 0
            ),
        )
    return pl.Float64(), lambda vectors, _orders, _probability: pl.Series(
        np.ascontiguousarray(vectors[:, index]), nan_to_null=True
    )


def _order_field(name: str, dtype: pl.DataType, shown_as: pl.DataType | None = None) -> Column:
    def column(_vectors: Any, orders: Sequence[Order], _probability: Any) -> pl.Series:
        series = pl.Series([getattr(order, name) for order in orders], dtype=dtype, strict=False)
        return series if shown_as is None else series.cast(shown_as)

    return column


def _attribute(name: str) -> Column:
    def column(_vectors: Any, orders: Sequence[Order], _probability: Any) -> pl.Series:
        cells = [(order.attributes or {}).get(name) for order in orders]
        return pl.Series([c if isinstance(c, str) else None for c in cells], dtype=pl.String)

    return column


def _probability(
    _vectors: Any, orders: Sequence[Order], probability: np.ndarray | None
) -> pl.Series:
    if probability is None:
        return pl.Series([None] * len(orders), dtype=pl.Float64)
    return pl.Series(probability, nan_to_null=True)
