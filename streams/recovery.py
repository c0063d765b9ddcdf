"""What a worker does with a partition that it has just been given.

The newest decision of a partition tells up to which offset its orders have been answered, even if
the worker that answered them was killed before it committed. Those orders, and the outcomes that
were consumed before, are read again and absorbed into the feature state in the order in which the
broker appended them. See docs/adr/0003.
"""

import heapq
import logging
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from orders.errors import UserError
from streams.answers import Source, source_of
from streams.chunks import Chunk
from streams.topics import Topics

logger = logging.getLogger("streams.process")

TIMEOUT_S = 10.0
BLOCK = 2_000


class PastRecord:
    """A record read again; the fields of `streams.chunks.Record`."""

    __slots__ = ("headers", "key", "offset", "timestamp", "value")

    def __init__(self, message: Message) -> None:
        self.offset: int = message.offset() or 0
        self.timestamp: int = message.timestamp()[1]
        self.key = message.key()
        self.value = message.value()
        self.headers: Sequence[tuple[str, bytes]] = ()


class LogReader:
    """Reads chosen offsets, outside the consumer group.

    Args:
        bootstrap: host:port of the broker.
        group: the group whose committed offsets are looked up; it is not joined.
    """

    def __init__(self, bootstrap: str, group: str) -> None:
        self._config = {
            "bootstrap.servers": bootstrap,
            "group.id": group,
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "fetch.wait.max.ms": 20,
            "log_level": 0,
        }

    def answered(self, topics: Topics, partition: int) -> int:
        """The offset of the last order of `partition` that has a decision, or -1."""
        consumer = Consumer(self._config)
        try:
            where = TopicPartition(topics.decisions, partition)
            low, high = consumer.get_watermark_offsets(where, timeout=TIMEOUT_S)
            for offset in range(high - 1, low - 1, -1):
                consumer.assign([TopicPartition(topics.decisions, partition, offset)])
                newest = _next(consumer, where)
                if newest is None:
                    continue
                try:
                    source = source_of(newest.headers())
                except ValueError:
                    continue  # a stranger's record
                return self._checked(source, topics, partition)
            return -1
        finally:
            consumer.close()

    def _checked(self, source: Source, topics: Topics, partition: int) -> int:
        end = self.end(topics.orders, partition)
        if source.partition != partition or source.offset >= end:
            raise UserError(
                f"{topics.decisions}-{partition} answers {topics.orders}-{source.partition} up to "
                f"offset {source.offset}, but {topics.orders}-{partition} ends at {end}: orders was "
                "made anew or lost records; begin with new topics, by another PREEMPT_TOPIC_PREFIX"
            )
        return source.offset

    def end(self, topic: str, partition: int) -> int:
        """The offset that the next record will get."""
        consumer = Consumer(self._config)
        try:
            where = TopicPartition(topic, partition)
            return consumer.get_watermark_offsets(where, timeout=TIMEOUT_S)[1]
        finally:
            consumer.close()

    def committed(self, topic: str, partition: int) -> int:
        """The offset at which the group goes on; 0 when it never committed."""
        consumer = Consumer(self._config)
        try:
            [found] = consumer.committed([TopicPartition(topic, partition)], timeout=TIMEOUT_S)
            return max(found.offset, 0)
        finally:
            consumer.close()

    def records(self, topic: str, partition: int, start: int, end: int) -> Iterator[PastRecord]:
        """Records with `start` <= offset < `end`; what the broker no longer keeps is left out."""
        consumer = Consumer(self._config | {"enable.partition.eof": True})
        try:
            where = TopicPartition(topic, partition)
            low, _ = consumer.get_watermark_offsets(where, timeout=TIMEOUT_S)
            if start < low:
                logger.warning(
                    "%s-%d begins at %d, not at %d: what is older is not in the feature state",
                    *(topic, partition, low, start),
                )
            consumer.assign([TopicPartition(topic, partition, max(start, low))])
            # An offset may hold no record (a transaction marker): the end may never be seen.
            while (message := _next(consumer, where)) is not None:
                record = PastRecord(message)
                if record.offset >= end:
                    return
                yield record
                if record.offset == end - 1:
                    return
        finally:
            consumer.close()


def _next(consumer: Consumer, where: TopicPartition) -> Message | None:
    """The next record, or None at the end of the partition."""
    message = consumer.poll(TIMEOUT_S)
    if message is None:
        raise KafkaException(f"{where.topic}-{where.partition}: nothing came for {TIMEOUT_S:g} s")
    error = message.error()
    if error is None:
        return message
    if error.code() == KafkaError._PARTITION_EOF:
        return None
    raise KafkaException(error)


def past(
    reader: LogReader, ranges: Mapping[tuple[str, int], tuple[int, int]]
) -> Iterator[list[Chunk]]:
    """The records of several partitions in blocks, in the order in which the broker appended them.

    Args:
        reader: reads the log.
        ranges: (topic, partition) → first offset, and the offset to stop before.
    """

    def tagged(where: tuple[str, int], start: int, end: int) -> Iterator[tuple]:
        for record in reader.records(*where, start, end):
            yield record.timestamp, where, record

    merged = heapq.merge(
        *(
            tagged(where, *offsets)
            for where, offsets in sorted(ranges.items())
            if offsets[0] < offsets[1]
        ),
        key=lambda each: each[:2],
    )
    while block := list(islice(merged, BLOCK)):
        runs: dict[tuple[str, int], list[PastRecord]] = {}
        for _, where, record in block:
            runs.setdefault(where, []).append(record)
        yield [Chunk(*where, records) for where, records in runs.items()]


def after(chunks: Sequence[Chunk], answered: Mapping[int, int]) -> list[Chunk]:
    """What of `chunks` has not been answered: records above `answered` of their partition."""
    kept = []
    for chunk in chunks:
        last = answered.get(chunk.partition, -1)
        records = [record for record in chunk.records if record.offset > last]
        if records:
            kept.append(Chunk(chunk.topic, chunk.partition, records))
    return kept
