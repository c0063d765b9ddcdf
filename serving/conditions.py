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
import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any, NamedTuple

import polars as pl
from polars.exceptions import PolarsError

from serving.lists import LIST_ENTITIES, LIST_NAME

LONGEST = 2_000  # characters
_ODD_ROWS = 343

_TEXT_LITERAL = re.compile(r"'(?:[^']|'')*'")
_QUOTED = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"")
_LIST = re.compile(r"\bLIST\s*\(", re.I)
_LIST_OR_QUOTED = re.compile(
    r"\b(?P<entity>[a-z_]\w*)\s+(?P<negated>NOT\s+)?IN\s+LIST\s*\(\s*'(?P<name>[^']*)'\s*\)|"
    + _QUOTED.pattern,
    re.I,
)
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


_YES = pl.Boolean()


class ListRead(NamedTuple):
    """A list that a condition reads, by the values of one entity or of any."""

    name: str
    entity: str

    @property
    def column(self) -> str:
        """The boolean column that stands for it; no column of orders is called so."""
        return f"list:{self.name}:{self.entity}"


class Condition(NamedTuple):
    """A checked condition, ready to be evaluated over a frame that has the columns it reads."""

    expression: pl.Expr  # boolean, never null
    columns: frozenset[str]  # of the order
    lists: frozenset[ListRead]  # whose columns it reads besides


class ConditionError(ValueError):
    """A condition that may not be used; the message says what is wrong with it, and where.

    Args:
        message: what is wrong.
        near: the word of the condition at which it is, where that is known.
    """

    def __init__(self, message: str, near: str = "") -> None:
        super().__init__(message)
        self.near = near


def parse_condition(text: str, schema: Mapping[str, pl.DataType]) -> Condition:
    """Read `text` as a condition over the columns of `schema` and lists.

    Raises:
        ConditionError: when it is not SQL, reads an unknown column, is not a yes-or-no question,
            asks for more than the order at hand, or holds for every order.

    >>> parse_condition("amount > 100", {"amount": pl.Float64()}).columns
    frozenset({'amount'})
    """
    if len(text) > LONGEST:
        raise ConditionError(f"it has {len(text)} characters, at most {LONGEST} are allowed")
    sql, lists = _with_list_columns(text)
    columns_of_lists = {read.column for read in lists}
    expression = _parse(sql)
    columns = frozenset(expression.meta.root_names()) - columns_of_lists
    unknown = sorted(columns - schema.keys())
    if unknown:
        raise ConditionError(
            f"there is no column {unknown[0]!r}{_place(text, unknown[0])}"
            f"{_nearest(unknown[0], schema)}"
        )
    try:
        _refuse_all_but_row_by_row(
            _tree(expression), {**schema, **dict.fromkeys(columns_of_lists, _YES)}
        )
    except RecursionError:
        raise ConditionError("it is nested too deeply") from None
    except ConditionError as refused:
        raise ConditionError(f"{refused}{_place(text, refused.near)}") from None
    if not columns and not lists:
        raise ConditionError("it reads no column, so it is the same for every order")
    dtypes = {name: schema[name] for name in sorted(columns)}
    _try_out(expression, dtypes | dict.fromkeys(sorted(columns_of_lists), _YES))
    return Condition(expression.fill_null(False), columns, lists)


def _with_list_columns(text: str) -> tuple[str, frozenset[ListRead]]:
    """The condition with a column in the place of each `x IN LIST('name')`, and these lists."""
    found: set[ListRead] = set()

    def column(match: re.Match[str]) -> str:
        entity, negated, name = match["entity"], match["negated"], match["name"]
        if entity is None:  # a text, or a name in quotes, that is left as it is
            return match[0]
        where = _line_and_column(text, match.start())
        if entity.lower() not in LIST_ENTITIES:
            raise ConditionError(
                f"there are no lists of {entity!r}{where}{_nearest(entity, LIST_ENTITIES)}"
            )
        if not LIST_NAME.fullmatch(name):
            raise ConditionError(
                f"{name!r} cannot be the name of a list{where}: use a-z, 0-9 and _"
            )
        read = ListRead(name, entity.lower())
        found.add(read)
        return f'(NOT "{read.column}")' if negated else f'"{read.column}"'

    sql = _LIST_OR_QUOTED.sub(column, text)
    if stray := _LIST.search(_QUOTED.sub(_blank, sql)):
        raise ConditionError(
            f"a list is read as: ip IN LIST('name'){_place(text, stray[0].rstrip('( '))}"
        )
    return sql, frozenset(found)


