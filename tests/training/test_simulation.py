import numpy as np
import polars as pl
import pytest

from orders.events import Order, Outcome
from orders.reasons import REASONS
from orders.tables import ORDER_SCHEMA, OUTCOME_SCHEMA, orders_from_frame, outcomes_from_frame
from tests.training.simulated_shop import blocks, shop
from training.simulation.attacks import LATE
from training.simulation.config import DAY, HOUR, SimulationConfig
from training.simulation.drafts import ATTACK_KINDS, HONEST_KINDS
from training.simulation.generate import simulate
from training.simulation.world import build_world
from training.simulation.writing import TRUTH_SCHEMA

CONFIG = SimulationConfig(60_000, 10)


def digest(frames: list[pl.DataFrame]) -> int:
    return hash(tuple(pl.concat(frames).hash_rows(seed=1)))


def digests(config: SimulationConfig) -> list[int]:
    made = list(simulate(config))
    return [
        digest([getattr(block, name) for block in made]) for name in ("orders", "outcomes", "truth")
    ]


def test_equal_configurations_make_equal_tables_and_another_seed_makes_others():
    config = SimulationConfig(4_000, 2, seed=3, block_orders=1_500)
    assert digests(config) == digests(config)
    other = digests(SimulationConfig(4_000, 2, seed=4, block_orders=1_500))
    assert all(a != b for a, b in zip(digests(config), other, strict=True))


@pytest.mark.parametrize(
    ("orders", "days"), [(1, 0.001), (7, 30), (200, 1), (999, 0.37), (2_500, 2.5)]
)
def test_there_are_exactly_as_many_orders_as_asked_for_within_the_days(orders, days):
    made = shop(orders, days, block=1_000)
    config = SimulationConfig(orders, days)
    assert made.orders.height == made.truth.height == orders
    assert made.orders["order_id"].n_unique() == orders
    times = made.orders["event_time"].dt.epoch("ms")
    assert times.is_between(config.start, config.end - 1).all()


def test_tables_have_the_canonical_columns_sorted_by_event_time():
    made = shop()
    assert dict(made.orders.schema) == ORDER_SCHEMA
    assert dict(made.outcomes.schema) == OUTCOME_SCHEMA
    assert dict(made.truth.schema) == TRUTH_SCHEMA
    for table in made:
        assert table["event_time"].is_sorted()
    assert made.truth["order_id"].equals(made.orders["order_id"])


def test_rows_are_valid_events():
    made = shop(500, 1)
    assert all(isinstance(order, Order) for order in orders_from_frame(made.orders))
    assert all(isinstance(outcome, Outcome) for outcome in outcomes_from_frame(made.outcomes))


def test_columns_lie_in_their_ranges():
    orders = shop().orders
    assert (orders["account_created_time"] < orders["event_time"]).all()
    assert (orders["received_time"] > orders["event_time"]).all()
    assert orders["member_level"].is_between(0, 6).all()
    assert orders["member_level"].n_unique() == 7
    assert orders["quantity"].is_between(1, 50).all()
    assert (orders["unit_price"] >= 1).all()
    assert (orders["unit_price"] <= orders["list_price"]).all()
    assert orders["phone"].str.contains(r"^1\d{10}$").all()
    octets = orders["ip"].drop_nulls().str.split(".").list.eval(pl.element().cast(pl.Int64))
    assert octets.list.len().unique().to_list() == [4]
    assert (octets.list.max() <= 255).all()


def test_an_account_stays_who_it_is():
    orders = shop().orders
    traits = orders.group_by("account").agg(
        pl.col("account_created_time").n_unique().alias("created"),
        pl.col("phone").n_unique(),
    )
    assert traits["created"].max() == 1
    assert traits["phone"].max() == 1


def test_every_kind_occurs_and_one_order_in_twenty_is_an_attack():
    truth = shop().truth
    assert set(truth.filter("is_attack")["kind"]) == set(ATTACK_KINDS)
    assert set(truth.filter(~pl.col("is_attack"))["kind"]) == set(HONEST_KINDS)
    assert 0.04 < truth["is_attack"].cast(pl.Float64).sum() / truth.height < 0.06
    assert truth["attack_id"].is_null().equals(~truth["is_attack"])
    assert truth["attack_start"].is_null().equals(~truth["is_attack"])
    assert (
        truth.drop_nulls("attack_start")["attack_start"]
        <= truth.drop_nulls("attack_start")["event_time"]
    ).all()


