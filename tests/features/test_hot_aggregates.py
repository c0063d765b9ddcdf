"""Each aggregate of a hot entity value, against what the window and one tile more hold."""

from dataclasses import replace

import numpy as np
import pytest

from features import kernels
from features.columns import EventColumns
from features.declare import (
    DAY,
    ENTITIES,
    FIVE_MINUTES,
    HOUR,
    MEASURES,
    OUTCOME_CODES,
    count,
    distinct,
    largest,
    seconds_since_first,
    seconds_since_last,
    total,
)
from features.feature_set import feature_set
from features.memory import HORIZON_MS, InMemoryState
from tests.features.test_hot_keys import START, hot_events

WINDOWS = {"5m": FIVE_MINUTES, "1h": HOUR, "24h": DAY}
FEATURES = feature_set(
    features=(
        *(count("orders", per="device", within=w, catches="t") for w in WINDOWS.values()),
        *(count("expired", per="device", within=w, catches="t") for w in WINDOWS.values()),
        *(count("completed", per="device", within=w, catches="t") for w in WINDOWS.values()),
        *(total(m, per="device", within=w, catches="t") for m in MEASURES for w in WINDOWS.values()),
        *(largest(m, per="device", within=w, catches="t") for m in MEASURES for w in WINDOWS.values()),
        distinct("account", per="device", within=HOUR, catches="t"),
        distinct("phone", per="device", within=HOUR, catches="t"),
        seconds_since_last(per="device", catches="t", within=HOUR),
        seconds_since_first(per="device", catches="t", within=HOUR),
    )
)  # fmt: skip
FROM = 300  # orders; from there on there are tiles


def made_events() -> EventColumns:
    events = hot_events(900, 3_000 * HOUR, accounts=40)
    draw = np.random.default_rng(4)
    events.entity_key[:, ENTITIES.index("phone")] = draw.integers(1, 2**63, 900, dtype=np.uint64)
    codes = np.array([OUTCOME_CODES["expired"], OUTCOME_CODES["completed"]], np.int8)
    kind = np.where(events.kind == 0, 0, codes[draw.integers(0, 2, len(events))]).astype(np.int8)
    return replace(events, kind=kind, order_values=np.zeros((900, 0)))


@pytest.fixture(scope="module")
def made() -> tuple[EventColumns, np.ndarray]:
    events = made_events()
    return events, InMemoryState(FEATURES).apply(events)


def column(vectors: np.ndarray, name: str) -> np.ndarray:
    return vectors[FROM:, FEATURES.names.index(name)]


