from datetime import datetime, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orders.events import Outcome
from orders.targets import CANCEL, RISK, Target
from tests.training.made_history import at, order, outcome, tables
from training.labels import LABEL_SCHEMA, labels

DAY = timedelta(days=1)


def label_of(target: Target, outcomes: list[Outcome], known_at: datetime | None) -> Any:
    """(label, known_time) of one order placed at day 0."""
    found = labels(*tables([order("o", at())], outcomes), target, known_at)
    return found.select("label", "known_time").row(0)


@pytest.mark.parametrize(
    ("target", "outcomes", "expected"),
    [
        (RISK, [], (None, None)),
        (RISK, [outcome("o", "paid", at(1))], (None, None)),
        (RISK, [outcome("o", "cancelled", at(1), reason="risk.scalper")], (1, at(1))),
        (RISK, [outcome("o", "cancelled", at(1), reason="user.wrong_item")], (0, at(1))),
        (RISK, [outcome("o", "cancelled", at(1))], (None, None)),
        (RISK, [outcome("o", "charged_back", at(3))], (1, at(3))),
        (RISK, [outcome("o", "expired", at(0, minutes=30))], (0, at(0, minutes=30))),
        (
            RISK,
            [outcome("o", "charged_back", at(2)), outcome("o", "appeal_upheld", at(4))],
            (0, at(4)),
        ),
        (
            RISK,
            [
                outcome("o", "reviewed", at(1), verdict="genuine"),
                outcome("o", "reviewed", at(2), verdict="fraud"),
            ],
            (1, at(2)),
        ),
        (RISK, [outcome("o", "reviewed", at(1))], (None, None)),
        (CANCEL, [], (None, None)),
        (CANCEL, [outcome("o", "cancelled", at(1))], (1, at(1))),
        (CANCEL, [outcome("o", "delivered", at(2))], (0, at(2))),
        (
            CANCEL,
            [outcome("o", "delivered", at(1)), outcome("o", "cancelled", at(3))],
            (1, at(3)),
        ),
    ],
)
def test_what_the_outcomes_known_on_day_five_say(target, outcomes, expected):
    assert label_of(target, outcomes, at(5)) == expected


def test_silence_until_maturity_means_zero():
    paid = [outcome("o", "paid", at(0, minutes=3))]
    assert label_of(RISK, paid, at(14) - timedelta(milliseconds=1)) == (None, None)
    assert label_of(RISK, paid, at(14)) == (0, at(14))


def test_a_chargeback_after_maturity_turns_the_zero_around():
    late = [outcome("o", "charged_back", at(20))]
    assert label_of(RISK, late, at(19)) == (0, at(14))
    assert label_of(RISK, late, at(20)) == (1, at(20))


def test_an_outcome_counts_from_when_it_was_received():
    late = [outcome("o", "charged_back", at(1), received=at(6))]
    assert label_of(RISK, late, at(5)) == (None, None)
    assert label_of(RISK, late, at(6)) == (1, at(6))


def test_without_maturity_silence_never_means_anything():
    from dataclasses import replace

    assert label_of(replace(CANCEL, maturity=None), [], at(9_000)) == (None, None)


def test_with_no_time_given_everything_counts_until_the_last_event():
    orders = [order("o", at()), order("later", at(30))]
    found = labels(*tables(orders, []), RISK)
    assert found["label"].to_list() == [0, None]


def holds(gaps_in_minutes: list[float], **entity: Any) -> dict[str, int | None]:
    """Labels of unpaid orders that expired so many minutes after the first."""
    orders = [order(f"o{gap}", at(0, minutes=gap), **entity) for gap in gaps_in_minutes]
    expired = [outcome(f"o{gap}", "expired", at(0, minutes=gap + 30)) for gap in gaps_in_minutes]
    found = labels(*tables(orders, expired), RISK, at(1))
    return dict(zip(found["order_id"].str.strip_prefix("o"), found["label"], strict=True))


def test_three_holds_of_a_device_within_the_hour_are_a_burst():
    assert holds([0, 20, 60], device="d") == {"0": 1, "20": 1, "60": 1}


def test_the_hour_reaches_to_both_sides_of_a_hold():
    assert holds([0, 50, 100, 400], device="d") == {"0": 0, "50": 1, "100": 0, "400": 0}


def test_holds_of_nobody_in_particular_are_no_burst():
    assert holds([0, 1, 2]) == {"0": 0, "1": 0, "2": 0}


def test_a_burst_is_known_when_its_third_hold_is_known():
    orders = [order(f"o{i}", at(), account="a") for i in range(3)]
    expired = [outcome(f"o{i}", "expired", at(0, minutes=30 + i)) for i in range(3)]
    data = tables(orders, expired)
    before = labels(*data, RISK, at(0, minutes=31))
    assert before["label"].to_list() == [0, 0, None]
    after = labels(*data, RISK, at(0, minutes=32))
    assert after["label"].to_list() == [1, 1, 1]
    assert after["known_time"].unique().to_list() == [at(0, minutes=32)]


def test_the_same_hold_reported_twice_counts_once():
    orders = [order(f"o{i}", at(), device="d") for i in range(2)]
    expired = [outcome(f"o{i}", "expired", at(0, minutes=30 + j)) for i in range(2) for j in (0, 1)]
    assert labels(*tables(orders, expired), RISK, at(1))["label"].to_list() == [0, 0]


def test_labels_come_in_the_order_of_the_orders():
    orders = [order(name, at(day)) for day, name in enumerate("cab")]
    found = labels(*tables(orders, [outcome("b", "cancelled", at(3))]), CANCEL, at(4))
    assert found["order_id"].to_list() == ["c", "a", "b"]
    assert dict(found.schema) == LABEL_SCHEMA


def test_no_orders_have_no_labels():
    assert labels(*tables([], []), RISK).is_empty()


KINDS = ["expired", "cancelled", "charged_back", "reviewed", "appeal_upheld", "delivered", "paid"]
happenings = st.lists(
    st.tuples(
        st.integers(0, 5),  # the order
        st.sampled_from(KINDS),
        st.floats(0, 20, allow_subnormal=False),  # days until it happens
        st.none() | st.floats(0, 20, allow_subnormal=False),  # days until it is received
        st.sampled_from([None, "risk.scalper", "user.changed_mind", "nonsense"]),
        st.sampled_from([None, "fraud", "genuine"]),
    ),
    max_size=25,
)


@settings(deadline=None, max_examples=60)
@given(happenings, st.floats(0, 25), st.sampled_from([RISK, CANCEL]))
def test_what_is_known_later_has_no_influence(events, days, target):
    orders = [order(f"o{i}", at(i / 100), device=f"d{i % 2}") for i in range(6)]
    outcomes = [
        outcome(
            f"o{number}",
            kind,
            at(happens),
            reason=reason,
            verdict=verdict,
            **({} if received is None else {"received": at(received)}),
        )
        for number, kind, happens, received, reason, verdict in events
    ]
    known_at = at(days)
    orders_table, all_outcomes = tables(orders, outcomes)
    known_by_then = all_outcomes.filter(
        pl.max_horizontal("event_time", "received_time") <= known_at
    )
    found = labels(orders_table, all_outcomes, target, known_at)
    assert found.equals(labels(orders_table, known_by_then, target, known_at))
    assert found.filter(pl.col("known_time") > known_at).is_empty()
    assert found["label"].is_null().equals(found["known_time"].is_null())
