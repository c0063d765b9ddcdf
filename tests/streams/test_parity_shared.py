"""Workers on one state in Redis: parity explains every difference, and finds what is altered."""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl
import pytest
import redis
from deltalake import write_deltalake
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from features.columns import event_columns_from_orders
from features.memory import InMemoryState
from features.redis_state import RedisState
from orders.decision_table import feature_column
from orders.events import Order
from serving.ledger import InMemoryLedger
from tests.streams.parity_line import DAY, FEATURES, TOPICS, Logs, SharedWorker

NewState = Callable[[], RedisState]
BOTH = (TOPICS.outcomes, TOPICS.orders)


@pytest.fixture
def new_states(valkey_url: str, topic_prefix: str) -> Iterator[Callable[[], NewState]]:
    """Makes shared states, and each of these makes connections to one."""
    numbers = itertools.count()
    with redis.Redis.from_url(valkey_url) as client:

        def new_state() -> NewState:
            prefix = f"{topic_prefix}{next(numbers)}-"
            return lambda: RedisState(client, FEATURES, prefix=prefix)

        yield new_state


class Team(Logs):
    """Workers that share a state, a ledger and the partitions.

    Args:
        folder: of the archive.
        connect: to the state.
        size: how many workers there are.
    """

    def __init__(self, folder: Path, connect: NewState, size: int = 2) -> None:
        super().__init__(folder, partitions=4, tick_ms=400)
        self._connect = connect
        self._ledger = InMemoryLedger(1_000)
        self._taken: dict[tuple[str, int], int] = {}
        self._names = itertools.count()
        self.workers: list[SharedWorker] = []
        for _ in range(size):
            self.hire()

    def hire(self) -> None:
        """One worker more; the partitions are shared out anew."""
        name = f"process{next(self._names)}"
        worker = SharedWorker(self, self._connect(), self._ledger, self._taken, name)
        self.workers.append(worker)
        self._share_out()

    def lose(self, which: int, topic: str, most: int) -> None:
        """A worker dies with a batch in its hands, and another comes in its place."""
        self.workers.pop(which).take(topic, most, then_die=True)
        self.hire()

    def drain(self) -> None:
        """Until all is decided and learnt."""
        while sum(worker.take(topic, 5) for worker in self.workers for topic in BOTH):
            pass

    def _share_out(self) -> None:
        for i, worker in enumerate(self.workers):
            worker.assign(range(i, self.partitions, len(self.workers)))


def test_in_order_every_value_is_equal(tmp_path: Path, new_states) -> None:
    team = Team(tmp_path, new_states())
    for event in DAY:
        team.append([event])
        team.drain()
    team.archive()
    found = team.parity()
    assert found.equal_share == 1
    assert found.orders == 60
    assert found.states == 2
    assert found.untraced == found.unexplained == 0


def test_an_altered_value_is_found(tmp_path: Path, new_states) -> None:
    team = Team(tmp_path, new_states())
    for event in DAY:
        team.append([event])
        team.drain()
    team.archive()
    table = str(tmp_path / "decisions")
    decisions = pl.read_delta(table)
    column, victim = feature_column("merchant_orders_5m"), len(decisions) // 2
    altered = decisions[column].to_list()
    altered[victim] += 1
    write_deltalake(table, decisions.with_columns(pl.Series(column, altered)), mode="overwrite")
    found = team.parity()
    assert found.unexplained == 1
    assert found.orders_unexplained == [decisions["order_id"][victim]]


@given(st.data())
@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_whatever_overlaps_or_dies_every_difference_is_explained(
    new_states, data: st.DataObject
) -> None:
    delays = data.draw(st.lists(st.sampled_from([0] * 12 + [1, 3, 20]), min_size=len(DAY), max_size=len(DAY)))  # fmt: skip
    events = [DAY[i] for i in sorted(range(len(DAY)), key=lambda i: i + delays[i])]
    size = data.draw(st.integers(2, 3))
    lost = 0
    with TemporaryDirectory() as folder:
        team = Team(Path(folder), new_states(), size)
        while events:
            count = data.draw(st.integers(1, 12))
            team.append(events[:count])
            del events[:count]
            for _ in range(data.draw(st.integers(0, 4))):
                which, topic = data.draw(st.integers(0, size - 1)), data.draw(st.sampled_from(BOTH))
                most = data.draw(st.integers(1, 6))
                if data.draw(st.integers(0, 9)) == 0:
                    team.lose(which, topic, most)
                    lost += 1
                else:
                    team.workers[which].take(topic, most)
        team.drain()
        team.archive()
        found = team.parity()
    assert found.orders == 60
    assert found.unexplained == found.too_recent == 0
    assert found.explained == found.differing - found.untraced
    # Only of what a worker held that died is nothing known.
    assert found.untraced == 0 or lost


def test_a_state_with_a_past_is_judged_when_the_past_is_given(tmp_path: Path, new_states) -> None:
    connect = new_states()
    past = [event for event in DAY[:40] if isinstance(event, Order)]
    columns = event_columns_from_orders(past, FEATURES)
    connect().apply(columns)
    memory = InMemoryState(FEATURES)
    memory.apply(columns)
    memory.save(tmp_path / "past")
    team = Team(tmp_path / "archive", connect)
    for event in DAY[40:]:
        team.append([event])
        team.drain()
    team.archive()
    unknown = team.parity()
    assert unknown.untraced == unknown.differing > 0
    assert unknown.unexplained == 0
    found = team.parity(past=tmp_path / "past")
    assert found.equal_share == 1
    assert found.untraced == found.unexplained == 0