class Inside:
    """For each order from FROM on: which earlier events its window holds, and one tile more."""

    def __init__(self, events: EventColumns, window_s: int, kind: int = 0) -> None:
        placed = np.flatnonzero(events.kind == 0)[FROM:]
        numbers = np.flatnonzero(events.kind == kind)
        self.stop = np.searchsorted(numbers, placed)
        edges = events.time[placed] - 1_000 * window_s
        self.first = np.minimum(np.searchsorted(events.time[numbers], edges), self.stop)
        n = self.stop - self.first
        tile = np.maximum(kernels.TILE_EVENTS, n // kernels.NEWER_PER_TILE)
        # The latest are side by side: a window that ends among them is exact.
        exact = n <= kernels.EXACT
        self.widest = np.where(exact, self.first, np.maximum(self.first - tile, 0))


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("of", ["orders", "expired", "completed"])
def test_counts_hold_the_window_and_at_most_a_tile_more(made, of: str, window: str) -> None:
    events, vectors = made
    inside = Inside(events, WINDOWS[window], OUTCOME_CODES.get(of, 0))
    got = column(vectors, f"device_{of}_{window}")
    assert (got >= inside.stop - inside.first).all()
    if of == "orders":
        assert (got <= inside.stop - inside.widest).all()
    else:  # a tile holds outcomes of either class
        assert (got <= inside.stop - inside.first + 2 * kernels.TILE_EVENTS).all()


def measures(events: EventColumns) -> dict[str, np.ndarray]:
    amount = events.quantity * events.unit_price
    return {"amount": amount, "quantity": events.quantity, "unit_price": events.unit_price}


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("measure", MEASURES)
def test_sums_and_largest_are_those_of_the_window_and_at_most_a_tile_more(
    made, measure: str, window: str
) -> None:
    events, vectors = made
    inside, values = Inside(events, WINDOWS[window]), measures(events)[measure]
    for name, aggregate in ((f"device_{measure}", np.sum), (f"device_{measure}_max", np.max)):
        got = column(vectors, f"{name}_{window}")
        for i, (first, widest, stop) in enumerate(
            zip(inside.first, inside.widest, inside.stop, strict=True)
        ):
            assert aggregate(values[first:stop]) <= got[i] <= aggregate(values[widest:stop])


@pytest.mark.parametrize(("of", "name"), [("account", "accounts"), ("phone", "phones")])
def test_different_values_of_each_entity_are_told_apart(made, of: str, name: str) -> None:
    events, vectors = made
    inside, keys = Inside(events, HOUR), events.entity_key[:, ENTITIES.index(of)]
    exact = np.array(
        [len(set(keys[a:b].tolist())) for a, b in zip(inside.first, inside.stop, strict=True)]
    )
    assert np.abs(column(vectors, f"device_{name}_1h") / exact - 1).max() < 0.3


def test_the_first_and_last_order_of_a_window_are_found_in_tiles_too(made) -> None:
    events, vectors = made
    inside = Inside(events, HOUR)
    times = events.time[events.kind == 0]
    now = times[FROM:]
    last = (now - times[inside.stop - 1]) / 1_000
    np.testing.assert_array_equal(column(vectors, "device_seconds_since_last"), last)
    first = column(vectors, "device_seconds_since_first")
    assert (first >= (now - times[inside.first]) / 1_000).all()
    assert (first <= HOUR).all()


@pytest.mark.parametrize(("later", "held"), [(0, 300), (1, 292)])
def test_a_tile_counts_as_long_as_its_latest_order_is_inside_the_window(
    later: int, held: int
) -> None:
    events = hot_events(300, HOUR)
    orders = np.flatnonzero(events.kind == 0)
    time = START + 1_000 * np.arange(300)
    # One order more, an hour after the latest of the eight in the oldest tile.
    time = np.append(time, time[kernels.TILE_EVENTS - 1] + 1_000 * HOUR + later)
    rows = np.append(np.arange(300), 299)
    events = EventColumns(
        order_key=np.append(events.order_key[orders], np.uint64(5)),
        time=time,
        kind=np.zeros(301, np.int8),
        entity_key=events.entity_key[rows],
        quantity=events.quantity[rows],
        unit_price=events.unit_price[rows],
        order_values=np.zeros((301, 0)),
    )
    vectors = InMemoryState(FEATURES).apply(events)
    assert vectors[-1, FEATURES.names.index("device_orders_1h")] == held


def orders_of_a_device(times: np.ndarray, device: int, accounts: np.ndarray) -> EventColumns:
    n = len(times)
    keys = np.zeros((n, len(ENTITIES)), np.uint64)
    keys[:, ENTITIES.index("device")] = device
    keys[:, ENTITIES.index("account")] = accounts
    return EventColumns(
        order_key=(times - START + 1).astype(np.uint64) * np.uint64(256) + np.uint64(device),
        time=times,
        kind=np.zeros(n, np.int8),
        entity_key=keys,
        quantity=np.ones(n, np.int64),
        unit_price=np.ones(n, np.int64),
        order_values=np.zeros((n, 0)),
    )


def test_values_that_only_tiles_hold_are_counted_from_the_first_one_ever_met() -> None:
    at = np.arange(400)
    # Eight orders of the first account, which make the first tile, then fifty of each in turn;
    # keys differ in the bits that a sketch looks at.
    accounts = np.where(at < kernels.TILE_EVENTS, 0, at // 50 + 1)
    keys = (accounts + 1).astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    vectors = InMemoryState(FEATURES).apply(orders_of_a_device(START + at, 7, keys))
    got = vectors[:, FEATURES.names.index("device_accounts_1h")]
    np.testing.assert_array_equal(got[1:], accounts[:-1] + 1)


def test_room_of_runs_whose_orders_are_gone_is_used_again() -> None:
    # Every third time a new device has a run that is gone three times later; another keeps its
    # own, of which a part is gone each time.
    state, sizes = InMemoryState(FEATURES), []
    for turn in range(13):
        times = START + turn * (HORIZON_MS * 2 // 5) + np.arange(150)
        if turn % 3 == 0:
            state.apply(orders_of_a_device(times, 50 + turn, np.ones(150)))
        state.apply(orders_of_a_device(times[:30], 7, np.ones(30)))
        state.compact()
        sizes.append(state.nbytes)
    assert len(set(sizes[6::3])) == 1
