"""The scorer: orders in, decisions out, outcomes back into what we know."""

from collections.abc import Sequence

import msgspec
import numpy as np

from features.columns import event_columns_from_orders, event_columns_from_outcomes
from features.feature_set import FeatureSet
from features.state import FeatureState
from models.points import model_points
from models.risk_model import RiskModel
from orders.decision_table import TIERS
from orders.events import Order, Outcome
from serving.decisions import AsOf, Decision, Reason, feature_rows
from serving.ledger import DecisionLedger
from serving.policy import PASS, Policy, Verdicts
from serving.reasons import model_reasons, rule_reasons
from serving.rules import RuleMatcher


class Scorer:
    """Decides chunk by chunk: features, model, rules and policy, each in one vectorised pass.

    Args:
        feature_set: the features of `state`.
        state: what is known; the scorer is the only one that writes to it.
        model: None to decide by rules alone.
        policy: rules, tiers and fast lane.
        ledger: remembers decisions, so that an order that comes again gets the same one; None
            where orders are known to come once.

    Raises:
        SignatureMismatchError: the model was trained on another feature set.
        UserError: a rule cannot be used with these features.
    """

    def __init__(
        self,
        feature_set: FeatureSet,
        state: FeatureState,
        model: RiskModel | None,
        policy: Policy,
        ledger: DecisionLedger | None = None,
    ) -> None:
        if model is not None:
            model.signature.require(feature_set.hash, feature_set.names)
        self.feature_set = feature_set
        self.state = state
        self._unrecorded: dict[str, Decision] = {}  # the state holds their orders already
        self._model = model
        self._model_name = None if model is None else f"{model.name}/{model.version}"
        self._policy = policy
        self._matcher = RuleMatcher(policy.rules, feature_set)
        self._ledger = ledger

    def decide(
        self, orders: Sequence[Order], *, now: int, as_of: AsOf | None = None
    ) -> list[Decision]:
        """Decide on orders in their sequence; each one counts for those after it.

        An order id that comes twice is decided once, and both places get that decision.

        Args:
            orders: in the sequence in which they are to be applied, best by event time.
            now: UTC milliseconds, written into the decisions and read by nothing else.
            as_of: where the state stands, written into the decisions with their positions.

        Returns:
            One decision an order, in the sequence given.

        Raises:
            LedgerUnavailableError: before anything was changed when earlier decisions cannot be
                recalled; after the orders were applied when the decisions cannot be recorded.
                Either way the same call may be made again, and then decides the same.
            StateUnavailableError: the features cannot be had; the same call may be made again.
        """
        decided = self._recall(orders)
        fresh: dict[str, Order] = {}
        for order in orders:
            if order.order_id not in decided:
                fresh.setdefault(order.order_id, order)
        if decided:
            # A worker may have died between recording a decision and answering: then the state
            # that follows it has not seen the order. Where it has, this changes nothing.
            self.absorb([order for order in orders if order.order_id in decided])
        if fresh:
            unseen = [order for order in fresh.values() if order.order_id not in self._unrecorded]
            made = self._decide_fresh(unseen, now, as_of) if unseen else []
            self._unrecorded.update((decision.order_id, decision) for decision in made)
            decisions = [self._unrecorded[order_id] for order_id in fresh]
            if self._ledger is not None:
                self._ledger.record(decisions)
            self._unrecorded.clear()
            decided.update(zip(fresh, decisions, strict=True))
        return [decided[order.order_id] for order in orders]

    def learn(self, outcomes: Sequence[Outcome]) -> None:
        """Take outcomes in their sequence; they count for every order decided from then on.

        Raises:
            StateUnavailableError: the same call may be made again.
        """
        self.state.apply(event_columns_from_outcomes(outcomes))

    def absorb(self, orders: Sequence[Order]) -> None:
        """Take orders without deciding on them, to bring the state up to date again."""
        self.state.apply(event_columns_from_orders(orders, self.feature_set))

    def _recall(self, orders: Sequence[Order]) -> dict[str, Decision]:
        if self._ledger is None:
            return {}
        recalled = self._ledger.recall([order.order_id for order in orders])
        return {decision.order_id: decision for decision in recalled if decision is not None}

    def _decide_fresh(self, orders: list[Order], now: int, as_of: AsOf | None) -> list[Decision]:
        vectors = self.state.apply(event_columns_from_orders(orders, self.feature_set))
        turns = self.state.turns
        probability = points = None
        if self._model is not None:
            probability = self._model.predict(vectors)
            points = model_points(probability)
        matched = self._matcher.match(vectors, orders, probability)
        verdicts = self._policy.judge(matched, self._matcher.rules, points, _member_level(orders))
        rows = zip(
            orders,
            feature_rows(vectors),
            [None] * len(orders) if turns is None else [turn or None for turn in turns.tolist()],
            [None] * len(orders) if probability is None else probability.tolist(),
            *(column.tolist() for column in verdicts),
            self._reasons(orders, vectors, matched, verdicts),
            strict=True,
        )
        actions, feature_hash, rules = (
            self._policy.actions,
            self.feature_set.hash,
            self._policy.version,
        )
        return [
            Decision(
                order_id=order.order_id,
                event_time=int(order.event_time),
                decided_time=now,
                features=features,
                feature_hash=feature_hash,
                as_of=as_of and msgspec.structs.replace(as_of, position=position, turn=turn),
                probability=chance,
                rule_points=of_rules,
                model_points=of_model,
                points=total,
                tier=TIERS[tier],
                action=actions[tier],
                reasons=reasons,
                fast_lane=fast_lane,
                model=self._model_name,
                rules=rules,
            )
            for position, (
                order,
                features,
                turn,
                chance,
                of_rules,
                of_model,
                total,
                tier,
                fast_lane,
                reasons,
            ) in enumerate(rows)
        ]

    def _reasons(
        self, orders: list[Order], vectors: np.ndarray, matched: np.ndarray, verdicts: Verdicts
    ) -> list[list[Reason]]:
        reasons = rule_reasons(matched, self._matcher.rules)
        stopped = np.flatnonzero((verdicts.tier != PASS) & (verdicts.model_points > 0))
        if self._model is not None and len(stopped):
            # Contributions are for people: only orders that are stopped get them,
            # and of these only the ones that the model speaks against.
            of_model = model_reasons(
                self._model.contributions(vectors[stopped]),
                verdicts.model_points[stopped],
                vectors[stopped],
                [orders[index] for index in stopped],
                self.feature_set,
            )
            for index, more in zip(stopped.tolist(), of_model, strict=True):
                reasons[index] += more
        for several in reasons:
            if len(several) > 1:
                several.sort(key=lambda reason: -reason.points)
        return reasons


def _member_level(orders: Sequence[Order]) -> np.ndarray:
    levels = [np.nan if order.member_level is None else order.member_level for order in orders]
    return np.array(levels, dtype=np.float64)
