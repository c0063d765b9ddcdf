"""Rules are switched while orders flow: nothing is lost, and no batch is decided by two versions."""

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import insert

from preempt.live_stream import Publisher, wait_until_assigned
from preempt.processes import ChildProcess
from preempt.traffic import end_offsets, read
from preempt.traffic import publish as send_all
from serving.alerts import Alert, alert_decoder
from serving.database import open_database
from serving.decisions import Decision, decision_decoder
from serving.policy import Policy, default_text
from serving.rule_store import RuleStore
from serving.rule_tables import RULE_EVENTS, RULE_SETS
from streams.broker import create_topics
from streams.topics import TOPIC_CONFIG, Topics
from tests.streams.traffic_maker import plain_orders, sent

PATIENCE_S = 180.0  # a worker that starts may have to compile first
PICKED_UP_MS = 10_000
RATE = 1_000
BROKEN = "0badbadbad00"


def wall_clock() -> int:
    return time.time_ns() // 1_000_000


@contextmanager
def worker(bootstrap: str, prefix: str, folder: Path, *options: str) -> Iterator[ChildProcess]:
    command = [sys.executable, "-m", "preempt", "worker", "--model", "none", "--broker", bootstrap]
    command += ["--topic-prefix", prefix, "--data-dir", str(folder), "--name", "worker", *options]
    with ChildProcess(command, log=folder / "worker.log") as child:
        yield child


def rules(points: int) -> str:
    return default_text().replace("points = 40", f"points = {points}", 1)


def publish(store: RuleStore, version: str) -> int:
    """Make it live by two people; when it was."""
    store.publish(version, by="ben", at=wall_clock())
    now = wall_clock()
    assert store.publish(version, by="cleo", at=now) is None
    return now


def publish_broken(store: RuleStore, url: str) -> None:
    """What no command of ours would do: a text that is no policy, made live in the database."""
    number, live, now = store.last_number(), store.history().live, wall_clock()
    event: dict[str, Any] = {"version": BROKEN, "by": "mallory", "at": now, "comment": ""}
    engine = open_database(url)
    with engine.begin() as connection:
        connection.execute(
            insert(RULE_SETS).values(
                version=BROKEN, content="[[rules", author="mallory", comment="", created_at=now
            )
        )
        connection.execute(
            insert(RULE_EVENTS).values(number=number + 1, kind="published", against=live, **event)
        )
    engine.dispose()


class Reader:
    """Decisions and alerts, as they come."""

    def __init__(self, bootstrap: str, topics: Topics) -> None:
        self._bootstrap = bootstrap
        self._topics = topics
        self._decisions = read(bootstrap, topics.decisions, idle_s=PATIENCE_S)
        self.decisions: list[Decision] = []

    def until(self, enough: Callable[[], bool]) -> None:
        """Read on until it is so; `enough` is asked after every decision, and in quiet seconds."""
        deadline = time.monotonic() + PATIENCE_S
        for message in self._decisions:
            if message is not None:
                self.decisions.append(decision_decoder.decode(message.value() or b""))
            if enough():
                return
            assert time.monotonic() < deadline
        raise AssertionError("no decision came any more")

    def by(self, version: str) -> Callable[[], bool]:
        """Whether the newest decision is by that version."""
        return lambda: bool(self.decisions) and self.decisions[-1].rules == version

    def alerts(self, count: int) -> list[Alert]:
        """The first alerts about rules."""
        found: list[Alert] = []
        for message in read(self._bootstrap, self._topics.alerts, idle_s=PATIENCE_S):
            if message is not None:
                alert = alert_decoder.decode(message.value() or b"")
                found += [alert] if alert.kind.startswith("rules_") else []
            if len(found) >= count:
                return found
        raise AssertionError(f"only {len(found)} alerts about rules came")


