import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest

from features.feature_set import feature_set
from features.memory import InMemoryState
from orders.errors import UsageError, UserError
from orders.events import Instant, Order, Outcome
from orders.tables import (
    ORDER_SCHEMA,
    OUTCOME_SCHEMA,
    frame_from_orders,
    frame_from_outcomes,
    scan_orders,
)
from preempt.commands.backfill import backfill

START = 1_740_000_000_000
N = 3_000
MINUTE = 60_000
DECLARED = feature_set({"wrapped": "numeric", "size": "categorical"})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two days of orders; one in ten events is known minutes to days late."""
    draw = np.random.default_rng(5)

    def received(event_time: int) -> Instant:
        is_late = draw.random() < 0.1
        return Instant(event_time + (int(draw.integers(2_000)) * MINUTE if is_late else 50))

    orders = [
        Order(
            order_id=f"o{i}",
            event_time=Instant(START + i // 2 * MINUTE),
            received_time=received(START + i // 2 * MINUTE),
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
    outcomes = []
    for order in orders:
        at = Instant(order.event_time + MINUTE * int(draw.integers(0, 600)))
        kind = "expired" if draw.random() < 0.3 else "delivered"
        outcomes.append(
            Outcome(order_id=order.order_id, kind=kind, event_time=at, received_time=received(at))
        )
    outcomes.sort(key=lambda outcome: outcome.event_time)
    folder = tmp_path_factory.mktemp("history")
    frame_from_orders(orders).write_parquet(folder / "orders.parquet", row_group_size=700)
    frame_from_outcomes(outcomes).write_parquet(folder / "outcomes.parquet", row_group_size=700)
    return folder


@pytest.fixture(scope="module")
def whole(folder: Path) -> pl.DataFrame:
    return backfilled(folder, folder / "frames" / "whole.parquet")


def backfilled(folder: Path, out: Path, **options: object) -> pl.DataFrame:
    backfill(folder, out=out, json=True, **options)  # pyright: ignore[reportArgumentType]
    return pl.read_parquet(out)


def arrivals(folder: Path) -> pl.DataFrame:
    """Ids and arrivals of the orders, in the sequence of arrival."""
    known = pl.max_horizontal("event_time", "received_time").alias("arrival")
    orders = scan_orders(folder).with_columns(known).collect()
    return orders.sort("arrival", maintain_order=True)


def test_the_frame_has_ids_times_features_and_text_as_orders_arrived(
    folder: Path, whole: pl.DataFrame
) -> None:
    assert whole.columns == ["order_id", "event_time", *DECLARED.names]
    orders = arrivals(folder)
    assert whole["order_id"].to_list() == orders["order_id"].to_list()
    assert whole["channel"].to_list() == orders["channel"].to_list()
    assert set(whole["attribute_size"]) == {"L"}
    missing = orders["device"].is_null()
    assert whole["device_orders_24h"].is_null().to_list() == missing.to_list()
    assert not whole["device_orders_24h"].is_nan().any()


def test_from_and_until_bound_the_rows_by_arrival_and_not_the_past(
    folder: Path, whole: pl.DataFrame, tmp_path: Path
) -> None:
    known = arrivals(folder)["arrival"]
    start, stop = known[1000], known[2000]
    part = backfilled(folder, tmp_path / "part.parquet", from_=start, until=stop)
    assert part.equals(whole.filter(known.is_between(start, stop, closed="left")))


@pytest.mark.parametrize("nudge_us", [0, 1, 1000])
def test_a_replay_continues_from_a_saved_state(
    folder: Path, whole: pl.DataFrame, tmp_path: Path, nudge_us: int
) -> None:
    middle = arrivals(folder)["arrival"][1500] + timedelta(microseconds=nudge_us)
    saved = tmp_path / "state"
    first = backfilled(folder, tmp_path / "1.parquet", until=middle, state_out=saved)
    assert 0 < len(first) < N
    # Orders that arrive later lie before the cut by their event time, so the cut matters.
    assert (first["event_time"] < middle).all()
    assert (whole[len(first) :]["event_time"] < middle).any()
    second = backfilled(folder, tmp_path / "2.parquet", from_=middle, state_in=saved)
    assert pl.concat([first, second]).equals(whole)
    assert backfilled(folder, tmp_path / "3.parquet", state_in=saved).equals(second)


def test_a_saved_state_takes_up_what_was_added_to_the_data_set(
    folder: Path, whole: pl.DataFrame, tmp_path: Path
) -> None:
    middle = arrivals(folder)["arrival"][1500]
    known = pl.max_horizontal("event_time", "received_time") < middle
    (tmp_path / "then").mkdir()
    for name in ("orders.parquet", "outcomes.parquet"):
        pl.read_parquet(folder / name).filter(known).write_parquet(tmp_path / "then" / name)
    saved = tmp_path / "state"
    first = backfilled(tmp_path / "then", tmp_path / "1.parquet", state_out=saved)
    second = backfilled(folder, tmp_path / "2.parquet", state_in=saved)
    assert pl.concat([first, second]).equals(whole)
    # All of it is in the state of the second run: a third one finds nothing.
    backfilled(folder, tmp_path / "2.parquet", state_in=saved, state_out=saved)
    with pytest.raises(UserError, match=r"^no order of .* arrived from .* on: nothing is written"):
        backfill(folder, out=tmp_path / "2.parquet", state_in=saved)
    assert not pl.read_parquet(tmp_path / "1.parquet").is_empty()


def test_json_says_how_many(folder: Path, tmp_path: Path, capsys) -> None:
    backfill(folder, out=tmp_path / "f.parquet", json=True)
    printed = json.loads(capsys.readouterr().out)
    assert printed["orders"] == N
    assert printed["orders_per_s"] > 0
    assert printed["features"] == len(DECLARED.features)
    assert (
        pq.read_schema(tmp_path / "f.parquet").metadata[b"feature_hash"].decode()
        == (printed["feature_hash"])
    )


@pytest.mark.parametrize("options", [[], ["--state-out", "state"]])
def test_a_data_set_without_orders_is_an_error_and_the_former_frame_stays(
    tmp_path: Path, options: list[str]
) -> None:
    pl.DataFrame(schema=ORDER_SCHEMA).write_parquet(tmp_path / "orders.parquet")
    pl.DataFrame(schema=OUTCOME_SCHEMA).write_parquet(tmp_path / "outcomes.parquet")
    out = tmp_path / "frame.parquet"
    out.write_text("the former one")
    done = command("backfill", tmp_path, "--out", out, *options, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr == (
        f"preempt: {tmp_path} has no orders: nothing is written; look at what made it\n"
    )
    assert out.read_text() == "the former one"
    assert not (tmp_path / "state").exists()


def test_where_no_order_is_in_the_range_it_says_which_there_are(
    folder: Path, tmp_path: Path
) -> None:
    long_ago = datetime(2001, 1, 1, tzinfo=UTC)
    with pytest.raises(
        UserError, match=r"arrived before 2001-.*: nothing is written; they arrived from 2025-"
    ):
        backfill(folder, out=tmp_path / "f.parquet", until=long_ago)
    with pytest.raises(UserError, match=r"arrived from 2101-.* on: nothing is written"):
        backfill(folder, out=tmp_path / "f.parquet", from_=long_ago.replace(year=2101))
    assert not (tmp_path / "f.parquet").exists()


def test_what_only_moves_the_state_on_may_write_no_order(folder: Path, tmp_path: Path) -> None:
    out, saved = tmp_path / "f.parquet", tmp_path / "state"
    never = datetime(2101, 1, 1, tzinfo=UTC)
    assert backfilled(folder, out, from_=never, state_out=saved).is_empty()
    assert saved.exists()


def command(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "preempt", *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_file_where_a_data_set_is_asked_for_is_wrong_use(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "orders.csv").write_text("no\n1\n")
    done = command("backfill", "orders.csv", "--out", "f.parquet", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr == (
        "preempt: orders.csv is a file, and a data set is a folder: make one with "
        "'preempt import orders.csv --mapping M.toml --out DIR'\n"
    )
    with pytest.raises(UsageError, match=r"name the folder of the data set, "):
        backfill(folder / "orders.parquet", out=tmp_path / "f.parquet")


def test_bad_use_is_one_clear_line(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "f.parquet"
    early, late = datetime(2025, 1, 1, tzinfo=UTC), datetime(2025, 2, 1, tzinfo=UTC)
    with pytest.raises(UserError, match="--state-in is for --store memory"):
        backfill(folder, out=out, store="redis", state_in=tmp_path / "state")
    with pytest.raises(UserError, match=r"--from 2025-02-01\S+ is not before --until 2025-01-01"):
        backfill(folder, out=out, from_=late, until=early)
    with pytest.raises(UserError, match="no snapshot"):
        backfill(folder, out=out, state_in=folder / "orders.parquet")
    with pytest.raises(UserError, match="not there"):
        backfill(tmp_path / "nowhere", out=out, until=early)
    with pytest.raises(UserError, match="is a folder; name a file"):
        backfill(folder, out=tmp_path)
    with pytest.raises(UserError, match="is a folder; name a file"):
        backfill(folder, out=out, state_out=tmp_path)
    with pytest.raises(UserError, match="is a table of the data set"):
        backfill(folder, out=folder / "outcomes.parquet")
    with pytest.raises(UserError, match="is --out or a table of the data set"):
        backfill(folder, out=out, state_out=out)
    with pytest.raises(UserError, match=r"orders\.parquet is not a folder"):
        backfill(folder, out=folder / "orders.parquet" / "f.parquet")
    assert not out.exists()


def test_a_state_that_does_not_fit_the_times_is_one_clear_line(
    folder: Path, tmp_path: Path
) -> None:
    out, saved = tmp_path / "f.parquet", tmp_path / "state"
    until = datetime.fromtimestamp(START / 1000, UTC) + timedelta(hours=3)
    backfill(folder, out=out, until=until, state_out=saved)
    with pytest.raises(UserError, match=r"holds what arrived before .* are in it already"):
        backfill(folder, out=out, state_in=saved, from_=until - timedelta(hours=1))
    with pytest.raises(UserError, match="nothing is left until"):
        backfill(folder, out=out, state_in=saved, until=until)
    InMemoryState(DECLARED).save(saved)
    with pytest.raises(UserError, match="does not say until when"):
        backfill(folder, out=out, state_in=saved)


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (lambda folder: (folder / "outcomes.parquet").unlink(), "outcomes.parquet is not there"),
        (
            lambda folder: changed(folder / "orders.parquet", pl.col("quantity").cast(pl.String)),
            "column 'quantity' is String, expected Int64",
        ),
        (
            lambda folder: changed(
                folder / "orders.parquet",
                pl.when(pl.col("order_id") != "o9").then("event_time").alias("event_time"),
            ),
            "orders: a row has no event_time",
        ),
        (
            lambda folder: changed(folder / "outcomes.parquet", pl.all().reverse()),
            "outcomes are not sorted by event_time",
        ),
        (
            lambda folder: (folder / "orders.parquet").write_bytes(b"PAR1 and no more"),
            "not a readable Parquet file",
        ),
        (lambda folder: scrambled(folder / "orders.parquet"), "cannot be read"),
    ],
)
def test_a_spoilt_data_set_is_one_clear_line_and_leaves_the_former_frame(
    folder: Path, tmp_path: Path, spoil: Callable[[Path], None], complaint: str
) -> None:
    for name in ("orders.parquet", "outcomes.parquet"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    spoil(tmp_path)
    (tmp_path / "frame.parquet").write_text("the former one")
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(UserError, match=complaint) as raised:
        backfill(tmp_path, out=tmp_path / "frame.parquet")
    assert "\n" not in str(raised.value)
    assert (tmp_path / "frame.parquet").read_text() == "the former one"
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def changed(file: Path, change: pl.Expr) -> None:
    pl.read_parquet(file).with_columns(change).write_parquet(file)


def scrambled(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[1000 : len(content) // 2] = bytes(len(content) // 2 - 1000)
    file.write_bytes(content)


# Warm first: what is compiled is kept on disk, too.
_LIMITED = """
import resource, sys
from preempt.cli import main
from preempt.commands.backfill import backfill
from pathlib import Path
folder, out, limit, *more = sys.argv[1:]
backfill(Path(folder), out=Path(out + ".warm"), json=True)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), int(limit)))
sys.argv = ["preempt", "backfill", folder, "--out", out, *more]
main()
"""


def test_a_full_disk_is_one_clear_line_and_leaves_the_former_file(
    folder: Path, whole: pl.DataFrame, tmp_path: Path
) -> None:
    # A limit on the size of a file fails a write as a full disk does.
    out, state = tmp_path / "frame.parquet", tmp_path / "state"
    frame_size = (folder / "frames" / "whole.parquet").stat().st_size
    partly = "the disk took only a part of it"
    for limit, options, full, reason in (
        (20_000, [], out, "File too large"),
        (frame_size + 1, ["--state-out", str(state)], state, partly),
    ):
        full.write_text("the former one")
        ended = subprocess.run(
            [sys.executable, "-c", _LIMITED, str(folder), str(out), str(limit), *options],
            capture_output=True,
            text=True,
            check=False,
        )
        assert ended.returncode == 1
        assert ended.stderr == f"preempt: cannot write {full}: {reason}\n"
        assert full.read_text() == "the former one"
        left = {path.name for path in tmp_path.iterdir()}
        assert left <= {"frame.parquet", "state", "frame.parquet.warm"}


@pytest.mark.parametrize("store", ["memory", "redis"])
def test_an_interruption_says_what_stands_and_leaves_the_former_frame(
    tmp_path: Path,
    store: str,
    valkey_url: str,
    topic_prefix: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PREEMPT_REDIS_URL", valkey_url)
    monkeypatch.setenv("PREEMPT_TOPIC_PREFIX", topic_prefix)
    history(tmp_path / "history", orders=120_000)
    out = tmp_path / "out" / "frame.parquet"
    out.parent.mkdir()
    out.write_text("the former one")
    command = [sys.executable, "-c", "from preempt.cli import main; main()", "backfill"]
    with subprocess.Popen(
        [*command, str(tmp_path / "history"), "--out", str(out), "--store", store],
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        deadline = time.monotonic() + 60
        while not list(out.parent.glob(".frame*")) and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.2)
        running.send_signal(signal.SIGINT)
        _, complaint = running.communicate(timeout=120)  # the block under way is finished
    assert running.returncode == 130, complaint
    next_step = {
        "memory": ": begin again",
        "redis": ", and Redis holds a part of the history: begin again with an empty Redis or "
        "another PREEMPT_TOPIC_PREFIX",
    }[store]
    assert re.fullmatch(
        rf"preempt: stopped after [\d,]+ of 120,000 orders; {re.escape(str(out))} is as it was "
        rf"before{re.escape(next_step)}\n",
        complaint,
    ), complaint
    assert [path.name for path in out.parent.iterdir()] == ["frame.parquet"]
    assert out.read_text() == "the former one"


_MEASURED = """
import resource, sys
from pathlib import Path
from preempt.commands.backfill import backfill
backfill(Path(sys.argv[1]), out=Path(sys.argv[2]), json=True)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_memory_follows_the_state_and_not_the_data_set(tmp_path: Path) -> None:
    # 1,000 orders a day, so that the state, which spans 45 days, is the same for both.
    peaks_mb, tables_mb = [], []
    for orders in (330_000, 530_000):
        folder = tmp_path / str(orders)
        read = history(folder, orders)
        ended = subprocess.run(
            [sys.executable, "-c", _MEASURED, str(folder), str(folder / "frame.parquet")],
            capture_output=True,
            text=True,
            check=True,
        )
        written = 8 * orders * len(pl.scan_parquet(folder / "frame.parquet").collect_schema())
        tables_mb.append((read + written) / 1e6)
        peaks_mb.append(int(ended.stdout.split()[-1]) * 1024 / 1e6)
    [fewer, more], [lower, higher] = tables_mb, peaks_mb
    # How full the queues between the threads become differs from run to run.
    assert higher - lower < 0.8 * (more - fewer)


