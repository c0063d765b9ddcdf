"""The compiled inner loops of the in-memory store.

Rows live in int32 tables; a time, a price or a key takes two columns and is read through an int64
view of the same memory, so that a record is one run of bytes. A link is a row number, -1 is none.

The timeline of an entity value is a chain through the records that carry it, latest first; among
equal times the one applied later comes first. So one walk from the head sees the events of every
window, the smallest window first.

Everything compiled is in this one file: numba's cache notices a change of the file that a function
is in, and of no other.
"""

# ruff: noqa: PLR0917 numba passes positional arguments
from typing import NamedTuple

import numpy as np
from numba import njit

# Order row. int64 columns, then int32 columns.
O_TIME, O_PRICE, O_KEY = 0, 1, 2
O_QUANTITY, O_OUTCOME, O_SLOTS = 6, 7, 8  # then a slot per entity, then a link per chain
# Outcome row
C_TIME = 0
C_OWNER, C_KIND, C_NEXT, C_LINKS = 2, 3, 4, 5
# Slot row: one entity value
S_KEY = 0
S_ORDER, S_OUTCOME, S_STAMP, SLOT_WIDTH = 2, 3, 4, 6

# Counters
N_ORDERS, N_OUTCOMES, N_SLOTS, NEWEST, OLDEST, QUERY, UNATTRIBUTED, N_COUNTERS = range(8)

# The time of a row that stands for an order whose outcomes came first.
NEVER = np.int64(-(2**62))

# A slot number of an order at hand: no value, or a value that the state does not know.
MISSING, UNKNOWN = -1, -2

# What is accumulated during a walk …
COUNT, SUM, MAX, DISTINCT, SAME, LAST, FIRST, LATEST_VALUE = 0, 1, 2, 3, 4, 5, 6, 7
# … and how a feature is made of it.
VALUE, VALUE_IF_ANY, MEAN, RATIO, RATE, SAME_VALUE, FIRST_USE, CHANGED, SINCE = range(9)

FEW = 12  # different values that are compared one by one

ORDERS = 1  # the bit of orders in a mask of kinds; outcome class c has bit 1 << c

AMOUNT, QUANTITY, UNIT_PRICE = 0, 1, 2
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
    counters: np.ndarray


class Program(NamedTuple):
    """The declarations, compiled; `features.plan` makes it."""

    horizon: np.ndarray  # (1,) int64 ms
    entity_column: np.ndarray  # (E,) column of EventColumns.entity_key
    order_chain: np.ndarray  # (E,) which link of an order row, -1: no chain
    outcome_chain: np.ndarray  # (E,) which link of an outcome row, -1: no chain
    walk_entity: np.ndarray  # (W,)
    walk_over_orders: np.ndarray  # (W,) 1: orders, 0: outcomes
    walk_first: np.ndarray  # (W,) its first accumulator
    walk_windows: np.ndarray  # (W, K) int64 ms, ascending
    walk_n_windows: np.ndarray  # (W,)
    walk_active: np.ndarray  # (W, K) how many of its accumulators still care at window k
    walk_n: np.ndarray  # (W,) how many accumulators it has
    op: np.ndarray  # (A,)
    arg: np.ndarray  # (A,) measure, or entity
    mask: np.ndarray  # (A,) kinds that count
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


@njit(cache=True, nogil=True, inline="always")
def _measure(which, quantity, price):
    if which == QUANTITY:
        return np.int64(quantity)
    if which == UNIT_PRICE:
        return price
    return min(price * np.int64(quantity), AMOUNT_CAP)


@njit(cache=True, nogil=True, inline="always")
def _find(table, rows64, key_column, key):
    """The place in the table where the key is, or the empty place where it belongs."""
    last = len(table) - 1
    place = key & last
    while table[place] != 0 and rows64[table[place] - 1, key_column] != key:
        place = (place + 1) & last
    return place


@njit(cache=True, nogil=True)
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


