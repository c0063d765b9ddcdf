"""The command line: what exists, and how a mistake ends."""

from collections.abc import Callable
from pathlib import Path

import pytest

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
    build_app()([*name.split(), "--help"], exit_on_error=False, result_action="return_value")
    shown = capsys.readouterr().out
    assert "Usage: preempt" in shown
    if name != "rules":  # a group
        assert f"preempt {name}" in shown.replace("Usage: preempt", "", 1)


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
    assert_one_clear_line(run("rules", "lint"), "rules lint", "not built")


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
