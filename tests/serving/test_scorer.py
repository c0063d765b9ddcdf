from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import lightgbm as lgb
import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.feature_set import FeatureSet, feature_set
from features.memory import InMemoryState
from models.calibration import Platt
from models.risk_model import ModelCard, RiskModel, trees_hash
from models.signature import Signature, SignatureMismatchError
from orders.errors import UserError
from orders.events import Instant, Order, Outcome
from serving.decisions import Decision, decision_encoder
from serving.ledger import InMemoryLedger, LedgerUnavailableError
from serving.policy import Policy
from serving.rules import Rule
from serving.scorer import Scorer
from serving.words import MODEL_WORDS, words

NOW = 1_700_000_000_000
FEATURE_SET = feature_set()
POLICY = Policy.default()


def order(number: int, **fields: Any) -> Order:
    known: dict[str, Any] = {
        "order_id": f"order-{number}",
        "event_time": Instant(NOW + number * 1000),
        "account": f"account {number % 3}",
        "device": f"device {number % 2}",
        "phone": "17012345678" if number % 4 == 0 else "13812345678",
        "address": f"address {number % 5}",
        "channel": "own" if number % 2 else "douyin",
        "quantity": 1 + number % 3,
        "unit_price": 9_900,
        "currency": "CNY",
    }
    return Order(**{**known, **fields})


ORDERS = [order(number) for number in range(40)]


def served_vectors(decisions: Sequence[Decision]) -> np.ndarray:
    return np.array([decision.features for decision in decisions], dtype=np.float64)


def trained_model(features: FeatureSet) -> RiskModel:
    """Trees that hold bursts of a device to be risky."""
    rules_alone = Scorer(features, InMemoryState(features), None, POLICY)
    vectors = np.vstack([served_vectors(rules_alone.decide(ORDERS, now=NOW))] * 10)
    burst = vectors[:, features.names.index("device_orders_5m")]
    label = (burst > 5).astype(float)
    return grown(features, vectors, label, trees=20)


def constant_model(features: FeatureSet, *, probability: float) -> RiskModel:
    """One tree without a split: every order is as likely to be risky."""
    label = (np.arange(1_000) < 1_000 * probability).astype(float)
    return grown(features, np.zeros((1_000, len(features.names))), label, trees=1)


def grown(features: FeatureSet, vectors: np.ndarray, label: np.ndarray, *, trees: int) -> RiskModel:
    data = lgb.Dataset(vectors, label, feature_name=list(features.names))
    parameters = {"objective": "binary", "num_threads": 1, "verbosity": -1, "min_data_in_leaf": 5}
    text = lgb.train(parameters, data, num_boost_round=trees).model_to_string()
    card = ModelCard(
        name="risk",
        target="risk",
        signature=Signature(features.names, {"channel": ("douyin", "own")}, features.hash),
        calibration=Platt(slope=1.0, offset=0.0),
        trained_from="2023-01-01T00:00:00Z",
        trained_until="2023-02-01T00:00:00Z",
        label_known_at="2023-02-01T00:00:00Z",
        trees=trees,
        trees_sha256=trees_hash(text),
    )
    return RiskModel(text, card, version="3")


@pytest.fixture(scope="module")
def model() -> RiskModel:
    return trained_model(FEATURE_SET)


def scorer(model: RiskModel | None = None, **parts: Any) -> Scorer:
    policy = parts.pop("policy", POLICY)
    parts.setdefault("guarded", False)
    return Scorer(FEATURE_SET, InMemoryState(FEATURE_SET), model, policy, **parts)


def wire(decisions: Sequence[Decision]) -> list[bytes]:
    return [decision_encoder.encode(decision) for decision in decisions]


def test_decisions_come_in_the_sequence_of_the_orders(model: RiskModel):
    decisions = scorer(model).decide(ORDERS, now=NOW)
    assert [d.order_id for d in decisions] == [o.order_id for o in ORDERS]
    assert [d.event_time for d in decisions] == [o.event_time for o in ORDERS]


