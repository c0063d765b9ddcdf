"""The tables that the kernel works on: how they are made, grow, and are compacted."""

from collections.abc import Mapping

import numpy as np

from features import kernels
from features.columns import EventColumns
from features.growth import empty_rows, moved
from features.kernels import Events, Program, Scratch, Tables
from features.plan import Plan

_FIRST_ROWS = 1024
_FEW_FREED = 0.25  # a compaction that frees less is followed by growth, so that the next is far


# The arrays whose used rows are the state, with the counter of their rows; the rest follows.
STORED = {
    "orders": kernels.N_ORDERS,
    "outcomes": kernels.N_OUTCOMES,
    "slots": kernels.N_SLOTS,
    "runs": kernels.N_RUNS,
    "run_totals": kernels.N_RUNS,
    "block_times": kernels.N_BLOCKS,
    "block_rows": kernels.N_BLOCKS,
    "block_values": kernels.N_BLOCKS,
    "tiles": kernels.N_TILES,
    "sketches": kernels.N_SKETCHES,
}
_POOLS = tuple(STORED)[3:]


def row_widths(plan: Plan) -> tuple[int, int, int]:
    """int32 columns of the rows of orders, outcomes and slots."""
    order = kernels.O_SLOTS + len(plan.entities) + plan.n_order_chains
    outcome = kernels.C_LINKS + plan.n_outcome_chains
    # Multiples of 8 int32 keep an order within two or three cache lines of 16.
    return -(-order // 8) * 8, outcome + outcome % 2, kernels.SLOT_WIDTH


def kernel_events(events: EventColumns) -> Events:
    """Events as the kernel takes them."""
    is_order = events.kind == 0
    return Events(
        np.cumsum(is_order) - is_order,
        events.order_key.view(np.int64),
        events.time,
        events.kind,
        np.ascontiguousarray(events.entity_key).view(np.int64),
        events.quantity,
        events.unit_price,
    )


def empty_tables(
    widths: tuple[int, int, int],
    sketches: int,
    rows: tuple[int, int, int] = (0, 0, 0),
    pools: tuple[int, int] = (0, 0),
) -> Tables:
    """Tables of orders, outcomes and slots that hold nothing.

    They have so many int32 columns and room for so many rows, and for so many runs with tiles and
    sketches; `sketches` is how many a tile has.
    """
    counters = np.zeros(kernels.N_COUNTERS, np.int64)
    counters[kernels.NEWEST] = kernels.NEVER
    counters[kernels.OLDEST] = -kernels.NEVER
    shapes = {
        "orders": (widths[0], np.int32),
        "outcomes": (widths[1], np.int32),
        "slots": (widths[2], np.int32),
        "runs": (kernels.RUN_WIDTH, np.int32),
        "run_totals": (kernels.T_CLASSES + 1, np.int64),
        "block_times": (kernels.EXACT, np.int64),
        "block_rows": (kernels.EXACT, np.int32),
        "block_values": (kernels.EXACT, np.int64),
        "tiles": (kernels.TILE_WIDTH, np.int64),
        "sketches": (sketches * kernels.REGISTERS, np.uint8),
    }
    runs, of_tiles = pools
    room = dict(
        zip(shapes, (*rows, *(5 * (runs,)), runs * kernels.MOST_TILES, of_tiles), strict=True)
    )
    stored = {
        name: empty_rows((room[name], width), dtype) for name, (width, dtype) in shapes.items()
    }
    return tables_of(stored, counters)


def tables_of(
    stored: Mapping[str, np.ndarray], counters: np.ndarray, earlier: Tables | None = None
) -> Tables:
    """The arrays of STORED with their hash tables; those of rows that `earlier` has are kept."""
    orders, slots = stored["orders"], stored["slots"]
    orders64, slots64 = orders.view(np.int64), slots.view(np.int64)
    return Tables(
        **stored,
        orders64=orders64,
        outcomes64=stored["outcomes"].view(np.int64),
        slots64=slots64,
        order_table=earlier.order_table
        if earlier is not None and orders is earlier.orders
        else _hashed(orders64, kernels.O_KEY, int(counters[kernels.N_ORDERS])),
        slot_table=earlier.slot_table
        if earlier is not None and slots is earlier.slots
        else _hashed(slots64, kernels.S_KEY, int(counters[kernels.N_SLOTS])),
        counters=counters,
        chain=np.empty(kernels.HOT, np.int32),
        exact=np.empty(2 * kernels.EXACT, np.int32),
        work=np.empty(
            (kernels.MOST_TILES + kernels.EXACT // kernels.TILE_EVENTS, kernels.TILE_WIDTH),
            np.int64,
        ),
    )


def scratch_for(program: Program) -> Scratch:
    """Room for `kernels.apply_events` to work in."""
    accumulators, windows = len(program.op), program.walk_windows.shape[1]
    return Scratch(
        slots_of_order=np.empty(len(program.entity_column), np.int32),
        running=np.empty(accumulators, np.int64),
        at=np.empty((accumulators, windows), np.int64),
        seen=np.empty((accumulators, kernels.FEW), np.int32),
        n_seen=np.zeros(accumulators, np.int32),
        circle=np.empty(kernels.FEW, np.int32),
        cursor=np.empty(len(program.walk_entity), np.int32),
        edges=np.empty(windows, np.int64),
        since=np.empty(windows, np.int32),
        tiles_since=np.empty(windows, np.int32),
        registers=np.empty(kernels.REGISTERS, np.uint8),
    )


def stored_rows(tables: Tables) -> dict[str, np.ndarray]:
    """The used rows of each array of STORED."""
    return {name: getattr(tables, name)[: tables.counters[n]] for name, n in STORED.items()}


def rows_held(tables: Tables) -> tuple[int, int, int]:
    """How many rows of orders, outcomes and slots are in use."""
    counters = tables.counters
    return (
        int(counters[kernels.N_ORDERS]),
        int(counters[kernels.N_OUTCOMES]),
        int(counters[kernels.N_SLOTS]),
    )


def compact(tables: Tables, program: Program) -> None:
    """Drop, in place, the rows that no feature can depend on any more."""
    kernels.compact(tables, program, *(np.full(n, -1, np.int32) for n in rows_held(tables)))
    n_orders, _, n_slots = rows_held(tables)
    tables.order_table.fill(0)
    tables.slot_table.fill(0)
    kernels.fill_table(tables.order_table, tables.orders64, kernels.O_KEY, n_orders)
    kernels.fill_table(tables.slot_table, tables.slots64, kernels.S_KEY, n_slots)


def with_room(tables: Tables, program: Program, n_events: int) -> Tables:
    """Tables with room for so many events, whatever they are.

    Each may be an order with new values of every entity, or an outcome that comes before its
    order. A full table is compacted if something can be dropped, else it doubles: then `tables`
    must not be used any more.
    """
    held = (tables.orders, tables.outcomes, tables.slots)
    wanted = (n_events, n_events, n_events * len(program.entity_column))
    before = rows_held(tables)
    tables = with_room_in_pools(tables, program)
    lacks = [n + w > len(t) for n, w, t in zip(before, wanted, held, strict=True)]
    if not any(lacks):
        return tables
    floor = tables.counters[kernels.NEWEST] - program.horizon[0]
    if tables.counters[kernels.OLDEST] < floor:
        compact(tables, program)
    grown = []
    for i, n in enumerate(rows_held(tables)):
        fits = n + wanted[i] <= len(held[i])
        few_freed = n > (1 - _FEW_FREED) * before[i]
        enough = fits and not (lacks[i] and few_freed)
        grown.append(held[i] if enough else _grown(held[i], n, n + wanted[i]))
    stored = dict(zip(("orders", "outcomes", "slots"), grown, strict=True))
    pools = {name: getattr(tables, name) for name in _POOLS}
    return tables_of(stored | pools, tables.counters, earlier=tables)


def with_room_in_pools(tables: Tables, program: Program) -> Tables:
    """Tables with room for what one more event may fold; `tables` must not be used any more."""
    runs, blocks, tiles, sketches = kernels.room_wanted(program)
    wanted = {
        kernels.N_RUNS: runs,
        kernels.N_BLOCKS: blocks,
        kernels.N_TILES: tiles,
        kernels.N_SKETCHES: sketches,
    }
    larger = {}
    for name in _POOLS:
        pool, n = getattr(tables, name), int(tables.counters[STORED[name]])
        needed = n + wanted[STORED[name]]
        if needed > len(pool):
            larger[name] = moved(pool, n, 2 * needed)
    return tables._replace(**larger) if larger else tables


def _grown(rows: np.ndarray, n: int, needed: int) -> np.ndarray:
    """The first n rows, with twice the capacity, or more if more is needed."""
    capacity = max(2 * len(rows), _FIRST_ROWS)
    while capacity < needed:
        capacity *= 2
    return moved(rows, n, capacity)


def hash_places(rows: int) -> int:
    """The length of a hash table that is at most two thirds full when it holds so many rows."""
    return 1 << max(4, (rows * 3 // 2).bit_length())


def _hashed(rows64: np.ndarray, key_column: int, n: int) -> np.ndarray:
    """A hash table of the first n rows, with room for all."""
    table = np.zeros(hash_places(len(rows64)), np.int32)
    kernels.fill_table(table, rows64, key_column, n)
    return table
