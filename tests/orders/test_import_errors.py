import re
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from orders.errors import UserError
from orders.importing import Imported, import_history

ORDER = """
[order]
order_id = "no"
event_time = { column = "placed", zone = "UTC" }
quantity = "qty"
unit_price = "price"
currency = { value = "CNY" }
"""

CSV = "no,placed,qty,price,Buyer Name\na1,2024-05-01,1,100,kim\n"


def fail(
    tmp_path: Path, mapping: str, name: str = "history.csv", content: str | bytes = CSV
) -> str:
    """What the user reads."""
    file = tmp_path / name
    if content:
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
    (tmp_path / "mapping.toml").write_text(mapping)
    with pytest.raises(UserError) as caught:
        import_history(file, tmp_path / "mapping.toml", tmp_path / "out")
    text = str(caught.value).replace(f"{tmp_path}/", "")
    assert "\n" not in text
    assert not (tmp_path / "out").exists()
    return text


def changed(**fields: str) -> str:
    """The mapping with other lines for these fields."""
    text = ORDER
    for name, where in fields.items():
        text = re.sub(
            rf"^{name} = .*$", f"{name} = {where}".replace("\\", "\\\\"), text, flags=re.M
        )
    return text


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ("[order", "mapping.toml is not TOML: "),
        ("[order]\nquantity = True\n", "mapping.toml, line 2 is not TOML: Invalid value (write true): quantity = True"),
        (changed(currency="CNY"), 'mapping.toml, line 7 is not TOML: Invalid value (text needs quotes, as "CNY"): currency = CNY'),
        (changed(order_id='"no'), "mapping.toml, line 3 is not TOML: Illegal character '\\n' (a quote is missing): order_id = \"no"),
        ("[attributes]\n礼品 = 'x'\n", "mapping.toml, line 2 is not TOML: Invalid statement (a name that is not plain ASCII needs quotes, as \"礼品\"): 礼品 = 'x'"),
        (changed(order_id=r'"c:\data"'), r"mapping.toml, line 3 is not TOML: Unescaped '\' in a string (in single quotes a backslash stands for itself): order_id = "),
        (ORDER.replace("quantity", "quantty"), "mapping.toml, line 5: [order] quantty is not a field of an order; did you mean 'quantity'?"),
        (ORDER.replace("currency", "#"), "mapping.toml, line 2: [order]: 'currency' is missing; an order must have it"),
        ("[source]\nfoo = 1\n" + ORDER, "mapping.toml, line 2: [source] foo: no such key; there are: format, separator, "),
        ("", "mapping.toml: 'order' is missing"),
        (changed(quantity='{ column = "qty", when = "x" }'), "mapping.toml, line 5: [order] quantity when: no such key; there are: column, expr, "),
        (changed(quantity='{ column = "qty", value = 1 }'), "mapping.toml, line 5: [order] quantity: expected one of column, expr, value, row_number, got column and value"),
        (changed(quantity="{ value = 0 }"), "mapping.toml, line 5: [order] quantity: expected an integer from 1 to 1000000, got 0"),
        (changed(currency='{ value = "yuan" }'), "mapping.toml, line 7: [order] currency: expected text like ^[A-Z]{3}$, got \"yuan\""),
        (changed(quantity='{ column = "qty", zone = "UTC" }'), "mapping.toml, line 5: [order] quantity: 'zone' is for times"),
        (changed(event_time='{ column = "placed", zone = "Mars/Olympus" }'), "mapping.toml, line 4: [order] event_time: 'Mars/Olympus' is no time zone"),
        (changed(quantity='"buyer name"'), "history.csv: there is no column 'buyer name'; did you mean 'Buyer Name'?"),
        (changed(quantity='"zzz"'), "history.csv: there is no column 'zzz'; there are: no, placed, qty, price, Buyer Name"),
        (changed(quantity='{ expr = "amount * 2" }'), "history.csv: there is no column 'amount'"),
        (changed(quantity='{ expr = "qty +" }'), "mapping.toml, line 5: [order] quantity: unable to parse 'qty +' as Expr"),
        (changed(quantity='{ expr = "qty + \'1" }'), "mapping.toml, line 5: [order] quantity: sql parser error: Unterminated string literal at Line: 1, Column: 7 in "),
        (changed(event_time='{ column = "placed", zone = "UTC", plus = "interval +" }'), "mapping.toml, line 4: [order] event_time plus: "),
        (ORDER + "[[outcome]]\nkind = 'paid'\nwhen = 'qty >'\nevent_time = {column='placed', zone='UTC'}\n", "mapping.toml, line 10: [[outcome]] 1 when: unable to parse 'qty >'"),
        (changed(quantity='{ expr = "(select 1)" }'), "mapping.toml, line 5: [order] quantity: 'select' looks beyond the row"),
        (changed(quantity='''{ expr = "qty in (select qty from read_csv('/etc/passwd'))" }'''), "mapping.toml, line 5: [order] quantity: 'select' looks beyond the row"),
        (changed(quantity='''{ expr = "read_csv('/etc/passwd')" }'''), "mapping.toml, line 5: [order] quantity: 'read_csv' would open a file"),
        (changed(quantity='{ expr = "max(qty)" }'), "mapping.toml, line 5: [order] quantity: 'max' looks beyond the row"),
        (changed(quantity='{ expr = "count(*) over ()" }'), "mapping.toml, line 5: [order] quantity: 'count' looks beyond the row"),
        (changed(event_time='{ expr = "now()" }'), "mapping.toml, line 4: [order] event_time: 'now' reads the clock"),
        (changed(quantity='''{ expr = "qty = '1'" }'''), "mapping.toml, line 5: [order] quantity: the source is Boolean, which is no number"),
        (ORDER + "[[outcome]]\nkind = 'exploded'\nevent_time = 'placed'\n", "mapping.toml, line 9: [[outcome]] 1 kind: did you mean \"expired\"? expected one of appeal_rejected, "),
        (ORDER + "[[outcome]]\nkind = 'paid'\n", "mapping.toml, line 8: [[outcome]] 1: 'event_time' is missing"),
        (ORDER + "[[outcome]]\nkind = 'paid'\nwhen = 'qty'\nevent_time = {column='placed', zone='UTC'}\n", "mapping.toml, line 10: [[outcome]] 1 when: expected a condition, got String"),
        (ORDER + "[[outcome]]\nkind = 'cancelled'\nevent_time = {column='placed', zone='UTC'}\nreason = {value='bored'}\n", 'mapping.toml, line 11: [[outcome]] 1 reason: "bored" is not in the taxonomy; there are: '),
        (ORDER + "[targets.love]\nmaturity_days = 1\n", "mapping.toml: [targets]: no target 'love', there are: risk, cancel"),
        (ORDER + "[targets.risk]\nmaturity_days = 'soon'\n", "mapping.toml, line 9: [targets] risk maturity_days: expected a number >= 0 or \"never\", got \"soon\""),
        (ORDER + "[[outcome]]\nkind = 'canceled'\nevent_time = 'x'\n", "mapping.toml, line 9: [[outcome]] 1 kind: did you mean \"cancelled\"? expected one of "),
        (ORDER + "[outcome]\nkind = 'paid'\n", "mapping.toml, line 8: [outcome]: expected a list: write [[outcome]], in two brackets"),
        (ORDER + "[order.phone]\ncolum = 'x'\n", "mapping.toml, line 9: [order] phone colum: no such key; did you mean 'column'?"),
        (changed(unit_price='{ column = "price", decimals = "two" }'), "mapping.toml, line 6: [order] unit_price decimals: expected an integer from 0 to 6, got \"two\""),
        (changed(quantity="1"), "mapping.toml, line 5: [order] quantity: expected text or a table, got 1; a constant is { value = 1 }"),
        ("order = 5\n", "mapping.toml, line 1: [order]: expected a table, got 5"),
        ("[source]\nties = 'shuffle'\n" + ORDER, "mapping.toml, line 2: [source] ties: did you mean \"shuffled\"? expected one of row, shuffled, got \"shuffle\""),
        ("[source]\ntypes = { qty = 'int' }\n" + ORDER, "mapping.toml, line 2: [source] types qty: did you mean \"integer\"? expected one of "),
        (changed(quantity="""{ expr = "qty in (from read_csv('/etc/passwd'))" }"""), "mapping.toml, line 5: [order] quantity: 'read_csv' would open a file"),
        ("[source]\ntypes = { qty = 'integer', colour = 'number' }\n" + ORDER, "history.csv: there is no column 'colour'"),
        ("[source]\nencoding = 'klingon'\n" + ORDER, "[source] encoding: 'klingon' is not known"),
    ],
)  # fmt: skip
def test_a_wrong_mapping_ends_with_one_line(tmp_path: Path, mapping: str, message: str) -> None:
    assert fail(tmp_path, mapping).startswith(message)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("history.csv", b"", "history.csv is not there"),
        ("history.xlsx", "x", "history.xlsx: cannot tell its format from '.xlsx'"),
        ("history.parquet", "not parquet", "history.parquet cannot be read as parquet: "),
        ("history.csv", 'no,placed,qty,price\na1,2024-05-01,1,"100\n', "history.csv cannot be imported: "),
        ("history.csv", CSV.replace("kim", "\xff").encode("latin-1"), "history.csv is not in utf-8 (byte 0xff at 51): say in the mapping how it is encoded, as [source] encoding = 'latin-1'"),
        ("history.csv", CSV.replace("Buyer Name", "买家").encode("gb18030"), "history.csv is not in utf-8 (byte 0xc2 at 20): say in the mapping how it is encoded, as [source] encoding = 'gb18030'"),
        ("history.csv", CSV.encode("utf-16"), "history.csv is not in utf-8 (byte 0xff at 0): say in the mapping how it is encoded, as [source] encoding = 'utf-16'"),
        ("history.csv", CSV.encode() + b"a1,2024-05-01,1,100,kim\n" * 3000 + b"a1,2024-05-01,1,100,\xff\n", "history.csv cannot be imported: "),
        ("history.csv", CSV.splitlines()[0], "history.csv has no rows"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_read_ends_with_one_line(
    tmp_path: Path, name: str, content: str | bytes, message: str
) -> None:
    assert fail(tmp_path, ORDER, name, content).startswith(message)


def test_an_empty_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    (tmp_path / "history.csv").touch()
    assert fail(tmp_path, ORDER, content=b"") == "history.csv is empty"
    (tmp_path / "folder.csv").mkdir()
    assert fail(tmp_path, ORDER, "folder.csv", b"") == "folder.csv is not a file"


def test_a_mapping_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read: No such file"):
        import_history(tmp_path / "x.csv", tmp_path / "none.toml", tmp_path / "out")


def test_times_need_a_zone_from_somewhere_and_from_one_place_only(tmp_path: Path) -> None:
    file = tmp_path / "history.parquet"
    frame = pl.read_csv(CSV.encode(), try_parse_dates=True)
    frame.write_parquet(file)
    no_zone = fail(tmp_path, changed(event_time='"placed"'), file.name, b"")
    assert no_zone.startswith(
        "mapping.toml, line 4: [order] event_time: these times carry no zone; give one"
    )
    frame.with_columns(pl.col("placed").cast(pl.Datetime("ms", "UTC"))).write_parquet(file)
    two = fail(tmp_path, ORDER, file.name, b"")
    assert two.startswith(
        "mapping.toml, line 4: [order] event_time: these times carry their own zone; leave 'zone'"
    )


def test_a_strict_conversion_in_an_expression_that_fails_is_one_line(tmp_path: Path) -> None:
    mapping = changed(quantity='{ expr = "cast(no as bigint)" }')
    assert fail(tmp_path, mapping).startswith("history.csv cannot be imported: ")


BAD = "b{},2024-05-01,1,19.99,kim\n"


def import_rows(tmp_path: Path, content: str, **options: Any) -> Imported:
    (tmp_path / "mapping.toml").write_text(ORDER)
    (tmp_path / "history.csv").write_text(content)
    return import_history(
        tmp_path / "history.csv", tmp_path / "mapping.toml", tmp_path / "new" / "out", **options
    )


def test_without_one_valid_order_an_import_fails_and_names_the_reason(tmp_path: Path) -> None:
    bad = CSV.splitlines()[0] + "\n" + BAD.format(1) + "c,soon,1,100,kim\n" + BAD.format(2)
    with pytest.raises(UserError) as caught:
        import_rows(tmp_path, bad, max_rejects=1.0)
    text = str(caught.value).replace(f"{tmp_path}/", "")
    assert text == (
        "history.csv: none of the rows is a valid order; 2 of 3 for the same reason, as row 1: "
        "unit_price (column 'price'): expected an integer from 0 to 10000000000000, in minor units "
        '(decimals = 2 reads 19.99 as 1999), got "19.99"; all are in new/out/rejects.failed.parquet'
    )
    assert pl.read_parquet(tmp_path / "new/out/rejects.failed.parquet").height == 3
    assert len(list((tmp_path / "new/out").iterdir())) == 1


def test_where_most_rows_are_rejected_the_earlier_import_stays_until_a_better_one(
    tmp_path: Path,
) -> None:
    out = tmp_path / "new" / "out"
    import_rows(tmp_path, CSV)
    before = {file.name: file.read_bytes() for file in out.iterdir()}
    mostly_bad = CSV + "".join(BAD.format(number) for number in range(2))
    with pytest.raises(UserError, match=r"66\.7% of the rows .* --max-rejects 50%.* is kept"):
        import_rows(tmp_path, mostly_bad)
    assert before == {name: (out / name).read_bytes() for name in before}
    assert (out / "rejects.failed.parquet").exists()
    assert import_rows(tmp_path, mostly_bad, max_rejects=0.7).rejects == 2
    assert {file.name for file in out.iterdir()} == before.keys()
