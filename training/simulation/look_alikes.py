"""Honest people who look like attackers: several orders in a short time, shared devices and networks.

Each function takes the starts of its episodes and returns their orders, which may last beyond the
block in which they start.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import polars as pl

from training.simulation.config import HOUR, MINUTE, SECOND
from training.simulation.drafts import FAILING, KIND, TO_BE_PAID, draft
from training.simulation.episodes import lognormal, paced, scattered, sizes, unfold
from training.simulation.keys import Ints, Keys, derive, pick
from training.simulation.population import Population, coupons
from training.simulation.world import World

Persona = Callable[[np.random.Generator, World, Ints], pl.DataFrame]


class LookAlike(NamedTuple):
    """A persona, its share of all orders, and the mean size of its episodes."""

    name: str
    orders: float
    mean_size: float
    make: Persona


def _regulars(rng: np.random.Generator, people: Population, number: int, pool: float) -> Ints:
    """Accounts of a small circle that does this again and again, and was there from the start."""
    circle = max(3, int(pool * people.initial))
    return rng.integers(0, circle, number) * (people.initial // circle)


def _strange_keys(rng: np.random.Generator, number: int) -> Keys:
    return rng.integers(1, 1 << 63, number).astype(np.uint64)


def gift_sender(rng: np.random.Generator, world: World, starts: Ints) -> pl.DataFrame:
    """One account, several addresses within minutes; mostly family, the same as the last times."""
    n = len(starts)
    size = np.where(
        rng.random(n) < 0.3, 1 + (rng.random(n) < 0.5), sizes(rng, n, 4.5, 0.45, (2, 12))
    )
    rows = unfold(size)
    # some paste a list into the shop's form for many recipients: as quick as a script
    gap = lognormal(rng, 90 * SECOND, 0.9, n)
    gap = np.where(rng.random(n) < 0.2, lognormal(rng, 700, 0.7, n), gap)
    times = paced(rng, starts, gap, rows)
    account = _regulars(rng, world.people, n, 1 / 500)
    seldom = rng.random(n) < 0.2
    account = np.where(seldom, world.people.any_account(rng, starts), account)
    order = world.people.customers(rng, account[rows.of], times)
    for name in ("device", "ip", "channel", "method", "payment"):
        order[name] = order[name][rows.first]
    relative = derive(order["account"], "family", rows.position + pick(order["account"], "kin", 3))
    friend = derive(order["account"], "friend", rng.integers(0, 1 << 40, len(rows)))
    known = rng.random(len(rows)) < np.where(seldom, 0.3, 0.9)[rows.of]
    person = np.where(known, relative, friend)
    order["place"], order["room"] = person, derive(person, "room")
    order["recipient"], order["top_up"] = derive(person, "person"), derive(person, "top up")
    goods = world.catalogue.demand * np.where(world.catalogue.digital, 0.7, 1.4)
    goods = goods * world.catalogue.list_price**0.35
    same = world.catalogue.sample(rng, n, goods)[rows.of]
    other = world.catalogue.sample(rng, len(rows), goods)
    order["sku"] = np.where(rng.random(len(rows)) < 0.6, same, other)
    return draft({**order, "kind": KIND["gift_sender"]})


def bulk_buyer(rng: np.random.Generator, world: World, starts: Ints) -> pl.DataFrame:
    """A small shop that buys for its own customers, twenty and more a day."""
    n = len(starts)
    rows = unfold(sizes(rng, n, 22, 0.35, (10, 50)))
    times = scattered(rng, world.calendar, starts, lognormal(rng, 5 * HOUR, 0.7, n), rows)
    account = _regulars(rng, world.people, n, 1 / 3000)
    order = world.people.customers(rng, account[rows.of], times)
    desk = derive(order["account"], "desk", rng.integers(0, 2, len(rows)))
    order["device"] = desk
    order["ip"] = world.people.office_address(order["account"])
    order["channel"] = pick(order["account"], "shop channel", 5)
    assortment = world.catalogue.sample(rng, n * 4, world.catalogue.demand).reshape(n, 4)
    order["sku"] = assortment[rows.of, rng.integers(0, 4, len(rows))]
    customer = derive(order["account"], "customer", rng.integers(0, 60, len(rows)))
    direct = rng.random(len(rows)) < 0.4
    order["place"] = np.where(direct, customer, order["place"])
    order["room"] = np.where(direct, derive(customer, "room"), order["room"])
    order["top_up"] = np.where(direct, derive(customer, "top up"), order["top_up"])
    order["recipient"] = np.where(direct, derive(customer, "person"), order["recipient"])
    order["quantity"] = 1 + rng.poisson(0.8, len(rows))
    return draft({**order, "kind": KIND["bulk_buyer"]})


def family_purchase(rng: np.random.Generator, world: World, starts: Ints) -> pl.DataFrame:
    """Two or three of a household on one device, four orders and more a day."""
    n = len(starts)
    rows = unfold(sizes(rng, n, 4, 0.35, (3, 9)))
    times = scattered(rng, world.calendar, starts, lognormal(rng, 50 * MINUTE, 1.2, n), rows)
    first = np.minimum(world.people.any_account(rng, starts), world.people.existing(starts) - 3)
    first = first // 3 * 3
    account = first[rows.of] + rng.integers(0, 3, len(rows))
    order = world.people.customers(rng, account, times)
    home = world.people.households(first)[rows.of]
    order["device"] = derive(home, "device", (rng.random(len(rows)) < 0.2).astype(np.int64))
    order["ip"] = world.people.home_address(home, starts[rows.of])
    order["place"], order["room"] = derive(home, "place"), derive(home, "room")
    order["sku"] = world.catalogue.sample(rng, len(rows), world.catalogue.demand)
    return draft({**order, "kind": KIND["family_purchase"]})


def payment_retry(rng: np.random.Generator, world: World, starts: Ints) -> pl.DataFrame:
    """The payment fails, so the same is ordered again, up to five times in two minutes."""
    n = len(starts)
    rows = unfold(2 + rng.poisson(0.9, n))
    times = paced(rng, starts, lognormal(rng, 28 * SECOND, 0.6, n), rows)
    new = rng.random(n) < 0.2
    people = world.people
    account = np.where(new, people.recent_account(rng, starts), people.any_account(rng, starts))
    order = people.customers(rng, account[rows.of], times)
    for name in ("device", "ip", "channel", "quantity", "coupon", "top_up", "method"):
        order[name] = order[name][rows.first]
    order["method"] = np.where(rows.last & (rng.random(len(rows)) < 0.5), 1, order["method"])
    order["payment"] = derive(order["account"], "payment", order["method"])
    order["sku"] = world.catalogue.sample(rng, n, world.catalogue.demand)[rows.of]
    order["intent"] = np.where(rows.last, TO_BE_PAID, FAILING)
    return draft({**order, "kind": KIND["payment_retry"]})


def window_shopper(rng: np.random.Generator, world: World, starts: Ints) -> pl.DataFrame:
    """Puts up many orders to compare, pays one or none: like a probe, like a hold."""
    n = len(starts)
    rows = unfold(sizes(rng, n, 5, 0.5, (3, 16)))
    times = paced(rng, starts, lognormal(rng, 70 * SECOND, 1.1, n), rows)
    new = rng.random(n) < 0.35
    people = world.people
    account = np.where(new, people.recent_account(rng, starts), people.any_account(rng, starts))
    order = people.customers(rng, account[rows.of], times)
    for name in ("device", "ip", "channel"):
        order[name] = order[name][rows.first]
    order["sku"] = world.catalogue.sample(rng, len(rows), world.catalogue.demand)
    return draft({**order, "kind": KIND["window_shopper"]})


def campus_group(rng: np.random.Generator, world: World, starts: Ints) -> pl.DataFrame:
    """A dormitory buys what is on offer: new accounts, coupons, one building, one network."""
    n = len(starts)
    rows = unfold(sizes(rng, n, 16, 0.5, (6, 60)))
    times = scattered(rng, world.calendar, starts, lognormal(rng, 80 * MINUTE, 0.7, n), rows)
    new = rng.random(len(rows)) < 0.5
    people = world.people
    account = np.where(new, people.recent_account(rng, times), people.any_account(rng, times))
    order = people.customers(rng, account, times)
    campus = _strange_keys(rng, n)[rows.of]
    shared = people.home_segment(campus, "segment") + 1 + rng.integers(0, 12, len(rows)) * 3
    order["ip"] = np.where(rng.random(len(rows)) < 0.75, shared, order["ip"])
    # a lent telephone, now and then
    lent = derive(campus, "lent", rng.integers(0, 4, len(rows)))
    order["device"] = np.where(rng.random(len(rows)) < 0.3, lent, order["device"])
    order["place"] = derive(campus, "dormitory", rng.integers(0, 3, len(rows)))
    order["coupon"] = coupons(rng, times, rng.random(len(rows)) < 0.7)
    offers = world.catalogue.sample(rng, n * 3, world.catalogue.demand).reshape(n, 3)
    order["sku"] = offers[rows.of, rng.integers(0, 3, len(rows))]
    return draft({**order, "kind": KIND["campus_group"]})


def assisted_shop(rng: np.random.Generator, world: World, starts: Ints) -> pl.DataFrame:
    """A kiosk or net café orders for those who walk in: one device, account after account."""
    n = len(starts)
    rows = unfold(sizes(rng, n, 9, 0.6, (3, 50)))
    times = scattered(rng, world.calendar, starts, lognormal(rng, 70 * MINUTE, 0.9, n), rows)
    new = rng.random(len(rows)) < 0.4
    people = world.people
    account = np.where(new, people.recent_account(rng, times), people.any_account(rng, times))
    order = people.customers(rng, account, times)
    kiosk = derive(people.account_keys(_regulars(rng, people, n, 1 / 1500)), "kiosk")[rows.of]
    order["device"] = derive(kiosk, "device", rng.integers(0, 2, len(rows)))
    order["ip"] = np.where(rng.random(len(rows)) < 0.85, people.office_address(kiosk), order["ip"])
    till = rng.random(len(rows)) < 0.4
    order["payment"] = np.where(till, derive(kiosk, "payment"), order["payment"])
    shelf = world.catalogue.sample(rng, n * 5, world.catalogue.demand).reshape(n, 5)
    order["sku"] = shelf[rows.of, rng.integers(0, 5, len(rows))]
    return draft({**order, "kind": KIND["assisted_shop"]})


def price_rush(rng: np.random.Generator, world: World, number: int, error: int) -> pl.DataFrame:
    """Word gets round that something costs a tenth: about `number` orders in ten minutes."""
    span = world.calendar.price_errors[error]
    buyers = max(1, round(number / 1.6))
    rows = unfold(1 + rng.poisson(0.6, buyers))
    lead = rng.beta(1.6, 1.2, buyers) * (span.end - span.start)
    starts = span.start + lead.astype(np.int64)
    times = paced(rng, starts, np.full(buyers, 40.0 * SECOND), rows)
    times = np.minimum(times, span.end - 1 - (rng.random(len(rows)) * SECOND).astype(np.int64))
    people = world.people
    new = rng.random(buyers) < 0.25
    account = np.where(new, people.recent_account(rng, starts), people.any_account(rng, starts))
    order = people.customers(rng, account[rows.of], np.maximum(times, starts[rows.of]))
    order["sku"] = np.full(len(rows), world.catalogue.error_skus[error])
    order["quantity"] = 1 + rng.poisson(1.5, len(rows))
    return draft({**order, "kind": KIND["price_rush"]})


LOOK_ALIKES = (
    LookAlike("gift_sender", 0.030, 3.6, gift_sender),
    LookAlike("bulk_buyer", 0.022, 23.0, bulk_buyer),
    LookAlike("family_purchase", 0.020, 4.3, family_purchase),
    LookAlike("payment_retry", 0.020, 2.9, payment_retry),
    LookAlike("window_shopper", 0.016, 5.6, window_shopper),
    LookAlike("campus_group", 0.030, 18.0, campus_group),
    LookAlike("assisted_shop", 0.030, 10.6, assisted_shop),
)
"""The personas whose episodes start all the time; `price_rush` comes with its incident."""