@njit(cache=True, nogil=True, inline="always")
def _link(rows, rows64, row, time, link, slots, slot, head):
    """Put a row into the chain of a slot, above the rows of its own time."""
    above = -1
    below = slots[slot, head]
    while below >= 0 and rows64[below, 0] > time:
        above = below
        below = rows[below, link]
    rows[row, link] = below
    if above < 0:
        slots[slot, head] = row
    else:
        rows[above, link] = row


@njit(cache=True, nogil=True)
def _link_outcome(outcome, owner, tables, program):
    n_entities = len(program.entity_column)
    for entity in range(n_entities):
        chain = program.outcome_chain[entity]
        slot = tables.orders[owner, O_SLOTS + entity]
        if chain >= 0 and slot >= 0:
            _link(
                tables.outcomes, tables.outcomes64, outcome, tables.outcomes64[outcome, C_TIME],
                C_LINKS + chain, tables.slots, slot, S_OUTCOME,
            )  # fmt: skip


@njit(cache=True, nogil=True)
def _new_order_row(key, tables):
    row = tables.counters[N_ORDERS]
    tables.counters[N_ORDERS] += 1
    tables.orders[row, :] = -1
    tables.orders64[row, O_TIME] = NEVER
    tables.orders64[row, O_KEY] = key
    return row


@njit(cache=True, nogil=True, inline="always")
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


@njit(cache=True, nogil=True, inline="always")
def _walk(
    walk, slot, time, floor, own_key, slots_of_order, tables, program, running, at, seen, n_seen
):
    """Accumulate over one chain; `at[a, k]` becomes the value of accumulator a over window k."""
    first = program.walk_first[walk]
    n = program.walk_n[walk]
    for a in range(first, first + n):
        op = program.op[a]
        if op in (LAST, FIRST):
            running[a] = NEVER
        elif op in (MAX, LATEST_VALUE):
            running[a] = -1
        else:
            running[a] = 0
            n_seen[a] = 0
    n_windows = program.walk_n_windows[walk]
    over_orders = program.walk_over_orders[walk] == 1
    entity = program.walk_entity[walk]
    tables.counters[QUERY] += 1
    query = np.int32(tables.counters[QUERY])
    k = 0
    edge = max(time - program.walk_windows[walk, 0], floor)

    if over_orders:
        link = O_SLOTS + len(program.entity_column) + program.order_chain[entity]
        row = tables.slots[slot, S_ORDER] if slot >= 0 else np.int32(-1)
    else:
        link = C_LINKS + program.outcome_chain[entity]
        row = tables.slots[slot, S_OUTCOME] if slot >= 0 else np.int32(-1)

    while row >= 0:
        then = tables.orders64[row, O_TIME] if over_orders else tables.outcomes64[row, C_TIME]
        if then < edge:
            while k < n_windows and then < max(time - program.walk_windows[walk, k], floor):
                for a in range(first, first + program.walk_active[walk, k]):
                    at[a, k] = running[a]
                k += 1
            if k == n_windows:
                return
            edge = max(time - program.walk_windows[walk, k], floor)
        if over_orders:
            current = row
            row = tables.orders[row, link]
            if then > time or (own_key != 0 and tables.orders64[current, O_KEY] == own_key):
                continue
            for a in range(first, first + program.walk_active[walk, k]):
                op = program.op[a]
                arg = program.arg[a]
                if op == COUNT:
                    running[a] += 1
                elif op == DISTINCT:
                    value = tables.orders[current, O_SLOTS + arg]
                    if value >= 0 and _is_new(value, a, seen, n_seen, query, tables):
                        running[a] += 1
                elif op == SAME:
                    value = tables.orders[current, O_SLOTS + arg]
                    if value >= 0 and value == slots_of_order[arg]:
                        running[a] += 1
                elif op == SUM:
                    running[a] += _measure(
                        arg, tables.orders[current, O_QUANTITY], tables.orders64[current, O_PRICE]
                    )
                elif op == MAX:
                    running[a] = max(
                        running[a],
                        _measure(
                            arg,
                            tables.orders[current, O_QUANTITY],
                            tables.orders64[current, O_PRICE],
                        ),
                    )
                elif op == LAST:
                    running[a] = max(running[a], then)
                elif op == FIRST:
                    running[a] = then
                elif op == LATEST_VALUE and running[a] < 0:
                    running[a] = tables.orders[current, O_SLOTS + arg]
        else:
            current = row
            row = tables.outcomes[row, link]
            owner = tables.outcomes[current, C_OWNER]
            if then > time or (own_key != 0 and tables.orders64[owner, O_KEY] == own_key):
                continue
            bit = 1 << tables.outcomes[current, C_KIND]
            for a in range(first, first + program.walk_active[walk, k]):
                if program.mask[a] & bit == 0:
                    continue
                if program.op[a] == COUNT:
                    running[a] += 1
                else:  # SAME
                    value = tables.orders[owner, O_SLOTS + program.arg[a]]
                    if value >= 0 and value == slots_of_order[program.arg[a]]:
                        running[a] += 1

    while k < n_windows:
        for a in range(first, first + program.walk_active[walk, k]):
            at[a, k] = running[a]
        k += 1


