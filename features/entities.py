"""From what people and channels wrote to 64-bit keys of entity values.

Two spellings of one value have one key: full-width and half-width, upper and lower case, stray
spaces, a phone with or without +86, an IPv4 address inside an IPv6 one. A key is the XXH64 of the
normalised text, seeded by the entity, so the same text as account and as recipient has two keys.
0 stands for a missing value. A value of any length is hashed; none is cut.
"""

import ipaddress
import re
import unicodedata
from collections.abc import Callable
from functools import lru_cache, partial
from typing import NamedTuple

import numpy as np
import polars as pl
import xxhash

from features.declare import ENTITIES
from features.hashing import hash_where, key_of_text, text_buffer

_SEEDS = {entity: number for number, entity in enumerate(ENTITIES, start=1)}

# Repeats are common within minutes, and a cache of one entity should stay below some 10 MB.
_remembered = lru_cache(maxsize=1 << 15)

VIRTUAL_PREFIXES = frozenset({"162", "165", "167", "170", "171"})

_NOT_DIGITS = re.compile(r"\D+")
_SEPARATORS = re.compile(r"[\W_]+")
_SPACE_BESIDE_WIDE = re.compile(r"(?<=[^\x00-\x7f]) | (?=[^\x00-\x7f])")
_CHINESE_MOBILE = re.compile(r"(?:86)?(1[0-9]{10})")
_CHINESE_MOBILE_LENGTH = 11
_OCTET = r"(?:0|[1-9][0-9]?|1[0-9]{2}|2[0-4][0-9]|25[0-5])"
_PLAIN_IPV4 = re.compile(rf"({_OCTET}\.{_OCTET}\.{_OCTET})\.{_OCTET}")
# Zero-width characters and the byte order mark: invisible, and pasted along by accident.
_INVISIBLE = dict.fromkeys([0x200B, 0x200C, 0x200D, 0x2060, 0xFEFF])


class PhoneFacts(NamedTuple):
    """What a phone number tells."""

    key: int
    is_virtual: float  # 1, 0, or NaN when missing


class IpFacts(NamedTuple):
    """What an IP address tells; all missing when it is not one."""

    key: int
    prefix_key: int
    is_v6: float  # 1, 0, or NaN when missing


def normalised(text: str) -> str:
    """NFKC, case folded, without invisible characters, runs of white space as one blank.

    >>> normalised("  ＡＣＣ\u200b００１  x ")
    'acc001 x'
    """
    if text.isascii():
        if text.isalnum():  # nothing to collapse: the common case
            return text.lower()
    else:
        text = unicodedata.normalize("NFKC", text.translate(_INVISIBLE))
    return " ".join(text.casefold().split())


def normalised_address(text: str) -> str:
    """As `normalised`, and punctuation is a blank, and blanks beside wide script go.

    >>> normalised_address("北京市 朝阳区，建国路１号 Apt. 5")
    '北京市朝阳区建国路1号apt 5'
    """
    words = normalised(text)
    if words.isalnum():
        return words
    words = _SEPARATORS.sub(" ", words).strip()
    return words if words.isascii() else _SPACE_BESIDE_WIDE.sub("", words)


def normalised_phone(text: str) -> str:
    """Digits only; a Chinese mobile number loses its country code.

    >>> normalised_phone("+86 170-1234 5678"), normalised_phone("008617012345678")
    ('17012345678', '17012345678')
    >>> normalised_phone("+1 (555) 010-9999"), normalised_phone("n/a")
    ('15550109999', '')
    """
    if len(text) == _CHINESE_MOBILE_LENGTH and text[0] == "1" and text.isascii() and text.isdigit():
        return text  # the common case
    digits = _NOT_DIGITS.sub("", unicodedata.normalize("NFKC", text))
    if not digits.isascii():
        digits = "".join(str(unicodedata.decimal(digit)) for digit in digits)
    mobile = _CHINESE_MOBILE.fullmatch(digits.removeprefix("00"))
    return mobile[1] if mobile else digits


def key(entity: str, normal: str) -> int:
    """The key of a normalised value; 0 when nothing is left of it."""
    if not normal:
        return 0
    return xxhash.xxh64_intdigest(normal.encode("utf-8", "surrogatepass"), _SEEDS[entity]) or 1


