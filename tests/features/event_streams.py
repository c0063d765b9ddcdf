"""Random small streams, rich in what goes wrong: ties, window edges, late and repeated events."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from hypothesis import strategies as st

from features.columns import (
    EventColumns,
    event_columns_from_orders,
    event_columns_from_outcomes,
    outcome_code,
)
from features.declare import (
    DAY,
    HOUR,
    MINUTE,
    MONTH,
    WEEK,
    count,
    distinct,
    largest,
    matches,
    total,
)
from features.definitions import FEATURES
from features.feature_set import feature_set
from features.memory import HORIZON_MS
from features.state import FeatureState
from orders.events import Instant, Order, Outcome

# Aggregates over entities that the shipped declarations do not combine.
FEATURE_SET = feature_set(
    features=(
        *FEATURES,
        largest("quantity", per="sku", within=HOUR, catches="t"),
        total("unit_price", per="merchant", within=MONTH, catches="t"),
        distinct("merchant", per="phone", within=MONTH, catches="t"),
        distinct("account", per="account", within=WEEK, catches="t"),
        matches("device", per="recipient", within=WEEK, events="expired|completed", catches="t"),
        count("verification_failed", per="ip", within=MINUTE, catches="t"),
    )
)

START = 1_740_000_000_000

# Whole windows and a millisecond to either side, so that events meet at the edges.
_steps = st.sampled_from([0, 0, 0, 1, 60_000, 300_000, 3_600_000, 1000 * DAY, 1000 * WEEK])
_offsets = st.builds(
    lambda a, b, nudge: START + a + b + nudge, _steps, _steps, st.sampled_from([-1, 0, 0, 0, 1])
)
_far = st.builds(
    lambda near, days: near + days * 1000 * DAY, _offsets, st.sampled_from([0, 0, 15, 30, 45, 75])
)
# The shortest horizon has its edge where the longest window has its own.
horizons = st.sampled_from([1000 * MONTH, HORIZON_MS])

_values = st.sampled_from(["a", "a", "b", "c", None])
_ips = st.sampled_from([None, "10.0.0.1", "10.0.0.2", "10.0.1.1"])
_phones = st.sampled_from([None, "17012345678", "13812345678"])
_ids = st.integers(0, 24).map("o{}".format)
_kinds = st.sampled_from(
    ["paid", "expired", "payment_failed", "verification_failed", "delivered", "charged_back"]
)


def orders(times: st.SearchStrategy[int] = _offsets) -> st.SearchStrategy[Order]:
    """Orders of few people over few days."""
    return st.builds(
        Order,
        order_id=_ids,
        event_time=times.map(Instant),
        account=_values,
        account_created_time=st.sampled_from([None, Instant(START - 5), Instant(START + 5)]),
        member_level=st.sampled_from([None, 0, 4]),
        phone=_phones,
        recipient=_values,
        device=_values,
        ip=_ips,
        merchant=_values,
        sku=_values,
        quantity=st.integers(1, 3),
        unit_price=st.sampled_from([0, 1, 99, 10_000_000]),
        list_price=st.sampled_from([None, 0, 100]),
        currency=st.just("CNY"),
        address=_values,
        payment=_values,
        coupon=st.sampled_from([None, "c"]),
    )


def outcomes(times: st.SearchStrategy[int] = _offsets) -> st.SearchStrategy[Outcome]:
    """Outcomes of those orders, or of none."""
    plain = st.builds(Outcome, order_id=_ids, kind=_kinds, event_time=times.map(Instant))
    cancelled = st.builds(
        Outcome,
        order_id=_ids,
        kind=st.just("cancelled"),
        event_time=times.map(Instant),
        reason=st.sampled_from([None, "risk.scalper", "user.changed_mind"]),
    )
    reviewed = st.builds(
        Outcome,
        order_id=_ids,
        kind=st.just("reviewed"),
        event_time=times.map(Instant),
        verdict=st.sampled_from(["fraud", "genuine"]),
    )
    return st.one_of(plain, cancelled, reviewed)


def streams(far: bool = False, max_size: int = 40) -> st.SearchStrategy[list[Order | Outcome]]:
    """Events in the sequence of their application; `far`: over months, so that some are dropped."""
    times = _far if far else _offsets
    events = st.one_of(orders(times), orders(times), outcomes(times))
    return st.lists(events, min_size=max_size // 2, max_size=max_size)


@st.composite
def crowds(draw: st.DrawFn, most: int = 500) -> list[Order | Outcome]:
    """150 events or more of few values, some late or repeated: runs, and tiles from 257 on."""
    n = draw(st.integers(150, most))
    span = 1000 * draw(st.sampled_from([HOUR, DAY, WEEK, 2 * MONTH]))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))

    def one_of(*values: Any) -> Any:
        return values[random.integers(len(values))]

    events: list[Order | Outcome] = []
    for i in range(n):
        late = random.integers(span) // 4 if random.random() < 0.05 else 0
        # Whole tenths of a minute, so that events meet.
        at = Instant(START + (span * i // n - late) // 6_000 * 6_000)
        if random.random() < 1 / 3:
            kind = one_of("paid", "expired", "expired", "payment_failed", "charged_back")
            owner = f"o{random.integers(max(0, i - 40), i + 2)}"
            events.append(Outcome(order_id=owner, kind=kind, event_time=at))
            continue
        events.append(
            Order(
                order_id=f"o{i if random.random() < 0.97 else random.integers(i + 1)}",
                event_time=at,
                account=one_of("a", "a", "a", "a", "b", None),
                phone=one_of("17012345678", "13812345678", None),
                recipient=one_of("a", "b", None),
                device=one_of("a", "a", "a", "b", "c", None),
                ip=f"10.0.{random.integers(2)}.{random.integers(9)}",
                merchant="a",
                sku=one_of("a", "b"),
                quantity=int(random.integers(1, 4)),
                unit_price=one_of(0, 99, 10_000_000),
                currency="CNY",
                address=one_of("a", "b", "c", "d"),
                payment=one_of("a", "a", "b", None),
            )
        )
    return events


def columns(events: Sequence[Order | Outcome]) -> EventColumns:
    """Events of both sorts in one table, in their sequence; of classes that no feature knows none."""
    sorts = [
        isinstance(e, Order)
        for e in events
        if isinstance(e, Order) or outcome_code(e.kind, e.reason, e.verdict)
    ]
    placed = event_columns_from_orders([e for e in events if isinstance(e, Order)], FEATURE_SET)
    taken = event_columns_from_outcomes([e for e in events if isinstance(e, Outcome)])
    is_order = np.array(sorts, bool)
    sequence = np.argsort(np.concatenate([np.flatnonzero(is_order), np.flatnonzero(~is_order)]))
    return replace(
        placed,
        order_key=np.concatenate([placed.order_key, taken.order_key])[sequence],
        time=np.concatenate([placed.time, taken.time])[sequence],
        kind=np.concatenate([placed.kind, taken.kind])[sequence],
    )


def apply(state: FeatureState, events: Sequence[Order | Outcome], chunk: int = 7) -> np.ndarray:
    """The features of the orders among the events, applied in chunks."""
    vectors = [state.apply(columns([]))]
    starts = range(0, len(events), chunk)
    vectors += [state.apply(columns(events[start : start + chunk])) for start in starts]
    return np.concatenate(vectors)
