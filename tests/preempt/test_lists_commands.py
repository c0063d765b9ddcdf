"""`preempt lists …`: what people type, and what they are told."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from preempt.cli import main
from preempt.list_shown import iso
from preempt.redis_stores import list_store
from preempt.settings import load_settings

Run = Callable[..., tuple[int, str, str]]
WHO = ("--by", "ana", "--comment", "ring of 12 March")


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
    tmp_path: Path,
    valkey_url: str,
    topic_prefix: str,
) -> Run:
    """Run `preempt lists …` in this process: exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PREEMPT_REDIS_URL", valkey_url)
    monkeypatch.setenv("PREEMPT_TOPIC_PREFIX", topic_prefix)
    monkeypatch.setenv("COLUMNS", "120")

    def run_here(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["preempt", "lists", *arguments])
        with pytest.raises(SystemExit) as stopped:
            main()
        shown = capsys.readouterr()
        return int(stopped.value.code or 0), shown.out, shown.err

    return run_here


def done(said: tuple[int, str, str]) -> Any:
    code, out, err = said
    assert code == 0, err
    return json.loads(out)


def assert_refused(said: tuple[int, str, str], code: int, *words: str) -> None:
    assert said[0] == code
    assert said[1] == ""
    [line] = [line for line in said[2].splitlines() if line.startswith("preempt: ")]
    for word in words:
        assert word in line


def in_days(days: int) -> str:
    return (datetime.now(UTC) + timedelta(days=days)).isoformat(timespec="seconds")


def test_a_value_is_added_shown_checked_and_removed(run: Run) -> None:
    added = done(run("add", "blocked", "device", "Kiosk-7", "--for", "7d", *WHO, "--json"))
    assert (added["list"], added["added"]) == ("blocked", 1)
    again = done(run("add", "blocked", "device", "KIOSK-7", "--until", in_days(9), *WHO, "--json"))
    assert again["added"] == 0
    [shown] = done(run("show", "blocked", "--json"))
    assert (shown["value"], shown["author"], shown["comment"]) == (
        "KIOSK-7", "ana", "ring of 12 March",
    )  # fmt: skip
    assert shown["until"] == again["until"] > added["until"]
    [checked] = done(run("check", "device", " kiosk-7", "--json"))
    assert (checked["list"], checked["snoozed_rule"], checked["counts_now"]) == (
        "blocked", None, True,
    )  # fmt: skip
    assert done(run("remove", "blocked", "device", "kiosk-7", *WHO, "--json"))["removed"]
    assert done(run("show", "blocked", "--json")) == []
    assert_refused(run("remove", "blocked", "device", "kiosk-7", *WHO), 1, "does not hold")
    log = done(run("log", "--json"))
    assert [each["what"] for each in log] == ["remove", "add", "add"]


def test_a_list_of_ones_own(run: Run) -> None:
    made = run("create", "bad_segments", "--kind", "block", *WHO)
    assert made[0] == 0
    assert "IN LIST('bad_segments')" in made[1]
    done(run("add", "bad_segments", "ip_prefix", "203.0.113.0/24", *WHO, "--json"))
    lists = {each["name"]: each for each in done(run("list", "--json"))}
    assert lists.keys() == {"allowed", "bad_segments", "blocked", "watched"}
    assert (lists["bad_segments"]["kind"], lists["bad_segments"]["entries"]) == ("block", 1)
    assert lists["blocked"]["entries"] == 0
    assert_refused(run("create", "bad_segments", "--kind", "allow", *WHO), 1, "already")


def test_a_rule_is_snoozed_and_counts_again(run: Run) -> None:
    code, said, noted = run("snooze", "device_burst", "device", "k", "--for", "2w", *WHO)
    assert (code, noted) == (0, "")
    assert "device_burst does not count for device k until" in said
    [checked] = done(run("check", "device", "K", "--json"))
    assert (checked["list"], checked["snoozed_rule"]) == (None, "device_burst")
    assert done(run("unsnooze", "device_burst", "device", "k", *WHO, "--json"))["unsnoozed"]
    assert_refused(run("unsnooze", "device_burst", "device", "k", *WHO), 1, "is not snoozed")