def _parse(text: str) -> pl.Expr:
    clock = _CLOCK.search(_TEXT_LITERAL.sub(_blank, text))
    if clock:
        where = _line_and_column(text, clock.start())
        raise ConditionError(f"{clock[0]!r} reads a clock{where}; compare with event_time instead")
    try:
        expression = pl.sql_expr(text)
    except PolarsError as error:
        raise ConditionError(_first_line(error)) from None
    if expression.meta.has_multiple_outputs():
        raise ConditionError("it stands for more than one answer")
    return expression


def _blank(match: re.Match[str]) -> str:
    """As long as what was matched, so that places stay."""
    return re.sub(r"[^\n]", " ", match[0])


def _place(text: str, word: str) -> str:
    """Where a word is in the condition, outside of texts; nothing where it is not."""
    if not word:
        return ""
    edge = r"\b" if word.isalnum() else ""
    found = re.search(edge + re.escape(word) + edge, _TEXT_LITERAL.sub(_blank, text), re.I)
    return _line_and_column(text, found.start()) if found else ""


def _line_and_column(text: str, at: int) -> str:
    line = text.count("\n", 0, at) + 1
    return f" at line {line}, column {at - text.rfind(chr(10), 0, at)}"


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
            if name == "Binary" and function["Sql"]["Binary"] in _DIVISIONS:
                _refuse_division_by_zero(inputs[1])
            if name == "Contains" and "Literal" not in inputs[1]:
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
    expression = pl.Expr.deserialize(io.StringIO(json.dumps(node)), format="json")
    try:
        (negated,) = pl.DataFrame(schema=dict(schema)).select(expression).dtypes
    except PolarsError as error:
        raise ConditionError(_first_line(error)) from None
    if negated != pl.Boolean:
        raise ConditionError(f"NOT needs a yes-or-no question, not a {negated}", "NOT")


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
    raise ConditionError("it divides by what may be zero; write x / NULLIF(y, 0)", "/")


def _try_out(expression: pl.Expr, schema: Mapping[str, pl.DataType]) -> None:
    # Odd rows show what a check of types alone does not: a pattern that does not compile.
    rows = {name: _odd_cells(dtype, shift) for shift, (name, dtype) in enumerate(schema.items())}
    try:
        answer = pl.DataFrame(rows).select(expression).to_series()
    except PolarsError as error:
        raise ConditionError(_first_line(error)) from None
    if answer.dtype != pl.Boolean:
        raise ConditionError(f"it is not a yes-or-no question but a {answer.dtype}")
    if answer.fill_null(False).all():
        raise ConditionError("it holds whatever the order is; a rule must tell orders apart")


def _odd_cells(dtype: pl.DataType, shift: int) -> pl.Series:
    """Cells of one column, in another sequence for each `shift`, so that all kinds of rows occur."""
    seven = range(_ODD_ROWS)
    if dtype == pl.String:
        cells = pl.Series([(None, "", "1", "a", "\u4e00", "x" * 300, "2")[i % 7] for i in seven])
    elif dtype == pl.Boolean:
        return pl.Series([(None, True, False)[(i // 3**shift + i) % 3] for i in seven])
    else:
        cells = pl.Series([(None, 0, 1, -1, 10**12, -(10**12), 7)[i % 7] for i in seven])
    return cells.gather([(i * (2 * shift + 1) + i // 7) % _ODD_ROWS for i in seven]).cast(dtype)


def _first_line(error: PolarsError) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:200]


def _nearest(name: str, known: Iterable[str]) -> str:
    near = get_close_matches(name, list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""
