"""Alerts: what people must be told, as it travels: typed, versioned, JSON on the wire."""

from typing import Literal

import msgspec

from serving.circuit_breaker import CircuitBreaker, Tripped
from serving.decisions import Decision

AlertKind = Literal[
    "order_stopped", "circuit_breaker", "rule_failed", "rules_switched", "rules_refused"
]


class Alert(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Something that a person must be told.

    Kinds: `order_stopped`, of a tier with `notify`; `circuit_breaker`, of a rule (`rule:<name>`),
    the model, or a channel that stopped as much as it may; `rule_failed`, of a rule (its name) that
    could not be evaluated and matched no order of a chunk; `rules_switched` and `rules_refused`, of
    a published version of the rules that a worker took up, or could not.
    """

    schema: Literal["alert"] = "alert"
    version: Literal[1] = 1

    kind: AlertKind
    time: int  # UTC milliseconds
    subject: str  # an order id, a key of the circuit breaker, a version of the rules
    text: str
    text_zh: str


alert_decoder = msgspec.json.Decoder(Alert)
alert_encoder = msgspec.json.Encoder()


def order_stopped(decision: Decision, now: int) -> Alert:
    """An order in a tier of which a risk officer is told."""
    why = [reason for reason in decision.reasons if reason.points >= 0 and not reason.snoozed]
    first, first_zh = (why[0].text, why[0].text_zh) if why else ("", "")
    return Alert(
        kind="order_stopped",
        time=now,
        subject=decision.order_id,
        text=f"{decision.action} at {decision.points:g} points. {first}".rstrip(),
        text_zh=f"{decision.action}，{decision.points:g} 分。{first_zh}",
    )


def circuit_breaker_tripped(tripped: Tripped, breaker: CircuitBreaker, now: int) -> Alert:
    """A rule, the model or a channel that counts no more until the interval ends."""
    stops, orders, seconds = tripped.stops, tripped.orders, breaker.interval_s
    return Alert(
        kind="circuit_breaker",
        time=now,
        subject=tripped.key,
        text=(
            f"{tripped.key} stopped {stops} of {orders} orders within {seconds} s, as many as it may: "
            f"until the interval ends it is recorded, and stops no order beyond {breaker.floor!r}"
        ),
        text_zh=(
            f"{tripped.key} 在 {seconds} 秒内拦截了 {orders} 单中的 {stops} 单，已达上限："
            f"本时段内仅记录，处置不超过 {breaker.floor!r}"
        ),
    )


def rule_failed(name: str, why: str, now: int) -> Alert:
    """A rule that could not be evaluated."""
    return Alert(
        kind="rule_failed",
        time=now,
        subject=name,
        text=f"the rule {name} could not be evaluated and matched no order of a chunk: {why}",
        text_zh=f"规则 {name} 执行出错，本批订单均视为未命中：{why}",
    )
