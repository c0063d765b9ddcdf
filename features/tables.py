"""The tables that the kernel works on: how they are made, grow, and are compacted."""

import numpy as np

from features import kernels
from features.columns import EventColumns
from features.kernels import Events, Program, Tables
from features.plan import Plan

_FIRST_ROWS = 1024
_FEW_FREED = 0.25  # a compaction that frees less is followed by growth, so that the next is far
_LINE = 32  # int32 in a pair of cache lines, which are fetched together


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


def empty_tables(widths: tuple[int, int, int]) -> Tables:
    """Tables of orders, outcomes and slots that hold nothing, with so many int32 columns."""
    counters = np.zeros(kernels.N_COUNTERS, np.int64)
    counters[kernels.NEWEST] = kernels.NEVER
    counters[kernels.OLDEST] = -kernels.NEVER
    orders, outcomes, slots = (np.zeros((0, width), np.int32) for width in widths)
    return tables_of(orders, outcomes, slots, counters)


def tables_of(
    orders: np.ndarray,
    outcomes: np.ndarray,
    slots: np.ndarray,
    counters: np.ndarray,
    earlier: Tables | None = None,
) -> Tables:
    """The rows with their hash tables; those of rows that `earlier` has, too, are taken over."""
    orders64, slots64 = orders.view(np.int64), slots.view(np.int64)
    return Tables(
        orders=orders,
        orders64=orders64,
        outcomes=outcomes,
        outcomes64=outcomes.view(np.int64),
        slots=slots,
        slots64=slots64,
        order_table=earlier.order_table
        if earlier is not None and orders is earlier.orders
        else _hashed(orders64, kernels.O_KEY, int(counters[kernels.N_ORDERS])),
        slot_table=earlier.slot_table
        if earlier is not None and slots is earlier.slots
        else _hashed(slots64, kernels.S_KEY, int(counters[kernels.N_SLOTS])),
        counters=counters,
    )


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
    kernels.compact(tables, program)
    n_orders, _, n_slots = rows_held(tables)
    tables.order_table.fill(0)
    tables.slot_table.fill(0)
    kernels.fill_table(tables.order_table, tables.orders64, kernels.O_KEY, n_orders)
    kernels.fill_table(tables.slot_table, tables.slots64, kernels.S_KEY, n_slots)


def with_room(tables: Tables, program: Program, n_events: int) -> Tables:
    """Tables with room for so many events, whatever they are.

    Each may be an order with new values of every entity, or an outcome that comes before its
    order. A full table is compacted if something can be dropped, else it doubles.
    """
    held = (tables.orders, tables.outcomes, tables.slots)
    wanted = (n_events, n_events, n_events * len(program.entity_column))
    before = rows_held(tables)
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
    return tables_of(grown[0], grown[1], grown[2], tables.counters, earlier=tables)


def _grown(rows: np.ndarray, n: int, needed: int) -> np.ndarray:
    """The first n rows, with twice the capacity, or more if more is needed."""
    capacity = max(2 * len(rows), _FIRST_ROWS)
    while capacity < needed:
        capacity *= 2
    larger = _aligned(capacity, rows.shape[1])
    larger[:n] = rows[:n]
    return larger


def _aligned(rows: int, width: int) -> np.ndarray:
    """An empty int32 table that begins at a pair of cache lines."""
    room = np.empty(rows * width + _LINE, np.int32)
    skip = -room.ctypes.data % (4 * _LINE) // 4
    return room[skip : skip + rows * width].reshape(rows, width)


def _hashed(rows64: np.ndarray, key_column: int, n: int) -> np.ndarray:
    """A hash table of the first n rows that is at most two thirds full when all are in use."""
    table = np.zeros(1 << max(4, (len(rows64) * 3 // 2).bit_length()), np.int32)
    kernels.fill_table(table, rows64, key_column, n)
    return table
