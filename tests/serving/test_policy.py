import tomllib
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.feature_set import feature_set
from orders.decision_table import TIERS
from orders.errors import UserError
from serving.policy import Policy, Verdicts, weights_of
from serving.rule_matcher import RuleMatcher
from serving.rules import Rule, read_rules

POLICY = Policy.default()
NOBODY = np.nan


def rule(points: float = 0, **fields: object) -> Rule:
    if points == 0:
        fields.setdefault("action", "cancel")
    if points < 0:
        fields.setdefault("side", "allow")
    return Rule(name="a", title="t", title_zh="t", when="x", points=points, **fields)  # pyright: ignore[reportArgumentType]


def judged(
    rules: list[Rule], model: float | None = None, level: float = NOBODY, policy: Policy = POLICY
) -> Verdicts:
    """The verdict on one order that all of the rules match."""
    return policy.judge(
        np.ones((1, len(rules)), dtype=bool),
        weights_of(rules),
        None if model is None else np.array([model]),
        np.array([level]),
    )


def tier(*args: object, **kwargs: object) -> str:
    return TIERS[judged(*args, **kwargs).tier[0]]  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        (-40, "pass"),
        (79.9, "pass"),
        (80, "sms"),
        (99.9, "sms"),
        (100, "call"),
        (112, "call"),
        (119.9, "call"),
        (120, "freeze"),
        (500, "freeze"),
    ],
)
def test_a_tier_begins_at_its_number_and_ends_before_the_next(points: float, expected: str):
    assert tier([rule(points)]) == expected


def test_each_tier_has_its_action():
    assert dict(zip(TIERS, POLICY.tiers.actions, strict=True)) == {
        "pass": "accept",
        "sms": "verify_sms",
        "call": "verify_call",
        "freeze": "freeze",
        "cancel": "cancel",
    }


def test_points_of_rules_and_model_add_up():
    verdict = judged([rule(50), rule(-30)], model=61.24)
    assert verdict.rule_points.tolist() == [20]
    assert verdict.model_points.tolist() == [61.2]
    assert verdict.points.tolist() == [81.2]
    assert verdict.tier.tolist() == [TIERS.index("sms")]


def test_without_a_model_rules_decide_alone():
    assert judged([rule(50)]).model_points.tolist() == [0]
    assert tier([rule(50), rule(50)]) == "call"


def test_only_a_hard_rule_cancels_and_does_so_whatever_the_points():
    assert tier([rule(1000)]) == "freeze"
    assert tier([rule(-1000), rule(action="cancel")]) == "cancel"


@pytest.mark.parametrize(
    ("level", "expected"), [(NOBODY, "freeze"), (3, "freeze"), (4, "pass"), (6, "pass")]
)
def test_members_from_level_4_pass_over_the_thresholds(level: float, expected: str):
    assert tier([rule(130)], level=level) == expected
    assert judged([rule(130)], level=level).fast_lane.tolist() == [expected == "pass"]


def test_the_fast_lane_keeps_the_points_it_lets_through():
    assert judged([rule(130)], level=5).points.tolist() == [130]


def test_the_fast_lane_does_not_lift_a_rule_that_is_not_overridable():
    assert tier([rule(130), rule(1, overridable=False)], level=6) == "freeze"
    assert tier([rule(action="cancel", overridable=False)], level=6) == "cancel"


def test_who_passes_anyway_is_not_said_to_have_used_the_fast_lane():
    assert judged([rule(10)], level=6).fast_lane.tolist() == [False]


matrices = st.lists(
    st.tuples(
        st.lists(st.booleans(), min_size=3, max_size=3),
        st.floats(0, 150),
        st.sampled_from([NOBODY, 0, 3, 4, 6]),
    ),
    min_size=1,
    max_size=6,
)


@settings(deadline=None, max_examples=30)  # the machine may be busy
@given(matrices)
def test_the_policy_is_pure(orders: list):
    rules = [rule(50), rule(60, overridable=False), rule(action="cancel")]
    weights = weights_of(rules)
    matched, points, levels = (np.array(column) for column in zip(*orders, strict=True))
    before = matched.copy(), points.copy(), levels.copy()
    once = POLICY.judge(matched, weights, points, levels)
    again = POLICY.judge(matched, weights, points, levels)
    for column, same in zip(once, again, strict=True):
        np.testing.assert_array_equal(column, same)
    for index in range(len(orders)):
        row = slice(index, index + 1)
        alone = POLICY.judge(matched[row], weights, points[row], levels[row])
        for column, of_one in zip(once, alone, strict=True):
            assert column[index] == of_one[0]
    for given_, kept in zip((matched, points, levels), before, strict=True):
        np.testing.assert_array_equal(given_, kept)


