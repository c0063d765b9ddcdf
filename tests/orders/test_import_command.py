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
    assert json.loads(done.stdout) == {
        "orders": 1,
        "outcomes": 0,
        "rejects": 1,
        "reasons": {"wrong_type": 1},
    }
    assert scan_orders(tmp_path / "out").collect().height == 1
    done = preempt(*arguments, "--out", tmp_path / "out")
    assert done.stdout.startswith("1 orders and 0 outcomes in ")


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
