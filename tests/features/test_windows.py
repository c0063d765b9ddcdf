"""The feature contract, read aloud."""

import math
from collections.abc import Callable
from typing import Any

import pytest

from features import kernels
from features.columns import event_columns_from_orders, event_columns_from_outcomes
from features.feature_set import feature_set
from features.memory import HORIZON_MS, InMemoryState
from features.state import FeatureState
from orders.events import Instant, Order, Outcome

START = 1_740_000_000_000
MINUTE, DAY = 60_000, 86_400_000
FEATURES = feature_set()

Features = dict[str, float]


@pytest.fixture
def state(new_state) -> FeatureState:
    return new_state(FEATURES)


@pytest.fixture
def place(state: FeatureState) -> Callable[..., Features]:
    def place(order_id: str, at: int, **fields: Any) -> Features:
        fields = {"quantity": 1, "unit_price": 100, "currency": "CNY", **fields}
        order = Order(order_id=order_id, event_time=Instant(START + at), **fields)
        vector = state.apply(event_columns_from_orders([order], FEATURES))[0]
        return dict(zip(FEATURES.names, vector.tolist(), strict=True))

    return place


@pytest.fixture
def meet(state: FeatureState) -> Callable[..., None]:
    def meet(order_id: str, kind: Any, at: int, reason: str | None = None) -> None:
        outcome = Outcome(
            order_id=order_id, kind=kind, event_time=Instant(START + at), reason=reason
        )
        state.apply(event_columns_from_outcomes([outcome]))

    return meet


def test_a_window_includes_its_far_edge_and_not_a_millisecond_more(place) -> None:
    place("a", 0, device="d")
    assert place("b", 5 * MINUTE, device="d")["device_orders_5m"] == 1
    place("c", 5 * MINUTE + 1, device="x")
    assert place("d", 5 * MINUTE + 1, device="d")["device_orders_5m"] == 1  # b only


def test_an_order_does_not_count_itself(place) -> None:
    assert place("a", 0, device="d", account="u")["device_orders_1m"] == 0
    assert place("b", 1, device="d", account="u")["device_accounts_24h"] == 1


def test_orders_of_the_same_instant_count_in_the_sequence_of_application(place) -> None:
    assert [place(f"o{i}", 0, device="d")["device_orders_1m"] for i in range(3)] == [0, 1, 2]


def test_of_two_orders_of_one_instant_the_one_applied_later_is_the_latest(place) -> None:
    place("a", 0, account="u", address="one")
    place("b", 0, account="u", address="two")
    assert place("c", 1, account="u", address="two")["address_changed"] == 0


def test_so_it_is_among_many_orders(place) -> None:
    for i in range(kernels.HOT + 6):
        place(f"o{i}", i, account="u", address="one")
    place("a", 1000, account="u", address="one")
    place("b", 1000, account="u", address="two")
    assert place("c", 1001, account="u", address="two")["address_changed"] == 0


def test_a_missing_value_gives_missing_features_and_leaves_no_trace(place, state) -> None:
    features = place("a", 0)
    assert math.isnan(features["device_orders_5m"])
    assert math.isnan(features["device_seconds_since_last"])
    if isinstance(state, InMemoryState):
        assert state.n_live["entity_values"] == 0


def test_nothing_in_the_window_is_zero_for_counts_and_missing_for_the_rest(place) -> None:
    features = place("a", 0, account="u", device="d")
    assert features["account_orders_30d"] == 0
    assert features["account_amount_24h"] == 0
    assert math.isnan(features["account_amount_max_30d"])
    assert math.isnan(features["account_seconds_since_last"])
    assert features["new_device_for_account"] == 1


def test_a_late_order_counts_for_later_ones_from_then_on(place) -> None:
    place("a", 0, device="d")
    assert place("b", 4 * MINUTE, device="d")["device_orders_5m"] == 1
    assert place("late", 2 * MINUTE, device="d")["device_orders_5m"] == 1  # a, and not b
    features = place("c", 5 * MINUTE, device="d")
    assert features["device_orders_5m"] == 3
    assert features["device_seconds_since_last"] == 60


