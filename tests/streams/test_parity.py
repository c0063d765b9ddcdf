"""What was served is what a replay gives: through a real broker, real workers and Delta tables."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from confluent_kafka import Consumer, TopicPartition
from deltalake import DeltaTable, write_deltalake

from features.columns import event_columns_from_orders, event_columns_from_outcomes
from features.feature_set import feature_set
from features.memory import InMemoryState
from orders.events import Order, Outcome, encoder
from preempt.processes import ChildProcess
from preempt.traffic import Sent, end_offsets, publish
from streams.broker import create_topics, working_members
from streams.topics import TOPIC_CONFIG, Topics
from tests.streams.shop_day import Event, shop_day

PARTITIONS = 4
PATIENCE_S = 60.0


@dataclass
class Stream:
    """A scoring and an archiving worker, and what was sent to them."""

    bootstrap: str
    topics: Topics
    folder: Path
    state: Path | None = None
    orders: int = 0
    workers: dict[str, ChildProcess] = field(default_factory=dict)

    def start(self) -> "Stream":
        for role in ("score", "archive"):
            command = [sys.executable, "-m", "preempt", "worker", "--role", role, "--name", role]
            if role == "score":
                command += ["--model", "none"] + (["--state", str(self.state)] * bool(self.state))
            self.workers[role] = ChildProcess(
                command, log=self.folder / f"{role}.log", environment=self.environment()
            )
            self.workers[role].start()
        for group in (self.topics.score_group, self.topics.archive_group):
            self.until(lambda group=group: working_members(self.bootstrap, group) > 0)
        return self

    def environment(self) -> dict[str, str]:
        return {
            "PREEMPT_BROKER": self.bootstrap,
            "PREEMPT_TOPIC_PREFIX": self.topics.prefix,
            "PREEMPT_DATA_DIR": str(self.folder),
        }

    def send(self, events: Sequence[Event]) -> None:
        """Without waiting for the workers."""
        orders = sum(isinstance(event, Order) for event in events)
        self.orders += orders
        publish(self.bootstrap, [self._record(event) for event in events])

    def send_in_step(self, events: Sequence[Event]) -> None:
        """Order by order, and outcomes between two orders together, each when the last is done."""
        for is_order, run in groupby(events, lambda event: isinstance(event, Order)):
            for step in [[event] for event in run] if is_order else [list(run)]:
                self.send(step)
                self.wait(outcomes=not is_order)

    def wait(self, *, outcomes: bool = True) -> None:
        """Until every order is answered, and every outcome learnt."""
        decisions = self.topics.decisions
        self.until(lambda: sum(end_offsets(self.bootstrap, decisions).values()) >= self.orders)
        if outcomes:
            ends = end_offsets(self.bootstrap, self.topics.outcomes)
            self.until(lambda: self._committed(self.topics.outcomes) == ends)

    def until(self, done: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not done():
            dead = [c for c in self.workers.values() if not c.running]
            assert not dead, dead[0].log_tail()
            assert time.monotonic() < deadline
            time.sleep(0.005)

    def stop(self) -> None:
        """When every decision is archived."""
        table = str(self.folder / "archive" / "decisions")
        self.until(
            lambda: (
                DeltaTable.is_deltatable(table)
                and pl.scan_delta(table).select(pl.len()).collect().item() >= self.orders
            )
        )
        for child in self.workers.values():
            child.terminate()
            assert child.wait(30) == 0, child.log_tail()

    def parity(self, *options: str) -> "Result":
        command = [sys.executable, "-m", "preempt", "parity", "--json", *options]
        ran = subprocess.run(
            command, env=self.environment(), capture_output=True, text=True, check=False
        )
        return Result(ran.returncode, json.loads(ran.stdout or "null"), ran.stderr)

    def _record(self, event: Event) -> Sent:
        topic = self.topics.orders if isinstance(event, Order) else self.topics.outcomes
        return Sent(event.event_time, topic, event.order_id, encoder.encode(event))

    def _committed(self, topic: str) -> dict[int, int]:
        group = self.topics.score_group
        consumer = Consumer({"bootstrap.servers": self.bootstrap, "group.id": group})
        try:
            wanted = [TopicPartition(topic, partition) for partition in range(PARTITIONS)]
            found = consumer.committed(wanted, timeout=10)
            return {each.partition: max(each.offset, 0) for each in found}
        finally:
            consumer.close()


@dataclass
class Result:
    code: int
    found: Any
    said: str


@pytest.fixture
def stream(broker, topic_prefix: str, tmp_path: Path) -> Iterator[Stream]:
    topics = Topics(topic_prefix)
    create_topics(broker.bootstrap, topics.partitions(PARTITIONS), config=TOPIC_CONFIG)
    running = Stream(broker.bootstrap, topics, tmp_path)
    try:
        yield running
    finally:
        for child in running.workers.values():
            child.stop()


def test_a_stream_in_order_is_equal_in_every_value(stream: Stream) -> None:
    stream.start()
    stream.send_in_step(shop_day(60))
    stream.stop()
    result = stream.parity()
    assert result.code == 0, result.said
    assert result.found["orders"] == 60
    assert result.found["equal_share"] == 1
    assert result.found["worst"] == result.found["late_events"] == []
    assert result.found["unexplained"] == result.found["too_recent"] == 0


def test_what_comes_late_is_named_and_what_is_altered_is_found(stream: Stream) -> None:
    events = shop_day(60)
    orders = [event for event in events if isinstance(event, Order)]
    known = ("expired", "payment_failed", "delivered")
    outcomes = [e for e in events if isinstance(e, Outcome) and e.kind in known]
    late = [orders[20], orders[35], outcomes[2], outcomes[9]]
    repeated = [orders[3], outcomes[0]]
    punctual = [event for event in events if event not in late]
    then = punctual.index(orders[45])

    stream.start()
    stream.send_in_step(punctual[:then])
    stream.send_in_step([*repeated, *late, *punctual[then:], *repeated])
    stream.stop()

    found = stream.parity("--sample", "100").found
    assert found["orders"] == 60
    assert found["unexplained"] == found["unnamed"] == found["too_recent"] == 0
    assert found["differing"] == found["explained"] > 0
    assert found["equal_share"] < 1
    named = {(e["kind"], e["order_id"], e["event_time"]) for e in found["late_events"]}
    assert named == {
        (e.kind if isinstance(e, Outcome) else "order", e.order_id, e.event_time) for e in late
    }
    assert all(each["late_ms"] > 0 and each["certain"] for each in found["late_events"])

    table = str(stream.folder / "archive" / "decisions")
    decisions = pl.read_delta(table)
    victim = pl.col("order_id") == orders[30].order_id
    altered = decisions.with_columns(pl.col("f_account_orders_24h") + victim.cast(pl.Float64))
    write_deltalake(table, altered, mode="overwrite")
    result = stream.parity("--sample", "100")
    assert result.code == 1, result.said
    assert result.found["unexplained"] == 1
    assert result.found["orders_unexplained"] == [orders[30].order_id]
    assert result.found["worst"][0]["feature"] == "account_orders_24h"
    assert f"account_orders_24h of order {orders[30].order_id}" in result.said


def test_a_worker_with_a_past_that_was_killed_is_explained(stream: Stream, tmp_path: Path) -> None:
    events = shop_day(400)
    history, live = events[:300], events[300:]
    features = feature_set()
    state = InMemoryState(features)
    orders = [event for event in history if isinstance(event, Order)]
    state.apply(event_columns_from_orders(orders, features))
    outcomes = [event for event in history if isinstance(event, Outcome)]
    state.apply(event_columns_from_outcomes(outcomes))
    stream.state = tmp_path / "state.snapshot"
    state.save(stream.state)

    stream.start()
    stream.send(live[:150])  # orders race with outcomes: two topics
    stream.wait(outcomes=False)
    stream.workers["score"].kill()
    stream.send(live[150:400])
    stream.workers["score"].start()
    stream.wait()
    stream.send_in_step(live[400:])
    stream.stop()

    result = stream.parity("--sample", "1000")
    assert result.code == 0, result.said
    assert result.found["orders"] == stream.orders
    assert result.found["states"] == 2
    assert result.found["unexplained"] == result.found["too_recent"] == 0

    moved = stream.state.rename(tmp_path / "elsewhere")
    assert stream.parity("--state", str(moved)).found["orders"] > 0
    result = stream.parity()
    assert result.code == 1
    assert "began with snapshot" in result.said
    assert "--state" in result.said
