import polars as pl
import pytest

from orders.reasons import REASONS, reason_of_text
from tests.training.simulated_shop import Shop, shop
from training.simulation.calendar import is_weekend_evening
from training.simulation.config import DAY, MINUTE, SECOND


@pytest.fixture(scope="module")
def made() -> Shop:
    return shop()


def delays(made: Shop, kind: str) -> pl.Series:
    """Milliseconds from the order to each outcome of a kind."""
    ordered = made.orders.select("order_id", pl.col("event_time").alias("ordered"))
    rows = made.outcomes.filter(pl.col("kind") == kind).join(ordered, on="order_id")
    return (rows["event_time"] - rows["ordered"]).dt.total_milliseconds()


def quantile(values: pl.Series, part: float) -> float:
    found = values.quantile(part)
    assert found is not None
    return found


def test_payment_takes_a_minute_or_two_and_never_more_than_thirty(made):
    paid = delays(made, "paid")
    assert 30 * SECOND < quantile(paid, 0.5) < 3 * MINUTE
    assert quantile(paid, 0) > 0
    assert quantile(paid, 1) < 30 * MINUTE


def test_what_is_not_paid_expires_after_thirty_minutes(made):
    expired = delays(made, "expired")
    assert quantile(expired, 0) >= 30 * MINUTE
    assert quantile(expired, 1) < 31 * MINUTE


def test_chargebacks_come_after_one_to_six_weeks_and_later_than_the_last_day(made):
    charged_back = delays(made, "charged_back")
    assert quantile(charged_back, 0) >= 6 * DAY
    assert quantile(charged_back, 1) <= 42 * DAY
    assert 12 * DAY < quantile(charged_back, 0.5) < 25 * DAY
    assert made.outcomes["event_time"][-1] > made.orders["event_time"][-1]


def test_digital_goods_are_delivered_at_once_and_parcels_in_days(made):
    digital = made.orders.with_columns(
        pl.col("category").is_in(["card_key", "top_up"]).alias("digital")
    )
    rows = (
        made.outcomes.filter(pl.col("kind") == "delivered")
        .join(made.outcomes.filter(pl.col("kind") == "paid"), on="order_id", suffix="_paid")
        .join(digital.select("order_id", "digital"), on="order_id")
        .with_columns(
            (pl.col("event_time") - pl.col("event_time_paid")).dt.total_milliseconds().alias("ms")
        )
    )
    keys, parcels = (rows.filter(pl.col("digital") == flag)["ms"] for flag in (True, False))
    assert quantile(keys, 0.9) < MINUTE
    assert quantile(parcels, 0) >= DAY
    assert quantile(parcels, 1) <= 4 * DAY


def test_every_order_comes_to_exactly_one_end(made):
    ends = made.outcomes.filter(pl.col("kind").is_in(["delivered", "expired", "cancelled"]))
    assert ends["order_id"].n_unique() == ends.height == made.orders.height


def test_outcomes_follow_one_another_in_order(made):
    first = made.outcomes.pivot(
        on="kind", index="order_id", values="event_time", aggregate_function="min"
    )
    for earlier, later in (
        ("paid", "delivered"),
        ("paid", "refunded"),
        ("cancel_requested", "cancelled"),
        ("cancelled", "refunded"),
        ("cancelled", "appealed"),
        ("appealed", "appeal_upheld"),
        ("appealed", "appeal_rejected"),
        ("delivered", "charged_back"),
    ):
        both = first.drop_nulls([earlier, later])
        assert both.height > 10, (earlier, later)
        assert (both[earlier] < both[later]).all(), (earlier, later)


def test_nothing_is_refunded_that_was_not_paid_and_no_key_is_shown_and_refunded(made):
    by_kind = {
        kind: made.outcomes.filter(pl.col("kind") == kind).select("order_id")
        for kind in ("paid", "refunded", "delivered")
    }
    assert by_kind["refunded"].join(by_kind["paid"], on="order_id", how="anti").is_empty()
    assert by_kind["refunded"].join(by_kind["delivered"], on="order_id", how="semi").is_empty()


def test_about_two_in_five_unpaid_orders_were_never_meant_to_be_paid(made):
    paid = made.outcomes.filter(pl.col("kind") == "paid")
    unpaid = made.truth.join(paid, on="order_id", how="anti")
    assert 0.3 < unpaid["is_attack"].sum() / unpaid.height < 0.5


def test_labels_are_noisy_both_ways(made):
    risky = made.outcomes.filter(
        (pl.col("kind") == "charged_back")
        | ((pl.col("kind") == "cancelled") & pl.col("reason").str.starts_with("risk"))
        | ((pl.col("kind") == "reviewed") & (pl.col("verdict") == "fraud"))
    )
    attacks, honest = made.truth.filter("is_attack"), made.truth.filter(~pl.col("is_attack"))
    known = attacks.join(risky, on="order_id", how="semi").height / attacks.height
    wronged = honest.join(risky, on="order_id", how="semi").height / honest.height
    assert 0.35 < known < 0.8  # the rest expired, or never came to light
    assert 0.001 < wronged < 0.01
    upheld = made.outcomes.filter(pl.col("kind") == "appeal_upheld")
    assert attacks.join(upheld, on="order_id", how="semi").is_empty()
    assert upheld.height > 20


def test_cancellations_surge_on_weekend_evenings():
    made = shop(200_000, 20)
    cancelled = made.outcomes.filter(
        (pl.col("kind") == "cancelled") & ~pl.col("reason").fill_null("").str.starts_with("risk")
    )
    rows = made.orders.with_columns(
        pl.col("order_id").is_in(cancelled["order_id"].implode()).alias("cancelled"),
        pl.Series("surge", is_weekend_evening(made.orders["event_time"].dt.epoch("ms").to_numpy())),
    )
    surge, usual = (
        rows.filter(pl.col("surge") == flag)["cancelled"].to_numpy().mean()
        for flag in (True, False)
    )
    assert surge > 1.4 * usual


def test_what_people_write_means_the_reason_they_have(made):
    cancelled = made.outcomes.filter(pl.col("kind") == "cancelled")
    pairs = cancelled.select("reason", "reason_text").drop_nulls().unique()
    assert pairs.height > 40
    for reason, text in pairs.iter_rows():
        assert reason_of_text(text) == reason
    alone = cancelled.filter(pl.col("reason").is_null())
    assert alone["reason_text"].null_count() == 0
    assert {reason_of_text(text) for text in alone["reason_text"]} <= set(REASONS)
