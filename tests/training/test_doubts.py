"""When a model's test says that it has learnt nothing."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from training.doubts import doubts


def doubted(label: np.ndarray, probability: np.ndarray) -> list[str]:
    return doubts(label, probability, float(roc_auc_score(label, probability)))


def test_chance_is_doubted_as_often_as_the_bound_says():
    draw = np.random.default_rng(1)
    label = (np.arange(300) < 40).astype(float)
    times = [bool(doubted(label, draw.random(300))) for _ in range(1_000)]
    assert 0.96 < np.mean(times) < 0.99  # 97.5 %


def test_a_clear_ranking_is_trusted():
    draw = np.random.default_rng(2)
    label = (draw.random(2_000) < 0.1).astype(float)
    assert doubted(label, np.clip(0.1 + 0.2 * label + 0.1 * draw.random(2_000), 0, 1)) == []


def test_one_positive_that_happens_to_come_first_proves_nothing():
    label = np.array([1.0, *[0.0] * 100])
    [said] = doubted(label, np.linspace(0.9, 0.1, 101))
    assert "on 1 positive and 100 other orders of the test, AUC 1.000 is not above 1.0" in said


@pytest.mark.parametrize(("low", "high", "constant"), [(0.49, 0.51, True), (0.5, 0.6, False), (0.001, 0.0011, True), (0.0, 0.0, True), (1.0, 1.0, True)])  # fmt: skip
def test_predictions_within_a_quarter_of_a_tier_are_nearly_constant(
    low: float, high: float, constant: bool
):
    label = np.array([0.0, 1.0] * 500)
    probability = np.where(label == 1, high, low)
    said = doubted(label, probability)
    assert any("nearly the same" in doubt for doubt in said) == constant


def test_without_a_test_there_is_nothing_to_doubt():
    assert doubts(np.empty(0), np.empty(0), None) == []
