"""What a live day showed, measured. Each figure is defined in `docs/summary.md`."""

import math
from collections.abc import Callable
from datetime import UTC, datetime

import numpy as np
import polars as pl
from sklearn.metrics import average_precision_score, roc_auc_score

from orders.decision_table import TIERS
from training.live_frame import Interval, LiveDay, order_rows, peak_of, within
from training.live_summary import (
    Attack,
    Incidents,
    Latency,
    LookAlike,
    ModelVersion,
    Peak,
    RulesVersion,
    Summary,
    Tiers,
    TiersByTruth,
)

WITHIN_S = 30.0  # the articles' mark for finding an attack


def summarise(live: LiveDay) -> Summary:
    """Measure a live day against its truth."""
    rows = order_rows(live)
    known = live.decisions.join(live.orders, on="order_id", how="semi")
    decided = rows.filter("decided")
    precision, recall, false_positive_rate = _stopped_against_truth(rows)
    incidents = incident_rows(rows)
    name, version = _last(decided, "model"), None
    if name is not None and "/" in name:
        name, _, version = name.rpartition("/")
    return Summary(
        start=_iso(live.day.start),
        end=_iso(live.day.end),
        orders=rows.height,
        decisions=live.decisions.height,
        lost=rows.height - decided.height,
        duplicates=known.height - decided.height,
        unexpected=live.decisions.height - known.height,
        dead_letters=live.dead_letters,
        orders_per_s=_appended_per_s(decided),
        event_orders_per_s=_ratio(rows.height, (live.day.end - live.day.start) / 1000),
        latency_ms=_latency(decided),
        tiers=_tiers(decided),
        tiers_by_truth=TiersByTruth(
            honest=_tiers(decided.filter(~pl.col("is_attack"))),
            attack=_tiers(decided.filter("is_attack")),
        ),
        attack_orders=rows.filter("is_attack").height,
        stopped=int(rows["stopped"].sum()),
        auc=_ranking(decided, "probability", roc_auc_score),
        ap=_ranking(decided, "probability", average_precision_score),
        auc_points=_ranking(decided, "points", roc_auc_score),
        precision=precision,
        recall=recall,
        false_positive_rate=false_positive_rate,
        human_share=_ratio(rows.filter(pl.col("action") == "freeze").height, rows.height),
        incidents=_incidents(incidents),
        attacks=_attacks(rows, incidents),
        look_alikes=_look_alikes(rows),
        gift_pass_rate=_pass_rate(
            rows.filter(~pl.col("is_attack") & pl.col("kind").str.contains("gift", literal=True))
        ),
        peak=_peak(rows, peak_of(live), live.day),
        model=ModelVersion(name=name, version=version),
        rules=RulesVersion(version=_last(decided, "rules")),
        seed=live.seed,
        machine=live.machine,
    )


def incident_rows(rows: pl.DataFrame) -> pl.DataFrame:
    """One row per incident (an attack id): kind, start, orders, first_stop_s, first_stop_order.

    Counted from the incident's first order of this day. The last two are infinite for an incident
    that was never stopped. Orders of an attack without an id belong to no incident.
    """
    attacks = (
        rows.filter(pl.col("is_attack") & pl.col("attack_id").is_not_null())
        .with_columns(
            pl.col("event_time").min().over("attack_id").alias("start"),
            pl.int_range(1, pl.len() + 1).over("attack_id").alias("rank"),
        )
        .with_columns(
            ((pl.col("event_time") - pl.col("start")).dt.total_milliseconds() / 1000).alias("after")
        )
    )
    stopped = pl.col("stopped")
    return (
        attacks.group_by("attack_id", maintain_order=True)
        .agg(
            pl.col("kind").first(),
            pl.col("start").first(),
            pl.len().alias("orders"),
            pl.col("after").filter(stopped).min().fill_null(math.inf).alias("first_stop_s"),
            pl.col("rank")
            .filter(stopped)
            .min()
            .cast(pl.Float64)
            .fill_null(math.inf)
            .alias("first_stop_order"),
        )
        .sort("start", maintain_order=True)
    )


def _attacks(rows: pl.DataFrame, incidents: pl.DataFrame) -> list[Attack]:
    """Per kind, the kind with the most orders first."""
    attacks = (
        rows.filter("is_attack")
        .group_by("kind")
        .agg(pl.len().alias("orders"), pl.col("stopped").mean().alias("recall"))
        .sort("orders", "kind", descending=[True, False])
    )
    result = []
    for kind, orders, recall in attacks.iter_rows():
        of_kind = incidents.filter(pl.col("kind").eq_missing(pl.lit(kind, dtype=pl.String)))
        figures = _incidents(of_kind)
        result.append(
            Attack(
                kind=kind if kind is not None else "unknown",
                orders=orders,
                recall=recall,
                incidents=figures.count,
                never_stopped=figures.never_stopped,
                first_stop_s=figures.first_stop_s,
                first_stop_order=figures.first_stop_order,
            )
        )
    return result


