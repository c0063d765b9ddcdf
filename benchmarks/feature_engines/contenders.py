"""Who takes part: one entry each, imported only when it runs."""

import importlib
from dataclasses import dataclass

from benchmarks.feature_engines.contest import Contender

_PACKAGE = "benchmarks.feature_engines"


@dataclass(frozen=True)
class Entry:
    """A contender.

    Attributes:
        name: What `--only` takes.
        where: Module and function.
        note: What a reader must know to judge its figures.
        is_worker: Whether it is a process of its own between two topics.
    """

    name: str
    where: str
    note: str
    is_worker: bool = False

    def load(self) -> Contender:
        """Import it."""
        module, _, function = self.where.partition(":")
        return getattr(importlib.import_module(f"{_PACKAGE}.{module}"), function)


_NORMALISED = "Entity values come normalised; that is not timed, and in ours it is."
_ON_BROKER = (
    "From topic to topic of the embedded broker, one worker, one partition; by the broker's time "
    "from the first answer to the last."
)

REFERENCE = "ours_memory"

CONTENDERS = (
    Entry(REFERENCE, "ours:memory", "In process, chunks of 500 orders."),
    Entry("ours_memory_single", "ours:memory_single", "In process, one order at a time."),
    Entry(
        "ours_memory_all_features",
        "ours:memory_all_features",
        "In process, chunks of 500, every declared feature; those of the contest are compared.",
    ),
    Entry("ours_redis", "ours:on_redis", "Chunks of 500 orders on an embedded Valkey."),
    Entry(
        "ours_redis_single", "ours:on_redis_single", "One order at a time on an embedded Valkey."
    ),
    Entry("ours_streamed", "ours_streamed:run", f"In memory. {_ON_BROKER}", is_worker=True),
    Entry("deques", "deques:run", f"By hand, in process. {_NORMALISED}"),
    Entry(
        "river",
        "river_rolling:run",
        f"In process. Maximum and distinct count are not River's: it has none that roll. "
        f"{_NORMALISED}",
    ),
    Entry(
        "redis_sorted_sets",
        "sorted_sets:run",
        "One pipeline an order on an embedded Valkey. Exact only while orders come in time "
        f"order: a set keeps the latest time of a value. {_NORMALISED}",
    ),
    Entry(
        "quix_sliding_windows",
        "quix_windows:run",
        f"Exact, state in RocksDB with changelogs. {_ON_BROKER} {_NORMALISED}",
        is_worker=True,
    ),
    Entry(
        "faust_tables",
        "faust_tables:run",
        "Windows hop, each by a fifth of its length, so values differ from exact ones; state in "
        f"memory with changelogs. {_ON_BROKER} {_NORMALISED}",
        is_worker=True,
    ),
)
