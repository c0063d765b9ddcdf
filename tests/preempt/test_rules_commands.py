"""The life of a rule set on the command line."""

import json
from pathlib import Path

import pytest

from preempt.cli import main
from serving.policy import Policy, default_text

SHIPPED = Policy.default().version


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, tmp_path: Path):
    """Run `preempt rules …` in this process, in a folder of its own: exit code, stdout, stderr."""

    def run_here(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr("sys.argv", ["preempt", "rules", *arguments])
        with pytest.raises(SystemExit) as stopped:
            main()
        shown = capsys.readouterr()
        return int(stopped.value.code or 0), shown.out, shown.err

    return run_here


@pytest.fixture
def rules(tmp_path: Path) -> str:
    """The name of a rules file."""
    text = default_text().replace("points = 40", "points = 45", 1).replace("from = 80", "from = 75")
    (tmp_path / "my-rules.toml").write_text(text)
    return "my-rules.toml"


def parsed(done: tuple[int, str, str]):
    assert done[0] == 0, done[2]
    return json.loads(done[1])


def test_from_a_draft_to_live_and_back(run, rules: str) -> None:
    drafted = parsed(run("draft", rules, "--by", "ana", "--comment", "spring", "--json"))
    version = drafted["version"]
    assert drafted["new"]
    assert not parsed(run("draft", rules, "--by", "ben", "--json"))["new"]
    assert parsed(run("shadow", version[:8], "--by", "ana", "--json")) == {"shadow": version}
    assert parsed(run("shadow", "off", "--by", "ana", "--json")) == {"shadow": None}
    code, said, _ = run("publish", version[:8], "--by", "ana")
    assert code == 0
    assert "not live yet" in said
    assert "preempt rules backtest" in said
    assert run("publish", version, "--by", "ana")[0] == 1
    approved = parsed(run("publish", version, "--by", "ben", "--json"))
    assert approved == {"version": version, "live": True, "why_not": None}
    assert run("rollback", "--by", "cleo", "--comment", "too many calls")[0] == 0
    states = {each["version"]: each["state"] for each in parsed(run("list", "--json"))}
    assert states == {SHIPPED: "live", version: "retired"}
    events = parsed(run("history", "--json"))
    assert [each["number"] for each in events] == list(range(1, len(events) + 1))
    assert events[-2] | {"at": 0} == {
        "number": events[-2]["number"],
        "version": SHIPPED,
        "kind": "rolled_back",
        "by": "cleo",
        "at": 0,
        "comment": "too many calls",
        "against": version,
        "changed_share": None,
    }
    assert all(e["version"] == version for e in parsed(run("history", version, "--json")))
    for shown in (run("list"), run("history")):
        assert shown[0] == 0
        assert version in shown[1]


def test_show_prints_a_file_that_is_the_same_version(run, rules: str, tmp_path: Path) -> None:
    comment = "two\nlines"
    version = parsed(run("draft", rules, "--by", "ana", "--comment", comment, "--json"))["version"]
    _, shown, _ = run("show", version)
    assert Policy.parse(shown, "").version == version
    assert "# two\n# lines\n" in shown
    whole = parsed(run("show", version, "--json"))
    assert whole["content"] == (tmp_path / rules).read_text()
    assert (whole["state"], whole["backtest"]) == ("draft", None)
    assert Policy.parse(run("show", "live")[1], "").version == SHIPPED


def test_diff_of_a_version_and_a_file(run, rules: str) -> None:
    found = parsed(run("diff", "live", rules, "--json"))
    assert found["before"] == SHIPPED
    changed = {
        (each["where"], each["field"], each["before"], each["after"])
        for each in found["differences"]
    }
    assert changed == {
        ("rule virtual_phone", "points", 40.0, 45.0),
        ("tiers", "sms.from", 80.0, 75.0),
    }
    said = run("diff", "live", rules)[1]
    assert "~ rule virtual_phone: points  40.0 → 45.0" in said
    assert "\x1b" not in said  # colours are for terminals
    assert "no difference" in run("diff", "live", SHIPPED[:6])[1]


def test_lint_says_all_that_is_wrong_and_draft_stores_none_of_it(
    run, rules: str, tmp_path: Path
) -> None:
    file = tmp_path / rules
    whole = file.read_text()
    assert run("lint", rules)[0] == 0
    file.write_text(
        whole.replace('address_changed"\npoints', 'adress"\npoints').replace("-40", "40")
    )
    for command in (("lint", rules), ("draft", rules, "--by", "ana")):
        code, out, err = run(*command)
        assert code == 1
        errors = [line for line in (out + err).splitlines() if ": error: " in line]
        assert len(errors) == 2
        assert all(line.startswith(f"{rules}:") for line in errors)
        assert "2 errors" in err.splitlines()[-1]
    code, out, _ = run("lint", rules, "--json")
    assert code == 1
    found = json.loads(out)
    assert [each["severity"] for each in found["findings"]].count("error") == 2
    assert found["version"] is None
    assert len(parsed(run("list", "--json"))) == 1


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["lint", "absent.toml"], "absent.toml"),
        (["publish", "zz", "--by", "ana"], "'zz'"),
        (["publish", SHIPPED, "--by", "ana"], "is live already"),
        (["shadow", SHIPPED, "--by", "ana"], "is live"),
        (["rollback", "--by", "ana", "--comment", "why"], "nothing before"),
        (["rollback", "--by", "ana", "--comment", " "], "reason"),
        (["publish", SHIPPED, "--by", " "], "--by"),
        (["show", "shadow"], "shadow"),
        (["diff", "live", "absent.toml"], "absent.toml"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_done_is_one_line(run, arguments: list[str], word: str) -> None:
    code, out, err = run(*arguments)
    assert code == 1
    assert not out
    [line] = err.splitlines()
    assert word in line


def test_a_share_that_is_none_is_one_line(run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREEMPT_PUBLISH_ALONE_SHARE", "2")
    code, _, err = run("publish", SHIPPED, "--by", "ana")
    assert code == 1
    assert "PREEMPT_PUBLISH_ALONE_SHARE" in err


def test_a_url_of_another_database_is_one_line(run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREEMPT_DATABASE_URL", "mysql://preempt:secret@h/x")
    code, _, err = run("list")
    assert code == 1
    assert "PREEMPT_DATABASE_URL must be" in err
    assert "secret" not in err


def test_lint_warns_of_a_list_that_nobody_made(
    run,
    rules: str,
    tmp_path: Path,
    valkey_url: str,
    topic_prefix: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file = tmp_path / rules
    file.write_text(file.read_text().replace("LIST('blocked')", "LIST('bloked')"))
    assert "bloked" not in run("lint", rules)[1]  # without a Redis nobody knows
    monkeypatch.setenv("PREEMPT_REDIS_URL", valkey_url)
    monkeypatch.setenv("PREEMPT_TOPIC_PREFIX", topic_prefix)
    code, said, _ = run("lint", rules)
    assert code == 0
    assert "warning: rule blocked" in said
    assert "'bloked'" in said
    assert "'watched'" not in said  # it is there from the start
