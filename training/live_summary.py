"""The shape of `summary.json`. Each figure is defined in `docs/summary.md`."""

from typing import Literal

import msgspec


class Latency(msgspec.Struct, frozen=True):
    """Order appended to decision appended, in milliseconds of the broker's clock."""

    p50: float | None
    p95: float | None
    p99: float | None


class Tiers(msgspec.Struct, frozen=True, rename={"pass_": "pass"}):
    """How many orders each tier got."""

    pass_: int
    sms: int
    call: int
    freeze: int
    cancel: int


class TiersByTruth(msgspec.Struct, frozen=True):
    """The tiers of honest orders and of attack orders."""

    honest: Tiers
    attack: Tiers


class Attack(msgspec.Struct, frozen=True, kw_only=True):
    """How one kind of attack fared, over its incidents; the medians are None when infinite."""

    kind: str
    orders: int
    recall: float
    incidents: int
    never_stopped: int
    first_stop_s: float | None
    first_stop_order: float | None


class Incidents(msgspec.Struct, frozen=True, kw_only=True):
    """How fast attacks of any kind were found; the medians are None when infinite."""

    count: int
    never_stopped: int
    within_30_s: float | None
    first_stop_s: float | None
    first_stop_order: float | None


class LookAlike(msgspec.Struct, frozen=True):
    """How a kind of honest order fared."""

    kind: str
    orders: int
    pass_rate: float


class Peak(msgspec.Struct, frozen=True, kw_only=True):
    """The same figures for the promotion peak."""

    start: str
    end: str
    orders: int
    orders_per_s: float | None
    event_orders_per_s: float | None
    times_normal: float | None
    latency_ms: Latency
    false_positive_rate: float | None
    precision: float | None
    recall: float | None


class ModelVersion(msgspec.Struct, frozen=True):
    """The model that decided last."""

    name: str | None
    version: str | None


class RulesVersion(msgspec.Struct, frozen=True):
    """The rule set that decided last."""

    version: str | None


class ParityFigures(msgspec.Struct, frozen=True):
    """Served values against recomputed ones; `docs/parity.md`."""

    orders: int
    equal_share: float
    explained: int
    unexplained: int


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """`summary.json`; a figure that the day does not give is None, never a guess."""

    schema: Literal["summary"] = "summary"
    version: Literal[1] = 1
    start: str
    end: str
    orders: int
    decisions: int
    lost: int
    duplicates: int
    unexpected: int
    dead_letters: int
    orders_per_s: float | None
    event_orders_per_s: float | None
    latency_ms: Latency
    tiers: Tiers
    tiers_by_truth: TiersByTruth
    attack_orders: int
    stopped: int
    auc: float | None
    ap: float | None
    auc_points: float | None
    precision: float | None
    recall: float | None
    false_positive_rate: float | None
    human_share: float | None
    incidents: Incidents
    attacks: list[Attack]
    look_alikes: list[LookAlike]
    gift_pass_rate: float | None
    peak: Peak
    model: ModelVersion
    rules: RulesVersion
    seed: int | None
    machine: str
    parity: ParityFigures | None = None
