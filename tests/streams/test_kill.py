"""Every order gets exactly one decision, whatever happens to the worker."""

import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from confluent_kafka import Consumer, TopicPartition

from preempt.live_stream import Publisher
from preempt.processes import ChildProcess
from preempt.traffic import end_offsets, read
from serving.decisions import decision_decoder
from streams.broker import create_topics, working_members
from streams.topics import TOPIC_CONFIG, Topics
from tests.streams.traffic_maker import plain_orders, sent

PARTITIONS = 4
PATIENCE_S = 60.0


@contextmanager
def worker(
    bootstrap: str, prefix: str, folder: Path, name: str = "worker"
) -> Iterator[ChildProcess]:
    """A scoring worker that decides by rules alone."""
    command = [sys.executable, "-m", "preempt", "worker", "--model", "none", "--broker", bootstrap]
    command += ["--topic-prefix", prefix, "--data-dir", str(folder), "--name", name]
    with ChildProcess(command, log=folder / f"{name}.log") as child:
        yield child


def topics_of(bootstrap: str, prefix: str) -> Topics:
    topics = Topics(prefix)
    create_topics(bootstrap, topics.partitions(PARTITIONS), config=TOPIC_CONFIG)
    return topics


def committed(bootstrap: str, group: str, topic: str) -> dict[int, int]:
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": group})
    try:
        wanted = [TopicPartition(topic, partition) for partition in range(PARTITIONS)]
        return {each.partition: each.offset for each in consumer.committed(wanted, timeout=10)}
    finally:
        consumer.close()


def decided(bootstrap: str, topics: Topics, until: int) -> Counter[str]:
    """Order id → how many decisions, read from the beginning until `until` orders have one."""
    counts: Counter[str] = Counter()
    for message in read(bootstrap, topics.decisions, idle_s=PATIENCE_S):
        if message is not None:
            counts[decision_decoder.decode(message.value() or b"").order_id] += 1
        if len(counts) >= until:
            break
    return counts


def all_of(bootstrap: str, topics: Topics) -> Counter[str]:
    """As `decided`, of everything that is there now."""
    end = sum(end_offsets(bootstrap, topics.decisions).values())
    counts: Counter[str] = Counter()
    for message in read(bootstrap, topics.decisions, idle_s=PATIENCE_S):
        if message is not None:
            counts[decision_decoder.decode(message.value() or b"").order_id] += 1
        if counts.total() >= end:
            break
    return counts


def wait_for_members(bootstrap: str, group: str, count: int) -> None:
    """Until that many workers of the group hold partitions."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        if working_members(bootstrap, group) >= count:
            return
        time.sleep(0.1)
    raise TimeoutError(f"{group} has not {count} workers with partitions")


def assert_one_each(counts: Counter[str], orders: Sequence) -> None:
    assert set(counts) == {order.order_id for order in orders}
    assert set(counts.values()) == {1}


def test_a_worker_killed_in_the_middle_loses_nothing_and_decides_nothing_twice(
    broker, topic_prefix: str, tmp_path: Path
) -> None:
    topics = topics_of(broker.bootstrap, topic_prefix)
    orders = plain_orders(8_000)
    publisher = Publisher(broker.bootstrap, list(sent(orders, topics.orders)), rate=400)
    with worker(broker.bootstrap, topic_prefix, tmp_path) as child:
        publisher.start()
        for share in (0.1, 0.5):  # twice, the second time after a recovery
            decided(broker.bootstrap, topics, int(share * len(orders)))
            child.kill()
            child.start()
        decided(broker.bootstrap, topics, len(orders))
        publisher.join()
        assert child.running
        child.terminate()
        assert child.wait(30) == 0, child.log_tail()

    assert_one_each(all_of(broker.bootstrap, topics), orders)
    group = f"{topic_prefix}preempt-score"
    ends = end_offsets(broker.bootstrap, topics.orders)
    assert committed(broker.bootstrap, group, topics.orders) == ends


@pytest.mark.kafka
def test_when_one_of_two_workers_is_killed_the_other_takes_over(
    kafka, topic_prefix: str, tmp_path: Path
) -> None:
    topics = topics_of(kafka.bootstrap, topic_prefix)
    orders = plain_orders(6_000)
    publisher = Publisher(kafka.bootstrap, list(sent(orders, topics.orders)), rate=200)
    with (
        worker(kafka.bootstrap, topic_prefix, tmp_path, "one") as one,
        worker(kafka.bootstrap, topic_prefix, tmp_path, "two") as two,
    ):
        wait_for_members(kafka.bootstrap, topics.score_group, 2)
        publisher.start()
        decided(kafka.bootstrap, topics, len(orders) // 3)
        one.kill()
        decided(kafka.bootstrap, topics, len(orders))
        publisher.join()
        assert two.running
        two.terminate()
        assert two.wait(30) == 0, two.log_tail()

    assert_one_each(all_of(kafka.bootstrap, topics), orders)
