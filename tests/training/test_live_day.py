import math
from itertools import chain

import msgspec
import pytest

from tests.training.made_live_day import HOUR, START, busy_day, decision, live_day, order, truth
from training.live_day import summarise
from training.live_frame import Interval
from training.live_summary import Latency, Summary, Tiers

INTERFACE = [
    "orders",
    "decisions",
    "lost",
    "duplicates",
    "dead_letters",
    "orders_per_s",
    "latency_ms",
    "tiers",
    "auc",
    "ap",
    "precision",
    "recall",
    "false_positive_rate",
    "human_share",
    "attacks",
    "gift_pass_rate",
    "peak",
    "model",
    "rules",
    "seed",
    "machine",
]


def day_of_four(**fields):
    """Two attack orders, one stopped; two honest orders, one stopped."""
    return live_day(
        [order("a1"), order("a2", 10_000), order("h1", 20_000), order("h2", 30_000)],
        [
            decision("a1", "pass", probability=0.6, points=70.0),
            decision("a2", "freeze", probability=0.9, points=130.0),
            decision("h1", "sms", probability=0.7, points=90.0),
            decision("h2", "pass", probability=0.1, points=10.0),
        ],
        [truth("a1", "ring", "r-1"), truth("a2", "ring", "r-1"), truth("h1"), truth("h2")],
        **fields,
    )


def test_the_json_has_the_keys_that_stay_put():
    encoded = msgspec.json.decode(msgspec.json.encode(summarise(busy_day(500))))
    assert set(INTERFACE) <= set(encoded)
    assert list(encoded["latency_ms"]) == ["p50", "p95", "p99"]
    assert list(encoded["tiers"]) == ["pass", "sms", "call", "freeze", "cancel"]
    assert {"kind", "orders", "first_stop_s", "first_stop_order", "recall"} <= set(
        encoded["attacks"][0]
    )
    peak_keys = {"orders_per_s", "latency_ms", "false_positive_rate", "recall"}
    assert peak_keys <= set(encoded["peak"])
    assert encoded["model"] == {"name": "risk", "version": "3"}
    assert encoded["rules"] == {"version": "r1"}


def test_the_json_reads_back_as_it_was():
    summary = summarise(day_of_four())
    assert msgspec.json.decode(msgspec.json.encode(summary), type=Summary) == summary


def test_stopped_is_measured_against_truth():
    summary = summarise(day_of_four())
    assert summary.precision == 0.5
    assert summary.recall == 0.5
    assert summary.false_positive_rate == 0.5
    assert summary.stopped == 2
    assert summary.attack_orders == 2


def test_scores_are_ranked_by_probability_and_by_points():
    summary = summarise(day_of_four())
    assert summary.auc == 0.75  # of the four pairs, only a1 lies below h1
    assert summary.auc_points == 0.75
    assert summary.ap == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)


def test_tiers_are_counted_for_all_and_by_truth():
    summary = summarise(day_of_four())
    assert summary.tiers == Tiers(2, 1, 0, 1, 0)
    assert summary.tiers_by_truth.honest == Tiers(1, 1, 0, 0, 0)
    assert summary.tiers_by_truth.attack == Tiers(1, 0, 0, 1, 0)


def test_only_frozen_orders_reach_a_person():
    orders = [order(f"o{i}") for i in range(4)]
    tiers = ("sms", "call", "freeze", "cancel")
    decisions = [decision(f"o{i}", tier) for i, tier in enumerate(tiers)]
    assert summarise(live_day(orders, decisions, [])).human_share == 0.25


def test_a_member_on_the_fast_lane_was_not_stopped():
    passed = decision("o1", "freeze", action="accept", fast_lane=True)
    summary = summarise(live_day([order("o1")], [passed], [truth("o1")]))
    assert summary.false_positive_rate == 0.0
    assert summary.human_share == 0.0
    assert summary.tiers.freeze == 1


def test_an_order_without_a_decision_is_lost_and_was_not_stopped():
    summary = summarise(
        live_day([order("o1"), order("o2")], [decision("o1", "freeze")], [truth("o2", "ring", "r")])
    )
    assert summary.lost == 1
    assert summary.recall == 0.0
    assert summary.human_share == 0.5