@njit(cache=True, nogil=True, inline="always")
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
                if finish == SAME_VALUE:
                    result = float(value)
                elif finish == FIRST_USE:
                    result = 1.0 if value == 0 else 0.0
                elif value >= 0:  # CHANGED
                    result = 0.0 if value == slots_of_order[arg] else 1.0
        out[program.feature_column[f]] = result


@njit(cache=True, nogil=True)
def _take_outcome(key, time, kind, floor, tables, program):
    if time < floor:
        return
    place = _find(tables.order_table, tables.orders64, O_KEY, key)
    owner = tables.order_table[place] - 1
    if owner < 0 or not _is_alive(owner, floor, tables):
        owner = _new_order_row(key, tables)
        tables.order_table[place] = owner + 1
    other = tables.orders[owner, O_OUTCOME]
    while other >= 0:
        if tables.outcomes[other, C_KIND] == kind and tables.outcomes64[other, C_TIME] == time:
            return
        other = tables.outcomes[other, C_NEXT]
    tables.counters[OLDEST] = min(tables.counters[OLDEST], time)
    outcome = tables.counters[N_OUTCOMES]
    tables.counters[N_OUTCOMES] += 1
    tables.outcomes[outcome, :] = -1
    tables.outcomes64[outcome, C_TIME] = time
    tables.outcomes[outcome, C_OWNER] = owner
    tables.outcomes[outcome, C_KIND] = kind
    tables.outcomes[outcome, C_NEXT] = tables.orders[owner, O_OUTCOME]
    tables.orders[owner, O_OUTCOME] = outcome
    if tables.orders64[owner, O_TIME] == NEVER:
        tables.counters[UNATTRIBUTED] += 1
    else:
        _link_outcome(outcome, owner, tables, program)


@njit(cache=True, nogil=True)
def _place_order(row, time, quantity, price, slots_of_order, floor, tables, program):
    """Fill the row of an order, put it into its chains, and attach outcomes that waited."""
    tables.counters[OLDEST] = min(tables.counters[OLDEST], time)
    tables.orders64[row, O_TIME] = time
    tables.orders64[row, O_PRICE] = price
    tables.orders[row, O_QUANTITY] = quantity
    n_entities = len(program.entity_column)
    for entity in range(n_entities):
        slot = slots_of_order[entity]
        tables.orders[row, O_SLOTS + entity] = slot
        chain = program.order_chain[entity]
        if chain >= 0 and slot >= 0:
            _link(
                tables.orders, tables.orders64, row, time, O_SLOTS + n_entities + chain,
                tables.slots, slot, S_ORDER,
            )  # fmt: skip
    outcome = tables.orders[row, O_OUTCOME]
    while outcome >= 0:
        if tables.outcomes64[outcome, C_TIME] >= floor:
            tables.counters[UNATTRIBUTED] -= 1
            _link_outcome(outcome, row, tables, program)
        outcome = tables.outcomes[outcome, C_NEXT]


