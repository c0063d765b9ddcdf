"""A stage of work in a thread of its own, a bounded number of items ahead of who takes them."""

import threading
from collections.abc import Generator
from contextlib import suppress
from queue import Empty, Queue
from typing import TypeVar

T = TypeVar("T")


class _End:
    """What comes after the last item."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


def ahead(items: Generator[T], most: int, name: str) -> Generator[T]:
    """The same items in the same sequence; `items` runs in a thread that is called `name`.

    At most `most` items wait, beside the one being made and the one last taken. An error in
    `items` is raised here, in its place. Closing this closes `items`, in its thread, and returns
    when that has ended; use `contextlib.closing`, so that it also happens after an error.
    """
    waiting: Queue[T | _End] = Queue(most)
    closed = threading.Event()

    def run() -> None:
        error = None
        try:
            for item in items:
                waiting.put(item)
                if closed.is_set():
                    break
        except BaseException as raised:  # handed on to who takes the items
            error = raised
        finally:
            items.close()
        if not closed.is_set():
            waiting.put(_End(error))

    # A daemon: a second Ctrl-C while this waits for the thread ends the program all the same.
    thread = threading.Thread(target=run, name=name, daemon=True)
    thread.start()
    try:
        while True:
            item = waiting.get()
            if isinstance(item, _End):
                if item.error is not None:
                    raise item.error
                return
            yield item
    finally:
        closed.set()
        # The thread may be waiting for room. It puts one item more at most, then sees the mark.
        with suppress(Empty):
            while True:
                waiting.get_nowait()
        thread.join()
