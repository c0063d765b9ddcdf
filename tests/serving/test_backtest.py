"""What a backtest says of the past is what the scorer said, or would have said."""

import json
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import numpy as np
import polars as pl
import pytest

from features.columns import event_columns_from_orders
from features.declare import ENTITIES
from features.feature_set import feature_set
from orders.errors import UserError
from orders.events import Instant, Order, Outcome
from serving import decision_history
from serving.decisions import Decision
from serving.lists import FOREVER, EntityLists, entries
from serving.policy import Policy, default_text
from serving.rules import Rule
from tests.serving.archived_shop import ArchivedShop, decided
from tests.streams.shop_day import shop_day

FEATURES = feature_set({"lead_time": "numeric", "segment": "categorical"})
DAY = shop_day(240)
ORDERS = [event for event in DAY if isinstance(event, Order)]
OUTCOMES = [event for event in DAY if isinstance(event, Outcome)]
KEYS = event_columns_from_orders(ORDERS, FEATURES).entity_key
DEVICES = np.unique(KEYS[:, ENTITIES.index("device")])
LISTS = EntityLists(
    version="1",
    lists={"bad": entries(DEVICES[:2], np.zeros(2, np.int64), np.full(2, FOREVER))},
    snoozes={"phone": entries(DEVICES[2:3], np.zeros(1, np.int64), np.full(1, FOREVER))},
)


def rule(name: str, when: str, points: float = 0, **fields: object) -> Rule:
    if points < 0:
        fields.setdefault("side", "allow")
    return Rule(name=name, title=name, title_zh=name, when=when, points=points, **fields)  # pyright: ignore[reportArgumentType]


def policy(*rules: Rule, more: str = "") -> Policy:
    """The default tiers, with other rules, and nothing that is explored."""
    text = default_text().partition("[[rules]]")[0].replace("share = 0.01", "share = 0.0")
    return msgspec.structs.replace(Policy.parse(text + more, "test"), rules=rules)


READS_EVERYTHING = policy(
    rule("feature", "account_orders_1h >= 4 AND amount > 50000", 50),
    rule("flag", "NOT virtual_phone AND new_device_for_account", 30),
    rule("unknown", "payment IS NULL AND account_seconds_since_last IS NULL", 85),
    rule("text", "merchant = 'merchant-1' AND account LIKE 'account-3%'", 40, side="verify"),
    rule("time", "EXTRACT(HOUR FROM event_time) >= 9 AND EXTRACT(DAY FROM account_created_time) <= 5", 25),
    rule("own_text", "attribute_segment = 'b' AND attribute_lead_time > 5", 45),
    rule("listed", "device IN LIST('bad') AND quantity = 2", 100),
    rule("phone", "phone LIKE '%3' OR phone LIKE '%4'", 80, overridable=False),
    rule("friend", "recipient = 'recipient-1'", -50),
    rule("hard", "order_id LIKE '%77' AND unit_price > 10", action="cancel"),
    rule("scoped", "amount > 1000", 60, merchants=("merchant-0",), valid_from=datetime.fromtimestamp(ORDERS[100].event_time / 1000, UTC)),
    more='[[tiers_for]]\nmerchants = ["merchant-0"]\n'
    'sms = { from = 50, action = "verify_sms" }\ncall = { from = 60, action = "verify_call" }\n'
    'freeze = { from = 150, action = "freeze" }\n',
)  # fmt: skip


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> ArchivedShop:
    made = ArchivedShop(tmp_path_factory.mktemp("archive"), FEATURES)
    made.archive(DAY, decided(DAY, READS_EVERYTHING, FEATURES, LISTS))
    return made


def test_the_policy_that_decided_would_decide_the_same(shop: ArchivedShop):
    found = shop.backtest(READS_EVERYTHING, lists=LISTS)
    assert found.orders == len(ORDERS)
    assert found.changed == 0
    assert len({move.after for move in found.moves}) == 5
    assert all(each.matches for each in found.rules), "each rule must have something to show"
    assert found.best == found.worst == {}
    assert found.warnings == []
    assert found.decided_by == {READS_EVERYTHING.version: len(ORDERS)}


