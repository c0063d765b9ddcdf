import numpy as np
import pytest

from training.metrics import calibration_curve, evaluate


def test_metrics_of_a_perfect_ranking():
    label = np.array([0.0] * 95 + [1.0] * 5)
    metrics = evaluate(label, np.linspace(0, 1, 100))
    assert (metrics.auc, metrics.ap, metrics.recall_at_1pct_fpr) == (1.0, 1.0, 1.0)
    assert (metrics.precision_at_capacity, metrics.recall_at_capacity) == (1.0, 1.0)


def test_recall_at_one_percent_false_positives_counts_by_hand():
    # the riskiest ten: 1 negative among them; the next ten: 5 negatives
    label = np.array([1.0] * 9 + [0.0] + [1.0, 0.0] * 5 + [0.0] * 94 + [1.0])
    metrics = evaluate(label, np.linspace(1, 0, len(label)))
    assert metrics.recall_at_1pct_fpr == pytest.approx(10 / 15)  # 100 negatives: one may pass


def test_capacity_is_a_share_of_the_orders():
    label = np.zeros(200)
    label[:8] = 1
    metrics = evaluate(label, np.linspace(1, 0, 200), capacity=0.05)
    assert metrics.precision_at_capacity == pytest.approx(0.8)
    assert metrics.recall_at_capacity == 1.0


@pytest.mark.parametrize("label", [np.zeros(10), np.ones(10)])
def test_one_class_has_no_ranking_metrics(label: np.ndarray):
    metrics = evaluate(label, np.linspace(0, 1, 10))
    assert (metrics.auc, metrics.ap, metrics.recall_at_1pct_fpr) == (None, None, None)
    assert metrics.brier is not None


def test_an_empty_test_has_no_metrics():
    metrics = evaluate(np.empty(0), np.empty(0))
    assert metrics.orders == 0
    assert metrics.auc is metrics.brier is metrics.precision_at_capacity is None


def test_the_calibration_curve_covers_every_order_once():
    random = np.random.default_rng(0)
    probability = random.random(1_003)
    curve = calibration_curve((random.random(1_003) < probability).astype(float), probability)
    assert sum(point.orders for point in curve) == 1_003
    assert [p.predicted for p in curve] == sorted(p.predicted for p in curve)
    assert max(abs(p.predicted - p.observed) for p in curve) < 0.15
