import polars as pl
import pytest

from serving.conditions import LONGEST, ConditionError, parse_condition

SCHEMA = {
    "amount": pl.Float64(),
    "orders": pl.Float64(),
    "channel": pl.String(),
    "flag": pl.Boolean(),
    "event_time": pl.Datetime("ms", "UTC"),
}


def holds(text: str, **cells: object) -> list[bool]:
    """What a condition says of rows; a column that is not given is unknown."""
    rows = max((len(column) for column in cells.values() if isinstance(column, list)), default=1)
    frame = pl.DataFrame(
        {name: cells.get(name, [None] * rows) for name in SCHEMA},
        schema=SCHEMA,
    )
    return frame.select(parse_condition(text, SCHEMA).expression).to_series().to_list()


@pytest.mark.parametrize(
    "text",
    [
        "amount > 5",
        "NOT amount > 5",
        "amount <> 5",
        "amount BETWEEN 1 AND 9",
        "amount NOT IN (1, 2)",
        "amount > -0.5",
        "amount / NULLIF(orders, 0) > 0",
        "flag",
        "NOT flag",
        "channel <> 'own'",
        "channel NOT LIKE 'o%'",
        "EXTRACT(HOUR FROM event_time) >= 0",
        "CASE WHEN amount > 1 THEN TRUE END",
    ],
)
def test_a_comparison_with_something_unknown_is_false(text: str):
    assert holds(text) == [False]


def test_a_rule_can_ask_whether_something_is_unknown():
    assert holds("channel IS NULL OR amount > 5") == [True]
    assert holds("COALESCE(amount, 0) < 5") == [True]


def test_a_quotient_whose_divisor_is_zero_is_unknown():
    text = "amount / NULLIF(orders, 0) > 1"
    assert holds(text, amount=[9.0, 9.0, 0.0], orders=[3.0, 0.0, 0.0]) == [True, False, False]


def test_a_flag_reads_as_yes_or_no_and_as_a_number():
    for text in ("flag", "flag = 1", "flag = TRUE", "flag IS TRUE"):
        assert holds(text, flag=[True, False, None]) == [True, False, False]


def test_text_is_matched_by_patterns_and_lists():
    channels = ["douyin", "own", None]
    assert holds("channel IN ('own', 'jd')", channel=channels) == [False, True, False]
    assert holds("channel LIKE 'd%'", channel=channels) == [True, False, False]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "unable to parse"),
        ("amount >", "unable to parse"),
        ("amount > 1; DROP TABLE orders", "unexpected token ';'"),
        ("amonut > 1", "there is no column 'amonut' at line 1, column 1; did you mean 'amount'?"),
        ("amount", "not a yes-or-no question"),
        ("amount > 'x'", "cannot compare string with numeric"),
        ("NOT amount", "NOT needs a yes-or-no question"),
        ("channel > 1", "cannot compare string with numeric"),
        ("1 = 1", "reads no column"),
        ("COLUMNS('a.*') > 1", "more than one answer"),
        ("(SELECT 1) = 1", "beyond the order at hand"),
        ("amount IN (SELECT amount FROM orders)", "relation 'orders' was not found"),
        ("read_csv('/etc/passwd') IS NULL", "unsupported function"),
        ("SUM(amount) > 1", "beyond the order at hand"),
        ("COUNT(*) > 1 AND flag", "beyond the order at hand"),
        ("ROW_NUMBER() OVER (ORDER BY amount) > 1", "beyond the order at hand"),
        ("amount > AVG(amount) OVER ()", "beyond the order at hand"),
        ("RANDOM() > 0.5 AND flag", "unsupported function"),
        ("event_time < NOW()", "reads a clock"),
        ("event_time < current_date", "reads a clock"),
        ("amount / orders > 1", "divides by what may be zero"),
        ("amount % orders = 1", "divides by what may be zero"),
        ("amount / 0 > 1", "divides by what may be zero"),
        ("CAST(channel AS INT) > 1", "use TRY_CAST"),
        ("channel::int > 1", "use TRY_CAST"),
        ("channel ~ '('", "regex"),
        ("SQRT(amount) > 1", "not for rules"),
        ("amount > " + "1" * LONGEST, f"at most {LONGEST}"),
        ("(" * 900 + "flag" + ")" * 900, "unable to parse"),
        ("amount" + "+1" * 900 + " > 0", "nested too deeply"),
    ],
)
def test_a_condition_that_may_not_be_used_is_refused_in_one_line(text: str, said: str):
    with pytest.raises(ConditionError) as refusal:
        parse_condition(text, SCHEMA)
    assert said in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert len(str(refusal.value)) < 300


def test_the_word_now_in_a_text_is_no_clock():
    assert holds("channel = 'now'", channel=["now"]) == [True]
