"""The compiled inner loops of the in-memory store.

Rows live in int32 tables; a time, a price or a key takes two columns and is read through an int64
view of the same memory, so that a record is one run of bytes. A link is a row number, -1 is none.

The timeline of an entity value is a chain through the records that carry it, latest first; among
equal times the one applied later comes first. So one walk from the head sees the events of every
window, the smallest window first.

A hot entity value (a carrier's address, a merchant) has a run instead of a chain: its latest events
side by side, so that counting is a binary search and no walk through memory. What a run cannot
hold is folded into tiles, each the summary of neighbouring events. Tiles are merged as they age,
so that none holds more than a sixteenth of what is newer: the exponential histogram of Datar,
Gionis, Indyk and Motwani (Maintaining Stream Statistics over Sliding Windows, 2002). Different
values in tiles are counted by HyperLogLog (Flajolet, Fusy, Gandouet and Meunier, 2007).

Everything compiled is in this one file: numba's cache notices a change of the file that a function
is in, and of no other.
"""

# ruff: noqa: PLR0917 numba passes positional arguments
import math
from typing import Any, NamedTuple

import numpy as np
from numba import njit

# Order row. int64 columns, then int32 columns.
O_TIME, O_PRICE, O_KEY = 0, 1, 2
O_QUANTITY, O_OUTCOME, O_SLOTS = 6, 7, 8  # then a slot per entity, then a link per chain
# Outcome row
C_TIME = 0
C_OWNER, C_KIND, C_NEXT, C_LINKS = 2, 3, 4, 5
# Slot row: one entity value. Its timelines of orders and of outcomes are each the first record of
# a chain, or -1 for none, or -2 - r for run r.
S_KEY = 0
S_ORDER, S_OUTCOME, S_STAMP = 2, 3, 4
S_HELD = 5  # records in the two chains: of orders in the low 16 bits, of outcomes in the high
SLOT_WIDTH = 6
# Run row: two blocks of events, oldest first, -1 is none; how many events; the tiles, oldest first:
# where they begin, how many there are, and how many fit. A free run has the next one in R_BLOCK.
R_BLOCK, R_N, R_TILES, R_N_TILES, R_ROOM, RUN_WIDTH = 0, 2, 3, 4, 5, 6
# Tile, int64: its latest and earliest event; then of orders how many and the sum of each measure,
# with all older tiles, and the maximum of each measure and the sketches' row or -1; of outcomes
# how many of class c, with all older tiles, at T_CLASS + c.
T_LATEST, T_EARLIEST, T_N, T_SUM, T_MAX, T_SKETCH, TILE_WIDTH = 0, 1, 2, 3, 6, 9, 10
T_CLASS, T_CLASSES = 1, 8

# Counters
N_ORDERS, N_OUTCOMES, N_SLOTS, NEWEST, OLDEST, QUERY, UNATTRIBUTED = range(7)
# The next five count what was taken from the pools of runs, blocks, tiles and sketches; free ones
# are chained: runs, blocks, sketches, and tiles by the size of their array.
N_RUNS, N_BLOCKS, N_TILES, N_SKETCHES, FREE_RUN, FREE_BLOCK, FREE_SKETCH, FREE_TILES = range(7, 15)
N_COUNTERS = FREE_TILES + 4

# The time of a row that stands for an order whose outcomes came first.
NEVER = np.int64(-(2**62))

# A slot number of an order at hand: no value, or a value that the state does not know.
MISSING, UNKNOWN = -1, -2

# What is accumulated during a walk …
COUNT, SUM, MAX, DISTINCT, SAME, LAST, FIRST, LATEST_VALUE, CHANGES, CIRCLE, TILED = range(11)
# … and how a feature is made of it.
VALUE, VALUE_IF_ANY, MEAN, RATIO, RATE, SAME_VALUE, FIRST_USE, CHANGED, SINCE, FLAG = range(10)

UNSEEN = -1  # none among the exact events, and tiles do not tell

FEW = 12  # different values that are compared one by one; as many accounts make a circle

HOT = 64  # records in a chain that make it a run
BLOCK_BITS = 7
EXACT = 1 << BLOCK_BITS  # events in a block; at least so many stay exact, twice as many are folded
TILE_EVENTS = 8  # in a new tile
NEWER_PER_TILE = 16  # a tile holds at most one event for so many newer ones
FEWEST_TILES, MOST_TILES = 32, 256  # in an array of tiles
REGISTERS, REGISTER_BITS = 128, 7  # of a sketch: standard error 1.04 / sqrt(128) = 9 %
_BIAS = 0.7213 / (1 + 1.079 / REGISTERS)
MOST_OUTCOMES = 64  # different ones of one order; what comes after is ignored

ORDERS = 1  # the bit of orders in a mask of kinds; outcome class c has bit 1 << c

AMOUNT, QUANTITY, UNIT_PRICE = 0, 1, 2
PACK = 1_000_001  # above every quantity; times the highest price it still fits an int64
AMOUNT_CAP = 10**13  # minor units; sums of 900,000 such orders still fit an int64


class Tables(NamedTuple):
    """The state: int32 tables, their int64 views, and two open-addressing hash tables.

    A hash table holds row numbers plus one; 0 is an empty place. Its length is a power of two.
    """

    orders: np.ndarray
    orders64: np.ndarray
    outcomes: np.ndarray
    outcomes64: np.ndarray
    slots: np.ndarray
    slots64: np.ndarray
    order_table: np.ndarray
    slot_table: np.ndarray
    runs: np.ndarray  # (R, RUN_WIDTH) int32
    run_totals: np.ndarray  # (R, 9) int64, of all events of a run: sums of measures, or classes
    block_times: np.ndarray  # (B, EXACT) int64
    block_rows: np.ndarray  # (B, EXACT) int32: of the order or outcome
    block_values: np.ndarray  # (B, EXACT) int64: packed price and quantity, or outcome class
    tiles: np.ndarray  # (T, TILE_WIDTH) int64
    sketches: np.ndarray  # (S, K * REGISTERS) uint8: of one tile; K is the most of any entity
    counters: np.ndarray
    chain: np.ndarray  # (HOT,) int32, room to list a chain in
    exact: np.ndarray  # (2 * EXACT,) int32, room to list the single events of a timeline in
    work: np.ndarray  # (MOST_TILES + EXACT // TILE_EVENTS, TILE_WIDTH) int64, room to fold in


class Scratch(NamedTuple):
    """Room to work in; nothing in it outlives a call. `features.tables.scratch_for` makes it."""

    slots_of_order: np.ndarray  # (E,) int32
    running: np.ndarray  # (A,) int64, the accumulators of a walk
    at: np.ndarray  # (A, K) int64, accumulator a over window k
    seen: np.ndarray  # (A, FEW) int32, the first different values that a met
    n_seen: np.ndarray  # (A,) int32
    circle: np.ndarray  # (FEW,) int32, slots of accounts
    cursor: np.ndarray  # (W,) int32, where each walk is
    edges: np.ndarray  # (K,) int64, where each window of a walk begins
    since: np.ndarray  # (K,) int32, its first event in a run
    tiles_since: np.ndarray  # (K,) int32, the first tile that reaches into it
    registers: np.ndarray  # (REGISTERS,) uint8


