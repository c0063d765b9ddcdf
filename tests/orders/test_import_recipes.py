"""The recipes of docs/import.md do what it says."""

import re
from pathlib import Path

import pytest

from orders.importing import import_history
from orders.tables import scan_orders

DOCUMENT = Path(__file__).parents[2] / "docs" / "import.md"

ORDER = """
[order]
order_id = { row_number = "o" }
event_time = { column = "placed", zone = "UTC" }
quantity = { value = 1 }
currency = { value = "CNY" }
"""


def recipe(name: str) -> str:
    found = re.search(rf"<!-- tested: {name} -->\n```toml\n(.*?)```", DOCUMENT.read_text(), re.S)
    assert found is not None, name
    return found[1]


def imported(tmp_path: Path, mapping: str, content: str) -> Path:
    (tmp_path / "m.toml").write_text(mapping)
    (tmp_path / "h.csv").write_text(content)
    import_history(tmp_path / "h.csv", tmp_path / "m.toml", tmp_path / "out", max_rejects=1.0)
    return tmp_path / "out"


@pytest.mark.parametrize(
    ("name", "amounts", "minor"),
    [
        (
            "amounts",
            ["1,299.00", "¥59.00", "￥1,059.5", "7", "free", "¥", ""],
            [129_900, 5_900, 105_950, 700],
        ),
        ("amounts with a comma", ["1.299,00", "59,00", "7", "1,2,3"], [129_900, 5_900, 700]),
    ],
)
def test_amounts_as_people_write_them_become_minor_units(
    tmp_path: Path, name: str, amounts: list[str], minor: list[int]
) -> None:
    rows = "".join(f'2024-05-01,"{amount}"\n' for amount in amounts)
    folder = imported(tmp_path, ORDER + recipe(name), "placed,price\n" + rows)
    assert scan_orders(folder).collect()["unit_price"].to_list() == minor


def test_chinese_names_of_columns_and_attributes(tmp_path: Path) -> None:
    content = "订单号,下单时间,数量,单价,是否礼品,买家 备注\na1,2024-05-01 08:00,1,59.00,是,快\n"
    folder = imported(tmp_path, recipe("quoting"), content)
    (order,) = scan_orders(folder).collect().to_dicts()
    assert order["order_id"] == "a1"
    assert order["attributes"] == {"礼品": True, "备注": "快"}
