"""The chunked transport on a real broker: what goes in comes out, and commits say what is done.

Workers are processes of their own: this file, run as a program.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, TopicPartition

from orders.errors import UserError
from streams.broker import check_broker, create_topics
from streams.chunks import Batch, take_chunks
from streams.producer import BatchProducer, DeliveryError
from streams.worker import (
    ChunkedApp,
    assigned_partitions,
    chunk_topic,
    run_worker,
    transport_app,
)

PARTITIONS = 3
PATIENCE_S = 30


def work(
    bootstrap: str, group: str, source: str, target: str, behaviour: str, member: str = ""
) -> int:
    """Be a worker; each batch is told to stdout as one line of JSON."""
    try:
        return run_worker(echo_app(bootstrap, group, source, target, behaviour, member))
    except UserError as error:
        sys.stderr.write(f"preempt: {error}\n")
        return 1


def echo_app(
    bootstrap: str, group: str, source: str, target: str, behaviour: str, member: str
) -> ChunkedApp:
    app = transport_app(
        group, bootstrap, member=member or None, chunk_records=50, commit_interval=0.2
    )
    producer = BatchProducer(bootstrap)
    app.add_context(closing(producer))
    held_back: list[Batch] = []

    @app.agent(chunk_topic(app, source), name="echo")
    async def echo(stream: Any) -> None:
        async for batch in take_chunks(stream, max_records=150):
            if any(record.value == b"fail" for record in batch.records()):
                raise ValueError("asked to fail")
            for chunk in batch.chunks:
                for record in chunk:
                    producer.produce(
                        target,
                        record.value,
                        key=record.key,
                        partition=chunk.partition,
                        headers=record.headers,
                    )
            await producer.flush()
            if behaviour == "slow":
                await asyncio.sleep(0.05)
            if behaviour == "keep-first" and not held_back:
                held_back.append(batch)
            else:
                batch.ack()
            told = {
                "chunks": [[chunk.partition, len(chunk)] for chunk in batch.chunks],
                "generation": batch.generation,
                "assigned": sorted(tp.partition for tp in assigned_partitions(app)),
            }
            sys.stdout.write(json.dumps(told) + "\n")
            sys.stdout.flush()

    return app


Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a worker; whatever still runs at the end is killed."""
    started: list[subprocess.Popen[str]] = []

    def start_worker(*arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, __file__, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        )
        started.append(process)
        return process

    yield start_worker
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def topics(broker: Any, topic_prefix: str) -> tuple[str, str, str]:
    """Group, source and target; the topics exist."""
    source, target = f"{topic_prefix}in", f"{topic_prefix}out"
    create_topics(broker.bootstrap, {source: PARTITIONS, target: PARTITIONS})
    return f"{topic_prefix}group", source, target


def send(bootstrap: str, topic: str, values: list[bytes | None], **also: Any) -> None:
    """Produce values in turn over the partitions."""

    async def produce() -> None:
        producer = BatchProducer(bootstrap)
        for number, value in enumerate(values):
            producer.produce(topic, value, partition=number % PARTITIONS, **also)
        await producer.flush()
        producer.close()

    asyncio.run(produce())


def receive(bootstrap: str, topic: str, enough: Callable[[list[Any]], bool]) -> list[Any]:
    """Read a topic from its beginning until there is enough, or patience ends."""
    reader = Consumer({"bootstrap.servers": bootstrap, "group.id": "test-reader"})
    reader.assign([TopicPartition(topic, partition, 0) for partition in range(PARTITIONS)])
    messages: list[Any] = []
    until = time.monotonic() + PATIENCE_S
    while not enough(messages) and time.monotonic() < until:
        messages += reader.consume(1000, 0.2)
    reader.close()
    return messages


def committed(bootstrap: str, group: str, topic: str) -> list[int]:
    """The committed offset of each partition; negative where there is none."""
    reader = Consumer({"bootstrap.servers": bootstrap, "group.id": group})
    partitions = [TopicPartition(topic, partition) for partition in range(PARTITIONS)]
    offsets = [each.offset for each in reader.committed(partitions, timeout=10)]
    reader.close()
    return offsets


def numbered(count: int, start: int = 0) -> list[bytes | None]:
    return [b"%d" % number for number in range(start, start + count)]


def by_partition(messages: list[Any]) -> list[list[bytes | None]]:
    values: list[list[bytes | None]] = [[] for _ in range(PARTITIONS)]
    for message in messages:
        values[message.partition()].append(message.value())
    return values


