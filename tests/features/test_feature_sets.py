import dataclasses
import math
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from features.columns import columns_of_order_frame, event_columns_from_orders
from features.declare import DAY, count, distinct
from features.definitions import FEATURES
from features.document import documented, listing
from features.feature_set import attributes_of, feature_set
from features.order_values import category_code
from orders.events import Instant, Order
from orders.tables import frame_from_orders


def test_the_hash_is_of_what_is_computed_and_not_of_the_words() -> None:
    reworded = tuple(dataclasses.replace(f, description="…", unit="…") for f in FEATURES)
    assert feature_set(features=reworded).hash == feature_set().hash
    first = dataclasses.replace(FEATURES[20], window_s=DAY + 1)
    assert feature_set(features=(*FEATURES[:20], first, *FEATURES[21:])).hash != feature_set().hash
    assert feature_set(features=FEATURES[::-1]).hash != feature_set().hash


def test_attributes_become_features_in_one_sequence() -> None:
    assert feature_set({"b": "numeric", "a": "categorical"}).names[-2:] == (
        "attribute_a",
        "attribute_b",
    )
    assert feature_set({"b": "numeric", "a": "categorical"}).hash == (
        feature_set({"a": "categorical", "b": "numeric"}).hash
    )


def test_attributes_are_read_off_the_table() -> None:
    struct = pl.Struct({"room": pl.String, "nights": pl.Float64, "spa": pl.Boolean})
    kinds = {"room": "categorical", "nights": "numeric", "spa": "numeric"}
    assert attributes_of({"order_id": pl.String(), "attributes": struct}) == kinds
    assert attributes_of({"order_id": pl.String()}) == {}


def test_a_name_is_given_once() -> None:
    twice = count("orders", per="device", within=DAY, catches="x")
    with pytest.raises(ValueError, match="device_orders_24h"):
        feature_set(features=(twice, twice))


def test_a_declaration_of_what_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match="'fax' is no entity; there are account"):
        count("orders", per="fax", within=DAY, catches="x")
    with pytest.raises(ValueError, match="'vanished' is no outcome class"):
        count("vanished", per="device", within=DAY, catches="x")
    with pytest.raises(ValueError, match="7 is no window"):
        distinct("device", per="account", within=7, catches="x")


def test_every_feature_says_what_it_is() -> None:
    for row in listing(feature_set()):
        assert len(str(row["description"])) > 20, row["name"]
        assert row["window_s"] or row["entity"] is None


def test_the_committed_table_is_what_the_declarations_give() -> None:
    path = Path(__file__).parents[2] / "docs/features.md"
    text = path.read_text(encoding="utf-8")
    assert text == documented(text, feature_set()), (
        "run: python -m features.document docs/features.md"
    )


def test_attributes_of_orders_and_of_tables_are_the_same_numbers() -> None:
    declared = feature_set({"room": "categorical", "nights": "numeric", "spa": "numeric"})
    attributes = [
        {"room": "A", "nights": 2.5, "spa": True},
        {"room": None, "nights": None, "spa": False},
        {"room": "双床", "nights": -1.0},
        None,
    ]
    orders = [
        Order(
            order_id=f"o{i}", event_time=Instant(i), quantity=1, unit_price=1, currency="CNY",
            channel="web", attributes=values,
        )
        for i, values in enumerate(attributes)
    ]  # fmt: skip
    single = event_columns_from_orders(orders, declared).order_values
    np.testing.assert_array_equal(
        columns_of_order_frame(frame_from_orders(orders), declared).order_values, single
    )
    names = [feature.name for feature in declared.order_features]
    by_name = {name: single[:, i].tolist() for i, name in enumerate(names)}
    assert by_name["attribute_room"][0] == category_code("A")
    assert by_name["attribute_spa"][:2] == [1.0, 0.0]
    assert by_name["channel"][0] == category_code("web")
    assert math.isnan(by_name["attribute_nights"][1])


def test_a_mistyped_attribute_is_missing() -> None:
    declared = feature_set({"room": "categorical", "nights": "numeric"})
    order = Order(
        order_id="o", event_time=Instant(0), quantity=1, unit_price=1, currency="CNY",
        attributes={"room": 5.0, "nights": "two"},
    )  # fmt: skip
    assert np.isnan(event_columns_from_orders([order], declared).order_values[0, -2:]).all()
