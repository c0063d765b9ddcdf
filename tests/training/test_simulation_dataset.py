import json
from pathlib import Path

import polars as pl
import pytest

from orders.errors import UserError
from orders.tables import scan_orders, scan_outcomes
from preempt.commands.simulate import simulate as command
from training.simulation.config import DEFAULT_START, SimulationConfig, parse_start
from training.simulation.dataset import write_dataset

CONFIG = SimulationConfig(3_000, 2, block_orders=1_000)


def test_a_data_set_can_be_read_as_one(tmp_path: Path):
    done: list[int] = []
    counts = write_dataset(CONFIG, tmp_path / "shop", done.append)
    assert sum(done) == counts.orders == 3_000
    orders = scan_orders(tmp_path / "shop").collect()
    outcomes = scan_outcomes(tmp_path / "shop").collect()
    truth = pl.read_parquet(tmp_path / "shop" / "truth.parquet")
    assert orders.height == 3_000
    assert outcomes.height == counts.outcomes
    assert orders["event_time"].is_sorted()
    assert outcomes["event_time"].is_sorted()
    assert truth["is_attack"].sum() == counts.attack_orders
    assert truth["attack_id"].n_unique() - 1 == counts.attacks


def test_only_the_three_files_are_written_and_others_are_left_alone(tmp_path: Path):
    (tmp_path / "notes.txt").write_text("mine")
    write_dataset(CONFIG, tmp_path)
    write_dataset(SimulationConfig(100, 1), tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "notes.txt",
        "orders.parquet",
        "outcomes.parquet",
        "truth.parquet",
    ]
    assert pl.read_parquet(tmp_path / "orders.parquet").height == 100


def test_an_interrupted_run_leaves_the_folder_as_it_was(tmp_path: Path):
    write_dataset(SimulationConfig(100, 1), tmp_path)

    def interrupt(orders: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_dataset(CONFIG, tmp_path, interrupt)
    assert len(list(tmp_path.iterdir())) == 3
    assert pl.read_parquet(tmp_path / "orders.parquet").height == 100


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"orders": 0, "days": 1}, "--orders is 0"),
        ({"orders": -5, "days": 1}, "--orders is -5"),
        ({"orders": 5, "days": 0}, "--days is 0"),
        ({"orders": 5, "days": -1}, "--days is -1"),
        ({"orders": 5, "days": float("nan")}, "--days is nan"),
        ({"orders": 5, "days": 1, "seed": -1}, "--seed is -1"),
        ({"orders": 5, "days": 1, "attack_share": 2}, "--attack-share is 2"),
    ],
)
def test_options_out_of_range_are_named(fields, message):
    with pytest.raises(UserError, match=message):
        SimulationConfig(**fields)


@pytest.mark.parametrize("text", ["yesterday", "2026-03-02", "2026-03-02T00:00:00"])
def test_a_start_without_zone_or_sense_is_refused(text):
    with pytest.raises(UserError, match="--start is"):
        parse_start(text)


def test_a_folder_that_cannot_be_made_is_one_clear_line(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="choose another --out"):
        write_dataset(CONFIG, tmp_path / "file")


def test_the_default_start_is_the_default(tmp_path: Path):
    assert SimulationConfig(1, 1).start == parse_start(DEFAULT_START)


def test_the_command_prints_the_counts_as_one_json_object(tmp_path: Path, capsys):
    command(orders=200, days=1, out=tmp_path, json=True)
    counts = json.loads(capsys.readouterr().out)
    assert counts["orders"] == 200
    assert {"outcomes", "attack_orders", "attacks", "orders_per_s"} <= set(counts)


def test_the_command_tells_people_what_it_made(tmp_path: Path, capsys):
    command(orders=200, days=1, out=tmp_path)
    assert capsys.readouterr().out.startswith("200 orders and ")