def test_a_second_decision_is_a_duplicate_and_the_first_one_counts():
    decisions = [
        decision("o1", "freeze", decision_appended_ms=1_900),
        decision("o1", "pass", decision_appended_ms=1_020),
    ]
    summary = summarise(live_day([order("o1")], decisions, []))
    assert (summary.decisions, summary.duplicates, summary.lost) == (2, 1, 0)
    assert summary.tiers.freeze == 0
    assert summary.latency_ms.p50 == 20


def test_a_decision_on_an_order_of_another_day_is_unexpected_only():
    summary = summarise(live_day([order("o1")], [decision("o1"), decision("other")], []))
    assert (summary.decisions, summary.unexpected, summary.duplicates) == (2, 1, 0)


def test_an_order_sent_twice_is_one_order():
    summary = summarise(live_day([order("o1"), order("o1")], [decision("o1")], []))
    assert (summary.orders, summary.lost, summary.duplicates) == (1, 0, 0)


def test_latency_is_between_the_append_times_of_the_broker():
    orders = [order(f"o{i}") for i in range(101)]
    decisions = [
        decision(f"o{i}", order_appended_ms=5_000, decision_appended_ms=5_000 + i)
        for i in range(101)
    ]
    assert summarise(live_day(orders, decisions, [])).latency_ms == Latency(50.0, 95.0, 99.0)


def test_throughput_is_by_the_brokers_clock_and_the_days_rate_by_event_time():
    orders = [order("o1"), order("o2", HOUR)]
    decisions = [
        decision("o1", order_appended_ms=1_000, decision_appended_ms=1_100),
        decision("o2", order_appended_ms=1_400, decision_appended_ms=1_500),
    ]
    summary = summarise(live_day(orders, decisions, []))
    assert summary.orders_per_s == 4.0  # two orders in half a second
    assert summary.event_orders_per_s == 2 / 86_400


def ring_of(stopped: list[bool], name: str, gap_ms: int = 1_000):
    """The rows of one incident."""
    ids = [f"{name}-{i}" for i in range(len(stopped))]
    orders = [order(each, i * gap_ms) for i, each in enumerate(ids)]
    decisions = [
        decision(each, "freeze" if hit else "pass") for each, hit in zip(ids, stopped, strict=True)
    ]
    return orders, decisions, [truth(each, "ring", name) for each in ids]


def attacks_of(*incidents):
    orders, decisions, truths = (list(chain(*parts)) for parts in zip(*incidents, strict=True))
    return summarise(live_day(orders, decisions, truths))


def test_an_attack_is_timed_from_its_first_order_to_its_first_stopped_order():
    (attack,) = attacks_of(ring_of([False, False, True, False], "r-1", gap_ms=1_500)).attacks
    assert (attack.first_stop_s, attack.first_stop_order) == (3.0, 3.0)
    assert (attack.orders, attack.recall, attack.incidents) == (4, 0.25, 1)


def test_a_kind_shows_the_median_over_its_incidents():
    summary = attacks_of(
        ring_of([True], "r-1"), ring_of([False, True], "r-2"), ring_of([False] * 9 + [True], "r-3")
    )
    (attack,) = summary.attacks
    assert (attack.first_stop_s, attack.first_stop_order) == (1.0, 2.0)
    assert summary.incidents.within_30_s == 1.0


def test_an_incident_that_was_never_stopped_counts_as_infinite():
    stopped, missed = ring_of([True], "r-1"), ring_of([False], "r-2")
    (attack,) = attacks_of(stopped, missed).attacks
    assert attack.never_stopped == 1
    assert attack.first_stop_s is None  # the median of 0 and infinity
    assert attack.first_stop_order is None
    summary = attacks_of(stopped, ring_of([True], "r-3"), missed)
    assert summary.attacks[0].first_stop_s == 0.0
    assert summary.incidents.within_30_s == pytest.approx(2 / 3)


def test_attack_orders_without_an_incident_count_for_recall_only():
    nameless = truth("o1", "ring") | {"is_attack": True}
    (attack,) = summarise(live_day([order("o1")], [decision("o1", "freeze")], [nameless])).attacks
    assert (attack.orders, attack.recall, attack.incidents) == (1, 1.0, 0)
    assert attack.first_stop_s is None


