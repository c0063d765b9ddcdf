"""From what the policy says to what is done: exploration, then the circuit breaker."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from orders.events import Order
from serving.circuit_breaker import StopCounts, Tripped, channel_key
from serving.exploration import explore
from serving.prepared_policy import Judged, PreparedPolicy
from serving.tiers import CALL, FREEZE, PASS


@dataclass(slots=True)
class FinalTiers:
    """What is done with n orders.

    Attributes:
        tier: n indices into TIERS.
        propensity: n chances with which the action was chosen.
        explored: of n orders, whether exploration made them softer.
        softened_by: of n orders, the keys of the circuit breaker that were above their caps.
        tripped: keys that are above their caps since this chunk.
    """

    tier: list[int]
    propensity: list[float]
    explored: list[bool]
    softened_by: list[list[str]]
    tripped: list[Tripped] = field(default_factory=list)


def final_tiers(
    prepared: PreparedPolicy,
    judged: Judged,
    orders: Sequence[Order],
    now: int,
    stops: StopCounts | None,
) -> FinalTiers:
    """What is done with a chunk.

    Args:
        prepared: the policy.
        judged: what it says.
        orders: the n orders.
        now: UTC milliseconds, for the circuit breaker.
        stops: what it has counted, and goes on counting; None: there is none.
    """
    verdicts = judged.verdicts
    explored, propensity = explore(
        prepared.policy.exploration, orders, (verdicts.tier == FREEZE) & ~verdicts.hard
    )
    final = FinalTiers(
        tier=np.where(explored, CALL, verdicts.tier).tolist(),
        propensity=propensity.tolist(),
        explored=explored.tolist(),
        softened_by=[[] for _ in orders],
    )
    if stops is not None:
        stops.begin(now, [order.channel for order in orders])
        full: list[str] = []
        for index in np.flatnonzero(verdicts.tier != PASS).tolist():
            full += _soften(final, index, prepared, judged, orders[index].channel, stops=stops)
        final.tripped = stops.newly_tripped(full)
    return final


def _soften(
    final: FinalTiers,
    index: int,
    prepared: PreparedPolicy,
    judged: Judged,
    channel: str | None,
    *,
    stops: StopCounts,
) -> list[str]:
    """Take from the stop of one order what is above its cap, and count what is left of it.

    What is left has other parts that decide it, which may be above their caps too.
    """
    given = tier = final.tier[index]
    above: list[str] = []
    while tier != PASS:
        keys = stops.keys_of(tier, prepared.parts(judged, index, above), channel)
        full = stops.full(keys, tier)
        if not full:
            stops.count(keys, tier)
            break
        above += full
        of_channel = channel is not None and channel_key(channel) in full
        tier = PASS if of_channel else min(tier, prepared.tier_without(judged, index, above))
    soft = stops.softened(given, tier)
    if soft != given:
        final.tier[index], final.softened_by[index] = soft, above
        final.explored[index], final.propensity[index] = False, 1.0
    return above
