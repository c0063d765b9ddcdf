"""A mapping file as a person wrote it: what is wrong with it, on which line, and what to write."""

import re
import tomllib
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec

from orders.errors import UserError
from orders.expectations import shown, words_of

KeyPath = tuple[str | int, ...]
"""The way to a value: keys, and places in lists from 0, as in ("outcome", 0, "kind")."""


@dataclass(frozen=True, slots=True)
class MappingFile:
    """The text of a mapping file.

    Attributes:
        file: Its path, for messages.
        text: What is in it.
    """

    file: Path
    text: str

    @classmethod
    def read(cls, file: Path) -> "MappingFile":
        """Read the file.

        Raises:
            UserError: It cannot be read, or is not UTF-8.
        """
        try:
            return cls(file, file.read_bytes().decode("utf-8-sig"))  # Windows writes a BOM
        except OSError as error:
            raise UserError(f"{file} cannot be read: {error.strerror}") from None
        except UnicodeDecodeError:
            raise UserError(f"{file} is not in UTF-8: save it so") from None

    def document(self) -> dict[str, Any]:
        """What the TOML says.

        Raises:
            UserError: It is not TOML.
        """
        try:
            return tomllib.loads(self.text)
        except tomllib.TOMLDecodeError as error:
            raise UserError(_not_toml(str(error), self)) from None

    def at(self, *path: str | int) -> str:
        """Where a value stands, to begin a message with: file, line if it can be told, keys."""
        line = _line_of(self.text, path)
        head, *rest = path
        keys = [f"[{head}]", *rest]
        if rest and isinstance(rest[0], int):
            keys = [f"[[{head}]]", rest[0] + 1, *rest[1:]]
        return f"{self.file}{f', line {line}' if line else ''}: {' '.join(map(str, keys))}"

    def as_type(self, type_: type[msgspec.Struct]) -> Any:
        """The document as a struct.

        Raises:
            UserError: A key is unknown or missing, or a value is not allowed.
        """
        document = self.document()
        try:
            return msgspec.convert(document, type_)
        except msgspec.ValidationError as error:
            path, words = _fault(document, type_, ()) or ((), str(error))
            raise UserError(f"{self.at(*path) if path else self.file}: {words}") from None


def nearest(name: str, allowed: list[str]) -> str:
    """What else might be meant: the nearest name, or all of them."""
    close = get_close_matches(name, allowed, n=1)
    return f"did you mean {close[0]!r}?" if close else f"there are: {', '.join(allowed)}"


def _fault(value: Any, declared: Any, path: KeyPath) -> tuple[KeyPath, str] | None:
    """The first value that is not as declared, and what was expected: msgspec names types."""
    kind = _container(declared, value)
    inner: dict[str | int, tuple[Any, Any]] = {}
    match kind, value:
        case type(), dict() if issubclass(kind, msgspec.Struct):
            hints = get_type_hints(kind, include_extras=True)
            for name in value:
                if name not in hints:
                    return (*path, name), f"no such key; {nearest(name, list(hints))}"
            for field in msgspec.structs.fields(kind):
                if field.required and field.name not in value:
                    return path, f"{field.name!r} is missing"
            inner = {name: (value[name], hints[name]) for name in value}
        case _, dict() if get_origin(kind) is dict:
            inner = {name: (each, get_args(kind)[1]) for name, each in value.items()}
        case _, list() if get_origin(kind) is list:
            inner = {place: (each, get_args(kind)[0]) for place, each in enumerate(value)}
        case _, dict() if get_origin(kind) is list:
            return path, f"expected a list: write [[{path[-1]}]], in two brackets"
        case _:
            return _wrong_value(value, declared, path)
    for key, (each, type_) in inner.items():
        if found := _fault(each, type_, (*path, key)):
            return found
    return None


