from pathlib import Path

import numpy as np
import pytest

from features.growth import empty_rows, moved


def resident_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20


@pytest.mark.parametrize("rows", [0, 1, 1_000, 300_000, 1_500_000])  # 48 MB: several pieces
def test_what_was_written_is_there_after_a_move(rows: int) -> None:
    table = empty_rows((rows + 5, 8), np.int32)
    table[:rows] = np.arange(rows * 8).reshape(rows, 8)
    larger = moved(table, rows, 2 * rows + 1)
    assert larger.shape == (2 * rows + 1, 8)
    np.testing.assert_array_equal(larger[:rows], np.arange(rows * 8).reshape(rows, 8))


def test_a_table_that_grows_is_not_in_memory_twice() -> None:
    table = empty_rows((4_000_000, 8), np.int32)
    table[:] = 1
    before = resident_mb()
    larger = moved(table, len(table), 2 * len(table))
    assert resident_mb() < before + 40  # of 122: two pieces, and the rounding of large pages
    assert larger[:4_000_000].min() == 1