def test_a_snooze_of_a_rule_that_is_not_there_is_noted(run: Run) -> None:
    code, _, noted = run("snooze", "device_brst", "device", "k", "--for", "1h", *WHO)
    assert code == 0
    assert "device_brst" in noted


WRONG = [
    (("add", "blocked", "card", "1", *WHO), 2, "no entity; there are account"),
    (("add", "blocked", "device", "", *WHO), 2, "empty"),
    (("add", "blocked", "ip", "300.1.1.1", *WHO), 2, "is no ip"),
    (("add", "blocked", "device", "x", "--until", "2020-01-01T00:00:00Z", *WHO), 2, "is past"),
    (("add", "blocked", "device", "x", "--for", "1d", "--until", "2099-01-01T00:00:00Z", *WHO), 2, "one of"),
    (("add", "blocked", "device", "x", "--for", "1d", "--since", "2099-01-01T00:00:00Z", *WHO), 2, "no order"),
    (("add", "blocked", "device", "x", "--by", "", "--comment", "x"), 2, "--by is empty"),
    (("add", "nosuch", "device", "x", *WHO), 1, "no list 'nosuch'"),
    (("show", "nosuch"), 1, "no list 'nosuch'"),
    (("create", "No!", "--kind", "block", *WHO), 1, "is no name of a list"),
    (("snooze", "device_burst", "device", "x", *WHO), 2, "--for or --until"),
    (("check", "ip", "x"), 2, "is no ip"),
    (("import", "blocked", "none.csv", *WHO), 1, "cannot read none.csv"),
    (("export", "blocked", "--out", "no/such/folder.csv"), 1, "cannot write"),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "code", "words"), WRONG)
def test_a_mistake_is_one_line(run: Run, arguments: tuple[str, ...], code: int, words: str) -> None:
    assert_refused(run(*arguments), code, words)
    assert done(run("log", "--json")) == []


@pytest.mark.parametrize("option", [("--for", "soon"), ("--for", "0d"), ("--until", "2099-01-01")])
def test_a_time_that_is_none_is_wrong_use(run: Run, option: tuple[str, str]) -> None:
    assert run("add", "blocked", "device", "x", *option, *WHO)[0] == 2


