"""`preempt decide`, called as the command line calls it."""

import io
import json
import sys
from pathlib import Path

import pytest

from orders.decoding import decode_orders
from orders.errors import UserError
from orders.tables import frame_from_orders
from preempt.commands.decide import CHUNK, decide
from serving.policy import Policy

ORDER = {
    "event_time": "2026-01-01T10:00:00+08:00",
    "account": "li",
    "device": "phone",
    "quantity": 1,
    "unit_price": 9_900,
    "currency": "CNY",
}


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PREEMPT_DATA_DIR", str(tmp_path / "data"))


def written(folder: Path, lines: list[str]) -> Path:
    file = folder / "orders.jsonl"
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


def order(number: int, **fields: object) -> str:
    return json.dumps({"order_id": f"order-{number}", **ORDER, **fields})


def test_one_decision_a_line_in_the_order_of_the_file(
    tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]
):
    numbers = list(range(CHUNK + 20))
    decide(written(tmp_path, [order(number) for number in numbers]))
    decisions = [json.loads(line) for line in capsysbinary.readouterr().out.splitlines()]
    assert [d["order_id"] for d in decisions] == [f"order-{number}" for number in numbers]
    assert {"points", "tier", "action", "reasons"} <= decisions[0].keys()
    assert decisions[3]["points"] == 0
    assert decisions[4]["reasons"][0]["code"] == "rule:device_burst"


def test_bad_lines_are_named_and_the_others_decided(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    lines = [order(1), "", "{", order(2, event_time="2026-01-01T10:00:00"), order(3)]
    out = tmp_path / "deeper" / "decisions.jsonl"
    with pytest.raises(UserError, match=r"^2 of 4 lines are no orders.* other 2 were decided$"):
        decide(written(tmp_path, lines), out=out)
    said = capsys.readouterr().err.splitlines()
    assert said[0].startswith("line 3: ")
    assert said[1].startswith("line 4: event_time: expected a time")
    assert [json.loads(line)["order_id"] for line in out.read_text().splitlines()] == [
        "order-1",
        "order-3",
    ]


def test_orders_are_applied_in_the_order_of_the_file_whatever_their_times(tmp_path: Path):
    later_first = [order(1, event_time=1_767_232_860_000), order(2, event_time=1_767_232_800_000)]
    out = tmp_path / "decisions.jsonl"
    decide(written(tmp_path, later_first), out=out)
    assert [json.loads(line)["order_id"] for line in out.read_text().splitlines()] == [
        "order-1",
        "order-2",
    ]


def test_a_dash_reads_standard_input(
    monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]
):
    lines = io.TextIOWrapper(io.BytesIO(order(1).encode()))
    monkeypatch.setattr(sys, "stdin", lines)
    decide(Path("-"))
    assert json.loads(capsysbinary.readouterr().out)["order_id"] == "order-1"


def test_an_edited_rule_changes_the_decision_and_its_version(tmp_path: Path):
    default = Path(__file__).parents[2] / "serving" / "rules.toml"
    mine = tmp_path / "mine.toml"
    text = default.read_text("utf-8")
    mine.write_text(text.replace("device_orders_5m >= 4", "device_orders_5m >= 1"), "utf-8")
    out = tmp_path / "decisions.jsonl"
    decide(written(tmp_path, [order(1), order(2)]), rules=mine, out=out)
    decisions = [json.loads(line) for line in out.read_text().splitlines()]
    assert [d["points"] for d in decisions] == [0, 50]
    assert decisions[0]["rules"] == Policy.load(mine).version != Policy.default().version


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"rules": Path("absent.toml")}, "cannot read the rules in absent.toml"),
        ({"model": "folder/of/no/model"}, "holds no model"),
        ({"state": Path("absent.bin")}, "absent.bin"),
        ({"out": Path("/dev/null/x")}, "cannot write /dev/null/x"),
    ],
)
def test_what_cannot_be_had_is_named_in_one_line(tmp_path: Path, options: dict, said: str):
    with pytest.raises(UserError) as refusal:
        decide(written(tmp_path, [order(1)]), **options)
    assert said in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_missing_file_is_named():
    with pytest.raises(UserError, match=r"cannot read absent\.jsonl: No such file"):
        decide(Path("absent.jsonl"))


def test_a_parquet_file_is_told_with_the_way_to_convert_it(
    tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]
):
    file = tmp_path / "orders.parquet"
    lines = written(tmp_path, [order(1), order(2)])
    frame_from_orders(decode_orders(lines.read_bytes().splitlines()).events).write_parquet(file)
    with pytest.raises(
        UserError, match=r"is Parquet, and decide reads JSON Lines; convert"
    ) as told:
        decide(file)
    conversion = str(told.value).partition("in Python: ")[2]
    exec(f"import polars\n{conversion}")  # what people are told to do
    decide(tmp_path / "orders.jsonl")
    assert len(capsysbinary.readouterr().out.splitlines()) == 2
