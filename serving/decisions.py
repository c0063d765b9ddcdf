"""What we decided about an order, and why, as it travels: typed, versioned, JSON on the wire."""

from typing import Literal

import msgspec
import numpy as np

from orders.decision_table import Tier

Action = Literal["accept", "verify_sms", "verify_call", "freeze", "cancel"]


class Reason(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One thing that moved the points.

    `code` is `rule:<name of the rule>`, `model:<name of the feature>`, or `model.score` for the
    model as a whole. The points of a model reason are its share in the model's points. The texts
    are for risk officers, not for customers: those read `serving.customer_words`.
    """

    code: str
    points: float  # 0 of a hard rule
    text: str
    text_zh: str
    # of a rule, where the order is not passed: what its condition read
    values: dict[str, float | str | bool | None] | None = None
    snoozed: bool = False  # the rule matched and did not count, for this entity is snoozed


class AsOf(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Where the feature state of a worker stood when it computed a vector.

    `preempt parity` rebuilds from it the sequence in which that state took orders and outcomes:
    before a batch came every record below `orders` and `outcomes` that is not decided in it, then
    the orders of the batch, by `position`. Where workers share one state, `turn` says in which of
    all calls to it the order was taken.
    """

    # one process of a worker, from its start to its end; where workers share a state, with a dash and
    # the number of the assignment of partitions
    state: str
    # fingerprint of the snapshot that it began with, or the name of a shared state that held events
    # before this process came; null: it began empty
    snapshot: str | None
    batch: int  # number of the batch in which the order was decided, increasing
    position: int  # of the order in its batch, from 0
    orders: list[
        int
    ]  # by partition: the first offset of orders that the state lacks after the batch
    outcomes: list[int]  # the same of outcomes, before the batch
    shared: str | None = None  # name of the state that workers share
    turn: int | None = None  # of the call that took the order, increasing; null: not known


class CustomerWords(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What a customer may be told about an order that is not passed; see `serving.customer_words`."""

    code: str
    text: str
    text_zh: str


class ShadowVerdict(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What a version of the rules in shadow would have said; nobody acted on it."""

    rules: str
    points: float
    tier: Tier


class Decision(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The decision on one order; there is exactly one per order id.

    Everything that is needed to explain it, to recompute it and to learn from it is in it.
    """

    schema: Literal["decision"] = "decision"
    version: Literal[1] = 1

    order_id: str
    event_time: int  # of the order, UTC milliseconds
    decided_time: int

    # what we knew: one number a feature, in the order of the feature set; null where unknown
    features: list[float | None]
    feature_hash: str
    as_of: AsOf | None = None  # null when the state is shared, or nothing was streamed

    # how it was weighed
    probability: float | None  # calibrated; null when rules decided alone
    rule_points: float
    model_points: float
    points: float  # the sum of both

    # what follows
    tier: Tier
    action: Action
    reasons: list[Reason]  # hard rules, then most points first, snoozed ones last
    customer: CustomerWords | None = None  # null where the order is passed
    fast_lane: bool  # over a threshold, and let through as a member

    # by which versions
    model: str | None  # "name/version"; null without a model
    rules: str
    lists: str | None = None  # version of the lists; null where there are none
    shadow: ShadowVerdict | None = None

    # what the policy was not left to decide alone
    propensity: float = 1.0  # the chance with which this action was chosen
    explored: bool = False  # would have been frozen; see serving.exploration
    softened_by: list[str] = []  # keys of the circuit breaker that were above their caps


def feature_rows(vectors: np.ndarray) -> list[list[float | None]]:
    """Rows of a (n, F) float64 matrix as decisions carry them: NaN becomes None."""
    cells = vectors.astype(object)
    cells[np.isnan(vectors)] = None
    return cells.tolist()


decision_decoder = msgspec.json.Decoder(Decision)
decision_encoder = msgspec.json.Encoder()
