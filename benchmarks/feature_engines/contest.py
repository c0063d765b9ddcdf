"""What every contender gets, what it gives back, and how its values are compared with ours."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from features.columns import event_columns_from_orders
from features.declare import ENTITIES, Feature
from features.definitions import FEATURES
from features.feature_set import FeatureSet, feature_set
from features.kernels import AMOUNT_CAP
from orders.events import Order
from orders.tables import orders_from_frame
from training.simulation.config import SimulationConfig
from training.simulation.generate import simulate

# What all of them can express: counts, sums, maxima, distinct values, time since the last order.
SUBSET = (
    "account_orders_5m", "account_orders_1h", "account_orders_24h",
    "account_amount_24h", "account_amount_max_30d",
    "account_devices_24h", "account_ip_prefixes_24h", "account_addresses_24h",
    "account_seconds_since_last",
    "device_orders_1m", "device_orders_5m", "device_orders_1h", "device_orders_24h",
    "device_accounts_1h", "device_accounts_24h", "device_addresses_24h", "device_phones_24h",
    "device_seconds_since_last",
    "ip_orders_5m", "ip_orders_1h", "ip_accounts_1h", "ip_devices_1h",
    "ip_prefix_orders_5m", "ip_prefix_orders_1h", "ip_prefix_accounts_1h", "ip_prefix_phones_1h",
    "address_orders_24h", "address_accounts_24h",
    "phone_orders_24h",
)  # fmt: skip
ENTITIES_OF_SUBSET = ("account", "device", "ip", "ip_prefix", "address", "phone")

COMPARED = 5_000  # orders whose values are compared

# An order as the others get it: `order_id`, `time` (UTC ms), `amount` (minor units), and a text or
# None for each entity of the subset. Texts are normalised already, and that is not timed.
Row = dict[str, Any]


class NotAvailableError(Exception):
    """A contender cannot run here; the message says why."""


@dataclass(frozen=True)
class Contest:
    """The orders by event time, and the rules.

    Attributes:
        orders: As our engine takes them.
        rows: The same, as the others take them.
        declared: What is to be computed.
        seconds: After so long a contender is stopped.
        folder: For files; removed afterwards.
    """

    orders: Sequence[Order]
    rows: Sequence[Row]
    declared: FeatureSet
    seconds: float
    folder: Path


@dataclass(frozen=True)
class Run:
    """What a contender did.

    Attributes:
        orders: How many.
        seconds: In how long.
        values: (at most COMPARED, n_features) float64, the features of the first orders.
        order_us: Microseconds of each order, when it takes one at a time in this process.
    """

    orders: int
    seconds: float
    values: np.ndarray
    order_us: np.ndarray = field(default_factory=lambda: np.zeros(0))


Contender = Callable[[Contest], Run]


def subset() -> FeatureSet:
    """The features of the contest, as they are declared."""
    by_name = {feature.name: feature for feature in FEATURES}
    return feature_set(features=tuple(by_name[name] for name in SUBSET))


def make_contest(orders: int, *, days: float, seed: int, seconds: float, folder: Path) -> Contest:
    """Orders of `preempt simulate`, and the rules."""
    config = SimulationConfig(orders=orders, days=days, seed=seed)
    made = orders_from_frame(pl.concat([block.orders for block in simulate(config)]))
    declared = subset()
    return Contest(made, _rows(made, declared), declared, seconds, folder)


def by_entity(features: Sequence[Feature]) -> dict[str, list[tuple[int, Feature]]]:
    """The features of each entity, with their columns."""
    grouped: dict[str, list[tuple[int, Feature]]] = {}
    for column, feature in enumerate(features):
        grouped.setdefault(str(feature.entity), []).append((column, feature))
    return grouped


def window_ms(feature: Feature) -> int:
    """The length of its window."""
    return 1000 * (feature.window_s or 0)


def one_at_a_time(features_of: Callable[[Row], list[float]], contest: Contest) -> Run:
    """Run a contender that takes one order at a time in this process.

    Args:
        features_of: Gives the features of an order, then takes the order into its state.
        contest: The orders and the time it has.
    """
    values: list[list[float]] = []
    took: list[float] = []
    begun = time.perf_counter()
    for row in contest.rows:
        started = time.perf_counter()
        if started - begun > contest.seconds:
            break
        vector = features_of(row)
        took.append(time.perf_counter() - started)
        if len(values) < COMPARED:
            values.append(vector)
    seconds = time.perf_counter() - begun
    return Run(len(took), seconds, np.array(values, np.float64), 1e6 * np.array(took))


def equal_shares(ours: np.ndarray, theirs: np.ndarray, names: Sequence[str]) -> dict[str, float]:
    """Per feature the share of equal values; two missing ones are equal, nothing else is close."""
    n = min(len(ours), len(theirs))
    a, b = ours[:n], theirs[:n]
    equal = (a == b) | (np.isnan(a) & np.isnan(b))
    return dict(zip(names, equal.mean(axis=0).tolist(), strict=True))


def _rows(orders: Sequence[Order], declared: FeatureSet) -> list[Row]:
    columns = event_columns_from_orders(orders, declared)
    amounts = np.minimum(columns.quantity * columns.unit_price, AMOUNT_CAP).tolist()
    texts = {
        entity: [f"{key:016x}" if key else None for key in keys.tolist()]
        for entity, keys in zip(ENTITIES, columns.entity_key.T, strict=True)
        if entity in ENTITIES_OF_SUBSET
    }
    return list(_joined(orders, amounts, texts))


def _joined(
    orders: Sequence[Order], amounts: list[int], texts: dict[str, list[str | None]]
) -> Iterator[Row]:
    for i, (order, amount) in enumerate(zip(orders, amounts, strict=True)):
        facts: Row = {"order_id": order.order_id, "time": int(order.event_time), "amount": amount}
        yield facts | {entity: values[i] for entity, values in texts.items()}
