"""What a shared store keeps of an event, as bytes: the layout, and back into columns.

`features/redis_state.lua` says what the records look like. Which facts of an order stand in the
timeline of an entity follows from the plan: those that its accumulators read, and no others.
"""

# ruff: noqa: PLR0917 numba passes positional arguments
from dataclasses import dataclass

import numpy as np
from numba import njit

from features import kernels
from features.columns import EventColumns
from features.declare import ENTITIES
from features.plan import Plan

HEADER_BYTES, EVENT_BYTES, RECORD_BYTES, ORDER_BYTES, OUTCOME_BYTES = 12, 25, 17, 20, 17
MEASURE_BYTES = 12  # unit price, quantity
FACTS_BYTES = MEASURE_BYTES + 8 * len(ENTITIES)

_MEASURED = (kernels.SUM, kernels.MAX)
_CARRIED = (kernels.DISTINCT, kernels.SAME, kernels.LATEST_VALUE, kernels.CHANGES)
_PLAIN = (kernels.COUNT, kernels.LAST, kernels.FIRST, kernels.TILED)

_event = np.dtype([("key", "<i8"), ("kind", "u1"), ("time", "<i8"), ("floor", "<i8")])
_facts = np.dtype([("price", "<i8"), ("quantity", "<i4"), ("keys", "<u8", (len(ENTITIES),))])


@dataclass(frozen=True)
class TimelineLayout:
    """Entities are numbered as in the plan. The first of two is orders, the second outcomes."""

    spec: str  # for the server
    entity_column: np.ndarray  # (E,) column of each entity in EventColumns.entity_key
    entity_of_letter: np.ndarray  # (256,) of the byte that names an entity in a key
    width: np.ndarray  # (E, 2) bytes of a record, 0: there are none
    measured: np.ndarray  # (E,) whether order records carry the measures
    carried: np.ndarray  # (E, 2, E) entities whose keys a record carries, in sequence; -1 ends
    reach: np.ndarray  # (E, 2) ms, the longest window


def timeline_layout(plan: Plan) -> TimelineLayout:
    """The layout that serves every accumulator of a plan."""
    program = plan.program
    n = len(plan.entities)
    measured = np.zeros(n, np.int64)
    carries: list[tuple[set[int], set[int]]] = [(set(), set()) for _ in range(n)]
    reach = np.zeros((n, 2), np.int64)
    for walk, entity in enumerate(program.walk_entity.tolist()):
        of = 1 - int(program.walk_over_orders[walk])
        reach[entity, of] = max(reach[entity, of], program.walk_windows[walk].max())
        first = int(program.walk_first[walk])
        for a in range(first, first + int(program.walk_n[walk])):
            op, arg = int(program.op[a]), int(program.arg[a])
            if op in _MEASURED:
                measured[entity] = 1
            elif op in _CARRIED:
                carries[entity][of].add(arg)
            elif op == kernels.CIRCLE:
                account, *through = program.circle[:3].tolist()
                carries[entity][of].add(account)
                for other in through:
                    carries[other][0].add(account)
                    reach[other, 0] = max(reach[other, 0], program.circle[3])
            elif op not in _PLAIN:
                raise ValueError(f"no layout is known for accumulator operation {op}")
    width = np.zeros((n, 2), np.int64)
    carried = np.full((n, 2, n), -1, np.int64)
    spec = ""
    for entity in range(n):
        texts = []
        for of, chains in enumerate((program.order_chain, program.outcome_chain)):
            if chains[entity] < 0:
                texts.append("-")
                continue
            others = sorted(carries[entity][of] - {entity})
            carried[entity, of, : len(others)] = others
            slices = [(1, MEASURE_BYTES)] if of == 0 and measured[entity] else []
            for other in others:
                start = MEASURE_BYTES + 8 * int(program.entity_column[other]) + 1
                if slices and slices[-1][1] == start - 1:
                    slices[-1] = (slices[-1][0], start + 7)
                else:
                    slices.append((start, start + 7))
            width[entity, of] = RECORD_BYTES + sum(stop - start + 1 for start, stop in slices)
            texts.append(",".join(f"{start}-{stop}" for start, stop in slices) or "=")
        column = int(program.entity_column[entity])
        spec += f"{_letter(column)} {column} {texts[0]} {texts[1]};"
    letters = np.full(256, -1, np.int64)
    for entity, column in enumerate(program.entity_column.tolist()):
        letters[ord(_letter(column))] = entity
    return TimelineLayout(
        spec, program.entity_column.astype(np.int64), letters, width, measured, carried, reach
    )


def _letter(column: int) -> str:
    return "abcdefghij"[column]  # "o" is for orders


def packed_events(events: EventColumns, floor: np.ndarray) -> tuple[bytes, bytes]:
    """Heads of all events, and facts of the orders among them, as the server takes them.

    `floor` is, for each event, the time before which everything is forgotten.
    """
    heads = np.empty(len(events), _event)
    heads["key"], heads["kind"] = events.order_key.view(np.int64), events.kind
    heads["time"], heads["floor"] = events.time, floor
    facts = np.empty(len(events.entity_key), _facts)
    facts["price"], facts["quantity"] = events.unit_price, events.quantity
    facts["keys"] = events.entity_key
    return heads.tobytes(), facts.tobytes()


