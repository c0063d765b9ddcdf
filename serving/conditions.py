"""The condition of a rule: one SQL expression that looks at the order at hand and nothing else.

`polars.sql_expr` reads far more SQL than a rule may use. What is let through is listed here and
everything else is refused when the rule is loaded, so that a condition

- gives each order the same answer alone and in any chunk: no aggregate, no window function;
- gives the same answer tomorrow: no clock, no chance, no subquery;
- cannot fail, or turn true, for a single odd order: no strict cast, no division by zero.

A missing value is null, so a comparison with it is neither true nor false, and the rule does not
match; `IS NULL` asks for it.
"""

import io
import json
import re
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, NamedTuple

import polars as pl
from polars.exceptions import PolarsError

LONGEST = 2_000  # characters

_TEXT_LITERAL = re.compile(r"'(?:[^']|'')*'")
_CLOCK = re.compile(
    r"\b(current_date|current_time|current_timestamp|localtime|localtimestamp|now|today)\b", re.I
)

_COMPARISONS = {"Eq", "NotEq", "Lt", "LtEq", "Gt", "GtEq", "EqValidity", "NotEqValidity"}
_DIVISIONS = {"Div", "Divide", "TrueDivide", "FloorDivide", "Rem", "Modulus", "Mod"}
_OPERATORS = _COMPARISONS | _DIVISIONS | {"And", "Or", "Xor", "Plus", "Minus", "Multiply"}
_ROW_BY_ROW = {
    "Abs": {""},
    "Ceil": {""},
    "Coalesce": {""},
    "FillNull": {""},
    "Floor": {""},
    "MaxHorizontal": {""},
    "MinHorizontal": {""},
    "Sign": {""},
    "Boolean": {"IsBetween", "IsIn", "IsNotNull", "IsNull", "Not"},
    "Sql": {"Binary", "IsIn", "Round", "ToFloat"},
    "StringExpr": {
        "ConcatHorizontal",
        "Contains",
        "EndsWith",
        "Find",
        "LenBytes",
        "LenChars",
        "Lowercase",
        "Slice",
        "StartsWith",
        "StripChars",
        "Uppercase",
    },
    "TemporalExpr": {
        "Day",
        "Hour",
        "IsoYear",
        "Minute",
        "Month",
        "Second",
        "Week",
        "WeekDay",
        "Year",
    },
}


class Condition(NamedTuple):
    """A checked condition, ready to be evaluated over a frame that has the columns it reads."""

    expression: pl.Expr  # boolean, never null
    columns: frozenset[str]


class ConditionError(ValueError):
    """A condition that may not be used; the message says what is wrong with it."""


def parse_condition(text: str, schema: Mapping[str, pl.DataType]) -> Condition:
    """Read `text` as a condition over the columns of `schema`.

    Raises:
        ConditionError: when it is not SQL, reads an unknown column, is not a yes-or-no question,
            or asks for more than the order at hand.

    >>> parse_condition("amount > 100", {"amount": pl.Float64()}).columns
    frozenset({'amount'})
    """
    expression = _parse(text)
    columns = frozenset(expression.meta.root_names())
    unknown = sorted(columns - schema.keys())
    if unknown:
        raise ConditionError(f"there is no column {unknown[0]!r}{_nearest(unknown[0], schema)}")
    try:
        _refuse_all_but_row_by_row(_tree(expression), schema)
    except RecursionError:
        raise ConditionError("it is nested too deeply") from None
    if not columns:
        raise ConditionError("it reads no column, so it is the same for every order")
    _try_out(expression, {name: schema[name] for name in sorted(columns)})
    return Condition(expression.fill_null(False), columns)


def _parse(text: str) -> pl.Expr:
    if len(text) > LONGEST:
        raise ConditionError(f"it has {len(text)} characters, at most {LONGEST} are allowed")
    clock = _CLOCK.search(_TEXT_LITERAL.sub("''", text))
    if clock:
        raise ConditionError(f"{clock[0]!r} reads a clock; compare with event_time instead")
    try:
        expression = pl.sql_expr(text)
    except PolarsError as error:
        raise ConditionError(_first_line(error)) from None
    if expression.meta.has_multiple_outputs():
        raise ConditionError("it stands for more than one answer")
    return expression


def _tree(expression: pl.Expr) -> Any:
    try:
        return json.loads(expression.meta.serialize(format="json"))
    except PolarsError as error:  # a subquery has no tree
        raise ConditionError(_first_line(error)) from None