def test_a_decision_carries_what_it_was_made_of(model: RiskModel):
    decisions = scorer(model).decide(ORDERS, now=NOW + 5)
    for decision in decisions:
        assert decision.decided_time == NOW + 5
        assert len(decision.features) == len(FEATURE_SET.names)
        assert decision.feature_hash == FEATURE_SET.hash
        assert decision.model == "risk/3"
        assert decision.rules == POLICY.version
        assert decision.points == pytest.approx(decision.rule_points + decision.model_points)
        assert decision.propensity == 1.0
    probability = np.array([decision.probability for decision in decisions])
    np.testing.assert_array_equal(probability, model.predict(served_vectors(decisions)))


@settings(deadline=None, max_examples=15)  # the machine may be busy
@given(cuts=st.sets(st.integers(1, len(ORDERS) - 1)))
def test_how_orders_are_cut_into_chunks_changes_no_decision(model: RiskModel, cuts: set[int]):
    whole = scorer(model).decide(ORDERS, now=NOW)
    cut = scorer(model)
    edges = [0, *sorted(cuts), len(ORDERS)]
    pieces: list[Decision] = []
    for start, stop in pairwise(edges):
        pieces += cut.decide(ORDERS[start:stop], now=NOW)
    assert wire(pieces) == wire(whole)


def test_an_empty_chunk_is_fine(model: RiskModel):
    assert scorer(model).decide([], now=NOW) == []


def test_who_is_stopped_is_told_which_rules_and_features_did_it(model: RiskModel):
    decisions = scorer(model).decide(ORDERS, now=NOW)
    stopped = [decision for decision in decisions if decision.tier != "pass"]
    passed = [decision for decision in decisions if decision.tier == "pass"]
    assert stopped
    assert passed
    for decision in stopped:
        points = [reason.points for reason in decision.reasons]
        assert points == sorted(points, reverse=True)
        of_model = [reason for reason in decision.reasons if reason.code.startswith("model:")]
        assert len(of_model) <= 3
        assert sum(r.points for r in of_model) <= decision.model_points + 0.2  # rounded
        for reason in of_model:
            index = FEATURE_SET.names.index(reason.code.removeprefix("model:"))
            feature, value = FEATURE_SET.features[index], decision.features[index]
            assert (reason.text, reason.text_zh) == words(feature, value)
    reasons = [reason.code for decision in stopped for reason in decision.reasons]
    assert any(code.startswith("model:") for code in reasons)
    for decision in passed:
        assert not [reason for reason in decision.reasons if reason.code.startswith("model:")]


def test_who_is_stopped_by_a_model_that_no_feature_moves_is_told_so():
    flat = constant_model(FEATURE_SET, probability=0.6)
    decisions = scorer(flat, policy=msgspec.structs.replace(POLICY, rules=())).decide(
        ORDERS, now=NOW
    )
    for decision in decisions:
        assert decision.tier == "freeze"
        [reason] = decision.reasons
        assert (reason.code, reason.points) == ("model.score", decision.points)
        assert (reason.text, reason.text_zh) == MODEL_WORDS


def test_every_decision_that_is_not_a_pass_has_a_reason(model: RiskModel):
    for used in (model, constant_model(FEATURE_SET, probability=0.25)):
        decisions = scorer(used).decide(ORDERS, now=NOW)
        stopped = [decision for decision in decisions if decision.tier != "pass"]
        assert stopped
        assert all(decision.reasons for decision in stopped)


def test_the_points_of_the_rules_that_matched_add_up():
    for decision in scorer().decide(ORDERS, now=NOW):
        assert decision.rule_points == sum(reason.points for reason in decision.reasons)


def test_without_a_model_rules_decide_and_the_decision_says_so():
    for decision in scorer().decide(ORDERS, now=NOW):
        assert decision.model is None
        assert decision.probability is None
        assert decision.model_points == 0


def test_a_rule_may_read_the_model(model: RiskModel):
    sure = Rule(
        name="sure", title="Sure", title_zh="确定", when="model_probability > 0.5", action="cancel"
    )
    policy = msgspec.structs.replace(POLICY, rules=(sure,))
    for decision in scorer(model, policy=policy).decide(ORDERS, now=NOW):
        assert decision.probability is not None
        assert (decision.tier == "cancel") == (decision.probability > 0.5)


