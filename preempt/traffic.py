"""Put events into the log at a chosen speed, and read decisions back.

This is what a shop's gateway does, for the demo, the benchmarks and the tests.
"""

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import polars as pl
from confluent_kafka import Consumer, KafkaException, Message, Producer, TopicPartition

from orders.events import encoder
from orders.tables import orders_from_frame, outcomes_from_frame


@dataclass(frozen=True, slots=True)
class Sent:
    """An event on its way into the log."""

    event_time: int  # UTC ms
    topic: str
    key: str
    value: bytes


def events_of(
    orders: pl.DataFrame,
    outcomes: pl.DataFrame | None,
    *,
    orders_topic: str,
    outcomes_topic: str,
) -> list[Sent]:
    """Encoded orders, and outcomes if there are any, by event time."""
    events = [
        Sent(order.event_time, orders_topic, order.order_id, encoder.encode(order))
        for order in orders_from_frame(orders)
    ]
    if outcomes is not None:
        events += [
            Sent(outcome.event_time, outcomes_topic, outcome.order_id, encoder.encode(outcome))
            for outcome in outcomes_from_frame(outcomes)
        ]
    events.sort(key=lambda event: event.event_time)
    return events


def publish(
    bootstrap: str,
    events: Iterable[Sent],
    *,
    speed: float | None = None,
    rate: float | None = None,
    on_sent: Callable[[Sent], None] | None = None,
    stop: threading.Event | None = None,
) -> int:
    """Send events, keyed by order id, and wait until the broker has them all.

    Args:
        bootstrap: host:port of the broker.
        events: by event time.
        speed: how many seconds of event time pass in one second; None: no pacing by event time.
        rate: events a second instead; with both None everything is sent at once.
        on_sent: called for each event after it was handed to the producer.
        stop: when set, no further event is sent.

    Returns:
        How many were sent and acknowledged.

    Raises:
        confluent_kafka.KafkaException: the broker refused one.
    """
    failures: list[object] = []

    def delivered(error: object, _message: Message) -> None:
        if error is not None:
            failures.append(error)

    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "linger.ms": 2,
            "compression.type": "lz4",
            "partitioner": "murmur2_random",  # what Java producers do with a key
            "queue.buffering.max.messages": 1_000_000,
        }
    )
    started = time.monotonic()
    first_time: int | None = None
    sent = 0
    for event in events:
        if stop is not None and stop.is_set():
            break
        if first_time is None:
            first_time = event.event_time
        due = started
        if speed is not None:
            due += (event.event_time - first_time) / 1000 / speed
        elif rate is not None:
            due += sent / rate
        while (wait := due - time.monotonic()) > 0:
            producer.poll(min(wait, 0.05))
            if stop is not None and stop.is_set():
                break
        if stop is not None and stop.is_set():
            break
        while True:
            try:
                producer.produce(event.topic, event.value, event.key, on_delivery=delivered)
                break
            except BufferError:
                producer.poll(0.1)
        sent += 1
        if sent % 100 == 0:
            producer.poll(0)
        if on_sent is not None:
            on_sent(event)
    halted = stop is not None and stop.is_set()
    remaining = producer.flush(1 if halted else 60)
    if halted:
        return sent
    if failures:
        raise KafkaException(failures[0])
    if remaining:
        raise KafkaException(f"{remaining} events were not acknowledged within 60 s")
    return sent


def end_offsets(bootstrap: str, topic: str) -> dict[int, int]:
    """Per partition, the offset that the next record will get."""
    consumer = _plain_consumer(bootstrap)
    try:
        partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
        return {
            p: consumer.get_watermark_offsets(TopicPartition(topic, p), timeout=10)[1]
            for p in partitions
        }
    finally:
        consumer.close()


def read(
    bootstrap: str,
    topic: str,
    *,
    idle_s: float,
    offsets: dict[int, int] | None = None,
    stop: threading.Event | None = None,
) -> Iterator[Message | None]:
    """Records of every partition of a topic, as they come; None about once a second of quiet.

    Ends when nothing came for `idle_s` seconds, or soon after `stop` is set.

    Args:
        bootstrap: host:port of the broker.
        topic: all its partitions are read.
        idle_s: seconds of silence after which to end.
        offsets: where to begin in each partition; by default at the beginning.
        stop: set by another thread to end early.
    """
    consumer = _plain_consumer(bootstrap)
    try:
        partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
        consumer.assign([TopicPartition(topic, p, (offsets or {}).get(p, 0)) for p in partitions])
        last = time.monotonic()
        while time.monotonic() - last < idle_s and not (stop is not None and stop.is_set()):
            messages = consumer.consume(500, timeout=0.1)
            for message in messages:
                if (error := message.error()) is not None:
                    raise KafkaException(error)
                yield message
            if messages:
                last = time.monotonic()
            else:
                yield None
    finally:
        consumer.close()


def _plain_consumer(bootstrap: str) -> Consumer:
    """A consumer outside every group: it commits nothing and takes part in no rebalance."""
    return Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "preempt-reader",
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "fetch.wait.max.ms": 50,
        }
    )