class Program(NamedTuple):
    """The declarations, compiled; `features.plan` makes it."""

    horizon: np.ndarray  # (1,) int64 ms
    entity_column: np.ndarray  # (E,) column of EventColumns.entity_key
    order_chain: np.ndarray  # (E,) which link of an order row, -1: no chain
    outcome_chain: np.ndarray  # (E,) which link of an outcome row, -1: no chain
    walk_entity: np.ndarray  # (W,)
    walk_over_orders: np.ndarray  # (W,) 1: orders, 0: outcomes
    walk_link: np.ndarray  # (W,) column of the link in a row of orders or outcomes
    walk_first: np.ndarray  # (W,) its first accumulator
    walk_windows: np.ndarray  # (W, K) int64 ms, ascending
    walk_n_windows: np.ndarray  # (W,)
    walk_active: np.ndarray  # (W, K) how many of its accumulators still care at window k
    walk_n: np.ndarray  # (W,) how many accumulators it has
    op: np.ndarray  # (A,)
    arg: np.ndarray  # (A,) measure, or entity
    mask: np.ndarray  # (A,) kinds that count
    sketch: np.ndarray  # (A,) which sketch of a tile counts it, -1: none
    sketched: np.ndarray  # (E, K) entity whose values sketch k of an entity's tiles counts, or -1
    sketched_for: np.ndarray  # (E,) int64 ms: the longest window in which different ones count
    circle: np.ndarray  # (4,) account, device, payment, as numbered here, or -1; a window in ms
    feature_column: np.ndarray  # (F,)
    feature_entity: np.ndarray  # (F,)
    feature_finish: np.ndarray  # (F,)
    feature_arg: np.ndarray  # (F,) measure, or entity
    feature_from: np.ndarray  # (F, 4) accumulator, window number, accumulator, window number
    feature_prior: np.ndarray  # (2,) float64: prior * weight, weight; of every rate


class Events(NamedTuple):
    """`EventColumns`, keys viewed as int64, and the number of orders before each event."""

    order_number: np.ndarray
    order_key: np.ndarray
    time: np.ndarray
    kind: np.ndarray
    entity_key: np.ndarray
    quantity: np.ndarray
    unit_price: np.ndarray


# Without reference counts: each use of an array of a tuple would lock a counter in memory, which
# cost half of the time. So nothing is allocated in here. What Python does not call needs no wrapper
# for it, which would take most of the time to compile.
_njit: Any = njit  # numba's own types do not know all of its options
_entry = _njit(cache=True, nogil=True, _nrt=False)
_compiled = _njit(nogil=True, _nrt=False, no_cpython_wrapper=True, no_cfunc_wrapper=True)


@_compiled
def _measure(which, quantity, price):
    if which == QUANTITY:
        return np.int64(quantity)
    if which == UNIT_PRICE:
        return price
    return min(price * np.int64(quantity), AMOUNT_CAP)


