"""`preempt rules backtest` and `preempt policy optimise` as people call them, on real Delta tables."""

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import pytest

from features.feature_set import feature_set
from orders.errors import UsageError
from preempt.cli import build_app
from preempt.settings import load_settings
from serving.policy import Policy
from tests.serving.archived_shop import ArchivedShop, decided
from tests.serving.test_backtest import FEATURES, ORDERS, ended, policy, rule
from tests.serving.test_thresholds_by_cost import EXAMPLE, a_month_of_fraud

HOSTILE = """"><script>alert(1)</script>{{7*7}}"""
VOID = {"meta", "br", "path", "link", "img", "input", "hr"}

RULES = (
    Path(__file__).parents[2].joinpath("serving", "rules.toml").read_text("utf-8")
    + f"""
[[rules]]
name = "hostile"
title = '{HOSTILE}'
title_zh = '恶意'
when = "amount > 1000"
points = 90
"""
)

Run = Callable[..., str]


class Page(HTMLParser):
    """Objects to tags that do not close in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    shop = ArchivedShop(load_settings(data_dir=folder).archive_dir, FEATURES)
    orders = [
        msgspec.structs.replace(order, merchant=HOSTILE, order_id=f"{HOSTILE}{i}")
        for i, order in enumerate(ORDERS)
    ]
    ends = [ended(o, "charged_back" if i % 9 == 0 else "delivered", 20) for i, o in enumerate(orders)]  # fmt: skip
    shop.archive([*orders, *ends], decided(orders, policy(), FEATURES))
    return folder


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*arguments: str | Path) -> str:
        build_app()([str(each) for each in arguments], exit_on_error=False, result_action="return_value")  # fmt: skip
        return capsys.readouterr().out

    return run


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    file = tmp_path / "my-rules.toml"
    file.write_text(RULES, encoding="utf-8")
    return file


def test_json_and_a_page_that_escapes_what_comes_from_outside(
    run: Run, data: Path, rules: Path, tmp_path: Path
) -> None:
    page = tmp_path / "report.html"
    said = run("rules", "backtest", rules, "--data-dir", data, "--out", page, "--json")
    found = json.loads(said)
    assert found["candidate"]["name"] == "my-rules.toml"
    assert found["orders"] == len(ORDERS)
    assert found["best"]["CNY"]
    assert found["worst"]["CNY"]
    text = page.read_text("utf-8")
    Page(text)
    assert "<script>alert" not in text
    assert "49" not in re.findall(r"script>(\d+)", text)
    assert '<html lang="en">' in text
    assert "http" not in re.sub(r"http-equiv", "", text)


def test_the_page_opens_in_chinese(run: Run, data: Path, rules: Path, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    run("rules", "backtest", rules, "--data-dir", data, "--out", page, "--lang", "zh", "--json")
    assert '<html lang="zh">' in page.read_text("utf-8")


def test_people_read_a_table(run: Run, data: Path, rules: Path) -> None:
    said = run("rules", "backtest", rules, "--data-dir", data)
    assert "would be decided otherwise" in said
    assert "charged_back" in said
    assert "hostile" in said


def test_another_file_is_compared_with(run: Run, data: Path, rules: Path) -> None:
    said = run("rules", "backtest", rules, "--against", rules, "--data-dir", data, "--json")
    found = json.loads(said)
    assert found["changed"] == 0
    assert found["against"] == found["candidate"]


def test_an_optimised_policy_is_a_proposal_and_the_present_file_stays(
    run: Run, tmp_path: Path
) -> None:
    lax = policy(rule("odd", "account LIKE '%1' OR account LIKE '%2'", 60))
    shop = a_month_of_fraud(load_settings(data_dir=tmp_path).archive_dir, lax)
    assert shop.features == feature_set()
    present, out = tmp_path / "present.toml", tmp_path / "proposal.toml"
    text = RULES.replace("amount > 1000", "account LIKE '%1'").replace("points = 90", "points = 60")
    present.write_text(text, encoding="utf-8")
    options = ("--costs", EXAMPLE, "--rules", present, "--data-dir", tmp_path)
    said = run("policy", "optimise", *options, "--out", out, "--json")
    found = json.loads(said)
    proposed = Policy.load(out)
    assert proposed.tiers.sms.starts == found["proposed"]["sms"] <= 60
    assert proposed.rules == Policy.load(present).rules
    assert out.read_text("utf-8").startswith("# A proposal by `preempt policy optimise`")
    assert present.read_text("utf-8") == text


def test_a_stored_version_is_tried_against_the_live_one_and_remembered(
    run: Run, data: Path, tmp_path: Path
) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(RULES, encoding="utf-8")
    there = ("--data-dir", data)
    version = json.loads(run("rules", "draft", file, "--by", "ana", *there, "--json"))["version"]
    found = json.loads(run("rules", "backtest", version[:6], "--by", "ana", *there, "--json"))
    assert found["candidate"]["name"] == version
    assert found["changed"] > 0
    history = json.loads(run("rules", "history", *there, "--json"))
    [tried] = [each for each in history if each["kind"] == "backtested"]
    assert (tried["version"], tried["by"]) == (version, "ana")
    assert tried["changed_share"] == found["changed"] / found["orders"]
    asked = json.loads(run("rules", "publish", version, "--by", "ana", *there, "--json"))
    assert not asked["live"]
    assert "%" in asked["why_not"]  # the share that the backtest found


def test_only_a_stored_version_against_the_live_one_is_remembered(
    run: Run, data: Path, tmp_path: Path
) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(RULES, encoding="utf-8")
    with pytest.raises(UsageError, match="is no stored version"):
        run("rules", "backtest", file, "--by", "ana", "--data-dir", data)
    with pytest.raises(UsageError, match="leave --against out"):
        run("rules", "backtest", "live", "--by", "ana", "--against", file, "--data-dir", data)