def _refuse_all_but_row_by_row(node: Any, schema: Mapping[str, pl.DataType]) -> None:
    match node:
        case {"Column": _} | {"Literal": _}:
            return
        case {"Alias": [inner, _]}:
            _refuse_all_but_row_by_row(inner, schema)
        case {"BinaryExpr": {"left": left, "op": str(operator), "right": right}}:
            if operator not in _OPERATORS:
                raise ConditionError(f"the operator {operator!r} is not for rules")
            if operator in _DIVISIONS:
                _refuse_division_by_zero(right)
            _refuse_all_but_row_by_row(left, schema)
            _refuse_all_but_row_by_row(right, schema)
        case {"Ternary": {"predicate": predicate, "truthy": truthy, "falsy": falsy}}:
            for part in (predicate, truthy, falsy):
                _refuse_all_but_row_by_row(part, schema)
        case {"Cast": {"expr": inner, "dtype": dtype, "options": options}}:
            if options != "NonStrict" and "Literal" not in inner:
                _refuse_failing_cast(inner, dtype, schema)
            _refuse_all_but_row_by_row(inner, schema)
        case {"Function": {"input": list(inputs), "function": function}}:
            family, name = _function_name(function)
            if name not in _ROW_BY_ROW.get(family, ()):
                raise ConditionError(f"{name or family} is not for rules")
            if name == "Binary" and function["Sql"]["Binary"] in _DIVISIONS:
                _refuse_division_by_zero(inputs[1])
            if name == "Contains" and "Literal" not in inputs[1]:
                raise ConditionError("a pattern must be written out, not read from a column")
            for part in inputs:
                _refuse_all_but_row_by_row(part, schema)
        case _:
            name = node if isinstance(node, str) else next(iter(node))
            raise ConditionError(f"{name} looks beyond the order at hand")


def _refuse_failing_cast(node: Any, dtype: Any, schema: Mapping[str, pl.DataType]) -> None:
    if dtype != {"Literal": "Boolean"}:
        raise ConditionError("CAST fails where a value does not fit; use TRY_CAST")
    # NOT casts what it negates to yes or no; that is safe when it is yes or no already.
    expression = pl.Expr.deserialize(io.StringIO(json.dumps(node)), format="json")
    try:
        (negated,) = pl.DataFrame(schema=dict(schema)).select(expression).dtypes
    except PolarsError as error:
        raise ConditionError(_first_line(error)) from None
    if negated != pl.Boolean:
        raise ConditionError(f"NOT needs a yes-or-no question, not a {negated}")


def _function_name(function: Any) -> tuple[str, str]:
    """A function of the tree as family and name: `{"Sql": {"Round": …}}` is `("Sql", "Round")`."""
    if isinstance(function, str):
        return function, ""
    ((family, inner),) = function.items()
    if isinstance(inner, dict):
        inner = next(iter(inner), "")
    return family, inner if isinstance(inner, str) else ""


def _refuse_division_by_zero(divisor: Any) -> None:
    # A quotient by zero would be infinite or NaN, and Polars holds NaN to be above every number.
    match divisor:
        case {"Literal": {"Dyn": {"Int": int(number) | float(number)}}} if number != 0:
            return
        case {"Literal": {"Scalar": {"Decimal": [int(number), *_]}}} if number != 0:
            return
        case {
            "Ternary": {"predicate": {"BinaryExpr": {"op": "Eq", "right": zero}}, "truthy": null}
        }:
            if zero == {"Literal": {"Dyn": {"Int": 0}}} and "Null" in str(null):
                return
    raise ConditionError("it divides by what may be zero; write x / NULLIF(y, 0)")


def _try_out(expression: pl.Expr, schema: Mapping[str, pl.DataType]) -> None:
    # Two odd rows show what a check of types alone does not: a pattern that does not compile.
    for cell in (None, 1):
        row = {name: pl.Series([cell]).cast(dtype) for name, dtype in schema.items()}
        try:
            answer = pl.DataFrame(row).select(expression).to_series()
        except PolarsError as error:
            raise ConditionError(_first_line(error)) from None
        if answer.dtype != pl.Boolean:
            raise ConditionError(f"it is not a yes-or-no question but a {answer.dtype}")


def _first_line(error: PolarsError) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:200]


def _nearest(name: str, schema: Mapping[str, pl.DataType]) -> str:
    near = get_close_matches(name, list(schema), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""
