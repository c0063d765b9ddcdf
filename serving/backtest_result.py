"""What a backtest found, as data: amounts are integers in minor units, never summed over currencies."""

import msgspec

from orders.decision_table import Tier


class Move(msgspec.Struct, frozen=True, kw_only=True):
    """Orders that were in one tier and would be in another, or in the same."""

    before: Tier
    after: Tier
    orders: int


class Sum(msgspec.Struct, frozen=True, kw_only=True):
    """Orders and their amount."""

    orders: int = 0
    amount: int = 0


class MoneyOfFate(msgspec.Struct, frozen=True, kw_only=True):
    """What became of orders, and what is stopped of them.

    Of what was charged back, the stopped part is money saved and the rest money lost; of what was
    completed, the stopped part is business at risk.
    """

    currency: str
    fate: str  # one of orders.fates.FATES
    all: Sum
    stopped_before: Sum
    stopped_after: Sum
    newly_stopped: Sum
    newly_passed: Sum


class Share(msgspec.Struct, frozen=True, kw_only=True):
    """A share with Wilson's 95 % interval; n may be an effective size."""

    share: float
    low: float
    high: float
    n: float


class Precision(msgspec.Struct, frozen=True, kw_only=True):
    """How often an order that a rule matches is a 1 by a target.

    Attributes:
        unknown: matches whose label is not known, or not mature: in no share.
        precision: over the others; None where there are none.
        unselected: the same over orders that were let through, each with the inverse of its
            propensity as its weight (Horvitz and Thompson 1952), so that those that exploration let
            through stand for those that were frozen; n is Kish's effective size. None where nothing
            that the rule matches was explored.
    """

    target: str
    ones: int
    zeros: int
    unknown: int
    precision: Share | None
    unselected: Share | None


class RuleResult(msgspec.Struct, frozen=True, kw_only=True):
    """One enabled rule of the policy that is tried.

    Attributes:
        alone: orders that are stopped and would pass without it; on the side of allow, those that
            pass and would be stopped without it.
        newly_stopped: orders among its matches that passed before.
    """

    name: str
    title: str
    title_zh: str
    side: str
    matches: int
    stopped: int
    alone: int
    newly_stopped: int
    newly_passed: int
    amount: dict[str, int]  # of its matches, by currency
    amount_alone: dict[str, int]
    precision: list[Precision]


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """The orders of one merchant, channel or day (UTC)."""

    name: str | None
    orders: int
    stopped_before: int
    stopped_after: int
    changed: int
    newly_stopped: int
    newly_passed: int


class ReasonBefore(msgspec.Struct, frozen=True, kw_only=True):
    """A reason that changed orders were decided for."""

    code: str
    changed: int
    newly_stopped: int
    newly_passed: int


class ChangedOrder(msgspec.Struct, frozen=True, kw_only=True):
    """One order that passes instead of being stopped, or the other way round.

    `value` is what the change is worth, in minor units: the amount of a fraud that is stopped, or
    of a completed honest order that passes; negative the other way round.
    """

    order_id: str
    event_time: str  # ISO 8601, UTC
    merchant: str | None
    before: Tier
    after: Tier
    points: float
    rules: list[str]
    fate: str
    is_risk: bool
    value: int
    currency: str


class PolicyName(msgspec.Struct, frozen=True, kw_only=True):
    """A policy in a comparison; the version is None of what was decided, by whatever versions."""

    name: str
    version: str | None


class Backtest(msgspec.Struct, frozen=True, kw_only=True):
    """A policy on the orders of the past, against what was decided or another policy.

    Attributes:
        orders: that were compared.
        repeats: decisions left out, for their order had one already.
        without_order: decisions left out, for their order is not archived.
        explored: compared orders that exploration let into a softer tier; they count as frozen.
        softened: compared orders that the circuit breaker made softer; they count as they were.
        merchants: with most changes first, at most 50.
        overlap: (R, R) Jaccard index of the sets that the rules match, in the order of `rules`.
        best, worst: by currency, at most ten changed orders each.
        decided_by: versions of the rules that decided then, and how many orders each.
        warnings: what makes the comparison less than exact.
    """

    candidate: PolicyName
    against: PolicyName
    start: str
    end: str
    orders: int
    repeats: int
    without_order: int
    explored: int
    softened: int
    changed: int
    moves: list[Move]
    money: list[MoneyOfFate]
    rules: list[RuleResult]
    overlap: list[list[float]]
    merchants: list[Part]
    channels: list[Part]
    days: list[Part]
    reasons_before: list[ReasonBefore]
    best: dict[str, list[ChangedOrder]]
    worst: dict[str, list[ChangedOrder]]
    decided_by: dict[str, int]
    warnings: list[str]
