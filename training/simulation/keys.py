"""Entities without memory: each is a 64-bit key, and all that is true of it follows by hashing.

Nothing is stored for an account, so a population of any size costs nothing, and an account that
comes back after a month is the one it was. Keys of honest people and of attackers come from the
same hash and are written by the same function, so a key tells nothing.
"""

from functools import cache
from hashlib import blake2b

import numpy as np
import polars as pl
from numpy.typing import NDArray

Keys = NDArray[np.uint64]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_GOLDEN = 0x9E3779B97F4A7C15
_MASK = (1 << 64) - 1


def mix(keys: Keys) -> Keys:
    """The finaliser of SplitMix64: a bijection whose every output bit depends on every input bit.

    Source: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014.
    """
    keys = (keys ^ (keys >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    keys = (keys ^ (keys >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return keys ^ (keys >> np.uint64(31))


@cache
def salt(what: str) -> int:
    """A fixed 64-bit number for a word."""
    return int.from_bytes(blake2b(what.encode(), digest_size=8).digest(), "little")


def root_key(seed: int, what: str) -> int:
    """A 64-bit number for a word under a seed."""
    return salt(f"{seed}/{what}")


def derive(keys: Keys, what: str, number: "Ints | int" = 0) -> Keys:
    """The key of a thing that belongs to each key, such as its third device."""
    if isinstance(number, int):
        step = np.uint64(((number + 1) * _GOLDEN) & _MASK)
    else:
        step = (number.astype(np.uint64) + np.uint64(1)) * np.uint64(_GOLDEN)
    return mix(mix(keys ^ np.uint64(salt(what))) + step)


def numbered(root: int, numbers: Ints, what: str) -> Keys:
    """The keys of the things with these numbers."""
    return derive(numbers.astype(np.uint64) ^ np.uint64(root), what)


def share(keys: Keys, what: str) -> Floats:
    """A number from [0, 1) that is always the same for a key."""
    return (derive(keys, what) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def pick(keys: Keys, what: str, number: int) -> Ints:
    """A number from 0 to number - 1 that is always the same for a key."""
    return (derive(keys, what) % np.uint64(number)).astype(np.int64)


@cache
def _hex4() -> pl.Series:
    return pl.Series([f"{number:04x}" for number in range(1 << 16)])


def tokens(keys: Keys) -> pl.Series:
    """Keys as 16 characters each; two keys never share a token."""
    table = _hex4()
    parts = [
        table.gather(((keys >> np.uint64(shift)) & np.uint64(0xFFFF)).astype(np.uint32))
        for shift in (48, 32, 16, 0)
    ]
    return pl.select(pl.concat_str(parts)).to_series()
