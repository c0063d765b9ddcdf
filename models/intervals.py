"""Intervals of shares."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def wilson(share: Floats, n: Floats, z: float = 1.96) -> tuple[Floats, Floats]:
    """Wilson's score interval of shares of n (Wilson 1927, JASA 22:209); n may be a real number.

    >>> low, high = wilson(np.array([0.5]), np.array([100.0]))
    >>> low.round(3).tolist(), high.round(3).tolist()
    ([0.404], [0.596])
    """
    middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    reach = z / (1 + z**2 / n) * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return middle - reach, middle + reach
