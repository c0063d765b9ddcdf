"""Lint finds everything at once, each with its place."""

from datetime import UTC, datetime

import pytest

from features.feature_set import feature_set
from serving.policy import default_text
from serving.rule_lint import Finding, lint

FEATURES = feature_set({"platform": "categorical"})
NOW = int(datetime(2026, 3, 1, tzinfo=UTC).timestamp() * 1000)

TIERS = """\
[tiers]
sms = { from = 80, action = "verify_sms" }
call = { from = 100, action = "verify_call" }
freeze = { from = 120, action = "freeze" }
[fast_lane]
member_level = 4
"""


def rule(name: str, when: str = "virtual_phone", more: str = "points = 10") -> str:
    return f'[[rules]]\nname = "{name}"\ntitle = "T"\ntitle_zh = "T"\nwhen = "{when}"\n{more}\n'


def findings(*rules: str, lists: set[str] | None = None, head: str = TIERS) -> list[Finding]:
    return lint(head + "".join(rules), FEATURES, now=NOW, known_lists=lists)


def one(*rules: str, lists: set[str] | None = None) -> tuple[str, str]:
    [finding] = findings(*rules, lists=lists)
    return finding.severity, finding.text


def test_every_broken_rule_is_found_with_its_line() -> None:
    found = findings(
        rule("good_one"),
        rule("no_column", "virtual_fone"),
        rule("no_points", more=""),
        rule("other_column", "amount > 5 AND\\n nothing_known"),
        rule("good_two", "attribute_platform = 'ios'"),
        rule("Wrong Name"),
        rule("good_one", "amount > 7"),
    )
    assert [(each.severity, each.line, each.rule) for each in found] == [
        ("error", 13, "no_column"),
        ("error", 19, "no_points"),
        ("error", 25, "other_column"),
        ("error", 37, "Wrong Name"),
        ("error", 43, "good_one"),
    ]
    said = [each.text for each in found]
    assert "did you mean 'virtual_phone'?" in said[0]
    assert "give either points" in said[1]
    assert "'nothing_known' at line 2, column 2" in said[2]
    assert "$.name" in said[3]
    assert said[4] == "rule good_one: another rule in line 7 has this name; rename one"
    assert all("\n" not in each for each in said)


def test_every_broken_part_is_found_beside_the_rules() -> None:
    head = "[tiers]\nsms = 3\n[exploration]\nshare = 2\n[circuit_breaker]\nfloor = 9\n"
    found = findings(rule("odd", "no_such"), head=head)
    assert {each.severity for each in found} == {"error"}
    parts = ("[tiers]", "[fast_lane] is missing", "[exploration]", "[circuit_breaker]", "rule odd")
    assert len(found) == len(parts)
    for part in parts:
        assert any(part in each.text for each in found), part


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("rules = [", "is not valid TOML"),
        ("x" * 10 + " = 1", "unknown part"),
        (TIERS.replace("[tiers]", "rules = 3\n[tiers]"), "rules must be written as"),
        (TIERS + "[[rules]]\n", "rule number 1"),
        (f"rules = [{'{}, ' * 2}]\n" + TIERS, "rule number 2"),
        ("a = " + "[" * 5000, "nested too deeply"),
    ],
)
def test_a_file_that_is_no_policy_is_an_error(text: str, said: str) -> None:
    assert any(
        said in each.text for each in lint(text, FEATURES, now=NOW) if each.severity == "error"
    )


def test_what_is_odd_is_a_warning() -> None:
    points_only = one(rule("odd", more="points = 9\noverridable = false"))
    assert points_only[0] == "warning"
    assert "with points only" in points_only[1]
    assert one(rule("odd", more="points = 9\nenabled = false")) == (
        "warning",
        "rule odd: it is disabled",
    )
    over = "points = 9\nvalid_until = 2026-02-01T00:00:00Z"
    assert "its term is over since 2026-02-01" in one(rule("odd", more=over))[1]
    assert not findings(rule("odd", more=over.replace("02-01", "03-02")))
    assert not findings(rule("odd", more='action = "cancel"\noverridable = false'))


def test_rules_of_one_condition_are_named_where_they_hold_for_the_same_orders() -> None:
    twice = [rule("first", "amount > 5 AND virtual_phone")]
    twice += [rule("second", "( amount  > 5 )  and virtual_phone")]
    assert one(*twice) == ("warning", "rule second: rule first has the same condition")
    elsewhere = rule("third", "amount > 5 AND virtual_phone", "points = 9\nchannels = ['pos']")
    assert not findings(twice[0], elsewhere)


def test_a_list_that_nobody_made_is_a_warning_where_lists_are_known() -> None:
    reads = rule("listed", "ip IN LIST('bad') OR device IN LIST('made')")
    assert not findings(reads)
    assert not findings(reads, lists={"bad", "made"})
    assert one(reads, lists={"made"})[1].startswith("rule listed: nobody has made the list 'bad'")


def test_a_disabled_rule_that_is_broken_does_not_stop_the_file() -> None:
    found = findings(rule("odd", "no_such", "points = 9\nenabled = false"))
    assert [each.severity for each in found] == ["warning", "warning"]
    assert "could not be enabled" in found[1].text


def test_a_header_in_a_long_text_is_no_rule() -> None:
    inside = '[[rules]]\nname = "long"\ntitle = "T"\ntitle_zh = "T"\npoints = 9\nwhen = """\nvirtual_phone\n[[rules]]\n"""\n'
    assert [each.line for each in findings(rule("one"), inside, rule("last", "no_such"))] == [
        13,
        22,
    ]


def test_the_shipped_rules_can_be_used() -> None:
    assert {each.severity for each in lint(default_text(), FEATURES, now=NOW)} <= {"warning"}
