"""`preempt worker`: one Faust worker."""

import logging
import sys
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from preempt.console import console
from preempt.options import Broker
from preempt.settings import load_settings


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
    tables). What is not given comes from the environment, `PREEMPT_<NAME>`.

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
    console.print(f"Worker ({role}) on {settings.broker}; Ctrl-C or SIGTERM stops it.")
    from preempt.bootstrap import build_archive_worker, build_scoring_worker
    from streams.worker import run_worker

    if role == "archive":
        app, archive = build_archive_worker(settings)
        code = run_worker(app)
        if code == 0:
            archive.compact()
    else:
        code = run_worker(build_scoring_worker(settings, state))
    sys.exit(code)