def test_a_repeated_order_changes_nothing_and_gets_the_same_features(place) -> None:
    place("a", 0, account="u", device="d")
    first = place("b", 10, account="u", device="d")
    place("c", 20, account="u", device="d")
    again = place("b", 10, account="u", device="d")
    assert {k: v for k, v in again.items() if v == v} == {k: v for k, v in first.items() if v == v}
    assert place("d", 30, device="d")["device_orders_1m"] == 3


def test_an_outcome_counts_from_its_own_event_time(place, meet) -> None:
    place("a", 0, device="d")
    meet("a", "expired", 30 * MINUTE)
    assert place("late", 29 * MINUTE, device="d")["device_expired_24h"] == 0
    assert place("b", 31 * MINUTE, device="d")["device_expired_24h"] == 1
    assert place("c", 30 * MINUTE + DAY, device="d")["device_expired_24h"] == 1
    assert place("d", 30 * MINUTE + DAY + 1, device="d")["device_expired_24h"] == 0


def test_a_repeated_outcome_changes_nothing(place, meet) -> None:
    place("a", 0, device="d")
    for _ in range(3):
        meet("a", "expired", 30 * MINUTE)
    assert place("b", DAY, device="d")["device_expired_24h"] == 1


def test_reasons_are_told_apart(place, meet) -> None:
    place("a", 0, account="u", device="d")
    meet("a", "cancelled", 1, reason="risk.scalper")
    place("b", 2, account="u", device="d")
    meet("b", "cancelled", 3, reason="user.changed_mind")
    features = place("c", 4, account="u", device="d")
    assert (features["account_bad_30d"], features["account_cancelled_other_30d"]) == (1, 1)


def test_an_outcome_that_comes_before_its_order_waits_for_it(place, meet, state) -> None:
    meet("a", "delivered", 10)
    assert state.unattributed == 1
    assert place("a", 0, account="u")["account_completed_30d"] == 0
    assert state.unattributed == 0
    assert place("b", 20, account="u")["account_completed_30d"] == 1


def test_an_outcome_that_waited_beyond_the_horizon_stays_without_its_order(
    place, meet, state
) -> None:
    meet("a", "expired", 0)
    meet("a", "charged_back", DAY)
    place("b", HORIZON_MS + 1)
    assert state.unattributed == 2
    place("a", DAY)
    assert state.unattributed == 1


def test_an_outcome_of_an_unknown_order_is_counted(place, meet, state) -> None:
    meet("never", "expired", 0)
    assert state.unattributed == 1
    assert place("a", 1, account="u")["account_expired_24h"] == 0


@pytest.mark.parametrize(("after", "found"), [(HORIZON_MS, 1), (HORIZON_MS + 1, 0)])
def test_a_chargeback_finds_its_order_until_the_horizon(place, meet, after, found, state) -> None:
    place("a", 0, device="d")
    meet("a", "charged_back", after)
    assert state.unattributed == 1 - found
    assert place("b", after + DAY, device="d")["device_bad_30d"] == found


def test_an_address_is_known_when_the_account_completed_an_order_there(place, meet) -> None:
    place("a", 0, account="u", address="北京市朝阳区1号")
    meet("a", "delivered", 10)
    known = place("b", 20, account="u", address="北京市 朝阳区１号")
    strange = place("c", 30, account="u", address="elsewhere 5")
    assert (known["account_address_completed_30d"], known["address_changed"]) == (1, 0)
    assert (strange["account_address_completed_30d"], strange["address_changed"]) == (0, 1)


def test_an_order_later_than_the_horizon_leaves_no_trace(place, state) -> None:
    place("a", HORIZON_MS + 1, device="d")
    assert place("b", 0, device="d")["device_orders_1h"] == 0
    assert place("c", 0, device="d")["device_orders_1h"] == 0
    if isinstance(state, InMemoryState):
        assert state.n_live["orders"] == 1


def test_absurd_amounts_stay_exact_up_to_the_cap(place) -> None:
    place("a", 0, account="u", quantity=1_000_000, unit_price=10**13)
    assert place("b", 1, account="u")["account_amount_24h"] == 10**13


def test_an_order_takes_sixty_four_different_outcomes_and_no_more(place, meet) -> None:
    place("a", 0, device="d")
    for i in range(70):
        meet("a", "expired", 1 + i)
    assert place("b", MINUTE, device="d")["device_expired_24h"] == 64
