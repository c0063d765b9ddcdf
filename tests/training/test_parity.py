"""Comparing vectors: what is equal, what differs, and what the table of differences says."""

import numpy as np

from training.parity import compare
from training.recomputed import Vectors, bit_equal

NAN = np.nan
NAMES = ("a", "b", "c")
IDS = ["o1", "o2", "o3", "o4"]

SERVED = np.array([[1, NAN, 3], [1, 2, 3], [1, 2, 3], [1, NAN, 3]], np.float64)


def vectors(ideal: np.ndarray, applied: np.ndarray | None = None, traced: bool = True) -> Vectors:
    applied = SERVED if applied is None else applied
    nothing = np.zeros(SERVED.shape, bool)
    return Vectors(SERVED, ideal, applied, np.full(SERVED.shape, traced), nothing)


def changed(*cells: tuple[int, int, float]) -> np.ndarray:
    other = SERVED.copy()
    for row, column, value in cells:
        other[row, column] = value
    return other


def test_missing_equals_missing_and_nothing_else_but_the_same_bits() -> None:
    left = np.array([NAN, NAN, 1.0, 0.1 + 0.2, 0.0, 2.0])
    right = np.array([-NAN, 1.0, NAN, 0.3, -0.0, 2.0])
    assert bit_equal(left, right).tolist() == [True, False, False, False, False, True]


def test_what_is_equal_is_not_in_the_table() -> None:
    assert compare(vectors(SERVED.copy()), NAMES, IDS) == []


def test_a_feature_that_differs_has_its_share_its_largest_difference_and_examples() -> None:
    ideal = changed((1, 0, 4.0), (2, 0, 1.5), (0, 1, 7.0))
    first, second = compare(vectors(ideal), NAMES, IDS)
    assert (first.feature, first.equal_share, first.differing) == ("a", 0.5, 2)
    assert (first.largest_difference, first.unexplained) == (3.0, 0)
    assert [e.order_id for e in first.examples] == ["o2", "o3"]
    assert (first.examples[0].served, first.examples[0].recomputed) == (1.0, 4.0)
    assert (second.feature, second.equal_share) == ("b", 0.75)
    assert second.largest_difference is None  # one side is missing
    assert (second.examples[0].served, second.examples[0].recomputed) == (None, 7.0)


def test_what_the_state_does_not_give_is_unexplained_and_comes_first() -> None:
    applied = changed((3, 2, 8.0))
    ideal = changed((0, 0, 9.0), (1, 0, 9.0), (3, 2, 8.0))
    first, second = compare(vectors(ideal, applied), NAMES, IDS)
    assert (first.feature, first.unexplained, second.unexplained) == ("c", 1, 0)
    assert (first.examples[0].order_id, first.examples[0].as_applied) == ("o4", 8.0)


def test_a_value_that_is_ideal_and_not_what_the_state_gives_is_unexplained_too() -> None:
    [found] = compare(vectors(SERVED.copy(), changed((0, 0, 5.0))), NAMES, IDS)
    assert (found.feature, found.unexplained, found.equal_share) == ("a", 1, 1.0)


def test_where_the_state_stood_is_not_known_nothing_is_called_unexplained() -> None:
    [found] = compare(vectors(changed((0, 0, 5.0)), changed((1, 1, 5.0)), traced=False), NAMES, IDS)
    assert (found.feature, found.unexplained, found.differing) == ("a", 0, 1)
