"""Tiles of a timeline as bytes: what stands between its header and its records.

Times of the latest order and of the latest outcome in tiles, numbers of tiles of orders and of
outcomes, all int64; the tiles, TILE_WIDTH int64 each; then the sketches, each as the number of
registers that are not 0, and the registers: pairs of place and value if there are few, else all.

What is compiled here is small and for itself: numba's cache notices a change of this file only.
"""

# ruff: noqa: PLR0917 numba passes positional arguments
import numpy as np
from numba import njit

from features import kernels
from features.timeline_layout import HEADER_BYTES
from features.timelines import Timelines

_FIXED = 32
_FEW = kernels.REGISTERS // 2  # pairs of two bytes
_TILE_BYTES = 8 * kernels.TILE_WIDTH


def packed_tiles(n_order_tiles: int, tiles: np.ndarray, sketches: np.ndarray) -> bytes:
    """Tiles as `kernels.leave_timeline` gives them; nothing if there are none."""
    if not len(tiles):
        return b""
    latest = [
        int(of[-1, kernels.T_LATEST]) if len(of) else int(kernels.NEVER)
        for of in (tiles[:n_order_tiles], tiles[n_order_tiles:])
    ]
    counts = [n_order_tiles, len(tiles) - n_order_tiles]
    registers = sketches.reshape(-1, kernels.REGISTERS)
    buffer = np.empty(len(registers) * (1 + kernels.REGISTERS), np.uint8)
    used = _pack_sketches(registers, buffer)
    return np.array(latest + counts, np.int64).tobytes() + tiles.tobytes() + buffer[:used].tobytes()


def read_tiles(
    timelines: Timelines, sketches_per_tile: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """Runs, tiles and sketches as `kernels.enter_tiles` takes them.

    The last is the number of the first timeline whose tiles are damaged, or -1.
    """
    n_runs, n_tiles, n_sketches, damaged = _count(
        timelines.buffer, timelines.ends, sketches_per_tile
    )
    runs = np.empty((n_runs, 3), np.int64)
    tiles = np.empty((n_tiles, kernels.TILE_WIDTH), np.int64)
    sketches = np.zeros((n_sketches, sketches_per_tile * kernels.REGISTERS), np.uint8)
    if damaged < 0:
        _parse(
            timelines.buffer, timelines.ends, timelines.key, runs, tiles,
            sketches.reshape(-1, kernels.REGISTERS), sketches_per_tile,
        )  # fmt: skip
    return runs, tiles, sketches, damaged


@njit(cache=True, nogil=True)
def _integer(buffer, at):
    value = np.uint64(0)
    for i in range(8):
        value |= np.uint64(buffer[at + i]) << np.uint64(8 * i)
    return np.int64(value)


@njit(cache=True, nogil=True)
def _pack_sketches(registers, buffer):
    at = 0
    for i in range(len(registers)):
        used = 0
        for r in range(registers.shape[1]):
            used += registers[i, r] != 0
        buffer[at] = used
        at += 1
        for r in range(registers.shape[1]):
            if used > _FEW:
                buffer[at] = registers[i, r]
                at += 1
            elif registers[i, r] != 0:
                buffer[at], buffer[at + 1] = r, registers[i, r]
                at += 2
    return at


@njit(cache=True, nogil=True, inline="always")
def _section(buffer, start, end):
    """Where the tiles of a timeline begin and end; the same if there are none."""
    if end < start + HEADER_BYTES:
        return start, start
    size = np.int64(0)
    for i in range(4):
        size |= np.int64(buffer[start + 4 + i]) << (8 * i)
    return start + HEADER_BYTES, start + HEADER_BYTES + size


@njit(cache=True, nogil=True)
def _count(buffer, ends, per_tile):
    n_runs, n_tiles, n_sketches = 0, 0, 0
    start = 0
    for i in range(len(ends)):
        at, stop = _section(buffer, start, ends[i])
        start = ends[i]
        if at == stop:
            continue
        if stop > ends[i] or at + _FIXED > stop:
            return 0, 0, 0, i
        orders, outcomes = _integer(buffer, at + 16), _integer(buffer, at + 24)
        most = kernels.MOST_TILES
        at += _FIXED
        sketches_at = at + _TILE_BYTES * (orders + outcomes)
        if min(orders, outcomes) < 0 or max(orders, outcomes) > most or sketches_at > stop:
            return 0, 0, 0, i
        first = n_sketches
        for t in range(orders):
            sketch = _integer(buffer, at + _TILE_BYTES * t + 8 * kernels.T_SKETCH)
            if sketch >= 0:
                if sketch != n_sketches - first:
                    return 0, 0, 0, i
                n_sketches += 1
        at = sketches_at
        for _ in range((n_sketches - first) * per_tile):
            if at >= stop or buffer[at] > kernels.REGISTERS:
                return 0, 0, 0, i
            used = np.int64(buffer[at])
            pairs = 1 + 2 * used
            if used <= _FEW:
                for pair in range(at + 1, min(at + pairs, stop), 2):
                    if buffer[pair] >= kernels.REGISTERS:
                        return 0, 0, 0, i
            at += pairs if used <= _FEW else 1 + kernels.REGISTERS
        if at != stop:
            return 0, 0, 0, i
        n_tiles += orders + outcomes
        n_runs += (orders > 0) + (outcomes > 0)
    return n_runs, n_tiles, n_sketches, -1


@njit(cache=True, nogil=True)
def _parse(buffer, ends, key, runs, tiles, registers, per_tile):
    n_runs, n_tiles, n_registers = 0, 0, 0
    start = 0
    for i in range(len(ends)):
        at, stop = _section(buffer, start, ends[i])
        start = ends[i]
        if at == stop:
            continue
        orders, outcomes = _integer(buffer, at + 16), _integer(buffer, at + 24)
        at += _FIXED
        sketch = n_registers // max(per_tile, 1)
        for of, n in enumerate((orders, outcomes)):
            if n == 0:
                continue
            runs[n_runs, 0], runs[n_runs, 1], runs[n_runs, 2] = key[i], 1 - of, n
            n_runs += 1
            for _ in range(n):
                for column in range(kernels.TILE_WIDTH):
                    tiles[n_tiles, column] = _integer(buffer, at)
                    at += 8
                if of == 0 and tiles[n_tiles, kernels.T_SKETCH] >= 0:
                    tiles[n_tiles, kernels.T_SKETCH] += sketch
                n_tiles += 1
        while at < stop:
            used = np.int64(buffer[at])
            at += 1
            if used > _FEW:
                for r in range(kernels.REGISTERS):
                    registers[n_registers, r] = buffer[at + r]
                at += kernels.REGISTERS
            else:
                for _ in range(used):
                    registers[n_registers, buffer[at]] = buffer[at + 1]
                    at += 2
            n_registers += 1