@pytest.mark.parametrize("share", [0.0, 0.2])
def test_the_share_of_attacks_is_a_setting(share):
    made = list(simulate(SimulationConfig(20_000, 5, attack_share=share)))
    attacks = pl.concat([block.truth for block in made])["is_attack"].sum()
    assert attacks == pytest.approx(share * 20_000, rel=0.1)


def test_the_late_kinds_appear_late():
    truth = shop().truth
    change = CONFIG.start + LATE * CONFIG.days * DAY
    first = truth.group_by("kind").agg(pl.col("event_time").min().dt.epoch("ms").alias("first"))
    late = set(first.filter(pl.col("first") >= change)["kind"])
    assert late == {"promo_abuse", "slow_ring"}


def test_rings_learn_to_spread_over_more_devices_and_longer():
    made = shop(200_000, 20)
    rings = (
        made.truth.with_columns(made.orders["device"])
        .filter(pl.col("kind") == "ring")
        .group_by("attack_id")
        .agg(
            pl.col("attack_start").first(),
            (pl.len() / pl.col("device").n_unique()).alias("orders_per_device"),
            (pl.col("event_time").max() - pl.col("event_time").min()).alias("length"),
        )
        .sort("attack_start")
    )
    third = rings.height // 3
    early, late = rings.head(third), rings.tail(third)
    assert median(early["orders_per_device"]) > 1.2 * median(late["orders_per_device"])
    assert median(late["length"].cast(pl.Int64)) > 1.3 * median(early["length"].cast(pl.Int64))


def median(values: pl.Series) -> float:
    return float(np.median(values.to_numpy()))


def test_scalpers_place_a_dozen_orders_in_three_seconds_to_different_addresses():
    made = shop()
    bursts = (
        made.orders.with_columns(made.truth["kind"], made.truth["attack_id"])
        .filter(pl.col("kind") == "scalper")
        .group_by("attack_id")
        .agg(
            (pl.col("event_time").max() - pl.col("event_time").min())
            .dt.total_milliseconds()
            .alias("ms"),
            pl.len(),
            pl.col("address").n_unique().alias("addresses"),
            pl.col("account").n_unique().alias("accounts"),
            pl.col("phone")
            .str.slice(0, 3)
            .is_in(["170", "171", "162", "165", "167"])
            .any()
            .alias("virtual"),
        )
    )
    quick = bursts.filter(pl.col("ms") < 8_000)
    assert quick.height > bursts.height / 4
    assert 9 <= median(quick["len"]) <= 15
    assert 1_500 < median(quick["ms"]) < 4_500
    assert (quick["addresses"] == quick["len"]).mean() == 1
    assert quick["accounts"].max() == 1
    assert 0.2 < quick["virtual"].cast(pl.Float64).sum() / quick.height < 0.8


def test_a_stock_hold_is_a_large_part_of_what_is_pending_and_is_not_paid():
    made = shop()
    paid = made.outcomes.filter(pl.col("kind") == "paid").select(
        "order_id", pl.lit(True).alias("paid")
    )
    rows = made.truth.join(paid, on="order_id", how="left")
    holds = rows.filter(pl.col("kind") == "stock_hold")
    assert holds["paid"].null_count() / holds.height > 0.95
    minutes = rows["event_time"].dt.truncate("30m")
    half_hours = rows.with_columns(minutes.alias("half_hour")).group_by("half_hour")
    held = half_hours.agg(
        ((pl.col("kind") == "stock_hold").sum() / pl.len()).alias("part"), pl.len()
    )
    busy = held.filter(pl.col("len") > 100)
    assert 0.15 < float(busy["part"].to_numpy().max()) < 0.6


def test_gift_senders_ship_to_several_addresses_that_come_back_on_other_days():
    made = shop()
    gifts = made.orders.with_columns(made.truth["kind"]).filter(pl.col("kind") == "gift_sender")
    days = gifts.group_by("account", "address").agg(
        pl.col("event_time").dt.date().n_unique().alias("days")
    )
    senders = gifts.group_by("account").agg(pl.col("address").n_unique().alias("addresses"))
    assert (senders["addresses"] >= 2).sum() > senders.height / 3
    assert (days["days"] >= 2).sum() > 50


def test_carrier_addresses_are_shared_by_many_and_households_share_devices():
    orders = shop().orders
    per_ip = orders.group_by("ip").agg(pl.col("account").n_unique()).drop_nulls()
    assert (per_ip["account"] > 200).any()
    homes = orders.group_by("device").agg(
        pl.col("account").n_unique().alias("accounts"), pl.col("ip")
    )
    assert (homes["accounts"] == 2).sum() > 100


