"""What ends a worker that Faust would let wait for ever: a thread that watches from beside it."""

import logging
import os
import threading
import time

import faust
from confluent_kafka import KafkaException

from orders.errors import UserError
from streams.broker import check_broker
from streams.producer import DeliveryError

logger = logging.getLogger("streams.process")

STOP_SILENCE_S = 3.0  # a stop gives the broker so long to answer; a busy one takes a moment
STOPPED_WITHOUT_BROKER = (
    "stopped while the broker at %s does not answer: what was not committed will be delivered again"
)


def report(reason: BaseException) -> None:
    """Log what stopped the worker; with a traceback where it is not the broker."""
    expected = isinstance(reason, DeliveryError | KafkaException)
    logger.error(
        "worker stopped by %s: %s",
        type(reason).__name__,
        reason,
        exc_info=None if expected else (type(reason), reason, reason.__traceback__),
    )


class _BrokerWatch:
    """Asks every 2 s whether the broker is there, and says when it goes and when it comes back."""

    def __init__(self, bootstrap: str, patience: float) -> None:
        self._bootstrap = bootstrap
        self._patience = patience
        self._asked = self._answered = time.monotonic()
        self.silence = 0.0  # seconds without an answer, as of the last question

    def look(self) -> None:
        """Ask if it is time to; takes up to 2 s when no broker answers."""
        if time.monotonic() - self._asked < 2:
            return
        self._asked = time.monotonic()
        silent_before = self.silence
        if answers(self._bootstrap):
            self._answered, self.silence = time.monotonic(), 0.0
            if silent_before:
                logger.warning("the broker at %s answers again", self._bootstrap)
            return
        self.silence = time.monotonic() - self._answered
        if not silent_before:
            logger.warning(
                "no answer from the broker at %s for %.0f s; waiting up to %g s",
                *(self._bootstrap, self.silence, self._patience),
            )


class Watch:
    """Ends the process when one of the three patiences of `run_worker` is over.

    It runs in a thread of its own, so that it also sees an event loop that stands still.
    """

    def __init__(
        self,
        app: faust.App,
        worker: faust.Worker,
        bootstrap: str,
        *,
        broker_patience: float,
        settle_patience: float,
        stop_patience: float,
    ) -> None:
        self._app = app
        self._bootstrap = bootstrap
        self._worker = worker
        self._broker = _BrokerWatch(bootstrap, broker_patience)
        self._broker_patience = broker_patience
        self._settle_patience = settle_patience
        self._stop_patience = stop_patience

    def run(self, ended: threading.Event) -> None:
        """Watch until the worker has `ended`, or end the process."""
        now = settled = running = time.monotonic()
        while not ended.wait(0.25):
            self._broker.look()
            now = time.monotonic()
            if self._worker.should_stop or self._app.should_stop:
                # The stop would commit, and cannot.
                if self._broker.silence >= STOP_SILENCE_S and self._worker.crash_reason is None:
                    _exit_now(STOPPED_WITHOUT_BROKER % self._bootstrap)
                if now - running > self._stop_patience:
                    if self._worker.crash_reason is not None:
                        report(self._worker.crash_reason)
                    _exit_now(f"worker did not stop within {self._stop_patience:g} s")
                continue
            running = now
            if not self._app.rebalancing:
                settled = now
            elif now - settled > self._settle_patience:
                _exit_now(
                    f"the consumer group did not settle within {self._settle_patience:g} s: "
                    "worker stopped"
                )
            if self._broker.silence > self._broker_patience:
                _exit_now(
                    f"no answer from the broker at {self._bootstrap} for "
                    f"{self._broker_patience:g} s: worker stopped"
                )


def _exit_now(line: str) -> None:
    logger.error(line)
    logging.shutdown()
    os._exit(1)


def answers(bootstrap: str) -> bool:
    """Whether a broker answers within 2 s."""
    try:
        check_broker(bootstrap, timeout=2)
    except UserError:
        return False
    return True
