"""Faust's Kafka transport, carrying chunks of records instead of single ones.

Faust makes four asyncio tasks for each message, so a message here is the run of records that was
fetched for one partition. Commits are exact: a partition's offset moves past a chunk only when
that chunk and every earlier one of the partition were acknowledged.
"""

import asyncio
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Iterator
from typing import Any, cast

from aiokafka import TopicPartition
from aiokafka.errors import ConsumerStoppedError
from faust.transport.consumer import RecordMap
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, ConsumerMessage, Message

from streams.chunks import Chunk

# While a partition is held back by a full queue, look again this often instead of waiting for
# records of the others: Faust would sleep for a second, and the backlog with it.
BACKPRESSURE_POLL_S = 0.01


class ChunkedConsumerThread(driver.AIOKafkaConsumerThread):
    """The thread that talks to the broker."""

    async def on_thread_stop(self) -> None:
        """Leave the group and close."""
        try:
            await super().on_thread_stop()
        except asyncio.CancelledError:
            # With no broker there, aiokafka's `stop` is ended by the cancellation of its own
            # fetch task. Let out, it would kill this thread, and the stop would wait for it.
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            self.log.info("The consumer was closed without a broker")

    async def _fetch_records(
        self,
        consumer: Any,
        active_partitions: set[TP],
        timeout: float | None = None,
        max_records: int | None = None,
    ) -> RecordMap:
        """One chunk at most of each partition that has something; else wait for the first."""
        if not self.consumer.flow_active:
            return {}
        fetcher = consumer._fetcher
        if consumer._closed or fetcher._closed:
            raise ConsumerStoppedError
        # Faust reads the fetcher behind the consumer's back, and so never learns that the group
        # coordination has failed for good: it would wait for ever.
        consumer._coordinator.check_errors()
        size = cast("ChunkedConsumer", self.consumer).chunk_records
        with fetcher._subscriptions.fetch_context():
            chunks: dict[TP, list[Any]] = {}
            # One partition at a time, or a backlog in the first would hide the others, and
            # unpacking all that was fetched would stop this loop, heartbeats too, for seconds.
            for tp in tuple(active_partitions):
                chunks |= await fetcher.fetched_records({tp}, timeout=0, max_records=size)
            return chunks or await fetcher.fetched_records(
                active_partitions, timeout=timeout, max_records=size
            )


class ChunkedConsumer(driver.Consumer):
    """Delivers a `Chunk` per message and commits whole chunks."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Chunks in the order of their delivery, until they and all before them are acknowledged.
        self._outstanding: defaultdict[TP, deque[Message]] = defaultdict(deque)
        self._committable: dict[TP, int] = {}
        self.chunk_records: int = cast(Any, self.app).chunk_records
        self.epoch = 0

    def _new_consumer_thread(self) -> ChunkedConsumerThread:
        return ChunkedConsumerThread(self, loop=self.loop, beacon=self.beacon)

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, Message]]:
        """Fetch once; yield the records of each partition as chunks."""
        if self.flow_active and not self._get_active_partitions():
            await asyncio.sleep(BACKPRESSURE_POLL_S)
            return
        if self._buffered_partitions:
            timeout = min(timeout, BACKPRESSURE_POLL_S)
        epoch = self.epoch
        records, _ = await self._wait_next_records(timeout)
        if not records or self.should_stop:
            return
        if not self.flow_active or epoch != self.epoch:
            # Fetched across a rebalance: which assignment they belong to is unknown. Nothing of
            # the present one has been delivered yet, so read it again from its committed offsets.
            await self._read_again()
            return
        for (topic, partition), chunk in records.items():
            if not self.flow_active or epoch != self.epoch:
                return  # the rebalance seeks to the committed offsets
            tp = TP(topic, partition)
            message = self._chunk_message(tp, chunk)
            read = self._read_offset[tp]
            if read is None or message.offset >= read:  # as Faust does, who drops the others
                self._outstanding[tp].append(message)
                yield tp, message

    def _chunk_message(self, tp: TP, records: list[Any]) -> ConsumerMessage:
        last = records[-1]
        return ConsumerMessage(
            tp.topic,
            tp.partition,
            last.offset,
            last.timestamp / 1000,
            last.timestamp_type,
            None,
            None,
            Chunk(tp.topic, tp.partition, records),  # pyright: ignore[reportArgumentType]
            None,
            tp=tp,
            generation_id=self.app.consumer_generation_id,
        )

    async def _read_again(self) -> None:
        try:
            await self.perform_seek()
        except Exception as error:
            if self.flow_active:
                raise
            # Partitions are being taken away; whoever gives them back seeks.
            self.log.info("No seek during a rebalance: %r", error)

    async def perform_seek(self) -> None:
        """Seek to the committed offsets; what is under way is forgotten and delivered again."""
        await super().perform_seek()
        # A partition without a committed offset would stay where the last fetch left it, and what
        # was fetched across the rebalance would never be read.
        fresh = [tp for tp in self.assignment() if self._read_offset[tp] is None]
        if fresh:
            await self._thread.seek_to_beginning(*(TopicPartition(*tp) for tp in fresh))
        self._outstanding.clear()
        self._committable.clear()
        self.epoch += 1

    def hold(self, message: Message) -> bool:
        """Whether a message taken from a queue is of the present assignment.

        If so it is awaited before the worker stops or gives its partitions back.
        """
        if (
            not self.app.flow_control.is_active()
            or message.generation_id != self.app.consumer_generation_id
        ):
            return False
        if not message.tracked:
            message.tracked = True
            self.track_message(message)
        return True

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Wait for the chunks under way, commit, and forget the partitions."""
        await super().on_partitions_revoked(revoked)
        for tp in revoked:
            self._outstanding.pop(tp, None)
            self._committable.pop(tp, None)

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """Offsets between chunks hold no records: the order of chunks says all there is to know."""

    def _filter_tps_with_pending_acks(self, topics: Any = None) -> Iterator[TP]:
        return (
            tp
            for tp in list(self._outstanding)
            if topics is None or tp in topics or tp.topic in topics
        )

    def _new_offset(self, tp: TP) -> int | None:
        # Faust keeps every acknowledged offset until it has joined them; a chunk needs none.
        self._acked[tp].clear()
        self._acked_index[tp].clear()
        chunks = self._outstanding[tp]
        while chunks and chunks[0].acked:
            self._committable[tp] = chunks.popleft().offset + 1
        return self._committable.get(tp)

    async def commit_and_end_transactions(self) -> None:
        """Commit what was acknowledged up to now."""
        # A commit that is already under way may have been begun before the last acknowledgement.
        await self.maybe_wait_for_commit_to_finish()
        await super().commit_and_end_transactions()

    def verify_event_path(self, now: float, tp: TP) -> None:
        """Not used: it takes a quiet topic for a stalled one, and logs an error each second."""


class ChunkedTransport(driver.Transport):
    """Kafka by aiokafka, in chunks."""

    Consumer = ChunkedConsumer