def test_the_last_day_has_a_promotion_peak_of_five_to_ten_times_the_usual():
    calendar = build_world(CONFIG).calendar
    last = calendar.promotions[-1]
    assert CONFIG.end - DAY <= last.start < last.end <= CONFIG.end
    assert last.end - last.start == HOUR
    times = shop().orders["event_time"].dt.epoch("ms").to_numpy()

    def orders_from(start: int) -> int:
        return int(((times >= start) & (times < start + HOUR)).sum())

    usual = np.median([orders_from(last.start - back * DAY) for back in range(1, 6)])
    assert 5 < orders_from(last.start) / usual < 10


def test_a_price_error_brings_a_rush_that_is_cancelled_in_one_batch():
    made = shop()
    calendar = build_world(CONFIG).calendar
    assert calendar.price_errors
    rush = made.orders.with_columns(made.truth["kind"]).filter(pl.col("kind") == "price_rush")
    assert rush.height > 30
    assert ((rush["unit_price"] * 10 - rush["list_price"]).abs() <= 10).all()
    cancelled = made.outcomes.filter(pl.col("kind") == "cancelled").join(
        rush, on="order_id", how="semi"
    )
    paid = made.outcomes.filter(pl.col("kind") == "paid").join(rush, on="order_id", how="semi")
    delivered = made.outcomes.filter(pl.col("kind") == "delivered").join(
        rush, on="order_id", how="semi"
    )
    assert delivered.is_empty()
    assert paid.join(cancelled, on="order_id", how="anti").is_empty()
    assert (cancelled["reason"].drop_nulls() == "merchant.price_error").sum() > cancelled.height / 2


def test_no_payment_goes_through_while_the_gateway_is_down():
    calendar = build_world(CONFIG).calendar
    assert calendar.gateway_failures
    outcomes = shop().outcomes
    for span in calendar.gateway_failures:
        during = outcomes.filter(
            pl.col("event_time").dt.epoch("ms").is_between(span.start, span.end, closed="left")
        )
        assert "paid" not in during["kind"]
        assert (during["kind"] == "payment_failed").sum() > 10


def test_memory_holds_one_block_and_each_begins_where_the_last_ended():
    config = SimulationConfig(30_000, 6, block_orders=2_000)
    last = 0
    for block in blocks(config):
        assert block.orders.height <= 2_001
        for table in (block.orders, block.outcomes):
            if table.height:
                times = table["event_time"].dt.epoch("ms")
                assert times.is_sorted()
        if block.orders.height:
            # what has happened by the end of a block has been told
            assert block.outcomes["event_time"].dt.epoch("ms")[0] >= last
            last = int(block.outcomes["event_time"].dt.epoch("ms")[-1])
    assert len(blocks(config)) >= 15


def test_unlabelled_reasons_are_few_and_labelled_ones_are_in_the_taxonomy():
    cancelled = shop().outcomes.filter(pl.col("kind") == "cancelled")
    reasons = cancelled["reason"]
    assert set(reasons.drop_nulls()) <= set(REASONS)
    assert {"user", "merchant", "platform", "risk", "unlabelled"} <= set(
        reasons.drop_nulls().str.split(".").list.first()
    )
    unknown = reasons.fill_null("unlabelled") == "unlabelled"
    assert 0.05 < unknown.sum() / cancelled.height < 0.2
    assert 0.3 < cancelled["reason_text"].is_not_null().sum() / cancelled.height < 0.7


def test_milliseconds_are_uniform_for_everyone():
    made = shop()
    attack = made.truth["is_attack"].to_numpy()
    millis = (made.orders["event_time"].dt.epoch("ms") % 1000).to_numpy()
    for who in (attack, ~attack):
        counts = np.histogram(millis[who], bins=10, range=(0, 1000))[0]
        expected = counts.sum() / 10
        assert ((counts - expected) ** 2 / expected).sum() < 27.9  # chi-square, 9 df, p = 0.001


def test_the_curve_of_the_day_peaks_in_the_evening():
    hours = ((shop().orders["event_time"].dt.epoch("ms") + 8 * HOUR) % DAY // HOUR).value_counts()
    by_hour = dict(hours.iter_rows())
    assert by_hour[21] > 5 * by_hour[4]
