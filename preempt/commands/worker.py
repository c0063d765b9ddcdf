"""`preempt worker`: one Faust worker."""

import logging
import signal
import sys
import threading
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from preempt.console import console
from preempt.options import Broker
from preempt.settings import load_settings

BROKER_PATIENCE_S = 10.0


def worker(
    *,
    role: Literal["score", "archive"] = "score",
    state: Path | None = None,
    name: str | None = None,
    broker: Broker | None = None,
    topic_prefix: str | None = None,
    model: str | None = None,
    rules: Path | None = None,
    data_dir: Path | None = None,
    store: Literal["memory", "redis"] | None = None,
    verbose: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Run one worker until SIGTERM or Ctrl-C; start several to share the partitions.

    A worker that scores runs the agents `score` (orders to decisions) and `feedback` (outcomes to
    what is known); one that archives runs `archive` (orders, outcomes and decisions to Delta
    tables). It waits up to 10 s for a broker to answer. What is not given comes from the
    environment, `PREEMPT_<NAME>`.

    For example:

        preempt worker --broker 127.0.0.1:9092 --model risk
        preempt worker --role archive --data-dir data
        preempt worker --model none --rules my-rules.toml

    Args:
        role: What the worker does.
        state: Snapshot of the feature state to begin with, from `preempt backfill --state-out`.
        name: Of this worker in its group, unique there. Under the same name it has its partitions
            back at once after a crash; the embedded broker needs one.
        broker: host:port of Kafka.
        topic_prefix: Put before the name of every topic.
        model: A registered name, a URI, a folder, or "none" for rules alone.
        rules: A rules file, for as long as the worker runs; by default what `preempt rules publish` makes live.
        data_dir: Folder of the archive and, unless PREEMPT_TRACKING_URI says else, the registry.
        store: Where feature state lives.
        verbose: Log what happens, not only what goes wrong.
    """
    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )
    settings = load_settings(
        broker=broker,
        worker_name=name,
        topic_prefix=topic_prefix,
        model=model,
        rules=rules,
        data_dir=data_dir,
        store=store,
    )
    _wait_for_broker(settings.broker)
    from preempt.bootstrap import build_archive_worker, build_scoring_worker
    from streams.worker import run_worker

    started = f"Worker ({role}) on {settings.broker}; Ctrl-C or SIGTERM stops it."
    if role == "archive":
        app, archive = build_archive_worker(settings)
        console.print(started)
        code = run_worker(app)
        if code == 0:
            archive.compact()
    else:
        app = build_scoring_worker(settings, state)
        console.print(started)
        code = run_worker(app)
    sys.exit(code)


def _wait_for_broker(bootstrap: str) -> None:
    """Wait up to 10 s; a signal ends it at once.

    A thread asks, since librdkafka would hold the signal back until it gives up.

    Raises:
        UserError: No broker answers.
        KeyboardInterrupt: SIGINT or SIGTERM came, as until the worker itself runs.
    """
    # Also where the shell started us with SIGINT ignored, as it does in the background.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    from orders.errors import UserError
    from streams.broker import check_broker

    failed: list[UserError] = []

    def ask() -> None:
        try:
            check_broker(bootstrap, BROKER_PATIENCE_S)
        except UserError as error:
            failed.append(error)

    asking = threading.Thread(target=ask, name="broker-question", daemon=True)
    try:
        console.print(f"Waiting for the broker at {bootstrap}, up to {BROKER_PATIENCE_S:g} s …")
        asking.start()
        asking.join()
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"stopped before the broker at {bootstrap} answered; nothing was read or decided"
        ) from None
    if failed:
        raise failed[0]