def test_another_policy_gets_what_the_scorer_would_have_said(shop: ArchivedShop):
    other = policy(*READS_EVERYTHING.rules[1:6], rule("new", "account_orders_1h >= 2", 80))
    was = decided(DAY, READS_EVERYTHING, FEATURES, LISTS)
    would = decided(DAY, other, FEATURES, LISTS)
    moves = Counter((a.tier, b.tier) for a, b in zip(was, would, strict=True))
    for found in (
        shop.backtest(other, lists=LISTS),
        shop.backtest(other, against=READS_EVERYTHING, lists=LISTS),
    ):
        assert {(m.before, m.after): m.orders for m in found.moves} == moves
        assert found.changed == sum(n for (a, b), n in moves.items() if a != b) > 20
        newly = sum(n for (a, b), n in moves.items() if a == "pass" != b)
        assert sum(each.newly_stopped.orders for each in found.money) == newly
        for parts in (found.merchants, found.channels, found.days):
            assert sum(part.orders for part in parts) == len(ORDERS)
            assert sum(part.newly_stopped for part in parts) == newly
    matches = Counter(r.code for d in would for r in d.reasons)
    assert {f"rule:{r.name}": r.matches for r in found.rules} == {
        f"rule:{r.name}": matches[f"rule:{r.name}"] for r in other.rules
    }


def test_blocks_do_not_matter(shop: ArchivedShop, monkeypatch: pytest.MonkeyPatch):
    other = policy(rule("new", "account_orders_1h >= 2", 80))
    whole = shop.backtest(other)
    monkeypatch.setattr(decision_history, "BLOCK", 17)
    assert shop.backtest(other) == whole


def test_what_a_rule_stops_alone_and_how_rules_overlap(shop: ArchivedShop):
    found = shop.backtest(
        policy(rule("a", "quantity >= 2", 80), rule("b", "quantity = 3", 80), rule("c", "quantity = 3", -80))
    )  # fmt: skip
    two = sum(order.quantity == 2 for order in ORDERS)
    three = sum(order.quantity == 3 for order in ORDERS)
    a, b, c = found.rules
    assert (a.matches, b.matches, c.matches) == (two + three, three, three)
    assert (a.alone, b.alone, c.alone) == (two + three, three, 0)
    assert found.overlap[1] == pytest.approx([three / (two + three), 1, 1])
    assert a.amount == {"CNY": sum(o.quantity * o.unit_price for o in ORDERS if o.quantity >= 2)}


def ended(order: Order, kind: str, days: float, **fields: object) -> Outcome:
    return Outcome(order_id=order.order_id, kind=kind, event_time=Instant(order.event_time + round(days * 86_400_000)), **fields)  # pyright: ignore[reportArgumentType]  # fmt: skip


def test_money_precision_and_the_dearest_changes(tmp_path: Path):
    shop = ArchivedShop(tmp_path, FEATURES)
    orders = [
        msgspec.structs.replace(order, currency="USD" if i % 10 == 9 else "CNY", quantity=1, unit_price=1000 + i)
        for i, order in enumerate(ORDERS[:100])
    ]  # fmt: skip
    fates = [ended(orders[i], "charged_back", 3) for i in range(10)]
    fates += [ended(orders[i], "delivered", 1) for i in range(5, 60)]
    fates.append(Outcome(order_id="another", kind="paid", event_time=Instant(orders[60].event_time + 14 * 86_400_000)))  # fmt: skip
    fates.append(ended(orders[60], "delivered", 14))  # now: what came after order 60 is not mature
    nobody = policy()
    shop.archive([*orders, *fates], decided(orders, nobody, FEATURES))
    found = shop.backtest(policy(rule("all", "amount > 0", 80, targets=("risk", "love"))))
    assert found.changed == 100
    money = {(m.currency, m.fate): m for m in found.money}
    assert money["CNY", "charged_back"].all.orders == 9
    assert money["CNY", "charged_back"].newly_stopped.amount == sum(1000 + i for i in range(9))
    assert money["USD", "charged_back"].newly_stopped.amount == 1009
    assert money["CNY", "open"].all.orders == 35
    assert "CNY" in found.best
    best, worst = found.best["CNY"], found.worst["CNY"]
    assert [each.value for each in best] == [1000 + i for i in reversed(range(9))]
    assert [each.value for each in worst] == [-1060, *(-1000 - i for i in range(58, 49, -1))]
    assert (best[0].before, best[0].after, best[0].rules) == ("pass", "sms", ["all"])
    [risk] = found.rules[0].precision
    assert (risk.ones, risk.zeros, risk.unknown) == (10, 51, 39)
    assert risk.precision is not None
    assert risk.precision.share == pytest.approx(10 / 61)
    assert (risk.precision.low, risk.precision.high) == pytest.approx((0.0917, 0.2761), abs=1e-3)
    assert risk.unselected is None


