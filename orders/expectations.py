"""What a field may hold, in words, told from its type: for the messages that reject a value."""

from functools import cache
from typing import Any

import msgspec
from msgspec import inspect

from orders.events import Instant


@cache
def expectation(event: type[msgspec.Struct], field: str) -> str:
    """What `field` of `event` may hold; `attributes.x` is an attribute of that name.

    >>> from orders.events import Order
    >>> expectation(Order, "quantity")
    'an integer from 1 to 1000000'
    >>> expectation(Order, "attributes.colour")
    'a number, text of at most 2048 characters or true or false'
    """
    name, _, attribute = field.partition(".")
    declared = fields(event)[name].type
    if not attribute:
        return _words(declared)
    shape = bare(declared)
    return _words(shape.value_type) if isinstance(shape, inspect.DictType) else _words(shape)


@cache
def fields(event: type[msgspec.Struct]) -> dict[str, inspect.Field]:
    """The declared fields of an event by name, in order."""
    info = inspect.type_info(event)
    if not isinstance(info, inspect.StructType):
        raise TypeError(f"{event} is no struct")
    return {field.encode_name: field for field in info.fields}


def bare(type_: inspect.Type) -> inspect.Type:
    """The type itself, without its description and without null."""
    if isinstance(type_, inspect.Metadata):
        return bare(type_.type)
    if isinstance(type_, inspect.UnionType):
        others = [inner for inner in type_.types if not isinstance(inner, inspect.NoneType)]
        return bare(others[0]) if len(others) == 1 else inspect.UnionType(tuple(others))
    return type_


def words_of(type_: Any) -> str:
    """What a value of a declared type may be.

    >>> words_of(bool | None)
    'true or false'
    """
    return _words(inspect.type_info(type_))


def _words(type_: inspect.Type) -> str:
    match bare(type_):
        case inspect.UnionType(types=types):
            *most, last = [_words(inner) for inner in types]
            return f"{', '.join(most)} or {last}"
        case inspect.LiteralType(values=(value,)):
            return shown(value)
        case inspect.LiteralType(values=values):
            return f"one of {', '.join(sorted(map(str, values)))}"
        case inspect.IntType(ge=low, le=high):
            return f"an integer{_range(low, high)}"
        case inspect.FloatType(ge=low, le=high):
            return f"a number{_range(low, high)}"
        case inspect.BoolType():
            return "true or false"
        case inspect.StrType(pattern=str(pattern)):
            return f"text like {pattern}"
        case inspect.StrType(min_length=low, max_length=high):
            if high is None:
                return "text"
            return f"text of {low or 'at most'}{' to' if low else ''} {high} characters"
        case inspect.DictType(max_length=high):
            return f"an object of at most {high} names" if high else "an object"
        case inspect.StructType():
            return "a table"
        case inspect.ListType():
            return "a list"
        case inspect.CustomType(cls=cls) if cls is Instant:
            return "a time from 1970 to 9999, in UTC milliseconds or ISO 8601 with a zone"
        case other:
            raise TypeError(f"no words for {other}")


def _range(low: float | None, high: float | None) -> str:
    if low is None:
        return "" if high is None else f" <= {high}"
    return f" >= {low}" if high is None else f" from {low} to {high}"


def shown(value: Any, limit: int = 64) -> str:
    """A value as a message shows it: as JSON where it can be, cut to `limit` characters.

    >>> shown("CNY"), shown(None), shown(10**30, limit=8)
    ('"CNY"', 'null', '10000000…')
    """
    try:
        text = msgspec.json.encode(value).decode()
    except (TypeError, OverflowError, RecursionError, UnicodeEncodeError):
        text = repr(value)
    return text if len(text) <= limit else f"{text[:limit]}…"
