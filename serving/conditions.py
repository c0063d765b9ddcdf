"""The condition of a rule: one SQL expression that looks at the order at hand and nothing else.

`polars.sql_expr` reads far more SQL than a rule may use. What is let through is listed here and
everything else is refused when the rule is loaded, so that a condition

- gives each order the same answer alone and in any chunk: no aggregate, no window function;
- gives the same answer tomorrow: no clock, no chance, no subquery;
- cannot fail, or turn true, for a single odd order: no strict cast, no division by zero.

A missing value is null, so a comparison with it is neither true nor false, and the rule does not
match; `IS NULL` asks for it. `ip IN LIST('name')` asks whether a value is on a list that people keep
(`serving.lists`); it is a column of its own, true or false.
"""

import io
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from polars.exceptions import PanicException, PolarsError

from serving.condition_text import (
    ConditionError,
    ConditionText,
    ListRead,
    nearest,
    place_of,
    read_text,
)

_ODD_ROWS = 2_000
FAILURES = (PolarsError, PanicException)
"""What Polars raises; a panic is no PolarsError, and not even an Exception."""

_COMPARISONS = {"Eq", "NotEq", "Lt", "LtEq", "Gt", "GtEq", "EqValidity", "NotEqValidity"}
_DIVISIONS = {"Div", "Divide", "TrueDivide", "Rem", "Modulus", "Mod"}
_WHOLE_DIVISIONS = {"FloorDivide", "IntDiv"}
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


_YES = pl.Boolean()


class Condition(NamedTuple):
    """A checked condition, ready to be evaluated over a frame that has the columns it reads."""

    expression: pl.Expr  # boolean, never null
    columns: frozenset[str]  # of the order
    lists: frozenset[ListRead]  # whose columns it reads besides


def parse_condition(text: str, schema: Mapping[str, pl.DataType]) -> Condition:
    """Read `text` as a condition over the columns of `schema` and lists.

    Raises:
        ConditionError: when it is not SQL, reads an unknown column, is not a yes-or-no question,
            asks for more than the order at hand, or holds for every order.

    >>> parse_condition("amount > 100", {"amount": pl.Float64()}).columns
    frozenset({'amount'})
    """
    written = read_text(text, schema.keys())
    columns_of_lists = {read.column for read in written.lists}
    expression = _parse(written.sql)
    columns = frozenset(expression.meta.root_names()) - columns_of_lists
    unknown = sorted(columns - schema.keys())
    if unknown:
        raise ConditionError(f"there is no column {unknown[0]!r}{nearest(unknown[0], schema)}")
    dtypes = {name: schema[name] for name in sorted(columns)}
    dtypes |= dict.fromkeys(sorted(columns_of_lists), _YES)
    try:
        _refuse_all_but_row_by_row(tree_of(expression), dtypes)
    except RecursionError:
        raise ConditionError("it is nested too deeply") from None
    except ConditionError as refused:
        raise ConditionError(f"{refused}{place_of(text, refused.near)}") from None
    if not dtypes:
        raise ConditionError("it reads no column, so it is the same for every order")
    _try_out(expression, dtypes, written)
    return Condition(expression.fill_null(False), columns, written.lists)


def _parse(sql: str) -> pl.Expr:
    try:
        expression = pl.sql_expr(sql)
    except FAILURES as error:
        raise ConditionError(_first_line(error)) from None
    if expression.meta.has_multiple_outputs():
        raise ConditionError("it stands for more than one answer")
    return expression


def tree_of(expression: pl.Expr) -> Any:
    """The syntax tree of an expression, as Polars writes it.

    Raises:
        ConditionError: it has none.
    """
    try:
        return json.loads(expression.meta.serialize(format="json"))
    except FAILURES as error:  # a subquery has no tree
        raise ConditionError(_first_line(error)) from None


