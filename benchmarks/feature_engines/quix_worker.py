# /// script
# requires-python = ">=3.11,<3.14"
# dependencies = ["quixstreams==3.28.1"]
# ///
"""Quix Streams: a sliding window for each entity and length, as its documentation shows.

    quix_worker.py FEATURES BROKER FOLDER

FEATURES is a JSON list of `{name, entity, aggregate, of, window_ms}`. It runs in an environment of
its own and imports nothing of ours: Quix needs an older Kafka client than we do.

Windows of Quix include the order at hand, which is taken out of each result. An order has an
answer for each window; with one partition `group_by` changes the key and sends nothing on.
"""

import json
import sys
from typing import Any

import quixstreams.dataframe.windows.aggregations as agg  # pyright: ignore[reportMissingImports]
from quixstreams import Application, State  # pyright: ignore[reportMissingImports]

SOURCE, ANSWERS = "orders", "features"


class SumOfOthers(agg.Sum):
    """The sum of a column without the latest order."""

    def initialize(self) -> list[int]:
        """The sum, and the latest value."""
        return [0, 0]

    def agg(self, old: list[int], new: dict, timestamp: int) -> list[int]:
        """One order more."""
        value = new[self.column]
        return [old[0] + value, value]

    def result(self, value: list[int]) -> int:
        """The sum without the latest value."""
        return value[0] - value[1]


class MaxOfOthers(agg.Max):
    """The largest value of a column without the latest order."""

    def initialize(self) -> list[int | None]:
        """The largest so far, and the largest before the latest order."""
        return [None, None]

    def agg(self, old: list[int | None], new: dict, timestamp: int) -> list[int | None]:
        """One order more."""
        value = new[self.column]
        return [value if old[0] is None else max(old[0], value), old[0]]

    def result(self, value: list[int | None]) -> int | None:
        """The largest before the latest order."""
        return value[1]


class DistinctOfOthers(agg.Aggregator):
    """How many different values of a column others than the latest order carry."""

    def initialize(self) -> list[Any]:
        """The values, and how many they were before the latest order."""
        return [[], 0]

    def agg(self, old: list[Any], new: dict, timestamp: int) -> list[Any]:
        """One order more."""
        seen, value = old[0], new[self.column]
        known = value is None or value in seen
        return [seen if known else [*seen, value], len(seen)]

    def result(self, value: list[Any]) -> int:
        """How many they were before the latest order."""
        return value[1]


class CountOfOthers(agg.Count):
    """How many orders without the latest."""

    def result(self, value: int) -> int:
        """One less."""
        return value - 1


def answer(features: dict[str, str], window: dict) -> dict:
    """A result of a window as an answer."""
    values = {name: window[column] for column, name in features.items()}
    return {"order_id": window["order_id"], "values": values}


def last_seen(name: str, order: dict, state: State) -> dict:
    """Seconds since the last order of this key."""
    last = state.get("last")
    state.set("last", order["time"])
    seconds = None if last is None else (order["time"] - last) / 1000
    return {"order_id": order["order_id"], "values": {name: seconds}}


def application(features: list[dict], bootstrap: str, folder: str) -> Application:
    """The application with all windows."""
    app = Application(
        bootstrap,
        consumer_group="quix-windows",
        auto_offset_reset="earliest",
        state_dir=folder + "/state",
        loglevel="ERROR",
    )
    orders = app.dataframe(app.topic(SOURCE))
    answers = app.topic(ANSWERS)
    make = {
        "count": lambda of: CountOfOthers(),
        "sum": SumOfOthers,
        "max": MaxOfOthers,
        "distinct": DistinctOfOthers,
    }
    for entity in dict.fromkeys(feature["entity"] for feature in features):
        present = orders.filter(lambda order, entity=entity: order[entity] is not None)
        keyed = present.group_by(entity)
        mine = [feature for feature in features if feature["entity"] == entity]
        windows: dict[int, list[dict]] = {}
        for feature in mine:
            if feature["aggregate"] == "seconds_since_last":
                name = feature["name"]
                keyed.apply(
                    lambda order, state, name=name: last_seen(name, order, state), stateful=True
                ).to_topic(answers)
            else:
                windows.setdefault(feature["window_ms"], []).append(feature)
        for length, wanted in windows.items():
            aggregations = {f["name"]: make[f["aggregate"]](f["of"]) for f in wanted}
            names = {feature["name"]: feature["name"] for feature in wanted}
            window = keyed.sliding_window(length).agg(order_id=agg.Last("order_id"), **aggregations)
            window.current().apply(lambda result, names=names: answer(names, result)).to_topic(
                answers
            )
    return app


if __name__ == "__main__":
    application(json.loads(sys.argv[1]), sys.argv[2], sys.argv[3]).run()
