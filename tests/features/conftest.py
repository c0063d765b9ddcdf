"""The stores, each behind one way to make it, so that one suite holds for all."""

import itertools
import os
from collections.abc import Callable, Iterator

import pytest
import redis

from features.feature_set import FeatureSet
from features.memory import HORIZON_MS, InMemoryState
from features.redis_state import RedisState
from features.state import FeatureState

NewState = Callable[..., FeatureState]

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def valkey_client(valkey_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(valkey_url) as client:
        yield client


@pytest.fixture
def key_prefix() -> str:
    """Unique in the session."""
    return f"features-{os.getpid()}-{next(_numbers)}-"


@pytest.fixture(params=["memory", "redis"])
def new_state(request: pytest.FixtureRequest) -> NewState:
    """Makes a state that knows nothing, every time it is called."""
    if request.param == "memory":
        return InMemoryState
    client = request.getfixturevalue("valkey_client")

    def new(feature_set: FeatureSet, horizon_ms: int = HORIZON_MS) -> FeatureState:
        prefix = f"features-{os.getpid()}-{next(_numbers)}-"
        return RedisState(client, feature_set, horizon_ms, prefix=prefix, long_bytes=64)

    return new
