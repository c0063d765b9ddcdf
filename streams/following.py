"""What a worker goes by and people change while it runs: looked for in a thread, taken between batches."""

import logging
import threading
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Generic, TypeVar

from serving.alerts import Alert

logger = logging.getLogger("streams.process")

T = TypeVar("T")


class Follower(Generic[T]):
    """Follows one thing that people change; a context manager around the life of a worker.

    A thread of its own looks again and again, since on a busy worker each turn of the event loop
    takes a batch's time. What it found waits until the event loop takes it, before a batch.

    Args:
        what: its name in logs, in the plural.
        look: fetch and prepare it, in the thread; None: nothing is new.
        take: use it, in the event loop; returns alerts to be sent.
        every_s: seconds between two looks.
        unavailable: what `look` raises while it cannot be had. What was taken last then stays in
            use, and one warning begins each outage.
    """

    def __init__(
        self,
        what: str,
        look: Callable[[], T | None],
        take: Callable[[T], Sequence[Alert]],
        *,
        every_s: float,
        unavailable: type[Exception],
    ) -> None:
        self._what = what
        self._look = look
        self._take = take
        self._every_s = every_s
        self._unavailable = unavailable
        self._found: T | None = None
        self._taken = threading.Event()  # the next look waits for it: `look` builds on what is used
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._follow, name=f"follow-{what}", daemon=True)

    def take(self) -> Sequence[Alert]:
        """Use what was found, if anything was."""
        found = self._found
        if found is None:
            return ()
        self._found = None
        try:
            return self._take(found)
        finally:
            self._taken.set()

    def __enter__(self) -> "Follower[T]":
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._taken.set()
        self._thread.join(timeout=5)

    def _follow(self) -> None:
        away = False
        while not self._ended.wait(self._every_s):
            try:
                found = self._look()
            except self._unavailable as error:
                if not away:
                    logger.warning("%s; the %s read last stay in use", error, self._what)
                away = True
                continue
            except Exception:  # a fault of ours must not end the following in silence
                logger.exception("looking for new %s failed; trying again", self._what)
                continue
            if away:
                logger.warning("%s are read again", self._what)
            away = False
            if found is not None:
                self._taken.clear()
                if self._ended.is_set():
                    return
                self._found = found
                self._taken.wait()
