"""Chunked transport against per-message Faust: the same echo, the same broker, one run.

    python benchmarks/transport.py [--records 50000] [--per-message-records 10000] [--seconds 8]

Prints one JSON object. Drained: records that already lie in the topic, from the first record
written to the last. Latency: append of a record to append of its echo, by the broker's clock
(1 ms resolution), while a generator on the same cores sends single records at an even pace.
"""

import argparse
import asyncio
import json
import logging
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path

import numpy as np
from confluent_kafka import Consumer, Producer, TopicPartition

sys.path.insert(0, str(Path(__file__).parents[1]))

from streams.broker import check_broker, create_topics

PARTITIONS = 4
VALUE = b'{"schema":"order","version":1,"order_id":"%d","padding":"' + b"x" * 300 + b'"}'


@contextmanager
def broker() -> Iterator[str]:
    """An embedded broker on a free port with its data in a temporary folder."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        process = subprocess.Popen(
            [
                # the binary itself: the wheel's script would leave it behind when it is ended
                str(files("noida_db").joinpath("noida-db")),
                *("start", "--only", "kafka", "--kafka-port", str(port), "--data-dir", folder),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            check_broker(f"127.0.0.1:{port}", timeout=10)
            yield f"127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait()


@contextmanager
def worker(kind: str, bootstrap: str, source: str, target: str) -> Iterator[None]:
    """An echo worker in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        process = subprocess.Popen(
            [sys.executable, __file__, "--worker", kind, bootstrap, source, target], cwd=folder
        )
        try:
            yield
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(20)


def chunked_echo(bootstrap: str, source: str, target: str) -> int:
    """Echo as our agents work."""
    from streams.chunks import take_chunks
    from streams.producer import BatchProducer
    from streams.worker import chunk_topic, run_worker, transport_app

    app = transport_app(f"chunked-{source}", bootstrap)
    producer = BatchProducer(bootstrap)

    @app.agent(chunk_topic(app, source), name="echo")
    async def echo(stream) -> None:
        async for batch in take_chunks(stream):
            for record in batch.records():
                producer.produce(target, record.value, key=record.key)
            await producer.flush()
            batch.ack()

    return run_worker(app)


def per_message_echo(bootstrap: str, source: str, target: str) -> int:
    """Echo as Faust's documentation writes it."""
    import faust

    app = faust.App(
        f"per-message-{source}",
        broker=f"kafka://{bootstrap}",
        web_enabled=False,
        consumer_auto_offset_reset="earliest",
        topic_disable_leader=True,
    )
    incoming = app.topic(source, key_serializer="raw", value_serializer="raw")
    outgoing = app.topic(target, key_serializer="raw", value_serializer="raw")

    @app.agent(incoming)
    async def echo(stream) -> None:
        async for key, value in stream.items():
            await outgoing.send(key=key, value=value)

    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    faust.Worker(app, loop=loop, loglevel="ERROR", quiet=True).execute_from_commandline()


def produce(bootstrap: str, topic: str, count: int, rate: float | None = None) -> None:
    """Send `count` records: at once, or one after the other at `rate` a second."""
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 0 if rate else 20})
    start = time.monotonic()
    for number in range(count):
        if rate:
            while (early := start + number / rate - time.monotonic()) > 0:
                time.sleep(early)
        while True:
            try:
                producer.produce(topic, VALUE % number, b"%d" % number)
                break
            except BufferError:
                producer.poll(0.05)
        producer.poll(0)
    producer.flush()


def appended(bootstrap: str, topic: str, count: int, patience: float = 30) -> dict[int, int]:
    """Wait for `count` records; number of the record → time of its first append in ms."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "bench", "log_level": 0})
    consumer.assign([TopicPartition(topic, partition, 0) for partition in range(PARTITIONS)])
    times: dict[int, int] = {}
    last = time.monotonic()
    while len(times) < count and time.monotonic() - last < patience:
        for message in consumer.consume(10_000, 0.5):
            times.setdefault(int(message.key() or b""), message.timestamp()[1])
            last = time.monotonic()
    consumer.close()
    return times


def drained(bootstrap: str, kind: str, count: int) -> dict[str, float]:
    """Echo a backlog as fast as possible."""
    source, target = f"{kind}-drain", f"{kind}-drain-out"
    topics(bootstrap, source, target)
    produce(bootstrap, source, count)
    with worker(kind, bootstrap, source, target):
        times = appended(bootstrap, target, count)
    seconds = (max(times.values()) - min(times.values())) / 1000
    return {
        "records": count,
        "lost": count - len(times),
        "seconds": seconds,
        "records_per_s": round(len(times) / seconds),
    }


def latency(bootstrap: str, kind: str, rate: int, seconds: float) -> dict[str, float]:
    """Echo records that come at an even pace."""
    source, target = f"{kind}-{rate}", f"{kind}-{rate}-out"
    topics(bootstrap, source, target)
    warm = 200  # joining and first use are not what is measured
    count = round(rate * seconds) + warm
    with worker(kind, bootstrap, source, target):
        produce(bootstrap, source, warm, rate=200)
        appended(bootstrap, target, warm)
        produce(bootstrap, source, count, rate=rate)
        before, after = (appended(bootstrap, name, count) for name in (source, target))
    delays = np.array(
        [after[number] - before[number] for number in range(warm, count) if number in after]
    )
    return {
        "rate": rate,
        "records": len(delays),
        "lost": count - warm - len(delays),
        "p50_ms": float(np.percentile(delays, 50)),
        "p99_ms": float(np.percentile(delays, 99)),
        "max_ms": float(delays.max()),
    }


def topics(bootstrap: str, *names: str) -> None:
    """Create topics that carry the broker's append time."""
    create_topics(
        bootstrap,
        dict.fromkeys(names, PARTITIONS),
        config={"message.timestamp.type": "LogAppendTime"},
    )


def main() -> int:
    """Run the comparison, or be one of its workers."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--records", type=int, default=50_000)
    options.add_argument("--per-message-records", type=int, default=10_000)
    options.add_argument("--seconds", type=float, default=8)
    options.add_argument("--rates", type=int, nargs="*", default=[100, 1_000, 2_000])
    options.add_argument("--worker", nargs=4, help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.worker:
        kind, bootstrap, source, target = given.worker
        logging.basicConfig(level="ERROR")
        run = chunked_echo if kind == "chunked" else per_message_echo
        return run(bootstrap, source, target)
    with broker() as bootstrap:
        result = {
            "chunked": {
                "drained": drained(bootstrap, "chunked", given.records),
                "latency": [
                    latency(bootstrap, "chunked", rate, given.seconds) for rate in given.rates
                ],
            },
            "per_message": {
                "drained": drained(bootstrap, "per-message", given.per_message_records),
                "latency": [latency(bootstrap, "per-message", 100, given.seconds)],
            },
        }
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
