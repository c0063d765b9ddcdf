"""Alerts: what people must be told, as it travels: typed, versioned, JSON on the wire."""

from typing import Literal

import msgspec

from serving.circuit_breaker import CircuitBreaker, Tripped
from serving.decisions import Decision

AlertKind = Literal["order_stopped", "circuit_breaker", "rules_switched", "rules_refused"]


class Alert(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Something that a person must be told.

    Kinds: `order_stopped`, of a tier with `notify`; `circuit_breaker`, of a rule (`rule:<name>`),
    the model, or a channel that stopped more than it may; `rules_switched` and `rules_refused`, of
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
    why = [reason for reason in decision.reasons if reason.points > 0 or reason.values is not None]
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
    cap = f"{100 * breaker.cap_of(tripped.key):g} %"
    return Alert(
        kind="circuit_breaker",
        time=now,
        subject=tripped.key,
        text=(
            f"{tripped.key} stopped {stops} of {orders} orders within {seconds} s, more than {cap}: "
            "what it says is recorded and counts no more in this interval"
        ),
        text_zh=(
            f"{tripped.key} 在 {seconds} 秒内拦截了 {orders} 单中的 {stops} 单，超过上限 {cap}："
            "本时段内仅记录、不再生效"
        ),
    )