def read_orders(
    layout: TimelineLayout, keys: bytes, records: list[bytes]
) -> tuple[np.ndarray, np.ndarray]:
    """Order records as `kernels.enter_orders` takes them; empty ones are left out.

    Args:
        layout: of the store.
        keys: 8 bytes for each record.
        records: as they are stored, or nothing.
    """
    kept = [i for i, record in enumerate(records) if record]
    lengths = np.array([len(records[i]) for i in kept], np.int64)
    ends = np.cumsum(lengths)
    buffer = np.frombuffer(b"".join(records), np.uint8)
    fixed = ORDER_BYTES + FACTS_BYTES
    facts = np.empty((len(kept), 4 + len(layout.entity_column)), np.int64)
    outcomes = np.empty((int(((lengths - fixed) // OUTCOME_BYTES).sum()), 3), np.int64)
    facts[:, 0] = np.frombuffer(keys, np.int64)[kept]
    _parse_orders(buffer, ends, layout.entity_column, facts, outcomes)
    return facts, outcomes


def read_timelines(
    layout: TimelineLayout, names: bytes, timelines: list[bytes], since: np.ndarray
) -> tuple[np.ndarray, int]:
    """Records of timelines as `kernels.enter_timelines` takes them.

    Args:
        layout: of the store.
        names: keys of the timelines, all of one length; the last 9 bytes are the letter of the
            entity and its key.
        timelines: as they are stored, or nothing.
        since: (E, 2) times; earlier records are left out.

    Returns:
        The records, and the number of the first timeline that is damaged, or -1.
    """
    buffer = np.frombuffer(b"".join(timelines), np.uint8)
    ends = np.cumsum(np.fromiter(map(len, timelines), np.int64, len(timelines)))
    if not timelines:
        return np.zeros((0, 6 + len(layout.entity_column)), np.int64), -1
    named = np.frombuffer(names, np.uint8).reshape(len(timelines), -1)
    entity = layout.entity_of_letter[named[:, -9]]
    own_key = np.ascontiguousarray(named[:, -8:]).view(np.int64).ravel()
    count, damaged = _count_records(buffer, ends, entity, layout.width, since)
    records = np.zeros((count, 6 + len(layout.entity_column)), np.int64)
    if damaged < 0:
        _parse_timelines(
            buffer, ends, entity, own_key, layout.width, layout.measured,
            layout.carried, since, records,
        )  # fmt: skip
    return records, damaged


@njit(cache=True, nogil=True, inline="always")
def _integer(buffer, at):
    value = np.uint64(0)
    for i in range(8):
        value |= np.uint64(buffer[at + i]) << np.uint64(8 * i)
    return np.int64(value)


@njit(cache=True, nogil=True, inline="always")
def _small(buffer, at):
    value = np.uint32(0)
    for i in range(4):
        value |= np.uint32(buffer[at + i]) << np.uint32(8 * i)
    return np.int64(np.int32(value))


@njit(cache=True, nogil=True)
def _parse_orders(buffer, ends, entity_column, facts, outcomes):
    start = 0
    n = 0
    for i in range(len(ends)):
        placed = _integer(buffer, start + 8) != 0
        facts[i, 1] = _integer(buffer, start) if placed else -(2**62)  # kernels.NEVER
        at = start + ORDER_BYTES
        facts[i, 2] = _integer(buffer, at)
        facts[i, 3] = _small(buffer, at + 8)
        for entity in range(len(entity_column)):
            facts[i, 4 + entity] = _integer(buffer, at + MEASURE_BYTES + 8 * entity_column[entity])
        at += FACTS_BYTES
        while at < ends[i]:
            outcomes[n, 0] = i
            outcomes[n, 1] = buffer[at]
            outcomes[n, 2] = _integer(buffer, at + 1)
            n += 1
            at += OUTCOME_BYTES
        start = ends[i]


@njit(cache=True, nogil=True, inline="always")
def _first_record(buffer, start):
    tiles = np.int64(0)
    for i in range(4):
        tiles |= np.int64(buffer[start + 4 + i]) << (8 * i)
    return start + HEADER_BYTES + tiles


@njit(cache=True, nogil=True)
def _count_records(buffer, ends, entity, width, since):
    """How many records are to be read, and the first timeline that does not end with one."""
    count = 0
    start = 0
    for i in range(len(ends)):
        if ends[i] > start:
            if ends[i] < start + HEADER_BYTES:
                return count, i
            at = _first_record(buffer, start)
            while at < ends[i]:
                if at + RECORD_BYTES > ends[i]:
                    return count, i
                of = 0 if buffer[at + 8] == 0 else 1
                bytes_ = width[entity[i], of]
                if bytes_ == 0:
                    return count, i
                if _integer(buffer, at + 9) >= since[entity[i], of]:
                    count += 1
                at += bytes_
            if at != ends[i]:
                return count, i
        start = ends[i]
    return count, -1


@njit(cache=True, nogil=True)
def _parse_timelines(buffer, ends, entity, own_key, width, measured, carried, since, records):
    n = 0
    start = 0
    for i in range(len(ends)):
        at = ends[i] if ends[i] == start else _first_record(buffer, start)
        own = entity[i]
        while at < ends[i]:
            kind = buffer[at + 8]
            of = 0 if kind == 0 else 1
            time = _integer(buffer, at + 9)
            following = at + width[own, of]
            if time >= since[own, of]:
                records[n, 0] = own
                records[n, 1] = kind
                records[n, 2] = _integer(buffer, at)
                records[n, 3] = time
                records[n, 6 + own] = own_key[i]
                at += RECORD_BYTES
                if of == 0 and measured[own]:
                    records[n, 4] = _integer(buffer, at)
                    records[n, 5] = _small(buffer, at + 8)
                    at += MEASURE_BYTES
                for j in range(carried.shape[2]):
                    other = carried[own, of, j]
                    if other < 0:
                        break
                    records[n, 6 + other] = _integer(buffer, at)
                    at += 8
                n += 1
            at = following
        start = ends[i]