def test_a_model_of_another_feature_set_is_refused(model: RiskModel):
    other = feature_set({"lead_time": "numeric"})
    with pytest.raises(SignatureMismatchError, match="does not know attribute_lead_time"):
        Scorer(other, InMemoryState(other), model, POLICY)


def test_a_rule_that_cannot_be_used_with_these_features_is_refused():
    own = Rule(name="own", title="x", title_zh="x", when="attribute_lead_time > 3", points=1)
    with pytest.raises(UserError, match="rule own: there is no column 'attribute_lead_time'"):
        scorer(policy=msgspec.structs.replace(POLICY, rules=(own,)))


def test_an_order_twice_in_a_chunk_is_decided_once(model: RiskModel):
    decisions = scorer(model).decide([*ORDERS, ORDERS[7], ORDERS[7]], now=NOW)
    assert decisions[40] is decisions[7]
    assert decisions[41] is decisions[7]
    assert wire(decisions[:40]) == wire(scorer(model).decide(ORDERS, now=NOW))


def test_an_order_that_comes_again_gets_the_very_same_decision(model: RiskModel):
    ledgered = scorer(model, ledger=InMemoryLedger(100))
    first = ledgered.decide(ORDERS, now=NOW)
    again = ledgered.decide([ORDERS[3], order(40), ORDERS[39]], now=NOW + 99)
    assert wire([again[0], again[2]]) == wire([first[3], first[39]])
    assert again[1].decided_time == NOW + 99


def test_an_order_that_comes_again_changes_no_later_decision(model: RiskModel):
    once, twice = (scorer(model, ledger=InMemoryLedger(100)) for _ in range(2))
    once.decide(ORDERS[:20], now=NOW)
    twice.decide(ORDERS[:20], now=NOW)
    twice.decide(ORDERS[:20], now=NOW)
    later = ORDERS[20:]
    assert wire(twice.decide(later, now=NOW)) == wire(once.decide(later, now=NOW))


class DownOnce(InMemoryLedger):
    """A ledger that cannot record the first time."""

    down = True

    def record(self, decisions: Sequence[Decision]) -> None:
        if self.down:
            self.down = False
            raise LedgerUnavailableError("cannot record decisions: gone")
        super().record(decisions)


def test_a_chunk_may_be_given_again_after_the_ledger_failed(model: RiskModel):
    failing = scorer(model, ledger=DownOnce(100))
    with pytest.raises(LedgerUnavailableError):
        failing.decide(ORDERS, now=NOW)
    again = failing.decide(ORDERS, now=NOW)
    assert [decision.order_id for decision in again] == [o.order_id for o in ORDERS]


def test_a_chunk_given_again_gets_what_it_would_have_got_the_first_time(model: RiskModel):
    # Of one moment: computed again, each would see those behind it, and what was learnt meanwhile.
    tied = [order(number, event_time=Instant(NOW)) for number in range(8)]
    news = [Outcome(order_id="order-1", kind="expired", event_time=Instant(NOW))]
    once, failing = scorer(model), scorer(model, ledger=DownOnce(100))
    with pytest.raises(LedgerUnavailableError):
        failing.decide(tied, now=NOW)
    failing.learn(news)
    assert wire(failing.decide(tied, now=NOW + 99)) == wire(once.decide(tied, now=NOW))
    once.learn(news)
    later = ORDERS[20:]
    assert wire(failing.decide(later, now=NOW)) == wire(once.decide(later, now=NOW))


def test_absorbed_orders_count_as_if_they_had_been_decided(model: RiskModel):
    decided, absorbed = scorer(model), scorer(model)
    decided.decide(ORDERS[:20], now=NOW)
    absorbed.absorb(ORDERS[:20])
    later = ORDERS[20:]
    assert wire(absorbed.decide(later, now=NOW)) == wire(decided.decide(later, now=NOW))


def test_what_was_learnt_counts_for_orders_after_it(model: RiskModel):
    learning = scorer(model)
    learning.decide(ORDERS[:1], now=NOW)
    learning.learn([Outcome(order_id="order-0", kind="delivered", event_time=Instant(NOW + 500))])
    (decision,) = learning.decide([order(3)], now=NOW)  # the same account
    completed = FEATURE_SET.names.index("account_completed_30d")
    assert decision.features[completed] == 1.0
