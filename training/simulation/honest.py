"""Honest people, one order at a time."""

import numpy as np
import polars as pl

from training.simulation.calendar import within
from training.simulation.drafts import KIND, draft
from training.simulation.keys import Ints, derive
from training.simulation.population import coupons
from training.simulation.world import World


def honest_orders(rng: np.random.Generator, world: World, times: Ints) -> pl.DataFrame:
    """Single orders at these times: most people, most of the time."""
    people, n = world.people, len(times)
    persona = rng.random(n)
    new = persona < 0.10
    accounts = np.where(new, people.recent_account(rng, times), people.any_account(rng, times))
    order = people.customers(rng, accounts, times)
    order["sku"] = _goods(rng, world, times)
    kind = np.full(n, KIND["regular"])
    kind[people.in_household(accounts)] = KIND["household"]
    kind[order["virtual"]] = KIND["virtual_phone"]
    kind[new] = KIND["new_customer"]

    travels = (persona >= 0.10) & (persona < 0.14)
    kind[travels] = KIND["traveller"]
    hotel = derive(rng.integers(0, 1 << 62, n).astype(np.uint64), "hotel")
    away = people.home_segment(hotel, "segment") + 1 + rng.integers(0, 254, n)
    order["ip"] = np.where(travels, away, order["ip"])

    # a telephone bought today: device, card and often the goods are new to the account
    renews = (persona >= 0.14) & (persona < 0.17)
    kind[renews] = KIND["new_device"]
    bought = derive(order["account"], "bought device", times // 86_400_000)
    order["device"] = np.where(renews, bought, order["device"])
    order["payment"] = np.where(
        renews & (rng.random(n) < 0.5), derive(bought, "payment"), order["payment"]
    )
    dear = world.catalogue.demand * world.catalogue.list_price**0.6
    order["sku"] = np.where(renews, world.catalogue.sample(rng, n, dear), order["sku"])

    hunts = (persona >= 0.17) & (persona < 0.21)
    kind[hunts] = KIND["coupon_hunter"]
    order["coupon"] = np.where(hunts, coupons(rng, times, hunts), order["coupon"])

    # to the parents, now and then
    family = derive(order["account"], "family", rng.integers(0, 3, n))
    away_from_home = rng.random(n) < 0.05
    order["place"] = np.where(away_from_home, family, order["place"])
    order["room"] = np.where(away_from_home, derive(family, "room"), order["room"])
    order["recipient"] = np.where(away_from_home, derive(family, "person"), order["recipient"])
    order["kind"] = kind
    return draft(order)


def _goods(rng: np.random.Generator, world: World, times: Ints) -> Ints:
    catalogue = world.catalogue
    usual = catalogue.sample(rng, len(times), catalogue.demand)
    reduced = catalogue.sample(rng, len(times), catalogue.demand * (catalogue.promoted + 1e-9))
    tempted = within(times, world.calendar.promotions) & (rng.random(len(times)) < 0.35)
    return np.where(tempted, reduced, usual)
