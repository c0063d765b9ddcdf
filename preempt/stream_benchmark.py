"""Broker to worker to broker: how many orders a second, and how long each takes."""

import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Literal

import lightgbm as lgb
import msgspec
import numpy as np
import polars as pl

from features.columns import event_columns_from_orders
from features.feature_set import feature_set
from features.memory import InMemoryState
from models.calibration import Platt
from models.risk_model import ModelCard, RiskModel, trees_hash
from models.signature import Signature
from orders.errors import UserError
from orders.tables import orders_from_frame
from preempt.bootstrap import prepare_topics
from preempt.console import console
from preempt.embedded import EmbeddedStack
from preempt.live_stream import Decided, Publisher, wait_until_assigned
from preempt.processes import ChildProcess
from preempt.settings import Settings, load_settings
from preempt.traffic import Sent, end_offsets, events_of, publish, read
from streams.topics import Topics
from training.simulation.config import SimulationConfig
from training.simulation.dataset import write_dataset

TREES = 300
TRAINED_ON = 30_000  # orders
PATIENCE_S = 60.0  # without a further decision
WARM_UP_S = 3.0  # at a fixed rate, latencies of the first seconds are left out


class StreamFigures(msgspec.Struct, frozen=True, kw_only=True):
    """What a run measured, by the broker's append timestamps.

    `orders_per_s` is taken from the first decision to the last. A latency is from the append of
    the order to the append of its decision; of a backlog that is drained it says how long the
    order lay there.
    """

    orders: int
    orders_per_s: float
    p50_ms: float
    p99_ms: float
    lost: int
    duplicates: int


class Benchmark:
    """One embedded stack, one stock of orders and one model for several runs.

    Use as a context manager; everything is in a temporary folder.

    Args:
        orders: how many orders are made.
        store: where the worker keeps its feature state.
    """

    def __init__(self, orders: int, store: Literal["memory", "redis"] = "memory") -> None:
        self._count = orders
        self._store = store
        self._running = ExitStack()
        self._runs = 0

    def __enter__(self) -> "Benchmark":
        with ExitStack() as starting:
            folder = Path(starting.enter_context(tempfile.TemporaryDirectory(prefix="preempt-")))
            self._folder = folder
            with console.status("Making orders and a model"):
                self._orders = _made_orders(self._count, folder)
                model = _made_model(folder, self._orders.head(TRAINED_ON))
                model.save(folder / "model")
            self._stack = starting.enter_context(EmbeddedStack(folder))
            self._running = starting.pop_all()
        return self

    def __exit__(self, *_error: object) -> None:
        self._running.close()

    def drain(self, module: str, *arguments: str, orders: int | None = None) -> StreamFigures:
        """Put a backlog into the log, then start a worker and let it decide as fast as it can.

        Args:
            module: what `python -m` runs as the worker.
            arguments: of the worker.
            orders: how many; all by default.
        """
        settings, topics, events = self._prepare(orders)
        publish(settings.broker, events)
        with self._worker(settings, module, arguments) as worker:
            _wait_for(settings, topics, len(events), worker)
        return _figures(settings, topics, len(events), skip_s=0)

    def pace(self, module: str, *arguments: str, rate: float) -> StreamFigures:
        """Let a worker decide orders that come at `rate` a second."""
        settings, topics, events = self._prepare(None)
        with self._worker(settings, module, arguments) as worker:
            wait_until_assigned(settings.broker, topics.score_group, worker)
            publisher = Publisher(settings.broker, events, rate=rate)
            publisher.start()
            publisher.join()
            _wait_for(settings, topics, len(events), worker)
        return _figures(settings, topics, len(events), skip_s=WARM_UP_S)

    def _prepare(self, orders: int | None) -> tuple[Settings, Topics, list[Sent]]:
        self._runs += 1
        settings = load_settings(
            broker=self._stack.broker.bootstrap,
            redis_url=self._stack.valkey.url,
            topic_prefix=f"run{self._runs}-",
            worker_name="worker",
            store=self._store,
            data_dir=self._folder,
            model=str(self._folder / "model"),
            max_future_s=1e12,  # simulated time is not the present
        )
        topics = prepare_topics(settings)
        chosen = self._orders.head(orders or self._count)
        events = events_of(chosen, None, orders_topic=topics.orders, outcomes_topic=topics.outcomes)
        return settings, topics, events

    def _worker(self, settings: Settings, module: str, arguments: tuple[str, ...]) -> ChildProcess:
        return ChildProcess(
            [sys.executable, "-m", module, *arguments],
            log=self._folder / f"{settings.topic_prefix}worker.log",
            environment=settings.environment(),
        )


def _made_orders(count: int, folder: Path) -> pl.DataFrame:
    days = max(1.0, count / 50_000)
    write_dataset(SimulationConfig(orders=count, days=days), folder / "history")
    return pl.read_parquet(folder / "history" / "orders.parquet")


def _made_model(folder: Path, orders: pl.DataFrame) -> RiskModel:
    """As many trees as a real one; how good they are does not matter here."""
    features = feature_set()
    vectors = InMemoryState(features).apply(
        event_columns_from_orders(orders_from_frame(orders), features)
    )
    truth = pl.read_parquet(folder / "history" / "truth.parquet", columns=["order_id", "is_attack"])
    label = orders.join(truth, on="order_id", how="left", maintain_order="left")["is_attack"]
    signature = Signature(features.names, {}, features.hash)
    parameters = {"objective": "binary", "num_leaves": 31, "verbosity": -1, "seed": 7}
    data = lgb.Dataset(vectors, label.cast(pl.Float64).to_numpy(), params=parameters)
    text = lgb.train(parameters, data, num_boost_round=TREES).model_to_string()
    card = ModelCard(
        name="benchmark",
        target="risk",
        signature=signature,
        calibration=Platt(slope=1.0, offset=0.0),
        trained_from="",
        trained_until="",
        label_known_at="",
        trees=TREES,
        trees_sha256=trees_hash(text),
    )
    return RiskModel(text, card)


def _wait_for(settings: Settings, topics: Topics, count: int, worker: ChildProcess) -> None:
    """Wait until there are as many decisions; by offsets, which costs the worker nothing."""
    decided, since = -1, time.monotonic()
    while decided < count:
        time.sleep(0.25)
        now = sum(end_offsets(settings.broker, topics.decisions).values())
        if now > decided:
            decided, since = now, time.monotonic()
        if not worker.running:
            raise UserError(f"the worker ended; its log ends: {worker.log_tail()}")
        if time.monotonic() - since > PATIENCE_S:
            raise UserError(f"{decided} of {count} orders decided, and nothing more comes")


def _figures(settings: Settings, topics: Topics, count: int, *, skip_s: float) -> StreamFigures:
    decided = Decided()
    end = sum(end_offsets(settings.broker, topics.decisions).values())
    for message in read(settings.broker, topics.decisions, idle_s=10):
        if message is not None:
            decided.add(message)
        if len(decided.decisions) == end:
            break
    appended = np.array(decided.decision_appended)
    latency = appended - np.array(decided.order_appended)
    kept = latency[appended >= appended.min() + 1000 * skip_s]
    p50, p99 = np.percentile(kept if kept.size else latency, (50, 99)).tolist()
    seconds = max(int(appended.max() - appended.min()), 1) / 1000
    return StreamFigures(
        orders=count,
        orders_per_s=round(len(decided.order_ids) / seconds, 1),
        p50_ms=p50,
        p99_ms=p99,
        lost=count - len(decided.order_ids),
        duplicates=len(decided.decisions) - len(decided.order_ids),
    )
