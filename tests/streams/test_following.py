"""What people change is looked for in a thread, and taken by the event loop."""

import logging
import queue
import threading
import time

import pytest

from serving.alerts import Alert
from streams.following import Follower

ALERT = Alert(kind="rules_switched", time=0, subject="v", text="t", text_zh="t")


class AwayError(Exception):
    pass


class Source:
    """Gives what the test puts into it, one look at a time."""

    def __init__(self) -> None:
        self.news: queue.Queue[str | Exception | None] = queue.Queue()
        self.used: list[tuple[str, str]] = []
        self.looks = 0

    def look(self) -> str | None:
        found = self.news.get()
        self.looks += 1
        if isinstance(found, Exception):
            raise found
        return found

    def take(self, found: str) -> list[Alert]:
        self.used.append((found, threading.current_thread().name))
        return [ALERT]

    def follower(self) -> Follower[str]:
        return Follower("things", self.look, self.take, every_s=0.001, unavailable=AwayError)


def until_taken(follower: Follower[str]) -> list[Alert]:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if alerts := list(follower.take()):
            return alerts
        time.sleep(0.001)
    raise AssertionError("nothing was found")


def test_what_is_found_is_used_by_whoever_takes_it_and_nothing_before():
    source = Source()
    with source.follower() as follower:
        assert list(follower.take()) == []
        source.news.put("one")
        assert until_taken(follower) == [ALERT]
        source.news.put(None)
        source.news.put("two")
        assert until_taken(follower) == [ALERT]
        source.news.put(None)
    assert source.used == [("one", "MainThread"), ("two", "MainThread")]


def test_it_does_not_look_again_before_what_it_found_is_taken():
    source = Source()
    with source.follower():
        source.news.put("one")
        source.news.put("two")
        time.sleep(0.1)  # would be time for many looks
        assert source.looks == 1


def test_an_outage_is_said_once_and_so_is_its_end(caplog: pytest.LogCaptureFixture):
    source = Source()
    with caplog.at_level(logging.WARNING), source.follower() as follower:
        for _ in range(2):
            for news in (AwayError("gone"), AwayError("gone"), None, "back"):
                source.news.put(news)
            until_taken(follower)
        source.news.put(None)
    said = [record.getMessage() for record in caplog.records]
    assert said == 2 * ["gone; the things read last stay in use", "things are read again"]


def test_a_fault_in_a_look_is_told_and_does_not_end_the_following(
    caplog: pytest.LogCaptureFixture,
):
    source = Source()
    with source.follower() as follower:
        source.news.put(ZeroDivisionError("a fault"))
        source.news.put("one")
        assert until_taken(follower) == [ALERT]
        source.news.put(None)
    assert "looking for new things failed" in caplog.text


def test_a_fault_in_a_take_does_not_end_the_following():
    def take(found: str) -> list[Alert]:
        if found == "bad":
            raise ZeroDivisionError
        return [ALERT]

    source = Source()
    with Follower("things", source.look, take, every_s=0.001, unavailable=AwayError) as follower:
        source.news.put("bad")
        with pytest.raises(ZeroDivisionError):
            until_taken(follower)
        source.news.put("good")
        assert until_taken(follower) == [ALERT]
        source.news.put(None)
