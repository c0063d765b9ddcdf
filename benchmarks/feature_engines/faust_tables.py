"""Plain Faust: an agent that keeps windowed tables, as its user guide shows.

Faust's windows hop. A table here keeps windows that begin a fifth of the length apart, each order
goes into five of them, and the oldest that is still open is read: it covers four to five fifths
of the length. One table holds all that is kept of an entity in windows of one length, for each
write of a table goes to its changelog. One worker, one partition; the tables are in memory.

    python -m benchmarks.feature_engines.faust_tables BROKER FOLDER    # the worker
"""

import sys
from collections.abc import Iterator, Sequence
from typing import Any

import faust

from benchmarks.feature_engines.contest import Contest, Run, by_entity, subset
from benchmarks.feature_engines.on_broker import (
    ANSWERS,
    SOURCE,
    project_on_path,
    python_module,
    rows,
    run_worker,
)
from features.declare import Feature

STEPS = 5  # windows that are open at a time


def run(contest: Contest) -> Run:
    """One worker on a backlog."""
    command = python_module("benchmarks.feature_engines.faust_tables")
    return run_worker("faust", command, rows(contest), contest, project_on_path())


class OrderRow(faust.Record, serializer="json"):
    """An order as it is on the topic."""

    order_id: str
    time: int
    amount: int
    account: str | None
    device: str | None
    ip: str | None
    ip_prefix: str | None
    address: str | None
    phone: str | None


def tables_app(bootstrap: str, folder: str) -> faust.App:
    """The app; its agent answers each order with features, then takes it into the tables."""
    app = faust.App(
        "faust-tables",
        broker=f"kafka://{bootstrap}",
        store="memory://",
        datadir=folder,
        topic_partitions=1,
        topic_disable_leader=True,
        web_enabled=False,
        consumer_auto_offset_reset="earliest",
    )
    orders = app.topic(SOURCE, value_type=OrderRow)
    answers = app.topic(ANSWERS, value_serializer="json")
    windows = [_Windows(app, entity, mine) for entity, mine in _by_length(subset().features)]
    lasts = [
        (feature, app.Table(feature.name, default=int))
        for feature in subset().features
        if feature.aggregate == "seconds_since_last"
    ]

    @app.agent(orders)
    async def compute(stream: Any) -> None:
        async for order in stream:
            values: dict[str, float | None] = {}
            for window in windows:
                values |= window.read(order)
                window.update(order)
            for feature, table in lasts:
                key = getattr(order, str(feature.entity))
                if key is not None:
                    last = table[key]
                    values[feature.name] = (order.time - last) / 1000 if last else None
                    table[key] = order.time
            await answers.send(value={"order_id": order.order_id, "values": values})

    return app


class _Windows:
    """The table of one entity and one length of window; a value holds what each feature needs."""

    def __init__(self, app: faust.App, entity: str, features: list[Feature]) -> None:
        self._entity = entity
        self._features = features
        size = float(features[0].window_s or 0)
        self._oldest_s = size - size / STEPS
        table = app.Table(f"{entity}-{size:.0f}", default=dict)
        self._table: Any = table.hopping(size, size / STEPS, expires=size).relative_to_stream()

    def read(self, order: OrderRow) -> dict[str, float | None]:
        """Features of the orders before."""
        key = getattr(order, self._entity)
        if key is None:
            return {}
        held = self._table[key].delta(self._oldest_s)
        values: dict[str, float | None] = {}
        for feature in self._features:
            value = held.get(feature.name)
            if feature.aggregate == "distinct":
                value = len(value or ())
            values[feature.name] = value or (None if feature.aggregate == "max" else 0)
        return values

    def update(self, order: OrderRow) -> None:
        """Take the order into all open windows."""
        key = getattr(order, self._entity)
        if key is not None:
            self._table[key].apply(self._with_order, order)

    def _with_order(self, held: dict[str, Any], order: OrderRow) -> dict[str, Any]:
        held = dict(held)
        for feature in self._features:
            name, value = feature.name, getattr(order, str(feature.of), None)
            match feature.aggregate:
                case "count":
                    held[name] = held.get(name, 0) + 1
                case "sum":
                    held[name] = held.get(name, 0) + value
                case "max":
                    held[name] = max(held.get(name, 0), value)
                case "distinct":
                    seen = held.get(name, [])
                    held[name] = seen if value is None or value in seen else [*seen, value]
                case other:
                    raise ValueError(f"the contest has no {other}")
        return held


def _by_length(features: Sequence[Feature]) -> Iterator[tuple[str, list[Feature]]]:
    for entity, mine in by_entity(features).items():
        windowed = [f for _, f in mine if f.aggregate != "seconds_since_last"]
        for length in dict.fromkeys(f.window_s for f in windowed):
            yield entity, [f for f in windowed if f.window_s == length]


if __name__ == "__main__":
    worker = faust.Worker(tables_app(sys.argv[1], sys.argv[2]), loglevel="ERROR")
    worker.execute_from_commandline()
