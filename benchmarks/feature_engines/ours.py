"""Our engine: in memory and on Redis, in chunks and one order at a time."""

import time
from collections.abc import Callable
from functools import partial

import numpy as np

from benchmarks.feature_engines.contest import COMPARED, Contest, NotAvailableError, Run
from features.columns import event_columns_from_orders
from features.feature_set import FeatureSet, feature_set
from features.memory import InMemoryState
from features.state import FeatureState
from preempt.embedded import Valkey

CHUNK = 500


def memory(contest: Contest) -> Run:
    """Chunks of 500, as the worker takes them under load."""
    return _in_chunks(InMemoryState, contest.declared, contest, CHUNK)


def memory_single(contest: Contest) -> Run:
    """Chunks of one, as the worker takes them when little comes."""
    return _in_chunks(InMemoryState, contest.declared, contest, 1)


def memory_all_features(contest: Contest) -> Run:
    """Chunks of 500, every feature that is declared; the values are those of the subset."""
    declared = feature_set()
    run = _in_chunks(InMemoryState, declared, contest, CHUNK)
    columns = [declared.names.index(name) for name in contest.declared.names]
    return Run(run.orders, run.seconds, run.values[:, columns])


def redis(contest: Contest) -> Run:
    """Chunks of 500 on an embedded Valkey."""
    return _on_redis(contest, CHUNK)


def redis_single(contest: Contest) -> Run:
    """Chunks of one on an embedded Valkey."""
    return _on_redis(contest, 1)


def _on_redis(contest: Contest, chunk: int) -> Run:
    try:
        from features.redis_state import RedisState  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise NotAvailableError(f"this version has no store on Redis: {error}") from error
    from redis import Redis

    with (
        Valkey(contest.folder / f"valkey-ours-{chunk}") as server,
        Redis.from_url(server.url) as client,
    ):
        return _in_chunks(partial(RedisState, client), contest.declared, contest, chunk)


def _in_chunks(
    make_state: Callable[[FeatureSet], FeatureState],
    declared: FeatureSet,
    contest: Contest,
    chunk: int,
) -> Run:
    """Columns of the orders, then features; both are timed."""
    orders = contest.orders
    InMemoryState(declared).apply(event_columns_from_orders(orders[:1], declared))  # compiles
    state = make_state(declared)
    values: list[np.ndarray] = []
    took: list[float] = []
    done = 0
    begun = time.perf_counter()
    while done < len(orders) and (started := time.perf_counter()) - begun < contest.seconds:
        part = orders[done : done + chunk]
        vectors = state.apply(event_columns_from_orders(part, declared))
        took.append(time.perf_counter() - started)
        if done < COMPARED:
            values.append(vectors)
        done += len(part)
    seconds = time.perf_counter() - begun
    order_us = 1e6 * np.array(took) if chunk == 1 else np.zeros(0)
    return Run(done, seconds, np.concatenate(values)[:COMPARED], order_us)
