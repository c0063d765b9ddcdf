"""SQL expressions that a person wrote: over one row, without a clock, and nothing but expressions.

They are parsed by Polars, which knows no files or tables in an expression. What would look beyond
the row (subqueries, aggregates, windows) is refused here: in an import it would let a row know
the future.
"""

import re

import polars as pl

from orders.errors import UserError
from orders.sources import check_column
from orders.tables import first_line

_QUOTED = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|--[^\n]*|/\*.*?\*/", re.DOTALL)
_QUOTED_FUNCTION = re.compile(r"\"(\w+)\"\s*\(")
_WORD = re.compile(r"[A-Za-z_][A-Za-z_0-9]*(?=\s*\()|\b(?:select|over|exists)\b", re.IGNORECASE)
_BARE = re.compile(r"\bcurrent_(?:date|time|timestamp)\b|\blocaltime(?:stamp)?\b", re.IGNORECASE)

_BEYOND_THE_ROW = re.compile(
    r"select|over|exists|columns|unnest|explode|sum|total|avg|mean|min|max|count|first|last|mode"
    r"|median|any_value|std\w*|var|var_\w+|variance|quantile\w*|percentile\w*|corr|covar\w*"
    r"|\w+_agg|listagg|group_concat|bool_and|bool_or|every|bit_and|bit_or|bit_xor|\w*count_distinct"
)
_FILE = re.compile(r"read_\w+|scan_\w+")
_CLOCK = re.compile(r"now|current_\w+|localtime(stamp)?")


def row_expression(sql: str, columns: pl.DataFrame, place: str) -> tuple[pl.Expr, pl.DataType]:
    """A checked expression and its type.

    Args:
        sql: As it was written.
        columns: A frame without rows that has the columns it may use.
        place: Where it was written, for messages.

    Raises:
        UserError: It is not an expression over one row of these columns.
    """
    _check_words(sql, place)
    try:
        expression = pl.sql_expr(sql)
        names = expression.meta.root_names()
    except pl.exceptions.PolarsError as error:
        raise _refused(error, sql, place) from None
    for name in names:
        check_column(name, dict(columns.schema), place)
    try:
        result = columns.select(expression.alias("result"))["result"]
    except pl.exceptions.PolarsError as error:
        raise _refused(error, sql, place) from None
    if names and len(result):
        raise UserError(f"{place}: {sql!r} looks beyond the row; only one row may be used")
    return expression, result.dtype


def columns_of(sql: str, place: str) -> set[str]:
    """The names of the columns that an expression uses.

    Raises:
        UserError: It is not an expression, or looks beyond the row.
    """
    _check_words(sql, place)
    try:
        return set(pl.sql_expr(sql).meta.root_names())
    except pl.exceptions.PolarsError as error:
        raise _refused(error, sql, place) from None


def _check_words(sql: str, place: str) -> None:
    """Before Polars sees it: it opens the files that a subquery names when it parses it."""
    plain = _QUOTED.sub(" ", _QUOTED_FUNCTION.sub(r"\1(", sql))
    for word in (*_WORD.findall(plain), *_BARE.findall(plain)):
        if _BEYOND_THE_ROW.fullmatch(word.lower()):
            raise UserError(f"{place}: {word!r} looks beyond the row; only one row may be used")
        if _FILE.fullmatch(word.lower()):
            raise UserError(f"{place}: {word!r} would open a file; only the row may be used")
        if _CLOCK.fullmatch(word.lower()):
            raise UserError(f"{place}: {word!r} reads the clock; a result must not depend on it")


def _refused(error: pl.exceptions.PolarsError, sql: str, place: str) -> UserError:
    # Polars tells the place in the text where it does not repeat the text.
    said = first_line(error)
    return UserError(f"{place}: {said}" + f" in {sql!r}" * (sql not in said))