def _text_key(entity: str, normalise: Callable[[str], str], text: str | None) -> int:
    return 0 if text is None else key(entity, normalise(text))


@_remembered
def phone_facts(text: str | None) -> PhoneFacts:
    """Key of a phone number, and whether a virtual operator issued it."""
    number = "" if text is None else normalised_phone(text)
    if not number:
        return PhoneFacts(0, np.nan)
    virtual = len(number) == _CHINESE_MOBILE_LENGTH and number[:3] in VIRTUAL_PREFIXES
    return PhoneFacts(key("phone", number), float(virtual))


@_remembered
def ip_facts(text: str | None) -> IpFacts:
    """Keys of an IP address and of its prefix: /24 of IPv4, /48 of IPv6."""
    if text is None:
        return IpFacts(0, 0, np.nan)
    plain = _PLAIN_IPV4.fullmatch(text)
    if plain:  # the common case, ten times as fast
        canonical, prefix, is_v6 = text, plain[1], False
    else:
        try:
            address = ipaddress.ip_address(normalised(text).strip("[]"))
        except ValueError:
            return IpFacts(0, 0, np.nan)
        if address.version == 6 and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        is_v6 = address.version == 6
        canonical = str(address).partition("%")[0]
        prefix = address.packed[:6].hex() if is_v6 else canonical.rpartition(".")[0]
    return IpFacts(key("ip", canonical), key("ip_prefix", prefix), float(is_v6))


# Entities whose key follows from their own text alone; phone and IP tell more than a key.
text_keys: dict[str, Callable[[str | None], int]] = {
    entity: _remembered(
        partial(_text_key, entity, normalised_address if entity == "address" else normalised)
    )
    for entity in ENTITIES
    if entity not in ("phone", "ip", "ip_prefix")
}


def keys_of_column(entity: str, texts: pl.Series) -> np.ndarray:
    """(n,) uint64 keys of a column of texts, as `text_keys[entity]` gives them.

    Texts that are normal already are hashed as they stand, compiled; the others one by one.
    """
    buffer, offsets = text_buffer(texts)
    keys = np.empty(len(texts), np.uint64)
    hash_where(buffer, offsets, _NORMAL_BYTES[entity], np.uint64(_SEEDS[entity]), keys)
    rest = np.flatnonzero((keys == 0) & (offsets[1:] > offsets[:-1]))
    if len(rest):
        key_of = text_keys[entity]
        keys[rest] = np.fromiter(map(key_of, texts.gather(rest).to_list()), np.uint64, len(rest))
    return keys


def phone_columns(texts: pl.Series) -> tuple[np.ndarray, np.ndarray]:
    """Keys and `is_virtual` of a column of phones, as `phone_facts` gives them."""
    plain = texts.str.contains("^1[0-9]{10}$").fill_null(False)
    keys = key_of_text(texts.zip_with(plain, _NOTHING), _SEEDS["phone"])
    virtual = texts.str.head(3).is_in(list(VIRTUAL_PREFIXES)).fill_null(False)
    is_virtual = virtual.to_numpy().astype(np.float64)
    for row in (~plain).arg_true():
        keys[row], is_virtual[row] = phone_facts(texts[row])
    return keys, is_virtual


def ip_columns(texts: pl.Series) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Keys, prefix keys and `is_v6` of a column of IP addresses, as `ip_facts` gives them."""
    prefixes = texts.str.extract(f"^(?:{_PLAIN_IPV4.pattern})$", 1)
    plain = prefixes.is_not_null()
    keys = key_of_text(texts.zip_with(plain, _NOTHING), _SEEDS["ip"])
    prefix_keys = key_of_text(prefixes, _SEEDS["ip_prefix"])
    is_v6 = np.zeros(len(texts))
    for row in (~plain).arg_true():
        keys[row], prefix_keys[row], is_v6[row] = ip_facts(texts[row])
    return keys, prefix_keys, is_v6


_NOTHING = pl.Series([None], dtype=pl.String)


def _bytes(allowed: str) -> np.ndarray:
    table = np.zeros(256, np.bool_)
    table[list(allowed.encode())] = True
    return table


# Bytes that normalisation leaves alone wherever they stand.
_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
_NORMAL_BYTES = {
    entity: _bytes(_LETTERS if entity == "address" else _LETTERS + "-_.:@+/#=")
    for entity in text_keys
}