def test_gift_pass_rate_is_over_honest_gift_orders():
    ids = ("g1", "g2", "g3", "x")
    orders = [order(each) for each in ids]
    decisions = [decision("g1"), decision("g2"), decision("g3", "sms"), decision("x", "sms")]
    truths = [truth(each, "gift_sender") for each in ids[:3]] + [truth("x", "gift_scam", "s-1")]
    summary = summarise(live_day(orders, decisions, truths))
    assert summary.gift_pass_rate == pytest.approx(2 / 3)
    assert [(kind.kind, kind.orders) for kind in summary.look_alikes] == [("gift_sender", 3)]


def test_the_peak_is_measured_on_its_own_orders():
    live = live_day(
        [
            order("calm", 0),
            order("p1", 2 * HOUR),
            order("p2", 3 * HOUR - 1),
            order("out", 3 * HOUR),
        ],
        [
            decision("calm"),
            decision("p1", "sms", order_appended_ms=2_000, decision_appended_ms=2_100),
            decision("p2", order_appended_ms=2_200, decision_appended_ms=2_500),
            decision("out"),
        ],
        [truth(each) for each in ("calm", "p1", "p2", "out")],
        peak=Interval(START + 2 * HOUR, START + 3 * HOUR),
    )
    peak = summarise(live).peak
    assert peak.orders == 2
    assert peak.false_positive_rate == 0.5
    assert peak.orders_per_s == 4.0
    assert peak.event_orders_per_s == 2 / 3600
    assert peak.times_normal == pytest.approx((2 / 1) / (2 / 23))
    assert peak.latency_ms.p50 == 200
    assert peak.start == "2026-01-01T02:00:00+00:00"


def test_without_a_promotion_the_busiest_hour_is_the_peak():
    live = live_day([order("o1"), order("o2", 5 * HOUR), order("o3", 5 * HOUR + 1)], [], [])
    peak = summarise(live).peak
    assert (peak.orders, peak.start) == (2, "2026-01-01T05:00:00+00:00")


def test_an_empty_day_has_counts_and_no_figures():
    summary = summarise(live_day([], [], []))
    assert (summary.orders, summary.decisions, summary.lost) == (0, 0, 0)
    figures = (
        summary.auc, summary.ap, summary.precision, summary.recall, summary.human_share,
        summary.false_positive_rate, summary.gift_pass_rate, summary.orders_per_s,
        summary.latency_ms.p99, summary.peak.orders_per_s, summary.incidents.within_30_s,
    )  # fmt: skip
    assert set(figures) == {None}
    assert summary.attacks == []
    assert summary.model.name is None


def test_where_nobody_knows_the_truth_no_quality_is_claimed():
    summary = summarise(live_day([order("o1")], [decision("o1", "freeze")], []))
    assert (summary.precision, summary.recall, summary.auc) == (None, None, None)
    assert summary.human_share == 1.0


def test_one_class_alone_has_no_auc():
    summary = summarise(live_day([order("o1")], [decision("o1")], [truth("o1")]))
    assert (summary.auc, summary.ap) == (None, None)
    assert summary.recall is None
    assert summary.false_positive_rate == 0.0


def test_rules_alone_have_points_but_no_probability():
    decisions = [
        decision("o1", probability=None, model=None, points=10.0),
        decision("o2", "freeze", probability=None, model=None, points=130.0),
    ]
    truths = [truth("o1"), truth("o2", "ring", "r-1")]
    summary = summarise(live_day([order("o1"), order("o2")], decisions, truths))
    assert summary.auc is None
    assert summary.auc_points == 1.0
    assert (summary.model.name, summary.model.version) == (None, None)


def test_no_number_is_infinite_or_not_a_number():
    def numbers(value):
        if isinstance(value, dict):
            return [each for part in value.values() for each in numbers(part)]
        if isinstance(value, list):
            return [each for part in value for each in numbers(part)]
        return [value] if isinstance(value, float) else []

    summary = attacks_of(ring_of([False], "r-1"))
    assert all(math.isfinite(each) for each in numbers(msgspec.to_builtins(summary)))
