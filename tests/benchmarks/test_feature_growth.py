"""What the growth of costs is measured on is what it says."""

import pytest

from benchmarks.crowd import Crowd
from benchmarks.feature_growth import some_features
from features.declare import ENTITIES, HOUR
from features.feature_set import feature_set
from features.memory import InMemoryState

DECLARED = feature_set()


@pytest.mark.parametrize("size", [1, 200])
@pytest.mark.parametrize("hot", [("ip",), ENTITIES])
def test_a_hot_value_has_as_many_orders_in_its_window(hot: tuple[str, ...], size: int) -> None:
    crowd = Crowd.make(hot, 1000 * HOUR, size, held=2_000, timed=40, declared=DECLARED, seed=7)
    state = InMemoryState(DECLARED)
    state.apply(crowd.before)
    seen = state.apply(crowd.after)[:, DECLARED.names.index("ip_orders_1h")]
    half = seen[: len(seen) // 2]
    # A window that slides loses as many as it gains.
    assert half.min() >= 0.98 * size - 1
    assert half.max() <= 1.02 * size + 1


@pytest.mark.parametrize("size", [10, 50, 100, 200])
def test_there_are_features_of_any_number(size: int) -> None:
    assert len(feature_set(features=some_features(size)).features) == size
