"""A list of a million entries: what adding, loading, polling and looking up cost; JSON on stdout.

Times are of this process's processor, without Redis's own: the machine may be busy.
"""

import json
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import redis

from features.declare import ENTITIES
from preempt.clock import wall_clock
from preempt.embedded import Valkey
from serving.list_entries import Entry, Why
from serving.list_reader import ListReader
from serving.list_store import ListStore

ENTRIES, CHUNK, ROUNDS = 1_000_000, 500, 200
WHY = Why("bench", "measured")


def entry(value: str, now: int) -> Entry:
    """An entry for ever."""
    return Entry(entity="device", value=value, since=now, author="ana", comment="imported")


def seconds(work: Callable[[], Any], times: int = 1) -> float:
    """Processor seconds of this process that one call takes."""
    begin = time.process_time()
    for _ in range(times):
        work()
    return (time.process_time() - begin) / times


def main() -> None:
    """Measure."""
    chance = np.random.default_rng(1)
    chunks = [
        chance.integers(1, 2**63, (CHUNK, len(ENTITIES)), dtype=np.uint64) for _ in range(ROUNDS)
    ]
    with tempfile.TemporaryDirectory() as folder, Valkey(Path(folder)) as server:
        client = redis.Redis.from_url(server.url)
        store, now = ListStore(client, clock=wall_clock), wall_clock()
        empty: Any = client.info("memory")
        some = (entry(f"device-{number:08d}", now) for number in range(ENTRIES))
        adding = seconds(lambda: store.add("blocked", some, WHY))
        full: Any = client.info("memory")
        reader = ListReader(store.news)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        loading = seconds(reader.read)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        polling = seconds(reader.read, times=100)
        store.add("blocked", [entry("one more", now)], WHY)
        lists: Any = None

        def one_more() -> None:
            nonlocal lists
            lists = reader.read()

        renewing = seconds(one_more)
        held, at = lists.lists["blocked"], np.full(CHUNK, now)
        left = iter(chunks)
        looking = seconds(lambda: held.hold(next(left), at), times=ROUNDS)
        client.close()
    print(
        json.dumps(
            {
                "entries": ENTRIES,
                "add_s": round(adding, 2),
                "redis_mb": round((full["used_memory"] - empty["used_memory"]) / 1e6, 1),
                "load_s": round(loading, 3),
                "worker_mb": (held.keys.nbytes + held.since.nbytes + held.until.nbytes) / 1e6,
                "peak_while_loading_mb": round(peak / 1e3, 1),
                "poll_us": round(1e6 * polling),
                "one_more_ms": round(1e3 * renewing, 1),
                "lookup_us_an_order": round(1e6 * looking / CHUNK, 2),
            }
        )
    )


if __name__ == "__main__":
    main()