@njit(cache=True, nogil=True)
def apply_events(start, stop, events, tables, program, out):
    """Apply events[start:stop]; write the windowed features of their orders into `out`.

    The caller has made room for stop - start more rows in each table, and as many slots for each
    entity.
    """
    n_entities = len(program.entity_column)
    slots_of_order = np.empty(n_entities, np.int32)
    running = np.empty(len(program.op), np.int64)
    at = np.empty((len(program.op), program.walk_windows.shape[1]), np.int64)
    seen = np.empty((len(program.op), FEW), np.int32)
    n_seen = np.zeros(len(program.op), np.int32)
    horizon = program.horizon[0]
    counters = tables.counters
    for i in range(start, stop):
        key = events.order_key[i]
        order = events.order_number[i]
        time = events.time[i]
        counters[NEWEST] = max(counters[NEWEST], time)
        floor = counters[NEWEST] - horizon
        if events.kind[i] != 0:
            _take_outcome(key, time, events.kind[i], floor, tables, program)
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
                slot_place = _find(tables.slot_table, tables.slots64, S_KEY, entity_key)
                slot = tables.slot_table[slot_place] - 1
                if slot < 0 and keep:
                    slot = counters[N_SLOTS]
                    counters[N_SLOTS] += 1
                    tables.slots[slot, :] = -1
                    tables.slots64[slot, S_KEY] = entity_key
                    tables.slot_table[slot_place] = slot + 1
                slots_of_order[entity] = slot if slot >= 0 else UNKNOWN

        own_key = key if is_repeat else np.int64(0)  # only a repeat can meet itself
        for walk in range(len(program.walk_entity)):
            slot = slots_of_order[program.walk_entity[walk]]
            if slot != MISSING:
                _walk(
                    walk, slot, time, floor, own_key, slots_of_order, tables, program,
                    running, at, seen, n_seen,
                )  # fmt: skip
        _finish(time, quantity, price, slots_of_order, program, at, out[order])

        if keep:
            if row < 0:
                row = _new_order_row(key, tables)
                tables.order_table[place] = row + 1
            _place_order(row, time, quantity, price, slots_of_order, floor, tables, program)


@njit(cache=True, nogil=True)
def _enter_row(key, time, price, quantity, entity_keys, tables):
    """A new order row with a slot for each entity it has a key of; in no chain, in no table."""
    row = _new_order_row(key, tables)
    tables.orders64[row, O_TIME] = time
    tables.orders64[row, O_PRICE] = price
    tables.orders[row, O_QUANTITY] = quantity
    for entity in range(len(entity_keys)):
        if entity_keys[entity] != 0:
            place = _find(tables.slot_table, tables.slots64, S_KEY, entity_keys[entity])
            slot = tables.slot_table[place] - 1
            if slot < 0:
                slot = tables.counters[N_SLOTS]
                tables.counters[N_SLOTS] += 1
                tables.slots[slot, :] = -1
                tables.slots64[slot, S_KEY] = entity_keys[entity]
                tables.slot_table[place] = slot + 1
            tables.orders[row, O_SLOTS + entity] = slot
    return row


@njit(cache=True, nogil=True)
def _enter_outcome(owner, kind, time, tables):
    outcome = tables.counters[N_OUTCOMES]
    tables.counters[N_OUTCOMES] += 1
    tables.outcomes[outcome, :] = -1
    tables.outcomes64[outcome, C_TIME] = time
    tables.outcomes[outcome, C_OWNER] = owner
    tables.outcomes[outcome, C_KIND] = kind
    return outcome


@njit(cache=True, nogil=True)
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
        owner = first + outcomes[i, 0]
        outcome = _enter_outcome(owner, outcomes[i, 1], outcomes[i, 2], tables)
        tables.outcomes[outcome, C_NEXT] = tables.orders[owner, O_OUTCOME]
        tables.orders[owner, O_OUTCOME] = outcome


