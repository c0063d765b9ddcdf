"""How well the scores tell attacks from honest orders, from `order_rows` to geometry."""

from collections.abc import Mapping

import numpy as np
import polars as pl
from numpy.typing import NDArray
from sklearn.metrics import precision_recall_curve, roc_curve

from models.intervals import wilson
from training.charts import (
    Chart,
    Floats,
    Guide,
    Layer,
    Readout,
    Scale,
    bars,
    dots,
    line,
    steps,
)
from training.live_summary import Summary

CURVE_POINTS = 240
POINTS_BIN = 5.0

SCORES = (("points", "accent", "by_points"), ("probability", "call", "by_model"))


def points_of_orders(rows: pl.DataFrame, thresholds: Mapping[str, float]) -> Chart:
    """Points of honest and of attack orders, counts on a logarithmic scale, with the tiers."""
    known = rows.filter(pl.col("is_attack").is_not_null() & pl.col("points").is_not_nan())
    points = known["points"].to_numpy()
    most = max([130.0, *thresholds.values(), *points.tolist()])
    edges = np.arange(0.0, most + POINTS_BIN, POINTS_BIN)
    attack = known["is_attack"].to_numpy()
    held = np.clip(points, edges[0], edges[-1])
    honest_counts = np.histogram(held[~attack], edges)[0].astype(np.float64)
    attack_counts = np.histogram(held[attack], edges)[0].astype(np.float64)
    highest = max(honest_counts.max(), attack_counts.max(), 10.0)
    x = Scale(0.0, float(edges[-1]))
    y = Scale(0.8, float(highest) * 1.15, log=True)
    across, floor = x.units(edges), np.zeros(len(edges) - 1)
    middles = (across[1:] + across[:-1]) / 2
    titles = [f"{low:.0f}–{low + POINTS_BIN:.0f}" for low in edges[:-1]]
    return Chart(
        name="points",
        x_ticks=x.ticks(_number, 8),
        y_ticks=y.ticks(_number),
        layers=[
            Layer("fill", "pass", steps(across, floor, y.units(honest_counts)), "honest"),
            Layer(
                "fill", "freeze see-through", steps(across, floor, y.units(attack_counts)), "attack"
            ),
        ],
        guides=tuple(
            Guide("x", x.percent(at), f"tier_{tier}", f"{at:g}") for tier, at in thresholds.items()
        ),
        readout=Readout(
            (middles / 10).round(2).tolist(),
            titles,
            [
                ("pass", "honest", _whole(honest_counts)),
                ("freeze", "attack", _whole(attack_counts)),
            ],
        ),
        x_word="points",
        y_word="orders_log",
    )


def calibration(rows: pl.DataFrame) -> Chart:
    """Observed share of attacks by predicted probability, in tenths, with Wilson's 95 % interval."""
    known = rows.filter(pl.col("is_attack").is_not_null() & pl.col("probability").is_not_nan())
    tenths = (
        known.with_columns((pl.col("probability") * 10).floor().clip(0, 9).alias("tenth"))
        .group_by("tenth")
        .agg(
            pl.len().alias("n"),
            pl.col("probability").mean().alias("predicted"),
            pl.col("is_attack").mean().alias("observed"),
        )
        .sort("tenth")
    )
    n, predicted, observed = (
        tenths[column].to_numpy().astype(np.float64) for column in ("n", "predicted", "observed")
    )
    low, high = wilson(observed, n)
    unit = Scale(0.0, 1.0)
    x, y = unit.units(predicted), unit.units(observed)
    return Chart(
        name="calibration",
        x_ticks=unit.ticks(_percent),
        y_ticks=unit.ticks(_percent),
        layers=[
            Layer("line", "faint", line(unit.units([0, 1]), unit.units([0, 1])), "perfect"),
            Layer("line", "accent thin", bars(x, unit.units(low), unit.units(high))),
            Layer("dots", "accent", dots(x, y), "observed"),
        ],
        readout=Readout(
            (x / 10).round(2).tolist(),
            [f"{value:.1%}" for value in predicted],
            [
                ("accent", "observed", [f"{v:.1%}" for v in observed]),
                ("faint", "orders", _whole(n)),
            ],
        ),
        x_word="predicted",
        y_word="observed",
    )


def precision_recall(rows: pl.DataFrame, summary: Summary) -> Chart:
    """Precision over recall of the points and of the model alone, and where the day stood."""
    unit = Scale(0.0, 1.0)
    layers = []
    for column, css, word in SCORES:
        truth, scores = _scored(rows, column)
        if truth.size:
            precision, recall, _ = precision_recall_curve(truth, scores)
            x, y = _thin(recall[::-1], precision[::-1])
            layers.append(Layer("line", css, line(unit.units(x), unit.units(y)), word))
    layers += _operating_point(unit, summary.recall, unit, summary.precision)
    return Chart(
        name="precision_recall",
        x_ticks=unit.ticks(_percent),
        y_ticks=unit.ticks(_percent),
        layers=layers,
        x_word="recall_axis",
        y_word="precision",
    )


def roc(rows: pl.DataFrame, summary: Summary) -> Chart:
    """Recall over the false-positive rate, the latter logarithmic: a shop lives at its left end."""
    across, up = Scale(1e-4, 1.0, log=True), Scale(0.0, 1.0)
    layers = []
    for column, css, word in SCORES:
        truth, scores = _scored(rows, column)
        if truth.size:
            false_positives, recall, _ = roc_curve(truth, scores)
            x, y = _thin(false_positives, recall)
            layers.append(Layer("line", css, line(across.units(x), up.units(y)), word))
    layers += _operating_point(across, summary.false_positive_rate, up, summary.recall)
    return Chart(
        name="roc",
        x_ticks=across.ticks(_percent),
        y_ticks=up.ticks(_percent),
        layers=layers,
        x_word="false_positive_rate_log",
        y_word="recall_axis",
    )


def _scored(rows: pl.DataFrame, column: str) -> tuple[NDArray[np.bool_], Floats]:
    """Truth and scores where both are known; empty unless there are honest and attack orders."""
    known = rows.filter(pl.col("is_attack").is_not_null() & pl.col(column).is_not_nan())
    if known["is_attack"].n_unique() < 2:
        return np.empty(0, dtype=np.bool_), np.empty(0)
    return known["is_attack"].to_numpy(), known[column].to_numpy()


def _thin(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """At most about `CURVE_POINTS` points of a curve, evenly along its length, ends included."""
    length = np.concatenate([[0.0], np.cumsum(np.hypot(np.diff(x), np.diff(y)))])
    if len(x) <= CURVE_POINTS:
        return x, y
    kept = np.unique(np.searchsorted(length, np.linspace(0.0, length[-1], CURVE_POINTS)))
    return x[kept], y[kept]


def _operating_point(across: Scale, x: float | None, up: Scale, y: float | None) -> list[Layer]:
    if x is None or y is None:
        return []
    return [Layer("dots", "ink", dots(across.units([x]), up.units([y])), "this_day")]


def _number(value: float) -> str:
    return f"{value:,.10g}"


def _percent(share: float) -> str:
    return f"{share * 100:g}\u00a0%"


def _whole(counts: Floats) -> list[str]:
    return [f"{count:,.0f}" for count in counts]