def _incidents(incidents: pl.DataFrame) -> Incidents:
    seconds = incidents["first_stop_s"].to_numpy()
    return Incidents(
        count=incidents.height,
        never_stopped=int(np.isinf(seconds).sum()),
        within_30_s=_ratio(int((seconds < WITHIN_S).sum()), incidents.height),
        first_stop_s=_median(seconds),
        first_stop_order=_median(incidents["first_stop_order"].to_numpy()),
    )


def _look_alikes(rows: pl.DataFrame) -> list[LookAlike]:
    kinds = (
        rows.filter(~pl.col("is_attack") & pl.col("kind").is_not_null())
        .group_by("kind")
        .agg(pl.len().alias("orders"), (~pl.col("stopped")).mean().alias("pass_rate"))
        .sort("orders", "kind", descending=[True, False])
    )
    return [LookAlike(*row) for row in kinds.iter_rows()]


def _peak(rows: pl.DataFrame, peak: Interval, day: Interval) -> Peak:
    inside = rows.filter(within(peak))
    decided = inside.filter("decided")
    precision, recall, false_positive_rate = _stopped_against_truth(inside)
    rate = _ratio(inside.height, (peak.end - peak.start) / 1000)
    rest_s = (day.end - day.start - (peak.end - peak.start)) / 1000
    rest = _ratio(rows.height - inside.height, rest_s)
    return Peak(
        start=_iso(peak.start),
        end=_iso(peak.end),
        orders=inside.height,
        orders_per_s=_appended_per_s(decided),
        event_orders_per_s=rate,
        times_normal=None if rate is None or not rest else rate / rest,
        latency_ms=_latency(decided),
        false_positive_rate=false_positive_rate,
        precision=precision,
        recall=recall,
    )


def _stopped_against_truth(
    rows: pl.DataFrame,
) -> tuple[float | None, float | None, float | None]:
    """Precision, recall and false-positive rate of 'stopped', where the truth is known."""
    attacks = rows.filter("is_attack")
    honest = rows.filter(~pl.col("is_attack"))
    hits, false_alarms = int(attacks["stopped"].sum()), int(honest["stopped"].sum())
    return (
        _ratio(hits, hits + false_alarms),
        _ratio(hits, attacks.height),
        _ratio(false_alarms, honest.height),
    )


def _ranking(
    decided: pl.DataFrame, by: str, metric: Callable[[np.ndarray, np.ndarray], float]
) -> float | None:
    """AUC or AP of a column; None unless both honest and attack orders have it."""
    known = decided.filter(pl.col("is_attack").is_not_null() & pl.col(by).is_not_nan())
    if known["is_attack"].n_unique() < 2:
        return None
    return float(metric(known["is_attack"].to_numpy(), known[by].to_numpy()))


def _latency(decided: pl.DataFrame) -> Latency:
    latencies = decided["latency_ms"].drop_nulls().to_numpy()
    if not latencies.size:
        return Latency(None, None, None)
    p50, p95, p99 = np.percentile(latencies, (50, 95, 99)).tolist()
    return Latency(p50, p95, p99)


def _appended_per_s(decided: pl.DataFrame) -> float | None:
    timed = decided.filter(pl.col("latency_ms").is_not_null())
    if timed.is_empty():
        return None
    first, last = timed["order_appended_ms"].to_numpy(), timed["decision_appended_ms"].to_numpy()
    return _ratio(timed.height, (int(last.max()) - int(first.min())) / 1000)


def _tiers(decided: pl.DataFrame) -> Tiers:
    counts = dict(decided["tier"].value_counts().iter_rows())
    return Tiers(*(counts.get(tier, 0) for tier in TIERS))


def _pass_rate(rows: pl.DataFrame) -> float | None:
    return _ratio(int((~rows["stopped"]).sum()), rows.height)


def _last(decided: pl.DataFrame, column: str) -> str | None:
    if decided.is_empty():
        return None
    return decided.sort("decision_appended_ms", nulls_last=False, maintain_order=True)[column][-1]


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole > 0 else None


def _median(values: np.ndarray) -> float | None:
    if not values.size:
        return None
    median = float(np.median(values))
    return median if math.isfinite(median) else None


def _iso(millis: int) -> str:
    return datetime.fromtimestamp(millis / 1000, UTC).isoformat(timespec="seconds")