def has(values: list[bytes | None]) -> Callable[[list[Any]], bool]:
    wanted = set(values)
    return lambda messages: wanted <= {message.value() for message in messages}


def stop(process: subprocess.Popen[str], with_signal: int = signal.SIGTERM) -> tuple[int, str, str]:
    process.send_signal(with_signal)
    out, err = process.communicate(timeout=PATIENCE_S)
    return process.returncode, out, err


def test_every_record_comes_out_once_in_order_and_a_stop_commits_exactly_that(
    broker: Any, topics: tuple[str, str, str], start: Start
) -> None:
    group, source, target = topics
    send(broker.bootstrap, source, numbered(3000))
    worker = start(broker.bootstrap, group, source, target, "echo")
    echoed = receive(broker.bootstrap, target, has(numbered(3000)))
    code, out, err = stop(worker)
    assert (code, err) == (0, "")
    for partition, values in enumerate(by_partition(echoed)):
        assert values == numbered(3000)[partition::PARTITIONS]
    assert committed(broker.bootstrap, group, source) == [1000] * PARTITIONS
    batches = [json.loads(line) for line in out.splitlines()]
    assert max(length for batch in batches for _, length in batch["chunks"]) == 50
    assert {tuple(batch["assigned"]) for batch in batches} == {tuple(range(PARTITIONS))}
    assert len({batch["generation"] for batch in batches}) == 1


