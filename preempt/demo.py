"""The main job, end to end, on the embedded stack: history, model, live day, summary, report."""

import os
import platform
import shutil
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import polars as pl

from features.feature_set import attributes_of, feature_set
from features.frame_file import frame_writer
from features.memory import InMemoryState
from features.replay import replay
from orders.errors import UserError
from orders.tables import scan_orders, scan_outcomes
from preempt.bootstrap import build_policy, prepare_topics, wall_clock
from preempt.console import console, progress
from preempt.embedded import EmbeddedStack
from preempt.live_snapshot import LiveSnapshot, RollingView, order_facts
from preempt.live_stream import Answered, Decided, Publisher, stream, wait_until_assigned
from preempt.live_view import LiveView, SnapshotView
from preempt.processes import ChildProcess, FolderLock
from preempt.settings import Settings, load_settings
from preempt.terminal_picture import save_picture
from preempt.traffic import end_offsets, events_of
from streams.archive_table import ArchiveTable
from streams.topics import Topics
from training.live_day import summarise
from training.live_frame import Interval, LiveDay
from training.live_report import write_report
from training.live_summary import Summary
from training.simulation.config import DAY, SimulationConfig
from training.simulation.dataset import write_dataset
from training.simulation.world import build_world
from training.tracking import record
from training.train import Recipe, train_model

MARKER = ".preempt-demo"
MADE_ANEW = ("archive", "broker", "history", "valkey")  # folders that a run begins without
ARCHIVE_S = 60.0
FOR_EVER_S = 1e12  # simulated time is not the present


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """What the demo is to do.

    Attributes:
        orders: Orders in all, history and live day.
        days: Days in all; the last one is the live day.
        seed: Of the simulation and the training.
        speed: Seconds of event time in one second of the live day; None: as fast as it goes.
        data_dir: Where everything is kept.
    """

    orders: int
    days: float
    seed: int
    speed: float | None
    data_dir: Path


class DemoFolder:
    """The data folder of a demo: one demo at a time, nothing of anybody else's is touched."""

    def __init__(self, folder: Path) -> None:
        self.path = folder.resolve()
        self.history = self.path / "history"
        self.frame = self.path / "frame.parquet"
        self.state = self.path / "state.snapshot"
        self.summary = self.path / "summary.json"
        self.report = self.path / "report.html"
        self.picture = self.path / "live.svg"  # the live table at its busiest

    @contextmanager
    def claimed(self) -> Iterator[None]:
        """Hold the folder, and begin without what an earlier run left, save the registry.

        Raises:
            UserError: it is in use, cannot be written, or holds something else.
        """
        marker = self.path / MARKER
        try:
            if self.path.exists() and any(self.path.iterdir()) and not marker.exists():
                raise UserError(
                    f"{self.path} is not empty and no demo made it: choose another --data-dir"
                )
            self.path.mkdir(parents=True, exist_ok=True)
            marker.touch()
        except OSError as error:
            raise UserError(
                f"cannot write to {self.path}: {error.strerror}; choose another --data-dir"
            ) from None
        lock = FolderLock(self.path, what="a demo")
        lock.acquire()
        try:
            for name in ("broker", "valkey"):  # perhaps `preempt up` runs on them
                server = FolderLock(self.path / name, what=f"the {name}")
                server.acquire()
                server.release()
            for name in MADE_ANEW:
                shutil.rmtree(self.path / name, ignore_errors=True)
            for file in (self.frame, self.state, self.summary, self.report, self.picture):
                file.unlink(missing_ok=True)
            yield
        finally:
            lock.release()


@dataclass(slots=True)
class RunningDemo:
    """A demo whose live day is over; the stack is still up."""

    summary: Summary
    stack: EmbeddedStack
    settings: Settings
    folder: DemoFolder


