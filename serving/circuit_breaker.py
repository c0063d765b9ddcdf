"""The circuit breaker: nothing stops more than its share of the orders of an interval.

A rule that is wrong, or a model gone bad, matches good orders by the thousand. Above its cap what it
says is still recorded, and counts no more: an order then gets the tier that all the rest gives it,
or the floor, whichever is harder, and never a harder one than it would have got.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Literal, NamedTuple

import msgspec
from msgspec import Meta

from orders.decision_table import TIERS

CANCEL = TIERS.index("cancel")

Share = Annotated[float, Meta(gt=0, le=1)]


class CircuitBreaker(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The most that may be stopped in an interval, as shares of its orders so far.

    Each worker counts for itself, by its own clock, in intervals that begin at multiples of
    `interval_s` since 1970.
    """

    interval_s: Annotated[int, Meta(ge=1, le=86_400)] = 300
    at_least: Annotated[int, Meta(ge=0)] = 30  # stops that are allowed however few orders there are
    at_most: Annotated[int, Meta(ge=1)] = 1_000  # cancels, which cannot be taken back, of each key
    rule: Share = 0.1  # of each rule
    model: Share = 0.25
    channel: Share = 0.5  # of each channel, of its own orders
    floor: Literal["pass", "sms", "call"] = "sms"  # what is left of a stop above the cap, at least

    def cap_of(self, key: str) -> float:
        """The cap of `rule:<name>`, `model` or `channel:<name>`."""
        kind = key.partition(":")[0]
        return self.rule if kind == "rule" else self.model if kind == "model" else self.channel


class Part(NamedTuple):
    """What one rule, or the model, says about an order that is stopped."""

    key: str  # rule:<name>, or model
    tier_without: int  # the tier of the order if this did not count


class Tripped(NamedTuple):
    """A key that is above its cap since now."""

    key: str
    stops: int
    orders: int


def channel_key(channel: str) -> str:
    """The key of a channel."""
    return f"channel:{channel}"


class StopCounts:
    """What has been stopped in the interval so far.

    A chunk that is decided again, since it could not be recorded, is counted again, orders and stops
    alike.

    Attributes:
        breaker: the caps; others may be put in their place at any time, and the counts stay.
    """

    def __init__(self, breaker: CircuitBreaker) -> None:
        self.breaker = breaker
        self._interval = -1
        self._orders: Counter[str] = Counter()
        self._stops: Counter[str] = Counter()
        self._cancels: Counter[str] = Counter()  # those of the stops that cannot be taken back
        self._told: set[str] = set()

    def begin(self, now: int, channels: Sequence[str | None]) -> None:
        """Count the orders of a chunk.

        Args:
            now: UTC milliseconds.
            channels: of each order.
        """
        interval = now // (1000 * self.breaker.interval_s)
        if interval != self._interval:
            self._interval = interval
            self._orders.clear()
            self._stops.clear()
            self._cancels.clear()
            self._told.clear()
        self._orders[""] += len(channels)
        for channel, orders in Counter(channels).items():
            if channel is not None:
                self._orders[channel_key(channel)] += orders

    def keys_of(self, tier: int, parts: Sequence[Part], channel: str | None) -> list[str]:
        """What a stop counts for.

        Args:
            tier: of the order, not PASS.
            parts: all that adds to it.
            channel: that it came by.
        """
        decisive = [part.key for part in parts if part.tier_without < tier]
        keys = decisive or [part.key for part in parts]  # each of several would have been enough
        return keys if channel is None else [*keys, channel_key(channel)]

    def full(self, keys: Sequence[str], tier: int) -> list[str]:
        """Those of the keys that may stop no more orders in this tier."""
        return [
            key
            for key in keys
            if self._stops[key] + 1 > self._allowed(key)
            or (tier == CANCEL and self._cancels[key] + 1 > self.breaker.at_most)
        ]

    def count(self, keys: Sequence[str], tier: int) -> None:
        """Count a stop in a tier."""
        self._stops.update(keys)
        if tier == CANCEL:
            self._cancels.update(keys)

    def softened(self, tier: int, tier_without: int) -> int:
        """The tier of an order that has `tier`, and `tier_without` what is above its cap."""
        return min(tier, max(tier_without, TIERS.index(self.breaker.floor)))

    def newly_tripped(self, keys: Sequence[str]) -> list[Tripped]:
        """Those of the keys that nobody was told of in this interval."""
        fresh = [key for key in dict.fromkeys(keys) if key not in self._told]
        self._told.update(fresh)
        return [Tripped(key, self._stops[key], self._orders_of(key)) for key in fresh]

    def _allowed(self, key: str) -> float:
        return max(self.breaker.at_least, self.breaker.cap_of(key) * self._orders_of(key))

    def _orders_of(self, key: str) -> int:
        return self._orders[key if key.startswith("channel:") else ""]
