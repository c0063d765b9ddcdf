"""Ids and raw times must not tell an attack: only what people do may."""

import lightgbm as lgb
import numpy as np
import polars as pl
import pytest
from sklearn.metrics import roc_auc_score

from tests.training.simulated_shop import Shop, shop

IDS = ["order_id", "account", "device", "phone", "recipient", "ip", "payment", "merchant", "sku"]
IDS += ["address", "coupon", "user_agent"]


@pytest.fixture(scope="module")
def made() -> Shop:
    return shop(100_000, 12)


def raw_columns(orders: pl.DataFrame) -> np.ndarray:
    """Ids as hashed numbers, their lengths and characters, and every reading of the clock."""
    time = pl.col("event_time").dt.epoch("ms")
    columns = [
        expression
        for name in IDS
        for expression in (
            (pl.col(name).hash(1) % 2**32).alias(f"{name} hashed"),
            pl.col(name).is_null().alias(f"{name} missing"),
            pl.col(name).str.len_chars().alias(f"{name} characters"),
            pl.col(name).str.len_bytes().alias(f"{name} bytes"),
            pl.col(name).str.count_matches(r"\d").alias(f"{name} digits"),
            pl.col(name).str.slice(0, 3).rank("dense").alias(f"{name} begins"),
            pl.col(name).str.slice(-1).rank("dense").alias(f"{name} ends"),
        )
    ]
    columns += [
        pl.col("ip").str.split(".").list.get(i).cast(pl.Int64).alias(f"octet {i}") for i in range(4)
    ]
    columns += [
        pl.col("phone").cast(pl.Int64).alias("number"),
        time.alias("time"),
        *(
            (time % unit).alias(f"time within {unit}")
            for unit in (1000, 60_000, 3_600_000, 86_400_000)
        ),
        (time // 1000 % 60).alias("second"),
        (time // 60_000 % 60).alias("minute"),
        (time // 3_600_000 % 24).alias("hour"),
        (time // 86_400_000 % 7).alias("weekday"),
        (pl.col("received_time").dt.epoch("ms") - time).alias("delay"),
        (pl.col("account_created_time").dt.epoch("ms") % 1000).alias("created ms"),
    ]
    return orders.select(columns).cast(pl.Float64).to_numpy()


def auc_later(made: Shop, columns: np.ndarray, **options: object) -> float:
    """Trained on the first two thirds of the orders, tested on the rest."""
    attack = made.truth["is_attack"].to_numpy()
    cut = len(attack) * 65 // 100
    settings = {"objective": "binary", "verbose": -1, "num_threads": 1, "seed": 1, **options}
    train = lgb.Dataset(columns[:cut], attack[:cut].astype(int))
    model = lgb.train(settings, train, 60)
    return float(roc_auc_score(attack[cut:], np.asarray(model.predict(columns[cut:]))))


@pytest.mark.parametrize("leaves", [7, 31])
def test_ids_and_raw_times_do_not_tell_an_attack(made, leaves):
    auc = auc_later(made, raw_columns(made.orders), num_leaves=leaves, min_data_in_leaf=40)
    assert auc <= 0.55


def test_no_single_column_tells_an_attack_even_looking_back(made):
    columns = np.nan_to_num(raw_columns(made.orders), nan=-1)
    attack = made.truth["is_attack"].to_numpy()
    told = [abs(roc_auc_score(attack, column) - 0.5) for column in columns.T]
    assert max(told) <= 0.05


def test_missing_values_and_constants_are_the_same_for_everyone(made):
    rows = made.orders.with_columns(made.truth["is_attack"])
    missing = rows.group_by("is_attack", maintain_order=True).agg(pl.all().null_count() / pl.len())
    for name in set(rows.columns) - {"is_attack"}:
        parts = missing[name].to_numpy()
        assert abs(parts[0] - parts[1]) < (0.12 if name == "coupon" else 0.015), name
    assert rows["currency"].n_unique() == 1
    for name in ("order_id", "account", "device", "payment", "sku", "merchant"):
        assert rows[name].drop_nulls().str.contains("^[0-9a-f]{16}$").all()


def test_what_people_do_does_tell(made):
    """The counterpart: two simple looks at behaviour beat all ids together."""
    age = (made.orders["event_time"] - made.orders["account_created_time"]).dt.total_milliseconds()
    earlier = (
        made.orders.select(
            pl.int_range(pl.len()).over("device").alias("on_device"),
            pl.int_range(pl.len()).over("account").alias("of_account"),
        )
        .cast(pl.Float64)
        .to_numpy()
    )
    auc = auc_later(made, np.column_stack([age.to_numpy().astype(float), earlier]))
    assert 0.65 < auc < 0.95
