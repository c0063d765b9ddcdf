"""Lists in a Valkey, with keys of their own in each test."""

from collections.abc import Iterator
from uuid import uuid4

import pytest
import redis

from serving.list_store import ListStore
from tests.serving.stopped_clock import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def client(valkey_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(valkey_url) as client:
        yield client


@pytest.fixture
def prefix() -> str:
    return f"{uuid4()}-"


@pytest.fixture
def one_server(client: redis.Redis, clock: Clock, prefix: str) -> ListStore:
    return ListStore(client, clock=clock, prefix=prefix)
