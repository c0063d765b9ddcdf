"""What the models are trained to foretell: outcomes mapped to 1, 0 or not known yet.

Declarations only. `training` computes labels from them, from the outcomes known at a given time.
"""

from dataclasses import dataclass
from datetime import timedelta

from orders.events import OutcomeKind
from orders.reasons import Side


@dataclass(frozen=True, slots=True)
class Evidence:
    """An outcome that speaks for a label.

    Attributes:
        kind: The kind of the outcome.
        sides: The sides one of which its reason must lie with; None: any, or no reason at all.
        verdict: The verdict it must carry; None: any, or none.
    """

    kind: OutcomeKind
    sides: frozenset[Side] | None = None
    verdict: str | None = None


@dataclass(frozen=True, slots=True)
class Burst:
    """When many orders of one hand end the same way within a short time.

    An order that ended in `kind` is a 1 when at least `orders` orders of the same value of one of
    `entities`, itself among them, ended in `kind` within `within` before or after it (by the event
    times of those outcomes, as far as they are known). Outside a burst it is a 0.
    """

    kind: OutcomeKind
    orders: int
    within: timedelta
    entities: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Target:
    """How the outcomes of an order that are known at a time give its label at that time.

    The first that applies decides:

    1. `overrules_to_one`, `overrules_to_zero`: the latest such outcome, for or against;
    2. `ones`, or a burst: 1;
    3. `zeros`, or the burst's kind outside a burst: 0, without waiting for maturity;
    4. the order is older than `maturity`: 0, since nothing has spoken for 1 so long;
    5. otherwise the label is not known.

    Attributes:
        maturity: How long after the order's event time absence starts to mean 0; None: never.
    """

    name: str
    description: str
    ones: tuple[Evidence, ...]
    zeros: tuple[Evidence, ...]
    overrules_to_one: tuple[Evidence, ...] = ()
    overrules_to_zero: tuple[Evidence, ...] = ()
    maturity: timedelta | None = None
    burst: Burst | None = None


RISK = Target(
    name="risk",
    description="A risk reason, a chargeback, or a hold that expired in a burst",
    ones=(Evidence("cancelled", sides=frozenset({"risk"})), Evidence("charged_back")),
    # A paid or delivered order may still be charged back: only maturity makes it a 0.
    zeros=(Evidence("cancelled", sides=frozenset({"user", "merchant", "platform", "regulatory"})),),
    overrules_to_one=(Evidence("reviewed", verdict="fraud"),),
    overrules_to_zero=(Evidence("reviewed", verdict="genuine"), Evidence("appeal_upheld")),
    maturity=timedelta(days=14),
    burst=Burst("expired", orders=3, within=timedelta(hours=1), entities=("device", "account")),
)

CANCEL = Target(
    name="cancel",
    description="Cancelled, for any reason",
    ones=(Evidence("cancelled"),),
    # An unpaid order that expired came to its end without being cancelled.
    zeros=(Evidence("delivered"), Evidence("expired")),
    maturity=timedelta(days=7),
)

TARGETS: dict[str, Target] = {target.name: target for target in (RISK, CANCEL)}
