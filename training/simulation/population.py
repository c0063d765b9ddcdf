"""Who orders: accounts that age, their homes, devices, networks and means of payment.

An account is a number; its traits follow from its key (see `keys`). Accounts with higher numbers
signed up later. Attackers' accounts are given to `Population.traits` like anyone's, so what an
attack does not change on purpose looks like everybody else's.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from training.simulation.config import DAY, HOUR, SimulationConfig
from training.simulation.keys import Floats, Ints, Keys, derive, numbered, pick, root_key, share

# First octets of ranges that carriers of the region use; any network may lie in any of them.
FIRST_OCTETS = np.array(
    [
        *(36, 39, 42, 49, 58, 59, 60, 61, 101, 106, 110, 111, 112, 113, 114, 115, 116, 117, 118),
        *(119, 120, 121, 122, 123, 124, 125, 171, 175, 180, 182, 183, 202, 210, 218, 219, 220),
        *(221, 222),
    ]
)

CHANNELS = ("own_site", "tmall", "jd", "douyin", "mini_program")
CHANNEL_WEIGHTS = np.array([0.30, 0.24, 0.14, 0.14, 0.18])
METHODS = ("alipay", "wechat_pay", "union_pay", "bank_card", "shop_balance")
METHOD_WEIGHTS = np.array([0.40, 0.38, 0.09, 0.08, 0.05])

ADDRESS_LEASE = 5 * DAY  # a home keeps its IP address this long
VIRTUAL_SHARE = 0.09
HOSTS = 254
CARRIER_HOSTS = 6


def prefix(keys: Keys) -> Ints:
    """The /24 of each network, as a number whose last octet is 0."""
    first = FIRST_OCTETS[pick(keys, "first octet", len(FIRST_OCTETS))]
    rest = pick(keys, "other octets", 1 << 16)
    return (first << 24) | (rest << 8)


def weighted(u: Floats, weights: np.ndarray) -> Ints:
    """An index by weight for each number from [0, 1)."""
    cumulative = np.cumsum(weights)
    return np.minimum(
        np.searchsorted(cumulative / cumulative[-1], u, side="right"), len(weights) - 1
    )


@dataclass(frozen=True, slots=True)
class Population:
    """All accounts that there ever are.

    Attributes:
        root: The seed of all keys.
        start: When the simulation starts, UTC milliseconds.
        initial: How many accounts exist at that time.
        signup_every: The mean milliseconds between two sign-ups.
        home_segments: /24 networks of homes.
        carrier_segments: /24 networks of carriers, whose few addresses thousands share.
        offices: Offices, schools and cafés, one address each.
    """

    root: int
    start: int
    initial: int
    signup_every: float
    home_segments: int
    carrier_segments: int
    offices: int

    def existing(self, times: Ints) -> Ints:
        """How many accounts exist at each time."""
        return self.initial + ((times - self.start) // self.signup_every).astype(np.int64)

    def account_keys(self, accounts: Ints) -> Keys:
        """The key of each account."""
        return numbered(self.root, accounts, "account")

    def created(self, accounts: Ints) -> Ints:
        """When each account signed up, UTC milliseconds."""
        keys = self.account_keys(accounts)
        days = np.minimum(1_600, 0.02 - 270 * np.log1p(-share(keys, "age")))
        before = self.start - days * DAY
        after = self.start + (accounts - self.initial + share(keys, "moment")) * self.signup_every
        return np.where(accounts < self.initial, before, after).astype(np.int64)

    def households(self, accounts: Ints) -> Keys:
        """The household of each account; a quarter share theirs with one or two others."""
        group = numbered(self.root, accounts // 3, "group")
        alone = derive(self.account_keys(accounts), "household")
        return np.where(self.in_household(accounts), derive(group, "household"), alone)

    def in_household(self, accounts: Ints) -> np.ndarray:
        """Whether an account shares its home with another."""
        return share(numbered(self.root, accounts // 3, "group"), "together") < 0.25

    def any_account(self, rng: np.random.Generator, times: Ints) -> Ints:
        """An account that exists at each time; some order far more often than others."""
        return (self.existing(times) * rng.random(len(times)) ** 1.6).astype(np.int64)

    def recent_account(self, rng: np.random.Generator, times: Ints) -> Ints:
        """An account that signed up shortly before each time: minutes mostly, a few days at most."""
        hours = np.where(
            rng.random(len(times)) < 0.6,
            rng.exponential(0.5, len(times)),
            rng.exponential(30, len(times)),
        )
        back = 1 + (hours * HOUR / self.signup_every).astype(np.int64)
        return np.maximum(0, self.existing(times) - back)

    def home_segment(self, keys: Keys, what: str) -> Ints:
        """The /24 of a home network, always the same for a key."""
        number = pick(keys, what, self.home_segments)
        return prefix(numbered(self.root, number, "home segment"))

    def office_address(self, keys: Keys) -> Ints:
        """The one address of the office, school or café that belongs to a key."""
        office = numbered(self.root, pick(keys, "office", self.offices), "office")
        return self.home_segment(office, "segment") + 1 + pick(office, "host", HOSTS)

    def carrier_address(self, rng: np.random.Generator, keys: Keys) -> Ints:
        """An address of the carrier that belongs to a key; thousands of others have it, too."""
        number = pick(keys, "carrier", self.carrier_segments)
        carrier = numbered(self.root, number, "carrier segment")
        host = derive(carrier, "host", rng.integers(0, CARRIER_HOSTS, len(keys)))
        return prefix(carrier) + 1 + (host % np.uint64(HOSTS)).astype(np.int64)

    def home_address(self, households: Keys, times: Ints) -> Ints:
        """The address that a home has at a time."""
        lease = (times - self.start + 400 * DAY) // ADDRESS_LEASE
        host = derive(households, "host", lease) % np.uint64(HOSTS)
        return self.home_segment(households, "segment") + 1 + host.astype(np.int64)

    def customers(
        self, rng: np.random.Generator, accounts: Ints, times: Ints
    ) -> dict[str, np.ndarray]:
        """What orders of these accounts at these times look like on an ordinary day."""
        return self.traits(
            rng,
            self.account_keys(accounts),
            self.households(accounts),
            self.created(accounts),
            times,
        )

    def traits(
        self,
        rng: np.random.Generator,
        keys: Keys,
        households: Keys,
        created: Ints,
        times: Ints,
    ) -> dict[str, Any]:
        """What an order of each account looks like on an ordinary day, without the goods."""
        n = len(keys)
        which = weighted(rng.random(n), np.array([0.78, 0.17, 0.05]))
        which = np.minimum(which, weighted(share(keys, "devices"), np.array([0.6, 0.3, 0.1])))
        # the first device of a home is often the family's
        owner = np.where(
            (which == 0) & (share(households, "family device") < 0.4), households, keys
        )
        net = rng.random(n)
        ip = self.home_address(households, times)
        ip = np.where(net < 0.42, self.carrier_address(rng, keys), ip)
        ip = np.where(net > 0.90, self.office_address(keys), ip)
        usual = weighted(share(keys, "method"), METHOD_WEIGHTS)
        method = np.where(rng.random(n) < 0.86, usual, weighted(rng.random(n), METHOD_WEIGHTS))
        home_channel = weighted(share(keys, "channel"), CHANNEL_WEIGHTS)
        channel = np.where(
            rng.random(n) < 0.8, home_channel, weighted(rng.random(n), CHANNEL_WEIGHTS)
        )
        return {
            "time": times,
            "account": keys,
            "created": created,
            "level": level(keys, times - created),
            "phone": derive(keys, "phone"),
            "virtual": share(keys, "virtual") < VIRTUAL_SHARE,
            "recipient": derive(keys, "recipient"),
            "channel": channel,
            "device": derive(owner, "device", which),
            "ip": ip,
            "quantity": 1 + weighted(rng.random(n), np.array([0.82, 0.11, 0.04, 0.02, 0.01])),
            "place": derive(households, "place"),
            "room": derive(households, "room"),
            "top_up": derive(keys, "top up", (rng.random(n) < 0.15).astype(np.int64)),
            "method": method,
            "payment": derive(keys, "payment", method),
            "coupon": coupons(rng, times, rng.random(n) < 0.22),
        }


def level(keys: Keys, age: Ints) -> Ints:
    """The member level, L0 to L6: loyalty shows with the years."""
    years = np.clip(age / (500 * DAY), 0, 1)
    return np.clip((7.5 * share(keys, "loyalty") ** 2.2 * years).astype(np.int64), 0, 6)


def coupons(rng: np.random.Generator, times: Ints, wanted: np.ndarray) -> Keys:
    """One of the week's coupon codes where wanted, 0 elsewhere."""
    week = times // (7 * DAY)
    code = derive(week.astype(np.uint64), "coupon", rng.integers(0, 12, len(times)))
    return np.where(wanted, code, np.uint64(0))


def build_population(config: SimulationConfig) -> Population:
    """A population that is as large as its orders need."""
    per_day = max(config.orders_per_day, 1.0)
    initial = int(np.clip(12 * per_day, 200, 10**11))
    return Population(
        root=root_key(config.seed, "population"),
        start=config.start,
        initial=initial,
        signup_every=DAY / (0.11 * per_day),
        home_segments=max(20, initial // 40),
        carrier_segments=max(3, initial // 9_000),
        offices=max(4, initial // 160),
    )
