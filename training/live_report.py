"""`report.html`: a live day on one page, in one file that needs no network."""

import math
import tomllib
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from training.article_figures import Comparison, compare
from training.live_charts import DayBins, latency_over_day, orders_over_day, stopped_over_day
from training.live_frame import LiveDay, order_rows, peak_of
from training.live_score_charts import calibration, points_of_orders, precision_recall, roc
from training.live_summary import Attack, Incidents, Summary
from training.live_tables import frozen_rows, reason_rows, tier_rows

DEFAULT_THRESHOLDS: Mapping[str, float] = {"sms": 80.0, "call": 100.0, "freeze": 120.0}

NBSP = "\u00a0"  # keeps a number and its unit on one line

Words = dict[str, dict[str, str]]


def write_report(
    summary: Summary,
    live: LiveDay,
    path: Path,
    *,
    thresholds: Mapping[str, float] = DEFAULT_THRESHOLDS,
    lang: Literal["en", "zh"] = "en",
) -> None:
    """Write the page. `thresholds` says from how many points on each tier begins, as the policy
    has it; `lang` is what the page opens in, a button on it switches.
    """
    path.write_text(render_report(summary, live, thresholds, lang), encoding="utf-8")


def render_report(
    summary: Summary, live: LiveDay, thresholds: Mapping[str, float], lang: str
) -> str:
    """The page as text; everything that comes from an order is escaped."""
    rows = order_rows(live)
    bins, peak = DayBins(live.day), peak_of(live)
    page = _environment().get_template("report.html.j2")
    return page.render(
        lang=lang,
        summary=summary,
        day_charts=[
            orders_over_day(rows, bins, peak),
            stopped_over_day(rows, bins, peak),
            latency_over_day(rows, bins, peak),
        ],
        score_charts=[
            points_of_orders(rows, thresholds),
            calibration(rows),
            precision_recall(rows, summary),
            roc(rows, summary),
        ],
        tiers=tier_rows(summary),
        reasons=reason_rows(rows),
        frozen=frozen_rows(rows),
        comparisons=compare(summary),
    )


def page_environment(words: Words, *packages: str) -> Environment:
    """Jinja with our filters, charts and style sheet.

    Args:
        words: the vocabulary of the page.
        packages: whose templates it has besides ours.
    """
    environment = Environment(
        loader=ChoiceLoader(
            [PackageLoader(package, "templates") for package in (*packages, "training")]
        ),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["w"] = lambda key, **values: both(words, key, **values)
    environment.globals["both"] = spans
    environment.globals["asset"] = _asset
    environment.filters |= FILTERS
    return environment


def _environment() -> Environment:
    words = tomllib.loads(files("training").joinpath("templates/words.toml").read_text("utf-8"))
    environment = page_environment(words)
    environment.globals["ours"] = lambda comparison: ours(words, comparison)
    environment.globals["kind"] = lambda name: kind_words(words, name)
    environment.globals["first_stop"] = lambda figures: first_stop(words, figures)
    return environment


def both(words: Words, key: str, **values: Any) -> Markup:
    """A text of the page's vocabulary in both languages; the values it names are escaped."""
    entry = words[key]
    return spans(Markup(entry["en"]).format(**values), Markup(entry["zh"]).format(**values))


def spans(en: str | None, zh: str | None) -> Markup:
    """Both languages side by side; the page shows one. An absent one falls back to the other."""
    english, chinese = escape(en or zh or ""), escape(zh or en or "")
    if english == chinese:
        return english
    return Markup('<span lang="en">{}</span><span lang="zh">{}</span>').format(english, chinese)


def ours(words: Words, comparison: Comparison) -> Markup:
    """Our figure in words."""
    if comparison.ours is None:
        return both(words, "not_measured")
    shown = {
        "seconds": seconds,
        "share": percent,
        "p99": milliseconds,
        "times": lambda value: number(value, 1),
        "orders": number,
        "order": number,
    }
    values = {name: shown[name](value) for name, value in comparison.ours.items()}
    return both(words, f"ours_{comparison.name}", **values)


def kind_words(words: Words, kind: str | None) -> Markup:
    """What a kind of order is called."""
    if kind is None:
        return escape("–")
    entry = f"kind_{kind}"
    return both(words, entry) if entry in words else escape(kind.replace("_", " "))


def first_stop(words: Words, figures: Attack | Incidents) -> Markup:
    """How long the median incident went on before its first stop."""
    if figures.first_stop_s == 0 and figures.first_stop_order == 1:
        return both(words, "at_once")
    incidents = figures.count if isinstance(figures, Incidents) else figures.incidents
    return escape(seconds(figures.first_stop_s) if incidents else "–")


def number(value: float | None, decimals: int = 0) -> str:
    """With thousands separators; a dash where there is none."""
    return "–" if value is None else f"{value:,.{decimals}f}"


def percent(share: float | None, decimals: int = 1) -> str:
    """A share in per cent."""
    return (
        "–"
        if share is None or math.isnan(share)
        else f"{share:.{decimals}%}".replace("%", f"{NBSP}%")
    )


def seconds(value: float | None) -> str:
    """A duration in seconds, minutes or hours; infinite where there is none."""
    if value is None:
        return "∞"
    if value < 120:
        return f"{value:.1f}{NBSP}s"
    return f"{value / 60:.1f}{NBSP}min" if value < 7200 else f"{value / 3600:.1f}{NBSP}h"


def milliseconds(value: float | None) -> str:
    """A latency."""
    return "–" if value is None else f"{value:,.0f}{NBSP}ms"


FILTERS = {"number": number, "percent": percent, "seconds": seconds, "ms": milliseconds}


def _asset(name: str) -> Markup:
    """A style sheet or script of ours, to stand in the page as it is."""
    return Markup(files("training").joinpath("templates", name).read_text("utf-8"))
