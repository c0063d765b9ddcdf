from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import msgspec
import pytest
import redis
from redis.cluster import RedisCluster

from preempt.embedded import Valkey
from serving.decisions import Decision, decision_encoder
from serving.ledger import (
    DecisionLedger,
    InMemoryLedger,
    LedgerUnavailableError,
    RedisLedger,
)
from tests.support.valkey_cluster import ValkeyCluster


def decision(order_id: str, points: float = 40.0) -> Decision:
    return Decision(
        order_id=order_id,
        event_time=1_700_000_000_000,
        decided_time=1_700_000_000_050,
        features=[1.0, None, 0.1],
        feature_hash="abc",
        probability=0.25,
        rule_points=points,
        model_points=0.0,
        points=points,
        tier="pass",
        action="accept",
        reasons=[],
        fast_lane=False,
        model=None,
        rules="0123456789ab",
    )


@pytest.fixture
def client(valkey_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(valkey_url) as client:
        yield client


@pytest.fixture(scope="module")
def cluster_client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisCluster]:
    with ValkeyCluster(tmp_path_factory.mktemp("cluster")) as cluster:
        client = cluster.client()
        yield client
        client.close()


@pytest.fixture(params=["memory", "client", "cluster_client"])
def ledger(request: pytest.FixtureRequest) -> DecisionLedger:
    if request.param == "memory":
        return InMemoryLedger(capacity=100)
    return RedisLedger(request.getfixturevalue(request.param), ttl=60, prefix=f"{uuid4()}:")


def test_a_decision_is_recalled_as_it_was_recorded(ledger: DecisionLedger):
    ledger.record([decision("a"), decision("b", points=0.1 + 0.2)])
    recalled = ledger.recall(["b", "unknown", "a"])
    assert recalled == [decision("b", points=0.1 + 0.2), None, decision("a")]
    assert decision_encoder.encode(recalled[2]) == decision_encoder.encode(decision("a"))


def test_the_first_decision_on_an_order_stays(ledger: DecisionLedger):
    ledger.record([decision("a", points=1)])
    ledger.record([decision("a", points=2)])
    assert ledger.recall(["a"]) == [decision("a", points=1)]


def test_an_empty_chunk_is_fine(ledger: DecisionLedger):
    ledger.record([])
    assert ledger.recall([]) == []


def test_memory_keeps_no_more_than_its_capacity_and_forgets_the_oldest():
    ledger = InMemoryLedger(capacity=2)
    ledger.record([decision("a"), decision("b"), decision("c")])
    assert ledger.recall(["a", "b", "c"]) == [None, decision("b"), decision("c")]


def test_redis_keeps_the_wire_form_under_a_prefix_for_a_while(client: redis.Redis):
    RedisLedger(client, ttl=60, prefix="ledger-test:").record([decision("a")])
    assert client.get("ledger-test:decision:a") == decision_encoder.encode(decision("a"))
    assert 0 < msgspec.convert(client.ttl("ledger-test:decision:a"), int) <= 60


def test_a_redis_that_is_down_is_a_named_error(tmp_path: Path):
    with Valkey(tmp_path) as server:
        client = redis.Redis.from_url(server.url)
        ledger = RedisLedger(client, ttl=60)
        ledger.record([decision("a")])
    with client:
        with pytest.raises(LedgerUnavailableError, match="cannot recall decisions"):
            ledger.recall(["a"])
        with pytest.raises(LedgerUnavailableError, match="cannot record decisions"):
            ledger.record([decision("a")])
