"""What only a store outside the process can do, or suffer."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import redis
from hypothesis import HealthCheck, given, settings
from redis.backoff import NoBackoff
from redis.retry import Retry

from features.feature_set import feature_set
from features.memory import HORIZON_MS, InMemoryState
from features.redis_functions import library
from features.redis_state import MARGIN_MS, RedisState
from features.state import StateCorruptedError, StateLostError, StateUnavailableError
from orders.events import Instant, Order, Outcome
from preempt.embedded import Valkey
from preempt.processes import ChildProcess
from tests.features.event_streams import FEATURE_SET, START, apply, columns, streams
from tests.support.cutting_proxy import CuttingProxy

HAMMER = Path(__file__).with_name("hammer.py")
DAY = 86_400_000


def order(order_id: str, at: int = 0, **fields) -> Order:
    fields = {"device": "d", "account": "u", **fields}
    return Order(
        order_id=order_id, event_time=Instant(START + at), quantity=1, unit_price=100,
        currency="CNY", **fields,
    )  # fmt: skip


SOME = [
    order("a"),
    order("b"),  # a tie: only the first time does a not see it
    Outcome(order_id="a", kind="expired", event_time=Instant(START)),
    Outcome(order_id="never", kind="expired", event_time=Instant(START)),
    order("c", 5, address="x"),
    order("a"),
]
MORE = [
    order("d", 10, address="x"),
    Outcome(order_id="c", kind="delivered", event_time=Instant(START + 11)),
    order("e", 12),
]


@pytest.fixture
def own_valkey(tmp_path: Path) -> Iterator[Valkey]:
    """One that may be filled, broken and stopped."""
    with Valkey(tmp_path / "valkey") as server:
        yield server


@pytest.fixture
def impatient(own_valkey: Valkey) -> Iterator[redis.Redis]:
    """A client that does not try again by itself."""
    with _impatient(own_valkey.url) as client:
        yield client


def _impatient(url: str) -> redis.Redis:
    return redis.Redis.from_url(
        url, socket_timeout=0.3, socket_connect_timeout=0.3, retry=Retry(NoBackoff(), 0)
    )


def expected(*calls: list) -> list[np.ndarray]:
    memory = InMemoryState(FEATURE_SET)
    return [memory.apply(columns(events)) for events in calls]


def test_workers_that_take_turns_see_each_other(valkey_client, key_prefix) -> None:
    @given(events=streams())
    @settings(
        max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
    )
    def take_turns(events: list[Order | Outcome]) -> None:
        valkey_client.incr(f"{key_prefix}n")
        prefix = f"{key_prefix}{int(valkey_client.get(f'{key_prefix}n'))}-"
        workers = [RedisState(valkey_client, FEATURE_SET, prefix=prefix) for _ in range(3)]
        vectors = [workers[i % 3].apply(columns([event])) for i, event in enumerate(events)]
        np.testing.assert_array_equal(
            np.concatenate(vectors), apply(InMemoryState(FEATURE_SET), events)
        )

    take_turns()


def test_two_processes_on_one_device_lose_nothing(valkey_url, valkey_client, key_prefix) -> None:
    count = 300
    workers = [
        subprocess.Popen(
            [sys.executable, str(HAMMER), valkey_url, key_prefix, name, str(count)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={"PYTHONPATH": str(Path.cwd())},
        )
        for name in "xy"
    ]  # fmt: skip
    for worker in workers:
        assert worker.stdout
        assert worker.stdout.readline() == "ready\n"
    for worker in workers:
        assert worker.stdin
        worker.stdin.write("go\n")
        worker.stdin.flush()
    seen = [json.loads(worker.communicate()[0]) for worker in workers]
    for counts in seen:
        assert counts == sorted(set(counts))  # strictly growing
    assert sorted(seen[0] + seen[1]) == list(range(2 * count))
    assert max(seen[0]) > min(seen[1])  # they did overlap
    assert max(seen[1]) > min(seen[0])
    state = RedisState(valkey_client, feature_set(), prefix=key_prefix)
    assert state.is_new is False


def test_what_is_known_outlives_the_worker(valkey_client, key_prefix) -> None:
    first, second = expected(SOME, MORE)
    state = RedisState(valkey_client, FEATURE_SET, prefix=key_prefix)
    assert state.is_new
    np.testing.assert_array_equal(state.apply(columns(SOME)), first)
    state = RedisState(valkey_client, FEATURE_SET, prefix=key_prefix)
    assert not state.is_new
    assert state.unattributed == 1
    np.testing.assert_array_equal(state.apply(columns(MORE)), second)


@pytest.mark.parametrize("lost_before", [0, 1, 2])
def test_a_call_whose_answer_was_lost_gives_the_same_when_made_again(
    valkey_url, key_prefix, lost_before
) -> None:
    vectors = expected(SOME, MORE)
    port = int(valkey_url.rpartition(":")[2].partition("/")[0])
    with CuttingProxy(port) as proxy, _impatient(f"redis://127.0.0.1:{proxy.port}") as client:
        state = RedisState(client, FEATURE_SET, prefix=key_prefix)
        for events, vector in zip((SOME, MORE), vectors, strict=True):
            for _ in range(lost_before):
                proxy.lose_next_answer.set()
                with pytest.raises(StateUnavailableError):
                    state.apply(columns(events))
            np.testing.assert_array_equal(state.apply(columns(events)), vector)
        assert state.unattributed == 1


def test_so_does_a_long_call_that_failed_in_the_middle(own_valkey, impatient) -> None:
    many = [order(f"o{i}", i // 3, device=f"d{i % 7}") for i in range(3_000)]
    state = RedisState(impatient, FEATURE_SET)
    impatient.config_set("maxmemory", impatient.info("memory")["used_memory"] + 700_000)
    with pytest.raises(StateUnavailableError):
        state.apply(columns(many))
    state.apply(columns([]))
    impatient.config_set("maxmemory", 0)
    np.testing.assert_array_equal(state.apply(columns(many)), expected(many)[0])


def test_another_worker_takes_them_as_repeats(valkey_client, key_prefix) -> None:
    RedisState(valkey_client, FEATURE_SET, prefix=key_prefix).apply(columns(SOME))
    other = RedisState(valkey_client, FEATURE_SET, prefix=key_prefix)
    memory = InMemoryState(FEATURE_SET)
    memory.apply(columns(SOME))
    np.testing.assert_array_equal(other.apply(columns(SOME)), memory.apply(columns(SOME)))
    np.testing.assert_array_equal(other.apply(columns(MORE)), memory.apply(columns(MORE)))


def test_a_full_redis_is_unavailable_until_there_is_room(impatient) -> None:
    first, second = expected(SOME, MORE)
    state = RedisState(impatient, FEATURE_SET)
    np.testing.assert_array_equal(state.apply(columns(SOME)), first)
    impatient.config_set("maxmemory", 1)
    with pytest.raises(StateUnavailableError, match="maxmemory"):
        state.apply(columns(MORE))
    impatient.config_set("maxmemory", 0)
    np.testing.assert_array_equal(state.apply(columns(MORE)), second)


def test_so_is_one_that_must_not_write_alone(impatient) -> None:
    first, second = expected(SOME, MORE)
    state = RedisState(impatient, FEATURE_SET)
    np.testing.assert_array_equal(state.apply(columns(SOME)), first)
    impatient.config_set("min-replicas-to-write", 1)
    with pytest.raises(StateUnavailableError, match="replicas"):
        state.apply(columns(MORE))
    impatient.config_set("min-replicas-to-write", 0)
    np.testing.assert_array_equal(state.apply(columns(MORE)), second)


def test_so_is_a_replica(impatient) -> None:
    first, second = expected(SOME, MORE)
    state = RedisState(impatient, FEATURE_SET)
    np.testing.assert_array_equal(state.apply(columns(SOME)), first)
    impatient.replicaof("127.0.0.1", 1)
    with pytest.raises(StateUnavailableError, match="read only"):
        state.apply(columns(MORE))
    impatient.replicaof("NO", "ONE")
    np.testing.assert_array_equal(state.apply(columns(MORE)), second)


def test_so_is_one_that_answers_too_late(own_valkey, impatient) -> None:
    first, second = expected(SOME, MORE)
    state = RedisState(impatient, FEATURE_SET)
    np.testing.assert_array_equal(state.apply(columns(SOME)), first)
    with redis.Redis.from_url(own_valkey.url) as other:
        other.client_pause(30_000, all=False)
        with pytest.raises(StateUnavailableError, match="Timeout"):
            state.apply(columns(MORE))
        other.client_unpause()
    np.testing.assert_array_equal(state.apply(columns(MORE)), second)


def test_so_is_one_that_is_down_or_still_loading(own_valkey: Valkey, impatient) -> None:
    first, second = expected(SOME, MORE)
    state = RedisState(impatient, FEATURE_SET)
    np.testing.assert_array_equal(state.apply(columns(SOME)), first)
    for i in range(2_000):
        impatient.set(f"other{i}", i)
    impatient.bgrewriteaof()
    while impatient.info("persistence")["aof_rewrite_in_progress"]:
        time.sleep(0.01)
    port = int(own_valkey.address.rpartition(":")[2])
    program, arguments = own_valkey._program(), own_valkey._arguments(port)
    assert program
    own_valkey.stop()
    with pytest.raises(StateUnavailableError, match="refused"):
        state.apply(columns(MORE))

    slow = ["--key-load-delay", "500", "--loading-process-events-interval-bytes", "1024"]
    child = ChildProcess([program, *arguments, *slow], log=own_valkey.log, cwd=own_valkey.folder)
    child.start()
    try:
        said = set()
        vectors = None
        deadline = time.monotonic() + 30
        while vectors is None and time.monotonic() < deadline:
            try:
                vectors = state.apply(columns(MORE))
            except StateUnavailableError as error:
                said.add("loading" if "loading" in str(error) else "other")
                time.sleep(0.02)
        assert vectors is not None
        assert "loading" in said
        np.testing.assert_array_equal(vectors, second)
    finally:
        child.stop()


def test_lost_functions_are_loaded_again(impatient) -> None:
    first, second = expected(SOME, MORE)
    state = RedisState(impatient, FEATURE_SET)
    np.testing.assert_array_equal(state.apply(columns(SOME)), first)
    impatient.function_flush()
    np.testing.assert_array_equal(state.apply(columns(MORE)), second)


def test_a_state_that_was_lost_is_an_error_and_not_silence(impatient) -> None:
    state = RedisState(impatient, FEATURE_SET)
    state.apply(columns(SOME))
    impatient.flushall()
    with pytest.raises(StateLostError, match="backfill"):
        state.apply(columns(MORE))
    with pytest.raises(StateLostError, match="backfill"):
        _ = state.unattributed
    RedisState(impatient, FEATURE_SET)  # another one in its place
    with pytest.raises(StateLostError, match="backfill"):
        state.apply(columns(MORE))


@pytest.mark.parametrize("kind", ["o", "b"])  # an order, a device
def test_a_damaged_value_is_an_error_that_names_it(valkey_client, key_prefix, kind) -> None:
    state = RedisState(valkey_client, FEATURE_SET, prefix=key_prefix)
    state.apply(columns(SOME))
    keys = [
        k
        for k in valkey_client.scan_iter(f"{key_prefix}*", count=10_000)
        if k[-9:-8] == kind.encode()
    ]
    for key in keys:
        valkey_client.append(key, b"x")
    with pytest.raises(StateCorruptedError, match="damaged") as error:
        state.apply(columns([order("a"), order("f")]))
    assert any(repr(key) in str(error.value) for key in keys)


def test_a_value_of_another_type_is_an_error_too(valkey_client, key_prefix) -> None:
    state = RedisState(valkey_client, FEATURE_SET, prefix=key_prefix)
    state.apply(columns(SOME))
    for key in list(valkey_client.scan_iter(f"{key_prefix}*", count=10_000)):
        if key[-9:-8] == b"o":
            valkey_client.delete(key)
            valkey_client.lpush(key, "x")
    with pytest.raises(StateCorruptedError, match="another type"):
        state.apply(columns([order("a")]))


def test_everything_but_the_meta_and_the_turns_expires(valkey_client, key_prefix) -> None:
    RedisState(valkey_client, FEATURE_SET, prefix=key_prefix).apply(columns(SOME + MORE))
    for key in valkey_client.scan_iter(f"{key_prefix}*", count=10_000):
        left = valkey_client.pttl(key)
        if key.endswith((b"meta", b"meta:turns")):
            assert left == -1
        else:
            assert HORIZON_MS + MARGIN_MS - 60_000 < left <= HORIZON_MS + MARGIN_MS


def test_an_expiry_that_was_set_a_day_ago_is_set_again(valkey_client, key_prefix) -> None:
    state = RedisState(valkey_client, FEATURE_SET, prefix=key_prefix)
    state.apply(columns([order("a")]))
    keys = [
        k
        for k in valkey_client.scan_iter(f"{key_prefix}*", count=10_000)
        if not k.endswith((b"meta", b"meta:turns"))
    ]
    long_ago = (int(time.time()) // 3600 - 24).to_bytes(4, "little")
    for key in keys:
        valkey_client.setrange(key, 16 if key[-9:-8] == b"o" else 8, long_ago)
        valkey_client.pexpire(key, 1_000_000)
    state.apply(columns([Outcome(order_id="a", kind="expired", event_time=Instant(START + 1))]))
    assert valkey_client.pttl(next(k for k in keys if k[-9:-8] == b"b")) > 1_000_000
    state.apply(columns([order("b", 2)]))
    entities = [k for k in keys if k[-9:-8] in (b"a", b"b")]
    assert all(valkey_client.pttl(key) > 1_000_000 for key in entities)


def test_a_timeline_is_cut_where_it_is_older_than_the_horizon(valkey_client, key_prefix) -> None:
    state = RedisState(valkey_client, FEATURE_SET, prefix=key_prefix, long_bytes=1_000)
    memory = InMemoryState(FEATURE_SET)
    lengths = []
    for day in range(0, 400):
        events = [order(f"o{day}-{i}", day * DAY + i) for i in range(3)]
        np.testing.assert_array_equal(state.apply(columns(events)), memory.apply(columns(events)))
        keys = valkey_client.scan_iter(f"{key_prefix}*", count=10_000)
        lengths.append(max(valkey_client.strlen(key) for key in keys if key[-9:-8] in (b"a", b"b")))
    assert max(lengths[100:]) == max(lengths[300:])


def test_a_timeline_is_replaced_only_as_it_was_read(valkey_client, key_prefix) -> None:
    state = RedisState(valkey_client, FEATURE_SET, prefix=key_prefix)
    state.apply(columns(SOME))
    [key] = [k for k in valkey_client.scan_iter(f"{key_prefix}*", count=10_000) if k[-9:-8] == b"b"]
    _, version = library()
    before = valkey_client.get(key)
    replace = [f"preempt_replace_{version}", 1, key]
    tiles, records = bytes(32), before[12:]
    assert valkey_client.fcall(*replace, 7, 20, tiles, records) == 0
    assert valkey_client.get(key) == before
    state.apply(columns(MORE))  # appends, which does not matter
    longer = valkey_client.get(key)
    assert valkey_client.fcall(*replace, 0, len(before) - 12, tiles, records) == 1
    assert valkey_client.get(key) == (
        (1).to_bytes(4, "little")
        + len(tiles).to_bytes(4, "little")
        + before[8:12]
        + tiles
        + records
        + longer[len(before) :]
    )
    assert valkey_client.pttl(key) > HORIZON_MS
    memory = InMemoryState(FEATURE_SET)
    for events in (SOME, MORE):
        memory.apply(columns(events))
    more = columns([order("z", 20)])
    np.testing.assert_array_equal(state.apply(more), memory.apply(more))
    valkey_client.setrange(key, 12 + 16, b"x")
    with pytest.raises(StateCorruptedError, match="damaged"):
        state.apply(columns([order("y", 21)]))


def test_a_prefix_that_would_choose_the_slot_is_refused(valkey_client) -> None:
    with pytest.raises(ValueError, match="prefix"):
        RedisState(valkey_client, FEATURE_SET, prefix="{a}")


def test_a_state_of_another_horizon_is_refused(valkey_client, key_prefix) -> None:
    RedisState(valkey_client, FEATURE_SET, prefix=key_prefix)
    with pytest.raises(ValueError, match="45 days"):
        RedisState(valkey_client, FEATURE_SET, HORIZON_MS + DAY, prefix=key_prefix)
