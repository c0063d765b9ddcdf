"""Lists and snoozes as decisions show them."""

from typing import Any

import pytest

from features.feature_set import feature_set
from features.memory import InMemoryState
from orders.events import Instant, Order
from serving.decisions import Decision
from serving.list_entries import Entry, Why
from serving.list_reader import ListReader
from serving.list_store import ListStore
from serving.policy import Policy
from serving.scorer import Scorer
from tests.serving.stopped_clock import NOW

WHY = Why("ana", "seen twice")
FEATURES = feature_set()


def entry(entity: str, value: str, until: int = NOW + 1_000_000) -> Entry:
    return Entry(
        entity=entity, value=value, since=NOW, until=until, author="ana", comment="seen twice"
    )


def order(number: int, **fields: Any) -> Order:
    return Order(
        order_id=f"o{number}",
        event_time=Instant(NOW + 1_000 * number),
        quantity=1,
        unit_price=100,
        currency="CNY",
        **fields,
    )


def decided(store: ListStore, *orders: Order) -> list[Decision]:
    scorer = Scorer(FEATURES, InMemoryState(FEATURES), None, Policy.default(), guarded=False)
    lists = ListReader(store.news).read()
    assert lists is not None
    scorer.switch_lists(lists)
    decisions = scorer.decide(orders, now=NOW)
    assert {decision.lists for decision in decisions} == {lists.version}
    return decisions


@pytest.mark.parametrize("entity", ["device", "merchant", "sku"])
def test_a_blocked_value_freezes_a_member_too(one_server: ListStore, entity: str) -> None:
    one_server.add("blocked", [entry(entity, "X 1")], WHY)
    [stopped, passed] = decided(
        one_server,
        order(1, member_level=6, **{entity: "x  1"}),
        order(2, member_level=6, **{entity: "x 2"}),
    )
    assert (stopped.tier, stopped.action) == ("freeze", "freeze")
    [reason] = stopped.reasons
    assert reason.code == "rule:blocked"
    assert passed.tier == "pass"


def test_an_allowed_value_passes_unless_another_is_blocked(one_server: ListStore) -> None:
    one_server.add("allowed", [entry("account", "a")], WHY)
    one_server.add("blocked", [entry("device", "d")], WHY)
    burst = [order(n, account="a", device="shop", phone="17012345678") for n in range(8)]
    decisions = decided(one_server, *burst, order(9, account="a", device="d"))
    assert {each.tier for each in decisions[:8]} == {"pass"}
    assert max(each.points for each in decisions[:8]) >= 80
    assert decisions[8].tier == "freeze"


def test_a_watched_value_adds_points_and_alone_stops_nobody(one_server: ListStore) -> None:
    one_server.add("watched", [entry("account", "a")], WHY)
    [alone, with_phone] = decided(
        one_server,
        order(1, account="a"),
        order(2, account="a", phone="17012345678"),
    )
    assert (alone.points, alone.tier) == (40, "pass")
    assert (with_phone.points, with_phone.tier) == (80, "sms")


def test_a_snoozed_match_is_recorded_and_not_counted_until_it_ends(one_server: ListStore) -> None:
    one_server.snooze("device_burst", entry("device", "KIOSK", until=NOW + 7_000))
    decisions = decided(one_server, *(order(n, device="kiosk") for n in range(9)))
    reasons = [[r for r in d.reasons if r.code == "rule:device_burst"] for d in decisions]
    assert [len(each) for each in reasons] == [0, 0, 0, 0, 1, 1, 1, 1, 1]
    assert [(r.points, r.snoozed) for [r] in reasons[4:]] == [
        (0, True), (0, True), (0, True), (50, False), (50, False),
    ]  # fmt: skip
    assert [d.points for d in decisions[4:]] == [0, 0, 0, 50, 50]


def test_a_list_changed_between_chunks_decides_the_next_chunk(one_server: ListStore) -> None:
    scorer = Scorer(FEATURES, InMemoryState(FEATURES), None, Policy.default(), guarded=False)
    assert scorer.lists_read == ["allowed", "blocked", "watched"]
    reader = ListReader(one_server.news)
    [before] = scorer.decide([order(1, device="d")], now=NOW)
    one_server.add("blocked", [entry("device", "d")], WHY)
    lists = reader.read()
    assert lists is not None
    scorer.switch_lists(lists)
    [after] = scorer.decide([order(2, device="d")], now=NOW)
    assert (before.tier, before.lists) == ("pass", None)
    assert (after.tier, after.lists) == ("freeze", lists.version)
