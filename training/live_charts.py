"""The charts over the hours of a live day, from `order_rows` to geometry."""

from datetime import UTC, datetime
from typing import Any

import numpy as np
import polars as pl

from orders.decision_table import TIERS
from training.charts import (
    Chart,
    Floats,
    Guide,
    Layer,
    Readout,
    Scale,
    Tick,
    from_zero,
    line,
    steps,
)
from training.live_frame import HOUR, Interval

STOPPED_TIERS = TIERS[:0:-1]  # gravest first: it lies at the bottom

MINUTE = 60_000
BIN_WIDTHS = [minutes * MINUTE for minutes in (1, 2, 5, 10, 15, 30, 60, 120, 180, 360, 720, 1440)]


class DayBins:
    """Equal bins of event time over a day, about a hundred of them, at round times."""

    def __init__(self, day: Interval) -> None:
        length = max(day.end - day.start, MINUTE)
        self.width = next((w for w in BIN_WIDTHS if length / w <= 144), 1440 * MINUTE)
        self.first = day.start // self.width * self.width
        self.count = -(-(max(day.end, day.start + 1) - self.first) // self.width)
        self.starts = self.first + self.width * np.arange(self.count)
        self.scale = Scale(float(self.first), float(self.first + self.width * self.count))

    def index(self, rows: pl.DataFrame) -> pl.Series:
        """The bin of each row; rows outside the day count to its nearest bin."""
        millis = rows["event_time"].dt.epoch("ms")
        return ((millis - self.first) // self.width).clip(0, self.count - 1)

    def counts(self, rows: pl.DataFrame) -> Floats:
        """Rows per bin."""
        return np.bincount(self.index(rows).to_numpy(), minlength=self.count).astype(np.float64)

    def edges(self) -> Floats:
        """The edges of the bins in units."""
        return np.linspace(0.0, 1000.0, self.count + 1)

    def middles(self) -> Floats:
        """The middles of the bins in units."""
        edges = self.edges()
        return (edges[1:] + edges[:-1]) / 2

    def titles(self) -> list[str]:
        """The time range of each bin, UTC."""
        return [f"{_clock(start)}–{_clock(start + self.width)}" for start in self.starts.tolist()]

    def chart(self, name: str, peak: Interval, **parts: Any) -> Chart:
        """A chart over the day with its peak marked."""
        at, until = self.scale.percent(peak.start), self.scale.percent(peak.end)
        return Chart(
            name=name,
            x_ticks=self._ticks(),
            guides=(Guide("x", at, "peak", until=until),) if until > at else (),
            **parts,
        )

    def _ticks(self) -> list[Tick]:
        span = self.scale.high - self.scale.low
        step = next((h for h in (1, 2, 4, 6, 12, 24, 48, 168) if span / (h * HOUR) <= 6), 720)
        first = int(-(-self.scale.low // (step * HOUR))) * step * HOUR
        times = range(first, int(self.scale.high) + 1, step * HOUR)
        clock = Scale(self.scale.low, self.scale.high)
        label = _clock if step < 24 else _date
        return [Tick(clock.percent(time), label(time)) for time in times]


def orders_over_day(rows: pl.DataFrame, bins: DayBins, peak: Interval) -> Chart:
    """All orders, passed and stopped, stacked."""
    stopped = bins.counts(rows.filter("stopped"))
    passed = bins.counts(rows.filter(~pl.col("stopped")))
    scale = from_zero(stopped + passed)
    top, middle = scale.units(stopped + passed), scale.units(stopped)
    attacks = bins.counts(rows.filter("is_attack"))
    with np.errstate(invalid="ignore"):  # no orders, no share
        share = attacks / (stopped + passed)
    readout = [
        ("pass", "passed", _whole(passed)),
        ("freeze", "stopped", _whole(stopped)),
        ("ink", "attack_share_of_orders", _percent(share)),
    ]
    return bins.chart(
        "orders",
        peak,
        y_ticks=scale.ticks(_number),
        layers=[
            Layer("fill", "pass", steps(bins.edges(), middle, top), "passed"),
            Layer("fill", "freeze", steps(bins.edges(), np.zeros(bins.count), middle), "stopped"),
        ],
        readout=_day_readout(bins, readout),
    )


def stopped_over_day(rows: pl.DataFrame, bins: DayBins, peak: Interval) -> Chart:
    """Stopped orders stacked by tier, and the attack orders there really were."""
    by_tier = {
        tier: bins.counts(rows.filter(pl.col("stopped") & (pl.col("tier") == tier)))
        for tier in STOPPED_TIERS
    }
    attacks = bins.counts(rows.filter("is_attack"))
    scale = from_zero(np.maximum(sum(by_tier.values()), attacks))
    layers, readout, base = [], [], np.zeros(bins.count)
    for tier, counts in by_tier.items():
        if not counts.any():
            continue
        path = steps(bins.edges(), scale.units(base), scale.units(base + counts))
        layers.append(Layer("fill", tier, path, f"tier_{tier}"))
        readout.append((tier, f"tier_{tier}", _whole(counts)))
        base = base + counts
    if attacks.any():
        layers.append(
            Layer("line", "ink", line(bins.middles(), scale.units(attacks)), "attack_orders")
        )
        readout.append(("ink", "attack_orders", _whole(attacks)))
    return bins.chart(
        "stopped",
        peak,
        y_ticks=scale.ticks(_number),
        layers=layers,
        readout=_day_readout(bins, readout),
    )


def latency_over_day(rows: pl.DataFrame, bins: DayBins, peak: Interval) -> Chart:
    """p50 and p99 of the latency per bin, on a logarithmic scale where they lie far apart."""
    timed = rows.filter(pl.col("latency_ms").is_not_null())
    per_bin = (
        timed.with_columns(bins.index(timed).alias("bin"))
        .group_by("bin")
        .agg(
            pl.col("latency_ms").quantile(0.5, "linear").alias("p50"),
            pl.col("latency_ms").quantile(0.99, "linear").alias("p99"),
        )
    )
    at = per_bin["bin"].to_numpy()
    p50, p99 = np.full(bins.count, np.nan), np.full(bins.count, np.nan)
    p50[at], p99[at] = per_bin["p50"].to_numpy(), per_bin["p99"].to_numpy()
    scale = from_zero(p99)
    if at.size and np.nanmax(p99) > 30 * max(np.nanmedian(p50), 1.0):
        low = 10.0 ** np.floor(np.log10(max(np.nanmin(p50), 1.0)))
        scale = Scale(low, 10.0 ** np.ceil(np.log10(np.nanmax(p99))), log=True)
    x = bins.middles()
    return bins.chart(
        "latency",
        peak,
        y_ticks=scale.ticks(_number),
        layers=[
            Layer("line", "accent", line(x, scale.units(p50)), "p50"),
            Layer("line", "call", line(x, scale.units(p99)), "p99"),
        ],
        readout=_day_readout(
            bins, [("accent", "p50", _decimal(p50)), ("call", "p99", _decimal(p99))]
        ),
        y_word="milliseconds",
    )


def _day_readout(bins: DayBins, values: list[tuple[str, str, list[str]]]) -> Readout:
    return Readout((bins.middles() / 10).round(2).tolist(), bins.titles(), values)


def _clock(millis: float) -> str:
    return datetime.fromtimestamp(millis / 1000, UTC).strftime("%H:%M")


def _date(millis: float) -> str:
    return datetime.fromtimestamp(millis / 1000, UTC).strftime("%d.%m.")


def _number(value: float) -> str:
    return f"{value:,.10g}"


def _whole(counts: Floats) -> list[str]:
    return [f"{count:,.0f}" for count in counts]


def _decimal(values: Floats) -> list[str]:
    return ["–" if np.isnan(value) else f"{value:,.1f}" for value in values]


def _percent(shares: Floats) -> list[str]:
    return ["–" if np.isnan(share) else f"{share:.1%}" for share in shares]
