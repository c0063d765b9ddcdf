"""The shared store over several servers."""

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from redis import Redis
from redis.backoff import NoBackoff
from redis.cluster import RedisCluster
from redis.retry import Retry

from features.memory import InMemoryState
from features.redis_state import RedisState
from features.state import StateLostError, StateUnavailableError
from orders.events import Instant, Order, Outcome
from tests.features.event_streams import FEATURE_SET, START, apply, columns, horizons, streams
from tests.features.test_hot_keys import FEATURES, HOUR, hot_events, one_more, part
from tests.support.valkey_cluster import ValkeyCluster


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyCluster]:
    with ValkeyCluster(tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def client(cluster: ValkeyCluster) -> Iterator[RedisCluster]:
    client = cluster.client(socket_timeout=0.5, retry=Retry(NoBackoff(), 0))
    yield client
    client.close()


def orders(count: int) -> list[Order]:
    return [
        Order(
            order_id=f"o{i}",
            event_time=Instant(START + i // 3),
            account=f"u{i % 11}",
            device=f"d{i % 7}",
            ip=f"10.0.{i % 3}.{i % 13}",
            sku="s",
            quantity=1,
            unit_price=i,
            currency="CNY",
        )
        for i in range(count)
    ]


def test_a_cluster_gives_what_memory_gives(client: RedisCluster, key_prefix: str) -> None:
    numbers = iter(range(1_000))

    @given(events=streams(far=True), horizon_ms=horizons)
    @settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    def equal(events: list[Order | Outcome], horizon_ms: int) -> None:
        prefix = f"{key_prefix}{next(numbers)}-"
        state = RedisState(client, FEATURE_SET, horizon_ms, prefix=prefix, long_bytes=64)
        memory = InMemoryState(FEATURE_SET, horizon_ms)
        np.testing.assert_array_equal(apply(state, events), apply(memory, events))
        assert state.unattributed == memory.unattributed

    equal()


def test_a_cluster_folds_hot_timelines_and_counts_no_repeat_again(
    client: RedisCluster, key_prefix: str
) -> None:
    events = hot_events(1_200, HOUR)
    state, memory = RedisState(client, FEATURES, prefix=key_prefix), InMemoryState(FEATURES)
    for start in range(0, len(events), 300):
        some = part(events, start, min(start + 300, len(events)))
        np.testing.assert_array_equal(state.apply(some), memory.apply(some))
    for start in (0, len(events) - 100):  # folded, and still exact
        some = part(events, start, start + 100)
        np.testing.assert_array_equal(state.apply(some), memory.apply(some))
    last = one_more(events, 5, START + HOUR)
    np.testing.assert_array_equal(state.apply(last), memory.apply(last))


def test_its_keys_are_on_every_node(cluster: ValkeyCluster, client, key_prefix: str) -> None:
    RedisState(client, FEATURE_SET, prefix=key_prefix).apply(columns(orders(100)))
    for node in client.get_primaries():
        assert client.scan(match=f"{key_prefix}*", count=10_000, target_nodes=node)[1]


def test_functions_that_one_node_lost_are_loaded_again(client, key_prefix: str) -> None:
    state = RedisState(client, FEATURE_SET, prefix=key_prefix)
    client.execute_command("FUNCTION FLUSH", target_nodes=client.get_primaries()[:1])
    np.testing.assert_array_equal(
        state.apply(columns(orders(50))),
        InMemoryState(FEATURE_SET).apply(columns(orders(50))),
    )


def _stopped_between(cluster: ValkeyCluster, state: RedisState, events: list[Order]) -> None:
    """Apply with one node that does not answer: some shards take the events, others do not."""
    with Redis.from_url(cluster.nodes[1].url) as node:
        node.client_pause(30_000, all=False)  # nothing that writes is answered
        with pytest.raises(StateUnavailableError):
            state.apply(columns(events))
        node.client_unpause()


def test_a_call_that_some_nodes_took_gives_the_same_when_made_again(
    cluster: ValkeyCluster, client: RedisCluster, key_prefix: str
) -> None:
    first, second = orders(80)[:40], orders(80)[40:]
    state, memory = RedisState(client, FEATURE_SET, prefix=key_prefix), InMemoryState(FEATURE_SET)
    np.testing.assert_array_equal(state.apply(columns(first)), memory.apply(columns(first)))
    _stopped_between(cluster, state, second)
    np.testing.assert_array_equal(state.apply(columns(second)), memory.apply(columns(second)))


def test_what_a_worker_that_died_in_the_middle_left_out_is_put_there_by_the_next(
    cluster: ValkeyCluster, client: RedisCluster, key_prefix: str
) -> None:
    first, second, third = orders(90)[:30], orders(90)[30:60], orders(90)[60:]
    state, memory = RedisState(client, FEATURE_SET, prefix=key_prefix), InMemoryState(FEATURE_SET)
    state.apply(columns(first))
    _stopped_between(cluster, state, second)
    state = RedisState(client, FEATURE_SET, prefix=key_prefix)
    state.apply(columns(second))
    memory.apply(columns(first + second))
    np.testing.assert_array_equal(state.apply(columns(third)), memory.apply(columns(third)))


def test_a_node_that_lost_its_part_is_an_error(client: RedisCluster, key_prefix: str) -> None:
    state = RedisState(client, FEATURE_SET, prefix=key_prefix)
    client.flushall(target_nodes=client.get_primaries()[2])
    with pytest.raises(StateLostError):
        state.apply(columns(orders(60)))
