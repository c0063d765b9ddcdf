import re
import tomllib
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from tests.training.made_live_day import START, busy_day, decision, live_day, order, truth
from training.article_figures import compare
from training.live_day import summarise
from training.live_frame import Interval, LiveDay
from training.live_report import write_report

HOSTILE = """"><script>alert(1)</script>'`${x}{{7*7}}"""

VOID = {"meta", "br", "path", "link", "img", "input", "hr"}


class Page(HTMLParser):
    """Reads a page and objects to tags that do not close in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.tags)


def page_of(live: LiveDay, tmp_path: Path, **options: Any) -> str:
    path = tmp_path / "report.html"
    write_report(summarise(live), live, path, **options)
    return path.read_text("utf-8")


@pytest.fixture(scope="module")
def busy_page(tmp_path_factory: pytest.TempPathFactory) -> str:
    return page_of(busy_day(4_000), tmp_path_factory.mktemp("report"))


def test_the_page_is_whole(busy_page: str):
    page = Page(busy_page)
    assert page.count("html") == 1
    assert page.count("svg") == 7
    assert not re.search(r'(?:d|style)="[^"]*(?:nan|inf)', busy_page)


def test_the_page_needs_no_network(busy_page: str):
    assert "http://" not in busy_page
    assert "https://" not in busy_page
    assert "@import" not in busy_page
    assert "url(" not in busy_page
    page = Page(busy_page)
    for tag, attributes in page.tags:
        assert not {"src", "href", "srcset", "action"} & set(attributes), tag
    policy = [a["content"] for _, a in page.tags if a.get("http-equiv")]
    assert policy == [
        "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"
    ]


def test_the_page_is_light(busy_page: str):
    assert len(busy_page) < 500_000


def test_the_page_shows_the_figures_of_the_summary(busy_page: str):
    summary = summarise(busy_day(4_000))
    text = "".join(Page(busy_page).text)
    assert f"Of {summary.orders:,} orders, {summary.stopped:,} were stopped" in text
    assert f"{summary.recall:.1%}".replace("%", "\u00a0%") in text
    for attack in summary.attacks:
        assert attack.kind.replace("_", " ").replace("promo ", "promotion ") in text


def test_the_page_opens_in_the_language_asked_for_and_holds_both(tmp_path: Path):
    live = busy_day(200)
    assert '<html lang="en">' in page_of(live, tmp_path)
    chinese = page_of(live, tmp_path, lang="zh")
    assert '<html lang="zh">' in chinese
    assert "实时日报" in chinese
    assert "Live day" in chinese


def test_the_tiers_begin_where_the_policy_says(tmp_path: Path):
    page = page_of(busy_day(200), tmp_path, thresholds={"sms": 61.5})
    assert "61.5" in "".join(Page(page).text)
    assert page.count('<div class="guide"') == 1


def hostile_day() -> LiveDay:
    reason = {"code": HOSTILE, "points": 50.0, "text": HOSTILE, "text_zh": HOSTILE}
    decisions = [
        decision(HOSTILE, "freeze", points=150.0, reasons=[reason], model=HOSTILE, rules=HOSTILE)
    ]
    return live_day(
        [order(HOSTILE, account=HOSTILE, currency=HOSTILE)],
        decisions,
        [truth(HOSTILE, HOSTILE, HOSTILE)],
        machine=HOSTILE,
    )


def test_text_from_orders_cannot_write_the_page(tmp_path: Path):
    text = page_of(hostile_day(), tmp_path)
    page = Page(text)
    assert page.count("script") == 1  # our own
    assert "<script>alert" not in text
    assert "{{7*7}}" in "".join(page.text)  # shown, not run


def test_a_long_order_id_is_cut(tmp_path: Path):
    frozen = decision("x" * 256, "freeze")
    text = page_of(live_day([order("x" * 256)], [frozen], []), tmp_path)
    assert "x" * 41 not in text
    assert "x" * 39 in text


@pytest.mark.parametrize(
    "live",
    [
        pytest.param(live_day([], [], []), id="no orders"),
        pytest.param(live_day([order()], [], [truth("o-1")]), id="nothing decided"),
        pytest.param(live_day([order()], [decision()], []), id="no truth"),
        pytest.param(
            live_day([order()], [decision(probability=None, model=None)], [truth("o-1")]),
            id="rules alone",
        ),
        pytest.param(
            live_day([order()], [decision(order_appended_ms=None)], [truth("o-1", "ring", "r")]),
            id="no append time",
        ),
        pytest.param(
            live_day([order()], [decision()], [], day=Interval(START, START)), id="no length"
        ),
        pytest.param(
            live_day([order()], [decision()], [], day=Interval(START, START + 90 * 86_400_000)),
            id="a quarter of a year",
        ),
    ],
)
def test_a_poor_day_still_makes_a_page(live: LiveDay, tmp_path: Path):
    page = Page(page_of(live, tmp_path))
    assert page.count("svg") == 7


def test_an_order_outside_the_day_is_drawn_at_its_edge(tmp_path: Path):
    live = live_day([order("early", -10), order("late", 90_000_000)], [], [])
    assert Page(page_of(live, tmp_path)).count("svg") == 7


def test_every_word_is_there_in_both_languages():
    words = tomllib.loads(files("training").joinpath("templates/words.toml").read_text("utf-8"))
    for key, entry in words.items():
        assert set(entry) == {"en", "zh"}, key
        names = [sorted(re.findall(r"\{\w+\}", text)) for text in entry.values()]
        assert names[0] == names[1], key


def verdicts(live: LiveDay) -> dict[str, bool | None]:
    return {comparison.name: comparison.reached for comparison in compare(summarise(live))}


def test_a_figure_of_the_articles_is_reached_only_when_measured():
    assert set(verdicts(live_day([], [], [])).values()) == {None}


def test_a_figure_of_the_articles_is_not_reached_when_ours_is_worse():
    orders = [order("h"), order("r1"), order("r2", 60_000)]
    truths = [truth("h"), truth("r1", "scalper", "s-1"), truth("r2", "scalper", "s-1")]
    decisions = [decision("h", "freeze"), decision("r1"), decision("r2", "freeze")]
    reached = verdicts(live_day(orders, decisions, truths))
    assert reached["found"] is False  # the first stop came after a minute
    assert reached["false_positives"] is False
    assert reached["human"] is False
    assert reached["burst"] is True  # the second order of the twelve
    assert reached["policy"] is None
    assert reached["promotion"] is None  # no peak of five times normal
