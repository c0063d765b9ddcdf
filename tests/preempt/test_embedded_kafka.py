"""The Apache Kafka that tests marked `kafka` get does what the embedded broker does not."""

import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
from confluent_kafka import Consumer, Message, Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

if TYPE_CHECKING:
    from tests.support.apache_kafka import ApacheKafka

pytestmark = pytest.mark.kafka

# Joins a group and says how many partitions it was given, each time that changes.
MEMBER = """
import sys
from confluent_kafka import Consumer
consumer = Consumer({"bootstrap.servers": sys.argv[1], "group.id": sys.argv[3], "log_level": 0,
                     "session.timeout.ms": 1500, "heartbeat.interval.ms": 300,
                     "auto.offset.reset": "earliest"})
consumer.subscribe([sys.argv[2]], on_assign=lambda _, given: print(len(given), flush=True))
while True:
    consumer.poll(0.1)
"""


def create_topic(bootstrap: str, name: str, partitions: int) -> None:
    admin = AdminClient({"bootstrap.servers": bootstrap})
    config = {"message.timestamp.type": "LogAppendTime"}
    wanted = NewTopic(name, partitions, 1, config=config)
    for created in admin.create_topics([wanted]).values():
        created.result(10)


def group_member(bootstrap: str, topic: str, group: str) -> Consumer:
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": group,
            "session.timeout.ms": 1500,
            "heartbeat.interval.ms": 300,
            "auto.offset.reset": "earliest",
        }
    )
    consumer.subscribe([topic])
    return consumer


def poll_until(consumer: Consumer, enough, timeout: float = 30.0) -> list[Message]:
    messages: list[Message] = []
    deadline = time.monotonic() + timeout
    while not enough(messages):
        assert time.monotonic() < deadline, f"{len(messages)} messages, {consumer.assignment()}"
        message = consumer.poll(0.1)
        if message is not None and message.error() is None:
            messages.append(message)
    return messages


def test_what_is_produced_is_consumed_with_the_brokers_own_time(
    kafka: "ApacheKafka", topic_prefix: str
):
    topic = topic_prefix + "round-trip"
    create_topic(kafka.bootstrap, topic, 2)
    producer = Producer({"bootstrap.servers": kafka.bootstrap})
    for number in range(20):
        producer.produce(topic, str(number), key=str(number), timestamp=1)
    assert producer.flush(10) == 0
    consumer = group_member(kafka.bootstrap, topic, topic_prefix)
    messages = poll_until(consumer, lambda messages: len(messages) == 20)
    consumer.close()
    assert sorted(int(message.value() or b"") for message in messages) == list(range(20))
    assert all(message.timestamp()[1] > 1_000_000 for message in messages)


def test_a_group_member_that_is_killed_is_evicted_and_the_other_takes_over(
    kafka: "ApacheKafka", topic_prefix: str
):
    topic = topic_prefix + "take-over"
    create_topic(kafka.bootstrap, topic, 4)
    member = [sys.executable, "-c", MEMBER, kafka.bootstrap, topic, topic_prefix]
    other = subprocess.Popen(member, stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout is not None
        assert other.stdout.readline() == "4\n"
        survivor = group_member(kafka.bootstrap, topic, topic_prefix)
        poll_until(survivor, lambda _: len(survivor.assignment()) == 2)
        os.kill(other.pid, signal.SIGKILL)
        poll_until(survivor, lambda _: len(survivor.assignment()) == 4)
        survivor.close()
    finally:
        other.kill()
        other.communicate()