def history(folder: Path, orders: int) -> int:
    """A data set of 1,000 orders a day, each with an outcome; returns its bytes in memory."""
    folder.mkdir()
    draw = np.random.default_rng(1)
    times = pl.Series(START + np.arange(orders) * 86_400, dtype=pl.Int64)
    ids = pl.select(pl.format("order-{}", pl.int_range(orders))).to_series()

    def made(schema: dict[str, pl.DataType], **columns: object) -> pl.DataFrame:
        given = pl.DataFrame({"order_id": ids, "event_time": times, **columns})
        return given.select(
            (pl.col(name) if name in given.columns else pl.lit(None)).cast(dtype).alias(name)
            for name, dtype in schema.items()
        )

    def some(prefix: str, most: int) -> list[str]:
        return [f"{prefix}-{number}" for number in draw.integers(most, size=orders)]

    placed = made(
        ORDER_SCHEMA,
        account=some("account", 20_000),
        device=some("device", 20_000),
        address=some("a rather long street name", 20_000),
        payment=some("payment", 20_000),
        merchant=some("merchant", 500),
        quantity=np.ones(orders, np.int64),
        unit_price=draw.integers(1, 10_000, orders),
        currency=["CNY"] * orders,
    )
    taken = made(OUTCOME_SCHEMA, kind=["expired"] * orders)
    placed.write_parquet(folder / "orders.parquet", row_group_size=65_536)
    taken.write_parquet(folder / "outcomes.parquet", row_group_size=65_536)
    return int(placed.estimated_size() + taken.estimated_size())
