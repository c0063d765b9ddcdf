"""The text of a condition, checked word by word before any SQL parser sees it.

A parser of SQL opens the file that a table function names, and takes time without bound for what is
nested deeply enough. So what a condition is written of is listed here: columns of the order, the
words of a plain condition, and a few functions. All else is refused, with its place.
"""

import re
from collections.abc import Collection, Iterable, Sequence
from difflib import get_close_matches
from typing import NamedTuple

from serving.lists import LIST_ENTITIES, LIST_NAME

LONGEST = 2_000  # characters
DEEPEST = 16  # parentheses, CASE, NOT and signs within each other

_TOKEN = re.compile(
    r"(?P<space>[ \t\r\n]+)"
    r"|(?P<comment>--|/\*)"
    r"|(?P<text>(?<!\w)'(?:[^']|'')*')"
    r'|(?P<name>"[^"]*")'
    r"|(?P<number>(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?(?!\w))"
    r"|(?P<word>[^\W\d]\w*)"
    r"|(?P<sign><=>|<=|>=|<>|!=|==|=|<|>|\+|-|\*|/|%|\|\||::|!~\*|!~|~\*|~|\(|\)|,)"
    r"|(?P<odd>.)",
    re.DOTALL,
)


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_KEYWORDS = _words(
    "AND AS BETWEEN CASE CAST DISTINCT ELSE END FALSE ILIKE IN IS LIKE LIST NOT NULL OR REGEXP RLIKE "
    "THEN TRUE TRY_CAST WHEN XOR "
    "BIGINT BOOL BOOLEAN DATE DOUBLE FLOAT INT INTEGER REAL TEXT TIMESTAMP VARCHAR "
    "DAY DOW HOUR ISODOW ISOYEAR MINUTE MONTH SECOND WEEK YEAR"
)
_FUNCTIONS = _words(
    "ABS CEIL CEILING CHAR_LENGTH CHARACTER_LENGTH COALESCE CONCAT CONCAT_WS DATE_PART DIV ENDS_WITH "
    "EXTRACT FLOOR GREATEST IF IFNULL LEAST LEFT LENGTH LOWER MOD NULLIF OCTET_LENGTH POSITION "
    "REGEXP_LIKE RIGHT ROUND SIGN STARTS_WITH STRPOS SUBSTR SUBSTRING TRIM UPPER"
)
_BEFORE_PARENTHESIS = _FUNCTIONS | _words(
    "AND BETWEEN CASE CAST ELSE IN LIKE LIST NOT OR THEN TRY_CAST WHEN XOR"
)
_CLOCKS = _words("CURRENT_DATE CURRENT_TIME CURRENT_TIMESTAMP LOCALTIME LOCALTIMESTAMP NOW TODAY")
_PREFIXES = frozenset(["NOT", "-", "+"])


class ConditionError(ValueError):
    """A condition that may not be used; the message says what is wrong with it, and where.

    Args:
        message: what is wrong.
        near: the word of the condition at which it is, where that is known.
    """

    def __init__(self, message: str, near: str = "") -> None:
        super().__init__(message)
        self.near = near


class ListRead(NamedTuple):
    """A list that a condition reads, by the values of one entity or of any."""

    name: str
    entity: str

    @property
    def column(self) -> str:
        """The boolean column that stands for it; no column of orders is called so."""
        return f"list:{self.name}:{self.entity}"


class Token(NamedTuple):
    """A piece of a condition."""

    kind: str  # a group of _TOKEN
    text: str
    at: int

    @property
    def upper(self) -> str:
        """As the words of SQL are compared; a text or a name in quotes is no such word."""
        return self.text.upper() if self.kind in ("word", "sign") else ""


class ConditionText(NamedTuple):
    """A condition that is written of nothing but what is allowed."""

    sql: str  # with a column in the place of each `x IN LIST('name')`
    lists: frozenset[ListRead]
    texts: tuple[str, ...]  # written in it
    numbers: tuple[float, ...]


def read_text(text: str, columns: Collection[str]) -> ConditionText:
    """Check the words of a condition.

    Args:
        text: the condition.
        columns: what it may read.

    Raises:
        ConditionError: with the place of what is not allowed.
    """
    if len(text) > LONGEST:
        raise ConditionError(f"it has {len(text)} characters, at most {LONGEST} are allowed")
    tokens = [
        Token(str(match.lastgroup), match[0], match.start())
        for match in _TOKEN.finditer(text)
        if match.lastgroup != "space"
    ]
    if not tokens:
        raise ConditionError("it is empty")
    for token in tokens:
        _refuse_odd(token, text)
    sql, lists, rest = _with_list_columns(text, tokens)
    for number, token in enumerate(rest):
        if token.kind == "word":
            _refuse_unknown_word(rest, number, text, columns)
        elif token.kind == "name" and token.text[1:-1] not in columns:
            _refuse_column(token, text, columns)
    _refuse_deep(rest, text)
    return ConditionText(
        sql,
        lists,
        tuple(t.text[1:-1].replace("''", "'") for t in rest if t.kind == "text"),
        tuple(float(t.text) for t in rest if t.kind == "number"),
    )


