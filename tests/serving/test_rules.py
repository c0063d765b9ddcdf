import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.columns import event_columns_from_orders
from features.feature_set import feature_set
from orders.errors import UserError
from orders.events import Instant, Order
from serving.policy import Policy
from serving.rule_matcher import RuleInput, RuleMatcher
from serving.rules import Rule, read_rules

FEATURE_SET = feature_set({"platform": "categorical", "lead_time": "numeric"})
ATTRIBUTES = {"platform": "ios", "lead_time": 3.0}
DAY_ONE = 1_700_000_000_000


def rule(when: str, name: str = "some_rule", points: float = 10) -> Rule:
    return Rule(name=name, title="A title", title_zh="标题", when=when, points=points)


def order(**fields: object) -> Order:
    given_fields = {"order_id": "o-1", "event_time": Instant(DAY_ONE), "quantity": 1}
    return Order(**{**given_fields, "unit_price": 100, "currency": "CNY", **fields})


def vector(**features: float) -> np.ndarray:
    """One row of features; what is not named is unknown."""
    row = np.full((1, len(FEATURE_SET.names)), np.nan)
    for name, value in features.items():
        row[0, FEATURE_SET.names.index(name)] = value
    return row


def chunk(
    vectors: np.ndarray, of: Order | None = None, probability: np.ndarray | None = None
) -> RuleInput:
    orders = [of or order()] * len(vectors)
    keys = event_columns_from_orders(orders, FEATURE_SET).entity_key
    return RuleInput(orders, vectors, keys, probability)


def matches(
    when: str, features: np.ndarray, of: Order | None = None, probability: float | None = None
) -> bool:
    matcher = RuleMatcher([rule(when)], FEATURE_SET)
    chances = None if probability is None else np.array([probability])
    return bool(matcher.match(chunk(features, of or order(), chances)).hits[0, 0])


@pytest.mark.parametrize("name", [n for n in FEATURE_SET.names if n not in FEATURE_SET.categorical])
def test_no_comparison_with_a_missing_feature_ever_matches(name: str):
    # Polars holds NaN to be above every number; rules must not see it.
    assert not matches(f"{name} > 0", vector())
    assert not matches(f"{name} >= 0 OR {name} < 0", vector())
    assert not matches(f"NOT {name} > 0", vector())
    assert matches(f"{name} IS NULL", vector())


def test_a_rule_reads_features_order_fields_and_the_model():
    known = vector(device_orders_5m=4, virtual_phone=1, attribute_lead_time=3)
    assert matches("device_orders_5m >= 4 AND virtual_phone", known)
    assert matches("attribute_lead_time = 3", known)
    assert matches("device = 'd' AND unit_price >= 100", known, order(device="d"))
    assert matches("model_probability > 0.5", known, probability=0.6)
    assert not matches("model_probability > 0.5", known, probability=None)
    assert matches("EXTRACT(YEAR FROM event_time) = 2023", known)


def test_a_rule_reads_the_text_of_a_category_not_its_hash():
    hashed = vector(channel=123456.0, attribute_platform=654321.0)
    mine = order(channel="douyin", attributes=ATTRIBUTES)
    assert matches("channel = 'douyin' AND attribute_platform = 'ios'", hashed, mine)
    assert not matches("channel = 'douyin' OR attribute_platform = 'ios'", vector())


def test_a_disabled_rule_matches_nothing_and_is_not_compiled():
    off = Rule(name="off", title="x", title_zh="x", when="no_such", points=1, enabled=False)
    matcher = RuleMatcher([off, rule("virtual_phone")], FEATURE_SET)
    assert [r.name for r in matcher.rules] == ["some_rule"]


def test_a_condition_that_cannot_be_used_is_named_with_its_rule():
    with pytest.raises(UserError, match=r"^rule some_rule: there is no column 'deviec_orders_5m'"):
        RuleMatcher([rule("deviec_orders_5m > 1")], FEATURE_SET)


RULE = {"name": "a", "title": "t", "title_zh": "t", "when": "virtual_phone", "points": 1}


@pytest.mark.parametrize(
    ("tables", "said"),
    [
        ([{**RULE, "pionts": 3}], "rule a: Object contains unknown field `pionts`"),
        ([{**RULE, "points": "many"}], "rule a: Expected `float`, got `str` - at `$.points`"),
        ([{**RULE, "points": 0}], "rule a: give either points other than 0, or an action"),
        ([{**RULE, "action": "cancel"}], "rule a: give either points other than 0, or an action"),
        ([{**RULE, "action": "explode"}], "rule a: Invalid enum value 'explode'"),
        ([{**RULE, "points": float("nan")}], "rule a: Expected `float` >= -1000"),
        ([{"name": "b"}], "rule b: Object missing required field `title`"),
        ([{"title": "t"}], "rule number 1: Object missing required field `name`"),
        ([{**RULE, "name": "Not A Name"}], "rule Not A Name: Expected `str` matching regex"),
        ([RULE, RULE], "rule a: another rule has this name"),
        (["text"], "rule number 1: Expected `object`, got `str`"),
    ],
)
def test_a_rule_that_cannot_be_read_is_named_with_what_is_wrong(tables: list, said: str):
    with pytest.raises(UserError) as refusal:
        read_rules(tables, "my.toml")
    assert str(refusal.value).startswith(f"my.toml: {said}")
    assert "\n" not in str(refusal.value)


cells = st.one_of(st.just(np.nan), st.integers(0, 100_000).map(float))
rows = st.lists(cells, min_size=len(FEATURE_SET.names), max_size=len(FEATURE_SET.names))


@settings(deadline=None, max_examples=30)  # the machine may be busy
@given(st.lists(rows, min_size=1, max_size=5))
def test_an_order_matches_the_same_rules_alone_and_in_a_chunk(several: list[list[float]]):
    matcher = RuleMatcher(Policy.default().rules, FEATURE_SET)
    vectors = np.array(several)
    together = matcher.match(chunk(vectors)).hits
    alone = [matcher.match(chunk(vectors[[i]])).hits[0] for i in range(len(several))]
    np.testing.assert_array_equal(together, np.array(alone))


def test_an_empty_chunk_and_an_empty_rule_set_are_fine():
    assert RuleMatcher([], FEATURE_SET).match(chunk(vector())).hits.shape == (1, 0)
    some = RuleMatcher([rule("virtual_phone")], FEATURE_SET)
    assert some.match(chunk(np.empty((0, len(FEATURE_SET.names))))).hits.shape == (0, 1)
