"""The command line: what exists, and how a mistake ends."""

import importlib
import inspect
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from preempt.cli import COMMANDS, SECTIONS, build_app, main

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, tmp_path: Path) -> Run:
    """Run a command line in this process, in an empty folder: exit code and what it said."""

    def run_here(*arguments: str) -> tuple[int, str]:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr("sys.argv", ["preempt", *arguments])
        with pytest.raises(SystemExit) as stopped:
            main()
        shown = capsys.readouterr()
        return int(stopped.value.code or 0), shown.out + shown.err

    return run_here


def assert_one_clear_line(done: tuple[int, str], *words: str) -> None:
    code, said = done
    assert code == 1
    [line] = [line for line in said.splitlines() if line.startswith("preempt: ")]
    for word in words:
        assert word in line


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_a_help_with_an_example(name: str, capsys: pytest.CaptureFixture) -> None:
    command = [*name.split(), "--help"]
    build_app(command)(command, exit_on_error=False, result_action="return_value")
    shown = capsys.readouterr().out
    assert "Usage: preempt" in shown
    assert f"preempt {name}" in shown.replace("Usage: preempt", "", 1)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_text_of_a_command_in_the_list_is_the_first_line_of_its_docstring(name: str) -> None:
    module, member = COMMANDS[name].where.split(":")
    command = getattr(importlib.import_module(f"preempt.commands.{module}"), member)
    described = inspect.getdoc(command) or ""
    assert COMMANDS[name].text == described.splitlines()[0]


def test_the_list_is_in_the_sequence_of_use(run: Run) -> None:
    _, said = run("--help")
    listed = re.findall(r"^│ (\w+) ", said, re.MULTILINE)
    chain = [
        "demo",
        "simulate",
        "import",
        "backfill",
        "train",
        "score",
        "decide",
        "worker",
        "parity",
    ]
    assert [name for name in listed if name in chain] == chain
    for title in SECTIONS:
        assert f"─ {title} ─" in said


def test_the_list_has_every_text(run: Run) -> None:
    code, said = run("--help")
    assert code == 0
    in_one_line = " ".join(said.replace("│", " ").split())
    for name, command in COMMANDS.items():
        if " " not in name:
            assert f"{name} {command.text}" in in_one_line


WRONG = [
    ["simulate", "--orders", "0", "--days", "1", "--out", "x"],
    ["simulate", "--orders", "5", "--days", "nan", "--out", "x"],
    ["simulate", "--orders", "5", "--days", "1", "--out", "x", "--seed", "-1"],
    ["simulate", "--orders", "5", "--days", "1", "--out", "x", "--start", "2026-03-02"],
    ["simulate", "--orders", "5", "--days", "1", "--out", "x", "--attack-share", "2"],
    ["demo", "--orders", "0"],
    ["demo", "--days", "0"],
    ["demo", "--seed", "-1"],
    ["demo", "--speed", "0"],
    ["import", "h.csv", "--mapping", "m.toml", "--out", "x", "--max-rejects", "half"],
    ["import", "h.csv"],
    ["backfill", "x", "--out", "y", "--from", "2025-01-01"],
    ["backfill", "x", "--out", "y", "--until", "soon"],
    ["train", "x", "--outcomes", "y", "--target", "love", "--train-until", "80%"],
    ["train", "x", "--outcomes", "y", "--target", "risk", "--train-until", "0%"],
    ["train", "x", "--outcomes", "y", "--target", "risk", "--train-until", "80%", "--seed", "-1"],
    ["score", "frame.parquet"],
    ["decide"],
    ["up", "--port", "1"],
    ["worker", "--role", "cook"],
    ["worker", "--broker", "localhost"],
    ["features", "list", "all"],
    ["bench", "features", "--orders", "0"],
    ["bench", "features", "--seed", "-1"],
    ["bench", "stream", "--orders", "0"],
    ["bench", "stream", "--rate", "0"],
    ["bench", "stream", "--rate", "nan"],
    ["bench", "stream", "--compare", "-1"],
    ["parity", "--sample", "0"],
    ["lists", "list", "all"],
    ["lists", "show", "blocked", "--most", "0"],
    ["lists", "create", "mine", "--kind", "ban", "--by", "ana", "--comment", "x"],
    ["lists", "add", "blocked", "device", "x", "--for", "soon", "--by", "ana", "--comment", "x"],
    ["lists", "remove", "blocked", "device", "x", "--by", "ana"],
    ["lists", "import", "blocked", "x.csv", "--by", "ana"],
    ["lists", "export"],
    ["lists", "snooze", "device_burst", "device", "x", "--by", "ana", "--comment", "x"],
    ["lists", "unsnooze", "device_burst", "device", "x"],
    ["lists", "check", "ip", "999.1.1.1"],
    ["lists", "log", "--most", "0"],
    ["report", "--from", "2026-03-01", "--to", "2026-03-02T00:00:00Z", "--out", "x"],
    ["gateway", "--port", "0"],
    ["rules", "lint", "--what"],
    ["rules", "draft", "my-rules.toml"],
    ["rules", "shadow", "off"],
    ["rules", "publish", "--by", "ana"],
    ["rules", "rollback", "--by", "ana"],
    ["rules", "list", "all"],
    ["rules", "history", "one", "two"],
    ["rules", "show"],
    ["rules", "diff", "live"],
    ["rules", "backtest"],
    ["rules", "backtest", "x.toml", "--from", "yesterday"],
    ["rules", "backtest", "x.toml", "--lang", "fr"],
    ["policy", "optimise", "--out", "x.toml"],
    ["policy", "optimise", "--costs", "c.toml", "--out", "x.toml", "--choose-on", "100%"],
]


