import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from features.columns import event_columns_from_frames
from features.feature_set import attributes_of, feature_set
from features.frame_file import frame_writer
from features.memory import InMemoryState
from features.replay import replay
from orders.errors import UserError
from orders.events import Instant, Order, Outcome
from orders.tables import frame_from_orders, frame_from_outcomes, scan_orders, scan_outcomes
from preempt.commands.backfill import backfill

START = 1_740_000_000_000
N = 3_000
MINUTE = 60_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    draw = np.random.default_rng(5)
    orders = [
        Order(
            order_id=f"o{i}",
            event_time=Instant(START + i // 2 * MINUTE),
            account=f"u{draw.integers(80)}",
            device=None if draw.random() < 0.1 else f"d{draw.integers(60)}",
            ip=f"10.0.{draw.integers(5)}.{draw.integers(20)}",
            quantity=1,
            unit_price=int(draw.integers(1, 1000)),
            currency="CNY",
            address=f"{draw.integers(40)} Long Road",
            channel="web" if draw.random() < 0.5 else "app",
            attributes={"wrapped": bool(draw.random() < 0.5), "size": "L"},
        )
        for i in range(N)
    ]
    outcomes = [
        Outcome(
            order_id=order.order_id,
            kind="expired" if draw.random() < 0.3 else "delivered",
            event_time=Instant(order.event_time + MINUTE * int(draw.integers(0, 600))),
        )
        for order in orders
    ]
    outcomes.sort(key=lambda outcome: outcome.event_time)
    folder = tmp_path_factory.mktemp("history")
    frame_from_orders(orders).write_parquet(folder / "orders.parquet", row_group_size=700)
    frame_from_outcomes(outcomes).write_parquet(folder / "outcomes.parquet", row_group_size=700)
    return folder


@pytest.fixture(scope="module")
def whole(folder: Path) -> pl.DataFrame:
    return backfilled(folder, folder / "whole.parquet")


def backfilled(folder: Path, out: Path, **options: object) -> pl.DataFrame:
    backfill(folder, out=out, json=True, **options)  # pyright: ignore[reportArgumentType]
    return pl.read_parquet(out)


def test_a_replay_in_blocks_equals_one_application(folder: Path) -> None:
    orders, outcomes = scan_orders(folder), scan_outcomes(folder)
    declared = feature_set(attributes_of(orders.collect_schema()))
    state = InMemoryState(declared)
    frames = list(replay(orders, outcomes, state, declared, block=256))
    assert max(map(len, frames)) <= 256
    got = pl.concat(frames).select(n for n in declared.names if n not in declared.categorical)

    events = event_columns_from_frames(orders.collect(), outcomes.collect(), declared)
    once = InMemoryState(declared)
    vectors = once.apply(events)
    numeric = [i for i, n in enumerate(declared.names) if n not in declared.categorical]
    np.testing.assert_array_equal(got.to_numpy(), vectors[:, numeric])
    assert state.n_live == once.n_live  # outcomes after the last order were taken, too


def test_the_frame_has_ids_times_features_and_text(folder: Path, whole: pl.DataFrame) -> None:
    declared = feature_set({"wrapped": "numeric", "size": "categorical"})
    assert whole.columns == ["order_id", "event_time", *declared.names]
    orders = scan_orders(folder).collect()
    assert whole["order_id"].to_list() == orders["order_id"].to_list()
    assert whole["channel"].to_list() == orders["channel"].to_list()
    assert set(whole["attribute_size"]) == {"L"}
    missing = orders["device"].is_null()
    assert whole["device_orders_24h"].is_null().to_list() == missing.to_list()
    assert not whole["device_orders_24h"].is_nan().any()


def test_from_and_until_bound_the_rows_and_not_the_past(
    folder: Path, whole: pl.DataFrame, tmp_path: Path
) -> None:
    times = whole["event_time"]
    start, stop = times[1000], times[2000]
    part = backfilled(folder, tmp_path / "part.parquet", from_=start, until=stop)
    inside = whole.filter(pl.col("event_time").is_between(start, stop, closed="left"))
    assert part.equals(inside)


def test_a_replay_continues_from_a_saved_state(
    folder: Path, whole: pl.DataFrame, tmp_path: Path
) -> None:
    middle = whole["event_time"][1500]
    saved = tmp_path / "state"
    first = backfilled(folder, tmp_path / "1.parquet", until=middle, state_out=saved)
    second = backfilled(folder, tmp_path / "2.parquet", from_=middle, state_in=saved)
    assert pl.concat([first, second]).equals(whole)


def test_json_says_how_many(folder: Path, tmp_path: Path, capsys) -> None:
    backfill(folder, out=tmp_path / "f.parquet", json=True)
    printed = json.loads(capsys.readouterr().out)
    assert printed["orders"] == N
    assert printed["orders_per_s"] > 0
    assert printed["features"] == len(feature_set().features) + 2


def test_bad_use_is_one_clear_line(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "f.parquet"
    with pytest.raises(UserError, match="--state-in is for --store memory"):
        backfill(folder, out=out, store="redis", state_in=tmp_path / "state")
    with pytest.raises(UserError, match="needs a zone"):
        backfill(folder, out=out, from_=datetime(2025, 1, 1))
    with pytest.raises(UserError, match="no snapshot"):
        backfill(folder, out=out, state_in=folder / "orders.parquet")
    with pytest.raises(UserError, match="not there"):
        backfill(tmp_path / "nowhere", out=out, until=datetime(2025, 1, 1, tzinfo=UTC))
    assert not out.exists()


def test_an_unsorted_table_is_refused_and_leaves_no_frame(folder: Path, tmp_path: Path) -> None:
    pl.read_parquet(folder / "orders.parquet").reverse().write_parquet(tmp_path / "orders.parquet")
    pl.read_parquet(folder / "outcomes.parquet").write_parquet(tmp_path / "outcomes.parquet")
    with pytest.raises(UserError, match="orders are not sorted by event_time"):
        backfill(tmp_path, out=tmp_path / "frame.parquet")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["orders.parquet", "outcomes.parquet"]


def test_a_folder_is_no_frame_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is a folder"), frame_writer(tmp_path, feature_set()):
        pass
