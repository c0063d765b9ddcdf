"""Thresholds by cost over the archive: chosen on the earlier part, tried on the later one."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

import msgspec
import numpy as np
import polars as pl

from orders.decision_table import TIERS
from orders.errors import UserError
from preempt.past_decisions import PastDecisions
from serving.costs import Costs
from serving.policy_on_history import PolicyOnHistory
from serving.thresholds_by_cost import (
    Profiles,
    Saving,
    Thresholds,
    cheapest,
    cost_rows,
    one_by_one,
    saving,
)
from training.money import money

ENOUGH = 100  # orders on either side


class OnHeldOut(msgspec.Struct, frozen=True, kw_only=True):
    """What thresholds do to the later part."""

    sms: float
    call: float
    freeze: float
    cost_per_1000: float  # minor units
    busiest_day: dict[str, int]  # by tier, orders that are labelled


class Optimised(msgspec.Struct, frozen=True, kw_only=True):
    """What was found.

    Attributes:
        chosen_on, tried_on: orders before and from `held_out_from` on.
        unknown: orders left out, for whether they are fraud is not known, or not mature.
        not_drawn: frozen orders left out, for explored ones stand for them, by inverse propensity.
        other_currency: orders left out.
        other_tiers: orders left out, for their merchant or channel has tiers of its own.
        saving_per_1000: minor units, on the later part; with a 95 % interval.
        drawn: what the bootstrap drew, days or hours, and how many there were.
    """

    currency: str
    present: OnHeldOut
    proposed: OnHeldOut
    tried: int
    chosen_on: int
    tried_on: int
    held_out_from: str
    unknown: int
    not_drawn: int
    other_currency: int
    other_tiers: int
    saving_per_1000: float
    low: float
    high: float
    drawn: str
    clusters: int
    warnings: list[str]

    @property
    def thresholds(self) -> Thresholds:
        """The proposed ones."""
        return self.proposed.sms, self.proposed.call, self.proposed.freeze


def optimise(
    past: PastDecisions,
    policy: PolicyOnHistory,
    costs: Costs,
    choose_on: float,
    on_progress: Callable[[int], Any] = lambda _done: None,
) -> Optimised:
    """Find thresholds.

    Args:
        past: the decisions and their outcomes.
        policy: the present one.
        costs: what decisions cost.
        choose_on: the share of the orders, the earliest, to choose on; cut at midnight UTC.
        on_progress: called with the number of decisions that a block had.

    Raises:
        UserError: there are too few orders with known outcomes on one side.
    """
    rows, left_out = _rows(past, policy, costs, on_progress)
    cut = _cut(rows, choose_on)
    early, late = rows.filter(pl.col("event_time") < cut), rows.filter(pl.col("event_time") >= cut)
    if min(len(early), len(late)) < ENOUGH:
        raise UserError(
            f"of orders in {costs.currency} with a mature outcome there are {len(early):,} before "
            f"{cut:%Y-%m-%d %H:%M} and {len(late):,} after; at least {ENOUGH} each are needed: "
            "take a longer range"
        )
    present = policy.policy.tiers.starts
    found, tried = cheapest(early, costs.capacity, present)
    saved = saving(late, present, found)
    return Optimised(
        currency=costs.currency,
        present=_on_held_out(late, present),
        proposed=_on_held_out(late, found),
        tried=tried,
        chosen_on=len(early),
        tried_on=len(late),
        held_out_from=cut.isoformat(timespec="minutes"),
        **left_out,
        saving_per_1000=saved.per_1000,
        low=saved.low,
        high=saved.high,
        drawn=saved.unit,
        clusters=saved.clusters,
        warnings=_warnings(early, late, found, costs, saved),
    )


def _rows(
    past: PastDecisions,
    policy: PolicyOnHistory,
    costs: Costs,
    on_progress: Callable[[int], Any],
) -> tuple[pl.DataFrame, dict[str, int]]:
    """`cost_rows` with `event_time`, `day` and `weight`, and how many orders are left out, why."""
    left_out: dict[str, int] = {
        "unknown": 0,
        "not_drawn": 0,
        "other_currency": 0,
        "other_tiers": 0,
    }
    parts: list[pl.DataFrame] = []
    done = 0
    of_decision = policy.of_decision | {"event_time", "propensity", "explored"}
    of_order = policy.of_order | {"quantity", "unit_price", "currency"}
    for found in past.history.blocks(policy.features, of_decision, of_order):
        at = slice(done, done + len(found))
        done += len(found)
        on_progress(len(found))
        kept = ~past.history.rows["again"][at] & found["has_order"]
        block, truth = found.filter(kept), past.truth[at].filter(kept)
        if block.is_empty():
            continue
        judged = policy.judge(block)
        explored, propensity = block["explored"].fill_null(False), block["propensity"].fill_null(1)
        label = truth["label_risk"]
        amount = (block["quantity"] * block["unit_price"]).to_numpy()
        rows = cost_rows(
            policy, judged, costs.of_orders(amount, (label == 1).fill_null(False).to_numpy())
        )
        rows = rows.with_columns(
            block["event_time"],
            block["event_time"].dt.date().alias("day"),
            weight=pl.Series(np.where(explored, 1 / propensity.to_numpy(), 1.0)),
        )
        use = pl.Series(np.ones(len(rows), np.bool_))
        for reason, out in (
            ("other_currency", block["currency"] != costs.currency),
            ("other_tiers", pl.Series(judged.table != 0)),
            ("unknown", label.is_null()),
            ("not_drawn", (propensity < 1) & ~explored),
        ):
            left_out[reason] += int((use & out).sum())
            use &= ~out
        parts.append(rows.filter(use))
    if not parts:
        raise UserError("none of the decisions can be used: their orders are not archived")
    return pl.concat(parts), left_out


def _cut(rows: pl.DataFrame, choose_on: float) -> datetime:
    """A midnight near that share of the orders; a moment where there is less than two days."""
    times = rows["event_time"].sort()
    moment = times[min(int(len(times) * choose_on), len(times) - 1)] if len(times) else None
    if moment is None:
        raise UserError("no order with a mature outcome can be used: take a longer range")
    midnight = pl.Series([moment]).dt.round("1d")[0]
    return midnight if times[0] < midnight <= times[-1] else moment


def _on_held_out(rows: pl.DataFrame, thresholds: Thresholds) -> OnHeldOut:
    cost = one_by_one(rows.with_columns(pl.col("^cost_.*$") * pl.col("weight"))).cost(thresholds)
    busiest = Profiles.of(rows, sorted(set(thresholds))).busiest_day(thresholds)
    sms, call, freeze = thresholds
    return OnHeldOut(
        sms=sms,
        call=call,
        freeze=freeze,
        cost_per_1000=1000 * cost / float(rows["weight"].sum()),
        busiest_day={tier: round(n) for tier, n in zip(TIERS, busiest.tolist(), strict=True)},
    )


def _warnings(
    early: pl.DataFrame, late: pl.DataFrame, found: Thresholds, costs: Costs, saved: Saving
) -> list[str]:
    said = []
    for rows, part in ((early, "earlier"), (late, "later")):
        busiest = Profiles.of(rows, sorted(set(found))).busiest_day(found)
        said += [
            f"on the {part} part a day has up to {busiest[tier]:,.0f} orders in the tier "
            f"{TIERS[tier]}, more than the {most:,} that can be handled"
            for tier, most in costs.capacity.items()
            if busiest[tier] > most
        ]
    if saved.low <= 0:
        said.append("the interval holds 0: the proposal is not shown to be better than the present")
    if saved.unit == "hours":
        said.append("there are few days, so hours were drawn: the interval may be too narrow")
    return said


def evidence(found: Optimised, costs: str) -> list[str]:
    """What stands in the comment of a proposal."""

    def amount(minor: float) -> str:
        return money(round(minor), found.currency)

    present, proposed = found.present, found.proposed
    return [
        "A proposal by `preempt policy optimise`; nobody has published it.",
        f"sms {present.sms:g} -> {proposed.sms:g}, call {present.call:g} -> {proposed.call:g}, "
        f"freeze {present.freeze:g} -> {proposed.freeze:g}; all else is as it was.",
        f"By the costs of {costs} it saves {amount(found.saving_per_1000)} per 1,000 orders",
        f"(95 % interval {amount(found.low)} to {amount(found.high)}, bootstrap over "
        f"{found.clusters} {found.drawn}),",
        f"on {found.tried_on:,} orders from {found.held_out_from} on that it was not chosen by "
        f"({found.chosen_on:,} earlier ones it was).",
        f"Left out: {found.unknown:,} orders whose outcome is not known yet.",
        *(f"Warning: {warning}" for warning in found.warnings),
    ]
