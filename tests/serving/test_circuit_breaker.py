from collections import Counter
from typing import Any, get_args

import polars as pl
import pytest

from features.memory import InMemoryState
from orders.decision_table import TIERS
from orders.events import Order
from serving.circuit_breaker import CircuitBreaker, StopCounts
from serving.exploration import Exploration
from serving.final_tiers import final_tiers
from serving.prepared_policy import PreparedPolicy
from serving.rule_program import RuleProgram
from serving.rules import Rule
from serving.scorer import Scorer
from tests.serving.policy_cases import FEATURE_SET, NOW, final, judge, order, policy, prepared, rule

INTERVAL_MS = 300_000
WRONG = rule("wrong", action="cancel")


def tiers_of(
    by: PreparedPolicy,
    orders: list[Order],
    stops: StopCounts,
    *,
    now: int = NOW,
    size: int = 500,
    model: float | None = None,
) -> Counter[str]:
    """How many orders get each tier, chunk by chunk."""
    tiers: Counter[str] = Counter()
    for start in range(0, len(orders), size):
        said = final(by, orders[start : start + size], stops, now, model)
        tiers.update(TIERS[tier] for tier in said.tier)
    return tiers


def counts(by: PreparedPolicy) -> StopCounts:
    return StopCounts(by.policy.circuit_breaker)


HONEST = [order(number, channel=None) for number in range(10_000)]


@pytest.mark.parametrize(
    ("rules", "most"),
    [
        ([WRONG], {"cancel": 1_000}),  # a tenth
        ([rule("wrong", action="freeze")], {"freeze": 1_000}),
        ([rule("wrong", points=500)], {"freeze": 1_000}),
        # What is left of a stop has a cap of its own: two wrong rules do not hide each other.
        ([WRONG, rule("freezes", action="freeze")], {"cancel": 1_000, "freeze": 1_000}),
        ([WRONG, rule("points", points=150)], {"cancel": 1_000, "freeze": 1_000}),
        ([WRONG, rule("too", action="cancel")], {"cancel": 1_000}),
    ],
)
def test_a_wrong_rule_stops_no_more_than_its_cap(rules: list[Rule], most: dict[str, int]):
    by = prepared(*rules, exploration=Exploration(share=0))
    tiers = tiers_of(by, HONEST, counts(by))
    assert tiers == most | {"sms": 10_000 - sum(most.values())}


def test_the_cap_is_a_number_too_however_many_orders_there_are():
    by = prepared(WRONG, circuit_breaker=CircuitBreaker(rule=1.0, at_most=200))
    assert tiers_of(by, HONEST, counts(by))["cancel"] == 200


def test_a_model_gone_bad_freezes_no_more_than_its_cap():
    by = prepared(circuit_breaker=CircuitBreaker(at_most=5_000), exploration=Exploration(share=0))
    tiers = tiers_of(by, HONEST, counts(by), model=150.0)
    assert tiers == {"freeze": 2_500, "sms": 7_500}


def test_a_channel_is_stopped_no_more_than_its_cap_and_others_go_on():
    by = prepared(
        rule("of_app", action="freeze", channels=("app",)),
        circuit_breaker=CircuitBreaker(rule=1.0, at_most=5_000),
    )
    orders = [order(number, channel="app" if number % 2 else "own") for number in range(10_000)]
    assert tiers_of(by, orders, counts(by)) == {"pass": 5_000, "freeze": 2_500, "sms": 2_500}


def attacked(share: int) -> list[Order]:
    """Every so many orders one of an attack."""
    return [
        order(number, merchant="target" if number % share == 0 else "m1") for number in range(5_000)
    ]


ATTACK = rule("attack", action="freeze", merchants=("target",))


@pytest.mark.parametrize("size", [1, 50, 500])
def test_an_attack_below_the_caps_is_stopped_to_the_last(size: int):
    by = prepared(ATTACK)
    assert tiers_of(by, attacked(20), counts(by), size=size) == {"pass": 4_750, "freeze": 250}


def test_few_orders_may_all_be_stopped():
    by = prepared(WRONG)
    assert tiers_of(by, HONEST[:31], counts(by), size=1) == {"cancel": 30, "sms": 1}


def test_the_floor_is_data_and_makes_nothing_harder():
    for floor in get_args(CircuitBreaker.__annotations__["floor"]):
        by = prepared(WRONG, circuit_breaker=CircuitBreaker(floor=floor))
        assert set(tiers_of(by, HONEST[:100], counts(by))) == {"cancel", floor}
    by = prepared(rule("wrong", points=85), circuit_breaker=CircuitBreaker(floor="call"))
    assert set(tiers_of(by, HONEST[:100], counts(by))) == {"sms"}