def _container(declared: Any, value: Any) -> Any:
    """Of a choice the struct, where a table is given; else what is declared."""
    if get_origin(declared) in (Union, UnionType) and isinstance(value, dict):
        structs = [one for one in get_args(declared) if isinstance(one, type)]
        return next((one for one in structs if issubclass(one, msgspec.Struct)), declared)
    return declared


def _wrong_value(value: Any, declared: Any, path: KeyPath) -> tuple[KeyPath, str] | None:
    try:
        msgspec.convert(value, declared)
    except msgspec.ValidationError:
        pass
    else:
        return None
    if get_origin(declared) is dict:
        return path, f"expected a table, got {shown(value)}"
    texts = [text for text in _literals(declared) if isinstance(text, str)]
    close = get_close_matches(value, texts, n=1) if isinstance(value, str) else []
    said = f"did you mean {shown(close[0])}? " if close else ""
    said += f"expected {words_of(declared)}, got {shown(value)}"
    if _container(declared, {}) is not declared and isinstance(value, bool | int | float):
        said += f"; a constant is {{ value = {shown(value)} }}"
    return path, said


def _literals(declared: Any) -> list[Any]:
    origin = get_origin(declared)
    if origin is Literal:
        return list(get_args(declared))
    inner = get_args(declared) if origin in (Union, UnionType) else ()
    if origin is Annotated:
        inner = get_args(declared)[:1]
    return [text for one in inner if one is not NoneType for text in _literals(one)]


_KEY = r"""(?:"[^"]*"|'[^']*'|[A-Za-z0-9_-]+)"""
_KEYS = rf"\s*({_KEY}(?:\s*\.\s*{_KEY})*)\s*"
_TABLE = re.compile(rf"\s*(\[\[?){_KEYS}\]")
_ENTRY = re.compile(rf"{_KEYS}=")


def _line_of(text: str, path: KeyPath) -> int | None:
    """The line, from 1, of the deepest key of a path that begins a line.

    Text of several lines is not told from keys; a mapping has hardly any.
    """
    lines: dict[KeyPath, int] = {}
    table: KeyPath = ()
    counts: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if header := _TABLE.match(line):
            first, *rest = _names(header[2])
            if header[1] == "[[":
                counts[first] = counts.get(first, -1) + 1
            table = (first, counts[first], *rest) if first in counts else (first, *rest)
            lines.setdefault(table, number)
        elif entry := _ENTRY.match(line):
            lines.setdefault((*table, *_names(entry[1])), number)
    depths = range(len(path), 0, -1)
    return next((lines[path[:depth]] for depth in depths if path[:depth] in lines), None)


def _names(keys: str) -> list[str]:
    return [key.strip("\"'") for key in re.findall(_KEY, keys)]


_AT = re.compile(r" \(at line (\d+), column (\d+)\)$")


def _not_toml(message: str, mapping: MappingFile) -> str:
    place = _AT.search(message)
    if place is None:
        return f"{mapping.file} is not TOML: {message}"
    line = [*mapping.text.splitlines(), ""][int(place[1]) - 1]
    words = message[: place.start()]
    hint = _toml_hint(words, line, line[int(place[2]) - 1 :])
    return f"{mapping.file}, line {place[1]} is not TOML: {words}{hint}: {line.strip()}"


def _toml_hint(message: str, line: str, rest: str) -> str:
    """What newcomers to TOML most often need to know."""
    word = re.split(r"[,}\]#=]", rest)[0].strip()
    if message == "Invalid value" and word.lower() in ("true", "false"):
        return f" (write {word.lower()})"
    if message == "Invalid value" and word:
        return f' (text needs quotes, as "{word}")'
    if message == "Invalid statement" and not line.isascii():
        return f' (a name that is not plain ASCII needs quotes, as "{word}")'
    if message == r"Illegal character '\n'":
        return " (a quote is missing)"
    if message.startswith("Unescaped"):
        return " (in single quotes a backslash stands for itself)"
    return ""