@_compiled
def _measure_of(which, packed):
    """As `_measure`, of price * PACK + quantity."""
    return _measure(which, packed % PACK, packed // PACK)


@_compiled
def _find(table, rows64, key_column, key):
    """The place in the table where the key is, or the empty place where it belongs."""
    last = len(table) - 1
    place = key & last
    while table[place] != 0 and rows64[table[place] - 1, key_column] != key:
        place = (place + 1) & last
    return place


@_compiled
def _is_alive(row, floor, tables):
    """An order is remembered until the horizon has passed after its last event."""
    if tables.orders64[row, O_TIME] >= floor:
        return True
    outcome = tables.orders[row, O_OUTCOME]
    while outcome >= 0:
        if tables.outcomes64[outcome, C_TIME] >= floor:
            return True
        outcome = tables.outcomes[outcome, C_NEXT]
    return False


@_compiled
def _link(record, entity, slot, over_orders, floor, tables, program):
    """Put a record into the timeline of a slot, above the records of its own time."""
    if over_orders:
        rows, rows64, head, shift = tables.orders, tables.orders64, S_ORDER, 0
        link = O_SLOTS + len(program.entity_column) + program.order_chain[entity]
    else:
        rows, rows64, head, shift = tables.outcomes, tables.outcomes64, S_OUTCOME, 16
        link = C_LINKS + program.outcome_chain[entity]
    slots = tables.slots
    if slots[slot, head] <= -2:
        run = np.int64(-2 - slots[slot, head])
        _insert(run, record, entity, over_orders, floor, tables, program)
        return
    time = rows64[record, 0]
    above = -1
    below = slots[slot, head]
    while below >= 0 and rows64[below, 0] > time:
        above = below
        below = rows[below, link]
    rows[record, link] = below
    if above < 0:
        slots[slot, head] = record
    else:
        rows[above, link] = record
    both = np.int64(slots[slot, S_HELD])
    held = (both >> shift & 0xFFFF) + 1
    if held >= HOT:
        held = _warm_up(slot, head, link, entity, over_orders, floor, tables, program)
    slots[slot, S_HELD] = both & ~(0xFFFF << shift) | held << shift


@_compiled
def _warm_up(slot, head, link, entity, over_orders, floor, tables, program):
    """Make a long chain a run, unless most of it lies behind the horizon; give its length."""
    rows = tables.orders if over_orders else tables.outcomes
    rows64 = tables.orders64 if over_orders else tables.outcomes64
    latest_first = tables.chain
    n = 0
    row = tables.slots[slot, head]
    while row >= 0 and rows64[row, 0] >= floor and n < HOT:
        latest_first[n] = row
        n += 1
        row = rows[row, link]
    if n < HOT:  # the chain may be cut: no walk goes behind the horizon
        if n > 0:
            rows[latest_first[n - 1], link] = -1
        else:
            tables.slots[slot, head] = -1
        return n
    run = _new_run(tables)
    for i in range(n - 1, -1, -1):
        _insert(run, np.int64(latest_first[i]), entity, over_orders, floor, tables, program)
    tables.slots[slot, head] = -2 - run
    return 0


@_compiled
def _insert(run, record, entity, over_orders, floor, tables, program):
    """Put a record into a run; one that is older than the newest tile is counted in a tile."""
    runs = tables.runs
    if over_orders:
        time = tables.orders64[record, O_TIME]
        value = tables.orders64[record, O_PRICE] * PACK + tables.orders[record, O_QUANTITY]
    else:
        time = tables.outcomes64[record, C_TIME]
        value = np.int64(tables.outcomes[record, C_KIND])
    n_tiles = runs[run, R_N_TILES]
    if n_tiles > 0 and time < tables.tiles[runs[run, R_TILES] + n_tiles - 1, T_LATEST]:
        _insert_into_tile(run, record, time, value, entity, over_orders, tables, program)
        return
    if runs[run, R_N] == 2 * EXACT:
        # What lies behind the horizon goes first, so that it makes no difference whether
        # `compact` has been there before.
        _trim(run, over_orders, floor, tables)
        if runs[run, R_N] == 2 * EXACT:
            _fold(run, entity, over_orders, floor, tables, program)
    if runs[run, R_N] == EXACT and runs[run, R_BLOCK + 1] < 0:
        runs[run, R_BLOCK + 1] = _new_block(tables)
    i = runs[run, R_N]
    runs[run, R_N] += 1
    while i > 0:
        block, place = runs[run, R_BLOCK + (i - 1 >> BLOCK_BITS)], (i - 1) & EXACT - 1
        if tables.block_times[block, place] <= time:
            break
        _put(run, i, tables.block_times[block, place], tables.block_rows[block, place],
             tables.block_values[block, place], tables)  # fmt: skip
        i -= 1
    _put(run, i, time, record, value, tables)
    _add_to_total(run, value, 1, over_orders, tables)


@_compiled
def _add_to_total(run, value, sign, over_orders, tables):
    if over_orders:
        for which in range(3):
            tables.run_totals[run, which] += sign * _measure_of(which, value)
    else:
        tables.run_totals[run, value] += sign


@_compiled
def _put(run, i, time, row, value, tables):
    block, place = tables.runs[run, R_BLOCK + (i >> BLOCK_BITS)], i & EXACT - 1
    tables.block_times[block, place] = time
    tables.block_rows[block, place] = row
    tables.block_values[block, place] = value


@_compiled
def _trim(run, over_orders, floor, tables):
    """Drop the events of a run that lie behind the horizon."""
    runs = tables.runs
    n = runs[run, R_N]
    gone = _first_since(run, floor, n, tables)
    if gone == 0:
        return
    for i in range(gone):
        block, place = runs[run, R_BLOCK + (i >> BLOCK_BITS)], i & EXACT - 1
        _add_to_total(run, tables.block_values[block, place], -1, over_orders, tables)
    for i in range(gone, n):
        block, place = runs[run, R_BLOCK + (i >> BLOCK_BITS)], i & EXACT - 1
        _put(run, i - gone, tables.block_times[block, place], tables.block_rows[block, place],
             tables.block_values[block, place], tables)  # fmt: skip
    runs[run, R_N] = n - gone
    if n - gone <= EXACT and runs[run, R_BLOCK + 1] >= 0:
        _give_back(runs[run, R_BLOCK + 1], FREE_BLOCK, tables.block_rows, tables.counters)
        runs[run, R_BLOCK + 1] = -1


@_compiled
def _first_since(run, edge, n, tables):
    """The first of the first n events of a run that is not before `edge`, or n."""
    low, high = 0, n
    while low < high:
        middle = (low + high) // 2
        block = tables.runs[run, R_BLOCK + (middle >> BLOCK_BITS)]
        if tables.block_times[block, middle & EXACT - 1] < edge:
            low = middle + 1
        else:
            high = middle
    return low


@_compiled
def _fold(run, entity, over_orders, floor, tables, program):
    """Fold the older block of a full run into tiles, and merge tiles as they age."""
    runs, counters = tables.runs, tables.counters
    n_new = EXACT // TILE_EVENTS
    n_old, start = runs[run, R_N_TILES], runs[run, R_TILES]
    work = tables.work  # oldest first, each for itself
    for t in range(n_old):
        _copy(work, t, tables.tiles, start + t)
        for column in range(T_N, _summed(over_orders)):
            work[t, column] -= tables.tiles[start + t - 1, column] if t > 0 else 0
    block = runs[run, R_BLOCK]
    since = counters[NEWEST] - program.sketched_for[entity]
    for i in range(EXACT):
        tile = work[n_old + i // TILE_EVENTS]
        if i % TILE_EVENTS == 0:
            tile[:] = 0
            tile[T_LATEST], tile[T_EARLIEST] = NEVER, -NEVER
            if over_orders:
                last = tables.block_times[block, i + TILE_EVENTS - 1]
                needed = program.sketched[entity, 0] >= 0 and last >= since
                tile[T_SKETCH] = _new_sketch(tables) if needed else -1
        time, value = tables.block_times[block, i], tables.block_values[block, i]
        _count(tile, tables.block_rows[block, i], time, value, entity, over_orders, tables, program)
        _add_to_total(run, value, -1, over_orders, tables)

    kept = n_old + n_new - 1  # the place of the tile that grows, from the newest to the oldest
    newer = EXACT
    for t in range(n_old + n_new - 2, -1, -1):
        size, other = _size(work[kept], over_orders), _size(work[t], over_orders)
        too_many = n_old + n_new - 1 - kept >= MOST_TILES - 1
        if work[t, T_LATEST] < floor:
            _drop_sketch(work[t], over_orders, tables)
        elif too_many or (size + other) * NEWER_PER_TILE <= newer:
            _merge(work[kept], work[t], over_orders, tables)
        else:
            newer += size
            kept -= 1
            _copy(work, kept, work, t)
    n = n_old + n_new - kept
    if n > runs[run, R_ROOM]:
        _give_tiles_back(run, tables)
        _take_tiles(run, n, tables)
    runs[run, R_N_TILES] = n
    start = runs[run, R_TILES]
    for t in range(n):
        _copy(tables.tiles, start + t, work, kept + t)
        for column in range(T_N, _summed(over_orders)):
            tables.tiles[start + t, column] += tables.tiles[start + t - 1, column] if t > 0 else 0

    _give_back(block, FREE_BLOCK, tables.block_rows, counters)
    runs[run, R_BLOCK] = runs[run, R_BLOCK + 1]
    runs[run, R_BLOCK + 1] = -1
    runs[run, R_N] = EXACT


@_compiled
def _copy(to, row, source, source_row):
    for column in range(to.shape[1]):
        to[row, column] = source[source_row, column]


@_compiled
def _summed(over_orders):
    """The columns of a tile from T_N to before this one are kept as sums with all older tiles."""
    return T_MAX if over_orders else T_CLASS + T_CLASSES + 1


@_compiled
def _size(tile, over_orders):
    """How many events a tile holds that is not summed with others."""
    if over_orders:
        return tile[T_N]
    n = 0
    for kind in range(1, T_CLASSES + 1):
        n += tile[T_CLASS + kind]
    return n


@_compiled
def _count(tile, row, time, value, entity, over_orders, tables, program):
    """Let a tile, not summed with others, count an event."""
    tile[T_LATEST] = max(tile[T_LATEST], time)
    tile[T_EARLIEST] = min(tile[T_EARLIEST], time)
    if not over_orders:
        tile[T_CLASS + value] += 1
        return
    tile[T_N] += 1
    for which in range(3):
        measure = _measure_of(which, value)
        tile[T_SUM + which] += measure
        tile[T_MAX + which] = max(tile[T_MAX + which], measure)
    if tile[T_SKETCH] < 0:
        return
    for k in range(program.sketched.shape[1]):
        of = program.sketched[entity, k]
        if of >= 0:
            slot = tables.orders[row, O_SLOTS + of]
            if slot >= 0:
                registers = tables.sketches[tile[T_SKETCH]]
                _sketch(registers, k * REGISTERS, tables.slots64[slot, S_KEY])


@_compiled
def _merge(tile, older, over_orders, tables):
    """Let a tile, not summed with others, take over what its older neighbour holds."""
    tile[T_EARLIEST] = min(tile[T_EARLIEST], older[T_EARLIEST])
    tile[T_LATEST] = max(tile[T_LATEST], older[T_LATEST])
    for column in range(T_N, _summed(over_orders)):
        tile[column] += older[column]
    if not over_orders:
        return
    for column in range(T_MAX, T_MAX + 3):
        tile[column] = max(tile[column], older[column])
    if tile[T_SKETCH] >= 0 and older[T_SKETCH] >= 0:
        for i in range(tables.sketches.shape[1]):
            tables.sketches[tile[T_SKETCH], i] = max(
                tables.sketches[tile[T_SKETCH], i], tables.sketches[older[T_SKETCH], i]
            )
    _drop_sketch(older, over_orders, tables)


@_compiled
def _insert_into_tile(run, record, time, value, entity, over_orders, tables, program):
    """Count a late event in the newest tile that begins at or before it, or in the oldest."""
    start, n = tables.runs[run, R_TILES], tables.runs[run, R_N_TILES]
    t = n - 1
    while t > 0 and tables.tiles[start + t, T_EARLIEST] > time:
        t -= 1
    alone = tables.work[0]
    alone[:] = 0
    alone[T_LATEST], alone[T_EARLIEST] = NEVER, -NEVER
    alone[T_SKETCH] = tables.tiles[start + t, T_SKETCH] if over_orders else 0
    _count(alone, record, time, value, entity, over_orders, tables, program)
    tile = tables.tiles[start + t]
    tile[T_LATEST] = max(tile[T_LATEST], time)
    tile[T_EARLIEST] = min(tile[T_EARLIEST], time)
    for newer in range(t, n):
        for column in range(T_N, _summed(over_orders)):
            tables.tiles[start + newer, column] += alone[column]
    if over_orders:
        for column in range(T_MAX, T_MAX + 3):
            tile[column] = max(tile[column], alone[column])


@_compiled
def _taken(count, free, pool, counters):
    """A row of a pool; the caller of `apply_events` has made room. Free rows are chained."""
    if counters[free] > 0:
        row = counters[free] - 1
        counters[free] = pool[row, 0]
        return row
    row = counters[count]
    counters[count] += 1
    return row


@_compiled
def _give_back(row, free, pool, counters):
    pool[row, 0] = counters[free]
    counters[free] = row + 1


@_compiled
def _new_run(tables):
    run = np.int64(_taken(N_RUNS, FREE_RUN, tables.runs, tables.counters))
    tables.runs[run, :] = 0
    tables.run_totals[run, :] = 0
    tables.runs[run, R_BLOCK] = _new_block(tables)
    tables.runs[run, R_BLOCK + 1] = -1
    return run


@_compiled
def _new_block(tables):
    return np.int32(_taken(N_BLOCKS, FREE_BLOCK, tables.block_rows, tables.counters))


@_compiled
def _new_sketch(tables):
    counters = tables.counters
    if counters[FREE_SKETCH] > 0:  # a register is too small for a number of a row
        sketch = counters[FREE_SKETCH] - 1
        counters[FREE_SKETCH] = tables.sketches[sketch, :8].view(np.int64)[0]
    else:
        sketch = counters[N_SKETCHES]
        counters[N_SKETCHES] += 1
    tables.sketches[sketch, :] = 0
    return sketch


@_compiled
def _drop_sketch(tile, over_orders, tables):
    if over_orders and tile[T_SKETCH] >= 0:
        sketch = tile[T_SKETCH]
        tables.sketches[sketch, :8].view(np.int64)[0] = tables.counters[FREE_SKETCH]
        tables.counters[FREE_SKETCH] = sketch + 1


@_compiled
def _take_tiles(run, n, tables):
    """Give a run an array for n tiles at least."""
    room, size = FEWEST_TILES, 0
    while room < n:
        room *= 2
        size += 1
    counters = tables.counters
    if counters[FREE_TILES + size] > 0:
        start = counters[FREE_TILES + size] - 1
        counters[FREE_TILES + size] = tables.tiles[start, 0]
    else:
        start = counters[N_TILES]
        counters[N_TILES] += room
    tables.runs[run, R_TILES] = start
    tables.runs[run, R_ROOM] = room


@_compiled
def _give_tiles_back(run, tables):
    room, size = tables.runs[run, R_ROOM], 0
    if room == 0:
        return
    while FEWEST_TILES << size < room:
        size += 1
    start = tables.runs[run, R_TILES]
    tables.tiles[start, 0] = tables.counters[FREE_TILES + size]
    tables.counters[FREE_TILES + size] = start + 1


@_compiled
def _give_run_back(run, over_orders, tables):
    runs = tables.runs
    for t in range(runs[run, R_N_TILES]):
        _drop_sketch(tables.tiles[runs[run, R_TILES] + t], over_orders, tables)
    _give_tiles_back(run, tables)
    for block in runs[run, R_BLOCK : R_BLOCK + 2]:
        if block >= 0:
            _give_back(block, FREE_BLOCK, tables.block_rows, tables.counters)
    _give_back(run, FREE_RUN, runs, tables.counters)


@_compiled
def _sketch(registers, first, key):
    """Let a HyperLogLog sketch meet a key, which is a hash already."""
    bits = np.uint64(key)
    register = first + np.int64(bits & np.uint64(REGISTERS - 1))
    bits >>= np.uint64(REGISTER_BITS)
    rank = np.uint8(1)
    while rank < 64 - REGISTER_BITS and bits & np.uint64(1) == 0:
        bits >>= np.uint64(1)
        rank += np.uint8(1)
    registers[register] = max(registers[register], rank)


@_compiled
def _estimate(registers):
    """How many different keys a sketch has met, rounded to a whole number."""
    inverse = 0.0
    empty = 0
    for register in range(REGISTERS):
        inverse += 1.0 / (np.uint64(1) << np.uint64(registers[register]))
        empty += registers[register] == 0
    estimate = _BIAS * REGISTERS * REGISTERS / inverse
    if estimate <= 2.5 * REGISTERS and empty > 0:  # linear counting, exact for the few
        estimate = REGISTERS * math.log(REGISTERS / empty)
    return np.int64(round(estimate))


@_compiled
def _link_outcome(outcome, owner, floor, tables, program):
    n_entities = len(program.entity_column)
    for entity in range(n_entities):
        slot = tables.orders[owner, O_SLOTS + entity]
        if program.outcome_chain[entity] >= 0 and slot >= 0:
            _link(np.int64(outcome), entity, np.int64(slot), False, floor, tables, program)


@_compiled
def _new_order_row(key, tables):
    row = tables.counters[N_ORDERS]
    tables.counters[N_ORDERS] += 1
    tables.orders[row, :] = -1
    tables.orders64[row, O_TIME] = NEVER
    tables.orders64[row, O_KEY] = key
    return row


@_compiled
def _set_facts(row, time, price, quantity, tables):
    tables.orders64[row, O_TIME] = time
    tables.orders64[row, O_PRICE] = price
    tables.orders[row, O_QUANTITY] = quantity


@_compiled
def _new_outcome_row(owner, kind, time, tables):
    """An outcome that its order knows of, and no entity value yet."""
    outcome = tables.counters[N_OUTCOMES]
    tables.counters[N_OUTCOMES] += 1
    tables.outcomes[outcome, :] = -1
    tables.outcomes64[outcome, C_TIME] = time
    tables.outcomes[outcome, C_OWNER] = owner
    tables.outcomes[outcome, C_KIND] = kind
    tables.outcomes[outcome, C_NEXT] = tables.orders[owner, O_OUTCOME]
    tables.orders[owner, O_OUTCOME] = outcome
    return outcome


@_compiled
def _is_new(value, a, seen, n_seen, query, tables):
    """Whether accumulator a meets this value for the first time in this walk.

    The first few values are compared with a short list, which stays in the cache; when it is full
    every value met is stamped with the number of the walk.
    """
    n = n_seen[a]
    if n <= FEW:
        for i in range(n):
            if seen[a, i] == value:
                return False
        if n < FEW:
            seen[a, n] = value
            n_seen[a] = n + 1
            return True
        for i in range(n):
            tables.slots[seen[a, i], S_STAMP] = query
        n_seen[a] = FEW + 1
    elif tables.slots[value, S_STAMP] == query:
        return False
    tables.slots[value, S_STAMP] = query
    return True


@_compiled
def _is_own(row, own_key, tables):
    return own_key != 0 and tables.orders64[row, O_KEY] == own_key


@_compiled
def _gather_circle(time, floor, own_key, slots_of_order, circle, tables, program):
    """The accounts around an order: its own, those of its device, those of its payment.

    At most FEW, the latest first, of the orders in the circle's window. Gives their number.
    """
    account = program.circle[0]
    circle[0] = slots_of_order[account]
    n = 1 if circle[0] >= 0 else 0
    edge = max(time - program.circle[3], floor)
    for entity in program.circle[1:3]:
        slot = slots_of_order[entity]
        if slot < 0:
            continue
        link = O_SLOTS + len(program.entity_column) + program.order_chain[entity]
        row = tables.slots[slot, S_ORDER]
        run = -2 - row if row <= -2 else -1
        i = tables.runs[run, R_N] if run >= 0 else 0
        while n < FEW:
            if run >= 0:
                if i == 0:
                    break
                i -= 1
                row = tables.block_rows[
                    tables.runs[run, R_BLOCK + (i >> BLOCK_BITS)], i & EXACT - 1
                ]
            if row < 0 or tables.orders64[row, O_TIME] < edge:
                break
            value = tables.orders[row, O_SLOTS + account]
            new = (
                value >= 0
                and tables.orders64[row, O_TIME] <= time
                and not _is_own(row, own_key, tables)
            )
            for known in circle[:n]:
                new &= known != value
            if new:
                circle[n] = value
                n += 1
            if run < 0:
                row = tables.orders[row, link]
    return n


@_compiled
def _begin(op, a, of, slots_of_order, seen, n_seen):
    """What an accumulator holds before the first event."""
    n_seen[a] = 0
    if op == CHANGES:
        seen[a, 0] = slots_of_order[of]
    if op in (LAST, FIRST):
        return NEVER
    if op in (MAX, LATEST_VALUE):
        return np.int64(-1)
    return np.int64(0)


@_compiled
def _take_order(
    op, a, arg, total, row, then, packed, slots_of_order, tables, seen, n_seen, query
):  # fmt: skip
    """What accumulator a holds after an order; `packed` is its price and quantity."""
    if op == COUNT:
        return total + 1
    if op == SUM:
        return total + _measure_of(arg, packed)
    if op == MAX:
        return max(total, _measure_of(arg, packed))
    if op == LAST:
        return max(total, then)
    if op == FIRST:
        return then
    if op == TILED:
        return total
    value = tables.orders[row, O_SLOTS + arg]
    if op == DISTINCT:
        if value >= 0 and _is_new(value, a, seen, n_seen, query, tables):
            return total + 1
    elif op == SAME:
        if value >= 0 and value == slots_of_order[arg]:
            return total + 1
    elif op == LATEST_VALUE:
        if total < 0:
            return np.int64(value)
    elif value >= 0:  # CHANGES
        is_change = seen[a, 0] != MISSING and seen[a, 0] != value
        seen[a, 0] = value
        return total + is_change
    return total


@_compiled
def _take_outcome(op, arg, total, owner, slots_of_order, tables, program, circle, n_circle):
    """What an accumulator holds after an outcome that it counts, of the order `owner`."""
    if op == COUNT:
        return total + 1
    if op == SAME:
        value = tables.orders[owner, O_SLOTS + arg]
        return total + (value >= 0 and value == slots_of_order[arg])
    value = tables.orders[owner, O_SLOTS + program.circle[0]]  # CIRCLE
    for account in circle[:n_circle]:
        if account == value:
            return total + 1
    return total


@_compiled
def _touch_chains(time, floor, slots_of_order, cursor, tables, program):
    """Read what the walks will read in turns, so that memory fetches the chains side by side.

    One chain alone is slow to walk: where its next record is, only the one before tells.
    """
    n = len(program.walk_entity)
    for walk in range(n):
        slot = slots_of_order[program.walk_entity[walk]]
        head = S_ORDER if program.walk_over_orders[walk] == 1 else S_OUTCOME
        cursor[walk] = tables.slots[slot, head] if slot >= 0 else -1
    left = n
    while left > 0:
        left = 0
        for walk in range(n):
            row = cursor[walk]
            if row < 0:
                continue
            edge = max(time - program.walk_windows[walk, program.walk_n_windows[walk] - 1], floor)
            if program.walk_over_orders[walk] == 1:
                then, row = (
                    tables.orders64[row, O_TIME],
                    tables.orders[row, program.walk_link[walk]],
                )
            else:
                then, row = (
                    tables.outcomes64[row, C_TIME],
                    tables.outcomes[row, program.walk_link[walk]],
                )
            cursor[walk] = row if then >= edge else -1
            left += 1


@_compiled
def _walk_chain(
    walk, head, time, floor, own_key, slots_of_order, tables, program,
    running, at, seen, n_seen, circle, n_circle,
):  # fmt: skip
    """Accumulate over one chain; `at[a, k]` becomes the value of accumulator a over window k."""
    first = program.walk_first[walk]
    over_orders = program.walk_over_orders[walk] == 1
    entity = program.walk_entity[walk]
    for a in range(first, first + program.walk_n[walk]):
        running[a] = _begin(program.op[a], a, program.arg[a], slots_of_order, seen, n_seen)
    n_windows = program.walk_n_windows[walk]
    query = np.int32(tables.counters[QUERY])
    k = 0
    edge = max(time - program.walk_windows[walk, 0], floor)
    if over_orders:
        link = O_SLOTS + len(program.entity_column) + program.order_chain[entity]
    else:
        link = C_LINKS + program.outcome_chain[entity]
    row = head
    while row >= 0:
        then = tables.orders64[row, O_TIME] if over_orders else tables.outcomes64[row, C_TIME]
        while then < edge:
            for a in range(first, first + program.walk_active[walk, k]):
                at[a, k] = running[a]
            k += 1
            if k == n_windows:
                return
            edge = max(time - program.walk_windows[walk, k], floor)
        current = row
        if over_orders:
            row = tables.orders[current, link]
            if then > time or _is_own(current, own_key, tables):
                continue
            packed = tables.orders64[current, O_PRICE] * PACK + tables.orders[current, O_QUANTITY]
            for a in range(first, first + program.walk_active[walk, k]):
                running[a] = _take_order(
                    program.op[a], a, program.arg[a], running[a], current, then, packed,
                    slots_of_order, tables, seen, n_seen, query,
                )  # fmt: skip
        else:
            row = tables.outcomes[current, link]
            owner = tables.outcomes[current, C_OWNER]
            if then > time or _is_own(owner, own_key, tables):
                continue
            bit = 1 << tables.outcomes[current, C_KIND]
            for a in range(first, first + program.walk_active[walk, k]):
                if program.mask[a] & bit != 0:
                    running[a] = _take_outcome(
                        program.op[a], program.arg[a], running[a], owner,
                        slots_of_order, tables, program, circle, n_circle,
                    )  # fmt: skip
    while k < n_windows:
        for a in range(first, first + program.walk_active[walk, k]):
            at[a, k] = running[a]
        k += 1


@_compiled
def _walk_run(
    walk, run, time, floor, own_key, slots_of_order, tables, program,
    at, seen, n_seen, registers, edges, since, tiles_since, circle, n_circle,
):  # fmt: skip
    """As `_walk_chain`, over a run and its tiles; orders and sums are found by binary search.

    `edges`, `since` and `tiles_since` have room for each window: where it begins, its first event,
    and the first tile that reaches into it.
    """
    first = program.walk_first[walk]
    over_orders = program.walk_over_orders[walk] == 1
    n_windows = program.walk_n_windows[walk]
    query = np.int32(tables.counters[QUERY])
    runs, tiles = tables.runs, tables.tiles
    start = runs[run, R_TILES]
    end = runs[run, R_N]
    while end > 0 and _time_in(run, end - 1, tables) > time:
        end -= 1
    tiles_end = runs[run, R_N_TILES]
    while tiles_end > 0 and tiles[start + tiles_end - 1, T_LATEST] > time:
        tiles_end -= 1  # a late order sees the tiles that end before it, and no later event
    all_of_it = end == runs[run, R_N] and own_key == 0
    for k in range(n_windows):
        edges[k] = max(time - program.walk_windows[walk, k], floor)
        since[k] = _first_since(run, edges[k], since[k - 1] if k > 0 else end, tables)
        low, high = 0, tiles_end
        while low < high:
            middle = (low + high) // 2
            if tiles[start + middle, T_LATEST] < edges[k]:
                low = middle + 1
            else:
                high = middle
        tiles_since[k] = low

    for a in range(first, first + program.walk_n[walk]):
        op, arg = program.op[a], program.arg[a]
        total = _begin(op, a, arg, slots_of_order, seen, n_seen)
        i, t = end, tiles_end
        if op == DISTINCT and tiles_end > 0:
            registers[:] = 0
        for k in range(n_windows):
            if program.walk_active[walk, k] <= a - first:
                break
            if op == COUNT and over_orders and own_key == 0:
                total, i = np.int64(end - since[k]), since[k]
            elif op == SUM and all_of_it and since[k] == 0:
                total, i = tables.run_totals[run, arg], 0
            elif op == COUNT and all_of_it and since[k] == 0:
                total, i = np.int64(0), 0
                for kind in range(1, T_CLASSES + 1):
                    total += tables.run_totals[run, kind] * (program.mask[a] >> kind & 1)
            while i > since[k]:
                i -= 1
                block, place = runs[run, R_BLOCK + (i >> BLOCK_BITS)], i & EXACT - 1
                value = tables.block_values[block, place]
                if over_orders:
                    row = tables.block_rows[block, place]
                    if _is_own(row, own_key, tables):
                        continue
                    before = total
                    total = _take_order(
                        op, a, arg, total, row, tables.block_times[block, place], value,
                        slots_of_order, tables, seen, n_seen, query,
                    )  # fmt: skip
                    if op == DISTINCT and tiles_end > 0 and total > before:
                        slot = tables.orders[row, O_SLOTS + arg]
                        _sketch(registers, 0, tables.slots64[slot, S_KEY])
                elif program.mask[a] >> value & 1:
                    if op == COUNT and own_key == 0:
                        total += 1
                        continue
                    owner = tables.outcomes[tables.block_rows[block, place], C_OWNER]
                    if not _is_own(owner, own_key, tables):
                        total = _take_outcome(
                            op, arg, total, owner,
                            slots_of_order, tables, program, circle, n_circle,
                        )  # fmt: skip
            folded = tiles_since[k]
            if folded == tiles_end:
                at[a, k] = total
                continue
            newest, before = start + tiles_end - 1, start + folded - 1
            if op == COUNT and over_orders:
                at[a, k] = total + _between(T_N, before, newest, start, tiles)
            elif op == SUM:
                at[a, k] = total + _between(T_SUM + arg, before, newest, start, tiles)
            elif op == COUNT:
                at[a, k] = total
                for kind in range(1, T_CLASSES + 1):
                    if program.mask[a] >> kind & 1:
                        at[a, k] += _between(T_CLASS + kind, before, newest, start, tiles)
            elif op == MAX:
                while t > folded:
                    t -= 1
                    total = max(total, tiles[start + t, T_MAX + arg])
                at[a, k] = total
            elif op == DISTINCT:
                base = program.sketch[a] * REGISTERS
                while t > folded:
                    t -= 1
                    sketch = tiles[start + t, T_SKETCH]
                    if sketch >= 0:
                        for r in range(REGISTERS):
                            registers[r] = max(registers[r], tables.sketches[sketch, base + r])
                at[a, k] = max(total, _estimate(registers))
            elif op == FIRST:
                at[a, k] = max(tiles[start + folded, T_EARLIEST], edges[k])
            elif op == LAST:
                at[a, k] = max(total, tiles[newest, T_LATEST])
            elif op == TILED:
                at[a, k] = 1
            elif op in (SAME, CIRCLE) and total == 0:
                at[a, k] = UNSEEN
            else:  # of single events no tile knows: what is exact has to do
                at[a, k] = total


@_compiled
def _time_in(run, i, tables):
    return tables.block_times[tables.runs[run, R_BLOCK + (i >> BLOCK_BITS)], i & EXACT - 1]


@_compiled
def _between(column, before, newest, start, tiles):
    """What the tiles behind `before` up to `newest` hold together."""
    return tiles[newest, column] - (tiles[before, column] if before >= start else 0)


@_compiled
def _finish(time, quantity, price, slots_of_order, program, at, out):
    """Write the windowed features of one order; `out` is its row."""
    for f in range(len(program.feature_column)):
        finish = program.feature_finish[f]
        arg = program.feature_arg[f]
        result = np.nan
        if slots_of_order[program.feature_entity[f]] != MISSING:
            value = at[program.feature_from[f, 0], program.feature_from[f, 1]]
            if finish == VALUE:
                result = float(value)
            elif finish == VALUE_IF_ANY:
                if value >= 0:
                    result = float(value)
            elif finish == FLAG:
                if value != UNSEEN:
                    result = 1.0 if value > 0 else 0.0
            elif finish == SINCE:
                if value != NEVER:
                    result = (time - value) / 1000.0
            elif finish in (MEAN, RATIO):
                n = at[program.feature_from[f, 2], program.feature_from[f, 3]]
                if n > 0:
                    mean = value / n
                    if finish == MEAN:
                        result = mean
                    elif value > 0:
                        result = _measure(arg, quantity, price) / mean
            elif finish == RATE:
                n = at[program.feature_from[f, 2], program.feature_from[f, 3]]
                result = (value + program.feature_prior[0]) / (n + program.feature_prior[1])
            elif slots_of_order[arg] != MISSING:
                if finish in (SAME_VALUE, FIRST_USE) and value == UNSEEN:
                    pass
                elif finish == SAME_VALUE:
                    result = float(value)
                elif finish == FIRST_USE:
                    result = 1.0 if value == 0 else 0.0
                elif value >= 0:  # CHANGED
                    result = 0.0 if value == slots_of_order[arg] else 1.0
        out[program.feature_column[f]] = result


@_compiled
def _note_outcome(key, time, kind, floor, tables, program):
    if time < floor:
        return
    place = _find(tables.order_table, tables.orders64, O_KEY, key)
    owner = tables.order_table[place] - 1
    if owner < 0 or not _is_alive(owner, floor, tables):
        owner = _new_order_row(key, tables)
        tables.order_table[place] = owner + 1
    other = tables.orders[owner, O_OUTCOME]
    n_others = 0
    while other >= 0:
        if tables.outcomes[other, C_KIND] == kind and tables.outcomes64[other, C_TIME] == time:
            return
        other = tables.outcomes[other, C_NEXT]
        n_others += 1
    if n_others >= MOST_OUTCOMES:
        return
    tables.counters[OLDEST] = min(tables.counters[OLDEST], time)
    outcome = _new_outcome_row(owner, kind, time, tables)
    if tables.orders64[owner, O_TIME] == NEVER:
        tables.counters[UNATTRIBUTED] += 1
    else:
        _link_outcome(np.int64(outcome), np.int64(owner), floor, tables, program)


@_compiled
def _place_order(row, time, quantity, price, slots_of_order, floor, tables, program):
    """Fill the row of an order, put it into its chains, and attach outcomes that waited."""
    tables.counters[OLDEST] = min(tables.counters[OLDEST], time)
    _set_facts(row, time, price, quantity, tables)
    n_entities = len(program.entity_column)
    for entity in range(n_entities):  # all, before a tile counts them
        tables.orders[row, O_SLOTS + entity] = slots_of_order[entity]
    for entity in range(n_entities):
        slot = slots_of_order[entity]
        if program.order_chain[entity] >= 0 and slot >= 0:
            _link(np.int64(row), entity, np.int64(slot), True, floor, tables, program)
    outcome = tables.orders[row, O_OUTCOME]
    while outcome >= 0:
        if tables.outcomes64[outcome, C_TIME] >= floor:
            tables.counters[UNATTRIBUTED] -= 1
            _link_outcome(np.int64(outcome), np.int64(row), floor, tables, program)
        outcome = tables.outcomes[outcome, C_NEXT]


@_entry
def apply_events(start, stop, events, tables, program, scratch, out):
    """Apply events[start:stop]; write the windowed features of their orders into `out`.

    The caller has made room for stop - start more rows in each table, and as many slots for each
    entity. Gives the number of the first event that was not applied, since it might need more
    tiles than there is room for; `stop` when all were.
    """
    n_entities = len(program.entity_column)
    slots_of_order, running, at = scratch.slots_of_order, scratch.running, scratch.at
    seen, n_seen, registers = scratch.seen, scratch.n_seen, scratch.registers
    circle = scratch.circle
    edges, since, tiles_since = scratch.edges, scratch.since, scratch.tiles_since
    horizon = program.horizon[0]
    counters = tables.counters
    for i in range(start, stop):
        if _lacks_room(tables, program):
            return i
        key = events.order_key[i]
        order = events.order_number[i]
        time = events.time[i]
        counters[NEWEST] = max(counters[NEWEST], time)
        floor = counters[NEWEST] - horizon
        if events.kind[i] != 0:
            _note_outcome(key, time, events.kind[i], floor, tables, program)
            continue

        quantity = np.int32(events.quantity[order])
        price = events.unit_price[order]
        place = _find(tables.order_table, tables.orders64, O_KEY, key)
        row = tables.order_table[place] - 1
        if row >= 0 and not _is_alive(row, floor, tables):
            row = -1
        is_repeat = row >= 0 and tables.orders64[row, O_TIME] != NEVER
        keep = not is_repeat and time >= floor

        for entity in range(n_entities):
            entity_key = events.entity_key[order, program.entity_column[entity]]
            slots_of_order[entity] = MISSING
            if entity_key != 0:
                slot = _slot_of(entity_key, tables) if keep else _known_slot(entity_key, tables)
                slots_of_order[entity] = slot if slot >= 0 else UNKNOWN

        _touch_chains(time, floor, slots_of_order, scratch.cursor, tables, program)
        own_key = key if is_repeat else 0
        n_circle = 0
        if program.circle[0] >= 0:
            n_circle = _gather_circle(time, floor, own_key, slots_of_order, circle, tables, program)
        for walk in range(len(program.walk_entity)):
            slot = slots_of_order[program.walk_entity[walk]]
            if slot == MISSING:
                continue
            head = np.int32(-1)
            if slot >= 0:
                over_orders = program.walk_over_orders[walk] == 1
                head = tables.slots[slot, S_ORDER if over_orders else S_OUTCOME]
            counters[QUERY] += 1
            if head <= -2:
                _walk_run(
                    walk, -2 - head, time, floor, own_key, slots_of_order, tables, program,
                    at, seen, n_seen, registers, edges, since, tiles_since, circle, n_circle,
                )  # fmt: skip
            else:
                _walk_chain(
                    walk, head, time, floor, own_key, slots_of_order, tables, program,
                    running, at, seen, n_seen, circle, n_circle,
                )  # fmt: skip
        _finish(time, quantity, price, slots_of_order, program, at, out[order])

        if keep:
            if row < 0:
                row = _new_order_row(key, tables)
                tables.order_table[place] = row + 1
            _place_order(row, time, quantity, price, slots_of_order, floor, tables, program)
    return stop


@_entry
def room_wanted(program):
    """Runs, blocks, tiles and sketches that one event may take: it may fold every chain.

    An order may bring outcomes that waited, as many as MOST_OUTCOMES: less than a block.
    """
    chains = 2 * len(program.entity_column)
    return chains, 2 * chains, MOST_TILES * chains, EXACT // TILE_EVENTS * chains


@_compiled
def _lacks_room(tables, program):
    runs, blocks, tiles, sketches = room_wanted(program)
    counters = tables.counters
    return (
        counters[N_RUNS] + runs > len(tables.runs)
        or counters[N_BLOCKS] + blocks > len(tables.block_times)
        or counters[N_TILES] + tiles > len(tables.tiles)
        or counters[N_SKETCHES] + sketches > len(tables.sketches)
    )


@_entry
def fill_table(table, rows64, key_column, n):
    """Enter rows 0 … n-1 into an empty table; of two rows with one key the later one stays."""
    for row in range(n):
        table[_find(table, rows64, key_column, rows64[row, key_column])] = row + 1


@_entry
def compact(tables, program, new_order, new_outcome, new_slot):
    """Drop, in place, every row that no feature can depend on any more; empties no hash table.

    The caller fills the hash tables anew. Rows keep their sequence. The last three arguments are
    int32, -1 throughout, one for each row.
    """
    orders, outcomes, slots = tables.orders, tables.outcomes, tables.slots
    counters = tables.counters
    floor = counters[NEWEST] - program.horizon[0]
    n_entities = len(program.entity_column)
    n_orders, n_outcomes, n_slots = counters[N_ORDERS], counters[N_OUTCOMES], counters[N_SLOTS]

    kept = 0
    for row in range(n_outcomes):
        if tables.outcomes64[row, C_TIME] >= floor:
            new_outcome[row] = kept
            new_order[outcomes[row, C_OWNER]] = 0
            kept += 1
    kept = 0
    for row in range(n_orders):
        if new_order[row] == 0 or tables.orders64[row, O_TIME] >= floor:
            new_order[row] = kept
            kept += 1
            for entity in range(n_entities):
                if orders[row, O_SLOTS + entity] >= 0:
                    new_slot[orders[row, O_SLOTS + entity]] = 0
    kept = 0
    for slot in range(n_slots):
        if new_slot[slot] == 0:
            new_slot[slot] = kept
            kept += 1

    # Links first, while every row is still where the links say. A chain is cut where it passes
    # the floor: no walk goes further.
    first_link = O_SLOTS + n_entities
    for row in range(n_orders):
        if new_order[row] >= 0:
            for chain in program.order_chain:
                if chain >= 0:
                    link = first_link + chain
                    orders[row, link] = _moved(
                        orders[row, link], tables.orders64, O_TIME, floor, new_order
                    )
            for column in range(O_SLOTS, O_SLOTS + n_entities):
                if orders[row, column] >= 0:
                    orders[row, column] = new_slot[orders[row, column]]
            orders[row, O_OUTCOME] = -1
    for row in range(n_outcomes):
        if new_outcome[row] >= 0:
            for chain in program.outcome_chain:
                if chain >= 0:
                    link = C_LINKS + chain
                    outcomes[row, link] = _moved(
                        outcomes[row, link], tables.outcomes64, C_TIME, floor, new_outcome
                    )
            outcomes[row, C_OWNER] = new_order[outcomes[row, C_OWNER]]
    for slot in range(n_slots):
        for over_orders in (True, False):
            column = S_ORDER if over_orders else S_OUTCOME
            head = slots[slot, column]
            if head <= -2 and new_slot[slot] < 0:
                _give_run_back(-2 - head, over_orders, tables)
            elif head <= -2:
                _renumber(
                    -2 - head, over_orders, floor, new_order if over_orders else new_outcome, tables
                )
            elif over_orders:
                slots[slot, column] = _moved(head, tables.orders64, O_TIME, floor, new_order)
            else:
                slots[slot, column] = _moved(head, tables.outcomes64, C_TIME, floor, new_outcome)

    counters[OLDEST] = floor
    counters[N_ORDERS] = _close_up(orders, new_order)
    counters[N_OUTCOMES] = _close_up(outcomes, new_outcome)
    counters[N_SLOTS] = _close_up(slots, new_slot)
    for row in range(counters[N_OUTCOMES]):
        owner = outcomes[row, C_OWNER]
        outcomes[row, C_NEXT] = orders[owner, O_OUTCOME]
        orders[owner, O_OUTCOME] = row


@_compiled
def _renumber(run, over_orders, floor, new_row, tables):
    _trim(run, over_orders, floor, tables)
    for i in range(tables.runs[run, R_N]):
        block, place = tables.runs[run, R_BLOCK + (i >> BLOCK_BITS)], i & EXACT - 1
        tables.block_rows[block, place] = new_row[tables.block_rows[block, place]]


@_compiled
def _moved(link, rows64, time_column, floor, new_row):
    if link < 0 or rows64[link, time_column] < floor:
        return np.int32(-1)
    return new_row[link]


@_compiled
def _close_up(rows, new_row):
    kept = 0
    for row in range(len(new_row)):
        if new_row[row] >= 0:
            _copy(rows, new_row[row], rows, row)
            kept += 1
    return kept


@_compiled
def _known_slot(entity_key, tables):
    """The slot of an entity value, or -1."""
    return tables.slot_table[_find(tables.slot_table, tables.slots64, S_KEY, entity_key)] - 1


@_compiled
def _slot_of(entity_key, tables):
    """The slot of an entity value, a new one if there was none."""
    place = _find(tables.slot_table, tables.slots64, S_KEY, entity_key)
    slot = tables.slot_table[place] - 1
    if slot < 0:
        slot = tables.counters[N_SLOTS]
        tables.counters[N_SLOTS] += 1
        tables.slots[slot, :] = -1
        tables.slots[slot, S_HELD] = 0
        tables.slots64[slot, S_KEY] = entity_key
        tables.slot_table[place] = slot + 1
    return slot


@_compiled
def _enter_row(key, time, price, quantity, entity_keys, tables):
    """A new order row with a slot for each entity it has a key of; in no chain, in no table."""
    row = _new_order_row(key, tables)
    _set_facts(row, time, price, quantity, tables)
    for entity in range(len(entity_keys)):
        if entity_keys[entity] != 0:
            tables.orders[row, O_SLOTS + entity] = _slot_of(entity_keys[entity], tables)
    return row


@_entry
def enter_orders(facts, outcomes, tables):
    """Enter orders that were applied elsewhere, so that repeats and outcomes find them.

    facts: (n, 4 + E) int64: key, time, unit price, quantity, a key per entity of the program.
    outcomes: (m, 3) int64: row of facts, kind, time.
    """
    first = tables.counters[N_ORDERS]
    for i in range(len(facts)):
        key = facts[i, 0]
        row = _enter_row(key, facts[i, 1], facts[i, 2], facts[i, 3], facts[i, 4:], tables)
        tables.order_table[_find(tables.order_table, tables.orders64, O_KEY, key)] = row + 1
    for i in range(len(outcomes)):
        _new_outcome_row(first + outcomes[i, 0], outcomes[i, 1], outcomes[i, 2], tables)


@_entry
def enter_timelines(start, records, tables, program):
    """Enter the records of timelines, each into the chain of its own entity value only.

    records: (n, 6 + E) int64 in the sequence of their application: entity of the timeline, kind,
    order key, time, unit price, quantity, then a key per entity that the record carries. Begins
    at `start` and gives the number of the first record that was not entered, as `apply_events`.
    """
    floor = tables.counters[NEWEST] - program.horizon[0]
    for i in range(start, len(records)):
        if _lacks_room(tables, program):
            return i
        entity, kind, key, time = records[i, 0], records[i, 1], records[i, 2], records[i, 3]
        row = _enter_row(key, time, records[i, 4], records[i, 5], records[i, 6:], tables)
        slot = np.int64(tables.orders[row, O_SLOTS + entity])
        if kind == 0:
            _link(np.int64(row), entity, slot, True, floor, tables, program)
        else:
            outcome = np.int64(_new_outcome_row(row, kind, time, tables))
            _link(outcome, entity, slot, False, floor, tables, program)
    return len(records)


@_entry
def enter_tiles(runs, tiles, sketches, tables):
    """Enter tiles that were folded elsewhere, before the records that are newer.

    runs: (n, 3) int64: key of an entity value, 1 of orders or 0 of outcomes, how many tiles.
    tiles: of all runs, each oldest first; T_SKETCH is a row of `sketches` or -1.
    The caller has made room for all of it.
    """
    t = 0
    for i in range(len(runs)):
        key, over_orders, n = runs[i, 0], runs[i, 1] == 1, runs[i, 2]
        slot = _slot_of(key, tables)
        run = _new_run(tables)
        _take_tiles(run, n, tables)
        tables.runs[run, R_N_TILES] = n
        for row in range(tables.runs[run, R_TILES], tables.runs[run, R_TILES] + n):
            _copy(tables.tiles, row, tiles, t)
            if over_orders and tiles[t, T_SKETCH] >= 0:
                sketch = _new_sketch(tables)
                _copy(tables.sketches, sketch, sketches, tiles[t, T_SKETCH])
                tables.tiles[row, T_SKETCH] = sketch
            t += 1
        tables.slots[slot, S_ORDER if over_orders else S_OUTCOME] = -2 - run


@_compiled
def _exact_rows(head, entity, over_orders, rows, tables, program):
    """List the live records of a timeline, the earliest first; give their number."""
    floor = tables.counters[NEWEST] - program.horizon[0]
    n = 0
    if head <= -2:
        run = np.int64(-2 - head)
        for i in range(
            _first_since(run, floor, tables.runs[run, R_N], tables), tables.runs[run, R_N]
        ):
            rows[n] = tables.block_rows[
                tables.runs[run, R_BLOCK + (i >> BLOCK_BITS)], i & EXACT - 1
            ]
            n += 1
        return n
    if over_orders:
        links, rows64 = tables.orders, tables.orders64
        link = O_SLOTS + len(program.entity_column) + program.order_chain[entity]
    else:
        links, rows64 = tables.outcomes, tables.outcomes64
        link = C_LINKS + program.outcome_chain[entity]
    row = head
    while row >= 0 and rows64[row, 0] >= floor and n < HOT:
        rows[n] = row
        n += 1
        row = links[row, link]
    for i in range(n // 2):
        rows[i], rows[n - 1 - i] = rows[n - 1 - i], rows[i]
    return n


@_entry
def timeline_sizes(entities, keys, sizes, tables, program):
    """How many live orders, live outcomes, tiles of orders and tiles of outcomes timelines hold.

    entities, keys: (n,) of the timelines; sizes: (n, 4), written.
    """
    for i in range(len(keys)):
        sizes[i, :] = 0
        slot = _known_slot(keys[i], tables)
        if slot < 0:
            continue
        for of in range(2):
            head = tables.slots[slot, S_ORDER if of == 0 else S_OUTCOME]
            sizes[i, of] = _exact_rows(head, entities[i], of == 0, tables.exact, tables, program)
            sizes[i, 2 + of] = tables.runs[-2 - head, R_N_TILES] if head <= -2 else 0


@_entry
def leave_timeline(entity, key, records, tiles, sketches, tables, program):
    """Write what a timeline holds, in arrays of the sizes that `timeline_sizes` gives.

    records: as `enter_timelines` takes them, first the orders, then the outcomes, each by time
    and, of one time, in the sequence of their application; tiles, sketches: as `enter_tiles`,
    first those of orders. Gives how many sketches there are.
    """
    slot = _known_slot(key, tables)
    n, t, n_sketches = 0, 0, 0
    if slot < 0:
        return 0
    for over_orders in (True, False):
        head = tables.slots[slot, S_ORDER if over_orders else S_OUTCOME]
        for i in range(_exact_rows(head, entity, over_orders, tables.exact, tables, program)):
            row = tables.exact[i]
            owner = row if over_orders else tables.outcomes[row, C_OWNER]
            records[n, 0] = entity
            records[n, 1] = 0 if over_orders else tables.outcomes[row, C_KIND]
            records[n, 2] = tables.orders64[owner, O_KEY]
            records[n, 3] = (
                tables.orders64[row, O_TIME] if over_orders else tables.outcomes64[row, C_TIME]
            )
            records[n, 4] = tables.orders64[owner, O_PRICE]
            records[n, 5] = tables.orders[owner, O_QUANTITY]
            for other in range(len(program.entity_column)):
                slot_of = tables.orders[owner, O_SLOTS + other]
                records[n, 6 + other] = tables.slots64[slot_of, S_KEY] if slot_of >= 0 else 0
            n += 1
        if head > -2:
            continue
        run = -2 - head
        start = tables.runs[run, R_TILES]
        for tile in range(start, start + tables.runs[run, R_N_TILES]):
            _copy(tiles, t, tables.tiles, tile)
            if over_orders and tiles[t, T_SKETCH] >= 0:
                _copy(sketches, n_sketches, tables.sketches, tiles[t, T_SKETCH])
                tiles[t, T_SKETCH] = n_sketches
                n_sketches += 1
            t += 1
    return n_sketches
