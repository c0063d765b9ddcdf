"""The words in which features are declared.

A feature is one call: `count("orders", per="device", within=FIVE_MINUTES, catches="…")`. Its
name, type, unit, default and description follow from the call, so that they cannot disagree with
what is computed.
"""

import math
from dataclasses import dataclass
from typing import Literal

MINUTE, FIVE_MINUTES, HOUR, DAY, WEEK, MONTH = 60, 300, 3_600, 86_400, 604_800, 2_592_000

LONGEST_WINDOW_S = MONTH

ENTITIES = (
    "account",
    "device",
    "ip",
    "ip_prefix",
    "address",
    "phone",
    "recipient",
    "payment",
    "merchant",
    "sku",
)

# What an order may meet later, as features see it. The number is `EventColumns.kind`; an order is
# 0. A feature may count several together: "cancelled_risk|charged_back".
OUTCOME_CODES = {
    "expired": 1,
    "payment_failed": 2,
    "verification_failed": 3,
    "cancelled_risk": 4,
    "cancelled_other": 5,
    "charged_back": 6,
    "reviewed_fraud": 7,
    "completed": 8,
}

MEASURES = ("amount", "quantity", "unit_price")

# Whose orders speak for an account: its own, and those of accounts that used this order's device
# or payment.
CIRCLE = ("account", "device", "payment")

Aggregate = Literal[
    "order",
    "count",
    "sum",
    "max",
    "mean",
    "ratio_to_mean",
    "rate",
    "distinct",
    "matches",
    "first_use",
    "changed",
    "changes",
    "known_to_circle",
    "saturated",
    "seconds_since_last",
    "seconds_since_first",
]

# A rate is (outcomes + RATE_PRIOR * RATE_WEIGHT) / (orders + RATE_WEIGHT): with few orders it
# stays near the prior, so that one bad order of one is not a rate of 100 %.
RATE_PRIOR, RATE_WEIGHT = 0.05, 10.0

