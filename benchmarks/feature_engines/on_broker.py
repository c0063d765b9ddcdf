"""Contenders that are workers of their own: from a topic of an embedded broker to another one.

The orders wait in a topic of one partition, so that nothing has to be sent on under another key:
that is in favour of engines that keep state by the key of a message. An order is done when all
its features are in the topic of answers; it may take several records.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from confluent_kafka import Producer

from benchmarks.feature_engines.contest import COMPARED, Contest, Row, Run
from preempt.embedded import Broker
from preempt.processes import ChildProcess
from preempt.traffic import end_offsets, read
from streams.broker import create_topics

SOURCE, ANSWERS = "orders", "features"
START_S = 90.0  # until the first answer
QUIET_S = 3.0  # without a further answer: the worker is through

Event = tuple[str, int, bytes]  # order id, event time in UTC ms, value


class Answer(msgspec.Struct):
    """Some features of an order, by name; null is a missing value."""

    order_id: str
    values: dict[str, float | None]


def run_worker(
    name: str,
    command: Sequence[str | Path],
    events: Iterable[Event],
    contest: Contest,
    environment: dict[str, str] | None = None,
) -> Run:
    """Run a worker on a backlog, and stop it when it is through, or its time is over.

    Args:
        name: of the contender.
        command: the worker's; the broker's address and a folder for its files are appended.
        events: the orders as the worker takes them.
        contest: the rules.
        environment: for the worker.
    """
    folder = contest.folder / name
    folder.mkdir()
    with Broker(folder / "broker") as broker:
        # The records carry event times, which are long past.
        create_topics(broker.bootstrap, {SOURCE: 1}, config={"retention.ms": "-1"})
        create_topics(
            broker.bootstrap, {ANSWERS: 1}, config={"message.timestamp.type": "LogAppendTime"}
        )
        _publish(broker.bootstrap, events)
        with ChildProcess(
            [*command, broker.bootstrap, str(folder)],
            log=folder / "worker.log",
            environment=environment,
            cwd=folder,
        ) as worker:
            _wait(broker.bootstrap, worker, contest.seconds)
        return _run_of(broker.bootstrap, contest)


def rows(contest: Contest) -> Iterable[Event]:
    """The orders as JSON objects."""
    return (
        (row["order_id"], row["time"], json.dumps(row, separators=(",", ":")).encode())
        for row in contest.rows
    )


def python_module(module: str) -> list[str]:
    """A command that runs a module of this project, wherever it is run."""
    return [sys.executable, "-m", module]


def project_on_path() -> dict[str, str]:
    """The environment in which a worker finds the modules of `benchmarks`."""
    root = str(Path(__file__).parents[2])
    return {"PYTHONPATH": os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))}


def _publish(bootstrap: str, events: Iterable[Event]) -> None:
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 20, "acks": "all"})
    for key, time_ms, value in events:
        while True:
            try:
                producer.produce(SOURCE, value, key, timestamp=time_ms)
                break
            except BufferError:
                producer.poll(0.1)
    if producer.flush(60):
        raise TimeoutError("the broker does not take the orders")


def _wait(bootstrap: str, worker: ChildProcess, seconds: float) -> None:
    """Wait until no further answer comes, or `seconds` from the first one."""
    started = latest = time.monotonic()
    first: float | None = None
    answered = 0
    while first is None or (latest - first < seconds and time.monotonic() - latest < QUIET_S):
        time.sleep(0.25)
        now, before = time.monotonic(), answered
        answered = sum(end_offsets(bootstrap, ANSWERS).values())
        if answered > before:
            first, latest = first or now, now
        if not worker.running:
            raise RuntimeError(f"the worker ended; its log ends: {worker.log_tail()}")
        if first is None and now - started > START_S:
            raise TimeoutError(f"the worker does not answer; its log ends: {worker.log_tail()}")


def _run_of(bootstrap: str, contest: Contest) -> Run:
    """What was answered, by the broker's time of each record."""
    decode = msgspec.json.Decoder(Answer).decode
    answered: dict[str, dict[str, float | None]] = {}
    wanted = _wanted(contest)
    names = contest.declared.names
    sizes = {row["order_id"]: wanted(row) for row in contest.rows}
    done, first, last = set[str](), 0, 0
    end = sum(end_offsets(bootstrap, ANSWERS).values())
    messages = filter(None, read(bootstrap, ANSWERS, idle_s=10))
    for message in islice(messages, end):
        appended = message.timestamp()[1]
        answer = decode(message.value() or b"")
        values = answered.setdefault(answer.order_id, {})
        values |= answer.values
        first = first or appended
        if len(values) >= sizes[answer.order_id]:
            done.add(answer.order_id)
            last = appended
    in_sequence = list(_while_done(contest.rows, done))
    table = [
        [_number(answered[row["order_id"]].get(name)) for name in names]
        for row in in_sequence[:COMPARED]
    ]
    return Run(len(done), max(last - first, 1) / 1000, np.array(table).reshape(-1, len(names)))


def _wanted(contest: Contest) -> Callable[[Row], int]:
    """How many features an order has: none of an entity that it lacks."""
    per_entity: dict[str, int] = {}
    for feature in contest.declared.features:
        entity = str(feature.entity)
        per_entity[entity] = per_entity.get(entity, 0) + 1
    return lambda row: sum(n for entity, n in per_entity.items() if row[entity] is not None)


def _while_done(rows: Sequence[Row], done: set[str]) -> Iterable[Row]:
    for row in rows:
        if row["order_id"] not in done:
            return
        yield row


def _number(value: Any) -> float:
    return float("nan") if value is None else float(value)
