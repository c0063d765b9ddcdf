"""Tables that are filled anew for every block of events, in memory that is kept.

The tables of a block are some 20 MB. Memory that is asked for each time costs more than what is
done in it: the system hands it out page by page, and empties each.
"""

from features import kernels
from features.kernels import Tables
from features.plan import Plan
from features.tables import empty_tables, hash_places, row_widths


class ScratchTables:
    """The tables of one block after another.

    Args:
        plan: What the tables are for.
    """

    def __init__(self, plan: Plan) -> None:
        self._widths = row_widths(plan)
        self._per_tile = plan.program.sketched.shape[1]
        self._kept = empty_tables(self._widths, self._per_tile)

    def empty(self, rows: tuple[int, int, int], pools: tuple[int, int]) -> Tables:
        """Tables that hold nothing, with room as `empty_tables` makes it.

        Those that were given before are no longer to be used.
        """
        kept = self._kept
        held = len(kept.orders), len(kept.outcomes), len(kept.slots)
        held_in_pools = _runs_that_fit(kept), len(kept.sketches)
        wanted, room = (*rows, *pools), (*held, *held_in_pools)
        if any(n > m for n, m in zip(wanted, room, strict=True)):
            larger = [2 * n if n > m else m for n, m in zip(wanted, room, strict=True)]
            sizes = (larger[0], larger[1], larger[2]), (larger[3], larger[4])
            kept = empty_tables(self._widths, self._per_tile, *sizes)
        kept.counters[:] = 0
        kept.counters[kernels.NEWEST] = kernels.NEVER
        kept.counters[kernels.OLDEST] = -kernels.NEVER
        # No more of the hash tables than these rows ask for: they are to stay in the cache.
        order_table = kept.order_table[: hash_places(rows[0])]
        slot_table = kept.slot_table[: hash_places(rows[2])]
        order_table.fill(0)
        slot_table.fill(0)
        self._kept = kept
        return kept._replace(order_table=order_table, slot_table=slot_table)

    def keep(self, tables: Tables) -> None:
        """Keep the memory of tables that were given and may have grown since."""
        kept = self._kept
        self._kept = tables._replace(order_table=kept.order_table, slot_table=kept.slot_table)


def _runs_that_fit(tables: Tables) -> int:
    """How many runs with tiles can be entered: pools grow one by one, so some are larger."""
    blocks = tables.block_times, tables.block_rows, tables.block_values
    per_run = min(map(len, (tables.runs, tables.run_totals, *blocks)))
    return min(per_run, len(tables.tiles) // kernels.MOST_TILES)
