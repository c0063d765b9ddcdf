"""Workers and the archive in this process, fed step by step, and parity of what they leave."""

import dataclasses
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from deltalake import DeltaTable

from features.feature_set import feature_set
from features.memory import InMemoryState
from features.redis_state import RedisState
from features.snapshot import fingerprint
from features.state import FeatureState
from orders.events import Order, Outcome, encoder
from serving.ledger import DecisionLedger, InMemoryLedger
from serving.policy import Policy
from serving.scorer import Scorer
from streams.answers import Answer
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


class Logs:
    """The partitions of every topic, and the archive of them.

    Args:
        folder: of the archive.
        partitions: of every topic; an event goes to that of its order id.
        tick_ms: between two records, by the clock of the broker.
    """

    def __init__(self, folder: Path, partitions: int = 2, tick_ms: int = 1) -> None:
        self.folder = folder
        self.partitions = partitions
        self.logs: dict[tuple[str, int], list[Record]] = {}
        self.clock = DAY[0].event_time
        self._tick_ms = tick_ms
        self._archive = Archive(folder, TOPICS, **LIMITS)
        name_features(folder, FEATURES)

    def append(self, events: Sequence[Event]) -> list[Chunk]:
        """Orders and outcomes into their partitions; returns what is new."""
        fresh: dict[tuple[str, int], list[Record]] = {}
        for event in events:
            topic = TOPICS.orders if isinstance(event, Order) else TOPICS.outcomes
            partition = sum(event.order_id.encode()) % self.partitions
            record = self._record(
                topic, partition, event.order_id.encode(), encoder.encode(event), ()
            )
            fresh.setdefault((topic, partition), []).append(record)
        return [Chunk(*where, records) for where, records in fresh.items()]

    def answer(self, answers: Sequence[Answer]) -> None:
        """What a worker decided."""
        for each in answers:
            self._record(each.topic, each.partition, each.key, each.value, each.headers)

    def archive(self, *topics: str) -> None:
        """Archive what these topics hold, all of them by default."""
        chunks = [
            Chunk(topic, partition, log)
            for (topic, partition), log in self.logs.items()
            if topic in (topics or self._archive.topics)
        ]
        self._archive.store(chunks)

    def parity(
        self, snapshots: Sequence[Path] = (), sample: int = sys.maxsize, past: Path | None = None
    ) -> Parity:
        ends = {
            table: {
                partition: 1 + version
                for partition in range(self.partitions)
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
        archive = read_archive(self.folder, ends, sample=sample)
        return measure_parity(archive, snapshots, past=past)

    def _record(
        self,
        topic: str,
        partition: int,
        key: bytes | None,
        value: bytes,
        headers: Sequence[tuple[str, bytes]],
    ) -> Record:
        log = self.logs.setdefault((topic, partition), [])
        self.clock += self._tick_ms
        log.append(Record(len(log), value, self.clock, key, headers))
        return log[-1]


def scoring_of(state: FeatureState, ledger: DecisionLedger) -> Scoring:
    """A scoring by rules alone."""
    scorer = Scorer(FEATURES, state, None, Policy.default(), ledger)
    return Scoring(scorer, TOPICS, clock=lambda: 0, **LIMITS)


def progress_of(scoring: Scoring, origin: Origin) -> Progress:
    """How far a worker is that never meets a broker."""
    app = transport_app("group", NOWHERE)
    return Progress(app, LogReader(NOWHERE, "group"), scoring, TOPICS, origin)


class Line(Logs):
    """One worker with a state of its own.

    Args:
        folder: of the archive.
        partitions: of every topic.
        snapshot: that the state begins with.
    """

    def __init__(self, folder: Path, partitions: int = 2, snapshot: Path | None = None) -> None:
        super().__init__(folder, partitions)
        self.restart(snapshot)

    def restart(self, snapshot: Path | None = None) -> None:
        """A new process, which absorbs everything that was processed before."""
        state = InMemoryState(FEATURES)
        if snapshot is not None:
            state, _ = InMemoryState.load(snapshot, FEATURES)
        self._scoring = scoring_of(state, InMemoryLedger(1_000))
        origin = Origin(f"process{self.clock}", snapshot and fingerprint(snapshot))
        self._progress = progress_of(self._scoring, origin)
        chunks = [Chunk(t, p, log) for (t, p), log in self.logs.items() if t != TOPICS.decisions]
        self._scoring.absorb(chunks)
        self._progress.cover(chunks)

    def step(self, events: Sequence[Event]) -> None:
        """The worker takes the outcomes of these events, then the orders, each in one batch."""
        for kind in (Outcome, Order):
            chunks = self.append([event for event in events if isinstance(event, kind)])
            if not chunks:
                continue
            if kind is Order:
                answers = self._scoring.decide(chunks, self._progress.as_of(chunks))
                self.answer(answers)
            else:
                self._scoring.learn(chunks)
            self._progress.cover(chunks)


class SharedWorker:
    """One worker of several on one state in Redis.

    It takes what stands in its partitions from where the group is, batch by batch.
    """

    def __init__(
        self, logs: Logs, state: RedisState, ledger: DecisionLedger, taken: dict, name: str
    ) -> None:
        self._logs = logs
        self._taken = taken  # topic, partition → where the group goes on
        self._scoring = scoring_of(state, ledger)
        self._origin = Origin(name, None if state.was_empty else state.name, state.name)
        self._partitions: list[int] = []
        self._assignments = 0

    def assign(self, partitions: Sequence[int]) -> None:
        """The partitions that it reads from now on."""
        self._partitions = list(partitions)
        self._assignments += 1
        origin = dataclasses.replace(
            self._origin, state=f"{self._origin.state}-{self._assignments}"
        )
        self._progress = progress_of(self._scoring, origin)

    def take(self, topic: str, most: int, *, then_die: bool = False) -> int:
        """One batch of at most so many records a partition; returns how many there were.

        A worker that dies has put them into the state, and nobody will ever hear of it.
        """
        chunks = []
        for partition in self._partitions:
            start = self._taken.get((topic, partition), 0)
            records = self._logs.logs.get((topic, partition), [])[start : start + most]
            if records:
                chunks.append(Chunk(topic, partition, records))
        if chunks:
            self._process(topic, chunks, then_die)
        return sum(map(len, chunks))

    def _process(self, topic: str, chunks: Sequence[Chunk], then_die: bool) -> None:
        if then_die:
            self._scoring.absorb(chunks)
            return
        if topic == TOPICS.orders:
            self._logs.answer(self._scoring.decide(chunks, self._progress.as_of(chunks)))
        else:
            self._scoring.learn(chunks)
        self._progress.cover(chunks)
        for chunk in chunks:
            self._taken[topic, chunk.partition] = chunk.records[-1].offset + 1