def place_of(text: str, word: str) -> str:
    """Where a word is in a condition, outside of texts; nothing where it is not."""
    for match in _TOKEN.finditer(text):
        if match.lastgroup != "text" and match[0].strip('"').upper() == word.upper():
            return _place(text, match.start())
    return ""


def nearest(name: str, known: Iterable[str]) -> str:
    """A question after what may have been meant, or nothing."""
    near = get_close_matches(name.lower(), list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def _place(text: str, at: int) -> str:
    line = text.count("\n", 0, at) + 1
    return f" at line {line}, column {at - text.rfind(chr(10), 0, at)}"


def _refuse_odd(token: Token, text: str) -> None:
    where = _place(text, token.at)
    if token.kind == "comment":
        raise ConditionError(f"a condition has no comments{where}; use the rule's reason")
    if token.kind == "odd" and token.text in "'\"":
        raise ConditionError(f"{token.text} is not closed, or cannot be{where}")
    if token.kind == "odd":
        raise ConditionError(f"{token.text!a} cannot be in a condition{where}")


def _refuse_unknown_word(
    tokens: Sequence[Token], number: int, text: str, columns: Collection[str]
) -> None:
    token = tokens[number]
    where = _place(text, token.at)
    called = number + 1 < len(tokens) and tokens[number + 1].text == "("
    if token.upper in _CLOCKS and token.text not in columns:
        raise ConditionError(
            f"{token.text!r} reads a clock{where}; compare with event_time instead"
        )
    if called and token.upper not in _BEFORE_PARENTHESIS:
        raise ConditionError(f"the function {token.text[:80]!r} is not for rules{where}")
    if token.upper == "LIST":
        raise ConditionError(f"a list is read as: ip IN LIST('name'){where}")
    if token.text in columns or token.upper in _KEYWORDS or called:
        return
    before = [token.upper for token in tokens[max(number - 3, 0) : number]]
    if token.upper == "FROM" and (before[-1:] == ["DISTINCT"] or before[:2] == ["EXTRACT", "("]):
        return
    _refuse_column(token, text, columns)


def _refuse_column(token: Token, text: str, columns: Collection[str]) -> None:
    name = token.text.strip('"')[:80]
    raise ConditionError(
        f"there is no column {name!r}{_place(text, token.at)}{nearest(name, columns)}"
    )


def _refuse_deep(tokens: Sequence[Token], text: str) -> None:
    inside = in_a_row = 0
    for token in tokens:
        in_a_row = in_a_row + 1 if token.upper in _PREFIXES else 0
        inside += (token.upper in ("(", "CASE")) - (token.upper in (")", "END"))
        if inside + in_a_row > DEEPEST:
            raise ConditionError(f"it is nested too deeply{_place(text, token.at)}")


def _with_list_columns(
    text: str, tokens: Sequence[Token]
) -> tuple[str, frozenset[ListRead], list[Token]]:
    """The condition with a column for each `x IN LIST('name')`; these lists; the other tokens."""
    lists: set[ListRead] = set()
    parts: list[str] = []
    rest: list[Token] = []
    done = number = 0
    while number < len(tokens):
        length = _length_of_list(tokens[number : number + 7])
        if not length:
            rest.append(tokens[number])
            number += 1
            continue
        entity, name, last = tokens[number], tokens[number + length - 2], number + length - 1
        read = _list_read(text, entity, name)
        lists.add(read)
        negated = length == 7
        column = f'(NOT "{read.column}")' if negated else f'"{read.column}"'
        parts += [text[done : entity.at], column]
        done = tokens[last].at + 1
        number += length
    return "".join([*parts, text[done:]]), frozenset(lists), rest


def _length_of_list(tokens: Sequence[Token]) -> int:
    """How many of the tokens are `x [NOT] IN LIST('name')`; 0 when it does not begin here."""
    words = [token.upper for token in tokens]
    for before in (["IN", "LIST", "("], ["NOT", "IN", "LIST", "("]):
        length = len(before) + 3
        if (
            len(tokens) >= length
            and tokens[0].kind == "word"
            and words[1 : length - 2] == before
            and tokens[length - 2].kind == "text"
            and words[length - 1] == ")"
        ):
            return length
    return 0


def _list_read(text: str, entity: Token, name: Token) -> ListRead:
    if entity.text.lower() not in LIST_ENTITIES:
        raise ConditionError(
            f"there are no lists of {entity.text[:80]!r}{_place(text, entity.at)}"
            f"{nearest(entity.text, LIST_ENTITIES)}"
        )
    if not LIST_NAME.fullmatch(name.text[1:-1]):
        raise ConditionError(
            f"{name.text[1:-1][:80]!a} cannot be the name of a list{_place(text, name.at)}: "
            "use a-z, 0-9 and _"
        )
    return ListRead(name.text[1:-1], entity.text.lower())
