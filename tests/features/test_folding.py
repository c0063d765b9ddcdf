"""Hot timelines in the shared store: bounded, equal to those in memory, and safe to share."""

from collections.abc import Mapping

import numpy as np
import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from features import kernels
from features.columns import EventColumns
from features.feature_set import feature_set
from features.memory import InMemoryState
from features.redis_functions import Folded
from features.redis_state import RedisState
from features.state import StateUnavailableError
from features.timeline_layout import HEADER_BYTES
from tests.features.test_hot_keys import DAY, HOUR, column, hot_events, part
from tests.support.cutting_proxy import CuttingProxy

FEATURES = feature_set()


def parts(events: EventColumns, chunk: int) -> list[EventColumns]:
    return [
        part(events, start, min(start + chunk, len(events)))
        for start in range(0, len(events), chunk)
    ]


def hot_timeline(client: redis.Redis, prefix: str) -> bytes:
    """The one of the device."""
    keys = client.scan_iter(f"{prefix}*", count=10_000)
    [key] = [key for key in keys if key[-9:] == b"b" + (7_777).to_bytes(8, "little")]
    timeline = client.get(key)
    assert isinstance(timeline, bytes)
    return timeline


def tiles_of(timeline: bytes) -> int:
    """Bytes."""
    return int.from_bytes(timeline[4:8], "little")


@pytest.mark.parametrize(
    ("chunk", "n", "span"),
    [(1, 700, HOUR), (37, 1_500, 60 * DAY), (512, 3_000, DAY), (8_192, 9_000, 100 * DAY)],
)
def test_one_worker_alone_gets_the_vectors_of_memory(
    valkey_client, key_prefix, chunk: int, n: int, span: int
) -> None:
    events = hot_events(n, span)
    state, memory = RedisState(valkey_client, FEATURES, prefix=key_prefix), InMemoryState(FEATURES)
    for some in parts(events, chunk):
        np.testing.assert_array_equal(state.apply(some), memory.apply(some))
    assert tiles_of(hot_timeline(valkey_client, key_prefix)) > 0


def test_a_timeline_stays_short(valkey_client, key_prefix) -> None:
    state = RedisState(valkey_client, FEATURES, prefix=key_prefix)
    lengths = []
    for some in parts(hot_events(5_000, DAY), 512):
        state.apply(some)
        lengths.append(len(hot_timeline(valkey_client, key_prefix)))
    assert max(lengths) < 60_000  # without folding 5,000 records of 65 bytes, and the outcomes
    timeline = hot_timeline(valkey_client, key_prefix)
    records = len(timeline) - HEADER_BYTES - tiles_of(timeline)
    assert records <= 2 * kernels.EXACT * int(state._layout.width.max() + 17)


def test_workers_that_take_turns_on_one_value_lose_nothing(valkey_client, key_prefix) -> None:
    events = hot_events(3_000, HOUR)
    workers = [RedisState(valkey_client, FEATURES, prefix=key_prefix) for _ in range(2)]
    vectors = [workers[i % 2].apply(some) for i, some in enumerate(parts(events, 100))]
    got = column(np.concatenate(vectors), "device_orders_24h")
    exact = np.arange(3_000)
    assert (got >= exact).all()
    assert (got - exact <= exact / kernels.NEWER_PER_TILE).all()


def test_who_is_second_to_fold_leaves_it_to_the_next(
    valkey_client, key_prefix, monkeypatch
) -> None:
    events = parts(hot_events(2_000, HOUR), 100)
    second, first = (RedisState(valkey_client, FEATURES, prefix=key_prefix) for _ in range(2))
    turns = iter(range(0, len(events)))
    vectors = {}

    replace, raced = second._functions.replace, []

    def as_second(folded: Mapping[bytes, Folded]) -> None:
        number = next(turns, None)
        if number is not None:
            vectors[number] = first.apply(events[number])
            raced.append(number)
        replace(folded)

    monkeypatch.setattr(second._functions, "replace", as_second)
    for number in turns:
        vectors[number] = second.apply(events[number])
    assert raced
    got = column(np.concatenate([vectors[i] for i in sorted(vectors)]), "device_orders_24h")
    exact = np.arange(2_000)
    assert (got >= exact).all()
    assert (got - exact <= exact / kernels.NEWER_PER_TILE).all()


def test_what_a_worker_that_died_did_not_fold_the_next_one_folds(
    valkey_client, key_prefix, monkeypatch
) -> None:
    first, second = parts(hot_events(2_000, HOUR), 1_500)
    state, memory = RedisState(valkey_client, FEATURES, prefix=key_prefix), InMemoryState(FEATURES)

    def died(*_: object) -> None:
        raise StateUnavailableError("died")

    monkeypatch.setattr(state._functions, "replace", died)
    np.testing.assert_array_equal(state.apply(first), memory.apply(first))
    assert tiles_of(hot_timeline(valkey_client, key_prefix)) == 0
    other = RedisState(valkey_client, FEATURES, prefix=key_prefix)
    np.testing.assert_array_equal(other.apply(second), memory.apply(second))
    assert tiles_of(hot_timeline(valkey_client, key_prefix)) > 0


@pytest.mark.parametrize("is_folded_meanwhile", [False, True])
def test_a_call_made_again_stores_nothing_twice(
    valkey_url, valkey_client, key_prefix, is_folded_meanwhile: bool
) -> None:
    calls = parts(hot_events(2_400, HOUR), 300)
    port = int(valkey_url.rpartition(":")[2].partition("/")[0])
    other = RedisState(valkey_client, FEATURES, prefix=key_prefix)
    memory = InMemoryState(FEATURES)
    with (
        CuttingProxy(port) as proxy,
        redis.Redis(port=proxy.port, retry=Retry(NoBackoff(), 0)) as client,
    ):
        state = RedisState(client, FEATURES, prefix=key_prefix)
        for some in calls[:-1]:
            exact = memory.apply(some)
            proxy.lose_next_answer.set()
            with pytest.raises(StateUnavailableError):
                state.apply(some)
            if is_folded_meanwhile:
                other.apply(part(some, 0, 1))  # a repeat
            again = state.apply(some)
            more = column(again - exact, "device_orders_24h")
            # What is in tiles cannot be taken out again: an order of the call may count once more.
            # (Where nobody folds, only the sequence of folds differs.)
            most = len(some) if is_folded_meanwhile else 0
            estimate = column(exact, "device_orders_24h") / kernels.NEWER_PER_TILE
            assert (np.abs(more) <= most + estimate).all()
    got = column(other.apply(calls[-1]), "device_orders_24h")
    exact = np.arange(2_400)[-len(got) :]
    assert (got >= exact).all()
    assert (got - exact <= exact / kernels.NEWER_PER_TILE).all()
