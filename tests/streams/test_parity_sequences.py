"""Whatever comes late, twice, or in whatever batches: parity explains every difference.

Records go through the scoring, the archive and parity of this process, without a broker.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl
import pytest
from deltalake import DeltaTable
from hypothesis import given, settings
from hypothesis import strategies as st

from features.columns import event_columns_from_orders
from features.feature_set import feature_set
from features.memory import InMemoryState
from features.snapshot import fingerprint
from orders.errors import UserError
from orders.events import Order, Outcome, encoder
from serving.ledger import InMemoryLedger
from serving.policy import Policy
from serving.scorer import Scorer
from streams.app import Origin, Progress
from streams.archive import Archive, name_features
from streams.chunks import Chunk
from streams.recovery import LogReader
from streams.scoring import Scoring
from streams.topics import Topics
from streams.worker import transport_app
from tests.streams.shop_day import Event, shop_day
from training.parity import Parity, measure_parity
from training.served_archive import read_archive

TOPICS = Topics()
LIMITS = {"max_message_bytes": 65_536, "max_future_ms": 1e15}
NOWHERE = "127.0.0.1:1"
FEATURES = feature_set({"lead_time": "numeric", "segment": "categorical"})
DAY = shop_day(60)


@dataclass
class Record:
    offset: int
    value: bytes | None
    timestamp: int
    key: bytes | None
    headers: Sequence[tuple[str, bytes]] = ()


class Line:
    """One worker and the archive, fed step by step.

    Args:
        folder: of the archive.
        partitions: of every topic; an event goes to that of its order id.
        snapshot: that the state begins with.
    """

    def __init__(self, folder: Path, partitions: int = 2, snapshot: Path | None = None) -> None:
        self.folder = folder
        self._partitions = partitions
        self._logs: dict[tuple[str, int], list[Record]] = {}
        self._archived: dict[tuple[str, int], int] = {}
        self._clock = DAY[0].event_time
        self._archive = Archive(folder, TOPICS, **LIMITS)
        self.restart(snapshot)

    def restart(self, snapshot: Path | None = None) -> None:
        """A new process, which absorbs everything that was processed before."""
        state = InMemoryState(FEATURES)
        if snapshot is not None:
            state, _ = InMemoryState.load(snapshot, FEATURES)
        scorer = Scorer(FEATURES, state, None, Policy.default(), InMemoryLedger(1_000))
        self._scoring = Scoring(scorer, TOPICS, clock=lambda: 0, **LIMITS)
        name_features(self.folder, FEATURES)
        origin = Origin(f"process-{self._clock}", snapshot and fingerprint(snapshot))
        app = transport_app("group", NOWHERE)
        self._progress = Progress(app, LogReader(NOWHERE, "group"), self._scoring, TOPICS, origin)
        chunks = [Chunk(t, p, log) for (t, p), log in self._logs.items() if t != TOPICS.decisions]
        self._scoring.absorb(chunks)
        self._progress.cover(chunks)

    def step(self, events: Sequence[Event]) -> None:
        """The worker takes the outcomes of these events, then the orders, each in one batch."""
        for topic, kind in ((TOPICS.outcomes, Outcome), (TOPICS.orders, Order)):
            chunks = self._appended(topic, [event for event in events if isinstance(event, kind)])
            if not chunks:
                continue
            if kind is Order:
                answers = self._scoring.decide(chunks, self._progress.as_of(chunks))
                self._progress.cover(chunks)
                for answer in answers:
                    log = self._logs.setdefault((answer.topic, answer.partition), [])
                    self._clock += 1
                    log.append(
                        Record(len(log), answer.value, self._clock, answer.key, answer.headers)
                    )
            else:
                self._scoring.learn(chunks)
                self._progress.cover(chunks)

    def archive(self, *topics: str) -> None:
        """Archive what these topics hold, all of them by default."""
        chunks = [
            Chunk(topic, partition, log)
            for (topic, partition), log in self._logs.items()
            if topic in (topics or self._archive.topics)
        ]
        self._archive.store(chunks)

    def parity(self, snapshots: Sequence[Path] = (), sample: int = sys.maxsize) -> Parity:
        ends = {
            table: {
                partition: 1 + version
                for partition in range(self._partitions)
                if (
                    version := DeltaTable(str(self.folder / table)).transaction_version(
                        f"{table}-{partition}"
                    )
                )
                is not None
            }
            for table in ("orders", "outcomes")
            if DeltaTable.is_deltatable(str(self.folder / table))
        }
        return measure_parity(read_archive(self.folder, ends, sample=sample), snapshots)

    def _appended(self, topic: str, events: Sequence[Event]) -> list[Chunk]:
        fresh: dict[int, list[Record]] = {}
        for event in events:
            partition = sum(event.order_id.encode()) % self._partitions
            log = self._logs.setdefault((topic, partition), [])
            self._clock += 1
            key = event.order_id.encode()
            log.append(Record(len(log), encoder.encode(event), self._clock, key))
            fresh.setdefault(partition, []).append(log[-1])
        return [Chunk(topic, partition, records) for partition, records in fresh.items()]


def test_one_event_at_a_time_in_order_is_equal_attributes_included(tmp_path: Path) -> None:
    line = Line(tmp_path)
    for event in DAY:
        line.step([event])
    line.archive()
    found = line.parity()
    assert found.equal_share == 1
    assert found.orders == 60
    assert found.features == len(FEATURES.names)
    assert found.worst == found.late_events == []


@given(st.data())
@settings(max_examples=25, deadline=None)
def test_every_difference_is_explained_and_named(data: st.DataObject) -> None:
    delays = data.draw(st.lists(st.sampled_from([0] * 12 + [1, 3, 20]), min_size=len(DAY), max_size=len(DAY)))  # fmt: skip
    arrivals = sorted(range(len(DAY)), key=lambda i: i + delays[i])
    events = [DAY[i] for i in arrivals]
    for _ in range(data.draw(st.integers(0, 6))):
        again = data.draw(st.integers(0, len(events) - 1))
        events.insert(data.draw(st.integers(again + 1, len(events))), events[again])
    batch = data.draw(st.integers(1, 12))
    crash = data.draw(st.one_of(st.none(), st.integers(0, len(events))))
    with TemporaryDirectory() as folder:
        line = Line(Path(folder))
        for start in range(0, len(events), batch):
            if crash is not None and start <= crash < start + batch:
                line.restart()
            line.step(events[start : start + batch])
        line.archive()
        found = line.parity()
    assert found.unexplained == found.unnamed == found.too_recent == 0
    assert found.explained == found.differing
    assert found.states <= 1 + (crash is not None)


def test_the_past_in_a_snapshot_is_needed_again(tmp_path: Path) -> None:
    state = InMemoryState(FEATURES)
    past = [event for event in DAY[:40] if isinstance(event, Order)]
    state.apply(event_columns_from_orders(past, FEATURES))
    snapshot = tmp_path / "state"
    state.save(snapshot)
    line = Line(tmp_path / "archive", snapshot=snapshot)
    for event in DAY[40:]:
        line.step([event])
    line.archive()
    assert line.parity([snapshot]).equal_share == 1
    with pytest.raises(UserError, match=r"began with snapshot .*, none was given: .* --state"):
        line.parity()
    state.apply(event_columns_from_orders([event for event in DAY[40:50] if isinstance(event, Order)], FEATURES))  # fmt: skip
    other = tmp_path / "other"
    state.save(other)
    with pytest.raises(UserError, match="other is "):
        line.parity([other])


def test_what_is_not_archived_yet_is_left_out_and_counted(tmp_path: Path) -> None:
    line = Line(tmp_path)
    for event in DAY[:60]:
        line.step([event])
    line.archive()
    for event in DAY[60:]:
        line.step([event])
    line.archive(TOPICS.decisions, TOPICS.orders)  # the archive of outcomes lags
    found = line.parity()
    assert found.too_recent > 0
    assert found.orders + found.too_recent == 60
    assert found.equal_share == 1


def test_a_sample_holds_whole_accounts_and_is_the_same_again(tmp_path: Path) -> None:
    line = Line(tmp_path)
    for event in DAY:
        line.step([event])
    line.archive()
    ends = {name: {0: 1_000, 1: 1_000} for name in ("orders", "outcomes")}
    small = read_archive(tmp_path, ends, sample=15).decisions
    large = read_archive(tmp_path, ends, sample=30).decisions
    accounts = pl.read_delta(str(tmp_path / "orders")).select("order_id", "account")
    per_account = dict(accounts["account"].value_counts().iter_rows())
    of_small = small.join(accounts, on="order_id")["account_right"].value_counts()
    assert 15 <= len(small) < len(large)
    assert all(per_account[account] == count for account, count in of_small.iter_rows())
    assert set(small["order_id"]) < set(large["order_id"])
    assert read_archive(tmp_path, ends, sample=15).decisions.equals(small)


def test_an_archive_that_cannot_be_compared_says_why(tmp_path: Path) -> None:
    ends = {"orders": {0: 1_000}, "outcomes": {0: 1_000}}
    with pytest.raises(UserError, match="no table 'decisions'"):
        read_archive(tmp_path, ends, sample=10)
    line = Line(tmp_path, partitions=1)
    line.step(DAY[:5])
    line.archive()
    with pytest.raises(UserError, match="PREEMPT_TOPIC_PREFIX"):
        read_archive(tmp_path, {}, sample=10)
    for file in (tmp_path / "feature_sets").iterdir():
        file.unlink()
    with pytest.raises(UserError, match=f"served with feature set {FEATURES.hash}"):
        read_archive(tmp_path, ends, sample=10)
