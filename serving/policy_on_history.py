"""A policy that judges orders of the past, from columns of the archive instead of orders.

It says what the policy says by itself: nothing is explored, and no circuit breaker softens.
"""

import json
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import polars as pl

from features.declare import ENTITIES
from features.entities import ip_columns, keys_of_column, phone_columns
from features.feature_set import ATTRIBUTE_PREFIX, FeatureSet
from orders.tables import ORDER_SCHEMA
from serving.lists import ANY_ENTITY, EntityLists
from serving.policy import Policy, Verdicts, weights_of
from serving.rule_columns import MODEL_PROBABILITY
from serving.rule_matcher import RuleMatcher
from serving.tiers import TierTables

_CELLS = 4_000_000  # of a matrix of orders by rules: what is judged in one go
_OF_POLICY = frozenset({"member_level", "merchant", "channel"})
_ENTITY_FIELDS = {entity: "ip" if entity == "ip_prefix" else entity for entity in ENTITIES}


class HistoricVerdicts(NamedTuple):
    """What a policy says about n orders of the past.

    Attributes:
        counted: (n, R) bool, the enabled rules that count.
        verdicts: as the policy gives them.
        table: (n,) intp, which table of tiers each order has; 0 is the default one.
        starts: (n, 3) float64, where its tiers begin.
        model_points: (n,) float64.
        member_level: (n,) float64, NaN where unknown.
    """

    counted: np.ndarray
    verdicts: Verdicts
    table: np.ndarray
    starts: np.ndarray
    model_points: np.ndarray
    member_level: np.ndarray


