"""Hot entity values: many orders on few values, among normal traffic."""

from dataclasses import dataclass

import numpy as np

from features.columns import EventColumns
from features.declare import ENTITIES
from features.feature_set import FeatureSet
from preempt.feature_traffic import END_MS, order_rows, placed_orders, spread, values_of_shop


@dataclass(frozen=True)
class Crowd:
    """Orders on hot values among normal traffic, and orders on the same values right after.

    Attributes:
        before: All by time; each hot value has `size` orders in its window.
        after: On the hot values, one after the other; twice as many as are timed.
    """

    before: EventColumns
    after: EventColumns

    @classmethod
    def make(
        cls,
        hot: tuple[str, ...],
        window_ms: int,
        size: int,
        *,
        held: int,
        timed: int,
        declared: FeatureSet,
        seed: int,
    ) -> "Crowd":
        """Make the orders.

        The fewer orders a hot value has the more such values there are, so that the timed orders
        add no more than a hundredth to any of them.

        Args:
            hot: The entities whose values are hot together.
            window_ms: The orders of a hot value are spread over so long.
            size: So many are they.
            held: Orders in the state before those that are timed.
            timed: About so many are timed.
            declared: The features.
            seed: The same seed gives the same orders.
        """
        each = max(1, min(size // 100, timed))
        n_hot = max(1, timed // each)
        n_crowd, n_after = n_hot * size, 2 * n_hot * each
        draw = np.random.default_rng(seed)
        values = values_of_shop(held)
        step = max(1, min(window_ms // n_crowd, 1000))
        times = np.concatenate(
            [
                np.sort(draw.integers(0, END_MS, max(held - n_crowd, 0))),
                END_MS - window_ms + window_ms * np.arange(n_crowd) // n_crowd,
                END_MS + step * np.arange(n_after),
            ]
        )
        keys = spread(np.arange(len(times), dtype=np.uint64) + np.uint64(1 << 50))
        orders = placed_orders(draw, keys, times, values, declared)
        n_before = len(times) - n_after
        crowd = slice(n_before - n_crowd, None)
        which = np.arange(n_crowd + n_after, dtype=np.uint64) % np.uint64(n_hot)
        for column, entity in enumerate(ENTITIES):
            if entity in hot:
                orders.entity_key[crowd, column] = spread(which + np.uint64((column + 1) << 52))
        sequence = np.argsort(times[:n_before], kind="stable")
        return cls(order_rows(orders, sequence), order_rows(orders, slice(n_before, None)))