@pytest.mark.parametrize("with_signal", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_finishes_and_commits_what_is_under_way_so_nothing_is_repeated(
    broker: Any, topics: tuple[str, str, str], start: Start, with_signal: int
) -> None:
    group, source, target = topics
    send(broker.bootstrap, source, numbered(3000))
    worker = start(broker.bootstrap, group, source, target, "slow")
    receive(broker.bootstrap, target, lambda messages: len(messages) > 300)
    assert stop(worker, with_signal)[0] == 0
    done = committed(broker.bootstrap, group, source)
    assert 300 < sum(done) < 3000
    worker = start(broker.bootstrap, group, source, target, "echo")
    echoed = receive(broker.bootstrap, target, has(numbered(3000)))
    assert Counter(message.value() for message in echoed) == Counter(numbered(3000))
    assert stop(worker)[0] == 0


def test_nothing_is_lost_when_the_worker_is_killed_in_the_middle(
    broker: Any, topics: tuple[str, str, str], start: Start
) -> None:
    group, source, target = topics
    send(broker.bootstrap, source, numbered(6000))
    worker = start(broker.bootstrap, group, source, target, "slow", "me")
    receive(broker.bootstrap, target, lambda messages: len(messages) > 1500)
    stop(worker, signal.SIGKILL)
    done = committed(broker.bootstrap, group, source)
    assert 0 < sum(done) < 6000
    worker = start(broker.bootstrap, group, source, target, "echo", "me")
    echoed = receive(broker.bootstrap, target, has(numbered(6000)))
    assert stop(worker)[0] == 0
    for partition, values in enumerate(by_partition(echoed)):
        sent = numbered(6000)[partition::PARTITIONS]
        times = Counter(values)
        assert times.keys() == set(sent)
        assert all(times[value] == 1 for value in sent[: done[partition]])
    assert committed(broker.bootstrap, group, source) == [2000] * PARTITIONS


def test_a_failing_agent_ends_the_worker_and_its_batch_is_not_committed(
    broker: Any, topics: tuple[str, str, str], start: Start
) -> None:
    group, source, target = topics
    send(broker.bootstrap, source, [*numbered(3), b"fail"])
    for attempt in range(2):  # the next worker meets the same record again
        worker = start(broker.bootstrap, group, source, target, "echo")
        _, err = worker.communicate(timeout=PATIENCE_S)
        assert worker.returncode == 1
        assert "worker stopped by ValueError: asked to fail" in err
        assert err.count("Traceback") == 1
        assert committed(broker.bootstrap, group, source)[0] <= 1, attempt


def test_a_commit_never_passes_a_chunk_that_was_not_acknowledged(
    broker: Any, topics: tuple[str, str, str], start: Start
) -> None:
    group, source, target = topics
    send(broker.bootstrap, source, numbered(3000))
    worker = start(broker.bootstrap, group, source, target, "keep-first")
    receive(broker.bootstrap, target, has(numbered(3000)))
    time.sleep(1)  # some commits
    _, out, _ = stop(worker, signal.SIGKILL)
    held_back = {partition for partition, _ in json.loads(out.splitlines()[0])["chunks"]}
    offsets = committed(broker.bootstrap, group, source)
    assert held_back
    for partition, offset in enumerate(offsets):
        assert (offset <= 0) if partition in held_back else (offset == 1000)


def test_bytes_of_any_kind_pass_as_they_are(
    broker: Any, topics: tuple[str, str, str], start: Start
) -> None:
    group, source, target = topics
    values = [b"\xff\xfe not text", b"", None, b"{", b"x" * 900_000]
    headers = [("trace", b"\x00\x01"), ("trace", b"twice")]
    send(broker.bootstrap, source, values, key=b"\xff key", headers=headers)
    send(broker.bootstrap, source, values)
    worker = start(broker.bootstrap, group, source, target, "echo")
    echoed = receive(broker.bootstrap, target, lambda messages: len(messages) >= 10)
    assert stop(worker)[0] == 0
    expected = [(value, b"\xff key", headers) for value in values]
    expected += [(value, None, None) for value in values]
    got = [(message.value(), message.key(), message.headers() or None) for message in echoed]
    assert sorted(got, key=repr) == sorted(expected, key=repr)


@pytest.mark.kafka  # the embedded broker does not settle a group of two
def test_nothing_is_lost_while_workers_come_and_go(
    kafka: Any, topic_prefix: str, start: Start
) -> None:
    group, source, target = (f"{topic_prefix}{name}" for name in ("group", "in", "out"))
    create_topics(kafka.bootstrap, {source: PARTITIONS, target: PARTITIONS})
    send(kafka.bootstrap, source, numbered(12_000))
    first = start(kafka.bootstrap, group, source, target, "slow")
    receive(kafka.bootstrap, target, lambda messages: len(messages) > 300)
    second = start(kafka.bootstrap, group, source, target, "slow")
    receive(kafka.bootstrap, target, has(numbered(12_000)))
    code, out, err = stop(first)
    assert (code, err) == (0, "")
    assignments = {tuple(json.loads(line)["assigned"]) for line in out.splitlines()}
    assert len(assignments) == 2  # all, then a part
    send(kafka.bootstrap, source, numbered(300, 12_000))
    receive(kafka.bootstrap, target, has(numbered(12_300)))
    code, out, err = stop(second)
    assert (code, err) == (0, "")
    assert committed(kafka.bootstrap, group, source) == [4100] * PARTITIONS
    generations = [json.loads(line)["generation"] for line in out.splitlines()]
    assert generations == sorted(generations)
    assert len(set(generations)) == 2


def test_a_wrong_address_is_one_line(topics: tuple[str, str, str], start: Start) -> None:
    group, source, target = topics
    for address, complaint in {
        "127.0.0.1:1": "no Kafka broker answers",
        "localhost": "is not host:port",
    }.items():
        worker = start(address, group, source, target, "echo")
        _, err = worker.communicate(timeout=PATIENCE_S)
        assert worker.returncode == 1
        assert err.count("\n") == 1, err
        assert complaint in err


def test_a_missing_topic_is_told_and_not_made(broker: Any, topic_prefix: str) -> None:
    async def ignore(stream: Any) -> None:
        pass

    app = transport_app(f"{topic_prefix}group", broker.bootstrap)
    app.agent(chunk_topic(app, f"{topic_prefix}absent"), name="a")(ignore)
    with pytest.raises(UserError, match=f"{topic_prefix}absent.*create"):
        run_worker(app)
    assert f"{topic_prefix}absent" not in check_broker(broker.bootstrap)


def test_creating_topics_again_changes_nothing(broker: Any, topic_prefix: str) -> None:
    for partitions in (2, 5):
        create_topics(broker.bootstrap, {f"{topic_prefix}a": partitions})
    assert check_broker(broker.bootstrap)[f"{topic_prefix}a"] == 2


def test_a_flush_that_cannot_deliver_says_so() -> None:
    async def produce() -> None:
        producer = BatchProducer("127.0.0.1:1", delivery_timeout=0.5)
        producer.produce("any", b"value")
        producer.produce("any", b"value")
        try:
            await producer.flush()
        finally:
            producer.close()

    with pytest.raises(DeliveryError, match="2 records were not delivered"):
        asyncio.run(produce())


if __name__ == "__main__":
    sys.exit(work(*sys.argv[1:]))
