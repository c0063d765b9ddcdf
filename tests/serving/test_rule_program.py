"""What is compiled to numpy says what Polars says."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.conditions import ConditionError, parse_condition
from serving.rule_columns import series_of
from serving.rule_program import RuleProgram, Values

SCHEMA = {
    "amount": pl.Float64(),
    "age": pl.Float64(),
    "flag": pl.Boolean(),
    "member": pl.Boolean(),
    "channel": pl.String(),
    "merchant": pl.String(),
    "event_time": pl.Datetime("ms", "UTC"),
}
DAY = 86_400_000

numbers = st.sampled_from([-0.0, 0.0, 0.1, 0.5, 1.0, 2.0, 2.5, 7.0, 1e19, -3.0, np.inf, np.nan])
rows = st.fixed_dictionaries(
    {
        "amount": numbers,
        "age": numbers,
        "flag": st.sampled_from([0.0, 1.0, np.nan]),
        "member": st.sampled_from([0.0, 1.0, np.nan]),
        "channel": st.sampled_from([None, "", "own", "jd", "it's", "other"]),
        "merchant": st.sampled_from([None, "own", "m1", "m2"]),
        "event_time": st.sampled_from([0.0, DAY - 1.0, DAY + 0.0, 19_723.0 * DAY]),
    }
)

number = st.sampled_from(["amount", "age"])
written = st.sampled_from(["0", "1", "2.5", "0.1", "-3", "1e19", "2 * 3.5", "7"])
compared = st.sampled_from(["=", "<>", "<", "<=", ">", ">="])
text = st.sampled_from(["channel", "merchant"])
texts = st.sampled_from(["'own'", "'jd'", "'m1'", "'it''s'", "''"])
flag = st.sampled_from(["flag", "member"])


def joined(*parts: st.SearchStrategy[str] | str) -> st.SearchStrategy[str]:
    return st.tuples(*(p if isinstance(p, st.SearchStrategy) else st.just(p) for p in parts)).map(
        " ".join
    )


atoms = st.one_of(
    joined(number, compared, written),
    joined(written, compared, number),
    joined(number, compared, number),
    joined(number, "BETWEEN", written, "AND", written),
    joined(number, "NOT BETWEEN", written, "AND", written),
    joined(number, "IN (", written, ",", written, ")"),
    joined(number, "NOT IN (", written, ",", written, ")"),
    joined("COALESCE(", number, ",", written, ")", compared, written),
    joined(st.one_of(number, text, flag), "IS NULL"),
    joined(st.one_of(number, text, flag), "IS NOT NULL"),
    joined(text, st.sampled_from(["=", "<>"]), texts),
    joined(text, "IN (", texts, ",", texts, ")"),
    joined(text, "NOT IN (", texts, ",", texts, ")"),
    joined(text, "LIKE", st.sampled_from(["'o%'", "'%w%'", "'_d'"])),
    joined(text, "=", text),
    flag,
    joined(flag, "=", st.sampled_from(["TRUE", "FALSE", "1", "0", "2"])),
    joined(flag, "IS", st.sampled_from(["TRUE", "NOT TRUE", "FALSE", "NOT FALSE"])),
    joined(flag, "=", flag),
    joined(number, "/ NULLIF(", number, ", 0)", compared, written),
    joined("event_time", compared, "DATE '1970-01-02'"),
    joined("EXTRACT(HOUR FROM event_time)", compared, written),
    st.just("ip IN LIST('bad')"),
    st.just("account NOT IN LIST('bad')"),
    joined("CASE WHEN", flag, "THEN", number, compared, written, "ELSE", flag, "END"),
)
conditions = st.recursive(
    atoms,
    lambda inner: st.one_of(
        joined("(", inner, "AND", inner, ")"),
        joined("(", inner, "OR", inner, ")"),
        joined("NOT (", inner, ")"),
        joined("(", inner, "XOR", inner, ")"),
    ),
    max_leaves=6,
)


def columns_of(cells: list[dict]) -> dict[str, Values]:
    columns: dict[str, Values] = {
        name: [row[name] for row in cells]
        if dtype == pl.String()
        else np.array([row[name] for row in cells], np.float64)
        for name, dtype in SCHEMA.items()
    }
    listed = np.arange(len(cells)) % 2 == 0
    return columns | {"list:bad:ip": listed, "list:bad:account": ~listed}


DTYPES = SCHEMA | {"list:bad:ip": pl.Boolean(), "list:bad:account": pl.Boolean()}


def frame_of(columns: dict[str, Values]) -> pl.DataFrame:
    return pl.DataFrame([series_of(name, DTYPES[name], cells) for name, cells in columns.items()])


def hits(program: RuleProgram, columns: dict[str, Values]) -> np.ndarray:
    said = program.run(columns, lambda: frame_of(columns), len(columns["amount"]))
    assert not said.failed
    return said.hits


@settings(deadline=None, max_examples=150)  # the machine may be busy
@given(
    st.lists(conditions, min_size=1, max_size=5),
    st.lists(rows, min_size=1, max_size=12),
)
def test_numpy_and_polars_say_the_same(several: list[str], cells: list[dict]):
    expressions: list[pl.Expr] = []
    for condition in several:
        try:
            expressions.append(parse_condition(condition, SCHEMA).expression)
        except ConditionError:  # always true, or a division by a constant that is no number
            continue
    columns = columns_of(cells)
    program = RuleProgram(expressions, DTYPES)
    together = hits(program, columns)
    assert together.shape == (len(cells), len(expressions))
    named = [each.alias(str(number)) for number, each in enumerate(expressions)]
    if named:
        expected = frame_of(columns).select(named).to_numpy()
        np.testing.assert_array_equal(together, expected)
    for index in range(len(cells)):  # and so alone as in a chunk
        one = {name: column[index : index + 1] for name, column in columns.items()}
        np.testing.assert_array_equal(hits(program, one)[0], together[index])


@pytest.mark.parametrize(
    "text",
    [
        "amount > 5 AND NOT flag AND channel = 'own'",
        "amount BETWEEN 0.5 AND 2.5 OR age NOT IN (1, 2)",
        "channel IN ('own', 'jd') AND merchant IS NOT NULL",
        "COALESCE(amount, 0) < 2 * 3.5 AND member = TRUE",
        "amount >= age AND flag IS NOT NULL",
        "event_time >= DATE '1970-01-02' AND ip IN LIST('bad')",
    ],
)
def test_common_conditions_do_not_need_polars(text: str):
    assert RuleProgram([parse_condition(text, SCHEMA).expression], DTYPES).polars_columns == []


def test_a_condition_that_fails_holds_for_none_and_the_others_go_on():
    # Nothing that a condition may use is known to fail for a row; these strict casts do.
    fails = pl.col("channel").cast(pl.Int64) > 1
    program = RuleProgram(
        [
            pl.col("flag"),
            fails,
            pl.col("flag") | fails,
            ~(pl.col("flag") & fails),
            pl.col("channel").str.starts_with("o"),
        ],
        SCHEMA,
    )
    row = {"amount": 1.0, "age": 1.0, "flag": 1.0, "member": 0.0, "merchant": None, "event_time": 0}
    columns = columns_of([row | {"channel": cell} for cell in ("own", "7")])
    said = program.run(columns, lambda: frame_of(columns), 2)
    assert said.hits.tolist() == [[True, False, False, False, True], [True] + [False] * 4]
    assert said.failed.keys() == {1, 2, 3}
    assert "conversion from `str` to `i64` failed" in said.failed[1]
    good = columns_of([row | {"channel": "7"}])
    assert hits(program, good).tolist() == [[True, True, True, False, False]]
