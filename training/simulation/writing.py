"""Drafts written out as tables: keys become ids, names, telephone numbers and addresses."""

from functools import cache

import numpy as np
import polars as pl

from orders.tables import ORDER_SCHEMA, TIME
from training.simulation.catalogue import CATEGORIES
from training.simulation.drafts import FIRST_ATTACK, KINDS
from training.simulation.keys import Ints, Keys, derive, pick, tokens
from training.simulation.population import CHANNELS, METHODS
from training.simulation.words import (
    CITIES,
    GIVEN_NAMES,
    MOBILE_PREFIXES,
    ROADS,
    SURNAMES,
    USER_AGENTS,
    VIRTUAL_PREFIXES,
)
from training.simulation.world import World

TRUTH_SCHEMA: dict[str, pl.DataType] = {
    "order_id": pl.String(),
    "event_time": TIME,
    "is_attack": pl.Boolean(),
    "kind": pl.String(),
    "attack_id": pl.String(),
    "attack_start": TIME,
}
"""The columns of `truth.parquet`; the last two are null for honest orders."""


@cache
def _table(name: str) -> pl.Series:
    texts = {
        "city": lambda: CITIES,
        "road": lambda: ROADS,
        "number": lambda: [f"{number}号" for number in range(1, 480)],
        "building": lambda: [f"{number}栋" for number in range(1, 25)],
        "room": lambda: [f"{floor}{door:02d}室" for floor in range(1, 29) for door in range(1, 9)],
        "surname": lambda: SURNAMES,
        "given": lambda: [*GIVEN_NAMES, *(a + b for a in GIVEN_NAMES for b in GIVEN_NAMES)],
        "user agent": lambda: USER_AGENTS,
        "mobile": lambda: MOBILE_PREFIXES,
        "virtual": lambda: VIRTUAL_PREFIXES,
        "four digits": lambda: [f"{number:04d}" for number in range(10_000)],
        "octet": lambda: [str(number) for number in range(256)],
        "channel": lambda: CHANNELS,
        "method": lambda: METHODS,
        "category": lambda: [category.name for category in CATEGORIES],
        "kind": lambda: KINDS,
    }
    return pl.Series(texts[name](), dtype=pl.String)


def _joined(*parts: pl.Series, separator: str = "") -> pl.Series:
    return pl.select(pl.concat_str(list(parts), separator=separator)).to_series()


def _said(table: str, keys: Keys) -> pl.Series:
    """A text of a table for each key, always the same."""
    texts = _table(table)
    return texts.gather(pick(keys, table, len(texts)))


def names(keys: Keys) -> pl.Series:
    """Names of people; common ones are shared by many."""
    return _joined(_said("surname", keys), _said("given", keys))


def postal_addresses(places: Keys, rooms: Keys) -> pl.Series:
    """Addresses: the same place is the same building, the room differs."""
    return _joined(
        _said("city", places),
        _said("road", places),
        _said("number", places),
        _said("building", places),
        _said("room", rooms),
    )


def _digits(keys: Keys, what: str) -> pl.Series:
    return _table("four digits").gather(pick(keys, what, 10_000))


def top_up_accounts(keys: Keys) -> pl.Series:
    """Accounts of games and messengers that digital goods go to: nine digits."""
    lead = _table("octet").gather(1 + pick(keys, "lead", 9))
    return _joined(lead, _digits(keys, "middle"), _digits(keys, "end"))


def phone_numbers(keys: Keys, virtual: np.ndarray) -> pl.Series:
    """Eleven digits; the first three tell a virtual operator."""
    lead = pl.select(
        pl.when(pl.Series(virtual)).then(_said("virtual", keys)).otherwise(_said("mobile", keys))
    ).to_series()
    return _joined(lead, _digits(keys, "middle"), _digits(keys, "end"))


def addresses_of_networks(ips: Ints) -> pl.Series:
    """IPv4 addresses in dotted form."""
    octets = [_table("octet").gather((ips >> shift) & 255) for shift in (24, 16, 8, 0)]
    return _joined(*octets, separator=".")


def _mostly(rng: np.random.Generator, values: pl.Series, present: float) -> pl.Series:
    """The values, some of them lost by chance, whoever ordered."""
    kept = pl.Series(rng.random(len(values)) < present)
    return pl.select(pl.when(kept).then(values)).to_series()


def orders_table(rng: np.random.Generator, world: World, drafts: pl.DataFrame) -> pl.DataFrame:
    """The drafts as an orders table, in the order given."""
    column = {name: drafts[name].to_numpy() for name in drafts.columns}
    times, sku = column["time"], column["sku"].astype(np.int64)
    catalogue = world.catalogue
    n = len(times)
    # webhooks arrive at once; a few are sent again minutes later
    delay = 30 + rng.exponential(90, n)
    delay += np.where(rng.random(n) < 0.01, rng.exponential(150_000, n), 0)
    postal = postal_addresses(column["place"], column["room"])
    digital = pl.Series(catalogue.digital[sku])
    address = pl.when(digital).then(top_up_accounts(column["top_up"])).otherwise(postal)
    coupon = pl.when(pl.Series(column["coupon"] != 0)).then(tokens(column["coupon"]))
    series = {
        "order_id": tokens(column["order"]),
        "event_time": pl.Series(times).cast(TIME),
        "received_time": pl.Series(times + delay.astype(np.int64)).cast(TIME),
        "account": tokens(column["account"]),
        "account_created_time": pl.Series(column["created"]).cast(TIME),
        "member_level": drafts["level"],
        "phone": phone_numbers(column["phone"], column["virtual"]),
        "recipient": _mostly(rng, names(column["recipient"]), 0.98),
        "channel": _table("channel").gather(column["channel"]),
        "device": _mostly(rng, tokens(column["device"]), 0.985),
        "ip": _mostly(rng, addresses_of_networks(column["ip"].astype(np.int64)), 0.995),
        "user_agent": _said("user agent", column["device"]),
        "merchant": tokens(catalogue.merchant_keys[catalogue.merchant[sku]]),
        "sku": tokens(catalogue.keys[sku]),
        "category": _table("category").gather(catalogue.category[sku]),
        "quantity": column["quantity"].astype(np.int64),
        "unit_price": catalogue.unit_price(sku, times, world.calendar),
        "list_price": catalogue.list_price[sku],
        "currency": pl.repeat("CNY", n, eager=True, dtype=pl.String),
        "address": pl.select(address).to_series(),
        "payment_method": _table("method").gather(column["method"]),
        "payment": _mostly(rng, tokens(column["payment"]), 0.96),
        "coupon": pl.select(coupon).to_series(),
    }
    return pl.DataFrame(series, schema=ORDER_SCHEMA)


def truth_table(drafts: pl.DataFrame) -> pl.DataFrame:
    """What the drafts really are, in the order given (`TRUTH_SCHEMA`)."""
    attack = drafts["kind"] >= FIRST_ATTACK
    return pl.DataFrame(
        {
            "order_id": tokens(drafts["order"].to_numpy()),
            "event_time": drafts["time"].cast(TIME),
            "is_attack": attack,
            "kind": _table("kind").gather(drafts["kind"]),
            "attack_id": pl.select(
                pl.when(attack).then(tokens(derive(drafts["attack"].to_numpy(), "attack")))
            ).to_series(),
            "attack_start": pl.select(
                pl.when(attack).then(drafts["attack_start"].cast(TIME))
            ).to_series(),
        },
        schema=TRUTH_SCHEMA,
    )
