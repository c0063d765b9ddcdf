"""What a shared store keeps of an event: into bytes, and back into columns."""

# ruff: noqa: PLR0917 numba passes positional arguments
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numba import njit

from features.columns import EventColumns
from features.declare import ENTITIES
from features.timeline_layout import (
    FACTS_BYTES,
    HEADER_BYTES,
    MEASURE_BYTES,
    ORDER_BYTES,
    OUTCOME_BYTES,
    RECORD_BYTES,
    TimelineLayout,
)

_event = np.dtype([("key", "<i8"), ("kind", "u1"), ("time", "<i8"), ("floor", "<i8")])
_facts = np.dtype([("price", "<i8"), ("quantity", "<i4"), ("keys", "<u8", (len(ENTITIES),))])


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


@dataclass(frozen=True)
class Timelines:
    """Timelines as they are stored, side by side."""

    buffer: np.ndarray  # uint8
    ends: np.ndarray  # (N,) where each ends in the buffer
    entity: np.ndarray  # (N,)
    key: np.ndarray  # (N,) int64
    is_long: np.ndarray  # (N,) int64, 1 where every single event may matter to what is folded


def timelines_of(
    layout: TimelineLayout, names: bytes, timelines: list[bytes], long: np.ndarray
) -> Timelines:
    """Timelines side by side.

    Args:
        layout: of the store.
        names: keys of the timelines, all of one length; the last 9 bytes are the letter of the
            entity and its key.
        timelines: as they are stored, or nothing.
        long: numbers of the long ones.
    """
    n = len(timelines)
    named = np.frombuffer(names, np.uint8).reshape(n, len(names) // max(n, 1))
    is_long = np.zeros(n, np.int64)
    is_long[long] = 1
    return Timelines(
        np.frombuffer(b"".join(timelines), np.uint8),
        np.cumsum(np.fromiter(map(len, timelines), np.int64, n)),
        layout.entity_of_letter[named[:, -9]] if n else np.zeros(0, np.int64),
        np.ascontiguousarray(named[:, -8:]).view(np.int64).ravel() if n else np.zeros(0, np.int64),
        is_long,
    )


@dataclass(frozen=True, slots=True)
class RecordCounts:
    """How many records are to be read, and what they carry at most."""

    orders: int
    outcomes: int
    keys: int  # besides those of the timelines
    damaged: int  # number of the first timeline that is damaged, or -1


def count_records(layout: TimelineLayout, timelines: Timelines, since: np.ndarray) -> RecordCounts:
    """Count what `record_parts` gives.

    Args:
        layout: of the store.
        timelines: as they are stored.
        since: (2, E, 2) times, of short timelines and of long ones; earlier records are left out.
    """
    of_timelines = timelines.buffer, timelines.ends, timelines.entity, timelines.is_long
    n_carried = (layout.carried >= 0).sum(axis=2)
    return RecordCounts(*_count_records(*of_timelines, layout.width, n_carried, since))


def record_parts(
    layout: TimelineLayout, timelines: Timelines, since: np.ndarray, room: np.ndarray
) -> Iterator[np.ndarray]:
    """Records of timelines as `kernels.enter_timelines` takes them, part by part.

    Args:
        layout: of the store.
        timelines: as they are stored, none of them damaged.
        since: As in `count_records`.
        room: (n, 6 + E) int64, for one part; each part is read into it.
    """
    place = np.zeros(3, np.int64)
    while place[0] < len(timelines.ends):
        n = _parse_timelines(
            timelines.buffer, timelines.ends, timelines.entity, timelines.key, layout.width,
            layout.measured, layout.carried, timelines.is_long, since, place, room,
        )  # fmt: skip
        yield room[:n]


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
def _count_records(buffer, ends, entity, is_long, width, n_carried, since):
    """Orders, outcomes, keys; and the first timeline that does not end with a record, or -1."""
    counts = np.zeros(2, np.int64)
    keys = 0
    start = 0
    for i in range(len(ends)):
        if ends[i] > start:
            if ends[i] < start + HEADER_BYTES:
                return counts[0], counts[1], keys, i
            at = _first_record(buffer, start)
            while at < ends[i]:
                if at + RECORD_BYTES > ends[i]:
                    return counts[0], counts[1], keys, i
                of = 0 if buffer[at + 8] == 0 else 1
                bytes_ = width[entity[i], of]
                if bytes_ == 0:
                    return counts[0], counts[1], keys, i
                if _integer(buffer, at + 9) >= since[is_long[i], entity[i], of]:
                    counts[of] += 1
                    keys += n_carried[entity[i], of]
                at += bytes_
            if at != ends[i]:
                return counts[0], counts[1], keys, i
        start = ends[i]
    return counts[0], counts[1], keys, -1


@njit(cache=True, nogil=True)
def _parse_timelines(
    buffer, ends, entity, own_key, width, measured, carried, is_long, since, place, records
):  # fmt: skip
    """Parse from `place`, a timeline, where it begins, and where in it, until `records` are full."""
    n = 0
    i, start, at = place
    while i < len(ends):
        if at == start and ends[i] > start:
            at = _first_record(buffer, start)
        own = entity[i]
        while at < ends[i]:
            if n == len(records):
                place[0], place[1], place[2] = i, start, at
                return n
            kind = buffer[at + 8]
            of = 0 if kind == 0 else 1
            time = _integer(buffer, at + 9)
            following = at + width[own, of]
            if time >= since[is_long[i], own, of]:
                record = records[n]
                record[4:] = 0
                record[0] = own
                record[1] = kind
                record[2] = _integer(buffer, at)
                record[3] = time
                record[6 + own] = own_key[i]
                at += RECORD_BYTES
                if of == 0 and measured[own]:
                    record[4] = _integer(buffer, at)
                    record[5] = _small(buffer, at + 8)
                    at += MEASURE_BYTES
                for j in range(carried.shape[2]):
                    other = carried[own, of, j]
                    if other < 0:
                        break
                    record[6 + other] = _integer(buffer, at)
                    at += 8
                n += 1
            at = following
        start = ends[i]
        at = start
        i += 1
    place[0], place[1], place[2] = i, start, at
    return n


def packed_records(layout: TimelineLayout, records: np.ndarray) -> bytes:
    """Records of one timeline, as `kernels.enter_timelines` takes them, as they are stored."""
    if not len(records):
        return b""
    of = (records[:, 1] != 0).astype(np.int64)
    buffer = np.zeros(int(layout.width[records[0, 0], of].sum()), np.uint8)
    _pack_records(records, layout.measured, layout.carried, buffer)
    return buffer.tobytes()


@njit(cache=True, nogil=True, inline="always")
def _put_integer(buffer, at, value, n):
    for i in range(n):
        buffer[at + i] = np.uint64(value) >> np.uint64(8 * i) & np.uint64(255)


@njit(cache=True, nogil=True)
def _pack_records(records, measured, carried, buffer):
    at = 0
    for record in records:
        own, kind = record[0], record[1]
        _put_integer(buffer, at, record[2], 8)
        buffer[at + 8] = kind
        _put_integer(buffer, at + 9, record[3], 8)
        at += RECORD_BYTES
        of = 0 if kind == 0 else 1
        if of == 0 and measured[own]:
            _put_integer(buffer, at, record[4], 8)
            _put_integer(buffer, at + 8, record[5], 4)
            at += MEASURE_BYTES
        for j in range(carried.shape[2]):
            other = carried[own, of, j]
            if other < 0:
                break
            _put_integer(buffer, at, record[6 + other], 8)
            at += 8
