"""When people order: the curve of the day and week, promotions, and the shop's bad quarter-hours.

Hours and weekdays are those of the shop's clock, UTC+8 without summer time.
"""

from dataclasses import dataclass

import numpy as np

from training.simulation.config import DAY, HOUR, MINUTE, SimulationConfig
from training.simulation.keys import Floats, Ints

SHOP_ZONE = 8 * HOUR

# The rate of each hour of the day relative to the others, at its start.
HOURLY = np.array(
    [
        *(1.9, 1.1, 0.7, 0.5, 0.4, 0.5, 0.9, 1.6, 2.6, 3.6, 4.3, 4.5),
        *(4.9, 4.4, 4.1, 4.2, 4.4, 4.6, 4.9, 5.8, 6.9, 7.2, 6.0, 3.6),
    ]
)
WEEKDAY = np.array([0.95, 0.95, 0.96, 0.98, 1.06, 1.14, 1.08])  # Monday first

PROMOTION_EVERY_DAYS = 6
PROMOTION_HOURS = (20, 12, 10, 21)  # the last day's is the first of these
GATEWAY_FAILURE = 15 * MINUTE
PRICE_ERROR = 10 * MINUTE
BEYOND = 6 * DAY


@dataclass(frozen=True, slots=True)
class Span:
    """A time range, its end excluded, in UTC milliseconds."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Calendar:
    """The rate of orders over the whole time, and what happens when.

    Attributes:
        edges: The minutes' starts and the end, UTC milliseconds; some days beyond the end, too,
            for what starts before it and lasts longer.
        cumulative: The share of all orders before each edge: 0 at the start, 1 at the end.
        promotions: In order of time; the last lies in the last day.
        gateway_failures: When no payment goes through.
        price_errors: When a sku is sold at a tenth of its list price.
    """

    edges: Floats
    cumulative: Floats
    promotions: tuple[Span, ...]
    gateway_failures: tuple[Span, ...]
    price_errors: tuple[Span, ...]

    def share_before(self, time: float) -> float:
        """The share of all orders that is expected before a time."""
        return float(np.interp(time, self.edges, self.cumulative))

    def times_of_shares(self, parts: Floats) -> Ints:
        """The times before which these shares of all orders are expected."""
        return np.interp(parts, self.cumulative, self.edges).astype(np.int64)

    def sample(self, rng: np.random.Generator, number: int, span: Span) -> Ints:
        """Times within a span as orders would come, in no order."""
        low, high = self.share_before(span.start), self.share_before(span.end)
        times = np.interp(rng.uniform(low, high, number), self.cumulative, self.edges)
        return np.clip(times.astype(np.int64), span.start, span.end - 1)

    def spread(self, rng: np.random.Generator, starts: Ints, lengths: Floats) -> Ints:
        """For each start a time within the length after it (milliseconds), as orders would come."""
        low = np.interp(starts, self.edges, self.cumulative)
        high = np.interp(starts + lengths, self.edges, self.cumulative)
        share = low + (high - low) * rng.random(len(starts))
        times = np.interp(share, self.cumulative, self.edges).astype(np.int64)
        return np.maximum(times, starts)

    def is_festive(self, times: Ints) -> np.ndarray:
        """Whether a promotion is on the same day of the shop."""
        days = np.array([local_day(np.array([p.start]))[0] for p in self.promotions])
        return np.isin(local_day(times), days)


def local_day(times: Ints) -> Ints:
    """The number of the shop's day."""
    return (times + SHOP_ZONE) // DAY


def local_hour(times: Ints) -> Ints:
    """The shop's hour, 0 to 23."""
    return (times + SHOP_ZONE) % DAY // HOUR


def is_weekend_evening(times: Ints) -> np.ndarray:
    """Whether it is a Saturday or Sunday after 20:00: cancellations surge then."""
    weekday = (local_day(times) + 3) % 7  # 1970-01-01 was a Thursday
    return (weekday >= 5) & (local_hour(times) >= 20)


def within(times: Ints, spans: tuple[Span, ...]) -> np.ndarray:
    """Whether each time lies in one of the spans."""
    inside = np.zeros(len(times), dtype=bool)
    for span in spans:
        inside |= (times >= span.start) & (times < span.end)
    return inside


def build_calendar(config: SimulationConfig, rng: np.random.Generator) -> Calendar:
    """The calendar of a simulation."""
    promotions = _promotions(config)
    edges = np.arange(config.start, config.end, MINUTE, dtype=np.float64)
    later = np.arange(config.end, config.end + BEYOND + 1, MINUTE, dtype=np.float64)
    edges = np.concatenate([edges, later])
    middle = ((edges[:-1] + edges[1:]) / 2).astype(np.int64)
    clock = (middle + SHOP_ZONE) % DAY / HOUR
    rate = np.interp(clock, np.arange(25), np.append(HOURLY, HOURLY[0]))
    rate *= WEEKDAY[(local_day(middle) + 3) % 7]
    for promotion in promotions:
        inside = (middle >= promotion.start) & (middle < promotion.end)
        progress = (middle[inside] - promotion.start) / (promotion.end - promotion.start)
        # the first minutes are the wildest; over the hour the mean stays between 6 and 8
        rate[inside] *= rng.uniform(6.2, 7.8) * (1.25 - 0.5 * progress)
    cumulative = np.concatenate([[0.0], np.cumsum(rate * np.diff(edges))])
    cumulative /= cumulative[np.searchsorted(edges, config.end)]
    calendar = Calendar(edges, cumulative, promotions, (), ())
    return Calendar(
        edges,
        cumulative,
        promotions,
        _incidents(calendar, config, rng, every_days=4.5, length=GATEWAY_FAILURE),
        _incidents(calendar, config, rng, every_days=4.0, length=PRICE_ERROR),
    )


def _promotions(config: SimulationConfig) -> tuple[Span, ...]:
    if config.days < 1:
        length = min(HOUR, (config.end - config.start) // 10)
        start = config.start + (config.end - config.start) * 6 // 10
        return (Span(start, start + length),)
    spans = []
    first_instant = config.end - DAY  # of the last day
    number = 0
    while first_instant >= config.start:
        hour = PROMOTION_HOURS[number % len(PROMOTION_HOURS)]
        midnight = (first_instant + SHOP_ZONE) // DAY * DAY - SHOP_ZONE
        start = midnight + hour * HOUR
        if start < first_instant:
            start += DAY
        start = min(start, first_instant + DAY - HOUR)
        spans.append(Span(start, start + HOUR))
        first_instant -= PROMOTION_EVERY_DAYS * DAY
        number += 1
    return tuple(reversed(spans))


def _incidents(
    calendar: Calendar,
    config: SimulationConfig,
    rng: np.random.Generator,
    *,
    every_days: float,
    length: int,
) -> tuple[Span, ...]:
    number = int(config.days / every_days + 0.5)
    starts = np.sort(calendar.sample(rng, number, Span(config.start, config.end)))
    return tuple(Span(int(start), min(int(start) + length, config.end)) for start in starts)
