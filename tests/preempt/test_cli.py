"""The command line: what exists, and how a mistake ends."""

import importlib
import inspect
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from cyclopts import App

from preempt.cli import COMMANDS, build_app, main

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
    if name != "rules":  # a group
        assert f"preempt {name}" in shown.replace("Usage: preempt", "", 1)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_text_of_a_command_in_the_list_is_the_first_line_of_its_docstring(name: str) -> None:
    module, member = COMMANDS[name].where.split(":")
    command = getattr(importlib.import_module(f"preempt.commands.{module}"), member)
    described = (command.help if isinstance(command, App) else inspect.getdoc(command)) or ""
    assert COMMANDS[name].text == described.splitlines()[0]


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
    ["report", "--from", "2026-03-01", "--to", "2026-03-02T00:00:00Z", "--out", "x"],
    ["gateway", "--port", "0"],
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
