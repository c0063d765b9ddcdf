"""Made-up traffic as columns, for benchmarks of the engine alone: no text, no shop, only load."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from features.columns import EventColumns
from features.declare import ENTITIES, OUTCOME_CODES
from features.feature_set import FeatureSet

DAYS = 30
END_MS = DAYS * 86_400_000
BLOCK = 65_536

# Orders per entity value over the 30 days …
_ORDERS_PER_VALUE = {
    "account": 10,
    "device": 14,
    "ip": 8,
    "ip_prefix": 60,
    "address": 25,
    "phone": 10,
    "recipient": 12,
    "payment": 9,
}
# … and the share of orders without a value.
_MISSING = {
    "device": 0.02,
    "ip": 0.01,
    "ip_prefix": 0.01,
    "address": 0.3,
    "phone": 0.05,
    "recipient": 0.3,
    "payment": 0.1,
}
_OFFER = {"merchant": 300, "sku": 5_000}


@dataclass(frozen=True)
class Traffic:
    """Orders evenly over 30 days with an outcome each, values drawn by popularity.

    Nine outcomes of ten follow within 12 hours and are completed or expired, as in most shops.

    Attributes:
        orders: How many.
        seed: The same seed gives the same traffic.
        values: How many values each entity has; by default as a shop of that many orders has.
    """

    orders: int
    seed: int
    values: Mapping[str, int]

    @classmethod
    def of_shop(cls, orders: int, seed: int) -> "Traffic":
        """As many accounts, devices, … as go with so many orders."""
        return cls(orders, seed, values_of_shop(orders))

    def blocks(self, declared: FeatureSet, block: int = BLOCK) -> Iterator[EventColumns]:
        """Events by time, in blocks of so many orders; outcomes after the last order are left out."""
        draw = np.random.default_rng(self.seed)
        late: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        for start in range(0, self.orders, block):
            n = min(block, self.orders - start)
            window = (END_MS * start // self.orders, END_MS * (start + n) // self.orders)
            time = np.sort(draw.integers(*window, n))
            key = spread(np.arange(start, start + n, dtype=np.uint64) + np.uint64(1))
            codes = [OUTCOME_CODES[kind] for kind in ("completed", "expired", "cancelled_other")]
            kinds = draw.choice(codes, n, p=[0.8, 0.15, 0.05]).astype(np.int8)
            late.append((key, time + draw.integers(60_000, 43_200_000, n), kinds))

            waiting = [np.concatenate(part) for part in zip(*late, strict=True)]
            due = waiting[1] <= time[-1]
            late = [(waiting[0][~due], waiting[1][~due], waiting[2][~due])]
            all_times = np.concatenate([waiting[1][due], time])
            sequence = np.argsort(all_times, kind="stable")
            placed = placed_orders(draw, key, time, self.values, declared)
            yield EventColumns(
                order_key=np.concatenate([waiting[0][due], key])[sequence],
                time=all_times[sequence],
                kind=np.concatenate([waiting[2][due], placed.kind])[sequence],
                entity_key=placed.entity_key,
                quantity=placed.quantity,
                unit_price=placed.unit_price,
                order_values=placed.order_values,
            )

    def afterwards(self, declared: FeatureSet, count: int) -> Iterator[EventColumns]:
        """Single orders of the same shop, a millisecond apart, after the traffic."""
        draw = np.random.default_rng(self.seed + 1)
        key = spread(np.arange(count, dtype=np.uint64) + np.uint64(1 << 50))
        orders = placed_orders(draw, key, END_MS + np.arange(count), self.values, declared)
        for row in range(count):
            yield order_rows(orders, slice(row, row + 1))


def values_of_shop(orders: int) -> dict[str, int]:
    """How many values each entity has in a shop that takes so many orders in 30 days."""
    return {entity: orders // each + 2 for entity, each in _ORDERS_PER_VALUE.items()} | _OFFER


def placed_orders(
    draw: np.random.Generator,
    order_key: np.ndarray,
    time: np.ndarray,
    values: Mapping[str, int],
    declared: FeatureSet,
) -> EventColumns:
    """Orders at given times, without outcomes.

    Args:
        draw: Chance.
        order_key: (n,) uint64, different ones.
        time: (n,) UTC ms, ascending.
        values: How many values each entity has.
        declared: Says how many facts an order has.
    """
    n = len(time)
    entities = np.zeros((n, len(ENTITIES)), np.uint64)
    for column, entity in enumerate(ENTITIES):
        value = (values[entity] * draw.random(n) ** 1.5).astype(np.uint64)
        keys = spread(value + np.uint64((column + 1) << 40))
        entities[:, column] = np.where(draw.random(n) < _MISSING.get(entity, 0.0), 0, keys)
    return EventColumns(
        order_key=order_key,
        time=time.astype(np.int64),
        kind=np.zeros(n, np.int8),
        entity_key=entities,
        quantity=draw.integers(1, 4, n),
        unit_price=draw.integers(100, 100_000, n),
        order_values=draw.random((n, len(declared.order_features))),
    )


def order_rows(orders: EventColumns, rows: slice | np.ndarray) -> EventColumns:
    """Some of events that are all orders."""
    return EventColumns(
        order_key=orders.order_key[rows],
        time=orders.time[rows],
        kind=orders.kind[rows],
        entity_key=orders.entity_key[rows],
        quantity=orders.quantity[rows],
        unit_price=orders.unit_price[rows],
        order_values=orders.order_values[rows],
    )


def spread(values: np.ndarray) -> np.ndarray:
    """Keys as evenly spread as hashes: the finaliser of SplitMix64."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
