"""The tables of one block after another, in memory that is kept."""

from features import kernels
from features.feature_set import feature_set
from features.memory import HORIZON_MS
from features.plan import compile_plan
from features.scratch_tables import ScratchTables
from features.tables import rows_held, with_room_in_pools

PLAN = compile_plan(feature_set(), HORIZON_MS)


def test_memory_that_is_large_enough_is_used_again() -> None:
    scratch = ScratchTables(PLAN)
    first = scratch.empty((1_000, 500, 2_000), (0, 0))
    first.counters[kernels.N_ORDERS] = 1_000
    first.order_table[:] = 1
    again = scratch.empty((100, 50, 200), (0, 0))
    assert again.orders is first.orders
    assert rows_held(again) == (0, 0, 0)
    assert not again.order_table.any()
    assert len(again.order_table) < len(first.order_table)


def test_pools_that_grew_one_by_one_still_have_room_for_every_run_with_tiles() -> None:
    scratch = ScratchTables(PLAN)
    scratch.keep(with_room_in_pools(scratch.empty((10, 10, 10), (0, 0)), PLAN.program))
    tables = scratch.empty((10, 10, 10), (3, 4))
    blocks = tables.block_times, tables.block_rows, tables.block_values
    assert min(map(len, (tables.runs, tables.run_totals, *blocks))) >= 3
    assert len(tables.tiles) >= 3 * kernels.MOST_TILES
    assert len(tables.sketches) >= 4
