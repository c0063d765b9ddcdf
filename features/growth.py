"""Arrays of rows that grow, and are never in memory twice while they do."""

import contextlib
import mmap

import numpy as np

_MAPPED_FROM = 1 << 20  # bytes; what is smaller is not worth pages of its own
_PIECE = 1 << 24  # bytes that are moved at a time; a multiple of every size of a page


def empty_rows(shape: tuple[int, ...], dtype: np.typing.DTypeLike) -> np.ndarray:
    """An array that holds anything; rows that are never written take no memory.

    A large one begins at a page, in pages as large as the system has: rows that are read here and
    there then miss the processor's page cache less often.

    Raises:
        OSError: There is no memory for it.
    """
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    if size < _MAPPED_FROM:
        return np.empty(shape, dtype)
    pages = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with contextlib.suppress(OSError):  # a kernel may be built without large pages
        pages.madvise(mmap.MADV_HUGEPAGE)
    return np.ndarray(shape, dtype, buffer=pages)


def moved(rows: np.ndarray, n: int, capacity: int) -> np.ndarray:
    """The first n rows in an array with room for `capacity`; `rows` holds nothing afterwards.

    What was copied is given back to the system piece by piece, so that a table that takes half of
    the memory can grow.
    """
    larger = empty_rows((capacity, *rows.shape[1:]), rows.dtype)
    source, target = rows[:n].reshape(-1).view(np.uint8), larger[:n].reshape(-1).view(np.uint8)
    for start in range(0, len(source), _PIECE):
        target[start : start + _PIECE] = source[start : start + _PIECE]
        if isinstance(rows.base, mmap.mmap) and start + _PIECE <= len(source):
            rows.base.madvise(mmap.MADV_DONTNEED, start, _PIECE)
    return larger
