"""Send events through the log and collect the decisions on them, in one process tree."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import islice

import polars as pl
from confluent_kafka import KafkaException, Message

from orders.errors import UserError
from preempt.processes import ChildProcess
from preempt.traffic import Sent, end_offsets, publish, read
from serving.decisions import Decision, decision_decoder
from streams.answers import dead_letter_decoder, source_of
from streams.archive import decision_frame
from streams.broker import working_members
from streams.topics import Topics

Answered = tuple[Decision, int, int]  # with the append times of the order and of the decision

TICK_S = 0.1
QUIET_S = 1.5  # a decision too many would come within this time
SILENCE_S = 60.0  # this long without a decision, with orders waiting, means that something is wrong


@dataclass(slots=True)
class Decided:
    """Decisions as they were read back, with the broker's append timestamps (UTC ms)."""

    decisions: list[Decision] = field(default_factory=list)
    order_appended: list[int] = field(default_factory=list)
    decision_appended: list[int] = field(default_factory=list)
    order_ids: set[str] = field(default_factory=set)
    dead_letters: int = 0

    def add(self, message: Message) -> Answered:
        """Decode one record of the decisions topic and keep it."""
        decision = decision_decoder.decode(message.value() or b"")
        order_appended = source_of(message.headers()).appended
        decision_appended = message.timestamp()[1]
        self.decisions.append(decision)
        self.order_ids.add(decision.order_id)
        self.order_appended.append(order_appended)
        self.decision_appended.append(decision_appended)
        return decision, order_appended, decision_appended

    def frame(self) -> pl.DataFrame:
        """One row a decision, with `order_appended_ms` and `decision_appended_ms`."""
        return decision_frame(self.decisions).with_columns(
            pl.Series("order_appended_ms", self.order_appended, dtype=pl.Int64),
            pl.Series("decision_appended_ms", self.decision_appended, dtype=pl.Int64),
        )


class Publisher:
    """Sends events in the background, once."""

    def __init__(
        self,
        bootstrap: str,
        events: Sequence[Sent],
        *,
        speed: float | None = None,
        rate: float | None = None,
    ) -> None:
        self._thread = threading.Thread(target=self._run, name="publisher", daemon=True)
        self._bootstrap = bootstrap
        self._events = events
        self._speed = speed
        self._rate = rate
        self._halt = threading.Event()
        self._error: Exception | None = None
        self._sent: Counter[str] = Counter()

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    def _run(self) -> None:
        try:
            publish(
                self._bootstrap,
                self._events,
                speed=self._speed,
                rate=self._rate,
                on_sent=self._count,
                stop=self._halt,
            )
        except Exception as error:
            self._error = error

    def _count(self, event: Sent) -> None:
        self._sent[event.topic] += 1

    def sent_to(self, topic: str) -> int:
        """How many events were handed over for a topic so far."""
        return self._sent[topic]

    @property
    def busy(self) -> bool:
        """Whether there is more to send; raises what went wrong, if something did."""
        if self._error is not None:
            raise self._error
        return self._thread.is_alive()

    def join(self) -> None:
        """Wait until everything is sent; raises what went wrong, if something did."""
        self._thread.join()
        if self._error is not None:
            raise self._error

    def stop(self) -> None:
        """Send nothing more."""
        self._halt.set()
        self._thread.join()


def wait_until_assigned(
    bootstrap: str, group: str, worker: ChildProcess, *, timeout_s: float = 120.0
) -> None:
    """Wait until the worker has joined its consumer group and holds partitions.

    Raises:
        UserError: the worker ended, or has not joined within `timeout_s` seconds.
    """
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if working_members(bootstrap, group):
            return
        if not worker.running:
            raise UserError(f"the worker ended; its log {worker.log} ends: {worker.log_tail()}")
        time.sleep(0.1)
    raise UserError(f"the worker has not joined within {timeout_s:g} s; see its log {worker.log}")


def stream(
    bootstrap: str,
    topics: Topics,
    publisher: Publisher,
    *,
    orders: int,
    worker: ChildProcess,
    on_tick: Callable[[Decided, Sequence[Answered]], None] = lambda _decided, _fresh: None,
) -> Decided:
    """Publish, and read until every order has a decision or a dead letter, and all is quiet.

    Args:
        bootstrap: host:port of the broker.
        topics: their names; decisions and dead letters are read from their present end.
        publisher: not started yet.
        orders: how many orders it sends.
        worker: must stay alive.
        on_tick: called about ten times a second with everything so far and what is fresh.

    Raises:
        UserError: the worker ended, or nothing is decided any more.
    """
    start = end_offsets(bootstrap, topics.decisions)
    dead_before = end_offsets(bootstrap, topics.dead_letter)
    decided = Decided()
    fresh: list[Answered] = []
    publisher.start()
    tick = looked = news = time.monotonic()
    try:
        for message in read(bootstrap, topics.decisions, idle_s=float("inf"), offsets=start):
            if message is not None:
                fresh.append(decided.add(message))
            now = time.monotonic()
            if now - tick < TICK_S:
                continue
            tick = now
            if now - looked >= 1:
                looked = now
                decided.dead_letters = _dead_orders(bootstrap, topics, dead_before)
            on_tick(decided, fresh)
            if fresh or publisher.busy:
                news = now
            fresh = []
            if not worker.running:
                raise UserError(f"the worker ended; its log {worker.log} ends: {worker.log_tail()}")
            waiting = orders - len(decided.order_ids) - decided.dead_letters
            if waiting <= 0 and now - news > QUIET_S:
                break
            if now - news > SILENCE_S:
                raise UserError(
                    f"{waiting} orders are not decided and nothing came for {SILENCE_S:g} s; "
                    f"see the worker's log {worker.log}"
                )
    except KafkaException as error:
        raise UserError(f"the broker at {bootstrap} failed: {error.args[0]}") from error
    finally:
        publisher.stop()
    return decided


def _dead_orders(bootstrap: str, topics: Topics, start: dict[int, int]) -> int:
    """How many different messages of `orders` were dead-lettered since."""
    end = end_offsets(bootstrap, topics.dead_letter)
    count = sum(end.values()) - sum(start.values())
    if not count:
        return 0
    found: set[tuple[int, int]] = set()
    for message in islice(
        (m for m in read(bootstrap, topics.dead_letter, idle_s=5, offsets=start) if m), count
    ):
        letter = dead_letter_decoder.decode(message.value() or b"")
        if letter.topic == topics.orders:
            found.add((letter.partition, letter.offset))
    return len(found)
