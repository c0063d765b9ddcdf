"""Entity values with more orders than are kept exact: estimates within their bounds, and flagged."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from features import kernels
from features.columns import EventColumns
from features.declare import ENTITIES, OUTCOME_CODES
from features.feature_set import feature_set
from features.memory import HORIZON_MS, InMemoryState
from features.redis_state import RedisState
from tests.features.conftest import NewState

FEATURES = feature_set()
START, MINUTE, HOUR, DAY = 1_740_000_000_000, 60_000, 3_600_000, 86_400_000
DEVICE, ACCOUNT, MERCHANT = (ENTITIES.index(name) for name in ("device", "account", "merchant"))


def hot_events(n: int, span: int, *, accounts: int = 400, seed: int = 1) -> EventColumns:
    """N orders of one device and one merchant in order of time; a third has expired a minute on."""
    draw = np.random.default_rng(seed)
    entity_key = np.zeros((n, len(ENTITIES)), np.uint64)
    entity_key[:, DEVICE] = 7_777
    entity_key[:, MERCHANT] = 9_999
    keys = draw.integers(1, 2**63, accounts, dtype=np.uint64)  # keys are hashes
    entity_key[:, ACCOUNT] = keys[draw.integers(0, accounts, n)]
    order_key = np.arange(1, n + 1, dtype=np.uint64) * np.uint64(0xC2B2AE3D27D4EB4F)
    placed = np.sort(draw.integers(START, START + span, n))
    expired = draw.random(n) < 1 / 3
    time = np.concatenate([placed[expired] + MINUTE, placed])
    kind = np.repeat(np.array([OUTCOME_CODES["expired"], 0], np.int8), [expired.sum(), n])
    sequence = np.argsort(time, kind="stable")
    return EventColumns(
        order_key=np.concatenate([order_key[expired], order_key])[sequence],
        time=time[sequence],
        kind=kind[sequence],
        entity_key=entity_key,
        quantity=draw.integers(1, 4, n),
        unit_price=draw.integers(1, 1_000, n),
        order_values=np.zeros((n, len(FEATURES.order_features))),
    )


def part(events: EventColumns, start: int, stop: int) -> EventColumns:
    is_order = events.kind == 0
    first, last = int(is_order[:start].sum()), int(is_order[:stop].sum())
    return EventColumns(
        events.order_key[start:stop],
        events.time[start:stop],
        events.kind[start:stop],
        *(
            array[first:last]
            for array in (
                events.entity_key,
                events.quantity,
                events.unit_price,
                events.order_values,
            )
        ),
    )


def one_more(events: EventColumns, order_key: int, time: int) -> EventColumns:
    """Another order with the entity values of the first."""
    row = int(np.flatnonzero(events.kind == 0)[0])
    one = part(events, row, row + 1)
    return replace(one, order_key=np.array([order_key], np.uint64), time=np.array([time]))


def column(vectors: np.ndarray, name: str) -> np.ndarray:
    return vectors[:, FEATURES.names.index(name)]


class Truth:
    """What the windows of the hot device really hold, order by order."""

    def __init__(self, events: EventColumns) -> None:
        placed = events.kind == 0
        self.time = events.time[placed]
        self.amount = events.quantity * events.unit_price
        self.account = events.entity_key[:, ACCOUNT]
        self.expired = np.sort(events.time[~placed])

    def counts(self, window: int) -> np.ndarray:
        n = np.arange(len(self.time))
        return n - np.minimum(np.searchsorted(self.time, self.time - window), n)

    def distinct(self, window: int) -> np.ndarray:
        first = np.searchsorted(self.time, self.time - window)
        return np.array(
            [len(np.unique(self.account[a:i])) for i, a in enumerate(first.tolist())], np.float64
        )

    def expired_counts(self, window: int) -> np.ndarray:
        upto = np.searchsorted(self.expired, self.time, side="right")
        return upto - np.searchsorted(self.expired, self.time - window)


@pytest.fixture(scope="module", params=["memory", "redis"])
def busy(request: pytest.FixtureRequest) -> tuple[Truth, np.ndarray]:
    events = hot_events(6_000, 2 * DAY)
    if request.param == "memory":
        state = InMemoryState(FEATURES)
    else:
        client = request.getfixturevalue("valkey_client")
        state = RedisState(client, FEATURES, prefix=f"busy-{os.getpid()}-")
    return Truth(events), state.apply(events)


@pytest.mark.parametrize(
    ("name", "window"), [("1m", MINUTE), ("5m", 5 * MINUTE), ("1h", HOUR), ("24h", DAY)]
)
def test_counts_are_never_too_small_and_a_sixteenth_too_large_at_most(busy, name, window) -> None:
    truth, vectors = busy
    got, exact = column(vectors, f"device_orders_{name}"), truth.counts(window)
    assert (got >= exact).all()
    assert (got - exact <= exact / kernels.NEWER_PER_TILE).all()


def test_counts_of_few_orders_stay_exact(busy) -> None:
    truth, vectors = busy
    exact = truth.counts(5 * MINUTE)
    assert exact.max() < kernels.EXACT
    np.testing.assert_array_equal(column(vectors, "device_orders_5m"), exact)


def test_outcomes_are_folded_like_orders(busy) -> None:
    truth, vectors = busy
    got, exact = column(vectors, "device_expired_24h"), truth.expired_counts(DAY)
    assert exact.max() > 2 * kernels.EXACT
    assert (got >= exact).all()
    assert (got - exact <= exact / kernels.NEWER_PER_TILE).all()


def test_a_rate_of_estimates_stays_near_the_true_rate(busy) -> None:
    truth, vectors = busy
    exact = (truth.expired_counts(7 * DAY) + 0.5) / (truth.counts(7 * DAY) + 10)
    got = column(vectors, "merchant_unpaid_rate_24h")
    assert np.abs(got[2_000:] - exact[2_000:]).max() < 0.05


def test_different_values_are_estimated_to_a_tenth_and_few_are_exact(busy) -> None:
    truth, vectors = busy
    got, exact = column(vectors, "device_accounts_24h"), truth.distinct(DAY)
    error = np.abs(got - exact) / np.maximum(exact, 1)
    assert np.sqrt((error**2).mean()) < 0.1
    few = hot_events(3_000, DAY, accounts=5)
    vectors = InMemoryState(FEATURES).apply(few)
    np.testing.assert_array_equal(column(vectors, "device_accounts_24h")[100:], 5)


def test_sums_and_largest_hold_at_least_what_the_window_holds(new_state: NewState) -> None:
    events = hot_events(4_000, 3 * DAY)
    events.entity_key[:, ACCOUNT] = 5  # one bulk buyer
    truth, vectors = Truth(events), new_state(FEATURES).apply(events)
    sums = np.concatenate([[0], np.cumsum(truth.amount)])
    first = np.searchsorted(truth.time, truth.time - DAY)
    exact = sums[:-1] - sums[np.minimum(first, np.arange(len(first)))]
    got = column(vectors, "account_amount_24h")
    assert (got >= exact).all()
    assert (got <= 1.1 * exact + 1).all()
    running = np.maximum.accumulate(truth.amount)
    np.testing.assert_array_equal(column(vectors, "account_amount_max_30d")[1:], running[:-1])
    np.testing.assert_array_equal(
        column(vectors, "account_seconds_since_first")[1:],
        (truth.time[1:] - truth.time[0]) / 1000,
    )
    np.testing.assert_array_equal(
        column(vectors, "account_seconds_since_last")[1:], np.diff(truth.time) / 1000
    )


def test_the_flag_tells_which_values_are_estimates(busy) -> None:
    truth, vectors = busy
    flag = column(vectors, "device_saturated")
    exact = column(vectors, "device_orders_24h") == truth.counts(DAY)
    assert flag[: 2 * kernels.EXACT].max() == 0
    assert flag[2 * kernels.EXACT + 1 :].min() == 1
    assert exact[flag == 0].all()
    assert column(vectors, "account_saturated").max() == 0


def test_it_is_no_longer_saturated_when_the_crowd_is_out_of_the_window(new_state: NewState) -> None:
    events = hot_events(1_000, HOUR)
    state = new_state(FEATURES)
    state.apply(events)
    vector = state.apply(one_more(events, 3, START + HOUR + 31 * DAY))
    assert column(vector, "device_saturated") == 0
    assert column(vector, "device_orders_24h") == 0


def test_a_late_order_behind_the_tiles_is_counted(new_state: NewState) -> None:
    events = hot_events(1_000, HOUR)
    state = new_state(FEATURES)
    state.apply(events)
    for i, time in enumerate((START + 1, START - MINUTE, START + HOUR // 2)):
        state.apply(one_more(events, 11 + i, time))
    vector = state.apply(one_more(events, 99, START + HOUR))
    assert column(vector, "device_orders_24h") == 1_003


@pytest.mark.parametrize("chunk", [1, 37, 500])
def test_chunks_and_snapshots_change_nothing(chunk: int, tmp_path: Path) -> None:
    events = hot_events(1_500, 60 * DAY if chunk == 37 else 2 * HOUR)
    whole = InMemoryState(FEATURES).apply(events)
    state, vectors = InMemoryState(FEATURES), []
    for number, start in enumerate(range(0, len(events), chunk)):
        vectors.append(state.apply(part(events, start, min(start + chunk, len(events)))))
        if number % 9 == 8 and chunk > 1:
            state.compact()
            state.save(tmp_path / "state")
            state, _ = InMemoryState.load(tmp_path / "state", FEATURES)
    np.testing.assert_array_equal(np.concatenate(vectors), whole)


def test_tiles_are_given_back_when_nobody_needs_them() -> None:
    state = InMemoryState(FEATURES)
    sizes = []
    for crowd in range(9):
        events = hot_events(2_000, HOUR, seed=crowd)
        keys = np.uint64(crowd + 1) * np.uint64(0x1_0000_0001)
        events.entity_key[:, DEVICE] += keys
        events.entity_key[:, MERCHANT] += keys
        events.order_key[:] ^= keys
        events.time[:] += crowd * 2 * HORIZON_MS
        state.apply(events)
        state.compact()
        sizes.append(state.nbytes)
    assert max(sizes[4:]) <= 1.01 * sizes[3]


@pytest.mark.parametrize("gone", [1, 127, 128, 129, 255])
def test_a_crowd_that_falls_behind_the_horizon_makes_room(gone: int) -> None:
    # Of 256 exact orders some are too old when the next one comes, at the edge of a block or not.
    old, young = hot_events(gone, HOUR, seed=2), hot_events(2 * kernels.EXACT - gone, HOUR, seed=3)
    young.order_key[:] ^= np.uint64(1 << 60)
    young.time[:] += HORIZON_MS - 5 * DAY
    state = InMemoryState(FEATURES)
    for events in (old, young):
        state.apply(events)
    for other in range(40):  # other values take blocks meanwhile
        crowd = hot_events(40, HOUR, seed=other)
        crowd.entity_key[:, DEVICE] += np.uint64(1 + other)
        crowd.entity_key[:, MERCHANT] += np.uint64(1 + other)
        crowd.order_key[:] ^= np.uint64((other + 2) << 50)
        crowd.time[:] += HORIZON_MS + HOUR
        state.apply(crowd)
    last = HORIZON_MS + START + 2 * HOUR
    assert column(state.apply(one_more(young, 5, last)), "device_orders_24h") == 0
    vector = state.apply(one_more(young, 6, last + 1000))
    assert column(vector, "device_orders_24h") == 1
    assert column(vector, "device_seconds_since_last") == 1


def test_a_late_order_never_counts_what_came_after_it() -> None:
    events = hot_events(2_000, DAY)
    truth = Truth(events)
    state = InMemoryState(FEATURES)
    state.apply(events)
    for number, at in enumerate(range(100, 2_000, 300)):
        vector = state.apply(one_more(events, 11 + number, int(truth.time[at])))
        got = column(vector, "device_orders_24h")
        assert got <= at + 1 + number


def test_what_tiles_do_not_tell_is_missing_and_not_zero() -> None:
    events = hot_events(1_000, DAY)
    events.entity_key[:, ACCOUNT] = 5  # a bulk buyer …
    events.entity_key[:, DEVICE] = 7
    events.entity_key[:500, DEVICE] = 6  # … who changed the device long ago
    state = InMemoryState(FEATURES)
    state.apply(events)
    back = one_more(events, 1, START + DAY)
    assert back.entity_key[0, DEVICE] == 6
    assert np.isnan(column(state.apply(back), "new_device_for_account"))
    assert column(state.apply(back), "account_saturated") == 1


def test_whether_a_stranger_is_known_at_a_hot_address_is_missing_and_not_no() -> None:
    events = hot_events(1_000, DAY)
    events.kind[events.kind != 0] = OUTCOME_CODES["completed"]
    events.entity_key[:, ENTITIES.index("address")] = 5
    state = InMemoryState(FEATURES)
    state.apply(events)
    stranger = one_more(events, 1, START + DAY + HOUR)
    assert column(state.apply(stranger), "known_gift_address") == 1
    for entity in (DEVICE, ACCOUNT):
        stranger.entity_key[0, entity] = 1
    assert np.isnan(
        column(
            state.apply(replace(stranger, order_key=stranger.order_key + np.uint64(1))),
            "known_gift_address",
        )
    )
