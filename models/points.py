"""Points: a probability on a scale that people can add to the points of rules.

The scale of credit scorecards, *points to double the odds*:

    points = 120 + 20 · log2(p / (1 - p))        clipped to -20 … 150

Even odds are 120 points and every 20 points double the odds, so the default tiers read as odds:
80 points (verify) is 1 to 4, 100 (call) is 1 to 2, 120 (freeze) is 1 to 1. A safe order gets
less than nothing, since the model has seen what the rules see and finds it harmless; but no more
than 20 points less, so that it cannot talk away what rules add up to.
"""

import numpy as np
from numpy.typing import NDArray

POINTS_TARGET = "risk"  # a probability of anything else is no reason to stop an order
EVEN_ODDS = 120.0
DOUBLE_THE_ODDS = 20.0
LEAST, MOST = -20.0, 150.0


def model_points(probability: NDArray[np.float64]) -> NDArray[np.float64]:
    """Points of each probability, -20 to 150; NaN stays NaN.

    >>> model_points(np.array([0.0, 0.2, 0.5, 0.8, 1.0])).tolist()
    [-20.0, 80.0, 120.0, 150.0, 150.0]
    """
    with np.errstate(divide="ignore"):  # p = 0 and p = 1 are clipped
        log_odds = np.log2(probability) - np.log2(1.0 - probability)
    return np.clip(EVEN_ODDS + DOUBLE_THE_ODDS * log_odds, LEAST, MOST)
