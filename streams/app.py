"""The Faust applications: agents `score`, `feedback` and `archive` on the chunked transport."""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial

from features.state import StateCorruptedError, StateLostError, StateUnavailableError
from orders.errors import UserError
from serving.decisions import AsOf
from serving.ledger import LedgerUnavailableError
from streams.answers import Answer
from streams.archive import Archive
from streams.chunks import Batch, Chunk, take_chunks
from streams.following import Follower
from streams.producer import BatchProducer
from streams.recovery import LogReader, after, past
from streams.scoring import Scoring
from streams.topics import Topics
from streams.worker import ChunkedApp, assigned_partitions, chunk_topic, transport_app

logger = logging.getLogger("streams.process")

STORE_PATIENCE_S = 30.0
IDLE_S = 1.0  # without orders, what people changed is taken so often


@dataclass(frozen=True, slots=True)
class Origin:
    """Where the feature state begins, as far as this process goes.

    Attributes:
        state: one process of a worker.
        snapshot: fingerprint of the snapshot that it began with, or `shared` where the shared
            state held events already; None: it began empty.
        shared: name of the state, where workers share one.
    """

    state: str
    snapshot: str | None
    shared: str | None = None


class Progress:
    """How far this worker's feature state is, partition by partition.

    The score and feedback agents share one state and one event loop. Whichever sees a partition
    first after an assignment brings the state up to it; the other waits. A state that workers
    share is always up to date: it holds a batch before the batch is answered or committed.
    """

    def __init__(
        self,
        app: ChunkedApp,
        reader: LogReader,
        scoring: Scoring,
        topics: Topics,
        origin: Origin | None,
        *,
        shared_state: bool = False,
    ) -> None:
        self._shared_state = shared_state
        self._app = app
        self._reader = reader
        self._scoring = scoring
        self._topics = topics
        self._origin = origin
        self._batches = 0
        self._lock = asyncio.Lock()
        self._generation = -1
        self._covered: dict[tuple[str, int], int] = {}  # the next offset the state lacks
        self.answered: dict[int, int] = {}  # partition → last order with a decision

    async def catch_up(self, generation: int) -> None:
        """Absorb what other workers, or this one before a crash, have already processed."""
        async with self._lock:
            if generation == self._generation:
                return
            loop = asyncio.get_running_loop()
            partitions = {
                (tp.topic, tp.partition)
                for tp in assigned_partitions(self._app)
                if tp.topic in (self._topics.orders, self._topics.outcomes)
            }
            await loop.run_in_executor(None, self._absorb_past, partitions)
            self._generation = generation

    def cover(self, chunks: Sequence[Chunk]) -> None:
        """Note that the state now holds `chunks`."""
        _cover(chunks, self._covered)

    def as_of(self, batch: Sequence[Chunk]) -> AsOf | None:
        """Where the state stands for a batch of orders that it is about to take."""
        if self._origin is None:
            return None
        self._batches += 1
        after_it = self._covered.copy()
        _cover(batch, after_it)
        return AsOf(
            # Between two assignments somebody else may have held a partition of this process.
            state=f"{self._origin.state}-{self._generation}"
            if self._origin.shared
            else self._origin.state,
            snapshot=self._origin.snapshot,
            batch=self._batches,
            position=0,
            orders=_offsets(self._topics.orders, after_it),
            outcomes=_offsets(self._topics.outcomes, after_it),
            shared=self._origin.shared,
        )

    def _absorb_past(self, partitions: set[tuple[str, int]]) -> None:
        ranges: dict[tuple[str, int], tuple[int, int]] = {}
        for topic, partition in partitions:
            end = self._reader.committed(topic, partition)
            if topic == self._topics.orders:
                self.answered[partition] = self._reader.answered(self._topics, partition)
                end = max(end, self.answered[partition] + 1)
            if not self._shared_state:
                ranges[topic, partition] = (self._covered.get((topic, partition), 0), end)
        count = 0
        for block in past(self._reader, ranges):
            self._scoring.absorb(block)
            count += sum(map(len, block))
        for where, (start, end) in ranges.items():
            self._covered[where] = max(start, end)
        if count:
            logger.info("absorbed %d records that were processed before", count)


def _cover(chunks: Sequence[Chunk], covered: dict[tuple[str, int], int]) -> None:
    for chunk in chunks:
        where, end = (chunk.topic, chunk.partition), chunk.records[-1].offset + 1
        covered[where] = max(end, covered.get(where, 0))  # it may come again


def _offsets(topic: str, covered: dict[tuple[str, int], int]) -> list[int]:
    offsets = {p: offset for (name, p), offset in covered.items() if name == topic}
    return [offsets.get(partition, 0) for partition in range(max(offsets, default=-1) + 1)]


