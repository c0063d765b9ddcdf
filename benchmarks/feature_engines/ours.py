"""Our engine: in memory and on Redis, in chunks and one order at a time."""

import importlib
import time

import numpy as np
from redis import Redis

from benchmarks.feature_engines.contest import COMPARED, Contest, NotAvailableError, Run
from features.columns import event_columns_from_orders
from features.feature_set import FeatureSet, feature_set
from features.memory import InMemoryState
from features.state import FeatureState
from preempt.embedded import Valkey

CHUNK = 500


def memory(contest: Contest) -> Run:
    """Chunks of 500, as the worker takes them under load."""
    return _in_memory(contest.declared, contest, CHUNK)


def memory_single(contest: Contest) -> Run:
    """Chunks of one, as the worker takes them when little comes."""
    return _in_memory(contest.declared, contest, 1)


def memory_all_features(contest: Contest) -> Run:
    """Chunks of 500, every feature that is declared; the values are those of the subset."""
    declared = feature_set()
    run = _in_memory(declared, contest, CHUNK)
    columns = [declared.names.index(name) for name in contest.declared.names]
    return Run(run.orders, run.seconds, run.values[:, columns])


def on_redis(contest: Contest) -> Run:
    """Chunks of 500 on an embedded Valkey."""
    return _redis(contest, CHUNK)


def on_redis_single(contest: Contest) -> Run:
    """Chunks of one on an embedded Valkey."""
    return _redis(contest, 1)


def _in_memory(declared: FeatureSet, contest: Contest, chunk: int) -> Run:
    _warm_up(InMemoryState(declared), declared, contest)
    return _in_chunks(InMemoryState(declared), declared, contest, chunk)


def _redis(contest: Contest, chunk: int) -> Run:
    try:
        store = importlib.import_module("features.redis_state").RedisState
    except ModuleNotFoundError as error:
        raise NotAvailableError(f"this version has no store on Redis: {error}") from error
    with (
        Valkey(contest.folder / f"valkey-ours-{chunk}") as server,
        Redis.from_url(server.url) as client,
    ):
        declared = contest.declared
        _warm_up(store(client, declared, prefix="warm-up:"), declared, contest)
        return _in_chunks(store(client, declared), declared, contest, chunk)


def _warm_up(state: FeatureState, declared: FeatureSet, contest: Contest) -> None:
    """Compile what is compiled on first use, on a state that is thrown away."""
    for start in (0, 2):
        part = contest.orders[start : start + 2]
        state.apply(event_columns_from_orders(part, declared))


def _in_chunks(state: FeatureState, declared: FeatureSet, contest: Contest, chunk: int) -> Run:
    """Columns of the orders, then features; both are timed."""
    orders = contest.orders
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
