"""Tiers: where each begins, and what is done in it; by default, and by merchant or channel."""

from collections.abc import Sequence
from typing import Annotated, Literal

import msgspec
import numpy as np
import polars as pl
from msgspec import Meta

from orders.events import Order
from serving.decisions import Action

PASS, SMS, CALL, FREEZE, CANCEL = range(5)

TIER_OF_ACTION: dict[Action, int] = {
    "accept": PASS,
    "verify_sms": SMS,
    "verify_call": CALL,
    "freeze": FREEZE,
    "cancel": CANCEL,
}
"""The tier that a hard rule leads to."""


class Threshold(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A tier begins at `from` points, that number included, and ends where the next begins."""

    starts: float = msgspec.field(name="from")
    action: Literal["verify_sms", "verify_call", "freeze"]
    notify: bool = False  # tell a risk officer: an alert for each order


class Tiers(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where each tier begins; below the first an order passes."""

    sms: Threshold
    call: Threshold
    freeze: Threshold

    def __post_init__(self) -> None:
        if not 0 < self.sms.starts <= self.call.starts <= self.freeze.starts:
            raise ValueError("expected 0 < sms.from <= call.from <= freeze.from")
        # Whoever compares tiers compares how hard they are: exploration, the circuit breaker, rules.
        hardness = [TIER_OF_ACTION[action] for action in self.actions]
        if hardness != sorted(hardness) or any(h > t for t, h in enumerate(hardness)):
            raise ValueError(
                "a tier's action must be no harder than the tier's own (sms: verify_sms, call: "
                "verify_call, freeze: freeze) and no softer than that of the tier before"
            )

    @property
    def starts(self) -> tuple[float, float, float]:
        """Points at which the tiers sms, call and freeze begin."""
        return self.sms.starts, self.call.starts, self.freeze.starts

    @property
    def actions(self) -> tuple[Action, ...]:
        """The action of each tier, in the order of TIERS."""
        return "accept", self.sms.action, self.call.action, self.freeze.action, "cancel"

    @property
    def notify(self) -> tuple[bool, ...]:
        """Whether a risk officer is told, in the order of TIERS."""
        return False, self.sms.notify, self.call.notify, self.freeze.notify, True


class TiersFor(Tiers, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Tiers of some merchants, or of some channels."""

    merchants: tuple[Annotated[str, Meta(min_length=1)], ...] = ()
    channels: tuple[Annotated[str, Meta(min_length=1)], ...] = ()

    def __post_init__(self) -> None:
        Tiers.__post_init__(self)
        if bool(self.merchants) == bool(self.channels):
            raise ValueError("expected either merchants or channels")


class TierTables:
    """The default tiers and those of merchants and channels, looked up for a chunk.

    An order gets the tiers of its merchant, else of its channel, else the default.

    Attributes:
        tables: the default first.
        starts: (len(tables), 3) float64, points.
    """

    def __init__(self, default: Tiers, others: Sequence[TiersFor]) -> None:
        self.tables: tuple[Tiers, ...] = (default, *others)
        self.starts = np.array([tiers.starts for tiers in self.tables], np.float64)
        self._of_merchant = {m: i for i, t in enumerate(others, 1) for m in t.merchants}
        self._of_channel = {c: i for i, t in enumerate(others, 1) for c in t.channels}

    def of(self, orders: Sequence[Order]) -> np.ndarray:
        """(n,) intp: which of `tables` each order has."""
        if len(self.tables) == 1:
            return np.zeros(len(orders), np.intp)
        of_merchant, of_channel = self._of_merchant, self._of_channel
        found = (
            of_merchant.get(order.merchant or "") or of_channel.get(order.channel or "", 0)
            for order in orders
        )
        return np.fromiter(found, np.intp, len(orders))

    def of_columns(self, merchants: pl.Series, channels: pl.Series) -> np.ndarray:
        """As `of`, from columns."""
        found = merchants.replace_strict(self._of_merchant, default=None, return_dtype=pl.Int64)
        by_channel = channels.replace_strict(self._of_channel, default=0, return_dtype=pl.Int64)
        return found.fill_null(by_channel).to_numpy().astype(np.intp)


def tiers_of_points(points: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """(n,) intp: the tier, PASS to FREEZE, of (n,) points by (n, 3) or (3,) starts."""
    return (points[:, None] >= starts).sum(axis=1)
