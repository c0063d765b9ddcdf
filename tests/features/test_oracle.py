from collections.abc import Sequence

import numpy as np
from hypothesis import HealthCheck, given, settings

from features.memory import HORIZON_MS
from features.state import FeatureState
from orders.events import Instant, Order, Outcome
from tests.features.event_streams import FEATURE_SET, START, apply, horizons, streams
from tests.features.polars_oracle import oracle

_suppressed = [HealthCheck.function_scoped_fixture]


def assert_equals_oracle(
    state: FeatureState, events: Sequence[Order | Outcome], horizon_ms: int = HORIZON_MS
) -> None:
    got = apply(state, events)
    expected = oracle(events, FEATURE_SET, horizon_ms)
    for column, name in enumerate(FEATURE_SET.names):
        np.testing.assert_array_equal(got[:, column], expected[:, column], err_msg=name)


@given(events=streams())
@settings(max_examples=80, deadline=None, suppress_health_check=_suppressed)
def test_every_feature_equals_the_oracle_bit_for_bit(
    new_state, events: list[Order | Outcome]
) -> None:
    assert_equals_oracle(new_state(FEATURE_SET), events)


@given(events=streams(far=True), horizon_ms=horizons)
@settings(max_examples=60, deadline=None, suppress_health_check=_suppressed)
def test_so_it_does_when_events_come_months_late(
    new_state, events: list[Order | Outcome], horizon_ms: int
) -> None:
    assert_equals_oracle(new_state(FEATURE_SET, horizon_ms), events, horizon_ms)


def test_so_it_does_for_a_hot_key_with_many_values(new_state) -> None:
    draw = np.random.default_rng(3)
    orders = [
        Order(
            order_id=f"o{i}",
            event_time=Instant(START + 60_000 * i - int(draw.integers(3)) * 600_000),
            account=f"u{draw.integers(90)}",
            device="d",
            ip=f"10.0.0.{draw.integers(9)}",
            phone=f"138{draw.integers(70):08}",
            address=f"{draw.integers(30)} long road",
            payment=f"p{draw.integers(25)}",
            quantity=1,
            unit_price=100,
            currency="CNY",
        )
        for i in range(250)
    ]
    assert_equals_oracle(new_state(FEATURE_SET), orders)