def test_without_redis_it_says_what_to_set(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PREEMPT_REDIS_URL")
    assert_refused(run("list"), 1, "PREEMPT_REDIS_URL")


def test_a_server_that_cannot_run_scripts_is_one_line(
    run: Run, monkeypatch: pytest.MonkeyPatch, valkey_url: str
) -> None:
    import redis

    with redis.Redis.from_url(valkey_url) as client:
        rights = ("on", ">secret", "~*", "+@all", "-@scripting")
        client.execute_command("ACL SETUSER", "reader", *rights)
    monkeypatch.setenv("PREEMPT_REDIS_URL", valkey_url.replace("://", "://reader:secret@"))
    said = run("add", "blocked", "device", "x", *WHO)
    assert_refused(said, 1, "cannot be used", "PREEMPT_REDIS_URL")


def test_a_file_is_imported_and_what_is_exported_imports_again(run: Run, tmp_path: Path) -> None:
    until = in_days(30)
    (tmp_path / "in.csv").write_text(
        "\ufeffentity,value,until,comment\r\n"
        f'ip_prefix,203.0.113.0/24,,"proxies, ""cheap"""\r\n'
        f"device,a,{until},\r\ndevice,b,7d,\r\n"
        'device,"two\nlines",never,\r\ndevice,A,,again\r\n',
        encoding="utf-8",
    )
    imported = done(run("import", "blocked", "in.csv", *WHO, "--json"))
    assert imported == {"list": "blocked", "added": 4, "renewed": 0, "skipped": 0}
    shown = {each["value"]: each for each in done(run("show", "blocked", "--json"))}
    assert shown.keys() == {"203.0.113.0/24", "A", "b", "two\nlines"}
    assert shown["203.0.113.0/24"]["comment"] == 'proxies, "cheap"'
    assert shown["b"]["comment"] == "ring of 12 March"
    assert shown["A"]["until"] is None
    assert run("export", "blocked", "--out", "out.csv")[0] == 0
    run("create", "copy", "--kind", "block", *WHO)
    assert (
        done(run("import", "copy", "out.csv", "--by", "bo", "--comment", "x", "--json"))["added"]
        == 4
    )
    copied = done(run("show", "copy", "--json"))
    assert sorted(copied, key=str) == sorted(shown.values(), key=str)
    assert run("export", "copy")[1].splitlines()[0] == "entity,value,until,comment,since,author"


BAD = (
    "entity,value,until\ndevice,good,\nip,999.1.1.1,\ndevice,,\ncard,1,\n"
    "device,x,2020-01-01T00:00:00Z\ndevice,y,soon\ndevice,z,2099-01-01\ndevice,a,,more\ndevice\n"
)


def test_a_file_with_bad_rows_changes_nothing_unless_they_are_skipped(
    run: Run, tmp_path: Path
) -> None:
    (tmp_path / "bad.csv").write_text(BAD)
    said = run("import", "blocked", "bad.csv", *WHO)
    assert_refused(said, 1, "8 of 9 rows", "nothing was written", "--skip-bad")
    assert "line 3: '999.1.1.1' is no ip" in said[2]
    assert said[2].count("\nline ") == 4  # the first five
    assert done(run("show", "blocked", "--json")) == []
    imported = done(run("import", "blocked", "bad.csv", *WHO, "--skip-bad", "--json"))
    assert (imported["added"], imported["skipped"]) == (1, 8)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "it has nothing"),
        (b"value,until\nx,\n", "it has value, until"),
        (b"entity,value,why\n", "it has entity, value, why"),
        (b"entity,value\n", "has no entries"),
        (b"entity,value\ndevice,\xff\n", "not UTF-8"),
        (b'entity,value\ndevice,"x\n', "is not CSV after line"),
        (b"entity,value\ndevice," + b"x" * 200_000, "is not CSV after line"),
    ],
)
def test_a_file_that_is_no_list_is_one_line(
    run: Run, tmp_path: Path, content: bytes, words: str
) -> None:
    (tmp_path / "file.csv").write_bytes(content)
    assert_refused(run("import", "blocked", "file.csv", *WHO), 1, words)
    assert done(run("log", "--json")) == []


def test_an_entry_that_has_ended_is_shown_as_over_and_not_exported(run: Run) -> None:
    from preempt.clock import wall_clock
    from serving.list_entries import Entry, Why

    now = wall_clock()
    gone = Entry(
        entity="device", value="gone", since=now - 2_000, until=now - 1_000, author="ana", comment="x"
    )  # fmt: skip
    list_store(load_settings()).add("watched", [gone], Why("ana", "x"))
    assert "over 20" in run("show", "watched")[1]
    assert "over 20" in run("check", "device", "gone")[1]
    assert run("export", "watched")[1].count("\n") == 1
    lists = {each["name"]: each["entries"] for each in done(run("list", "--json"))}
    assert lists["watched"] == 0


def test_odd_characters_do_not_reach_the_terminal(run: Run) -> None:
    run("add", "watched", "device", "\x1b[31mred[bold]", *WHO)
    shown = run("show", "watched")[1]
    assert "\x1b" not in shown
    assert "[31mred[bold]" in shown


def test_times_are_written_in_utc() -> None:
    assert iso(1_700_000_000_999) == "2023-11-14T22:13:20Z"
    assert iso(2**62) is None
