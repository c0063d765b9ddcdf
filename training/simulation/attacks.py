"""The kinds of attack. Each function turns incidents into their orders."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import polars as pl

from training.simulation.attackers import VIRTUAL_OF_SCALPERS, Incidents, crew
from training.simulation.config import HOUR, MINUTE, SECOND
from training.simulation.drafts import KIND, NEVER_PAID, draft
from training.simulation.episodes import lognormal, paced, scattered, sizes
from training.simulation.keys import Ints, derive, pick
from training.simulation.population import HOSTS, coupons
from training.simulation.world import World

LATE = 0.6  # the share of the days after which the late kinds appear

Attack = Callable[[np.random.Generator, World, Incidents], pl.DataFrame]


class AttackKind(NamedTuple):
    """A kind, its weight among the attack orders early and late, and its mean size."""

    name: str
    early: float
    late: float
    mean_size: float
    make: Attack


def ring(rng: np.random.Generator, world: World, attack: Incidents) -> pl.DataFrame:
    """Accounts in rotation over few devices and an IP segment."""
    n, stealth = len(attack), attack.stealth
    size = sizes(rng, n, 22, 0.5, (6, 90))
    gang = crew(rng, world, attack, size)
    length = lognormal(rng, 26 * MINUTE * (1 + 7 * stealth), 0.6, n)
    times = scattered(rng, world.calendar, attack.starts, length, gang.rows)
    accounts = gang.one_of("account", size / rng.uniform(1.0, 2.2, n))
    order = gang.orders(times, accounts, fresh=0.6)
    farm = gang.one_of("device", size / (1.4 + 9 * (1 - stealth)))
    own = gang.chance(0.45 * gang.stealth)
    order["device"] = np.where(own, order["device"], farm)
    inside = gang.segment(3 + 25 * stealth, 2)
    order["ip"] = np.where(gang.chance(0.15 + 0.5 * gang.stealth), order["ip"], inside)
    mule = gang.one_of("mule", size / 3)
    through_mule = gang.chance(0.4)
    order["place"] = np.where(through_mule, mule, order["place"])
    order["room"] = np.where(through_mule, derive(mule, "room"), order["room"])
    order["top_up"] = np.where(through_mule, derive(mule, "top up"), order["top_up"])
    pooled = gang.one_of("purse", size / 2.5)
    order["payment"] = np.where(gang.chance(0.35), derive(pooled, "payment"), order["payment"])
    order["sku"] = gang.targets(world.catalogue.demand, 3)
    return draft({**order, "kind": KIND["ring"]})


def stock_hold(rng: np.random.Generator, world: World, attack: Incidents) -> pl.DataFrame:
    """Orders that hold the stock and are never paid: up to a third of all that is pending."""
    n, stealth = len(attack), attack.stealth
    size = hold_sizes(rng, world, attack.starts)
    gang = crew(rng, world, attack, size)
    length = lognormal(rng, 16 * MINUTE * (1 + 4 * stealth), 0.5, n)
    times = scattered(rng, world.calendar, attack.starts, length, gang.rows)
    accounts = gang.one_of("account", size / rng.uniform(1.0, 1.8, n))
    order = gang.orders(times, accounts, fresh=0.5)
    farm = gang.one_of("device", size / (1.2 + 5 * (1 - stealth)))
    own = gang.chance(0.1 + 0.4 * gang.stealth)
    order["device"] = np.where(own, order["device"], farm)
    inside = gang.segment(np.minimum(6 + size / 3, 200.0))
    order["ip"] = np.where(gang.chance(0.1 + 0.45 * gang.stealth), order["ip"], inside)
    order["sku"] = gang.targets(world.catalogue.demand, 4)
    order["quantity"] = order["quantity"] + rng.poisson(0.5, len(gang.rows))
    return draft({**order, "kind": KIND["stock_hold"]})


def hold_sizes(rng: np.random.Generator, world: World, starts: Ints) -> Ints:
    """Sizes of stock holds: up to a third of what is ordered in the half hour, at least 15."""
    config, calendar = world.config, world.calendar
    usual = config.orders_per_day / 48
    pending = np.interp(starts + 30 * MINUTE, calendar.edges, calendar.cumulative)
    pending -= np.interp(starts, calendar.edges, calendar.cumulative)
    part = rng.uniform(0.08, 0.35, len(starts))
    size = part * np.minimum(usual, pending * config.orders)
    return np.clip(size, 15 + 25 * part, 500).astype(np.int64)


def scalper(rng: np.random.Generator, world: World, attack: Incidents) -> pl.DataFrame:
    """A script buys what is scarce: a dozen orders in three seconds, to as many addresses."""
    n, stealth = len(attack), attack.stealth
    gang = crew(rng, world, attack, sizes(rng, n, 12, 0.22, (6, 24)))
    slow = rng.random(n) < 0.15 + 0.6 * stealth
    gap = np.where(slow, lognormal(rng, 25 * SECOND, 0.8, n), rng.uniform(170, 330, n))
    times = paced(rng, attack.starts, gap, gang.rows)
    many = np.where(slow, 1 + 4 * stealth, 1.0)
    accounts = gang.one_of("account", many)
    order = gang.orders(times, accounts, fresh=0.85, virtual=VIRTUAL_OF_SCALPERS)
    for name in ("device", "ip", "channel"):
        order[name] = np.where(slow[gang.rows.of], order[name], order[name][gang.rows.first])
    buyer = derive(attack.keys[gang.rows.of], "buyer", gang.rows.position)
    order["place"], order["room"] = buyer, derive(buyer, "room")
    order["recipient"], order["top_up"] = derive(buyer, "person"), derive(buyer, "top up")
    catalogue = world.catalogue
    scarce = catalogue.demand * np.where(catalogue.digital, 0.5, 1.5) * catalogue.list_price**0.55
    order["sku"] = gang.targets(scarce, 1)
    return draft({**order, "kind": KIND["scalper"]})


def stolen_payment(rng: np.random.Generator, world: World, attack: Incidents) -> pl.DataFrame:
    """Someone else's card or account, a device never seen with it, dear digital goods."""
    n, stealth = len(attack), attack.stealth
    gang = crew(rng, world, attack, 1 + np.minimum(rng.poisson(1.9, n), 7))
    times = paced(
        rng, attack.starts, lognormal(rng, 3 * MINUTE * (1 + 3 * stealth), 0.9, n), gang.rows
    )
    own = derive(attack.keys, "account")
    order = gang.orders(times, own[gang.rows.of], fresh=0.7)
    # half of them walk in through the account of somebody honest
    taken = world.people.any_account(rng, attack.starts)
    victim = world.people.customers(rng, taken[gang.rows.of], times)
    takes_over = (rng.random(n) < 0.5)[gang.rows.of]
    for name in ("account", "created", "level", "phone", "virtual", "recipient", "place", "room"):
        order[name] = np.where(takes_over, victim[name], order[name])
    elsewhere = gang.chance(0.8)
    order["top_up"] = np.where(
        elsewhere, derive(attack.keys[gang.rows.of], "fence"), derive(order["account"], "top up")
    )
    order["device"] = derive(attack.keys[gang.rows.of], "device")
    near = world.people.home_segment(attack.keys, "segment") + 1 + pick(attack.keys, "host", HOSTS)
    order["ip"] = np.where(gang.chance(0.3), near[gang.rows.of], order["ip"])
    order["payment"] = gang.one_of("card", rng.uniform(1, 3, n))
    catalogue = world.catalogue
    dear = catalogue.demand * np.where(catalogue.digital, 1.5, 0.5) * catalogue.list_price**0.5
    order["sku"] = gang.targets(dear, 3)
    return draft({**order, "kind": KIND["stolen_payment"]})


