"""The last day of a simulated shop, streamed through workers, watched, and archived."""

import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack

import polars as pl

from orders.errors import UserError
from orders.tables import scan_orders, scan_outcomes
from preempt.bootstrap import prepare_topics, wall_clock
from preempt.console import console
from preempt.demo_folder import DemoFolder
from preempt.live_snapshot import LiveSnapshot, RollingView, order_facts
from preempt.live_stream import Answered, Decided, Publisher, stream, wait_until_assigned
from preempt.live_view import LiveView, SnapshotView
from preempt.machine import machine
from preempt.processes import ChildProcess
from preempt.settings import Settings
from preempt.terminal_picture import save_picture
from preempt.traffic import end_offsets, events_of
from streams.archive_table import ArchiveTable
from streams.topics import Topics
from training.live_frame import Interval, LiveDay
from training.simulation.config import DAY, SimulationConfig
from training.simulation.world import build_world

ARCHIVE_S = 60.0


def live_start_of(config: SimulationConfig) -> int:
    """When the last day begins, UTC ms; of a shorter simulation its second half."""
    return max(config.end - DAY, (config.start + config.end) // 2)


def live_day(
    folder: DemoFolder,
    settings: Settings,
    config: SimulationConfig,
    speed: float | None,
    running: ExitStack,
) -> LiveDay:
    """Stream the last day through workers, which stay up, and show it."""
    topics = prepare_topics(settings)
    live_start = live_start_of(config)
    start = pl.lit(live_start).cast(pl.Datetime("ms", "UTC"))
    end = pl.lit(config.end).cast(pl.Datetime("ms", "UTC"))
    orders = scan_orders(folder.history).filter(pl.col("event_time") >= start).collect()
    outcomes = (
        scan_outcomes(folder.history)
        .filter((pl.col("event_time") >= start) & (pl.col("event_time") < end))
        .collect()
    )
    truth = (
        pl.scan_parquet(folder.history / "truth.parquet")
        .filter(pl.col("event_time") >= start)
        .collect()
    )
    events = events_of(orders, outcomes, orders_topic=topics.orders, outcomes_topic=topics.outcomes)
    worker = running.enter_context(_worker(folder, settings, "score"))
    archiver = running.enter_context(_worker(folder, settings, "archive"))
    with console.status("Starting the worker"):
        wait_until_assigned(settings.broker, topics.score_group, worker)
    rolling = RollingView(total=orders.height, facts=order_facts(orders))
    publisher = Publisher(settings.broker, events, speed=speed)
    busiest: LiveSnapshot | None = None
    with LiveView(console) as view:

        def on_tick(decided: Decided, fresh: Sequence[Answered]) -> None:
            nonlocal busiest
            rolling.add(fresh)
            snapshot = rolling.snapshot(
                now_ms=wall_clock(),
                sent=publisher.sent_to(topics.orders),
                dead_letters=decided.dead_letters,
            )
            view.show(snapshot, now_s=time.monotonic())
            if busiest is None or snapshot.orders_per_s > busiest.orders_per_s:
                busiest = snapshot

        decided = stream(
            settings.broker,
            topics,
            publisher,
            orders=orders.height,
            worker=worker,
            on_tick=on_tick,
        )
    if busiest is not None:
        save_picture(SnapshotView(busiest), folder.picture)
    _wait_for_archive(settings, topics, archiver)
    promotion = build_world(config).calendar.promotions[-1]
    return LiveDay(
        orders=orders,
        decisions=decided.frame(),
        truth=truth,
        day=Interval(live_start, config.end),
        peak=Interval(promotion.start, promotion.end),
        dead_letters=decided.dead_letters,
        seed=config.seed,
        machine=machine(),
    )


def _wait_for_archive(settings: Settings, topics: Topics, archiver: ChildProcess) -> None:
    """Wait until every event and decision is in its Delta table.

    Raises:
        UserError: the archive worker ended, or is not done within a minute.
    """
    awaited = [
        (ArchiveTable(settings.archive_dir / name), (topic, partition), end - 1)
        for name, topic in (
            ("orders", topics.orders),
            ("outcomes", topics.outcomes),
            ("decisions", topics.decisions),
        )
        for partition, end in end_offsets(settings.broker, topic).items()
    ]
    deadline = time.monotonic() + ARCHIVE_S
    with console.status("Waiting for the archive"):
        while awaited := [each for each in awaited if each[0].last_offset(each[1]) < each[2]]:
            for table, _, _ in awaited:
                table.refresh()
            if not archiver.running or time.monotonic() > deadline:
                raise UserError(
                    f"the archive is not complete; its log {archiver.log} ends: "
                    f"{archiver.log_tail() or 'nothing'}"
                )
            time.sleep(0.2)


def _worker(folder: DemoFolder, settings: Settings, role: str) -> ChildProcess:
    command = [sys.executable, "-m", "preempt", "worker", "--role", role]
    if role == "score":
        command += ["--state", str(folder.state)]
    return ChildProcess(
        command, log=folder.path / f"worker-{role}.log", environment=settings.environment()
    )
