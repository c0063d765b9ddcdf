"""What differs between two policies is told field by field."""

from serving.policy import Policy, default_text
from serving.rule_diff import Difference, differences

DEFAULT = Policy.default()
NEW_RULE = """
[[rules]]
name = "night"
title = "Night"
title_zh = "夜"
when = "hour_of_day < 3"
action = "freeze"
"""
MERCHANTS = """
[[tiers_for]]
merchants = ["m1", "m2"]
sms = { from = 70, action = "verify_sms" }
call = { from = 100, action = "verify_call" }
freeze = { from = 120, action = "freeze" }
"""


def changed(*replacements: tuple[str, str], more: str = "") -> list[Difference]:
    text = default_text() + more
    for old, new in replacements:
        assert old in text
        text = text.replace(old, new, 1)
    return differences(DEFAULT, Policy.parse(text, "changed"))


def test_one_version_has_no_difference() -> None:
    assert not differences(DEFAULT, DEFAULT)
    assert not changed(("# The default policy", "# Ours"))


def test_fields_of_rules_and_parts_are_compared() -> None:
    found = changed(
        ("points = 50", "points = 55\nchannels = ['app']"),
        ("sms = { from = 80", "sms = { from = 75"),
        ("member_level = 4", "member_level = 5"),
        ("share = 0.01", "share = 0.02"),
        ("rule = 0.1", "rule = 0.2"),
    )
    assert [(each.where, each.field, each.before, each.after) for each in found] == [
        ("rule device_burst", "points", 50.0, 55.0),
        ("rule device_burst", "channels", [], ["app"]),
        ("tiers", "sms.from", 80.0, 75.0),
        ("fast_lane", "member_level", 4, 5),
        ("exploration", "share", 0.01, 0.02),
        ("circuit_breaker", "rule", 0.1, 0.2),
    ]
    assert {each.what for each in found} == {"changed"}


def test_a_rule_that_only_one_has_is_told_with_what_is_not_as_by_default() -> None:
    [added] = changed(more=NEW_RULE)
    assert (added.what, added.where) == ("added", "rule night")
    assert added.after == {
        "name": "night",
        "title": "Night",
        "title_zh": "夜",
        "when": "hour_of_day < 3",
        "points": 0.0,
        "action": "freeze",
    }
    [removed] = differences(Policy.parse(default_text() + NEW_RULE, ""), DEFAULT)
    assert (removed.what, removed.before) == ("removed", added.after)


def test_tiers_of_merchants_are_compared_by_merchant() -> None:
    found = changed(more=MERCHANTS)
    assert [(each.what, each.where) for each in found] == [
        ("added", "tiers_for merchant m1"),
        ("added", "tiers_for merchant m2"),
    ]
    split = MERCHANTS.replace('"m1", ', "") + MERCHANTS.replace(', "m2"', "").replace("70", "75")
    [other] = differences(
        Policy.parse(default_text() + MERCHANTS, ""), Policy.parse(default_text() + split, "")
    )
    assert (other.where, other.field) == ("tiers_for merchant m1", "sms.from")
    assert (other.before, other.after) == (70.0, 75.0)
