"""Exploration: a few orders that would be frozen are let into the next softer tier.

What was frozen never shows whether it was fraud, and a model trained on the rest learns from a
selection. The few that are let through show it, and since the chance of each action is written into
the decision (*propensity*), training and reports can undo the selection by weighting with its
inverse (Horvitz and Thompson 1952, https://doi.org/10.1080/01621459.1952.10483446).
"""

from collections.abc import Sequence
from typing import Annotated

import msgspec
import numpy as np
import xxhash
from msgspec import Meta

from orders.events import Order


class Exploration(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which orders may be explored.

    An order is, when its points would freeze it (not a hard rule, nor one that is not overridable),
    its amount is at most `loss_cap`, and its category is known and not among `irreversible`.
    """

    share: Annotated[float, Meta(ge=0, le=0.2)] = 0.01
    loss_cap: Annotated[int, Meta(ge=0)] = 0  # minor units of the amount; 0: nothing is explored
    irreversible: tuple[str, ...] = (
        "card_key",
        "top_up",
    )  # categories whose goods cannot be had back
    salt: str = ""  # another salt draws other orders

    def may_explore(self, order: Order) -> bool:
        """Whether an order that would be frozen may be let into the softer tier."""
        return (
            self.share > 0
            and order.quantity * order.unit_price <= self.loss_cap
            and order.category is not None
            and order.category not in self.irreversible
        )

    def draws(self, order: Order) -> bool:
        """Whether it is: a stable hash of the order's id, no coin."""
        digest = xxhash.xxh3_64_intdigest(f"{self.salt}\0{order.order_id}".encode())
        return digest < self.share * 2.0**64


def explore(
    exploration: Exploration, orders: Sequence[Order], frozen: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Choose among orders that would be frozen.

    Args:
        exploration: what may be explored.
        orders: the n orders.
        frozen: (n,) bool, those that points alone would freeze.

    Returns:
        (n,) bool, those that get the next softer tier; (n,) float64, the propensity of what each
        order gets: `share` or 1 - `share` where it could have been either, else 1.
    """
    explored = np.zeros(len(orders), np.bool_)
    propensity = np.ones(len(orders))
    for index in np.flatnonzero(frozen).tolist():
        if exploration.may_explore(orders[index]):
            explored[index] = exploration.draws(orders[index])
            propensity[index] = exploration.share if explored[index] else 1 - exploration.share
    return explored, propensity
