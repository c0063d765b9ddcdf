"""Thresholds by cost: what is cheapest, what capacity forbids, and how sure the saving is."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import numpy as np
import polars as pl
import pytest

from features.feature_set import feature_set
from orders.errors import UserError
from orders.events import Order
from preempt.optimise import Optimised, evidence, optimise
from serving.costs import Costs
from serving.policy import Policy, default_text
from serving.policy_on_history import PolicyOnHistory
from serving.threshold_proposal import proposal
from serving.thresholds_by_cost import cheapest, cost_rows, one_by_one, saving
from serving.tiers import CALL, CANCEL, FREEZE, PASS, SMS
from tests.serving.archived_shop import ArchivedShop, decided
from tests.serving.test_backtest import (
    DAY,
    FEATURES,
    LISTS,
    READS_EVERYTHING,
    ended,
    policy,
    rule,
)
from tests.streams.traffic_maker import START, plain_orders

EXAMPLE = Path(__file__).parents[2] / "examples" / "costs.toml"
START_TIME = datetime(2026, 3, 1, tzinfo=UTC)
PRESENT = (80.0, 100.0, 120.0)


def rows(
    points: list[float], costs: list[list[float]], days: list[int] | None = None
) -> pl.DataFrame:
    """Orders with these points, and what each costs in each tier."""
    times = [START_TIME + timedelta(days=day) for day in days or [0] * len(points)]
    return pl.DataFrame(
        {
            "points": points,
            "firm_points": points,
            "floor": pl.Series([PASS] * len(points), dtype=pl.UInt8),
            "exempt": [False] * len(points),
            **{f"cost_{tier}": [float(row[tier]) for row in costs] for tier in range(CANCEL + 1)},
            "weight": [1.0] * len(points),
            "event_time": times,
            "day": [time.date() for time in times],
        }
    )


FRAUD, HONEST = [100.0, 50.0, 30.0, 10.0, 0.0], [0.0, 2.0, 4.0, 9.0, 99.0]


def test_thresholds_give_every_order_the_tier_that_the_policy_gives(tmp_path: Path):
    tried = policy(
        *READS_EVERYTHING.rules, rule("friends", "quantity = 3 AND amount < 9000", action="accept", side="allow")
    )  # fmt: skip
    shop = ArchivedShop(tmp_path, FEATURES)
    shop.archive(DAY, decided(DAY, tried, FEATURES, LISTS))
    on_history = PolicyOnHistory(tried, FEATURES, LISTS)
    history = shop.past().history
    needed = (on_history.features, on_history.of_decision, on_history.of_order)
    [block] = history.blocks(*needed)
    judged = on_history.judge(block)
    found = one_by_one(cost_rows(on_history, judged, np.zeros((len(block), 5)))).tier(PRESENT)
    assert found.tolist() == judged.verdicts.tier.tolist()
    assert set(found) == {PASS, SMS, CALL, FREEZE, CANCEL}


def test_the_cheapest_thresholds_part_fraud_from_honest_orders():
    made = rows([10, 42, 47, 63, 71], [HONEST, HONEST, FRAUD, FRAUD, FRAUD])
    found, tried = cheapest(made, {}, PRESENT)
    assert found == (45, 45, 45)
    assert tried > 500
    assert one_by_one(made).cost(found) == 30


def test_thresholds_stay_where_nothing_is_won():
    assert cheapest(rows([10, 20], [HONEST, HONEST]), {}, PRESENT)[0] == PRESENT


def test_capacity_of_the_busiest_day_is_kept_or_exceeded_the_least():
    made = rows([90.0] * 4, [FRAUD] * 4, [0, 0, 0, 1])
    assert cheapest(made, {FREEZE: 3}, PRESENT)[0][2] <= 90
    two, _ = cheapest(made, {FREEZE: 2}, PRESENT)
    assert one_by_one(made).tier(two).tolist() == [CALL] * 4
    none, _ = cheapest(made.with_columns(floor=pl.lit(FREEZE, pl.UInt8)), {FREEZE: 2}, PRESENT)
    assert none == PRESENT


def test_the_saving_is_paired_and_its_interval_is_of_days():
    draw = np.random.default_rng(1)
    days = np.repeat(np.arange(30), 100)
    frauds = draw.random(3000) < np.repeat(draw.uniform(0, 0.2, 30), 100)
    made = rows([90.0] * 3000, [FRAUD if fraud else HONEST for fraud in frauds], days.tolist())
    found = saving(made, PRESENT, (80, 85, 90))
    mean = frauds.mean()
    assert found.per_1000 == pytest.approx(1000 * (40 * mean - 7 * (1 - mean)))
    assert (found.unit, found.clusters) == ("days", 30)
    assert found.low < found.per_1000 < found.high
    by_order = 1.96 * 1000 * 47 * np.sqrt(mean * (1 - mean) / 3000)
    assert found.high - found.per_1000 > 1.5 * by_order, "days differ, and the interval shows it"
    assert saving(made, PRESENT, PRESENT).high == 0
    assert saving(made.head(300), PRESENT, PRESENT).unit == "hours"


def test_a_weight_counts_like_so_many_orders():
    made = rows([42, 47, 47], [HONEST, HONEST, FRAUD])
    weights = pl.Series([1.0, 20.0, 1.0])
    assert cheapest(made, {}, PRESENT)[0] == (45, 45, 45)
    assert cheapest(made.with_columns(weight=weights), {}, PRESENT)[0] != (45, 45, 45)


def test_costs_of_an_order_by_hand():
    costs = Costs.load(EXAMPLE)
    amount, fraud = np.array([10_000, 10_000]), np.array([True, False])
    bad, good = costs.of_orders(amount, fraud).tolist()
    assert bad == pytest.approx([10_000, 5 + 5_000, 30 + 2_000, 80 + 500, 0])
    assert good == pytest.approx([0, 5 + 245, 30 + 290, 80 + 425, 1_700])
    assert costs.capacity == {FREEZE: 10_800}


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('currency = "CNY"', "", "missing required field `currency`"),
        ("lost_goods = 1.0", "lost_goods = -1", "`float` >= 0"),
        ("honest_lost = 0.03", "honest_lost = 3", "`$.tier_sms.honest_lost`"),
        ("goodwill", "badwill", "unknown field `badwill`"),
        ("[tier_sms]", "[tier_sms", "not valid TOML"),
    ],
)
def test_a_costs_file_that_cannot_be_used_says_why(tmp_path: Path, old: str, new: str, said: str):
    file = tmp_path / "costs.toml"
    file.write_text(EXAMPLE.read_text("utf-8").replace(old, new, 1), encoding="utf-8")
    with pytest.raises(UserError) as refusal:
        Costs.load(file)
    assert said in str(refusal.value)
    with pytest.raises(UserError, match="cannot read the costs"):
        Costs.load(tmp_path / "none.toml")


def test_a_proposal_is_the_present_file_with_other_thresholds():
    text = default_text()
    made = proposal(text, "rules.toml", (55, 60.5, 140), ["found", "so"])
    assert made.startswith("# found\n# so\n\n# The default policy")
    assert Policy.parse(made, "made").tiers.starts == (55, 60.5, 140)
    changed = [a for a, b in zip(made.splitlines()[3:], text.splitlines(), strict=True) if a != b]
    assert len(changed) == 3
    assert Policy.parse(made, "made").rules == Policy.default().rules


def test_a_policy_whose_tiers_are_written_otherwise_is_not_guessed_at():
    text = default_text().replace(
        'sms = { from = 80, action = "verify_sms" }', 'sms.from = 80\nsms.action = "verify_sms"'
    )
    with pytest.raises(UserError, match="by hand: sms from 70, call from 100, freeze from 120"):
        proposal(text, "mine.toml", (70, 100, 120), [])


def a_month_of_fraud(tmp_path: Path, policy: Policy, drawn: float = 0.0) -> ArchivedShop:
    """40 days; what was placed by SMS-verified devices of one address is mostly charged back."""
    features = feature_set()
    orders: list[Order] = []
    for day in range(40):
        orders += plain_orders(30, seed=day, start=START + day * 86_400_000)
    orders = [
        msgspec.structs.replace(order, quantity=1, unit_price=20_000, category="clothing", merchant="m")
        for order in orders
    ]  # fmt: skip
    outcomes = [
        ended(order, "charged_back" if i % 3 == 0 and order.account.endswith(("1", "2")) else "delivered", 2)  # pyright: ignore[reportOptionalMemberAccess]
        for i, order in enumerate(orders)
    ]  # fmt: skip
    shop = ArchivedShop(tmp_path, features)
    shop.archive([*orders, *outcomes], decided(orders, policy, features))
    return shop


def found_in(shop: ArchivedShop, policy: Policy, costs: Costs) -> Optimised:
    past = shop.past(policy)
    return optimise(past, PolicyOnHistory(policy, past.history.feature_set), costs, 0.7)


def test_from_the_archive_to_a_proposal_with_its_evidence(tmp_path: Path):
    lax = policy(rule("odd", "account LIKE '%1' OR account LIKE '%2'", 60))
    found = found_in(a_month_of_fraud(tmp_path, lax), lax, Costs.load(EXAMPLE))
    assert found.thresholds[0] <= 60
    assert found.present.sms == 80
    assert found.low > 0
    assert found.proposed.cost_per_1000 + found.saving_per_1000 == pytest.approx(
        found.present.cost_per_1000
    )
    assert (found.drawn, found.warnings) == ("hours", ["there are few days, so hours were drawn: the interval may be too narrow"])  # fmt: skip
    assert found.unknown > 300  # the last 14 days
    assert found.chosen_on + found.tried_on + found.unknown == 1200
    said = "\n".join(evidence(found, "costs.toml"))
    assert "nobody has published it" in said
    assert f"sms 80 -> {found.proposed.sms:g}" in said


def test_explored_orders_stand_for_the_frozen_and_others_are_left_out(tmp_path: Path):
    strict = policy(rule("odd", "account LIKE '%1' OR account LIKE '%2'", 130))
    shop = a_month_of_fraud(tmp_path, strict)
    frozen = pl.col("tier") == "freeze"
    explored = frozen & (pl.col("offset") % 10 == 0)
    shop.rewrite(
        "decisions",
        explored.alias("explored"),
        pl.when(explored).then(pl.lit("call")).otherwise("tier").alias("tier"),
        pl.when(explored).then(0.1).when(frozen).then(0.9).otherwise(1.0).alias("propensity"),
    )
    dollars = pl.col("offset") % 2 == 1
    shop.rewrite(
        "orders", pl.when(dollars).then(pl.lit("USD")).otherwise("currency").alias("currency")
    )
    found = found_in(shop, strict, Costs.load(EXAMPLE))
    assert found.not_drawn > 50
    assert found.other_currency == 600


def test_too_little_history_is_a_clear_error(tmp_path: Path):
    shop = ArchivedShop(tmp_path, FEATURES)
    nobody = policy()
    shop.archive(DAY, decided(DAY, nobody, FEATURES))
    with pytest.raises(UserError, match="take a longer range"):
        found_in(shop, nobody, Costs.load(EXAMPLE))
