"""`preempt decide`, called as the command line calls it."""

import io
import json
import sys
from pathlib import Path

import polars as pl
import pytest

from orders.decoding import decode_orders
from orders.errors import UsageError, UserError
from orders.tables import frame_from_orders
from preempt.commands.decide import COMPLAINTS, decide
from preempt.order_files import CHUNK
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


def tables(folder: Path, lines: list[str]) -> Path:
    """A data set as `preempt import` writes it, without its outcomes."""
    orders = decode_orders([line.encode() for line in lines]).events
    frame_from_orders(orders).write_parquet(folder / "orders.parquet")
    return folder / "orders.parquet"


def test_the_orders_of_a_data_set_are_decided_as_their_json_lines_are(tmp_path: Path) -> None:
    lines = [
        order(number, attributes={"colour": "red", "gift": True} if number % 2 else None)
        for number in range(CHUNK + 20)
    ]
    table = tables(tmp_path, lines)
    written(tmp_path, lines)
    for name in ("orders.jsonl", "orders.parquet", ""):
        decide(tmp_path / name, out=tmp_path / f"decided-{name}")
    by_line = (tmp_path / "decided-orders.jsonl").read_bytes()
    assert by_line == (tmp_path / "decided-orders.parquet").read_bytes()
    assert by_line == (tmp_path / "decided-").read_bytes()
    assert len(by_line.splitlines()) == CHUNK + 20
    assert table.exists()


def test_rows_of_a_table_that_are_no_orders_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tables(tmp_path, [order(1), order(2), order(3)])
    rows = pl.read_parquet(table)
    rows.with_columns(quantity=pl.Series([1, 0, None], dtype=pl.Int64)).write_parquet(table)
    with pytest.raises(UserError, match=r"^2 of 3 rows are no orders"):
        decide(table, out=tmp_path / "decisions.jsonl")
    assert capsys.readouterr().err.splitlines() == [
        "row 2: quantity: expected an integer from 1 to 1000000, got 0",
        "row 3: quantity: expected an integer from 1 to 1000000, got null",
    ]


def test_a_table_of_something_else_is_one_line(tmp_path: Path) -> None:
    pl.DataFrame({"no": [1]}).write_parquet(tmp_path / "sales.parquet")
    with pytest.raises(UserError, match=r"column 'order_id' is missing; 'preempt import' makes"):
        decide(tmp_path / "sales.parquet")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("no,placed\n" + "1,2024-05-01\n" * 600, r"is not JSON Lines, line 1 is \"no,placed\": make a data set of it with 'preempt import .*orders\.jsonl --mapping"),
        ('\n[{"order_id": "1"}]\n', r"is not JSON Lines, line 2 is .*: write one order a line, as 'jq -c \.\[\]' does"),
    ],
)  # fmt: skip
def test_a_file_of_another_kind_is_one_line_and_leaves_the_former_decisions(
    tmp_path: Path, text: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file, out = tmp_path / "orders.jsonl", tmp_path / "decisions.jsonl"
    file.write_text(text)
    out.write_text("the former ones")
    with pytest.raises(UserError, match=said) as refusal:
        decide(file, out=out)
    assert "\n" not in str(refusal.value)
    assert capsys.readouterr().err == ""
    assert out.read_text() == "the former ones"


def test_many_bad_lines_do_not_flood_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = ["{}"] * (COMPLAINTS + CHUNK)
    with pytest.raises(UserError, match=r"^520 of 521 lines are no orders"):
        decide(written(tmp_path, [order(1), *bad]), out=tmp_path / "decisions.jsonl")
    said = capsys.readouterr().err.splitlines()
    assert len(said) == COMPLAINTS + 1
    assert said[-1] == "… further lines that are no orders are only counted"


def test_the_file_of_the_orders_is_never_written_over(tmp_path: Path) -> None:
    file = written(tmp_path, [order(1)])
    before = file.read_bytes()
    with pytest.raises(UsageError, match="is the file of the orders"):
        decide(file, out=tmp_path / "." / file.name)
    assert file.read_bytes() == before
