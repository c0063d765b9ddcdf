"""The main job, end to end, on the embedded stack: history, model, live day, summary, report."""

import sys
from collections.abc import Iterable, Iterator
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
from orders.tables import scan_orders, scan_outcomes
from preempt.bootstrap import build_policy
from preempt.console import console, progress
from preempt.demo_folder import DemoFolder
from preempt.embedded import EmbeddedStack
from preempt.live_day import live_day, live_start_of
from preempt.parity import parity_of_archive
from preempt.settings import Settings, load_settings
from training.live_day import summarise
from training.live_report import write_report
from training.live_summary import ParityFigures, Summary
from training.simulation.config import SimulationConfig
from training.simulation.dataset import write_dataset
from training.tracking import record
from training.train import Recipe, train_model

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
        live = live_day(folder, settings, config, options.speed, running)
        summary = msgspec.structs.replace(summarise(live), parity=_parity(folder, settings))
        folder.summary.write_bytes(msgspec.json.format(msgspec.json.encode(summary), indent=2))
        tiers = build_policy(settings).tiers
        thresholds = {
            "sms": tiers.sms.starts,
            "call": tiers.call.starts,
            "freeze": tiers.freeze.starts,
        }
        write_report(summary, live, folder.report, thresholds=thresholds)
        yield RunningDemo(summary, stack, settings, folder)


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
    for doubt in trained.doubts:  # it decides all the same, and the summary shows how well
        console.print(f"[yellow]Warning:[/] the model is in doubt: {doubt}.", soft_wrap=True)
    with console.status("Registering the model"):
        record(
            trained,
            tracking_uri=settings.mlflow_uri,
            source={"frame": str(folder.frame), "outcomes": str(folder.history)},
        )


def _parity(folder: DemoFolder, settings: Settings) -> ParityFigures:
    """Every order of the live day, against a replay of what is archived."""
    with progress("Comparing with a replay", None) as bar:
        found = parity_of_archive(
            settings,
            [folder.state],
            sample=sys.maxsize,
            on_progress=lambda done, total: bar.update(
                bar.task_ids[0], completed=done, total=total
            ),
        )
    return ParityFigures(found.orders, found.equal_share, found.explained, found.unexplained)