DEFAULT = Path(__file__).parents[2].joinpath("serving", "rules.toml").read_text("utf-8")


def load(folder: Path, text: str) -> Policy:
    file = folder / "my.toml"
    file.write_text(text, encoding="utf-8")
    return Policy.load(file)


def test_the_version_follows_the_content_and_nothing_else(tmp_path: Path):
    default = load(tmp_path, DEFAULT)
    assert len(default.version) == 12
    assert default.version == POLICY.version
    assert load(tmp_path, "# a comment\n" + DEFAULT).version == POLICY.version
    assert load(tmp_path, DEFAULT.replace("points = 50", "points = 51")).version != POLICY.version
    assert load(tmp_path, DEFAULT.replace("from = 80", "from = 81")).version != POLICY.version
    shuffled = msgspec.structs.replace(POLICY, rules=POLICY.rules[::-1])
    assert shuffled.version == POLICY.version


def test_thresholds_and_actions_are_data(tmp_path: Path):
    text = DEFAULT.replace("from = 80", "from = 40").replace('"verify_call"', '"verify_sms"')
    policy = load(tmp_path, text)
    assert tier([rule(40)], policy=policy) == "sms"
    assert policy.tiers.actions[2] == "verify_sms"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("[tiers]", "[teirs]", "unknown part 'teirs'"),
        ("[tiers]", "[[tiers", "is not valid TOML"),
        ("from = 80", "from = 180", "[tiers]: expected 0 < sms.from <= call.from"),
        ('"verify_sms"', '"freeze"', "[tiers]: a tier's action must be no harder than"),
        ('action = "freeze"', 'action = "verify_sms"', "[tiers]: a tier's action must be"),
        ("from = 80", 'from = "80"', "[tiers]: Expected `float`, got `str`"),
        ("member_level = 4", "level = 4", "[fast_lane]: Object "),
        ("points = 50", "pionts = 50", "rule device_burst: Object contains unknown field"),
    ],
)
def test_a_file_that_cannot_be_read_says_where_and_why(
    tmp_path: Path, old: str, new: str, said: str
):
    with pytest.raises(UserError) as refusal:
        load(tmp_path, DEFAULT.replace(old, new, 1))
    assert said in str(refusal.value)
    assert "my.toml" in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_missing_part_or_file_is_named(tmp_path: Path):
    with pytest.raises(UserError, match=r"the part \[tiers\] is missing"):
        load(tmp_path, "")
    with pytest.raises(UserError, match=r"cannot read the rules in .*: No such file"):
        Policy.load(tmp_path / "absent.toml")
    with pytest.raises(UserError, match="cannot read the rules in"):
        Policy.load(tmp_path)
    (tmp_path / "latin.toml").write_bytes(b"# \xe9")
    with pytest.raises(UserError, match="is not UTF-8"):
        Policy.load(tmp_path / "latin.toml")


def test_no_default_rule_counts_orders_of_a_day_alone():
    # Family purchases and holiday gifts are real: nobody is stopped for four orders a day.
    assert not [r.name for r in POLICY.rules if "_orders_24h" in r.when]


def test_the_rule_in_the_documentation_can_be_used():
    page = Path(__file__).parents[2].joinpath("docs", "policy.md").read_text("utf-8")
    example = page.split("```toml\n")[1].split("```")[0]
    (documented,) = read_rules(tomllib.loads(example)["rules"], "policy.md")
    assert RuleMatcher([documented], feature_set()).rules == (documented,)


def test_the_starter_for_a_shop_without_a_model_has_all_default_rules_and_two_more():
    starter = Policy.load(Path(__file__).parents[2] / "examples" / "rules_without_model.toml")
    RuleMatcher(starter.rules, feature_set())
    assert {rule.name for rule in starter.rules} - {rule.name for rule in POLICY.rules} == {
        "unproven_account_hops",
        "unproven_device_shared",
    }
    assert set(POLICY.rules) < set(starter.rules)