def bot_probe(rng: np.random.Generator, world: World, attack: Incidents) -> pl.DataFrame:
    """Tries the interface or reads the stock: many skus, mostly cheap ones, never paid."""
    n, stealth = len(attack), attack.stealth
    size = sizes(rng, n, 17, 0.5, (6, 60))
    gang = crew(rng, world, attack, size)
    times = paced(
        rng, attack.starts, lognormal(rng, 14 * SECOND * (1 + 9 * stealth), 0.8, n), gang.rows
    )
    accounts = gang.one_of("account", 1 + 7 * stealth)
    order = gang.orders(times, accounts, fresh=0.6)
    machine = gang.one_of("device", 1 + 6 * stealth)
    own = gang.chance(0.35 * gang.stealth)
    order["device"] = np.where(own, order["device"], machine)
    inside = gang.segment(1 + 8 * stealth)
    order["ip"] = np.where(gang.chance(0.2 + 0.5 * gang.stealth), order["ip"], inside)
    cheap = world.catalogue.demand * world.catalogue.list_price**-0.25
    order["sku"] = gang.targets(cheap, 40)
    return draft({**order, "kind": KIND["bot_probe"], "intent": NEVER_PAID})


def promo_abuse(rng: np.random.Generator, world: World, attack: Incidents) -> pl.DataFrame:
    """New account upon new account takes the newcomers' coupon; the parcels go next door."""
    n, stealth = len(attack), attack.stealth
    size = sizes(rng, n, 24, 0.5, (8, 90))
    gang = crew(rng, world, attack, size)
    length = lognormal(rng, 70 * MINUTE * (1 + 2 * stealth), 0.7, n)
    times = scattered(rng, world.calendar, attack.starts, length, gang.rows)
    accounts = derive(attack.keys[gang.rows.of], "account", gang.rows.position)
    order = gang.orders(times, accounts, fresh=0.8)
    farm = gang.one_of("device", size / (1.5 + 4 * (1 - stealth)))
    own = gang.chance(0.5 * gang.stealth)
    order["device"] = np.where(own, order["device"], farm)
    inside = gang.segment(4 + 8 * stealth)
    order["ip"] = np.where(gang.chance(0.25 + 0.3 * gang.stealth), order["ip"], inside)
    order["place"] = gang.one_of("place", size / 10)
    order["coupon"] = coupons(rng, times, gang.chance(0.85))
    order["sku"] = gang.targets(world.catalogue.demand, 3)
    return draft({**order, "kind": KIND["promo_abuse"]})