def _refuse_all_but_row_by_row(node: Any, schema: Mapping[str, pl.DataType]) -> None:
    match node:
        case {"Column": _} | {"Literal": _}:
            return
        case {"Alias": [inner, _]}:
            _refuse_all_but_row_by_row(inner, schema)
        case {"BinaryExpr": {"left": left, "op": str(operator), "right": right}}:
            if operator not in _OPERATORS:
                raise ConditionError(f"the operator {operator!r} is not for rules", operator)
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
                raise ConditionError(f"{name or family} is not for rules", name or family)
            if name == "Binary" and function["Sql"]["Binary"] in _WHOLE_DIVISIONS:
                # It fails for an order whose number is above 2**63.
                raise ConditionError("it divides to a whole number; write FLOOR(x / y)", "//")
            if name == "Binary" and function["Sql"]["Binary"] in _DIVISIONS:
                _refuse_division_by_zero(inputs[1])
            if name in ("Contains", "Find") and "Literal" not in inputs[1]:
                raise ConditionError("a pattern must be written out, not read from a column")
            for part in inputs:
                _refuse_all_but_row_by_row(part, schema)
        case _:
            name = node if isinstance(node, str) else next(iter(node))
            raise ConditionError(f"{name} looks beyond the order at hand", name)


def _refuse_failing_cast(node: Any, dtype: Any, schema: Mapping[str, pl.DataType]) -> None:
    if dtype != {"Literal": "Boolean"}:
        raise ConditionError("CAST fails where a value does not fit; use TRY_CAST", "CAST")
    # NOT casts what it negates to yes or no; that is safe when it is yes or no already.
    try:
        expression = expression_of(node)
        (negated,) = pl.DataFrame(schema=dict(schema)).select(expression).dtypes
    except FAILURES as error:
        raise ConditionError(_first_line(error)) from None
    if negated != pl.Boolean:
        raise ConditionError(f"NOT needs a yes-or-no question, not a {negated}", "NOT")


def expression_of(node: Any) -> pl.Expr:
    """The expression of a part of a syntax tree."""
    return pl.Expr.deserialize(io.StringIO(json.dumps(node)), format="json")


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
            "Ternary": {
                "predicate": {
                    "BinaryExpr": {"left": tested, "op": "Eq", "right": {"Literal": {"Dyn": zero}}}
                },
                "truthy": {"Literal": {"Scalar": {"Null": _}}},
                "falsy": divisor,
            }
        } if tested == divisor and zero == {"Int": 0}:  # NULLIF(y, 0)
            return
    raise ConditionError("it divides by what may be zero; write x / NULLIF(y, 0)", "/")


def _try_out(
    expression: pl.Expr, schema: Mapping[str, pl.DataType], written: ConditionText
) -> None:
    # Odd rows show what a check of types alone does not: a pattern that does not compile.
    rng = np.random.default_rng(0)
    rows = {name: _odd_cells(dtype, written, rng) for name, dtype in schema.items()}
    try:
        answer = pl.DataFrame(rows).select(expression).to_series()
    except FAILURES as error:
        raise ConditionError(_first_line(error)) from None
    if answer.dtype != pl.Boolean:
        raise ConditionError(f"it is not a yes-or-no question but a {answer.dtype}")
    if answer.fill_null(False).all():
        raise ConditionError("it holds whatever the order is; a rule must tell orders apart")


def _odd_cells(dtype: pl.DataType, written: ConditionText, rng: np.random.Generator) -> pl.Series:
    """Cells of one column, drawn from odd values and from those about which the condition asks."""
    if dtype == pl.String:
        kinds = [None, "", "1", "a", "\u4e00", "x" * 300, *written.texts]
    elif dtype == pl.Boolean:
        kinds = [None, True, False]
    elif dtype == pl.Float64:
        near = [number + step for number in written.numbers for step in (-1, 0, 1)]
        kinds = [None, 0.0, 1.0, -1.0, 0.5, 7.0, 1e12, -1e12, 1e19, 1e300, -1e300, *near]
    else:  # a time
        kinds = [None, 0, *rng.integers(-(10**12), 2 * 10**12, 200).tolist()]
    return pl.Series(kinds).cast(dtype).gather(rng.integers(0, len(kinds), _ODD_ROWS))


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:200]
