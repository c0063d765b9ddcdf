"""What becomes of orders: payment in minutes, cancellation in hours, a chargeback in weeks.

Not every attack comes to light, and not everything that was called an attack was one.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl

from training.simulation.calendar import is_weekend_evening, within
from training.simulation.cancellation_words import as_recorded
from training.simulation.config import DAY, HOUR, MINUTE, SECOND
from training.simulation.drafts import (
    AS_USUAL,
    FAILING,
    FIRST_ATTACK,
    TO_BE_PAID,
)
from training.simulation.episodes import lognormal
from training.simulation.fates import (
    ANY_RISK_LEAF,
    CHARGED_BACK,
    DIGITAL_MIX,
    GIVEN_UP,
    HOLD_RELEASED,
    PAID,
    PHYSICAL_MIX,
    REVIEWED,
    RISK_CANCELLED,
    RISK_LEAF,
    SHOP_LEAVES,
    USER_LEAVES,
)
from training.simulation.keys import Ints
from training.simulation.outcome_rows import LEAF, VERDICTS, rows, together
from training.simulation.world import World

PAYMENT_WINDOW = 30 * MINUTE
FRAUD, GENUINE = VERDICTS.index("fraud"), VERDICTS.index("genuine")


@dataclass(frozen=True, slots=True)
class _Orders:
    """Columns of the drafts that outcomes depend on."""

    key: np.ndarray
    time: Ints
    kind: Ints
    attack: np.ndarray
    digital: np.ndarray
    sku: Ints
    merchant: Ints


def outcome_rows(rng: np.random.Generator, world: World, drafts: pl.DataFrame) -> pl.DataFrame:
    """All that ever happens to these orders, in no order (`outcome_rows.ROW_SCHEMA`).

    Args:
        rng: Consumed.
        world: Gives merchants and incidents.
        drafts: Orders with a column `order`, the key of the order id.
    """
    sku = drafts["sku"].to_numpy().astype(np.int64)
    kind = drafts["kind"].to_numpy().astype(np.int64)
    orders = _Orders(
        key=drafts["order"].to_numpy(),
        time=drafts["time"].to_numpy(),
        kind=kind,
        attack=kind >= FIRST_ATTACK,
        digital=world.catalogue.digital[sku],
        sku=sku,
        merchant=world.catalogue.merchant[sku],
    )
    payment, paid_time = _payments(rng, world, orders, drafts["intent"].to_numpy())
    paid = paid_time >= 0
    return together(
        [
            *payment,
            *_unpaid(rng, orders, np.flatnonzero(~paid)),
            *_paid(rng, world, orders, paid_time, np.flatnonzero(paid)),
        ]
    )


def _payments(
    rng: np.random.Generator, world: World, orders: _Orders, intent: np.ndarray
) -> tuple[list[pl.DataFrame], Ints]:
    """Failed and successful payments, and when each order was paid (-1: never)."""
    n = len(orders.time)
    pays = np.where(intent == AS_USUAL, rng.random(n) < PAID[orders.kind], intent == TO_BE_PAID)
    delay = lognormal(rng, 50 * SECOND, 0.9, n)
    delay = np.clip(delay, 3 * SECOND + 2000 * rng.random(n), 29 * MINUTE - MINUTE * rng.random(n))
    tries = orders.time + delay.astype(np.int64)
    down = within(tries, world.calendar.gateway_failures)
    fails = (intent == FAILING) | (pays & (down | (rng.random(n) < 0.02)))
    again = tries + (lognormal(rng, np.where(down, 7.0, 1.2) * MINUTE, 0.6, n)).astype(np.int64)
    patient = rng.random(n) < np.where(down, 0.55, 0.9)
    recovers = pays & fails & patient & (again < orders.time + PAYMENT_WINDOW)
    recovers &= ~within(again, world.calendar.gateway_failures)
    paid_time = np.where(pays & ~fails, tries, np.where(recovers, again, -1))
    failed, paid = np.flatnonzero(fails), np.flatnonzero(paid_time >= 0)
    return [
        rows(orders.key[failed], tries[failed], "payment_failed"),
        rows(orders.key[paid], paid_time[paid], "paid"),
    ], paid_time


def _unpaid(rng: np.random.Generator, orders: _Orders, who: Ints) -> list[pl.DataFrame]:
    """Given up in time, released by staff, or expired after thirty minutes."""
    key, time, kind, attack = (
        orders.key[who],
        orders.time[who],
        orders.kind[who],
        orders.attack[who],
    )
    n = len(who)
    released = rng.random(n) < HOLD_RELEASED[kind]
    gives_up = ~attack & ~released & (rng.random(n) < GIVEN_UP[kind])
    ended = time + ((8 + 21 * rng.random(n)) * MINUTE).astype(np.int64)
    expiry = time + PAYMENT_WINDOW + (15 * SECOND * rng.random(n)).astype(np.int64)
    expires = ~released & ~gives_up
    leaf = np.where(released, _risk_leaf(rng, kind), rng.choice(USER_LEAVES[:3], n))
    closed = np.flatnonzero(released | gives_up)
    asked = np.flatnonzero(gives_up)
    said, text = as_recorded(rng, leaf[closed])
    looked_at = np.flatnonzero(rng.random(n) < REVIEWED[kind])
    verdict = np.where(attack, FRAUD, GENUINE)[looked_at]
    review = expiry + lognormal(rng, 9 * HOUR, 0.9, n).astype(np.int64)
    return [
        rows(key[asked], ended[asked] - 400, "cancel_requested", leaf=leaf[asked]),
        rows(key[closed], ended[closed], "cancelled", leaf=said, text=text),
        rows(key[expires], expiry[expires], "expired"),
        rows(key[looked_at], review[looked_at], "reviewed", verdict=verdict),
    ]


def _paid(
    rng: np.random.Generator, world: World, orders: _Orders, paid_time: Ints, who: Ints
) -> list[pl.DataFrame]:
    """Delivered or cancelled and refunded; appeals, reviews, chargebacks."""
    key, time, kind, attack = (
        orders.key[who],
        orders.time[who],
        orders.kind[who],
        orders.attack[who],
    )
    digital, paid, n = orders.digital[who], paid_time[who], len(who)
    at_once = lognormal(rng, 7 * SECOND, 0.6, n)
    held_up = rng.random(n) < 0.05
    at_once += np.where(held_up, lognormal(rng, 25 * MINUTE, 0.8, n), 0)
    parcel = DAY * (1 + 3 * rng.random(n))
    delivery = paid + np.where(digital, at_once, parcel).astype(np.int64)

    by_mistake, mistake_time = _price_errors(rng, world, time, orders.sku[who])
    risky = ~by_mistake & (rng.random(n) < RISK_CANCELLED[kind])
    likely = np.where(digital, np.where(held_up, 0.22, 0.004), 0.055)
    likely *= world.catalogue.care[orders.merchant[who]]
    likely *= np.where(is_weekend_evening(time), 2.3, 1.0)
    ordinary = ~by_mistake & ~risky & (rng.random(n) < likely)

    leaf = _shop_leaf(rng, digital)
    leaf = np.where(risky, _risk_leaf(rng, kind), leaf)
    leaf = np.where(by_mistake, LEAF["merchant.price_error"], leaf)
    hours = np.where(risky, lognormal(rng, 4.5, 0.9, n), lognormal(rng, 3.5, 1.2, n))
    hours = np.where(digital & ~risky, lognormal(rng, 0.2, 0.7, n), hours)
    ending = paid + (np.clip(hours, 0.03, 60) * HOUR).astype(np.int64)
    # a parcel is stopped before it arrives; a key that waits is cancelled before it is shown
    ending = np.where(digital, ending, np.minimum(ending, (paid + 9 * delivery) // 10))
    ending = np.where(by_mistake, np.maximum(mistake_time, paid + SECOND), ending)
    ended = by_mistake | risky | ordinary
    asks = ordinary & np.isin(leaf, USER_LEAVES)
    request = np.maximum(paid + 1, ending - lognormal(rng, 6 * MINUTE, 0.8, n).astype(np.int64))
    refund = ending + lognormal(rng, 7 * HOUR, 1.0, n).astype(np.int64)
    closed, asked = np.flatnonzero(ended), np.flatnonzero(asks)
    said, text = as_recorded(rng, leaf[closed])
    delivered = ~ended
    result = [
        rows(key[delivered], delivery[delivered], "delivered"),
        rows(key[asked], request[asked], "cancel_requested", leaf=leaf[asked]),
        rows(key[closed], ending[closed], "cancelled", leaf=said, text=text),
        rows(key[closed], refund[closed], "refunded"),
    ]

    days = np.clip(lognormal(rng, 18, 0.5, n), 7 + rng.random(n), 42 - rng.random(n))
    back = delivered & (rng.random(n) < CHARGED_BACK[kind])
    result.append(rows(key[back], (time + days * DAY).astype(np.int64)[back], "charged_back"))

    appeals = risky & (rng.random(n) < np.where(attack, 0.04, 0.55))
    upheld = appeals & ~attack & (rng.random(n) < 0.85)
    rejected = appeals & ~upheld
    appeal = ending + lognormal(rng, 7 * HOUR, 1.0, n).astype(np.int64)
    answer = appeal + lognormal(rng, 18 * HOUR, 0.7, n).astype(np.int64)
    result += [
        rows(key[appeals], appeal[appeals], "appealed"),
        rows(key[upheld], answer[upheld], "appeal_upheld"),
        rows(key[rejected], answer[rejected], "appeal_rejected"),
    ]

    looked_at = rng.random(n) < np.where(risky & ~attack, 0.2, REVIEWED[kind])
    looked_at = np.flatnonzero(looked_at & ~appeals)
    last = np.where(ended, ending, delivery)
    review = last + lognormal(rng, 16 * HOUR, 1.0, n).astype(np.int64)
    verdict = np.where(attack, FRAUD, GENUINE)[looked_at]
    result.append(rows(key[looked_at], review[looked_at], "reviewed", verdict=verdict))
    return result


def _price_errors(
    rng: np.random.Generator, world: World, times: Ints, sku: Ints
) -> tuple[np.ndarray, Ints]:
    """Which orders were placed at a wrong price, and when the shop cancels them in one batch."""
    wrong = np.zeros(len(times), dtype=bool)
    when = np.zeros(len(times), dtype=np.int64)
    for span, error_sku in zip(
        world.calendar.price_errors, world.catalogue.error_skus, strict=True
    ):
        mine = (sku == error_sku) & (times >= span.start) & (times < span.end)
        # the same hour for all of an incident, wherever a block ends
        hours = 0.5 + (span.start // SECOND % 5_000) / 1_000
        batch = span.end + hours * HOUR + 90 * SECOND * rng.random(len(times))
        wrong |= mine
        when = np.where(mine, batch.astype(np.int64), when)
    return wrong, when


def _risk_leaf(rng: np.random.Generator, kind: Ints) -> Ints:
    """What the shop takes an attack for: one in ten times the wrong kind."""
    guess = rng.choice(ANY_RISK_LEAF, len(kind))
    return np.where(rng.random(len(kind)) < 0.1, guess, RISK_LEAF[kind])


def _shop_leaf(rng: np.random.Generator, digital: np.ndarray) -> Ints:
    """Why an ordinary order was cancelled."""
    n = len(digital)
    of_parcel = rng.choice(SHOP_LEAVES, n, p=PHYSICAL_MIX / PHYSICAL_MIX.sum())
    of_key = rng.choice(SHOP_LEAVES, n, p=DIGITAL_MIX / DIGITAL_MIX.sum())
    return np.where(digital, of_key, of_parcel)
