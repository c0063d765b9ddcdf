from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from features.columns import EventColumns, event_columns_from_frames
from features.declare import ENTITIES
from features.feature_set import feature_set
from features.memory import HORIZON_MS, InMemoryState
from orders.events import Order, Outcome
from orders.tables import ORDER_SCHEMA, OUTCOME_SCHEMA, frame_from_orders, frame_from_outcomes
from tests.features.event_streams import (
    FEATURE_SET,
    apply,
    columns,
    crowds,
    horizons,
    orders,
    streams,
)

_quick = settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)

few_or_many = streams(far=True) | crowds()


@given(events=few_or_many, chunk=st.integers(1, 40), horizon_ms=horizons)
@_quick
def test_chunks_of_any_size_give_what_one_pass_in_memory_gives(
    new_state, events: list[Order | Outcome], chunk: int, horizon_ms: int
) -> None:
    memory, state = InMemoryState(FEATURE_SET, horizon_ms), new_state(FEATURE_SET, horizon_ms)
    np.testing.assert_array_equal(apply(state, events, chunk), memory.apply(columns(events)))
    assert state.unattributed == memory.unattributed


@given(events=few_or_many, cut=st.integers(0, 30) | st.integers(31, 400))
@_quick
def test_saving_and_loading_midway_changes_nothing(
    events: list[Order | Outcome], cut: int, tmp_path: Path
) -> None:
    state = InMemoryState(FEATURE_SET)
    apply(state, events[:cut])
    state.save(tmp_path / "state")
    loaded, _ = InMemoryState.load(tmp_path / "state", FEATURE_SET)
    np.testing.assert_array_equal(apply(loaded, events[cut:]), apply(state, events[cut:]))
    assert loaded.unattributed == state.unattributed


# Tiles do depend on what came first: no value has enough orders for them here.
@given(events=streams() | crowds(most=200), order=orders(), later=streams(far=True, max_size=10))
@_quick
def test_a_future_event_changes_nothing_earlier(
    new_state, events: list[Order | Outcome], order: Order, later: list[Order | Outcome]
) -> None:
    # They come first, but their event times lie after the order's, and they are of other orders.
    future = [
        type(event)(
            **{field: getattr(event, field) for field in event.__struct_fields__}
            | {"order_id": f"later {event.order_id}", "event_time": order.event_time + 1 + i}
        )
        for i, event in enumerate(later)
    ]
    without = apply(new_state(FEATURE_SET), [*events, order])[-1]
    np.testing.assert_array_equal(
        apply(new_state(FEATURE_SET), [*events, *future, order])[-1], without
    )


def assert_compaction_changes_nothing(
    events: list[Order | Outcome], horizon_ms: int, chunk: int
) -> None:
    plain, compacted = (InMemoryState(FEATURE_SET, horizon_ms) for _ in range(2))
    for start in range(0, len(events), chunk):
        some = columns(events[start : start + chunk])
        compacted.compact()
        np.testing.assert_array_equal(compacted.apply(some), plain.apply(some))
    assert compacted.unattributed == plain.unattributed


@given(streams(far=True), horizons)
@settings(max_examples=100, deadline=None)
def test_compaction_changes_no_feature(events: list[Order | Outcome], horizon_ms: int) -> None:
    assert_compaction_changes_nothing(events, horizon_ms, chunk=1)


@given(crowds(), horizons)
@_quick
def test_nor_does_it_where_values_are_hot(events: list[Order | Outcome], horizon_ms: int) -> None:
    assert_compaction_changes_nothing(events, horizon_ms, chunk=13)


@given(streams())
@_quick
def test_tables_give_what_single_events_give(events: list[Order | Outcome]) -> None:
    # Tables are merged by time, outcomes first at equal times.
    events = sorted(events, key=lambda event: (event.event_time, isinstance(event, Order)))
    placed = frame_from_orders([e for e in events if isinstance(e, Order)])
    taken = frame_from_outcomes([e for e in events if isinstance(e, Outcome)])
    merged = event_columns_from_frames(placed, taken, FEATURE_SET)
    single = columns(events)
    for field in EventColumns.__slots__:
        np.testing.assert_array_equal(getattr(merged, field), getattr(single, field), field)


def test_empty_tables_are_no_events() -> None:
    nothing = event_columns_from_frames(
        pl.DataFrame(schema=ORDER_SCHEMA), pl.DataFrame(schema=OUTCOME_SCHEMA), FEATURE_SET
    )
    assert InMemoryState(FEATURE_SET).apply(nothing).shape == (0, len(FEATURE_SET.features))


@pytest.mark.parametrize("seed", [1, 2])
def test_a_long_stream_is_held_in_bounded_memory_and_loses_no_feature(seed: int) -> None:
    # 400 days of 100 orders a day, some late by days: tables grow, fill and are compacted.
    declared = feature_set()
    draw = np.random.default_rng(seed)
    n, day = 40_000, 86_400_000
    sequence = np.arange(n, dtype=np.int64)
    events = EventColumns(
        order_key=(sequence // 2 + 1).astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15),
        time=sequence * (400 * day // n) - draw.integers(0, 3, n) * draw.integers(0, 20 * day, n),
        kind=(sequence % 2).astype(np.int8) * draw.choice(np.array([1, 5, 8], np.int8), n),
        entity_key=draw.integers(0, 60, (n // 2, len(ENTITIES))).astype(np.uint64)
        + np.arange(len(ENTITIES), dtype=np.uint64) * np.uint64(1 << 40),
        quantity=draw.integers(1, 4, n // 2),
        unit_price=draw.integers(1, 1000, n // 2),
        order_values=np.zeros((n // 2, len(declared.order_features))),
    )
    state = InMemoryState(declared)
    vectors = state.apply(events)
    held = state.n_live
    assert held["orders"] < 2 * n // 2 * HORIZON_MS // (400 * day) + 8192
    state.compact()
    assert state.n_live["orders"] <= held["orders"]

    # The second half depends on no more than the horizon before it.
    middle = int(np.searchsorted(sequence, n * 3 // 4))
    first = int(np.searchsorted(sequence, n // 2))
    tail = EventColumns(
        order_key=events.order_key[first:],
        time=events.time[first:],
        kind=events.kind[first:],
        entity_key=events.entity_key[first // 2 :],
        quantity=events.quantity[first // 2 :],
        unit_price=events.unit_price[first // 2 :],
        order_values=events.order_values[first // 2 :],
    )
    again = InMemoryState(declared).apply(tail)
    np.testing.assert_array_equal(again[(middle - first) // 2 :], vectors[middle // 2 :])
