import numpy as np
from hypothesis import given, settings

from features.memory import HORIZON_MS, InMemoryState
from orders.events import Order, Outcome
from tests.features.event_streams import FEATURE_SET, apply, streams
from tests.features.polars_oracle import oracle


def assert_equals_oracle(events: list[Order | Outcome]) -> None:
    got = apply(InMemoryState(FEATURE_SET), events)
    expected = oracle(events, FEATURE_SET, HORIZON_MS)
    for column, name in enumerate(FEATURE_SET.names):
        np.testing.assert_array_equal(got[:, column], expected[:, column], err_msg=name)


@given(streams())
@settings(max_examples=80, deadline=None)
def test_every_feature_equals_the_oracle_bit_for_bit(events: list[Order | Outcome]) -> None:
    assert_equals_oracle(events)


@given(streams(far=True))
@settings(max_examples=60, deadline=None)
def test_so_it_does_when_events_come_months_late(events: list[Order | Outcome]) -> None:
    assert_equals_oracle(events)
