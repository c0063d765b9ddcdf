import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import brier_score_loss, roc_auc_score

from models.calibration import Calibration, Isotonic, Platt, fit_calibration, probability
from models.points import model_points
from training.metrics import evaluate


def made_scores(rows: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Scores that are twice too sure of themselves and shifted."""
    random = np.random.default_rng(seed)
    truth = random.normal(-2, 1.2, rows)
    label = (random.random(rows) < probability(truth)).astype(float)
    return 2 * truth + 1.5, label


@pytest.mark.parametrize("method", ["platt", "isotonic"])
def test_calibration_mends_scores_that_are_too_sure(method):
    calibration = fit_calibration(*made_scores(20_000, seed=1), method=method)
    score, label = made_scores(20_000, seed=2)
    before, after = probability(score), probability(calibration.log_odds(score))
    assert brier_score_loss(label, after) < 0.9 * brier_score_loss(label, before)
    error = evaluate(label, after).expected_calibration_error
    assert error is not None
    assert error < 0.01


@pytest.mark.parametrize("method", ["platt", "isotonic"])
def test_calibration_keeps_the_ranking(method):
    calibration = fit_calibration(*made_scores(5_000, seed=1), method=method)
    score, label = made_scores(5_000, seed=2)
    after = calibration.log_odds(score)
    assert roc_auc_score(label, after) == roc_auc_score(label, score)
    assert len(np.unique(after)) == len(np.unique(score))


@settings(deadline=None)  # the first example imports scikit-learn
@given(
    st.lists(st.tuples(st.floats(-8, 8), st.booleans()), min_size=2, max_size=400),
    st.sampled_from(["auto", "platt", "isotonic"]),
)
def test_a_higher_score_never_gets_a_lower_probability(slice_, method):
    score = np.array([score for score, _ in slice_])
    label = np.array([float(label) for _, label in slice_])
    calibration = fit_calibration(score, label, method=method)
    grid = np.linspace(-12, 12, 500)
    log_odds = calibration.log_odds(grid)
    assert np.all(np.isfinite(log_odds))
    assert np.all(np.diff(log_odds) >= 0)


def test_a_small_slice_gets_two_numbers_and_a_large_one_knots():
    assert isinstance(fit_calibration(*made_scores(1_000)), Platt)
    assert isinstance(fit_calibration(*made_scores(10_000)), Isotonic)


def test_classes_that_do_not_overlap_give_no_certainty():
    score = np.concatenate([np.linspace(-3, -1, 50), np.linspace(1, 3, 50)])
    label = (score > 0).astype(float)
    calibrated = probability(fit_calibration(score, label).log_odds(score))
    assert 0 < calibrated.min() < 0.05
    assert 0.95 < calibrated.max() < 1


def test_a_slice_that_contradicts_the_scores_moves_the_level_only():
    score, label = made_scores(1_000)
    calibration = fit_calibration(-score, label)
    assert isinstance(calibration, Platt)
    assert calibration.slope == 1.0


@pytest.mark.parametrize("rows", [1_000, 10_000])
def test_calibration_survives_json(rows):
    calibration = fit_calibration(*made_scores(rows))
    decoded = msgspec.json.decode(msgspec.json.encode(calibration), type=Calibration)
    assert decoded == calibration


def test_forty_points_double_the_odds():
    odds = 2.0 ** np.arange(-5, 0)
    points = model_points(odds / (1 + odds))
    np.testing.assert_allclose(np.diff(points), 40.0)


def test_points_are_clipped_and_a_missing_probability_stays_missing():
    points = model_points(np.array([0.0, 1e-9, 1 - 1e-9, 1.0, np.nan]))
    np.testing.assert_array_equal(points, [-40.0, -40.0, 150.0, 150.0, np.nan])