@pytest.mark.parametrize("arguments", WRONG, ids=" ".join)
def test_a_value_that_is_wrong_in_itself_is_wrong_use(
    run: Run, arguments: list[str], tmp_path: Path
) -> None:
    code, said = run(*arguments)
    assert code == 2
    assert "Traceback" not in said
    assert not list(tmp_path.iterdir())


def test_every_command_has_a_case_of_wrong_use() -> None:
    tried = {" ".join(arguments[: len(name.split())]) for arguments in WRONG for name in COMMANDS}
    assert tried >= COMMANDS.keys()


HEAVY = {"polars", "numpy", "numba", "lightgbm", "mlflow", "faust", "sklearn", "pyarrow"}


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        *(case for case in WRONG if case[0] in ("simulate", "demo", "train", "score", "worker")),
        ["bench", "stream", "--rate", "0"],
        ["decide"],
    ],
    ids=" ".join,
)
def test_what_answers_at_once_imports_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import sys\nfrom preempt.cli import main\n"
        "try: main()\nexcept SystemExit: pass\nprint(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True
    )
    assert not HEAVY & set(done.stdout.split())


def test_a_small_simulation_without_an_attack_says_so(run: Run) -> None:
    small = ("simulate", "--orders", "300", "--days", "1", "--out", "shop")
    assert "no attack among these 300 orders: make 1,000 or more" in run(*small)[1]
    larger = ("simulate", "--orders", "1000", "--days", "1", "--out", "shop")
    assert "no attack" not in run(*larger)[1]


def test_an_unknown_option_is_wrong_use(run: Run) -> None:
    code, said = run("simulate", "--oders", "5")
    assert code == 2
    assert "--oders" in said


def test_a_wrong_broker_address_is_one_line(run: Run) -> None:
    done = run("worker", "--model", "none", "--broker", "127.0.0.1:1")
    assert_one_clear_line(done, "127.0.0.1:1", "broker")


def test_an_absent_model_is_one_line(run: Run, broker, topic_prefix: str) -> None:
    options = ("--broker", broker.bootstrap, "--topic-prefix", topic_prefix)
    done = run("worker", "--model", "nobody", *options)
    assert_one_clear_line(done, "nobody", "train")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_worker_says_that_it_waits_for_the_broker_and_a_signal_ends_it_at_once(
    number: signal.Signals, tmp_path: Path
) -> None:
    silent = "127.0.0.1:1"
    command = [sys.executable, "-m", "preempt", "worker", "--model", "none", "--broker", silent]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=tmp_path) as worker:
        assert worker.stderr is not None
        assert worker.stderr.readline() == f"Waiting for the broker at {silent}, up to 10 s …\n"
        began = time.monotonic()
        worker.send_signal(number)
        rest = worker.stderr.read()
    assert time.monotonic() - began < 3
    assert worker.returncode == 130
    assert rest == (
        f"preempt: stopped before the broker at {silent} answered; nothing was read or decided\n"
    )


@pytest.mark.parametrize(
    "url", ["foo", "redis://:secret@h:port", "redis://:secret@h/x", "http://h:1", "redis://h:70000"]
)
def test_a_redis_url_that_is_none_is_one_line(
    run: Run, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREEMPT_REDIS_URL", url)
    done = run("worker", "--model", "none")
    assert_one_clear_line(done, "PREEMPT_REDIS_URL", "e.g. redis://127.0.0.1:6379/0")
    assert "secret" not in done[1]


PLACES = [
    ["import", "h.csv", "--mapping", "m.toml", "--out", "file"],
    ["import", "h.csv", "--mapping", "m.toml", "--out", "file/below"],
    ["backfill", "history", "--out", "folder"],
    ["backfill", "history", "--out", "f.parquet", "--state-out", "folder"],
    ["train", "f", "--outcomes", "h", "--target", "risk", "--train-until", "80%", "--model-out", "file"],
    ["score", "frame.parquet", "--model", "risk", "--out", "folder"],
    ["score", "frame.parquet", "--model", "risk", "--out", "file/scores.parquet"],
    ["decide", "orders.jsonl", "--out", "folder"],
]  # fmt: skip


@pytest.mark.parametrize("arguments", PLACES, ids=" ".join)
def test_a_place_that_cannot_be_written_is_told_before_anything_is_read(
    run: Run, arguments: list[str], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    code, said = run(*arguments)
    assert code == 2
    [line] = said.splitlines()
    assert line.startswith("preempt: cannot write ")
    assert (tmp_path / "file").read_text() == "mine"
    assert not list((tmp_path / "folder").iterdir())


def test_redis_that_does_not_answer_is_one_line(
    run: Run, broker, topic_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREEMPT_REDIS_URL", "redis://:secret@127.0.0.1:1/0")
    options = ("--broker", broker.bootstrap, "--topic-prefix", topic_prefix, "--model", "none")
    done = run("worker", *options)
    assert_one_clear_line(done, "redis://127.0.0.1:1/0")
    assert "secret" not in done[1]


def test_what_is_not_built_says_so(run: Run) -> None:
    assert_one_clear_line(run("gateway"), "gateway", "not built")


def test_parity_without_an_archive_is_one_line(run: Run, tmp_path: Path) -> None:
    assert_one_clear_line(run("parity", "--data-dir", str(tmp_path)), "archive", "--data-dir")


def test_a_folder_that_no_demo_made_is_left_alone(run: Run, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    done = run("demo", "--data-dir", str(tmp_path))
    assert_one_clear_line(done, "not empty", "--data-dir")
    assert [each.name for each in tmp_path.iterdir()] == ["mine.txt"]


def test_a_setting_of_the_wrong_type_is_one_line(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREEMPT_PARTITIONS", "many")
    done = run("worker", "--model", "none")
    assert_one_clear_line(done, "PREEMPT_PARTITIONS", "many")
