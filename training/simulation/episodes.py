"""Several orders that belong together: the sizes and times that honest episodes and attacks share."""

from dataclasses import dataclass

import numpy as np

from training.simulation.calendar import BEYOND, Calendar
from training.simulation.keys import Floats, Ints


@dataclass(frozen=True, slots=True)
class Rows:
    """The orders of some episodes, one after another.

    Attributes:
        of: For each order, the index of its episode.
        position: For each order, its number within the episode, from 0.
        first: For each order, the index of its episode's first.
        last: Whether it is the episode's last.
    """

    of: Ints
    position: Ints
    first: Ints
    last: np.ndarray

    def __len__(self) -> int:
        return len(self.of)


def unfold(sizes: Ints) -> Rows:
    """The orders of episodes of these sizes.

    >>> unfold(np.array([2, 3])).position.tolist()
    [0, 1, 0, 1, 2]
    """
    of = np.repeat(np.arange(len(sizes)), sizes)
    ends = np.cumsum(sizes)
    first = np.repeat(ends - sizes, sizes)
    position = np.arange(len(of)) - first
    return Rows(of, position, first, position == np.repeat(sizes, sizes) - 1)


def lognormal(
    rng: np.random.Generator, median: "Floats | float", sigma: float, number: int
) -> Floats:
    """Positive numbers whose logarithms are normal."""
    return median * np.exp(rng.normal(0, sigma, number))


def sizes(
    rng: np.random.Generator,
    number: int,
    median: float,
    sigma: float,
    limits: tuple[int, int],
) -> Ints:
    """Numbers of orders, log-normal and clipped to the limits."""
    return np.clip(np.rint(lognormal(rng, median, sigma, number)), *limits).astype(np.int64)


def scattered(
    rng: np.random.Generator, calendar: Calendar, starts: Ints, lengths: Floats, rows: Rows
) -> Ints:
    """Times within each episode's length (milliseconds) as orders come; the first starts it."""
    times = calendar.spread(rng, starts[rows.of], np.minimum(lengths, BEYOND)[rows.of])
    return np.where(rows.position == 0, starts[rows.of], times)


def paced(rng: np.random.Generator, starts: Ints, gaps: Floats, rows: Rows) -> Ints:
    """Times one after another, with exponential gaps of each episode's mean (milliseconds)."""
    gap = np.where(rows.position == 0, 0.0, rng.exponential(1.0, len(rows)) * gaps[rows.of])
    total = np.cumsum(gap)
    return starts[rows.of] + (total - total[rows.first]).astype(np.int64)
