"""Thresholds that would have cost the least, found on a part of the past and tried on a later one.

The tier of an order depends on the thresholds through its points alone, so orders of equal points
(and of equal exceptions, such as members of the fast lane) are one profile with a sum of costs for
each tier. What thresholds cost is then a sum over some hundred profiles, and all of them can be
tried.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement

import numpy as np
import polars as pl

from serving.policy_on_history import HistoricVerdicts, PolicyOnHistory
from serving.tiers import CALL, CANCEL, FREEZE, PASS, tiers_of_points

Thresholds = tuple[float, float, float]

STEP = 5.0  # points between thresholds that are tried
HIGHEST = 200.0  # points of a threshold; above it only one that no order reaches is tried
RESAMPLES = 2_000
FEWEST_CLUSTERS = 10
TIERS = CANCEL + 1

_PROFILE = ["points", "firm_points", "floor", "exempt"]
_COSTS = [f"cost_{tier}" for tier in range(TIERS)]


def cost_rows(policy: PolicyOnHistory, judged: HistoricVerdicts, costs: np.ndarray) -> pl.DataFrame:
    """What thresholds need to know of n orders.

    Args:
        policy: that judged them.
        judged: what it said.
        costs: (n, 5), of each order in each tier.

    Returns:
        `points`, `firm_points` (without those of rules that verify at most), `floor` (the tier that
        hard rules lead to), `exempt` (passes whatever the thresholds are), `cost_<tier>`.
    """
    counted, weights, verdicts = judged.counted, policy.weights, judged.verdicts
    firm = counted[:, weights.firm].any(axis=1)
    allowed = counted[:, weights.allows].any(axis=1) & ~firm
    member = (judged.member_level >= policy.policy.fast_lane.member_level) & ~firm
    floor = (counted * weights.hard_tier).max(axis=1, initial=PASS)
    cells = {
        "points": verdicts.points,
        "firm_points": np.round(verdicts.points - counted @ weights.verify_tenths / 10, 1),
        "floor": pl.Series(floor, dtype=pl.UInt8),
        "exempt": allowed | member,
    }
    return pl.DataFrame(cells | dict(zip(_COSTS, costs.T, strict=True)))


@dataclass(frozen=True)
class Profiles:
    """Orders of equal points and exceptions, in sum; or one order each.

    Attributes:
        points, firm_points: (m,) float64.
        floor: (m,) intp.
        exempt: (m,) bool.
        costs: (m, 5) float64.
        orders: (m,) float64.
        per_day: (m, days) float64, orders.
    """

    points: np.ndarray
    firm_points: np.ndarray
    floor: np.ndarray
    exempt: np.ndarray
    costs: np.ndarray
    orders: np.ndarray
    per_day: np.ndarray

    @staticmethod
    def of(rows: pl.DataFrame, thresholds: Sequence[float]) -> "Profiles":
        """Sum `cost_rows` that have `weight` and `day` besides.

        Args:
            rows: the orders.
            thresholds: that will be asked for, sorted; points are rounded down to one of them.
        """
        floors = np.array([-np.inf, *thresholds])
        rounded = [
            pl.Series(name, floors[np.searchsorted(floors, rows[name].to_numpy(), "right") - 1])
            for name in ("points", "firm_points")
        ]
        rows = rows.with_columns(rounded)
        weighted = [(pl.col(name) * pl.col("weight")).sum() for name in _COSTS]
        sums = rows.group_by(_PROFILE).agg(*weighted, orders=pl.col("weight").sum()).sort(_PROFILE)
        numbered = sums.select(_PROFILE).with_row_index("profile")
        days = rows["day"].unique().sort()
        by_day = (
            rows.group_by(*_PROFILE, "day")
            .agg(orders=pl.len())
            .join(numbered, on=_PROFILE)
            .join(pl.DataFrame({"day": days}).with_row_index("column"), on="day")
        )
        per_day = np.zeros((len(sums), len(days)))
        per_day[by_day["profile"].to_numpy(), by_day["column"].to_numpy()] = by_day["orders"]
        return Profiles(
            points=sums["points"].to_numpy(),
            firm_points=sums["firm_points"].to_numpy(),
            floor=sums["floor"].to_numpy().astype(np.intp),
            exempt=sums["exempt"].to_numpy(),
            costs=sums.select(_COSTS).to_numpy(),
            orders=sums["orders"].to_numpy(),
            per_day=per_day,
        )

    def tier(self, thresholds: Thresholds) -> np.ndarray:
        """(m,) intp: the tier of each profile, as `Policy.judge` gives it."""
        starts = np.array(thresholds)
        tier = tiers_of_points(self.points, starts)
        soft = tiers_of_points(self.firm_points, starts) < FREEZE
        tier = np.maximum(np.where(soft, np.minimum(tier, CALL), tier), self.floor)
        return np.where(self.exempt, PASS, tier)

    def cost(self, thresholds: Thresholds) -> float:
        """What all orders would have cost."""
        tier = self.tier(thresholds)
        return float(np.take_along_axis(self.costs, tier[:, None], axis=1).sum())

    def busiest_day(self, thresholds: Thresholds) -> np.ndarray:
        """(5,) float64: the most orders that a day has in each tier."""
        tier = self.tier(thresholds)
        return np.array(
            [self.per_day[tier == t].sum(axis=0).max(initial=0.0) for t in range(TIERS)]
        )


def one_by_one(rows: pl.DataFrame) -> Profiles:
    """Each order of `cost_rows` by itself."""
    return Profiles(
        points=rows["points"].to_numpy(),
        firm_points=rows["firm_points"].to_numpy(),
        floor=rows["floor"].to_numpy().astype(np.intp),
        exempt=rows["exempt"].to_numpy(),
        costs=rows.select(_COSTS).to_numpy(),
        orders=np.ones(len(rows)),
        per_day=np.ones((len(rows), 1)),
    )


def cheapest(
    rows: pl.DataFrame, capacity: Mapping[int, int], present: Thresholds
) -> tuple[Thresholds, int]:
    """The thresholds of least cost that no day's capacity forbids.

    They are multiples of `STEP` within the points that orders have, and the present ones. Of equal
    costs those nearest to the present ones win.

    Args:
        rows: the orders to choose on, as `Profiles.of` takes them.
        capacity: by tier, the most orders a day.
        present: the thresholds as they are.

    Returns:
        The thresholds, and how many were tried. If capacity forbids all of them, those that exceed
        it the least.
    """
    points = rows["points"].to_numpy()
    never = float(max(np.floor(points.max() / STEP) * STEP + STEP, *present))
    lowest = max(np.floor(points.min() / STEP) * STEP, STEP)
    highest = min(never, HIGHEST)
    steps = sorted({*np.arange(lowest, highest + STEP / 2, STEP).tolist(), *present, never})
    profiles = Profiles.of(rows, steps)
    best: tuple[float, float, float] | None = None
    found, tried = present, 0
    for thresholds in combinations_with_replacement(steps, 3):
        tried += 1
        cost = round(profiles.cost(thresholds), 6)
        if best is not None and best[0] == 0 and cost > best[1]:
            continue
        excess = 0.0
        if capacity:
            busiest = profiles.busiest_day(thresholds)
            excess = sum(max(busiest[tier] - most, 0.0) for tier, most in capacity.items())
        away = sum(abs(a - b) for a, b in zip(thresholds, present, strict=True))
        rank = (excess, cost, away)
        if best is None or rank < best:
            best, found = rank, thresholds
    return found, tried


@dataclass(frozen=True)
class Saving:
    """What other thresholds save per 1,000 orders, in minor units, with a 95 % interval.

    Attributes:
        unit: what was drawn: days, or hours where there are few days.
        clusters: how many of them there were.
    """

    per_1000: float
    low: float
    high: float
    unit: str
    clusters: int


def saving(rows: pl.DataFrame, present: Thresholds, proposed: Thresholds, seed: int = 0) -> Saving:
    """The mean saving, paired order by order, and a bootstrap interval.

    What is drawn with replacement are whole days (Efron and Tibshirani 1993, chapter 8): orders of
    one attack or promotion come together, and drawing them one by one would take them for
    independent and give too narrow an interval. Below `FEWEST_CLUSTERS` days, hours are drawn.

    Args:
        rows: `cost_rows` with `weight` and `event_time`.
        present: the thresholds as they are.
        proposed: the others.
        seed: of the draws.
    """
    cells = one_by_one(rows)
    of_order = [
        np.take_along_axis(cells.costs, cells.tier(each)[:, None], axis=1)[:, 0]
        for each in (present, proposed)
    ]
    weight = rows["weight"].to_numpy()
    saved = pl.DataFrame(
        {
            "time": rows["event_time"],
            "saved": (of_order[0] - of_order[1]) * weight,
            "weight": weight,
        }
    )
    unit, sums = "days", _sums(saved, "1d")
    if len(sums) < FEWEST_CLUSTERS:
        unit, sums = "hours", _sums(saved, "1h")
    by_cluster = sums.select("saved", "weight").to_numpy()
    draws = np.random.default_rng(seed).integers(0, len(sums), (RESAMPLES, len(sums)))
    drawn = by_cluster[draws].sum(axis=1)
    low, high = np.quantile(1000 * drawn[:, 0] / drawn[:, 1], [0.025, 0.975])
    total = by_cluster.sum(axis=0)
    return Saving(float(1000 * total[0] / total[1]), float(low), float(high), unit, len(sums))


def _sums(saved: pl.DataFrame, every: str) -> pl.DataFrame:
    cluster = pl.col("time").dt.truncate(every)
    return saved.group_by(cluster).agg(pl.all().exclude("time").sum()).sort("time")
