import threading
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import structs

from features.arrivals import in_arrival_order
from features.columns import event_columns_from_frames
from features.declare import DAY, MONTH, count
from features.feature_set import feature_set
from features.memory import InMemoryState
from features.replay import frame_schema, replay
from orders.errors import UserError
from orders.events import Instant, Order, Outcome
from orders.tables import frame_from_orders, frame_from_outcomes
from tests.features.event_streams import FEATURE_SET, START, apply, crowds, streams

DAY_MS = 1000 * DAY
NUMERIC = [name for name in FEATURE_SET.names if name not in FEATURE_SET.categorical]
NUMERIC_AT = [FEATURE_SET.names.index(name) for name in NUMERIC]

_quick = settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
# Known at once, by a clock that is behind, or so late that other events come between.
_delays = st.sampled_from([None, None, -5, 0, 1, 60_000, 3_600_000, DAY_MS, 40 * DAY_MS])


@st.composite
def histories(
    draw: st.DrawFn, of: st.SearchStrategy[list[Order | Outcome]]
) -> list[Order | Outcome]:
    """Events in the sequence of the file, sorted by event time, received at any time."""
    history = []
    for event in sorted(draw(of), key=lambda event: event.event_time):
        delay = draw(_delays)
        received = None if delay is None else Instant(event.event_time + delay)
        history.append(structs.replace(event, received_time=received))
    return history


def arrival(event: Order | Outcome) -> int:
    return max(event.event_time, event.received_time or event.event_time)


def as_they_arrived(events: Sequence[Order | Outcome]) -> list[Order | Outcome]:
    return sorted(events, key=lambda e: (arrival(e), isinstance(e, Order), e.event_time))


def tables(events: Sequence[Order | Outcome]) -> tuple[pl.LazyFrame, pl.LazyFrame]:
    return (
        frame_from_orders([e for e in events if isinstance(e, Order)]).lazy(),
        frame_from_outcomes([e for e in events if isinstance(e, Outcome)]).lazy(),
    )


def replayed(
    events: Sequence[Order | Outcome], state: InMemoryState | None = None, **options: object
) -> pl.DataFrame:
    frames = replay(
        *tables(events),
        InMemoryState(FEATURE_SET) if state is None else state,
        FEATURE_SET,
        **options,  # pyright: ignore[reportArgumentType]
    )
    return pl.concat([pl.DataFrame(schema=frame_schema(FEATURE_SET)), *frames])


def vectors(frame: pl.DataFrame) -> np.ndarray:
    return frame.select(NUMERIC).to_numpy()


def time(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)


def _order(order_id: str, at: int, received: int | None = None, **fields: object) -> Order:
    given = {"account": "u", "quantity": 1, "unit_price": 100, "currency": "CNY"} | fields
    received_time = None if received is None else Instant(received)
    return Order(order_id=order_id, event_time=Instant(at), received_time=received_time, **given)  # pyright: ignore[reportArgumentType]


def _outcome(order_id: str, kind: str, at: int, received: int | None = None) -> Outcome:
    received_time = None if received is None else Instant(received)
    return Outcome(
        order_id=order_id,
        kind=kind,  # pyright: ignore[reportArgumentType]
        event_time=Instant(at),
        received_time=received_time,
    )


def assert_replay_gives_what_events_give(
    events: list[Order | Outcome], block: int, chunk: int
) -> None:
    arrived = as_they_arrived(events)
    state, single = InMemoryState(FEATURE_SET), InMemoryState(FEATURE_SET)
    got = replayed(events, state, block=block)
    expected = apply(single, arrived, chunk)
    np.testing.assert_array_equal(vectors(got), expected[:, NUMERIC_AT])
    placed = [event for event in arrived if isinstance(event, Order)]
    assert got["order_id"].to_list() == [order.order_id for order in placed]
    assert got["event_time"].to_list() == [time(order.event_time) for order in placed]
    # What came after the last order was taken, too.
    assert state.unattributed == single.unattributed


@given(histories(streams(far=True)), st.sampled_from([1, 2, 3, 7, 1000]))
@_quick
def test_a_replay_in_blocks_equals_events_applied_one_by_one_as_they_arrived(
    events: list[Order | Outcome], block: int
) -> None:
    assert_replay_gives_what_events_give(events, block, chunk=1)


@given(histories(crowds()), st.sampled_from([50, 90, 1000]))
@settings(_quick, max_examples=6)
def test_so_it_does_where_values_are_hot(events: list[Order | Outcome], block: int) -> None:
    assert_replay_gives_what_events_give(events, block, chunk=31)


@given(events=histories(streams()), cut=st.integers(0, 39), block=st.sampled_from([2, 1000]))
@_quick
def test_a_replay_continues_where_another_stopped(
    events: list[Order | Outcome], cut: int, block: int, tmp_path: Path
) -> None:
    moment = time(arrival(events[cut % len(events)]))
    state = InMemoryState(FEATURE_SET)
    before = replayed(events, state, stop=moment, block=block)
    state.save(tmp_path / "state")
    continued, _ = InMemoryState.load(tmp_path / "state", FEATURE_SET)
    after = replayed(events, continued, after=moment, block=block)
    whole = replayed(events)
    assert pl.concat([before, after]).equals(whole)
    # The same rows when the past is replayed and not written.
    assert replayed(events, start=moment, block=block).equals(after)


@given(events=histories(streams()), cut=st.integers(0, 39))
@_quick
def test_what_arrives_later_changes_no_row(events: list[Order | Outcome], cut: int) -> None:
    moment = arrival(events[cut % len(events)])
    known = [event for event in events if arrival(event) < moment]
    assert replayed(known).equals(replayed(events, stop=time(moment)))