def test_counts_begin_again_with_each_interval():
    by = prepared(WRONG)
    stops = counts(by)
    start = NOW - NOW % INTERVAL_MS
    for now in (start, start + INTERVAL_MS):
        assert tiers_of(by, HONEST[:1_000], stops, now=now)["cancel"] == 100
    late = start + 2 * INTERVAL_MS - 1
    assert tiers_of(by, HONEST[:10], stops, now=late)["sms"] >= 9


def test_each_worker_counts_for_itself():
    by = prepared(WRONG)
    workers = [counts(by), counts(by)]
    cancelled = [
        tiers_of(by, HONEST[half::2], stops)["cancel"] for half, stops in enumerate(workers)
    ]
    assert cancelled == [500, 500]


def test_counts_stay_when_the_policy_changes():
    stops = counts(prepared(WRONG))
    assert tiers_of(prepared(WRONG), HONEST[:1_000], stops)["cancel"] == 100
    stops.breaker = CircuitBreaker(rule=0.05)
    assert tiers_of(prepared(WRONG), HONEST[:500], stops) == {"sms": 500}


def test_a_softened_order_says_what_was_above_its_cap_and_was_certain():
    by = prepared(rule("wrong", points=130))
    orders = HONEST[:100]
    judged = judge(by, orders)
    said = final_tiers(by, judged, orders, NOW, counts(by))
    assert said.softened_by == [[]] * 30 + [["rule:wrong"]] * 70
    assert said.propensity[30:] == [1.0] * 70
    assert [(each.key, each.stops, each.orders) for each in said.tripped] == [
        ("rule:wrong", 30, 100)
    ]


def scorer(*rules: Rule, **parts: Any) -> Scorer:
    return Scorer(FEATURE_SET, InMemoryState(FEATURE_SET), None, policy(*rules, **parts))


def test_softened_orders_keep_their_reasons_and_people_are_told_once_an_interval():
    by = scorer(rule("wrong", action="freeze"))
    told: list[tuple[str, str]] = []
    for turn in range(4):
        now = NOW - NOW % INTERVAL_MS + (turn // 2) * INTERVAL_MS + turn
        decisions = by.decide(HONEST[100 * turn : 100 * (turn + 1)], now=now)
        assert {decision.tier for decision in decisions} <= {"freeze", "sms"}
        for decision in decisions:
            assert [reason.code for reason in decision.reasons] == ["rule:wrong"]
            assert decision.reasons[0].values == {"currency": "CNY"}
            assert decision.softened_by == (["rule:wrong"] if decision.tier == "sms" else [])
        alerts = [a for a in by.take_alerts() if a.kind == "circuit_breaker"]
        told += [(a.subject, a.text) for a in alerts]
    assert [subject for subject, _ in told] == ["rule:wrong"] * 2
    assert told[0][1] == (
        "rule:wrong stopped 30 of 100 orders within 300 s, as many as it may: until the interval "
        "ends it is recorded, and stops no order beyond 'sms'"
    )
    assert by.take_alerts() == []


def test_history_that_is_decided_again_has_no_breaker():
    state = InMemoryState(FEATURE_SET)
    by = Scorer(FEATURE_SET, state, None, policy(WRONG), guarded=False)
    assert {decision.tier for decision in by.decide(HONEST[:500], now=NOW)} == {"cancel"}


def test_people_are_told_once_an_interval_of_a_rule_that_fails_and_the_stream_goes_on():
    by = scorer(rule("fails", action="cancel"), rule("works", points=85))
    broken = by.prepare(policy(rule("fails", action="cancel"), rule("works", points=85)))
    # Nothing that a condition may use is known to fail for an order; this strict cast does.
    broken.matcher._program = RuleProgram(
        [pl.col("currency").cast(pl.Int64) > 1, pl.col("currency") == "CNY"],
        {"currency": pl.String()},
    )
    by.switch(broken)
    told: list[str] = []
    for turn in range(4):
        now = NOW - NOW % INTERVAL_MS + (turn // 2) * INTERVAL_MS + turn
        decisions = by.decide(HONEST[10 * turn : 10 * (turn + 1)], now=now)
        assert {decision.tier for decision in decisions} == {"sms"}
        assert {reason.code for each in decisions for reason in each.reasons} == {"rule:works"}
        told += [
            f"{turn} {a.subject}: {a.text}" for a in by.take_alerts() if a.kind == "rule_failed"
        ]
    assert [each[:8] for each in told] == ["0 fails:", "2 fails:"]
    assert "could not be evaluated and matched no order of a chunk: conversion from" in told[0]