@contextmanager
def demo(options: DemoOptions) -> Iterator[RunningDemo]:
    """Run it; on leaving the context everything that was started is stopped.

    Raises:
        UserError: the folder cannot be used, a server does not start, or the stream stands still.
    """
    folder = DemoFolder(options.data_dir)
    config = SimulationConfig(orders=options.orders, days=options.days, seed=options.seed)
    with ExitStack() as running:
        running.enter_context(folder.claimed())
        with console.status("Starting broker and Valkey"):
            stack = running.enter_context(EmbeddedStack(folder.path))
        settings = load_settings(
            broker=stack.broker.bootstrap,
            redis_url=stack.valkey.url,
            data_dir=folder.path,
            tracking_uri=f"sqlite:///{folder.path / 'mlflow' / 'mlflow.db'}",
            topic_prefix="",
            worker_name="worker",
            model="risk",
            store="memory",
            max_future_s=FOR_EVER_S,
        )
        _simulate(config, folder)
        _backfill(folder, live_start_of(config))
        _train(folder, settings, live_start_of(config), options.seed)
        live = _live_day(folder, settings, config, options.speed, running)
        summary = summarise(live)
        folder.summary.write_bytes(msgspec.json.format(msgspec.json.encode(summary), indent=2))
        tiers = build_policy(settings).tiers
        thresholds = {
            "sms": tiers.sms.starts,
            "call": tiers.call.starts,
            "freeze": tiers.freeze.starts,
        }
        write_report(summary, live, folder.report, thresholds=thresholds)
        yield RunningDemo(summary, stack, settings, folder)


def live_start_of(config: SimulationConfig) -> int:
    """When the last day begins, UTC ms; of a shorter simulation its second half."""
    return max(config.end - DAY, (config.start + config.end) // 2)


def _simulate(config: SimulationConfig, folder: DemoFolder) -> None:
    with progress("Making a history of orders", config.orders) as bar:
        write_dataset(config, folder.history, lambda n: bar.advance(bar.task_ids[0], n))


def _backfill(folder: DemoFolder, live_start: int) -> None:
    """Features of the whole time, for training and its test; the state as of the live day."""
    orders, outcomes = scan_orders(folder.history), scan_outcomes(folder.history)
    features = feature_set(attributes_of(orders.collect_schema()))
    state = InMemoryState(features)
    start = datetime.fromtimestamp(live_start / 1000, UTC)
    total = orders.select(pl.len()).collect().item()
    with progress("Replaying history", total) as bar, frame_writer(folder.frame, features) as write:

        def replayed(frames: Iterable[pl.DataFrame]) -> None:
            for frame in frames:
                write(frame)
                bar.advance(bar.task_ids[0], frame.height)

        replayed(replay(orders, outcomes, state, features, stop=start))
        state.save(folder.state)
        replayed(replay(orders, outcomes, state, features, after=start))


def _train(folder: DemoFolder, settings: Settings, live_start: int, seed: int) -> None:
    with progress("Growing trees", None) as bar:

        def on_progress(stage: str, done: int, total: int) -> None:
            bar.update(bar.task_ids[0], description=stage, completed=done, total=total)

        trained = train_model(
            folder.frame,
            folder.history,
            "risk",
            datetime.fromtimestamp(live_start / 1000, UTC),
            recipe=Recipe(seed=seed),
            on_progress=on_progress,
        )
    with console.status("Registering the model"):
        record(
            trained,
            tracking_uri=settings.mlflow_uri,
            source={"frame": str(folder.frame), "outcomes": str(folder.history)},
        )


def _live_day(
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
    """Wait until every decision is in the Delta table.

    Raises:
        UserError: the archive worker ended, or is not done within a minute.
    """
    table = ArchiveTable(settings.archive_dir / "decisions")
    ends = end_offsets(settings.broker, topics.decisions)
    deadline = time.monotonic() + ARCHIVE_S
    with console.status("Waiting for the archive"):
        while any(table.last_offset((topics.decisions, p)) < end - 1 for p, end in ends.items()):
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


def machine() -> str:
    """This machine in one line."""
    return f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()}, Python {platform.python_version()}"
