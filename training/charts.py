"""Charts as plain geometry: scales, ticks and SVG paths that a template draws.

A plot is 1000 by 1000 units, stretched to its box by the page, with strokes that keep their width;
labels are page text, placed in per cent, so that they stay sharp on any screen. Colours are style
sheet classes, so one chart serves light, dark and print. A chart weighs a few kilobytes.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

SIZE = 1000.0


@dataclass(frozen=True, slots=True)
class Tick:
    """A label on an axis, `at` per cent from the left or from the bottom."""

    at: float
    label: str


@dataclass(frozen=True, slots=True)
class Layer:
    """A path in the plot; `css` names its colour, `word` its legend entry (None: no entry)."""

    shape: Literal["fill", "line", "dots"]
    css: str
    path: str
    word: str | None = None


@dataclass(frozen=True, slots=True)
class Guide:
    """A straight line across the plot, or a band of it (`until`), in per cent, with its word."""

    axis: Literal["x", "y"]
    at: float
    word: str | None = None
    label: str = ""
    until: float | None = None


@dataclass(frozen=True, slots=True)
class Readout:
    """What the pointer reads off: per position (per cent from the left) a title and values.

    `values` has one (css, word, texts) for each series, its texts in the order of the positions.
    """

    at: list[float]
    titles: list[str]
    values: list[tuple[str, str, list[str]]]


@dataclass(frozen=True, slots=True)
class Chart:
    """One plot with its axes; words are keys of the page's vocabulary."""

    name: str
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    layers: list[Layer]
    guides: tuple[Guide, ...] = ()
    readout: Readout | None = None
    x_word: str | None = None
    y_word: str | None = None


@dataclass(frozen=True, slots=True)
class Scale:
    """Maps values to 0 … 1000 units; a logarithmic scale holds what lies below it at its low end."""

    low: float
    high: float
    log: bool = False

    def units(self, values: Floats | Sequence[float] | float) -> Floats:
        """Units from the low end; NaN stays NaN."""
        numbers = np.asarray(values, dtype=np.float64)
        if self.log:
            numbers = np.log10(np.maximum(numbers, self.low))
            low, high = math.log10(self.low), math.log10(self.high)
        else:
            low, high = self.low, self.high
        span = high - low if high > low else 1.0
        return np.clip((numbers - low) / span, 0.0, 1.0) * SIZE

    def percent(self, value: float) -> float:
        """Per cent from the low end."""
        return round(float(self.units(value)) / 10, 3)

    def ticks(self, label: Callable[[float], str], count: int = 4) -> list[Tick]:
        """About `count` round values, or the powers of ten of a logarithmic scale."""
        values = powers_of_ten(self.low, self.high) if self.log else round_values(self, count)
        return [Tick(self.percent(value), label(value)) for value in values]


def powers_of_ten(low: float, high: float) -> list[float]:
    """The powers of ten from low to high.

    >>> powers_of_ten(0.5, 200)
    [1.0, 10.0, 100.0]
    """
    first, last = math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9)
    return [10.0**exponent for exponent in range(first, last + 1)]


def round_values(scale: Scale, count: int) -> list[float]:
    """Multiples of 1, 2, 2.5 or 5 times a power of ten within the scale.

    >>> round_values(Scale(0, 870), 4)
    [0.0, 250.0, 500.0, 750.0]
    """
    step = round_step((scale.high - scale.low) / count)
    first, last = math.ceil(scale.low / step - 1e-9), math.floor(scale.high / step + 1e-9)
    return [index * step for index in range(first, last + 1)]


def round_step(at_least: float) -> float:
    """The next of 1, 2, 2.5, 5, 10 times a power of ten."""
    if at_least <= 0 or not math.isfinite(at_least):
        return 1.0
    power = 10.0 ** math.floor(math.log10(at_least))
    return next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= at_least * (1 - 1e-9))


def from_zero(values: Floats, count: int = 4) -> Scale:
    """A linear scale from 0 to a round value at or above all values."""
    known = values[np.isfinite(values)]
    highest = float(known.max()) if known.size else 0.0
    step = round_step(highest / count)
    return Scale(0.0, max(math.ceil(highest / step - 1e-9), 1) * step)


def line(x: Floats, y: Floats) -> str:
    """A path through points in units, broken where a value is NaN."""
    parts, pen = [], "M"
    for across, up in zip(x.tolist(), y.tolist(), strict=True):
        if math.isnan(across) or math.isnan(up):
            pen = "M"
            continue
        parts.append(f"{pen}{_short(across)} {_short(SIZE - up)}")
        pen = "L"
    return "".join(parts)


def dots(x: Floats, y: Floats) -> str:
    """A path of points without length: its round line ends show as dots."""
    known = ~(np.isnan(x) | np.isnan(y))
    return "".join(
        f"M{_short(across)} {_short(SIZE - up)}h0"
        for across, up in zip(x[known].tolist(), y[known].tolist(), strict=True)
    )


def bars(x: Floats, low: Floats, high: Floats) -> str:
    """Vertical strokes from low to high, in units."""
    return "".join(
        f"M{_short(across)} {_short(SIZE - bottom)}V{_short(SIZE - top)}"
        for across, bottom, top in zip(x.tolist(), low.tolist(), high.tolist(), strict=True)
    )


def steps(edges: Floats, low: Floats, high: Floats) -> str:
    """The filled silhouette of a histogram between two heights; n + 1 edges, n heights, in units."""
    tops = [
        f"V{_short(SIZE - top)}H{_short(right)}"
        for right, top in zip(edges[1:].tolist(), high.tolist(), strict=True)
    ]
    bottoms = [
        f"V{_short(SIZE - bottom)}H{_short(left)}"
        for left, bottom in zip(edges[-2::-1].tolist(), low[::-1].tolist(), strict=True)
    ]
    start = f"M{_short(float(edges[0]))} {_short(SIZE - float(low[0]))}"
    return start + "".join(tops) + "".join(bottoms) + "Z"


def _short(units: float) -> str:
    return f"{units:.1f}".removesuffix(".0")