def test_a_chargeback_counts_from_when_we_learnt_of_it() -> None:
    events = [
        _order("o1", START),
        _outcome("o1", "charged_back", START + DAY_MS, received=START + 3 * DAY_MS),
        _order("o2", START + 2 * DAY_MS),
        _order("o3", START + 3 * DAY_MS - 1),
        _order("o4", START + 3 * DAY_MS),
    ]
    chargebacks = count("charged_back", per="account", within=MONTH, catches="t")
    declared = feature_set(features=(chargebacks,))
    frame = pl.concat(replay(*tables(events), InMemoryState(declared), declared))
    assert frame[chargebacks.name].to_list() == [0, 0, 0, 1]


def test_a_late_order_counts_from_its_arrival_at_its_own_event_time() -> None:
    hour = 3_600_000
    events = [
        _order("late", START, received=START + 2 * hour),
        _order("before", START + hour),
        _order("after", START + 3 * hour),
        _order("beyond", START + DAY_MS + hour),
    ]
    frame = replayed(events)
    assert frame["order_id"].to_list() == ["before", "late", "after", "beyond"]
    # "before" lies after the event time of "late", so it is not in the windows of "late".
    # Only at its event time it has left those of "beyond".
    assert frame["account_orders_24h"].to_list() == [0, 0, 2, 2]


def test_of_equal_arrivals_outcomes_come_first_then_event_time_then_position() -> None:
    at = START + 10
    events = [
        _order("x", START, received=at),
        _outcome("x", "delivered", START + 1, received=at),
        _order("a", START + 5, received=at),
        _outcome("x", "expired", START + 7, received=at),
        _order("c", at),
        _order("b", at),
        _outcome("b", "expired", at),
    ]
    for block in (1, 2, 100):
        pieces = list(in_arrival_order(*tables(events), block=block))
        sequence = [
            f"{kind} {name}"
            for placed, known in pieces
            for kind, name in [
                *known.select("kind", "order_id").iter_rows(),
                *placed.select(pl.lit("order"), "order_id").iter_rows(),
            ]
        ]
        assert sequence == [
            "delivered x", "expired x", "expired b", "order x", "order a", "order c", "order b",
        ]  # fmt: skip


def test_only_what_is_late_is_held_back() -> None:
    n, late = 2_000, 40
    events = [
        _order(f"o{i}", START + i, received=None if i % 50 else START + i + 10 * n)
        for i in range(n)
    ]
    pieces = [placed for placed, _ in in_arrival_order(*tables(events), block=100)]
    assert max(map(len, pieces)) <= 100 + late
    assert sum(map(len, pieces)) == n


def test_events_out_of_sequence_are_a_mistake_of_the_caller() -> None:
    placed, known = tables([_order("o1", START, received=START + 9), _order("o2", START + 1)])
    with pytest.raises(ValueError, match="not sorted by arrival"):
        event_columns_from_frames(placed.collect(), known.collect(), FEATURE_SET)


@pytest.mark.parametrize("block", [1, 2, 100])
def test_an_unsorted_table_is_refused(block: int) -> None:
    events = [_order("o1", START), _order("o2", START + 5), _order("o3", START + 4)]
    with pytest.raises(UserError, match="orders are not sorted by event_time"):
        replayed(events, block=block)
    taken = [_outcome("o", "paid", START + 5), _outcome("o", "expired", START + 4)]
    with pytest.raises(UserError, match="outcomes are not sorted by event_time"):
        replayed(taken, block=block)


@pytest.mark.parametrize("column", ["event_time", "order_id", "quantity", "unit_price"])
def test_an_order_without_what_it_must_have_is_refused(column: str) -> None:
    placed, known = tables([_order("o1", START), _order("o2", START + 5)])
    holey = placed.with_columns(pl.when(pl.col("order_id") != "o2").then(column).alias(column))
    for after, stop in ((None, None), (time(START), None), (None, time(START + 10))):
        frames = replay(
            holey, known, InMemoryState(FEATURE_SET), FEATURE_SET, after=after, stop=stop
        )
        with pytest.raises(UserError, match=f"orders: a row has no {column}"):
            list(frames)


def test_progress_counts_orders_that_are_not_written_too() -> None:
    events = [_order(f"o{i}", START + i) for i in range(10)]
    counted: list[int] = []
    rows = replayed(events, start=time(START + 8), block=3, on_orders=counted.append)
    assert len(rows) == 2
    assert sum(counted) == 10


def test_a_replay_that_is_given_up_leaves_no_thread() -> None:
    events = [_order(f"o{i}", START + i) for i in range(50)]
    frames = replay(*tables(events), InMemoryState(FEATURE_SET), FEATURE_SET, block=2)
    next(frames)
    frames.close()
    assert not [t.name for t in threading.enumerate() if t.name.startswith("replay-")]


def test_empty_tables_give_no_rows() -> None:
    assert replayed([]).is_empty()
    assert replayed([_outcome("o", "paid", START)]).is_empty()
    assert len(replayed([_order("o", START)], stop=time(START) + timedelta(days=1))) == 1


@pytest.mark.parametrize(("column", "value"), [("quantity", 0), ("unit_price", -1)])
def test_an_order_with_an_absurd_amount_is_refused(column: str, value: int) -> None:
    placed, known = tables([_order("o1", START), _order("o2", START + 5)])
    absurd = placed.with_columns(pl.lit(value, placed.collect_schema()[column]).alias(column))
    with pytest.raises(UserError, match=f"orders: a {column} is below"):
        list(replay(absurd, known, InMemoryState(FEATURE_SET), FEATURE_SET))