def test_explored_orders_count_as_frozen_and_stand_for_those_that_were(tmp_path: Path):
    shop = ArchivedShop(tmp_path, FEATURES)
    orders = ORDERS[:40]
    late = ended(orders[39], "delivered", 20)
    bad = [ended(orders[i], "charged_back", 2) for i in (0, 1)]
    freezing = policy(rule("all", "amount >= 0", 130))
    shop.archive([*orders, *bad, late], decided(orders, freezing, FEATURES))
    number = pl.col("order_id").str.extract("-([0-9]+)$").cast(pl.Int64)
    explored = number < 4
    shop.rewrite(
        "decisions",
        explored.alias("explored"),
        pl.when(explored).then(pl.lit("call")).otherwise("tier").alias("tier"),
        pl.when(explored).then(0.1).otherwise(0.9).alias("propensity"),
    )
    found = shop.backtest(freezing)
    assert (found.changed, found.explored) == (0, 4)
    [risk] = found.rules[0].precision
    assert risk.precision is not None
    assert risk.precision.share == 2 / 40
    assert risk.unselected is not None
    assert (risk.unselected.share, risk.unselected.n) == pytest.approx((0.5, 4))


def test_repeats_and_decisions_without_their_orders_are_left_out(tmp_path: Path):
    shop = ArchivedShop(tmp_path, FEATURES)
    decisions = decided(ORDERS[:20], policy(), FEATURES)
    shop.archive(ORDERS[:20], decisions)
    shop.archive(ORDERS[:5], decisions[:5])
    shop.rewrite("orders")
    table = pl.read_delta(str(tmp_path / "orders")).filter(pl.col("offset") != 7)
    table.write_delta(str(tmp_path / "orders"), mode="overwrite")
    found = shop.backtest(policy(rule("all", "amount >= 0", 80)))
    assert (found.orders, found.repeats, found.without_order) == (19, 5, 1)
    assert found.changed == 19


def test_a_feature_or_list_that_the_past_does_not_have_is_unknown_and_said_so(tmp_path: Path):
    shop = ArchivedShop(tmp_path, FEATURES)
    shop.archive(ORDERS[:20], decided(ORDERS[:20], policy(), FEATURES))
    shop.rewrite("decisions", drop=["f_amount"])
    found = shop.backtest(
        policy(rule("a", "amount >= 0", 80), rule("b", "device IN LIST('bad')", 80), rule("c", "amount IS NULL", 80))
    )  # fmt: skip
    assert [each.matches for each in found.rules] == [0, 0, 20]
    assert found.warnings == [
        "20 of 20 decisions were served without the feature amount: it is unknown there",
        "no list 'bad' is given: rules find nothing on it",
    ]


def test_an_archive_that_holds_vectors_as_lists_is_read_as_well(tmp_path: Path, shop: ArchivedShop):
    old = ArchivedShop(tmp_path, FEATURES)
    old.archive(DAY, decided(DAY, READS_EVERYTHING, FEATURES, LISTS))
    columns = [f"f_{name}" for name in FEATURES.names]
    old.rewrite("decisions", pl.concat_list(columns).alias("features"))
    old.rewrite("decisions", drop=columns)
    new = shop.backtest(READS_EVERYTHING, lists=LISTS)
    assert old.backtest(READS_EVERYTHING, lists=LISTS) == new


def test_attributes_of_another_feature_set_are_merged_by_name(tmp_path: Path):
    plain, own = feature_set(), FEATURES
    shop = ArchivedShop(tmp_path, plain)
    bare = [msgspec.structs.replace(order, attributes=None) for order in ORDERS[:10]]
    shop.archive(bare, decided(bare, policy(), plain))
    shop.features = own
    shop.archive(ORDERS[10:30], decided(ORDERS[10:30], policy(), own))
    found = shop.backtest(policy(rule("a", "attribute_lead_time >= 0", 80)))
    assert [each.matches for each in found.rules] == [20]
    assert found.warnings[0].startswith("10 of 30 decisions were served without the feature attr")
    assert "2 feature sets" in found.warnings[1]


def test_no_archive_and_no_decision_in_the_range_are_clear_errors(
    shop: ArchivedShop, tmp_path: Path
):
    from preempt.past_decisions import past_decisions

    with pytest.raises(UserError, match="no table 'decisions'"):
        past_decisions(tmp_path, None, None)
    with pytest.raises(UserError, match="no decision from 2030-01-01"):
        past_decisions(shop.folder, datetime(2030, 1, 1, tzinfo=UTC), None)


def test_the_range_is_by_event_time_its_end_excluded(shop: ArchivedShop):
    from preempt.past_decisions import past_decisions

    start, end = (datetime.fromtimestamp(ORDERS[i].event_time / 1000, UTC) for i in (10, 20))
    assert len(past_decisions(shop.folder, start, end).history.rows) == 10


def test_a_result_is_plain_json(shop: ArchivedShop):
    found = json.loads(msgspec.json.encode(shop.backtest(READS_EVERYTHING)))
    assert found["candidate"] == {"name": "tried.toml", "version": READS_EVERYTHING.version}
    assert found["against"] == {"name": "live", "version": None}


def test_decisions_are_those_of_the_scorer() -> None:
    assert isinstance(decided(ORDERS[:1], policy(), FEATURES)[0], Decision)