_WINDOW_NAMES = {
    MINUTE: "1m",
    FIVE_MINUTES: "5m",
    HOUR: "1h",
    DAY: "24h",
    WEEK: "7d",
    MONTH: "30d",
}
_WINDOW_WORDS = {
    MINUTE: "minute",
    FIVE_MINUTES: "5 minutes",
    HOUR: "hour",
    DAY: "24 hours",
    WEEK: "7 days",
    MONTH: "30 days",
}
_PLURAL = {
    "address": "addresses",
    "ip": "ips",
    "ip_prefix": "ip_prefixes",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    """One declared feature.

    `events` says which events are aggregated: "orders", or outcome classes joined by "|".
    `default` is the value when no event lies in the window; a missing entity value is always NaN.
    """

    name: str
    entity: str | None  # None: of the order itself
    aggregate: Aggregate
    of: str | None
    window_s: int | None
    events: str = "orders"
    dtype: Literal["float64", "string"] = "float64"
    unit: str
    default: float = math.nan
    description: str


def count(events: str, *, per: str, within: int, catches: str, name: str | None = None) -> Feature:
    """How many orders, or outcomes of the named classes, `per` met in the window.

    >>> count("orders", per="device", within=FIVE_MINUTES, catches="scripts").name
    'device_orders_5m'
    >>> count("expired", per="device", within=DAY, catches="holds").description
    'Expired outcomes of this device in the last 24 hours. Catches holds.'
    """
    what = "Orders" if events == "orders" else f"{_outcomes(events)} outcomes"
    return _windowed(
        "count", None, events, per, within, catches=catches, what=what,
        name=name or f"{per}_{events.replace('|', '_or_')}_{_window(within)}",
        unit=events.replace("|", " or ") if events == "orders" else "outcomes",
        default=0.0,
    )  # fmt: skip


def rate(events: str, *, per: str, within: int, catches: str, name: str) -> Feature:
    """Outcomes of the named classes to orders, both in the window, drawn towards a prior.

    (outcomes + RATE_PRIOR * RATE_WEIGHT) / (orders + RATE_WEIGHT). It may exceed 1 when outcomes
    of orders before the window fall into it.
    """
    what = f"{_outcomes(events)} outcomes to orders, smoothed"
    return _windowed(
        "rate", None, events, per, within, catches=catches, what=what,
        name=name, unit="share", default=RATE_PRIOR,
    )  # fmt: skip


def total(measure: str, *, per: str, within: int, catches: str) -> Feature:
    """The sum of a measure over the window's orders, exact in integers."""
    return _windowed(
        "sum", measure, "orders", per, within, catches=catches, what=f"Sum of {measure} over the orders",
        name=f"{per}_{measure}_{_window(within)}", unit=_unit(measure), default=0.0,
    )  # fmt: skip


def largest(measure: str, *, per: str, within: int, catches: str) -> Feature:
    """The largest measure among the window's orders; NaN when there are none."""
    return _windowed(
        "max", measure, "orders", per, within, catches=catches, what=f"Largest {measure} among the orders",
        name=f"{per}_{measure}_max_{_window(within)}", unit=_unit(measure),
    )  # fmt: skip


def mean(measure: str, *, per: str, within: int, catches: str) -> Feature:
    """The mean of a measure over the window's orders; NaN when there are none."""
    return _windowed(
        "mean", measure, "orders", per, within, catches=catches, what=f"Mean {measure} of the orders",
        name=f"{per}_{measure}_mean_{_window(within)}", unit=_unit(measure),
    )  # fmt: skip


def ratio_to_mean(measure: str, *, per: str, within: int, catches: str) -> Feature:
    """This order's measure to the mean of the window's orders; NaN when that is none or 0."""
    what = f"This order's {measure} to the mean of the orders"
    return _windowed(
        "ratio_to_mean", measure, "orders", per, within, catches=catches, what=what,
        name=f"{per}_{measure}_to_mean_{_window(within)}", unit="ratio",
    )  # fmt: skip


def distinct(of: str, *, per: str, within: int, catches: str) -> Feature:
    """How many different values of entity `of` the window's orders carry.

    >>> distinct("account", per="device", within=DAY, catches="farms").name
    'device_accounts_24h'
    """
    _known("entity", of, ENTITIES)
    return _windowed(
        "distinct", of, "orders", per, within, catches=catches, what=f"Different {_plural(of)} on the orders",
        name=f"{per}_{_plural(of)}_{_window(within)}", unit=_plural(of), default=0.0,
    )  # fmt: skip


def matches(of: str, *, per: str, within: int, catches: str, events: str = "orders") -> Feature:
    """How many of the window's orders (or orders with such an outcome) carry this order's `of`.

    NaN when this order has no `of`.

    >>> matches("address", per="account", within=MONTH, events="completed", catches="x").name
    'account_address_completed_30d'
    """
    _known("entity", of, ENTITIES)
    what = "Orders" if events == "orders" else f"{_outcomes(events)} outcomes"
    return _windowed(
        "matches", of, events, per, within, catches=catches, what=f"{what} with this order's {of}",
        name=f"{per}_{of}_{events.replace('|', '_or_')}_{_window(within)}",
        unit="orders" if events == "orders" else "outcomes", default=0.0,
    )  # fmt: skip


def first_use(of: str, *, per: str, within: int, catches: str, name: str) -> Feature:
    """1 when none of the window's orders carries this order's `of`; NaN when it has none."""
    _known("entity", of, ENTITIES)
    return _windowed(
        "first_use", of, "orders", per, within, catches=catches, what=f"1 when this order's {of} is on no order",
        name=name, unit="flag", default=1.0,
    )  # fmt: skip


def changed(of: str, *, per: str, within: int, catches: str, name: str) -> Feature:
    """1 when this order's `of` differs from that of the latest order that has one, else 0.

    NaN when this order has no `of`, or when no order in the window has one.
    """
    _known("entity", of, ENTITIES)
    what = f"1 when this order's {of} differs from that on the latest order"
    return _windowed(
        "changed", of, "orders", per, within, catches=catches, what=what, name=name, unit="flag"
    )  # fmt: skip


def changes(of: str, *, per: str, within: int, catches: str, name: str) -> Feature:
    """How often `of` changed from order to order, up to this one; orders without one are skipped."""
    _known("entity", of, ENTITIES)
    return _windowed(
        "changes", of, "orders", per, within, catches=catches, what=f"Changes of {of} from order to order",
        name=name, unit="changes", default=0.0,
    )  # fmt: skip


def known_to_circle(events: str, *, per: str, within: int, catches: str, name: str) -> Feature:
    """1 when an order of the account's circle met such an outcome with this `per`, else 0.

    The circle is this order's account and the accounts on the window's orders with this order's
    device, then with its payment: the latest first, at most `features.kernels.FEW` in all.
    """
    what = f"1 when this account, or one that shares device or payment with it, had {_outcomes(events).lower()} outcomes"
    return _windowed(
        "known_to_circle", None, events, per, within, catches=catches, what=what, name=name,
        unit="flag", default=0.0,
    )  # fmt: skip


def saturated(*, per: str, within: int, catches: str) -> Feature:
    """1 when the window reaches into tiles, so that its values are estimates; else 0."""
    return _windowed(
        "saturated", None, "orders", per, within, catches=catches,
        what="1 when there are so many orders that values are estimates",
        name=f"{per}_saturated", unit="flag", default=0.0,
    )  # fmt: skip


def seconds_since_last(*, per: str, catches: str, within: int = MONTH) -> Feature:
    """Seconds since the latest order in the window; NaN when there is none."""
    return _windowed(
        "seconds_since_last", None, "orders", per, within, catches=catches, what="Seconds since the latest order",
        name=f"{per}_seconds_since_last", unit="s",
    )  # fmt: skip


def seconds_since_first(*, per: str, catches: str, within: int = MONTH) -> Feature:
    """Seconds since the earliest order in the window; NaN when there is none."""
    return _windowed(
        "seconds_since_first", None, "orders", per, within, catches=catches,
        what="Seconds since the earliest order", name=f"{per}_seconds_since_first", unit="s",
    )  # fmt: skip


def of_order(
    name: str, *, unit: str, description: str, dtype: Literal["float64", "string"] = "float64"
) -> Feature:
    """A fact of the order itself; `features.order_values` says how it is computed."""
    return Feature(
        name=name, entity=None, aggregate="order", of=name, window_s=None, dtype=dtype,
        unit=unit, description=description,
    )  # fmt: skip


def _windowed(
    aggregate: Aggregate,
    of: str | None,
    events: str,
    per: str,
    within: int,
    *,
    catches: str,
    what: str,
    name: str,
    unit: str,
    default: float = math.nan,
) -> Feature:
    _known("entity", per, ENTITIES)
    _known("window", within, tuple(_WINDOW_NAMES))
    if aggregate in ("sum", "max", "mean", "ratio_to_mean"):
        _known("measure", of, MEASURES)
    if events != "orders":
        for part in events.split("|"):
            _known("outcome class", part, tuple(OUTCOME_CODES))
    return Feature(
        name=name, entity=per, aggregate=aggregate, of=of, window_s=within, events=events,
        unit=unit, default=default,
        description=f"{what} of this {per} in the last {_WINDOW_WORDS[within]}. Catches {catches}.",
    )  # fmt: skip


def _window(seconds: int) -> str:
    _known("window", seconds, tuple(_WINDOW_NAMES))
    return _WINDOW_NAMES[seconds]


def _known(what: str, value: object, known: tuple[object, ...]) -> None:
    if value not in known:
        raise ValueError(f"{value!r} is no {what}; there are {', '.join(map(str, known))}")


def _outcomes(events: str) -> str:
    return events.replace("_", " ").replace("|", " or ").capitalize()


def _plural(entity: str) -> str:
    return _PLURAL.get(entity, f"{entity}s")


def _unit(measure: str) -> str:
    return "items" if measure == "quantity" else "minor units"
