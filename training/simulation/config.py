"""What to simulate: how many orders, over how many days, from which seed and start."""

from dataclasses import dataclass
from datetime import UTC, datetime

from orders.errors import UsageError

SECOND = 1_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR

DEFAULT_START = "2026-03-02T00:00:00+08:00"  # a Monday, at midnight of the shop
MOST_ORDERS = 1_000_000_000
MOST_DAYS = 3_650
LAST_START = 4_102_444_800_000  # 2100-01-01, so that the last outcome still has a date


@dataclass(frozen=True, slots=True)
class SimulationConfig:
    """A simulation; two with equal fields make equal tables.

    Attributes:
        orders: How many orders, exactly.
        days: How long; may be a fraction.
        start: When the first day begins, UTC milliseconds.
        attack_share: About which share of the orders are attacks.
        block_orders: About how many orders are held at a time; part of what makes tables equal.
    """

    orders: int
    days: float
    seed: int = 7
    start: int = 1_772_380_800_000
    attack_share: float = 0.05
    block_orders: int = 50_000

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            UsageError: A field is out of its range.
        """
        if not 1 <= self.orders <= MOST_ORDERS:
            raise UsageError(f"--orders is {self.orders}, expected 1 to {MOST_ORDERS}")
        if not 0.001 <= self.days <= MOST_DAYS:
            raise UsageError(f"--days is {self.days:g}, expected 0.001 to {MOST_DAYS}")
        if not 0 <= self.seed < 2**63:
            raise UsageError(f"--seed is {self.seed}, expected 0 to 2^63 - 1")
        if not 0 <= self.start <= LAST_START:
            raise UsageError("--start is out of range, expected a time from 1970 to 2100")
        if not 0 <= self.attack_share <= 0.5:
            raise UsageError(f"--attack-share is {self.attack_share:g}, expected 0 to 0.5")
        if self.block_orders < 100:
            raise UsageError(f"block_orders is {self.block_orders}, expected 100 or more")

    @property
    def end(self) -> int:
        """The first instant after the last day."""
        return self.start + max(1, round(self.days * DAY))

    @property
    def orders_per_day(self) -> float:
        """The mean."""
        return self.orders / self.days


def parse_start(text: str) -> int:
    """ISO 8601 with a zone, as UTC milliseconds.

    Raises:
        UsageError: It is not ISO 8601, or has no zone.

    >>> parse_start(DEFAULT_START)
    1772380800000
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(
            f"--start is {text!r}, expected ISO 8601 such as {DEFAULT_START}"
        ) from None
    if moment.tzinfo is None:
        raise UsageError(
            f"--start is {text!r}, expected a time with a zone, such as {DEFAULT_START}"
        )
    return round(moment.astimezone(UTC).timestamp() * 1000)
