"""What happens before a state in Redis is used."""

import logging
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest
import redis

from features.columns import event_columns_from_orders
from features.feature_set import feature_set
from features.memory import InMemoryState
from orders.errors import UserError
from orders.tables import orders_from_frame
from preempt.bootstrap import build_scorer, redis_client, shared_state
from preempt.commands.backfill import backfill
from preempt.embedded import Valkey
from preempt.settings import Settings, load_settings
from tests.support.valkey_cluster import ValkeyCluster
from training.simulation.config import SimulationConfig
from training.simulation.dataset import write_dataset

FEATURES = feature_set()


@pytest.fixture
def own_valkey(tmp_path: Path) -> Iterator[Valkey]:
    with Valkey(tmp_path / "valkey") as server:
        yield server


def redis_settings(url: str | None, prefix: str = "", **more: object) -> Settings:
    return load_settings(redis_url=url, store="redis", topic_prefix=prefix, model="none", **more)


def test_without_a_url_it_says_which_setting_is_missing() -> None:
    with pytest.raises(UserError, match="PREEMPT_REDIS_URL"):
        shared_state(redis_settings(None), FEATURES)


def test_a_snapshot_is_refused(valkey_url: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="backfill --store redis"):
        build_scorer(redis_settings(valkey_url), tmp_path / "state")


def test_a_server_that_evicts_is_refused(own_valkey: Valkey) -> None:
    with redis.Redis.from_url(own_valkey.url) as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
    with pytest.raises(UserError, match=r"allkeys-lru.*noeviction"):
        shared_state(redis_settings(own_valkey.url), FEATURES)


def test_a_server_that_hides_its_policy_is_warned_of(
    own_valkey: Valkey, caplog: pytest.LogCaptureFixture
) -> None:
    with redis.Redis.from_url(own_valkey.url) as client:
        client.execute_command("ACL SETUSER", "shop", "on", ">secret", "~*", "+@all", "-config")
    url = own_valkey.url.replace("redis://", "redis://shop:secret@")
    with caplog.at_level(logging.WARNING):
        shared_state(redis_settings(url), FEATURES)
    assert "must be noeviction" in caplog.text


def test_a_prefix_that_would_choose_the_slot_is_refused(valkey_url: str) -> None:
    with pytest.raises(UserError, match="PREEMPT_TOPIC_PREFIX"):
        shared_state(redis_settings(valkey_url, "{x}"), FEATURES)


def test_a_worker_warns_of_a_new_state_and_of_no_other(
    valkey_url: str, topic_prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    settings = redis_settings(valkey_url, topic_prefix).model_copy(update={"model": "none"})
    for texts in (1, 0):
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            build_scorer(settings, None)
        assert caplog.text.count("is new") == texts


def test_backfill_refuses_a_state_that_holds_events(
    valkey_url: str, topic_prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_dataset(SimulationConfig(orders=1_000, days=10), tmp_path / "history")
    monkeypatch.setenv("PREEMPT_REDIS_URL", valkey_url)
    monkeypatch.setenv("PREEMPT_TOPIC_PREFIX", topic_prefix)
    out = tmp_path / "frame.parquet"
    backfill(tmp_path / "history", out=out, store="redis")
    with pytest.raises(UserError, match="holds events already"):
        backfill(tmp_path / "history", out=out, store="redis")


def test_one_node_of_a_cluster_leads_to_the_cluster(tmp_path: Path) -> None:
    with ValkeyCluster(tmp_path) as cluster:
        client = redis_client(cluster.nodes[1].url)
        assert len(client.get_primaries()) == 3  # type: ignore[union-attr]
        client.close()
        shared_state(redis_settings(cluster.nodes[1].url), FEATURES)


def test_workers_go_on_from_what_backfill_put_there(
    valkey_url: str, topic_prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "history"
    write_dataset(SimulationConfig(orders=1_500, days=10), folder)
    times = pl.read_parquet(folder / "orders.parquet", columns=["event_time"])["event_time"]
    middle = times[len(times) // 2]
    monkeypatch.setenv("PREEMPT_REDIS_URL", valkey_url)
    monkeypatch.setenv("PREEMPT_TOPIC_PREFIX", topic_prefix)
    out = {name: tmp_path / f"{name}.parquet" for name in ("memory", "redis")}
    backfill(folder, out=out["memory"], until=middle, state_out=tmp_path / "state")
    backfill(folder, out=out["redis"], until=middle, store="redis")
    assert pl.read_parquet(out["redis"]).equals(pl.read_parquet(out["memory"]))

    later = orders_from_frame(
        pl.read_parquet(folder / "orders.parquet").filter(
            pl.col("event_time").is_between(middle, middle + timedelta(days=1))
        )
    )
    events = event_columns_from_orders(later, FEATURES)
    memory, _ = InMemoryState.load(tmp_path / "state", FEATURES)
    shared = shared_state(redis_settings(valkey_url, topic_prefix), FEATURES)
    assert not shared.is_new
    assert shared.apply(events).tobytes() == memory.apply(events).tobytes()
