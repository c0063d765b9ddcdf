"""XXH64 over columns of text, compiled.

The same numbers as `xxhash.xxh64_intdigest`, for the many values of a block at once.
Source: https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md
"""

import numpy as np
import polars as pl
from numba import njit, uint64

_P1 = np.uint64(11400714785074694791)
_P2 = np.uint64(14029467366897019727)
_P3 = np.uint64(1609587929392839161)
_P4 = np.uint64(9650029242287828579)
_P5 = np.uint64(2870177450012600261)


def text_buffer(texts: pl.Series) -> tuple[np.ndarray, np.ndarray]:
    """All texts as one run of UTF-8 bytes, and the (n + 1,) offsets of each; null is empty."""
    texts = texts.fill_null("")
    buffer = np.frombuffer(str(texts.str.join("").item()).encode(), np.uint8)
    offsets = np.zeros(len(texts) + 1, np.int64)
    np.cumsum(texts.str.len_bytes().to_numpy(), out=offsets[1:])
    return buffer, offsets


def key_of_text(texts: pl.Series, seed: int) -> np.ndarray:
    """(n,) uint64: XXH64 of each text as it stands, never 0."""
    buffer, offsets = text_buffer(texts)
    keys = np.empty(len(texts), np.uint64)
    hash_where(buffer, offsets, np.ones(256, np.bool_), np.uint64(seed), keys)
    return keys


@njit(cache=True, nogil=True)
def hash_where(buffer, offsets, allowed, seed, keys):
    """Hash the texts of allowed bytes and Chinese characters; 0 for the others and empty ones.

    Chinese characters are U+4E00 to U+9FFF, in UTF-8 three bytes from E4 B8 80 to E9 BF BF.
    """
    for i in range(len(keys)):
        start, stop = offsets[i], offsets[i + 1]
        plain = stop > start
        j = start
        while j < stop:
            byte = buffer[j]
            if allowed[byte]:
                j += 1
            elif 0xE5 <= byte <= 0xE9 or (byte == 0xE4 and buffer[j + 1] >= 0xB8):
                j += 3
            else:
                plain = False
                break
        keys[i] = 0
        if plain:
            digest = _xxh64(buffer, start, stop, seed)
            keys[i] = digest if digest != 0 else uint64(1)


@njit(cache=True, nogil=True, inline="always")
def _rotate(x, r):
    return (x << uint64(r)) | (x >> uint64(64 - r))


@njit(cache=True, nogil=True, inline="always")
def _read(buffer, at, n):
    value = uint64(0)
    for i in range(n):
        value |= uint64(buffer[at + i]) << uint64(8 * i)
    return value


@njit(cache=True, nogil=True, inline="always")
def _round(accumulator, lane):
    return _rotate(accumulator + lane * _P2, 31) * _P1


@njit(cache=True, nogil=True)
def _xxh64(buffer, start, stop, seed):
    at = start
    if stop - start >= 32:
        v1, v2, v3, v4 = seed + _P1 + _P2, seed + _P2, seed, seed - _P1
        while at + 32 <= stop:
            v1 = _round(v1, _read(buffer, at, 8))
            v2 = _round(v2, _read(buffer, at + 8, 8))
            v3 = _round(v3, _read(buffer, at + 16, 8))
            v4 = _round(v4, _read(buffer, at + 24, 8))
            at += 32
        digest = _rotate(v1, 1) + _rotate(v2, 7) + _rotate(v3, 12) + _rotate(v4, 18)
        digest = (digest ^ _round(uint64(0), v1)) * _P1 + _P4
        digest = (digest ^ _round(uint64(0), v2)) * _P1 + _P4
        digest = (digest ^ _round(uint64(0), v3)) * _P1 + _P4
        digest = (digest ^ _round(uint64(0), v4)) * _P1 + _P4
    else:
        digest = seed + _P5
    digest += uint64(stop - start)
    while at + 8 <= stop:
        digest = _rotate(digest ^ _round(uint64(0), _read(buffer, at, 8)), 27) * _P1 + _P4
        at += 8
    if at + 4 <= stop:
        digest = _rotate(digest ^ (_read(buffer, at, 4) * _P1), 23) * _P2 + _P3
        at += 4
    while at < stop:
        digest = _rotate(digest ^ (uint64(buffer[at]) * _P5), 11) * _P1
        at += 1
    digest = (digest ^ (digest >> uint64(33))) * _P2
    digest = (digest ^ (digest >> uint64(29))) * _P3
    return digest ^ (digest >> uint64(32))
