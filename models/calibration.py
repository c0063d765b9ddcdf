"""Calibration: the model's raw score becomes a probability that can be believed.

Both maps go from log-odds to log-odds, are *strictly* increasing, and are plain numbers. So
calibration never changes who ranks above whom, and AUC and precision at capacity are the same
before and after it.

- **Platt** (Platt 1999): slope and offset, fitted with Platt's smoothed targets. For small slices.
- **Centred isotonic** (Oron and Flournoy 2017): isotonic regression, but each flat block is
  represented by one knot at its centre, joined by straight lines. Plain isotonic regression has
  flat steps, on which all orders would tie. Beyond the outer knots the line goes on with slope
  one: an order more extreme than any seen gets a more extreme probability, never 0 or 1.
"""

from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

ORDERS_PER_BIN = 50  # fewer give knots that follow noise
MOST_BINS = 200
ENOUGH_ORDERS = 2_000  # isotonic needs this many orders,
ENOUGH_OF_EACH = 200  # and this many of each class; else Platt
LEAST_SLOPE, MOST_SLOPE = 0.01, 10.0  # of Platt; beyond them the slice says nothing of the slope


class Platt(msgspec.Struct, frozen=True, tag_field="method", tag="platt"):
    """`log-odds = slope · score + offset`, slope above 0."""

    slope: float
    offset: float

    def log_odds(self, score: NDArray[np.float64]) -> NDArray[np.float64]:
        """Calibrated log-odds of raw scores (log-odds)."""
        return self.slope * score + self.offset


class Isotonic(msgspec.Struct, frozen=True, tag_field="method", tag="isotonic"):
    """Straight lines between knots that increase in both coordinates; slope one outside."""

    scores: tuple[float, ...]
    log_odds_at: tuple[float, ...]

    def log_odds(self, score: NDArray[np.float64]) -> NDArray[np.float64]:
        """Calibrated log-odds of raw scores (log-odds)."""
        inside = np.interp(score, self.scores, self.log_odds_at)
        below = np.minimum(score - self.scores[0], 0.0)
        above = np.maximum(score - self.scores[-1], 0.0)
        return inside + below + above


Calibration = Platt | Isotonic


def probability(log_odds: NDArray[np.float64]) -> NDArray[np.float64]:
    """The logistic function, without overflow.

    >>> probability(np.array([-1000.0, 0.0, 1000.0])).tolist()
    [0.0, 0.5, 1.0]
    """
    small = np.exp(-np.abs(log_odds))
    return np.where(log_odds >= 0, 1.0, small) / (1.0 + small)


def fit_calibration(
    score: NDArray[np.float64],
    label: NDArray[np.float64],
    method: Literal["auto", "platt", "isotonic"] = "auto",
) -> Calibration:
    """Fit on raw scores (log-odds) and labels (0 or 1) that the model has not been trained on.

    `auto` takes isotonic when the slice is large enough, else Platt. A slice on which higher
    scores do not mean more positives, or that is too small to tell, moves the level only.
    """
    positives = int(label.sum())
    enough = len(label) >= ENOUGH_ORDERS and ENOUGH_OF_EACH <= positives <= (
        len(label) - ENOUGH_OF_EACH
    )
    if method == "isotonic" or (method == "auto" and enough):
        fitted = _fit_isotonic(score, label)
        if len(fitted.scores) >= 2:
            return fitted
    return _fit_platt(score, label)


def _fit_platt(score: NDArray[np.float64], label: NDArray[np.float64]) -> Platt:
    from sklearn.linear_model import LogisticRegression

    positives = float(label.sum())
    negatives = len(label) - positives
    # Platt's targets keep the slope finite when the classes do not overlap. scikit-learn takes
    # no fractional targets, so each order counts once as a 1 and once as a 0, with weights.
    target = np.where(label > 0, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    fit = LogisticRegression(C=np.inf).fit(
        np.concatenate([score, score])[:, None],
        np.repeat([1, 0], len(score)),
        sample_weight=np.concatenate([target, 1 - target]),
    )
    slope, offset = float(fit.coef_[0, 0]), float(fit.intercept_[0])
    if not LEAST_SLOPE <= slope <= MOST_SLOPE:
        rate = (positives + 1) / (len(label) + 2)
        slope, offset = 1.0, float(np.log(rate / (1 - rate)) - np.median(score))
    return Platt(slope, offset)


def _fit_isotonic(score: NDArray[np.float64], label: NDArray[np.float64]) -> Isotonic:
    from sklearn.isotonic import IsotonicRegression

    order = np.argsort(score, kind="stable")
    score, label = score[order], label[order]
    bins = max(1, min(MOST_BINS, len(score) // ORDERS_PER_BIN))
    edges = np.linspace(0, len(score), bins + 1).astype(np.int64)
    size = np.diff(edges).astype(np.float64)
    centre = np.add.reduceat(score, edges[:-1]) / size
    # half a positive and half a negative more: a bin of one class does not mean certainty
    rate = (np.add.reduceat(label, edges[:-1]) + 0.5) / (size + 1)
    fitted = IsotonicRegression().fit_transform(centre, rate, sample_weight=size)

    # a rise of 1e-9 is rounding within a block, not the next block
    starts = np.flatnonzero(np.diff(fitted, prepend=-np.inf) > 1e-9)
    weight = np.add.reduceat(size, starts)
    at = np.add.reduceat(centre * size, starts) / weight
    level = fitted[starts]
    strict = np.concatenate([[True], np.diff(at) > 0])  # equal scores in neighbouring bins
    at, level = at[strict], level[strict]
    return Isotonic(tuple(at.tolist()), tuple(np.log(level / (1 - level)).tolist()))
