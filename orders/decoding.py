"""The edge of the stream: raw messages become events, or one clear reason why not.

The good path is msgspec's typed decode and nothing else. What is wrong with a message is worked
out only after it failed.
"""

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, NamedTuple, NoReturn, TypeVar

import msgspec

from orders.events import Order, Outcome, order_decoder, outcome_decoder
from orders.expectations import expectation, fields, shown

E = TypeVar("E", bound=msgspec.Struct)

SIZE_LIMIT = 64 * 1024

Code = Literal[
    "no_value",
    "too_large",
    "not_utf8",
    "not_json",
    "too_deep",
    "not_an_object",
    "wrong_schema",
    "wrong_version",
    "duplicate_field",
    "missing_field",
    "wrong_type",
    "out_of_range",
]


@dataclass(frozen=True, slots=True)
class Rejected:
    """A message that is no event.

    Attributes:
        index: Its place among the messages given.
        code: What kind of fault; codes are stable, dashboards count them.
        detail: Which field, what was expected and what was seen, on one line.
    """

    index: int
    code: Code
    detail: str


class Decoded(NamedTuple, Generic[E]):
    """What became of a chunk of messages: each is in `indices` or in `rejected`.

    Attributes:
        events: The events, in the order of the messages.
        indices: The place of each event's message among the messages given.
        rejected: The messages that are no events.
    """

    events: list[E]
    indices: list[int]
    rejected: list[Rejected]


def decode_orders(raws: Sequence[bytes | None], *, size_limit: int = SIZE_LIMIT) -> Decoded[Order]:
    """Orders from messages; a message above `size_limit` bytes is not looked into.

    Where a name occurs twice in an object the last one counts, if all of them are valid.
    """
    return _decode(raws, order_decoder, size_limit)


def decode_outcomes(
    raws: Sequence[bytes | None], *, size_limit: int = SIZE_LIMIT
) -> Decoded[Outcome]:
    """Outcomes from messages, as `decode_orders`."""
    return _decode(raws, outcome_decoder, size_limit)


def _decode(
    raws: Sequence[bytes | None], decoder: msgspec.json.Decoder[E], size_limit: int
) -> Decoded[E]:
    events: list[E] = []
    indices: list[int] = []
    rejected: list[Rejected] = []
    decode = decoder.decode
    for index, raw in enumerate(raws):
        if raw is None:
            detail = "the message has no value; a deletion is not an event"
            rejected.append(Rejected(index, "no_value", detail))
            continue
        if len(raw) > size_limit:
            detail = f"{len(raw)} bytes, expected at most {size_limit}"
            rejected.append(Rejected(index, "too_large", detail))
            continue
        try:
            if not raw.isascii():
                raw.decode()  # msgspec does not look into the fields that it ignores
            events.append(decode(raw))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            rejected.append(Rejected(index, *_explain(raw, error, decoder.type)))
        else:
            indices.append(index)
    return Decoded(events, indices, rejected)


def _explain(raw: bytes, error: Exception, event: type[msgspec.Struct]) -> tuple[Code, str]:
    if isinstance(error, RecursionError):
        return "too_deep", "nested too deeply to be read"
    repeated: set[str] = set()
    try:
        document = _parse(raw, repeated)
    except UnicodeDecodeError as fault:
        byte = raw[fault.start]
        return "not_utf8", f"byte 0x{byte:02x} at position {fault.start} is not UTF-8"
    except json.JSONDecodeError as fault:
        return "not_json", f"{fault.msg} at position {fault.pos}"
    except RecursionError:
        return "too_deep", "nested too deeply to be read"
    if not isinstance(document, dict):
        return "not_an_object", f"expected an object, got {shown(document)}"
    # A message of another kind or version may differ in every other field: say this first.
    for field in ("schema", "version"):
        expected = fields(event)[field].default
        seen = document.get(field, expected)
        if seen != expected or type(seen) is not type(expected):
            code = "wrong_schema" if field == "schema" else "wrong_version"
            return code, f"{field}: expected {shown(expected)}, got {shown(seen)}"
    if not isinstance(error, msgspec.ValidationError):
        return "not_json", str(error)
    return _explain_field(document, str(error), event, repeated)


def _parse(raw: bytes, repeated: set[str]) -> Any:
    """The document as Python reads it, the names that occur twice put into `repeated`."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        seen = dict(pairs)
        if len(seen) < len(pairs):
            counts = Counter(name for name, _ in pairs)
            repeated.update(name for name, count in counts.items() if count > 1)
        return seen

    def refuse(constant: str) -> NoReturn:
        raise json.JSONDecodeError(f"{constant} is not JSON", text, text.find(constant))

    text = raw.decode()
    return json.loads(
        text,
        object_pairs_hook=unique,
        parse_constant=refuse,
        # Python refuses to read integers of thousands of digits; for a message the first will do.
        parse_int=lambda digits: int(digits[:100]),
    )


_MISSING = re.compile(r"missing required field `(\w+)`")
_WHERE = re.compile(r" - at (?P<key>`key` in )?`\$\.(?P<field>\w+)(?P<rest>.*)`$")
_MISTYPED = re.compile(r"^Expected `[^`]*`, got `")


def _explain_field(
    document: dict[str, Any], message: str, event: type[msgspec.Struct], repeated: set[str]
) -> tuple[Code, str]:
    if missing := _MISSING.search(message):
        field = missing[1]
        return "missing_field", f"{field}: expected {expectation(event, field)}, got nothing"
    where = _WHERE.search(message)
    if where is None:
        return "wrong_type", message
    field = where["field"]
    if field in repeated:
        return "duplicate_field", f"{field}: expected once, got several times"
    value = document.get(field)
    if (where["key"] or where["rest"]) and isinstance(value, dict):
        return _explain_attribute(field, value, message, event)
    expected = f"{field}: expected {expectation(event, field)}, got {shown(value)}"
    is_mistyped = _MISTYPED.match(message) or (  # "expected …" is what `decode_instant` says
        message.startswith("expected") and type(value) not in (int, str)
    )
    return ("wrong_type" if is_mistyped else "out_of_range"), expected


def _explain_attribute(
    field: str, attributes: dict[str, Any], message: str, event: type[msgspec.Struct]
) -> tuple[Code, str]:
    """Find the attribute at fault: msgspec tells that there is one, not which."""
    declared: Any = event.__annotations__[field]
    for name, value in attributes.items():
        try:
            msgspec.convert({name: value}, declared)
        except msgspec.ValidationError as error:
            shown_name = shown(name)[1:-1]
            if "`key`" in str(error):
                expected = "names of 1 to 128 characters"
                return "out_of_range", f"{field}: expected {expected}, got {shown(name)}"
            expected = expectation(event, f"{field}.*")
            detail = f"{field}.{shown_name}: expected {expected}, got {shown(value)}"
            code: Code = "wrong_type" if _MISTYPED.match(message) else "out_of_range"
            return code, detail
    return "out_of_range", f"{field}: {message.partition(' - at ')[0]}"
