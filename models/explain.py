"""Reason codes: which features made an order look risky."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Contribution(NamedTuple):
    """What one feature added to the log-odds of an order; the words are the declarations'."""

    feature: str
    log_odds: float


def top_reasons(
    contributions: NDArray[np.float64], features: Sequence[str], most: int = 3
) -> list[list[Contribution]]:
    """Per order the features that raised its risk the most, the strongest first.

    Args:
        contributions: (n, F) log-odds, from `RiskModel.contributions`.
        features: The F names.
        most: At most so many; a feature that does not raise the risk is no reason.

    >>> top_reasons(np.array([[0.5, -1.0, 2.0]]), ["age", "price", "velocity"])
    [[Contribution(feature='velocity', log_odds=2.0), Contribution(feature='age', log_odds=0.5)]]
    """
    strongest = np.argsort(-contributions, axis=1, kind="stable")[:, :most]
    return [
        [Contribution(features[int(i)], float(row[i])) for i in chosen if row[i] > 0]
        for row, chosen in zip(contributions, strongest, strict=True)
    ]
