"""What people say of lists: entries and changes; and the key by which an order finds an entry."""

import ipaddress
import re
from typing import Literal, NamedTuple, get_args

import msgspec

from features.declare import ENTITIES
from features.entities import ip_facts, phone_facts, text_keys
from serving.lists import FOREVER, LIST_NAME

ListKind = Literal["block", "allow", "watch"]
KINDS: tuple[ListKind, ...] = get_args(ListKind)

STARTERS: dict[str, ListKind] = {"blocked": "block", "allowed": "allow", "watched": "watch"}
"""Lists that are there without anybody having made them; the rules that ship read them."""

LONGEST_VALUE = 16_384  # bytes; a text of an order has 2,048 characters at most
LONGEST_WORDS = 1_000  # characters of a comment or an author
_SHOWN = 60

_PREFIX = re.compile(r"\d{1,3}\.\d{1,3}\.\d{1,3}")
_PREFIX_BITS = {4: 24, 6: 48}


class EntryError(ValueError):
    """What somebody wants on a list cannot be there; the message is one line."""


class Entry(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One value on a list. It counts for orders with since <= event time < until."""

    entity: str
    value: str  # as people wrote it
    since: int  # UTC ms
    until: int = FOREVER  # UTC ms
    author: str
    comment: str

    def counts_at(self, time: int) -> bool:
        """Whether it counts for an order of this event time, UTC ms."""
        return self.since <= time < self.until


class Why(NamedTuple):
    """Who changes something, and why."""

    author: str
    comment: str


class EntryList(msgspec.Struct, frozen=True, kw_only=True):
    """What a list is."""

    kind: ListKind
    comment: str
    author: str | None = None  # None: nobody made it, it ships with us
    created: int | None = None  # UTC ms


class Change(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line of the log: who changed what, when and why."""

    time: int  # UTC ms
    author: str
    what: str  # create, add, remove, snooze, unsnooze
    name: str  # of the list or the rule
    comment: str
    count: int = 1  # of values
    entity: str | None = None  # of a single value
    value: str | None = None  # of a single one, cut at 200 characters
    until: int | None = None  # UTC ms; None: for ever, or of several values


def key_of_value(entity: str, value: str) -> int:
    """The key that an order with this value has; two spellings of one value have one key.

    >>> key_of_value("phone", "+86 170-1234 5678") == key_of_value("phone", "17012345678")
    True
    >>> key_of_value("ip_prefix", "10.0.3.0/24") == key_of_value("ip_prefix", "10.0.3")
    True

    Raises:
        EntryError: there is no such entity, or no order can have such a value.
    """
    if entity not in ENTITIES:
        raise EntryError(f"{_cut(entity)} is no entity; there are {', '.join(ENTITIES)}")
    _require_text("the value", value, LONGEST_VALUE)
    if entity == "ip":
        key = ip_facts(value).key
    elif entity == "ip_prefix":
        key = _prefix_key(value)
    elif entity == "phone":
        key = phone_facts(value).key
    else:
        key = text_keys[entity](value)
    if not key:
        raise EntryError(f"{_cut(value)} is no {entity}")
    return key


def require_words(what: str, words: str) -> None:
    """Refuse an author or a comment that says nothing, or too much.

    Raises:
        EntryError: it does; `what` names it.
    """
    _require_text(what, words, LONGEST_WORDS)


def require_name(what: str, name: str) -> None:
    """Refuse a name that no condition or rule can have.

    Raises:
        EntryError: it is one.
    """
    if not LIST_NAME.fullmatch(name):
        raise EntryError(f"{_cut(name)} is no name of {what}: use a-z, 0-9 and _, a letter first")


def _require_text(what: str, text: str, longest: int) -> None:
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise EntryError(f"{what} is not UTF-8 text") from None
    if not text.strip():
        raise EntryError(f"{what} is empty")
    if size > longest:
        raise EntryError(f"{what} has {size:,} bytes; at most {longest:,} are taken")


def _prefix_key(value: str) -> int:
    text = value.strip()
    if _PREFIX.fullmatch(text):
        text += ".0/24"
    try:
        network = ipaddress.ip_network(text)
    except ValueError:
        network = None
    if network is None or network.prefixlen != _PREFIX_BITS[network.version]:
        raise EntryError(
            f"{_cut(value)} is no ip_prefix; write it as 10.0.3.0/24 or 2001:db8:1::/48"
        )
    return ip_facts(str(network.network_address)).prefix_key


def _cut(text: str) -> str:
    return repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…")