async def patiently(work: Callable[[], list[Answer]]) -> list[Answer]:
    """Do it, and do it again while the ledger or the feature state does not answer.

    Raises:
        UserError: it did not for half a minute, or the state is lost or damaged.
    """
    deadline = time.monotonic() + STORE_PATIENCE_S
    while True:
        try:
            return work()
        except (LedgerUnavailableError, StateUnavailableError) as error:
            if time.monotonic() > deadline:
                raise UserError(
                    f"{error}; Redis did not answer for {STORE_PATIENCE_S:g} s, start it again"
                ) from None
            logger.warning("%s; trying again", error)
            await asyncio.sleep(0.5)
        except (StateLostError, StateCorruptedError) as error:
            raise UserError(str(error)) from error


def scoring_app(
    *,
    group: str,
    bootstrap: str,
    topics: Topics,
    scoring: Scoring,
    chunk_records: int,
    following: Sequence[Follower] = (),
    worker_name: str | None = None,
    shared_state: bool = False,
    origin: Origin | None = None,
) -> ChunkedApp:
    """The application with the agents `score` and `feedback`, which share one feature state.

    Args:
        group: name of the consumer group; workers of one group share the partitions.
        bootstrap: host:port of the broker.
        topics: their names; they exist, with the same number of partitions.
        scoring: decides orders and learns from outcomes.
        chunk_records: most records of one partition in one chunk.
        following: what people change while the app runs; taken between two batches.
        worker_name: of this worker in the group; under the same name it gets its partitions back
            at once after a crash. None: it comes as a stranger, when the group has missed it.
        shared_state: the feature state outlives the worker and is shared with others.
        origin: where the feature state begins; None: decisions do not say where it stood.
    """
    app = transport_app(group, bootstrap, chunk_records=chunk_records, member=worker_name)
    producer = BatchProducer(bootstrap)
    app.add_context(closing(producer))  # when the agents have stopped
    for each in following:
        app.add_context(each)
    reader = LogReader(bootstrap, group)
    progress = Progress(app, reader, scoring, topics, origin, shared_state=shared_state)

    def send(answers: Sequence[Answer]) -> None:
        for each in answers:
            producer.produce(
                each.topic,
                each.value,
                key=each.key,
                partition=each.partition,
                headers=each.headers,
            )

    async def answer(batch: Batch, answers: Sequence[Answer]) -> None:
        """Acknowledge a batch when the broker has every answer to it."""
        # Dead letters and alerts are safe before the first decision goes out: the newest decision of a
        # partition says that everything up to it has been answered.
        decisions = [each for each in answers if each.topic == topics.decisions]
        others = [each for each in answers if each.topic != topics.decisions]
        for some in (others, decisions):
            send(some)
            if some:
                await producer.flush()
        batch.ack()

    def take_changes() -> list[Answer]:
        return scoring.told([alert for each in following for alert in each.take()])

    def decide(chunks: Sequence[Chunk], fresh: Sequence[Chunk]) -> list[Answer]:
        """Without a pause, so that no outcome comes between `as_of` and the decisions."""
        answers = scoring.decide(fresh, progress.as_of(chunks))
        progress.cover(chunks)
        return answers

    @app.agent(chunk_topic(app, topics.orders), name="score")
    async def score(stream):
        async for batch in take_chunks(stream):
            await progress.catch_up(batch.generation)
            fresh = after(batch.chunks, progress.answered)
            send(take_changes())
            answers = await patiently(partial(decide, batch.chunks, fresh))
            await answer(batch, answers)

    @app.agent(chunk_topic(app, topics.outcomes), name="feedback")
    async def feedback(stream):
        async for batch in take_chunks(stream):
            await progress.catch_up(batch.generation)
            answers = await patiently(partial(scoring.learn, batch.chunks))
            progress.cover(batch.chunks)
            await answer(batch, answers)

    @app.timer(IDLE_S, name="changes")
    async def take_changes_when_idle():
        # The next flush of a batch waits for the alerts, and its failure is theirs.
        send(take_changes())

    return app


def archive_app(
    *,
    group: str,
    bootstrap: str,
    archive: Archive,
    chunk_records: int,
    worker_name: str | None = None,
) -> ChunkedApp:
    """The application with the agent `archive`.

    It has a group and a process of its own: a slow disk then never delays a decision.
    """
    app = transport_app(group, bootstrap, chunk_records=chunk_records, member=worker_name)

    @app.agent(chunk_topic(app, *archive.topics), name="archive")
    async def store(stream):
        async for batch in take_chunks(stream, max_records=archive.max_records):
            await asyncio.get_running_loop().run_in_executor(None, archive.store, batch.chunks)
            batch.ack()
            await asyncio.sleep(archive.linger_s)  # what comes meanwhile goes into one commit

    return app
