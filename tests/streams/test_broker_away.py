"""A broker that goes away: the worker says so, waits, and can be stopped meanwhile."""

import os
import re
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from preempt.embedded import Broker
from preempt.live_stream import Publisher
from preempt.processes import ChildProcess
from streams.broker import create_topics, working_members
from streams.topics import TOPIC_CONFIG, Topics
from tests.streams.traffic_maker import plain_orders, sent

TOPICS = Topics()
UNDER_LOAD_S = 30.0


@pytest.fixture
def own_broker(tmp_path: Path) -> Iterator[Broker]:
    """A broker that no other test uses."""
    with Broker(tmp_path / "broker") as server:
        create_topics(server.bootstrap, TOPICS.partitions(2), config=TOPIC_CONFIG)
        yield server


@pytest.fixture
def worker(own_broker: Broker, tmp_path: Path) -> Iterator[ChildProcess]:
    """A worker that has its partitions, and has decided some orders."""
    command = [sys.executable, "-m", "preempt", "worker", "--model", "none"]
    command += ["--broker", own_broker.bootstrap, "--name", "w", "--data-dir", str(tmp_path)]
    with ChildProcess(command, log=tmp_path / "worker.log") as child:
        deadline = time.monotonic() + UNDER_LOAD_S
        while not working_members(own_broker.bootstrap, TOPICS.score_group):
            assert time.monotonic() < deadline, child.log_tail()
            time.sleep(0.1)
        publisher = Publisher(own_broker.bootstrap, list(sent(plain_orders(200), TOPICS.orders)))
        publisher.start()
        publisher.join()
        yield child


def said(child: ChildProcess, pattern: str, *, within_s: float = UNDER_LOAD_S) -> float:
    """Seconds until the log has the pattern."""
    began = time.monotonic()
    while not re.search(pattern, child.log.read_text()):
        assert time.monotonic() - began < within_s, child.log_tail()
        time.sleep(0.02)
    return time.monotonic() - began


def test_a_silent_broker_is_told_soon_and_once_and_so_is_its_return(
    own_broker: Broker, worker: ChildProcess
) -> None:
    os.kill(own_broker.pid, signal.SIGSTOP)
    said(worker, f"no answer from the broker at {own_broker.bootstrap} for . s; waiting up to 20 s")
    time.sleep(3)
    os.kill(own_broker.pid, signal.SIGCONT)
    said(worker, f"the broker at {own_broker.bootstrap} answers again")
    worker.terminate()
    assert worker.wait(UNDER_LOAD_S) == 0, worker.log_tail()
    lines = worker.log.read_text().splitlines()
    warnings = [line for line in lines if " WARNING streams." in line]
    assert len(warnings) == 2, warnings


@pytest.mark.parametrize("told_first", [True, False])
def test_a_stop_while_the_broker_is_away_is_prompt_and_one_line(
    own_broker: Broker, worker: ChildProcess, told_first: bool
) -> None:
    own_broker.kill()
    if told_first:
        said(worker, "no answer from the broker")
    began = time.monotonic()
    os.kill(worker.pid, signal.SIGINT if told_first else signal.SIGTERM)
    assert worker.wait(UNDER_LOAD_S) == 1
    assert time.monotonic() - began < 7.5  # a stop that hangs is given 8 s
    log = worker.log.read_text()
    assert "Traceback" not in log
    errors = [line for line in log.splitlines() if " ERROR " in line]
    assert len(errors) == 1, errors
    assert "what was not committed will be delivered again" in errors[0]
