"""Workers take up lists while orders flow."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis

from orders.events import Instant, Order
from preempt.clock import wall_clock
from preempt.embedded import Valkey
from preempt.live_stream import Publisher
from preempt.processes import ChildProcess
from preempt.traffic import end_offsets, publish, read
from serving.decisions import Decision, decision_decoder
from serving.list_entries import Entry, Why
from serving.list_store import ListStore
from streams.broker import create_topics
from streams.topics import TOPIC_CONFIG, Topics
from tests.streams.traffic_maker import plain_orders, sent

PICK_UP_S = 10.0
WHY = Why("ana", "seen twice")


@contextmanager
def worker(bootstrap: str, prefix: str, folder: Path, url: str | None) -> Iterator[ChildProcess]:
    command = [sys.executable, "-m", "preempt", "worker", "--model", "none", "--broker", bootstrap]
    command += ["--topic-prefix", prefix, "--data-dir", str(folder), "--name", "worker"]
    environment = {} if url is None else {"PREEMPT_REDIS_URL": url}
    with ChildProcess(command, log=folder / "worker.log", environment=environment) as child:
        yield child


def blocked(value: str, at: int) -> Entry:
    return Entry(entity="account", value=value, since=at, author="ana", comment="seen twice")


def tier_of(bootstrap: str, topics: Topics, order: Order) -> str:
    """Send an order, and wait for its decision."""
    start = end_offsets(bootstrap, topics.decisions)
    publish(bootstrap, list(sent([order], topics.orders)))
    for message in read(bootstrap, topics.decisions, idle_s=60, offsets=start):
        if message is None:
            continue
        decision = decision_decoder.decode(message.value() or b"")
        assert decision.order_id == order.order_id
        return decision.tier
    raise AssertionError("no decision")


def test_a_worker_takes_up_an_entry_within_ten_seconds_while_orders_flow(
    broker, valkey_url: str, topic_prefix: str, tmp_path: Path
) -> None:
    topics = Topics(topic_prefix)
    create_topics(broker.bootstrap, topics.partitions(4), config=TOPIC_CONFIG)
    begin = wall_clock()
    orders = [
        Order(
            order_id=f"o{n}", event_time=Instant(begin), account=f"a{n % 2}", quantity=1,
            unit_price=1, currency="CNY",
        )
        for n in range(2_000)
    ]  # fmt: skip
    publisher = Publisher(broker.bootstrap, list(sent(orders[1:], topics.orders)), rate=130)
    added = None
    decisions: list[Decision] = []
    with (
        redis.Redis.from_url(valkey_url) as client,
        worker(broker.bootstrap, topic_prefix, tmp_path, valkey_url) as child,
    ):
        store = ListStore(client, clock=wall_clock, prefix=topic_prefix)
        tier_of(broker.bootstrap, topics, orders[0])  # it is up: nothing comes as a backlog
        publisher.start()
        for message in read(broker.bootstrap, topics.decisions, idle_s=60):
            if message is None:
                continue
            decisions.append(decision_decoder.decode(message.value() or b""))
            if len(decisions) == 300:
                store.add("blocked", [blocked("A1", begin)], WHY)
                added = wall_clock()
            if len(decisions) == len(orders):
                break
        publisher.join()
        child.terminate()
        assert child.wait(30) == 0, child.log_tail()
    assert added is not None
    decisions.sort(key=lambda each: each.decided_time)
    assert {each.order_id for each in decisions} == {each.order_id for each in orders}
    before = [each for each in decisions if each.lists is None]
    after = [each for each in decisions if each.lists is not None]
    assert len({each.lists for each in after}) == 1
    assert max(each.decided_time for each in before) <= min(each.decided_time for each in after)
    assert after[0].decided_time - added <= PICK_UP_S * 1000
    accounts = {each.order_id: each.account for each in orders}
    assert {each.tier for each in before} == {"pass"}
    for decision in after:
        # The breaker may soften the tier; the match is there all the same.
        codes = [reason.code for reason in decision.reasons]
        assert codes == ["rule:blocked"] * (accounts[decision.order_id] == "a1")


def until_logged(log: Path, words: str) -> None:
    deadline = time.monotonic() + 60
    while words not in log.read_text():
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)


def until_decided(bootstrap: str, topics: Topics) -> None:
    assert any(message for message in read(bootstrap, topics.decisions, idle_s=60))


def test_without_redis_a_worker_warns_once_that_lists_are_empty(
    broker, topic_prefix: str, tmp_path: Path
) -> None:
    topics = Topics(topic_prefix)
    create_topics(broker.bootstrap, topics.partitions(1), config=TOPIC_CONFIG)
    publish(broker.bootstrap, list(sent(plain_orders(1), topics.orders)))
    with worker(broker.bootstrap, topic_prefix, tmp_path, None) as child:
        until_decided(broker.bootstrap, topics)
        child.terminate()
        assert child.wait(30) == 0, child.log_tail()
    log = (tmp_path / "worker.log").read_text()
    assert log.count("rules read the lists allowed, blocked, watched") == 1


def test_while_lists_cannot_be_read_the_old_ones_stay_and_one_warning_is_given(
    broker, topic_prefix: str, tmp_path: Path
) -> None:
    topics = Topics(topic_prefix)
    create_topics(broker.bootstrap, topics.partitions(1), config=TOPIC_CONFIG)
    now = wall_clock()
    log = tmp_path / "worker.log"
    with (
        Valkey(tmp_path / "valkey") as valkey,
        redis.Redis.from_url(valkey.url) as client,
    ):
        store = ListStore(client, clock=wall_clock, prefix=topic_prefix)
        store.add("blocked", [blocked("a", now)], WHY)
        heads = f"{topic_prefix}{{lists}}:heads"
        with worker(broker.bootstrap, topic_prefix, tmp_path, valkey.url) as child:
            orders = iter(
                Order(
                    order_id=f"o{n}", event_time=Instant(now + n), account=account, quantity=1,
                    unit_price=1, currency="CNY",
                )
                for n, account in enumerate("aabab")
            )  # fmt: skip

            def tier() -> str:
                return tier_of(broker.bootstrap, topics, next(orders))

            assert tier() == "freeze"
            client.rename(heads, f"{heads}-away")
            client.set(heads, "no hash")
            client.hincrby(f"{topic_prefix}{{lists}}:version", "n", 1)
            until_logged(log, "the lists read last stay in use")
            assert tier() == "freeze"
            assert tier() == "pass"
            client.rename(f"{heads}-away", heads)
            store.add("blocked", [blocked("b", now)], WHY)
            until_logged(log, "lists are read again")
            assert tier() == "freeze"
            assert tier() == "freeze"
            child.terminate()
            assert child.wait(30) == 0, child.log_tail()
    assert log.read_text().count("stay in use") == 1
