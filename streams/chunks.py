"""Chunks: what one Faust message carries, and how an agent takes all that waits.

A chunk is a run of records of one partition. A batch is every chunk that waited when the agent
asked, over all of its partitions, so that a batch grows with the load by itself.
"""

from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, cast

import faust
from faust.types import TP, ChannelT, EventT, StreamT
from mode.utils.queues import ThrowableQueue

if TYPE_CHECKING:
    from streams.transport import ChunkedConsumer


class Record(Protocol):
    """One record as aiokafka hands it over; never decoded, never copied."""

    offset: int
    timestamp: int  # UTC milliseconds, by the producer or the broker as the topic says
    key: bytes | None
    value: bytes | None  # None is a tombstone
    headers: Sequence[tuple[str, bytes]]


@dataclass(frozen=True, slots=True)
class Chunk:
    """Records of one partition in offset order, at least one."""

    topic: str
    partition: int
    records: Sequence[Record]

    @property
    def tp(self) -> TP:
        """The topic and partition."""
        return TP(self.topic, self.partition)

    def __len__(self) -> int:
        return len(self.records)

    def __iter__(self) -> Iterator[Record]:
        return iter(self.records)


class RawSchema(faust.Schema):
    """Hands a chunk to the agent as it is: decoding is the agent's, once per batch."""

    def loads_key(self, app, message, *, loads=None, serializer=None):  # noqa: D102
        return message.key

    def loads_value(self, app, message, *, loads=None, serializer=None):  # noqa: D102
        return message.value


@dataclass(frozen=True, slots=True)
class Batch:
    """Chunks to be processed together; several of one partition are in offset order.

    Nothing of it is committed before `ack`, which is called when the work is done and its
    results are safe. A batch that is never acknowledged is delivered again.
    """

    chunks: tuple[Chunk, ...]
    generation: int  # another one after every rebalance, or when reading began anew
    _events: tuple[EventT, ...]

    def __len__(self) -> int:
        return sum(map(len, self.chunks))

    def records(self) -> Iterator[Record]:
        """Every record, partition by partition, in offset order within each."""
        for chunk in self.chunks:
            yield from chunk.records

    def ack(self) -> None:
        """Let the offsets of every record be committed; the commit itself follows on its own."""
        for event in self._events:
            event.ack()


async def take_chunks(stream: StreamT, *, max_records: int = 5_000) -> AsyncIterator[Batch]:
    """Yield batches of everything that waits; never waits for a batch to fill up.

    A batch closes at the first chunk that brings it to `max_records`, so it may exceed that by
    less than one chunk. Chunks of partitions that were revoked meanwhile are left out.
    """
    app = stream.app
    consumer = cast("ChunkedConsumer", app.consumer)
    raw = cast(faust.Stream, stream).noack()
    queue = cast(ThrowableQueue, cast(ChannelT, raw.channel).queue)
    async for event in cast(AsyncIterator[EventT], raw.events()):
        events = [event]
        waiting = len(event.value)
        while waiting < max_records and not queue.empty():
            following = queue.get_nowait()
            if consumer.hold(following.message):
                events.append(following)
                waiting += len(following.value)
        yield Batch(
            tuple(each.value for each in events),
            consumer.epoch,
            tuple(events),
        )
