"""What is sold: merchants, skus, their list prices, and what they cost at a given time."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from training.simulation.calendar import Calendar, within
from training.simulation.config import DAY
from training.simulation.keys import Floats, Ints, Keys, mix, numbered, root_key, share

SKUS = 360
MERCHANTS = 24


class Category(NamedTuple):
    """A kind of goods; `prices` are face values in fen, or empty with a median and a spread."""

    name: str
    digital: bool
    demand: float
    merchants: int
    prices: tuple[int, ...] = ()
    median: int = 0
    spread: float = 0.0


CATEGORIES = (
    Category("card_key", True, 0.29, 8, (1000, 2000, 3000, 5000, 10000, 20000, 50000, 100000)),
    Category("top_up", True, 0.24, 4, (1000, 2000, 3000, 5000, 10000, 20000, 30000)),
    Category("beauty", False, 0.18, 5, median=12900, spread=0.7),
    Category("food", False, 0.12, 3, median=5900, spread=0.5),
    Category("electronics", False, 0.07, 2, median=69900, spread=0.9),
    Category("apparel", False, 0.10, 2, median=15900, spread=0.6),
)


@dataclass(frozen=True, slots=True)
class Catalogue:
    """All skus, as arrays of one entry per sku (per merchant where it says so).

    Attributes:
        category: An index into `CATEGORIES`.
        merchant: An index into `merchant_keys`.
        demand: The share of honest demand.
        promoted: Whether the sku is cheaper in promotions.
        care: Per merchant: the factor on cancellations that careless merchants have.
        error_skus: Per price error of the calendar: the sku.
    """

    keys: Keys
    category: Ints
    digital: np.ndarray
    merchant: Ints
    list_price: Ints
    demand: Floats
    promoted: np.ndarray
    merchant_keys: Keys
    care: Floats
    error_skus: Ints

    def sample(self, rng: np.random.Generator, number: int, weights: Floats) -> Ints:
        """Skus drawn by weight."""
        cumulative = np.cumsum(weights)
        return np.searchsorted(cumulative, rng.random(number) * cumulative[-1], side="right")

    def unit_price(self, skus: Ints, times: Ints, calendar: Calendar) -> Ints:
        """The price at a time, in fen: promotions and slips of the pen included."""
        week = (times // (7 * DAY)).astype(np.uint64)
        weekly = share(mix(self.keys[skus] + week), "discount")
        # a third of the time a sku has a few percent off, otherwise it costs its list price
        factor = np.where(weekly < 0.35, 0.88 + weekly / 3.5, 1.0)
        factor *= np.where(self.promoted[skus] & within(times, calendar.promotions), 0.7, 1.0)
        for sku, span in zip(self.error_skus, calendar.price_errors, strict=True):
            wrong = (skus == sku) & (times >= span.start) & (times < span.end)
            factor = np.where(wrong, 0.1, factor)
        return np.maximum(1, np.rint(self.list_price[skus] * factor)).astype(np.int64)


def build_catalogue(seed: int, calendar: Calendar, rng: np.random.Generator) -> Catalogue:
    """The catalogue of a simulation."""
    demand_of = np.array([category.demand for category in CATEGORIES])
    category = np.sort(
        np.concatenate(
            [np.arange(len(CATEGORIES)), rng.choice(6, SKUS - 6, p=demand_of / demand_of.sum())]
        )
    ).astype(np.int64)
    list_price = np.empty(SKUS, dtype=np.int64)
    merchant = np.empty(SKUS, dtype=np.int64)
    demand = np.empty(SKUS)
    first_merchant = 0
    for index, kind in enumerate(CATEGORIES):
        mine = np.flatnonzero(category == index)
        if kind.prices:
            list_price[mine] = rng.choice(np.array(kind.prices), len(mine))
        else:
            price = kind.median * np.exp(rng.normal(0, kind.spread, len(mine)))
            list_price[mine] = np.maximum(10, np.rint(price / 1000)) * 1000 - 100
        merchant[mine] = first_merchant + rng.integers(0, kind.merchants, len(mine))
        first_merchant += kind.merchants
        # Zipf-like popularity; the dear sell less
        popularity = rng.permutation(len(mine) + 3)[: len(mine)] + 2.0
        weight = popularity**-0.7 * list_price[mine] ** -0.25
        demand[mine] = kind.demand * weight / weight.sum()
    dear = np.flatnonzero((list_price >= 5000) & (demand > np.median(demand)))
    return Catalogue(
        keys=numbered(root_key(seed, "skus"), np.arange(SKUS), "sku"),
        category=category,
        digital=np.array([kind.digital for kind in CATEGORIES])[category],
        merchant=merchant,
        list_price=list_price,
        demand=demand / demand.sum(),
        promoted=rng.random(SKUS) < 0.4,
        merchant_keys=numbered(root_key(seed, "merchants"), np.arange(MERCHANTS), "merchant"),
        care=np.exp(rng.normal(0, 0.5, MERCHANTS)),
        error_skus=rng.choice(dear, len(calendar.price_errors)).astype(np.int64),
    )
