"""A backtest on one page, in one file that needs no network."""

import math
import tomllib
from datetime import date
from importlib.resources import files
from typing import Any, Literal

import numpy as np

from orders.decision_table import TIERS
from serving.backtest_result import Backtest, MoneyOfFate
from training.charts import Chart, Layer, Readout, Scale, Tick, from_zero, line, steps
from training.live_report import number, page_environment, percent
from training.money import money

MOST_OVERLAPPING = 12  # rules in the matrix; JSON has all
TICKS = 8


def render_backtest(result: Backtest, lang: Literal["en", "zh"]) -> str:
    """The page as text; everything that comes from an order or a rule is escaped."""
    words = tomllib.loads(
        files("preempt").joinpath("templates/backtest_words.toml").read_text("utf-8")
    )
    environment = page_environment(words, "preempt")
    environment.globals["money"] = money
    live = environment.globals["w"]("live")
    return environment.get_template("backtest.html.j2").render(
        lang=lang,
        result=result,
        against=live if result.against.version is None else result.against.name,
        share_changed=_share(result.changed, result.orders),
        totals=_totals(result),
        charts_of_days=[_stopped(result), _changes(result)] if result.days else [],
        tiers=TIERS,
        matrix=_matrix(result),
        overlap=_overlap(result),
    )


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def _totals(result: Backtest) -> dict[str, Any]:
    saved: dict[str, Any] = {}
    for each in sorted(result.money, key=lambda each: -each.all.orders):
        if each.fate == "charged_back":
            saved[each.currency] = {
                "before": _share(each.stopped_before.amount, each.all.amount),
                "after": _share(each.stopped_after.amount, each.all.amount),
            }
    return {
        "newly_stopped": _sum(result.money, "newly_stopped"),
        "newly_passed": _sum(result.money, "newly_passed"),
        "before": _share(_sum(result.money, "stopped_before"), result.orders),
        "after": _share(_sum(result.money, "stopped_after"), result.orders),
        "saved": saved,
    }


def _sum(rows: list[MoneyOfFate], name: str) -> int:
    return sum(getattr(row, name).orders for row in rows)


def _matrix(result: Backtest) -> list[dict[str, Any]]:
    counts = {(move.before, move.after): move.orders for move in result.moves}
    most = max((n for (before, after), n in counts.items() if before != after), default=0)
    return [
        {
            "tier": before,
            "cells": [
                {"orders": n, "same": before == after, "heat": round(60 * math.sqrt(n / most)) if most else 0}
                for after in TIERS
                for n in [counts.get((before, after), 0)]
            ],
        }
        for before in TIERS
    ]  # fmt: skip


def _overlap(result: Backtest) -> list[dict[str, Any]]:
    by_matches = sorted(range(len(result.rules)), key=lambda i: -result.rules[i].matches)
    shown = by_matches[:MOST_OVERLAPPING]
    return [
        {"name": result.rules[i].name, "shares": [result.overlap[i][j] for j in shown]}
        for i in shown
    ]


def _stopped(result: Backtest) -> Chart:
    days = result.days
    before = np.array([day.stopped_before / day.orders for day in days])
    after = np.array([day.stopped_after / day.orders for day in days])
    scale = from_zero(np.concatenate([before, after]))
    across = _middles(len(days))
    return Chart(
        name="stopped",
        x_ticks=_day_ticks(result),
        y_ticks=scale.ticks(percent),
        layers=[
            Layer("line", "ink", line(across, scale.units(before)), "before"),
            Layer("line", "freeze", line(across, scale.units(after)), "after"),
        ],
        readout=Readout(
            at=(across / 10).round(3).tolist(),
            titles=[day.name or "" for day in days],
            values=[
                ("ink", "before", [percent(share, 2) for share in before]),
                ("freeze", "after", [percent(share, 2) for share in after]),
            ],
        ),
    )


def _changes(result: Backtest) -> Chart:
    days = result.days
    stopped = np.array([float(day.newly_stopped) for day in days])
    passed = np.array([float(day.newly_passed) for day in days])
    scale = from_zero(stopped + passed)
    edges = np.linspace(0.0, 1000.0, len(days) + 1)
    low, high = scale.units(stopped), scale.units(stopped + passed)
    return Chart(
        name="changes",
        x_ticks=_day_ticks(result),
        y_ticks=scale.ticks(number),
        layers=[
            Layer("fill", "pass", steps(edges, low, high), "newly_passed"),
            Layer("fill", "freeze", steps(edges, np.zeros(len(days)), low), "newly_stopped"),
        ],
        readout=Readout(
            at=(_middles(len(days)) / 10).round(3).tolist(),
            titles=[day.name or "" for day in days],
            values=[
                ("freeze", "newly_stopped", [number(n) for n in stopped]),
                ("pass", "newly_passed", [number(n) for n in passed]),
            ],
        ),
    )


def _middles(count: int) -> np.ndarray:
    return (np.arange(count) + 0.5) * 1000.0 / count


def _day_ticks(result: Backtest) -> list[Tick]:
    days = [day.name or "" for day in result.days]
    scale = Scale(0.0, float(len(days)))
    every = -(-len(days) // TICKS)
    return [
        Tick(scale.percent(place + 0.5), f"{date.fromisoformat(day):%m-%d}")
        for place, day in enumerate(days)
        if place % every == 0
    ]
