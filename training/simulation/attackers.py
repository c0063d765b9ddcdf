"""What all attackers have: incidents, accounts, network segments, and goods they are after.

What an attacker does not do on purpose (address format, user agent, milliseconds, network ranges)
comes from `Population.traits` or the same generators as everybody's.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from training.simulation.config import DAY, HOUR, MINUTE
from training.simulation.episodes import Rows, unfold
from training.simulation.keys import Floats, Ints, Keys, derive, share
from training.simulation.population import HOSTS, prefix
from training.simulation.world import World

# Together as many virtual numbers as honest people have: by itself such a number says nothing.
VIRTUAL_OF_SCALPERS, VIRTUAL_ELSEWHERE = 0.45, 0.04

MARKET_DAYS = 2  # the attackers' market pays for other goods every so often


@dataclass(frozen=True, slots=True)
class Incidents:
    """Attacks of one kind that start in one block.

    Attributes:
        keys: One per attack.
        starts: When each begins, UTC milliseconds.
        stealth: How much each hides, 0 to 1: more devices and networks, a slower pace, older
            accounts. It grows over the days.
    """

    keys: Keys
    starts: Ints
    stealth: Floats

    def __len__(self) -> int:
        return len(self.keys)


def incidents(rng: np.random.Generator, world: World, starts: Ints) -> Incidents:
    """Incidents at these times, as well hidden as the time has taught them."""
    n = len(starts)
    stealth = 0.15 + 0.5 * world.progress(starts) + rng.normal(0, 0.22, n)
    return Incidents(
        keys=rng.integers(1, 1 << 63, n).astype(np.uint64),
        starts=starts,
        stealth=np.clip(stealth, 0.02, 1.0),
    )


@dataclass(frozen=True, slots=True)
class Crew:
    """Those behind some incidents, at work on their orders.

    Attributes:
        rows: The orders of the incidents.
        stealth: Per order.
    """

    rng: np.random.Generator
    world: World
    attack: Incidents
    rows: Rows
    stealth: Floats

    def one_of(self, what: str, number: Floats) -> Keys:
        """For each order one of its incident's things; `number` is how many each incident has."""
        many = np.maximum(1.0, number)[self.rows.of]
        slot = (self.rng.random(len(self.rows)) * many).astype(np.int64)
        return derive(self.attack.keys[self.rows.of], what, slot)

    def chance(self, probability: Floats | float) -> np.ndarray:
        """For each order whether something is so."""
        return self.rng.random(len(self.rows)) < probability

    def orders(
        self,
        times: Ints,
        accounts: Keys,
        *,
        fresh: float,
        top_level: int = 2,
        virtual: float = VIRTUAL_ELSEWHERE,
    ) -> dict[str, Any]:
        """Orders of these accounts, each with a home, a telephone and a name of its own.

        Args:
            times: When they are placed.
            accounts: Keys of accounts that belong to the crew.
            fresh: Which share of the accounts was made for the attack, before stealth lowers it.
            top_level: The highest member level that they have.
            virtual: The share of virtual telephone numbers.
        """
        starts = self.attack.starts[self.rows.of]
        created = starts - _age(accounts, fresh * (1 - 0.45 * self.stealth))
        homes = derive(accounts, "household")
        order = self.world.people.traits(self.rng, accounts, homes, created, times)
        order["level"] = np.minimum(order["level"], top_level)
        order["virtual"] = share(accounts, "sim card") < virtual
        order["attack"] = self.attack.keys[self.rows.of]
        order["attack_start"] = starts
        return order

    def segment(self, hosts: Floats, number: int = 1) -> Ints:
        """Addresses in an incident's `number` /24 networks, each with so many hosts in use.

        The networks are rented, or among people's homes, or a carrier's.
        """
        people = self.world.people
        keys = derive(
            self.attack.keys[self.rows.of],
            "segment",
            self.rng.integers(0, number, len(self.rows)),
        )
        network = share(self.attack.keys, "network")[self.rows.of]
        base = np.where(network < 0.25, prefix(keys), people.home_segment(keys, "among homes"))
        host = self.one_of("host", hosts)
        fixed = base + 1 + (host % np.uint64(HOSTS)).astype(np.int64)
        # modems with prepaid cards: thousands of honest people have the same addresses
        return np.where(network > 0.58, people.carrier_address(self.rng, keys), fixed)

    def targets(self, weights: Floats, number: int) -> Ints:
        """For each order one of the `number` skus that its incident is after."""
        period = self.attack.starts // (MARKET_DAYS * DAY)
        periods = np.unique(period)
        skus = self.world.catalogue.keys
        demand = np.stack([share(skus ^ np.uint64(each), "market") for each in periods])
        taste = weights * np.exp(1.2 * (demand - 0.5))
        cumulative = np.cumsum(taste / taste.sum(axis=1, keepdims=True), axis=1)
        cumulative = cumulative[np.searchsorted(periods, period)]
        u = self.rng.random((len(self.attack), number))
        goods = (cumulative[:, None, :] < u[:, :, None]).sum(axis=2)
        goods = np.minimum(goods, len(weights) - 1)
        return goods[self.rows.of, self.rng.integers(0, number, len(self.rows))]


def crew(rng: np.random.Generator, world: World, attack: Incidents, size: Ints) -> Crew:
    """The crew of these incidents; `size` is how many orders each places."""
    rows = unfold(size)
    return Crew(rng, world, attack, rows, attack.stealth[rows.of])


def _age(accounts: Keys, fresh: Floats) -> Ints:
    """How old accounts are when an attack begins: just made, weeks old, or bought with years."""
    origin, u = share(accounts, "origin"), share(accounts, "age")
    new = 2 * MINUTE - 14 * HOUR * np.log1p(-u)
    weeks = (1 + 40 * u) * DAY
    years = 0.1 * DAY - 250 * DAY * np.log1p(-u)
    return np.where(origin < fresh, new, np.where(origin < fresh + 0.15, weeks, years)).astype(
        np.int64
    )
