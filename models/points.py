"""Points: a probability on a scale that people can add to the points of rules.

The scale of credit scorecards, *points to double the odds*:

    points = 190 + 40 · log2(p / (1 - p))        clipped to -40 … 150

Every 40 points double the odds. A model that speaks alone freezes (120 points) at p = 0.23, calls
(100) at 0.17 and verifies (80) at 0.13; at p = 0.036 it adds nothing. A safe order gets less than
nothing, since the model has seen what the rules see and finds it harmless; but no more than 40
points less, so that it cannot talk away what rules add up to.

The steep scale was chosen on simulated days (docs/results.md): with 20 points to double the odds the
average order, at p = 0.05, brought 35 points along, and what rules add was counted twice.
"""

import numpy as np
from numpy.typing import NDArray

POINTS_TARGET = "risk"  # a probability of anything else is no reason to stop an order
EVEN_ODDS = 190.0
DOUBLE_THE_ODDS = 40.0
LEAST, MOST = -40.0, 150.0


def model_points(probability: NDArray[np.float64]) -> NDArray[np.float64]:
    """Points of each probability, -40 to 150; NaN stays NaN.

    >>> model_points(np.array([0.0, 0.2, 0.5, 1.0])).tolist()
    [-40.0, 110.0, 150.0, 150.0]
    """
    with np.errstate(divide="ignore"):  # p = 0 and p = 1 are clipped
        log_odds = np.log2(probability) - np.log2(1.0 - probability)
    return np.clip(EVEN_ODDS + DOUBLE_THE_ODDS * log_odds, LEAST, MOST)