def test_rules_are_published_and_rolled_back_while_orders_flow(
    broker, topic_prefix: str, tmp_path: Path
) -> None:
    topics = Topics(topic_prefix)
    create_topics(broker.bootstrap, topics.partitions(4), config=TOPIC_CONFIG)
    url = f"sqlite:///{tmp_path}/preempt.db"
    store = RuleStore(open_database(url), default_text())
    shipped = Policy.default().version
    first, second = (store.draft(rules(n), by="ana", at=wall_clock())[0] for n in (41, 42))
    orders = plain_orders(100 * RATE)
    publisher = Publisher(broker.bootstrap, list(sent(orders, topics.orders)), rate=RATE)
    reader = Reader(broker.bootstrap, topics)
    since: dict[str, int] = {}

    with worker(broker.bootstrap, topic_prefix, tmp_path) as child:
        # No backlog: while one is drained a batch is large, and a switch waits for its end.
        wait_until_assigned(broker.bootstrap, topics.score_group, child)
        publisher.start()
        reader.until(reader.by(shipped))
        since[first] = publish(store, first)
        reader.until(reader.by(first))
        store.shadow(second, by="ana", at=wall_clock())
        reader.until(lambda: reader.decisions[-1].shadow is not None)
        since[second] = publish(store, second)
        reader.until(reader.by(second))
        publish_broken(store, url)
        refused = reader.alerts(3)[-1]
        before = len(reader.decisions)
        reader.until(lambda: len(reader.decisions) > before + RATE)
        assert {each.rules for each in reader.decisions[before:]} == {second}
        assert store.rollback(by="ana", at=wall_clock(), reason="broken") == second
        since[f"{first} again"] = wall_clock()
        assert store.rollback(by="ana", at=wall_clock(), reason="worse") == first
        switched = len(reader.decisions)
        reader.until(reader.by(first))
        publisher.stop()
        count = sum(end_offsets(broker.bootstrap, topics.orders).values())
        reader.until(lambda: len(reader.decisions) >= count)
        alerts = reader.alerts(4)
        child.terminate()
        assert child.wait(30) == 0, child.log_tail()

    decided = Counter(each.order_id for each in reader.decisions)
    assert len(decided) == count
    assert set(decided.values()) == {1}
    assert sum(end_offsets(broker.bootstrap, topics.decisions).values()) == count

    batches: dict[int, set[tuple[str, str | None]]] = {}
    for each in reader.decisions:
        assert each.as_of is not None
        shadow = None if each.shadow is None else each.shadow.rules
        batches.setdefault(each.as_of.batch, set()).add((each.rules, shadow))
    assert {len(versions) for versions in batches.values()} == {1}
    # In the sequence of the batches, each version came once, and the first one came back.
    sequence = [rules for batch in sorted(batches) for rules, _ in batches[batch]]
    assert [v for v, w in zip(sequence, [None, *sequence], strict=False) if v != w] == [
        shipped, first, second, first,
    ]  # fmt: skip
    assert (first, second) in set.union(*batches.values())

    for version, published_at in since.items():
        name, _, again = version.partition(" ")
        some = reader.decisions[switched:] if again else reader.decisions
        seen = min(each.decided_time for each in some if each.rules == name)
        assert 0 <= seen - published_at < PICKED_UP_MS
    assert [(each.kind, each.subject) for each in alerts] == [
        ("rules_switched", first),
        ("rules_switched", second),
        ("rules_refused", BROKEN),
        ("rules_switched", first),
    ]
    assert refused.subject == BROKEN
    assert "not valid TOML" in refused.text


def test_a_worker_that_starts_takes_what_is_live_but_its_own_file_where_it_has_one(
    broker, topic_prefix: str, tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path}/preempt.db"
    store = RuleStore(open_database(url), default_text())
    version = store.draft(rules(43), by="ana", at=wall_clock())[0]
    publish(store, version)
    publish_broken(store, url)  # a worker that starts has what those have that saw it come
    own = tmp_path / "own.toml"
    own.write_text(rules(44))
    topics = Topics(topic_prefix)
    create_topics(broker.bootstrap, topics.partitions(4), config=TOPIC_CONFIG)
    reader = Reader(broker.bootstrap, topics)
    events = list(sent(plain_orders(200), topics.orders))
    for n, (options, expected) in enumerate(
        [([], version), (["--rules", str(own)], Policy.load(own).version)]
    ):
        with worker(broker.bootstrap, topic_prefix, tmp_path, *options) as child:
            send_all(broker.bootstrap, events[100 * n : 100 * n + 100])
            reader.until(lambda n=n: len(reader.decisions) >= 100 * (n + 1))
            refusals = reader.alerts(1)  # by the first worker, within a second of its start
            child.terminate()
            assert child.wait(30) == 0, child.log_tail()
        assert {each.rules for each in reader.decisions[100 * n :]} == {expected}
        assert [(each.kind, each.subject) for each in refusals] == [("rules_refused", BROKEN)]
