"""Workers whose feature state is in Redis: nothing is lost there, nothing counts twice."""

import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import redis

from features.columns import event_columns_from_orders
from features.feature_set import feature_set
from features.redis_state import RedisState
from orders.events import Instant, Order
from preempt.embedded import Valkey
from preempt.live_stream import Publisher
from preempt.processes import ChildProcess
from preempt.traffic import end_offsets, publish, read
from serving.decisions import decision_decoder
from streams.broker import create_topics
from streams.topics import TOPIC_CONFIG, Topics
from tests.streams.traffic_maker import plain_orders, sent

PATIENCE_S = 60.0


@contextmanager
def worker(bootstrap: str, prefix: str, folder: Path, url: str) -> Iterator[ChildProcess]:
    command = [sys.executable, "-m", "preempt", "worker", "--model", "none", "--broker", bootstrap]
    command += ["--topic-prefix", prefix, "--data-dir", str(folder), "--name", "worker"]
    environment = {"PREEMPT_REDIS_URL": url}
    with ChildProcess(
        [*command, "--store", "redis"], log=folder / "worker.log", environment=environment
    ) as child:
        yield child


def decided(bootstrap: str, topics: Topics, until: int) -> Counter[str]:
    """Order id → how many decisions, read until there are `until` of them."""
    counts: Counter[str] = Counter()
    for message in read(bootstrap, topics.decisions, idle_s=PATIENCE_S):
        if message is not None:
            counts[decision_decoder.decode(message.value() or b"").order_id] += 1
        if counts.total() >= until:
            break
    return counts


def assert_all_are_known(url: str, prefix: str, orders: Sequence[Order]) -> None:
    """Each account has as many orders in Redis as it placed."""
    features = feature_set()
    placed = Counter(order.account for order in orders)
    at = Instant(max(order.event_time for order in orders))
    probes = [
        Order(
            order_id=f"probe-{account}", event_time=at, account=account, quantity=1, unit_price=1,
            currency="CNY",
        )
        for account in placed
    ]  # fmt: skip
    with redis.Redis.from_url(url) as client:
        state = RedisState(client, features, prefix=f"{prefix}features:")
        vectors = state.apply(event_columns_from_orders(probes, features))
    column = features.names.index("account_orders_24h")
    assert vectors[:, column].astype(int).tolist() == list(placed.values())


def test_a_worker_killed_in_the_middle_finds_what_it_knew(
    broker, valkey_url: str, topic_prefix: str, tmp_path: Path
) -> None:
    topics = Topics(topic_prefix)
    create_topics(broker.bootstrap, topics.partitions(4), config=TOPIC_CONFIG)
    orders = plain_orders(4_000)
    publisher = Publisher(broker.bootstrap, list(sent(orders, topics.orders)), rate=250)
    with worker(broker.bootstrap, topic_prefix, tmp_path, valkey_url) as child:
        publisher.start()
        for share in (0.1, 0.5):
            decided(broker.bootstrap, topics, int(share * len(orders)))
            child.kill()
            child.start()
        decided(broker.bootstrap, topics, len(orders))
        publisher.join()
        child.terminate()
        child.wait(30)
    assert "absorbed" not in (tmp_path / "worker.log").read_text()
    counts = decided(
        broker.bootstrap, topics, sum(end_offsets(broker.bootstrap, topics.decisions).values())
    )
    assert counts == Counter(order.order_id for order in orders)
    assert_all_are_known(valkey_url, topic_prefix, orders)


def test_while_redis_is_full_the_worker_waits_and_then_goes_on(
    broker, topic_prefix: str, tmp_path: Path
) -> None:
    topics = Topics(topic_prefix)
    create_topics(broker.bootstrap, topics.partitions(4), config=TOPIC_CONFIG)
    orders = plain_orders(600)
    events = list(sent(orders, topics.orders))
    log = tmp_path / "worker.log"
    with (
        Valkey(tmp_path / "valkey") as valkey,
        redis.Redis.from_url(valkey.url) as client,
        worker(broker.bootstrap, topic_prefix, tmp_path, valkey.url) as child,
    ):
        publish(broker.bootstrap, events[:300])
        decided(broker.bootstrap, topics, 300)
        client.config_set("maxmemory", 1)
        publish(broker.bootstrap, events[300:])
        deadline = time.monotonic() + PATIENCE_S
        while "trying again" not in log.read_text():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        client.config_set("maxmemory", 0)
        counts = decided(broker.bootstrap, topics, len(orders))
        child.terminate()
        assert child.wait(30) == 0, child.log_tail()
        assert counts == Counter(order.order_id for order in orders)
        assert_all_are_known(valkey.url, topic_prefix, orders)


def test_a_worker_whose_state_is_gone_ends_and_says_what_to_do(
    broker, topic_prefix: str, tmp_path: Path
) -> None:
    topics = Topics(topic_prefix)
    create_topics(broker.bootstrap, topics.partitions(4), config=TOPIC_CONFIG)
    orders = plain_orders(2_000)
    publisher = Publisher(broker.bootstrap, list(sent(orders, topics.orders)), rate=100)
    with (
        Valkey(tmp_path / "valkey") as valkey,
        redis.Redis.from_url(valkey.url) as client,
        worker(broker.bootstrap, topic_prefix, tmp_path, valkey.url) as child,
    ):
        publisher.start()
        decided(broker.bootstrap, topics, 100)
        client.flushall()
        assert child.wait(30) == 1
        assert "preempt backfill --store redis" in child.log_tail()
        publisher.join()
