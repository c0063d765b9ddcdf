"""From raw records to answers: what the score and feedback agents do between two commits.

No broker in here: records in, answers out, so that it can be tested and benchmarked alone.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar

import msgspec

from orders.decoding import Decoded, decode_orders, decode_outcomes
from serving.alerts import Alert, alert_encoder
from serving.decisions import AsOf, decision_encoder
from serving.scorer import Scorer
from streams.answers import SOURCE_HEADER, Answer, Source, dead_letter, dead_letter_encoder
from streams.chunks import Chunk, Record
from streams.topics import Topics

E = TypeVar("E", bound=msgspec.Struct)
Taken = tuple[Source, E]


class Scoring:
    """Decides raw orders and learns from raw outcomes.

    Args:
        scorer: decides orders; holds the feature state.
        topics: names of the topics.
        clock: now in UTC ms; stamped on decisions.
        max_message_bytes: a larger message becomes a dead letter.
        max_future_ms: an event whose own time is later than its arrival by more becomes one too.
    """

    def __init__(
        self,
        scorer: Scorer,
        topics: Topics,
        *,
        clock: Callable[[], int],
        max_message_bytes: int,
        max_future_ms: float,
    ) -> None:
        self._scorer = scorer
        self._topics = topics
        self._clock = clock
        self._max_message_bytes = max_message_bytes
        self._max_future_ms = max_future_ms

    def decide(self, chunks: Sequence[Chunk], as_of: AsOf | None = None) -> list[Answer]:
        """Decide every order, in the order of their event times.

        Args:
            chunks: of the topic of orders.
            as_of: where the feature state stands; it travels with the decisions.

        Returns:
            A decision or a dead letter for each record, and alerts; decisions of a partition in the
            order of the offsets, so that the newest one tells how far the partition has been answered.
        """
        taken, answers = self._take(chunks, decode_orders)
        # A backlog is not read in time order; of one moment, what came first is first.
        taken.sort(key=lambda each: (each[1].event_time, *_place(each[0])))
        decisions = self._scorer.decide(
            [order for _, order in taken], now=self._clock(), as_of=as_of
        )
        decided = [
            (
                source,
                Answer(
                    self._topics.decisions,
                    source.partition,
                    order.order_id.encode(),
                    decision_encoder.encode(decision),
                    [(SOURCE_HEADER, source.header())],
                ),
            )
            for (source, order), decision in zip(taken, decisions, strict=True)
        ]
        decided.sort(key=lambda each: (each[0].partition, each[0].offset))
        return answers + self.told() + [answer for _, answer in decided]

    def told(self, more: Sequence[Alert] = ()) -> list[Answer]:
        """The alerts since they were taken last, and more, as they go out."""
        return [
            Answer(self._topics.alerts, 0, alert.subject.encode(), alert_encoder.encode(alert), [])
            for alert in (*self._scorer.take_alerts(), *more)
        ]

    def learn(self, chunks: Sequence[Chunk]) -> list[Answer]:
        """Let the outcomes count for later orders; returns the dead letters."""
        taken, answers = self._take(chunks, decode_outcomes)
        taken.sort(key=lambda each: each[1].event_time)
        self._scorer.learn([outcome for _, outcome in taken])
        return answers

    def absorb(self, chunks: Sequence[Chunk]) -> None:
        """Bring the feature state up to orders and outcomes that were processed before."""
        taken, _ = self._take([c for c in chunks if c.topic == self._topics.orders], decode_orders)
        # Not by event time: then the result would depend on where one call ends.
        taken.sort(key=lambda each: _place(each[0]))
        self._scorer.absorb([order for _, order in taken])
        self.learn([c for c in chunks if c.topic == self._topics.outcomes])

    def _take(
        self,
        chunks: Sequence[Chunk],
        decode: Callable[..., Decoded[E]],
    ) -> tuple[list[Taken[E]], list[Answer]]:
        """Events with where they came from, and dead letters for the rest."""
        taken: list[Taken[E]] = []
        dead: list[Answer] = []
        for chunk in chunks:
            records = chunk.records
            decoded = decode(
                [record.value for record in records], size_limit=self._max_message_bytes
            )
            for event, index in zip(decoded.events, decoded.indices, strict=True):
                source = _source(chunk, records[index])
                ahead = event.event_time - source.appended  # type: ignore[attr-defined]
                if ahead > self._max_future_ms:
                    detail = (
                        f"event_time: {ahead / 1000:g} s after its arrival, "
                        f"expected at most {self._max_future_ms / 1000:g} s"
                    )
                    dead.append(self._dead(chunk, records[index], "in_the_future", detail))
                else:
                    taken.append((source, event))
            dead.extend(
                self._dead(chunk, records[rejected.index], rejected.code, rejected.detail)
                for rejected in decoded.rejected
            )
        return taken, dead

    def _dead(self, chunk: Chunk, record: Record, error: str, detail: str) -> Answer:
        letter = dead_letter(
            chunk.topic, _source(chunk, record), record.value, error=error, detail=detail
        )
        value = dead_letter_encoder.encode(letter)
        return Answer(self._topics.dead_letter, 0, record.key, value, [])


def _place(source: Source) -> tuple[int, int, int]:
    return source.appended, source.partition, source.offset


def _source(chunk: Chunk, record: Record) -> Source:
    return Source(chunk.partition, record.offset, record.timestamp)
