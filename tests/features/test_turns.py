"""When a shared store took orders: numbers that all workers have in common."""

from collections.abc import Sequence
from urllib.parse import urlsplit

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from features.columns import EventColumns, event_columns_from_orders
from features.feature_set import feature_set
from features.memory import InMemoryState
from features.redis_state import RedisState
from features.state import FeatureState, StateUnavailableError
from orders.events import Instant, Order
from tests.support.cutting_proxy import CuttingProxy

FEATURE_SET = feature_set()


def orders(names: Sequence[object]) -> EventColumns:
    placed = [
        Order(
            order_id=f"order-{name}", event_time=Instant(1_740_000_000_000), account="a",
            quantity=1, unit_price=1, currency="CNY",
        )
        for name in names
    ]  # fmt: skip
    return event_columns_from_orders(placed, FEATURE_SET)


def turns(state: FeatureState) -> list[int]:
    assert state.turns is not None
    return state.turns.tolist()


def test_calls_of_all_workers_have_one_sequence(valkey_client, key_prefix) -> None:
    one, two = (RedisState(valkey_client, FEATURE_SET, prefix=key_prefix) for _ in "12")
    assert one.name == two.name
    assert one.was_empty
    assert two.was_empty
    one.apply(orders("ab"))
    two.apply(orders("cde"))
    assert turns(one) == [1, 1]
    assert turns(two) == [2, 2, 2]
    one.apply(orders(range(1_100)))  # more than the server takes at once
    assert turns(one) == sorted(turns(one))
    assert set(turns(one)) == {3, 4}
    two.apply(orders("af"))
    assert turns(two) == [0, 5]  # the other worker took the first of them
    assert not RedisState(valkey_client, FEATURE_SET, prefix=key_prefix).was_empty


def test_a_call_made_again_has_no_turn_that_is_known(valkey_url, key_prefix) -> None:
    once = Retry(NoBackoff(), 0)
    with (
        CuttingProxy(urlsplit(valkey_url).port or 0) as proxy,
        redis.Redis.from_url(f"redis://127.0.0.1:{proxy.port}", retry=once) as client,
    ):
        state = RedisState(client, FEATURE_SET, prefix=key_prefix)
        proxy.lose_next_answer.set()
        with pytest.raises(StateUnavailableError):
            state.apply(orders("ab"))
        state.apply(orders("ab"))
        assert turns(state) == [0, 0]
        state.apply(orders("c"))
        assert turns(state) == [3]


def test_a_state_of_one_process_has_none() -> None:
    state = InMemoryState(FEATURE_SET)
    state.apply(orders("a"))
    assert state.turns is None
