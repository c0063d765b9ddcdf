import json
from pathlib import Path

import pytest

from orders.events import Order, Outcome
from orders.schema import json_schema

COMMITTED = Path(__file__).parents[2] / "docs" / "schema"


@pytest.mark.parametrize("event", [Order, Outcome])
def test_every_field_is_described(event: type[Order] | type[Outcome]) -> None:
    properties = json_schema(event)["properties"]
    assert list(properties) == list(event.__struct_fields__)
    undescribed = [name for name, field in properties.items() if "description" not in field]
    assert undescribed == ["schema", "version"]


def test_what_must_be_there_is_required() -> None:
    required = {"order_id", "event_time", "quantity", "unit_price", "currency"}
    assert set(json_schema(Order)["required"]) == required
    assert set(json_schema(Outcome)["required"]) == {"order_id", "kind", "event_time"}


def test_a_time_is_milliseconds_or_iso_8601() -> None:
    types = json_schema(Order)["properties"]["event_time"]["anyOf"]
    assert [kind["type"] for kind in types] == ["integer", "string"]
    assert json.loads((COMMITTED / "order.schema.json").read_text())["title"] == "Order"
