"""Conditions compiled to steps of numpy, for the small chunks of a stream.

An expression costs Polars some 20 µs whatever the chunk is, so 200 rules cost 4 ms even for one
order. The syntax tree of a condition is small and its nodes are few (`serving.conditions`): the
common ones become operations on whole columns here, each distinct one once for all rules. What this
module does not know, Polars answers. Both say the same (`tests/serving/test_rule_program.py`).

Unknown is neither true nor false, as in SQL (Kleene 1938): so a node is compiled as "it holds" or as
"it fails", and the complement of one is not the other. With NaN for unknown, comparisons are right
by themselves: `NaN > 1` and `NaN <= 1` are both false.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from serving.conditions import FAILURES, expression_of, tree_of

Values = np.ndarray | list[str | None]
"""A column: float64 with NaN for unknown (flags and times too), bool, or texts."""

_BINARY: dict[str, tuple[Callable, Callable | None]] = {
    "Eq": (np.equal, None),  # it fails where it is less or greater
    "Lt": (np.less, np.greater_equal),
    "LtEq": (np.less_equal, np.greater),
    "Gt": (np.greater, np.less_equal),
    "GtEq": (np.greater_equal, np.less),
}
_MIRRORED = {"Lt": "Gt", "LtEq": "GtEq", "Gt": "Lt", "GtEq": "LtEq", "Eq": "Eq", "NotEq": "NotEq"}
_MOST_NUMBERS = 8  # of `x IN (…)` as single comparisons
_TIME = pl.Datetime("ms", "UTC")
_UNKNOWN_TEXT, _OTHER_TEXT = 0, 1
_FAILS = {"holds": "fails", "fails": "holds"}


class Step(NamedTuple):
    """A value that is made of two values before it."""

    function: Callable[[Any, Any], Any]
    left: int
    right: int


class Hits(NamedTuple):
    """What a program says of n orders."""

    hits: np.ndarray  # (n, R) bool
    failed: dict[int, str]  # conditions that could not be evaluated, and why; they hold for none


class RuleProgram:
    """R conditions over the columns of `schema`.

    Args:
        expressions: the conditions, boolean.
        schema: dtypes of the columns that they read.
    """

    def __init__(self, expressions: Sequence[pl.Expr], schema: Mapping[str, pl.DataType]) -> None:
        self._schema = schema
        self._slots: dict[Any, int] = {}
        self._values: list[Any] = []  # constants; None where a chunk puts something
        self._inputs: list[tuple[int, str, bool]] = []  # slot, column, whether it is of codes
        self._steps: list[tuple[int, Step]] = []
        self._polars: list[tuple[int, str, pl.Expr]] = []  # slot, name of the column, expression
        self._codes: dict[
            str, dict[str | None, int]
        ] = {}  # by column: its texts that are asked for
        self._tables: list[tuple[int, str, frozenset[str], str]] = []
        self._reads: list[set[int]] = []  # by condition: the slots that Polars fills
        self._results: list[int] = []
        for expression in expressions:
            self._reads.append(set())
            self._results.append(self._compile(tree_of(expression), "holds"))
        for slot, column, texts, sense in self._tables:
            self._values[slot] = self._table(column, texts, sense)
        roots = {name for _, _, each in self._polars for name in each.meta.root_names()}
        self.polars_columns = sorted(roots)
        """The columns that Polars reads."""
        self.columns = sorted(roots | {column for _, column, _ in self._inputs})

    def run(self, columns: Mapping[str, Values], frame: Callable[[], pl.DataFrame], n: int) -> Hits:
        """Evaluate all conditions.

        Args:
            columns: by name, n cells each.
            frame: makes the frame of `polars_columns`.
            n: orders.
        """
        values = self._values.copy()
        for slot, column, coded in self._inputs:
            cells = columns[column]
            if coded:
                code_of = self._codes[column].get
                cells = np.fromiter((code_of(cell, _OTHER_TEXT) for cell in cells), np.intp, n)
            values[slot] = cells
        broken = self._ask_polars(values, frame, n) if self._polars else {}
        for slot, (function, left, right) in self._steps:
            values[slot] = function(values[left], values[right])
        hits = np.empty((len(self._results), n), np.bool_)
        for number, slot in enumerate(self._results):
            hits[number] = values[slot]
        failed: dict[int, str] = {}
        for number, slots in enumerate(self._reads if broken else ()):
            for slot in slots & broken.keys():
                failed[number] = broken[slot]
                hits[number] = False
        return Hits(hits.T, failed)

    def _ask_polars(
        self, values: list[Any], frame: Callable[[], pl.DataFrame], n: int
    ) -> dict[int, str]:
        """Fill the slots of Polars; those that failed, and why."""
        cells = frame()
        try:
            answers = cells.select(expression for _, _, expression in self._polars)
        except FAILURES:
            answers = None  # one of them: each by itself, so that the others go on
        broken: dict[int, str] = {}
        for slot, name, expression in self._polars:
            try:
                answer = (cells.select(expression) if answers is None else answers)[name]
                values[slot] = answer.to_numpy()
            except FAILURES as error:
                values[slot] = np.zeros(n, np.bool_)
                broken[slot] = str(error).partition("\n")[0][:200]
        return broken

    # Compiling. `sense` is "holds" or "fails".

    def _compile(self, node: Any, sense: str) -> int:
        holds = sense == "holds"
        match node:
            case {"Column": str(name)} if self._schema[name] == pl.Boolean():
                return self._flag(name, holds)
            case {"BinaryExpr": {"left": left, "op": "And" | "Or" as operator, "right": right}}:
                both = (operator == "And") == holds
                function = np.logical_and if both else np.logical_or
                return self._step(function, self._compile(left, sense), self._compile(right, sense))
            case {"Function": {"input": [inner], "function": {"Boolean": "Not"}}}:
                match inner:
                    case {"Cast": {"expr": negated, "dtype": {"Literal": "Boolean"}}}:
                        inner = negated  # it is boolean already: see serving.conditions
                return self._compile(inner, _FAILS[sense])
            case {"Function": {"input": [inner, default], "function": "FillNull"}} if (
                holds and default == {"Literal": {"Scalar": {"Boolean": False}}}
            ):
                return self._compile(inner, sense)
            case {
                "Function": {
                    "input": [{"Column": str(name)}],
                    "function": {"Boolean": "IsNull" | "IsNotNull" as asked},
                }
            }:
                return self._known(name, known=(asked == "IsNotNull") == holds)
            case {"BinaryExpr": {"left": left, "op": str(operator), "right": right}} | {
                "Function": {
                    "input": [left, right],
                    "function": {"Sql": {"Binary": str(operator)}},
                }
            } if operator in _MIRRORED:
                slot = self._comparison(left, operator, right, sense)
                if slot is None:
                    slot = self._comparison(right, _MIRRORED[operator], left, sense)
                return self._asked(node, sense) if slot is None else slot
            case {
                "Function": {
                    "input": [{"Column": str(name)}, choices],
                    "function": {"Boolean": {"IsIn": _}} | {"Sql": {"IsIn": _}} | {"Sql": "IsIn"},
                }
            }:
                slot = self._is_in(name, choices, sense)
                return self._asked(node, sense) if slot is None else slot
        return self._asked(node, sense)

    def _comparison(self, left: Any, operator: str, right: Any, sense: str) -> int | None:
        """A comparison of a column with a constant or a column, where it is one of those known."""
        if operator == "NotEq":
            operator, sense = "Eq", _FAILS[sense]
        match left, right:
            case {"Column": str(name)}, {"Column": str(other)}:
                if self._schema[name] == self._schema[other] == pl.Float64():
                    return self._compared(self._input(name), operator, self._input(other), sense)
                return None
            case {"Column": str(name)}, _:
                dtype, constant = self._schema[name], self._constant(right, self._schema[name])
                if constant is None:
                    return None
                if dtype == pl.String():
                    return (
                        self._text(name, frozenset([constant]), sense) if operator == "Eq" else None
                    )
                if dtype == pl.Boolean():
                    if operator != "Eq" or constant not in (0, 1):
                        return None
                    return self._flag(name, (constant == 1) == (sense == "holds"))
                return self._compared(self._input(name), operator, self._fixed(constant), sense)
            case {
                "Function": {
                    "input": [{"Column": str(name)} as column, default],
                    "function": "Coalesce",
                }
            }, _:
                if self._schema[name] != pl.Float64():
                    return None
                filled, constant = (self._constant(each, pl.Float64()) for each in (default, right))
                slot = self._comparison(column, operator, right, sense)
                if filled is None or constant is None or slot is None:
                    return None
                if bool(_BINARY[operator][0](filled, constant)) == (sense == "holds"):
                    return self._step(np.logical_or, slot, self._known(name, known=False))
                return slot
        return None

    def _compared(self, left: int, operator: str, right: int, sense: str) -> int:
        function, opposite = _BINARY[operator]
        if sense == "holds":
            return self._step(function, left, right)
        if opposite is not None:
            return self._step(opposite, left, right)
        less, greater = (self._step(each, left, right) for each in (np.less, np.greater))
        return self._step(np.logical_or, less, greater)

    def _is_in(self, name: str, choices: Any, sense: str) -> int | None:
        dtype = self._schema[name]
        if dtype not in (pl.String(), pl.Float64()) or _reads_a_column(choices):
            return None
        values = pl.select(expression_of(choices)).to_series()
        if isinstance(values.dtype, pl.List):
            values = values.explode()
        if values.null_count() or not len(values):
            return None
        if dtype == pl.String():
            return self._text(name, frozenset(values.to_list()), sense)
        if len(values) > _MOST_NUMBERS:
            return None
        column = self._input(name)
        each = [
            self._compared(column, "Eq", self._fixed(value), sense)
            for value in values.cast(pl.Float64()).to_list()
        ]
        slot, *others = each
        for other in others:
            slot = self._step(np.logical_or if sense == "holds" else np.logical_and, slot, other)
        return slot

    def _constant(self, node: Any, dtype: pl.DataType) -> Any:
        """What a part without columns is, as a value of a column; None where it cannot be."""
        if _reads_a_column(node):
            return None
        try:
            value = pl.select(expression_of(node)).to_series()
            if dtype == _TIME:
                return value.cast(_TIME).to_physical().item() if value.dtype.is_temporal() else None
            if dtype == pl.String():
                return value.item() if value.dtype == pl.String() else None
            is_number = value.dtype.is_numeric() or value.dtype == pl.Boolean()
            return value.cast(pl.Float64()).item() if is_number else None
        except FAILURES:
            return None

    def _flag(self, name: str, holds: bool) -> int:
        column, zero = self._input(name), self._fixed(0.0)
        if not holds:
            return self._step(np.equal, column, zero)
        return self._compared(column, "Eq", zero, "fails")

    def _known(self, name: str, *, known: bool) -> int:
        if self._schema[name] == pl.String():
            return self._text(name, frozenset(), "fails" if known else "unknown")
        column = self._input(name)
        return self._step(np.equal if known else np.not_equal, column, column)

    def _text(self, name: str, texts: frozenset[str], sense: str) -> int:
        """Whether a text is one of these; or is not and is known; or is unknown."""
        codes = self._codes.setdefault(name, {None: _UNKNOWN_TEXT})
        for text in sorted(texts - codes.keys()):
            codes[text] = len(codes) + 1
        key = ("table", name, texts, sense)
        if key not in self._slots:
            self._tables.append((self._slot(key), name, texts, sense))
        return self._step(np.take, self._slots[key], self._input(name, coded=True))

    def _table(self, name: str, texts: frozenset[str], sense: str) -> np.ndarray:
        """By code of a text, whether it is meant."""
        codes = self._codes[name]
        table = np.full(len(codes) + 1, sense == "fails")
        table[_UNKNOWN_TEXT] = sense == "unknown"
        table[[codes[text] for text in texts]] = sense == "holds"
        return table

    def _asked(self, node: Any, sense: str) -> int:
        """A node that Polars answers."""
        key = ("polars", sense, json.dumps(node, sort_keys=True))
        if key not in self._slots:
            expression = expression_of(node)
            answer = (expression if sense == "holds" else ~expression).fill_null(False)
            slot = self._slot(key)
            if _reads_a_column(node):
                self._polars.append((slot, str(slot), answer.alias(str(slot))))
            else:
                self._values[slot] = pl.select(answer).item()
        slot = self._slots[key]
        self._reads[-1].add(slot)
        return slot

    def _input(self, name: str, *, coded: bool = False) -> int:
        key = ("input", name)
        if key not in self._slots:
            self._inputs.append((self._slot(key), name, coded))
        return self._slots[key]

    def _fixed(self, number: float) -> int:
        key = ("constant", number)
        if key not in self._slots:
            self._slot(key, number)
        return self._slots[key]

    def _step(self, function: Callable, left: int, right: int) -> int:
        key = (function, left, right)
        if key not in self._slots:
            self._steps.append((self._slot(key), Step(function, left, right)))
        return self._slots[key]

    def _slot(self, key: Any, value: Any = None) -> int:
        self._slots[key] = len(self._values)
        self._values.append(value)
        return self._slots[key]


def _reads_a_column(node: Any) -> bool:
    return bool(expression_of(node).meta.root_names())
