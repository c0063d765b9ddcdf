"""Which side wins, where rules hold, and that a decision depends on nothing else."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.declare import ENTITIES
from orders.errors import UserError
from orders.events import Instant, Order
from serving.lists import EntityLists, entries
from serving.policy import Policy
from serving.prepared_policy import PreparedPolicy
from serving.rule_matcher import RuleInput
from serving.rules import Rule, read_rules
from serving.tiers import Threshold, TiersFor
from tests.serving.policy_cases import (
    FEATURE_SET,
    NOW,
    chunk,
    judge,
    order,
    policy,
    prepared,
    rule,
    tiers,
)

# By name: a rule, or the member level that opens the fast lane.
WHAT: dict[str, Rule | None] = {
    "firm cancel": rule("a", action="cancel", overridable=False),
    "firm sms": rule("b", side="verify", action="verify_sms", overridable=False),
    "firm points": rule("c", points=85, overridable=False),
    "member": None,
    "accept": rule("d", side="allow", action="accept"),
    "cancel": rule("e", action="cancel"),
    "freeze": rule("f", action="freeze"),
    "verify call": rule("g", side="verify", action="verify_call"),
    "verify sms": rule("h", side="verify", action="verify_sms"),
    "block points": rule("i", points=130),
    "verify points": rule("j", side="verify", points=150),
    "allow points": rule("k", side="allow", points=-60),
}

ALONE = {
    "firm cancel": "cancel",
    "firm sms": "sms",
    "firm points": "sms",
    "member": "pass",
    "accept": "pass",
    "cancel": "cancel",
    "freeze": "freeze",
    "verify call": "call",
    "verify sms": "sms",
    "block points": "freeze",
    "verify points": "call",
    "allow points": "pass",
}

# What both get together: rows and columns as in WHAT, one letter a pair.
LETTERS = {"p": "pass", "s": "sms", "c": "call", "f": "freeze", "X": "cancel"}
PAIRS = {
    "firm cancel": "XXXXXXXXXXXX",
    "firm sms": "XssssXfcsfcs",
    "firm points": "XssssXfcsfcp",
    "member": "Xssppppppppp",
    "accept": "Xssppppppppp",
    "cancel": "XXXppXXXXXXX",
    "freeze": "XffppXffffff",
    "verify call": "XccppXfccfcc",
    "verify sms": "XssppXfcsfcs",
    "block points": "XffppXfffffp",
    "verify points": "XccppXfccfcs",
    "allow points": "XspppXfcspsp",
}


def with_(*names: str) -> str:
    level = 4 if "member" in names else None
    rules = [WHAT[name] for name in dict.fromkeys(names)]
    by = prepared(*(each for each in rules if each is not None))
    return tiers(by, order(member_level=level))[0]


@pytest.mark.parametrize("name", WHAT)
def test_what_each_does_alone(name: str):
    assert with_(name) == ALONE[name]


CASES = [
    (one, other, LETTERS[letter])
    for one, row in PAIRS.items()
    for other, letter in zip(WHAT, row, strict=True)
    if one != other
]


@pytest.mark.parametrize(("one", "other", "expected"), CASES)
def test_precedence_of_each_pair(one: str, other: str, expected: str):
    assert with_(one, other) == expected


@settings(deadline=None, max_examples=50)  # the machine may be busy
@given(
    verify=st.lists(st.integers(1, 1_000), min_size=1, max_size=4),
    model=st.floats(-20, 79),
    hard=st.sampled_from([None, "verify_sms", "verify_call"]),
)
def test_the_side_of_verify_leads_to_a_call_at_most(verify: list[int], model: float, hard: Any):
    rules = [rule(f"v{n}", side="verify", points=points) for n, points in enumerate(verify)]
    if hard:
        rules.append(rule("hard", side="verify", action=hard))
    (tier,) = tiers(prepared(*rules), order(), model=model)
    assert tier in ("pass", "sms", "call")


def test_points_of_verify_do_not_lift_what_others_freeze():
    by = prepared(rule("a", points=120), rule("b", side="verify", points=10))
    assert tiers(by, order()) == ["freeze"]


@settings(deadline=None, max_examples=100)  # the machine may be busy
@given(st.lists(st.integers(1, 9_999), min_size=1, max_size=12), st.permutations(range(12)))
def test_points_are_summed_exactly_in_any_sequence(tenths: list[int], sequence: list[int]):
    rules = [rule(f"r{n}", points=points / 10) for n, points in enumerate(tenths)]
    shuffled = [rules[n] for n in sequence if n < len(rules)]
    for several in (rules, shuffled):
        (points,) = judge(prepared(*several), [order()]).verdicts.rule_points
        assert points == sum(tenths) / 10


def test_points_have_one_decimal_at_most():
    table = {"name": "a", "title": "t", "title_zh": "t", "when": "quantity > 1", "points": 0.25}
    with pytest.raises(UserError, match="rule a: points have one decimal at most"):
        read_rules([table], "my.toml")


# Scopes, terms, tiers by merchant and channel


def test_a_rule_holds_for_its_merchants_and_channels():
    by = prepared(
        rule("a", points=85, merchants=("m1", "m2"), channels=("own",)),
        rule("b", points=105, merchants=("m3",)),
    )
    placed = [
        order(),
        order(merchant="m2"),
        order(channel="app"),
        order(merchant=None),
        order(channel=None),
        order(merchant="m3", channel=None),
    ]
    assert tiers(by, *placed) == ["sms", "sms", "pass", "pass", "pass", "call"]


def test_a_rule_holds_in_its_term_by_event_time_the_end_excluded():
    start = datetime(2024, 1, 1, tzinfo=timezone(timedelta(hours=8)))
    by = prepared(rule("a", points=85, valid_from=start, valid_until=start + timedelta(days=1)))
    at = int(start.timestamp() * 1000)
    assert start.astimezone(UTC).hour == 16
    times = [at - 1, at, at + 86_399_999, at + 86_400_000]
    placed = [order(event_time=Instant(time)) for time in times]
    assert tiers(by, *placed) == ["pass", "sms", "sms", "pass"]


def of_others(sms: float, **whom: tuple[str, ...]) -> TiersFor:
    return TiersFor(
        sms=Threshold(sms, "verify_sms"),
        call=Threshold(200, "verify_call"),
        freeze=Threshold(300, "freeze"),
        **whom,
    )


def test_tiers_are_those_of_the_merchant_else_of_the_channel_else_the_default():
    by = prepared(
        rule("a", points=100),
        tiers_for=(of_others(150, channels=("app",)), of_others(50, merchants=("m2", "m3"))),
    )
    placed = [
        order(),
        order(channel="app"),
        order(merchant="m2"),
        order(merchant="m3", channel="app"),
        order(merchant=None, channel=None),
    ]
    assert tiers(by, *placed) == ["call", "pass", "sms", "sms", "call"]


def test_a_merchant_or_channel_has_one_table():
    table = 'sms = { from = 1, action = "verify_sms" }\ncall = { from = 2, action = "verify_call" }\nfreeze = { from = 3, action = "freeze" }\n'
    head = f"[tiers]\n{table}\n[fast_lane]\nmember_level = 4\n"
    for whom, said in (
        ('channels = ["a"]\nmerchants = ["b"]', "expected either merchants or channels"),
        ("", "expected either merchants or channels"),
        ('channels = ["a", "a"]', "'a' is in channels twice"),
    ):
        with pytest.raises(UserError, match=said):
            Policy.parse(f"{head}[[tiers_for]]\n{table}{whom}", "my.toml")


# Purity

RULES = (
    rule("firm", "amount >= 50", points=15.3, overridable=False),
    rule("block", "amount >= 20 AND NOT virtual_phone", points=60.7),
    rule("scoped", "sku IS NULL", points=45.1, channels=("own", "app")),
    rule(
        "term",
        "currency = 'CNY'",
        points=33.3,
        valid_from=datetime.fromtimestamp(NOW / 1000 + 1, UTC),
    ),
    rule("verify", "virtual_phone", side="verify", points=90),
    rule("allow", "amount / NULLIF(account_orders_24h, 0) > 5", side="allow", points=-20.1),
    rule("listed", "ip IN LIST('bad')", action="cancel"),
    rule("like", "merchant LIKE '%2'", action="freeze", merchants=("m2", "m3")),
)
PURE = prepared(
    *RULES, tiers_for=(of_others(70, channels=("app",)), of_others(60, merchants=("m2",)))
)


def held(*keys: int) -> Any:
    array = np.array(keys, np.uint64)
    return entries(array, np.zeros(len(keys), np.int64), np.full(len(keys), 2**62))


LISTS = EntityLists("v1", {"bad": held(1, 2)}, {"block": held(3), "listed": held(2)})

placed = st.builds(
    lambda n, **fields: order(n, event_time=Instant(NOW + 500 * n), **fields),
    st.integers(0, 5),
    channel=st.sampled_from(["own", "app", None]),
    merchant=st.sampled_from(["m1", "m2", "m3", None]),
    sku=st.sampled_from([None, "article"]),
    member_level=st.sampled_from([None, 0, 4]),
)
cells = st.sampled_from([np.nan, 0.0, 1.0, 30.0, 60.0])


@settings(deadline=None, max_examples=60)  # the machine may be busy
@given(
    st.lists(
        st.tuples(placed, st.tuples(cells, cells, cells), st.integers(0, 3), st.floats(-20, 150)),
        min_size=1,
        max_size=8,
    ),
    st.data(),
)
def test_an_order_is_judged_the_same_alone_and_in_any_chunk(several: list, data: st.DataObject):
    orders: list[Order] = [each[0] for each in several]
    base = chunk(orders, LISTS)
    names = ("amount", "virtual_phone", "account_orders_24h")
    for row, (_, values, key, _) in enumerate(several):
        for name, value in zip(names, values, strict=True):
            base.vectors[row, FEATURE_SET.names.index(name)] = value
        base.keys[row, ENTITIES.index("ip")] = key
    model = np.array([each[3] for each in several])

    def judged(rows: list[int]) -> list[tuple]:
        part = RuleInput(
            [orders[r] for r in rows], base.vectors[rows], base.keys[rows], None, LISTS
        )
        said = PURE.judge(part, model[rows])
        return list(zip(*(column.tolist() for column in said.verdicts), said.matched.hits.tolist(), said.matched.snoozed.tolist(), said.table.tolist(), strict=True))  # fmt: skip

    whole = judged(list(range(len(orders))))
    assert whole == judged(list(range(len(orders))))
    assert whole == [judged([row])[0] for row in range(len(orders))]
    sequence = data.draw(st.permutations(range(len(orders))))
    assert [whole[row] for row in sequence] == judged(list(sequence))
    again = PreparedPolicy(policy(*RULES, tiers_for=PURE.policy.tiers_for), FEATURE_SET)
    assert again.version == PURE.version
