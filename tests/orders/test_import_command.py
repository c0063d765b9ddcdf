import json
import subprocess
import sys
from pathlib import Path

from orders.tables import scan_orders

MAPPING = """
[order]
order_id = "no"
event_time = { column = "placed", zone = "UTC" }
quantity = { value = 1 }
unit_price = { value = 100 }
currency = { value = "EUR" }
"""


def preempt(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from preempt.cli import main; main()", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_command_prints_one_json_object_or_a_summary(tmp_path: Path) -> None:
    (tmp_path / "m.toml").write_text(MAPPING)
    (tmp_path / "h.csv").write_text("no,placed\na,2024-05-01\nb,soon\n")
    arguments = ("import", tmp_path / "h.csv", "--mapping", tmp_path / "m.toml")
    done = preempt(*arguments, "--out", tmp_path / "out", "--json")
    assert done.returncode == 0
    reason = (
        "event_time (column 'placed'): expected a time from 1970 to 9999 like 2024-05-31 13:45:00 "
        '(format says if it looks different), got "soon"'
    )
    assert json.loads(done.stdout) == {
        "orders": 1,
        "outcomes": 0,
        "rejects": 1,
        "reasons": {"wrong_type": 1},
        "kinds": {},
        "faults": [
            {
                "event": "order",
                "field": "event_time",
                "code": "wrong_type",
                "rows": 1,
                "first_row": 2,
                "reason": reason,
            }
        ],
        "unmatched": [],
    }
    assert scan_orders(tmp_path / "out").collect().height == 1
    done = preempt(*arguments, "--out", tmp_path / "out")
    summary, rejected, fault = done.stdout.splitlines()
    assert summary.startswith("1 orders and 0 outcomes in ")
    assert rejected.startswith("1 rejected, see ")
    assert fault == f"           1  event_time wrong_type, as row 2: {reason}"


def test_outcomes_are_counted_by_kind_and_a_condition_that_no_row_meets_is_told(
    tmp_path: Path,
) -> None:
    outcomes = "".join(
        f"[[outcome]]\nkind = '{kind}'\nwhen = \"state = '{state}'\"\n"
        "event_time = { column = 'placed', zone = 'UTC' }\n"
        for kind, state in [("paid", "paid"), ("cancelled", "cancelled"), ("paid", "[settled]")]
    )
    (tmp_path / "m.toml").write_text(MAPPING + outcomes)
    rows = "a,2024-05-01,paid\nb,2024-05-01,paid\nc,2024-05-02,cancelled\n"
    (tmp_path / "h.csv").write_text("no,placed,state\n" + rows)
    done = preempt(
        "import", tmp_path / "h.csv", "--mapping", tmp_path / "m.toml", "--out", tmp_path / "out"
    )
    assert done.returncode == 0
    assert done.stdout == f"3 orders and 3 outcomes in {tmp_path / 'out'}: 2 paid, 1 cancelled\n"
    (warning,) = done.stderr.splitlines()
    assert warning == (
        "Warning: [[outcome]] 3 (paid) matches no row: when = \"state = '[settled]'\""
    )


def test_rejects_are_counted_by_field_and_code_the_most_frequent_first(tmp_path: Path) -> None:
    (tmp_path / "m.toml").write_text(MAPPING.replace("{ value = 1 }", '"qty"'))
    rows = "a,2024-05-01,1\nb,2024-05-01,0\nc,soon,1\nd,2024-05-01,0\ne,2024-05-01,two\n"
    (tmp_path / "h.csv").write_text("no,placed,qty\n" + rows)
    arguments = ("import", tmp_path / "h.csv", "--mapping", tmp_path / "m.toml")
    done = preempt(*arguments, "--out", tmp_path / "out", "--max-rejects", "90%")
    counted = [line.split(": ")[0].strip() for line in done.stdout.splitlines()[2:]]
    assert counted == [
        "2  quantity out_of_range, as row 2",
        "1  event_time wrong_type, as row 3",
        "1  quantity wrong_type, as row 5",
    ]


def test_what_is_wrong_is_one_line_and_exit_code_1(tmp_path: Path) -> None:
    (tmp_path / "m.toml").write_text(MAPPING)
    (tmp_path / "h.csv").write_text("number,placed\na,2024-05-01\n")
    done = preempt(
        "import", tmp_path / "h.csv", "--mapping", tmp_path / "m.toml", "--out", tmp_path
    )
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("preempt: ")
    assert line.endswith("there is no column 'no'; there are: number, placed")


def test_a_missing_option_is_wrong_use(tmp_path: Path) -> None:
    assert preempt("import", tmp_path / "h.csv").returncode == 2


def test_a_share_of_rejects_that_is_none_is_wrong_use(tmp_path: Path) -> None:
    done = preempt("import", "h.csv", "--mapping", "m", "--out", "o", "--max-rejects", "half")
    assert done.returncode == 2
    assert "'half' is not a share from 0% to 100%" in done.stderr
