import threading
import time
from collections.abc import Generator
from contextlib import closing
from itertools import count, islice

import pytest

from features.pipeline import ahead

NAME = "ahead-of-a-test"


def is_running() -> bool:
    return any(thread.name == NAME for thread in threading.enumerate())


def numbers(made: list[int], most: int | None = None) -> Generator[int]:
    for number in islice(count(), most):
        made.append(number)
        yield number


def test_the_same_items_come_in_the_same_sequence() -> None:
    assert list(ahead(numbers([], 1000), 3, NAME)) == list(range(1000))
    assert not is_running()


def test_no_more_than_the_bound_is_made_ahead() -> None:
    made: list[int] = []
    with closing(ahead(numbers(made), 2, NAME)) as items:
        assert next(items) == 0
        deadline = time.monotonic() + 5
        while len(made) < 4 and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(0.05)
        assert len(made) == 4  # one taken, two waiting, one in hand
    assert not is_running()


def test_an_error_is_raised_in_its_place() -> None:
    def failing() -> Generator[int]:
        yield 1
        raise ValueError("broken")

    items = ahead(failing(), 1, NAME)
    assert next(items) == 1
    with pytest.raises(ValueError, match="broken"):
        next(items)
    assert not is_running()


def test_closing_a_chain_closes_every_stage_in_it() -> None:
    closed = []

    def source() -> Generator[int]:
        try:
            yield from count()
        finally:
            closed.append("source")

    def stage() -> Generator[int]:
        with closing(ahead(source(), 1, NAME)) as items:
            yield from items
        closed.append("never")

    def interrupted() -> None:
        with closing(ahead(stage(), 1, NAME)) as items:
            assert list(islice(items, 10)) == list(range(10))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert closed == ["source"]
    assert not is_running()
