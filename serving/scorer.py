"""The scorer: orders in, decisions out, outcomes back into what we know."""

from collections.abc import Mapping, Sequence

import msgspec
import numpy as np

from features.columns import event_columns_from_orders, event_columns_from_outcomes
from features.feature_set import FeatureSet
from features.state import FeatureState
from models.points import model_points
from models.risk_model import RiskModel
from orders.decision_table import TIERS
from orders.events import Order, Outcome
from serving.alerts import Alert, circuit_breaker_tripped, order_stopped, rule_failed
from serving.circuit_breaker import StopCounts
from serving.customer_words import CUSTOMER_WORDS
from serving.decisions import AsOf, Decision, Reason, ShadowVerdict, feature_rows
from serving.final_tiers import final_tiers
from serving.ledger import DecisionLedger
from serving.lists import EntityLists
from serving.policy import Policy
from serving.prepared_policy import Judged, PreparedPolicy
from serving.reasons import model_reasons, rule_reasons
from serving.rule_matcher import RuleInput
from serving.tiers import PASS


class Scorer:
    """Decides chunk by chunk: features, model, rules and policy, each in one vectorised pass.

    Args:
        feature_set: the features of `state`.
        state: what is known; the scorer is the only one that writes to it.
        model: None to decide by rules alone.
        policy: rules, tiers and fast lane.
        ledger: remembers decisions, so that an order that comes again gets the same one; None
            where orders are known to come once.
        guarded: whether the circuit breaker counts stops; False where history is decided again.

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
        *,
        guarded: bool = True,
    ) -> None:
        if model is not None:
            model.signature.require(feature_set.hash, feature_set.names)
        self.feature_set = feature_set
        self.state = state
        self._unrecorded: dict[str, Decision] = {}  # the state holds their orders already
        self._untold: list[Alert] = []  # of these
        self._model = model
        self._model_name = None if model is None else f"{model.name}/{model.version}"
        self._ledger = ledger
        self._lists = EntityLists()
        self._shadow: PreparedPolicy | None = None
        self._alerts: list[Alert] = []
        self._failed_in: dict[str, int] = {}  # by rule: the interval in which people were told last
        self._prepared = self.prepare(policy)
        self._stops = StopCounts(policy.circuit_breaker) if guarded else None

    def prepare(self, policy: Policy) -> PreparedPolicy:
        """A policy compiled for this scorer; changes nothing, and may be called from any thread.

        Raises:
            UserError: a rule cannot be used with these features.
        """
        return PreparedPolicy(policy, self.feature_set)

    def switch(self, prepared: PreparedPolicy) -> None:
        """Decide by another policy from now on; what the circuit breaker has counted stays."""
        if self._stops is not None:
            self._stops.breaker = prepared.policy.circuit_breaker
        self._prepared = prepared

    def switch_shadow(self, prepared: PreparedPolicy | None) -> None:
        """Write what another policy would say into the decisions from now on; None: no more."""
        self._shadow = prepared

    def switch_lists(self, lists: EntityLists) -> None:
        """Use these lists from now on."""
        self._lists = lists

    @property
    def rules_version(self) -> str:
        """The version of the policy that decides."""
        return self._prepared.version

    @property
    def lists_read(self) -> list[str]:
        """Names of the lists that the rules which decide read."""
        return sorted({read.name for read in self._prepared.matcher.lists})

    def tell(self, alert: Alert) -> None:
        """Add an alert to those that `take_alerts` gives."""
        self._alerts.append(alert)

    def take_alerts(self) -> list[Alert]:
        """The alerts since this was called last."""
        alerts, self._alerts = self._alerts, []
        return alerts

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
            made, stopped = self._decide_fresh(unseen, now, as_of) if unseen else ([], [])
            self._unrecorded.update((decision.order_id, decision) for decision in made)
            self._untold += stopped
            decisions = [self._unrecorded[order_id] for order_id in fresh]
            if self._ledger is not None:
                self._ledger.record(decisions)
            self._unrecorded.clear()
            self._alerts += self._untold
            self._untold = []
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

    def _decide_fresh(
        self, orders: list[Order], now: int, as_of: AsOf | None
    ) -> tuple[list[Decision], list[Alert]]:
        """Decisions, and the alerts that are due once they are recorded."""
        events = event_columns_from_orders(orders, self.feature_set)
        vectors = self.state.apply(events)
        turns = self.state.turns
        probability = points = None
        if self._model is not None:
            probability = self._model.predict(vectors)
            points = model_points(probability)
        chunk = RuleInput(orders, vectors, events.entity_key, probability, self._lists)
        prepared = self._prepared
        judged = prepared.judge(chunk, points)
        final = final_tiers(prepared, judged, orders, now, self._stops)
        rows = zip(
            orders,
            feature_rows(vectors),
            [None] * len(orders) if turns is None else [turn or None for turn in turns.tolist()],
            [None] * len(orders) if probability is None else probability.tolist(),
            *(column.tolist() for column in judged.verdicts[:3]),
            judged.verdicts.fast_lane.tolist(),
            judged.table.tolist(),
            final.tier,
            final.propensity,
            final.explored,
            final.softened_by,
            self._reasons(orders, vectors, prepared, judged),
            self._shadow_verdicts(chunk, points),
            strict=True,
        )
        decisions = [
            Decision(
                order_id=order.order_id,
                event_time=int(order.event_time),
                decided_time=now,
                features=features,
                feature_hash=self.feature_set.hash,
                as_of=as_of and msgspec.structs.replace(as_of, position=position, turn=turn),
                probability=chance,
                rule_points=of_rules,
                model_points=of_model,
                points=total,
                tier=TIERS[tier],
                action=prepared.action(table, tier),
                reasons=reasons,
                customer=None if tier == PASS else CUSTOMER_WORDS[prepared.action(table, tier)],
                fast_lane=fast_lane,
                model=self._model_name,
                rules=prepared.version,
                lists=chunk.lists.version,
                shadow=shadow,
                propensity=propensity,
                explored=explored,
                softened_by=softened_by,
            )
            for position, (
                order,
                features,
                turn,
                chance,
                of_rules,
                of_model,
                total,
                fast_lane,
                table,
                tier,
                propensity,
                explored,
                softened_by,
                reasons,
                shadow,
            ) in enumerate(rows)
        ]
        caps = prepared.policy.circuit_breaker
        self._alerts += [circuit_breaker_tripped(tripped, caps, now) for tripped in final.tripped]
        self._tell_of_failed(judged.matched.failed, now, caps.interval_s)
        stopped = [
            order_stopped(decision, now)
            for decision, table, tier in zip(
                decisions, judged.table.tolist(), final.tier, strict=True
            )
            if prepared.notifies(table, tier)
        ]
        return decisions, stopped

    def _tell_of_failed(self, failed: Mapping[str, str], now: int, interval_s: int) -> None:
        for name, why in failed.items():
            if self._failed_in.get(name) != now // (1000 * interval_s):
                self._failed_in[name] = now // (1000 * interval_s)
                self._alerts.append(rule_failed(name, why, now))

    def _shadow_verdicts(
        self, chunk: RuleInput, points: np.ndarray | None
    ) -> list[ShadowVerdict] | list[None]:
        shadow = self._shadow
        if shadow is None:
            return [None] * len(chunk.orders)
        verdicts = shadow.judge(chunk, points).verdicts
        return [
            ShadowVerdict(rules=shadow.version, points=total, tier=TIERS[tier])
            for total, tier in zip(verdicts.points.tolist(), verdicts.tier.tolist(), strict=True)
        ]

    def _reasons(
        self,
        orders: list[Order],
        vectors: np.ndarray,
        prepared: PreparedPolicy,
        judged: Judged,
    ) -> list[list[Reason]]:
        reasons = rule_reasons(judged, prepared)
        verdicts = judged.verdicts
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
        hard = prepared.hard_codes
        for several in reasons:
            if len(several) > 1:  # what decides by itself comes first, what does not count last
                several.sort(key=lambda r: (r.snoozed, r.code not in hard, -r.points))
        return reasons
