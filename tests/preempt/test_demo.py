"""The main job, end to end, small."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest

SUMMARY_KEYS = {
    "orders", "decisions", "lost", "duplicates", "dead_letters", "orders_per_s", "latency_ms",
    "tiers", "auc", "ap", "precision", "recall", "false_positive_rate", "human_share", "attacks",
    "gift_pass_rate", "peak", "model", "rules", "seed", "machine",
}  # fmt: skip


def start(folder: Path) -> subprocess.Popen[str]:
    size = ("--orders", "20000", "--days", "24", "--speed", "max")
    command = [sys.executable, "-m", "preempt", "demo", *size, "--data-dir", str(folder), "--json"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def processes_of(folder: Path) -> list[str]:
    """Command lines of the processes that work in a folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            working = (entry / "environ").read_bytes().decode(errors="replace")
        except OSError:
            continue  # it ended meanwhile
        if str(folder) in command or f"PREEMPT_DATA_DIR={folder}" in working:
            found.append(command)
    return found


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self").exists(), reason="looks at processes under /proc")
def test_an_interrupted_demo_leaves_nothing_running_and_the_next_one_works(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    interrupted = start(folder)
    deadline = time.monotonic() + 120
    while not (folder / "worker-score.log").exists():  # its workers are starting
        assert interrupted.poll() is None, interrupted.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.1)
    interrupted.send_signal(signal.SIGINT)
    interrupted.communicate(timeout=60)
    assert interrupted.returncode == 130
    assert processes_of(folder) == []

    finished = start(folder)
    said, shown = finished.communicate(timeout=240)
    assert finished.returncode == 0, shown
    assert processes_of(folder) == []
    summary = json.loads(said)
    assert summary == json.loads((folder / "summary.json").read_text())
    assert set(summary) >= SUMMARY_KEYS
    assert summary["orders"] == summary["decisions"] > 500
    assert (summary["lost"], summary["duplicates"], summary["dead_letters"]) == (0, 0, 0)
    assert summary["auc"] > 0.75
    assert summary["parity"]["orders"] == summary["orders"]
    assert summary["parity"]["unexplained"] == 0
    assert 0.9 < summary["parity"]["equal_share"] <= 1
    assert summary["model"] == {"name": "risk", "version": "2"}  # the first one was registered too
    assert "<html" in (folder / "report.html").read_text()
    archived = pl.read_delta(str(folder / "archive" / "decisions"))
    assert archived["order_id"].n_unique() == archived.height == summary["orders"]
    [names] = (folder / "archive" / "feature_sets").glob("*.json")
    assert set(archived["feature_hash"]) == {names.stem}
    named = json.loads(names.read_text())["features"]
    assert [c for c in archived.columns if c.startswith("f_")] == [f"f_{name}" for name in named]
    assert archived["f_amount"].null_count() == 0