class PolicyOnHistory:
    """A policy compiled for frames of the archive.

    Args:
        policy: what judges.
        feature_set: the features that there are.
        lists: what lists hold; an empty one holds nothing.

    Attributes:
        features: names of the features that it reads.
        of_decision: columns of decisions that it reads.
        of_order: columns of orders that it reads, `attributes` among them.
        empty_lists: lists that its rules read and that are not there.

    Raises:
        UserError: a rule cannot be used with these features.
    """

    def __init__(
        self, policy: Policy, feature_set: FeatureSet, lists: EntityLists | None = None
    ) -> None:
        self.policy = policy
        self.matcher = RuleMatcher(policy.rules, feature_set)
        self.rules = self.matcher.rules
        self.weights = weights_of(self.rules)
        self._tables = TierTables(policy.tiers, policy.tiers_for)
        self._lists = lists or EntityLists()
        self.empty_lists = sorted(
            {read.name for read in self.matcher.lists} - self._lists.lists.keys()
        )
        flags = {each.name for each in feature_set.features if each.unit == "flag"}
        read = set(self.matcher.columns)
        numeric = set(feature_set.names) - feature_set.categorical
        self.features = frozenset(read & numeric)
        self.flags = frozenset(read & flags)
        texts = read - numeric - {MODEL_PROBABILITY, "order_id", "event_time"}
        self._attributes = sorted(name for name in texts if name not in ORDER_SCHEMA)
        self._entities = self._entities_of_lists()
        self.of_order = frozenset(
            (texts & ORDER_SCHEMA.keys())
            | _OF_POLICY
            | {_ENTITY_FIELDS[entity] for entity in self._entities}
            | ({"attributes"} if self._attributes else set())
        )
        self.of_decision = frozenset(
            {"model_points", "probability", "event_time"} | (read & {"order_id"})
        )

    def judge(self, block: pl.DataFrame) -> HistoricVerdicts:
        """Judge the orders of a block of `DecisionHistory` that has the columns it reads."""
        counted = self._counted(self._cells(block))
        table = self._tables.of_columns(block["merchant"], block["channel"])
        starts = self._tables.starts[table]
        model_points = block["model_points"].fill_null(0.0).to_numpy()
        level = block["member_level"].cast(pl.Float64).to_numpy()
        verdicts = self.judge_counted(counted, model_points, level, starts)
        return HistoricVerdicts(counted, verdicts, table, starts, model_points, level)

    def judge_counted(
        self,
        counted: np.ndarray,
        model_points: np.ndarray,
        member_level: np.ndarray,
        starts: np.ndarray,
    ) -> Verdicts:
        """As `Policy.judge`, a slice at a time, so that many rules need no more memory."""
        step = max(_CELLS // max(counted.shape[1], 1), 1)
        parts = [
            self.policy.judge(
                counted[rows], self.weights, model_points[rows], member_level[rows], starts[rows]
            )
            for first in range(0, max(len(counted), 1), step)
            for rows in [slice(first, first + step)]
        ]
        return Verdicts(*map(np.concatenate, zip(*parts, strict=True)))

    def tier_without(
        self, judged: HistoricVerdicts, rows: np.ndarray, rules: Sequence[int]
    ) -> np.ndarray:
        """The tiers of some rows if some rules did not count."""
        counted = judged.counted[rows]
        counted[:, list(rules)] = False
        of_rows = (judged.model_points[rows], judged.member_level[rows], judged.starts[rows])
        return self.judge_counted(counted, *of_rows).tier

    def _cells(self, block: pl.DataFrame) -> pl.DataFrame:
        """The block with every column as rules read it; see `serving.rule_columns`."""
        schema = self.matcher.schema
        cells = []
        for name in self.matcher.columns:
            if name == MODEL_PROBABILITY:
                cell = pl.col("probability").fill_nan(None)
            elif name in self.flags:
                cell = pl.col(name).fill_nan(None) != 0
            elif name in self.features:
                cell = pl.col(name).fill_nan(None)
            elif name in self._attributes:
                cell = _text_attribute(name.removeprefix(ATTRIBUTE_PREFIX))
            else:
                cell = pl.col(name).cast(schema[name])
            cells.append(cell.alias(name))
        return block.with_columns(cells)

    def _counted(self, cells: pl.DataFrame) -> np.ndarray:
        shape = (len(cells), len(self.rules))
        if not all(shape):
            return np.zeros(shape, np.bool_)
        snoozes = [
            (number, self._lists.snoozes[rule.name])
            for number, rule in enumerate(self.rules)
            if rule.name in self._lists.snoozes
        ]
        keys = at = np.empty(0)
        if self._entities:
            keys = self._entity_keys(cells)
            at = cells["event_time"].dt.epoch("ms").to_numpy()
        held = [
            pl.Series(read.column, self._lists.hold(read.name, read.entity, keys, at))
            if read.name in self._lists.lists
            else pl.lit(False).alias(read.column)
            for read in self.matcher.lists
        ]
        hits = self.matcher.match_frame(cells.with_columns(held))
        for number, entries in snoozes:
            rows = np.flatnonzero(hits[:, number])
            hits[rows, number] = ~entries.hold(keys[rows], at[rows])
        return hits

    def _entities_of_lists(self) -> frozenset[str]:
        """Entities whose keys some list that holds anything, or a snooze, is looked up by."""
        if any(rule.name in self._lists.snoozes for rule in self.rules):
            return frozenset(ENTITIES)
        read = {each.entity for each in self.matcher.lists if each.name in self._lists.lists}
        return frozenset(ENTITIES) if ANY_ENTITY in read else frozenset(read)

    def _entity_keys(self, cells: pl.DataFrame) -> np.ndarray:
        """(n, len(ENTITIES)) uint64, 0 for entities that nobody asks for."""
        keys = np.zeros((len(cells), len(ENTITIES)), np.uint64)
        for column, entity in enumerate(ENTITIES):
            if entity in self._entities:
                texts = cells[_ENTITY_FIELDS[entity]]
                if entity == "phone":
                    keys[:, column] = phone_columns(texts)[0]
                elif entity in ("ip", "ip_prefix"):
                    keys[:, column] = ip_columns(texts)[int(entity == "ip_prefix")]
                else:
                    keys[:, column] = keys_of_column(entity, texts)
        return keys


def _text_attribute(name: str) -> pl.Expr:
    """A shop's own field as text from JSON; null where it is a number or yes/no, as in the stream."""
    quoted = json.dumps(name, ensure_ascii=False)
    is_text = pl.col("attributes").str.contains(f'{quoted}:"', literal=True)
    path = f"$[{quoted}]"
    return pl.when(is_text).then(pl.col("attributes").str.json_path_match(path))
