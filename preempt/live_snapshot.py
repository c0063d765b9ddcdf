"""Where a live day stands: decisions as they come, counted, and the last seconds measured.

Everything here is fed and read from one thread.
"""

from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import polars as pl

from orders.decision_table import TIERS
from serving.decisions import Decision


class OrderFacts(NamedTuple):
    """What the view shows of an order; the amount is in minor units."""

    account: str | None
    amount: int
    currency: str


class FrozenOrder(NamedTuple):
    """A frozen order as a risk officer reads it."""

    event_time: int
    order_id: str
    facts: OrderFacts | None
    points: float
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveSnapshot:
    """The state of a live day at one moment; latencies and rates are of the last seconds."""

    total: int
    sent: int
    decided: int
    dead_letters: int
    orders_per_s: float
    rates: tuple[float, ...]  # orders a second, one for each past second, oldest first
    p50_ms: float | None
    p99_ms: float | None
    tiers: Mapping[str, int]
    frozen: tuple[FrozenOrder, ...]  # newest first
    clock: int | None  # the event time that the decisions have reached, UTC ms

    @property
    def waiting(self) -> int:
        """Orders that were sent and are neither decided nor dead-lettered."""
        return max(self.sent - self.decided - self.dead_letters, 0)


@dataclass(slots=True)
class RollingView:
    """Counts decisions as they come and remembers the last seconds.

    Attributes:
        total: Orders that the day will have.
        facts: What to show of an order, by its id; ids that are missing show the id alone.
        window_s: Over how long rates and latencies are measured.
        keep: How many frozen orders are remembered.
    """

    total: int
    facts: Mapping[str, OrderFacts] = field(default_factory=dict)
    window_s: float = 5.0
    keep: int = 20
    _decided: int = 0
    _clock: int | None = None
    _tiers: Counter[str] = field(default_factory=Counter)
    _frozen: deque[FrozenOrder] = field(default_factory=deque)
    _recent: deque[tuple[int, int]] = field(default_factory=deque)  # (appended, latency) ms
    _per_second: Counter[int] = field(default_factory=Counter)

    def add(self, answers: Iterable[tuple[Decision, int, int]]) -> None:
        """Take decisions with the broker's append times of the order and of the decision, ms."""
        for decision, order_appended, decision_appended in answers:
            self._decided += 1
            self._tiers[decision.tier] += 1
            self._clock = max(self._clock or 0, decision.event_time)
            self._recent.append((decision_appended, decision_appended - order_appended))
            self._per_second[decision_appended // 1000] += 1
            if decision.action == "freeze":
                self._frozen.appendleft(
                    FrozenOrder(
                        decision.event_time,
                        decision.order_id,
                        self.facts.get(decision.order_id),
                        decision.points,
                        decision.reasons[0].text if decision.reasons else "",
                    )
                )
                if len(self._frozen) > self.keep:
                    self._frozen.pop()

    def snapshot(self, *, now_ms: int, sent: int, dead_letters: int = 0) -> LiveSnapshot:
        """The state now, by the clock that the broker stamps with; forgets what is too old."""
        since = now_ms - round(self.window_s * 1000)
        while self._recent and self._recent[0][0] <= since:
            self._recent.popleft()
        this_second = now_ms // 1000
        for second in [s for s in self._per_second if s < this_second - 60]:
            del self._per_second[second]
        p50, p99 = (
            np.percentile([latency for _, latency in self._recent], (50, 99)).tolist()
            if self._recent
            else (None, None)
        )
        return LiveSnapshot(
            total=self.total,
            sent=sent,
            decided=self._decided,
            dead_letters=dead_letters,
            orders_per_s=len(self._recent) / self.window_s,
            rates=tuple(self._per_second[s] for s in range(this_second - 60, this_second)),
            p50_ms=p50,
            p99_ms=p99,
            tiers={tier: self._tiers[tier] for tier in TIERS},
            frozen=tuple(self._frozen),
            clock=self._clock,
        )


def order_facts(orders: pl.DataFrame) -> dict[str, OrderFacts]:
    """What the view shows of each order of an orders table, by order id."""
    columns = orders.select(
        "order_id", "account", pl.col("quantity") * pl.col("unit_price"), "currency"
    )
    return {order_id: OrderFacts(*facts) for order_id, *facts in columns.iter_rows()}
