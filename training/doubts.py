"""Whether a model has learnt anything: two questions to its test."""

import math

import numpy as np
from numpy.typing import NDArray

SURE = 1.96  # standard errors: chance gets so far once in 40 times
SAME_ODDS = 1.2  # odds within this factor are 5 points, a quarter of a tier


def doubts(
    label: NDArray[np.float64], probability: NDArray[np.float64], auc: float | None
) -> list[str]:
    """Why the model should not decide, a sentence each; none when it may.

    An AUC counts as better than chance when it is above 0.5 by `SURE` standard errors of the AUC
    of a model that knows nothing, sqrt((n1 + n0 + 1) / (12 · n1 · n0)): the AUC is Mann and
    Whitney's U over n1 · n0, and that is the variance of U when both classes have the same
    distribution (Mann and Whitney 1947). Unlike an interval around the AUC (Hanley and McNeil
    1982), it does not shrink to nothing where few positives happen to be ranked on top.

    Args:
        label: (n,) 1 or 0, of the test.
        probability: (n,) of the model.
        auc: On this test; None where it holds one class only.
    """
    found = []
    if auc is not None:
        positives = int(label.sum())
        negatives = len(label) - positives
        error = math.sqrt((len(label) + 1) / (12 * positives * negatives))
        if auc - SURE * error <= 0.5:
            found.append(
                f"it is no better than chance: on {positives:,} positive and {negatives:,} other "
                f"orders of the test, AUC {auc:.3f} is not above {0.5 + SURE * error:.3f}, which "
                "a model that knows nothing may reach"
            )
    if len(probability):
        low, high = float(probability.min()), float(probability.max())
        if high * (1 - low) <= SAME_ODDS * low * (1 - high):
            found.append(
                f"it says nearly the same of every order of the test: from {low:.3g} to {high:.3g}"
            )
    return found