def slow_ring(rng: np.random.Generator, world: World, attack: Incidents) -> pl.DataFrame:
    """Low and slow: bought accounts on their own devices and networks, a few orders a day.

    Only the purses and the places that the goods go to are used more than once.
    """
    n = len(attack)
    size = sizes(rng, n, 12, 0.4, (5, 30))
    gang = crew(rng, world, attack, size)
    length = lognormal(rng, 26 * HOUR, 0.5, n)
    times = scattered(rng, world.calendar, attack.starts, length, gang.rows)
    accounts = gang.one_of("account", size / 1.4)
    order = gang.orders(times, accounts, fresh=0.35, top_level=6)
    lair = gang.one_of("lair", size / 4)
    to_lair = gang.chance(0.5)
    order["place"] = np.where(to_lair, lair, order["place"])
    order["room"] = np.where(to_lair, derive(lair, "room"), order["room"])
    order["top_up"] = np.where(to_lair, derive(lair, "top up"), order["top_up"])
    purse = gang.one_of("purse", size / 4)
    order["payment"] = np.where(gang.chance(0.5), purse, order["payment"])
    farm = gang.one_of("device", size / 3)
    order["device"] = np.where(gang.chance(0.3), farm, order["device"])
    order["sku"] = gang.targets(world.catalogue.demand, 6)
    return draft({**order, "kind": KIND["slow_ring"]})


ATTACKS = (
    AttackKind("ring", 0.32, 0.23, 24.8, ring),
    AttackKind("stock_hold", 0.25, 0.19, 0.0, stock_hold),  # its size follows the traffic
    AttackKind("scalper", 0.15, 0.12, 12.3, scalper),
    AttackKind("stolen_payment", 0.14, 0.12, 2.9, stolen_payment),
    AttackKind("bot_probe", 0.14, 0.11, 19.0, bot_probe),
    AttackKind("promo_abuse", 0.0, 0.13, 27.0, promo_abuse),
    AttackKind("slow_ring", 0.0, 0.10, 13.0, slow_ring),
)