@njit(cache=True, nogil=True)
def enter_timelines(records, tables, program):
    """Enter the records of timelines, each into the chain of its own entity value only.

    records: (n, 6 + E) int64 in the sequence of their application: entity of the timeline, kind,
    order key, time, unit price, quantity, then a key per entity that the record carries.
    """
    n_entities = len(program.entity_column)
    for i in range(len(records)):
        entity, kind, key, time = records[i, 0], records[i, 1], records[i, 2], records[i, 3]
        row = _enter_row(key, time, records[i, 4], records[i, 5], records[i, 6:], tables)
        slot = tables.orders[row, O_SLOTS + entity]
        if kind == 0:
            _link(
                tables.orders, tables.orders64, row, time,
                O_SLOTS + n_entities + program.order_chain[entity],
                tables.slots, slot, S_ORDER,
            )  # fmt: skip
        else:
            outcome = _enter_outcome(row, kind, time, tables)
            _link(
                tables.outcomes, tables.outcomes64, outcome, time,
                C_LINKS + program.outcome_chain[entity],
                tables.slots, slot, S_OUTCOME,
            )  # fmt: skip


@njit(cache=True, nogil=True)
def fill_table(table, rows64, key_column, n):
    """Enter rows 0 … n-1 into an empty table; of two rows with one key the later one stays."""
    for row in range(n):
        table[_find(table, rows64, key_column, rows64[row, key_column])] = row + 1


@njit(cache=True, nogil=True)
def compact(tables, program):
    """Drop, in place, every row that no feature can depend on any more; empties no hash table.

    The caller fills the hash tables anew. Rows keep their sequence.
    """
    orders, outcomes, slots = tables.orders, tables.outcomes, tables.slots
    counters = tables.counters
    floor = counters[NEWEST] - program.horizon[0]
    n_entities = len(program.entity_column)
    n_orders, n_outcomes, n_slots = counters[N_ORDERS], counters[N_OUTCOMES], counters[N_SLOTS]

    new_outcome = np.full(n_outcomes, -1, np.int32)
    new_order = np.full(n_orders, -1, np.int32)
    new_slot = np.full(n_slots, -1, np.int32)
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
            for link in range(first_link, first_link + program.order_chain.max() + 1):
                orders[row, link] = _moved(
                    orders[row, link], tables.orders64, O_TIME, floor, new_order
                )
            for column in range(O_SLOTS, O_SLOTS + n_entities):
                if orders[row, column] >= 0:
                    orders[row, column] = new_slot[orders[row, column]]
            orders[row, O_OUTCOME] = -1
    for row in range(n_outcomes):
        if new_outcome[row] >= 0:
            for link in range(C_LINKS, C_LINKS + program.outcome_chain.max() + 1):
                outcomes[row, link] = _moved(
                    outcomes[row, link], tables.outcomes64, C_TIME, floor, new_outcome
                )
            outcomes[row, C_OWNER] = new_order[outcomes[row, C_OWNER]]
    for slot in range(n_slots):
        if new_slot[slot] >= 0:
            slots[slot, S_ORDER] = _moved(
                slots[slot, S_ORDER], tables.orders64, O_TIME, floor, new_order
            )
            slots[slot, S_OUTCOME] = _moved(
                slots[slot, S_OUTCOME], tables.outcomes64, C_TIME, floor, new_outcome
            )

    counters[OLDEST] = floor
    counters[N_ORDERS] = _close_up(orders, new_order)
    counters[N_OUTCOMES] = _close_up(outcomes, new_outcome)
    counters[N_SLOTS] = _close_up(slots, new_slot)
    for row in range(counters[N_OUTCOMES]):
        owner = outcomes[row, C_OWNER]
        outcomes[row, C_NEXT] = orders[owner, O_OUTCOME]
        orders[owner, O_OUTCOME] = row


@njit(cache=True, nogil=True, inline="always")
def _moved(link, rows64, time_column, floor, new_row):
    if link < 0 or rows64[link, time_column] < floor:
        return np.int32(-1)
    return new_row[link]


@njit(cache=True, nogil=True)
def _close_up(rows, new_row):
    kept = 0
    for row in range(len(new_row)):
        if new_row[row] >= 0:
            rows[new_row[row], :] = rows[row, :]
            kept += 1
    return kept
