import json
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orders.decoding import decode_orders, decode_outcomes
from orders.errors import UserError
from orders.events import encoder
from orders.importing import STEPS, Imported, import_history
from orders.rejects import REJECT_SCHEMA
from orders.tables import (
    orders_from_frame,
    outcomes_from_frame,
    scan_orders,
    scan_outcomes,
)

MAPPING = """
[order]
order_id = "no"
event_time = { column = "placed", zone = "Asia/Shanghai" }
account = "buyer"
quantity = "qty"
unit_price = { column = "price", decimals = 2 }
currency = { value = "CNY" }

[attributes]
colour = "colour"

[[outcome]]
kind = "cancelled"
when = "state = 'cancelled'"
event_time = { column = "closed", zone = "Asia/Shanghai" }
reason_text = "why"
"""

HEADER = "no,placed,buyer,qty,price,colour,state,closed,why"
GOOD = "a1,2024-05-01 08:00:00,kim,2,19.99,red,done,,"
CANCELLED = "a2,2024-05-01 07:00:00,lee,1,5,,cancelled,2024-05-02 09:30:00,too dear"


def imported(
    tmp_path: Path,
    rows: list[str],
    mapping: str = MAPPING,
    *,
    name: str = "history.csv",
    **options: int,
) -> Imported:
    file = tmp_path / name
    file.write_text("\n".join([HEADER, *rows]) + "\n")
    return run(tmp_path, file, mapping, **options)


def run(
    tmp_path: Path, file: Path, mapping: str = MAPPING, *, bucket_rows: int = 1_000_000
) -> Imported:
    mapping_file = tmp_path / "mapping.toml"
    mapping_file.write_text(mapping)
    return import_history(
        file, mapping_file, tmp_path / "out", max_rejects=1.0, bucket_rows=bucket_rows
    )


def sizes(done: Imported) -> tuple[int, int, int, dict[str, int]]:
    """Orders, outcomes, rejects, and these by code."""
    return done.orders, done.outcomes, done.rejects, done.reasons


def orders(tmp_path: Path) -> pl.DataFrame:
    return scan_orders(tmp_path / "out").collect()


def outcomes(tmp_path: Path) -> pl.DataFrame:
    return scan_outcomes(tmp_path / "out").collect()


def rejects(tmp_path: Path) -> list[dict[str, str]]:
    return pl.read_parquet(tmp_path / "out" / "rejects.parquet").to_dicts()


def test_rows_become_orders_and_outcomes_sorted_by_time(tmp_path: Path) -> None:
    assert sizes(imported(tmp_path, [GOOD, CANCELLED])) == (2, 1, 0, {})
    assert orders(tmp_path).select("order_id", "event_time", "unit_price", "attributes").rows() == [
        ("a2", datetime(2024, 4, 30, 23, 0, tzinfo=UTC), 500, {"colour": None}),
        ("a1", datetime(2024, 5, 1, 0, 0, tzinfo=UTC), 1999, {"colour": "red"}),
    ]
    assert outcomes(tmp_path).rows() == [
        ("a2", "cancelled", datetime(2024, 5, 2, 1, 30, tzinfo=UTC), None, None, "too dear", None)
    ]
    assert rejects(tmp_path) == []
    assert pl.read_parquet_schema(tmp_path / "out" / "rejects.parquet") == REJECT_SCHEMA


def test_the_data_set_has_its_files_and_nothing_else(tmp_path: Path) -> None:
    imported(tmp_path, [GOOD], MAPPING + "[targets.cancel]\nmaturity_days = 'never'\n")
    files = {path.name for path in (tmp_path / "out").iterdir()}
    assert files == {"orders.parquet", "outcomes.parquet", "rejects.parquet", "dataset.json"}
    settings = json.loads((tmp_path / "out" / "dataset.json").read_text())
    assert settings == {"targets": {"cancel": {"maturity_days": None}}}
    imported(tmp_path, [GOOD])
    assert not (tmp_path / "out" / "dataset.json").exists()


@pytest.mark.parametrize(
    ("row", "field", "code", "reason"),
    [
        (",2024-05-01 08:00:00,kim,2,1,,,,", "order_id", "missing_field", "order_id (column 'no'): expected text of 1 to 256 characters, got nothing"),
        ("x,,kim,2,1,,,,", "event_time", "missing_field", None),
        ("x,yesterday,kim,2,1,,,,", "event_time", "wrong_type", "event_time (column 'placed'): expected a time from 1970 to 9999 like 2024-05-31 13:45:00 (format says if it looks different), got \"yesterday\""),
        ("x,1969-01-01,kim,2,1,,,,", "event_time", "out_of_range", None),
        ("x,2024-05-01,kim,-3,1,,,,", "quantity", "out_of_range", 'quantity (column \'qty\'): expected an integer from 1 to 1000000, got "-3"'),
        ("x,2024-05-01,kim,1.5,1,,,,", "quantity", "wrong_type", 'quantity (column \'qty\'): expected an integer from 1 to 1000000, got "1.5"'),
        ("x,2024-05-01,kim,two,1,,,,", "quantity", "wrong_type", None),
        ("x,2024-05-01,kim,99999999999999999999,1,,,,", "quantity", "wrong_type", None),
        ("x,2024-05-01,kim,2,free,,,,", "unit_price", "wrong_type", "unit_price (column 'price'): expected an amount of 0 or more, in major units (decimals = 2), got \"free\""),
        ("x,2024-05-01,kim,2,NaN,,,,", "unit_price", "wrong_type", None),
        ("x,2024-05-01,kim,2,-0.01,,,,", "unit_price", "out_of_range", None),
        ("x,2024-05-01,kim,2,1e40,,,,", "unit_price", "wrong_type", None),
        (f"x,2024-05-01,{'k' * 2049},2,1,,,,", "account", "out_of_range", f'account (column \'buyer\'): expected text of at most 2048 characters, got "{"k" * 64}…"'),
        (f"{'k' * 257},2024-05-01,kim,2,1,,,,", "order_id", "out_of_range", None),
        ("x,2024-05-01,kim,2,1,red,done,,,cell too many", "", "broken_row", "expected 9 cells in a row, got another shape"),
        ("a1,2024-05-01,kim,2,1,,,,", "order_id", "repeated", 'order_id: expected once, got "a1", as in row 1'),
    ],
)  # fmt: skip
def test_a_row_that_is_no_order_is_rejected_with_one_reason(
    tmp_path: Path, row: str, field: str, code: str, reason: str | None
) -> None:
    assert sizes(imported(tmp_path, [GOOD, row, CANCELLED])) == (2, 1, 1, {code: 1})
    (reject,) = rejects(tmp_path)
    assert reject["row"] == 2
    assert (reject["event"], reject["field"], reject["code"]) == ("order", field, code)
    assert reason is None or reject["reason"] == reason
    assert json.loads(reject["raw"])["buyer"] == row.split(",")[2]


def test_the_outcomes_of_a_rejected_order_are_dropped(tmp_path: Path) -> None:
    bad = CANCELLED.replace(",5,", ",-5,")
    assert sizes(imported(tmp_path, [GOOD, bad])) == (1, 0, 1, {"out_of_range": 1})


@pytest.mark.parametrize(
    ("closed", "code"),
    [("", "missing_field"), ("soon", "wrong_type"), ("2024-04-30", "before_order")],
)
def test_an_outcome_without_a_possible_time_is_rejected_and_its_order_stays(
    tmp_path: Path, closed: str, code: str
) -> None:
    row = CANCELLED.replace("2024-05-02 09:30:00", closed)
    assert sizes(imported(tmp_path, [row])) == (1, 0, 1, {code: 1})
    (reject,) = rejects(tmp_path)
    assert (reject["row"], reject["event"], reject["field"]) == (1, "cancelled", "event_time")


def test_of_several_rows_with_the_same_order_number_the_first_valid_one_stays(
    tmp_path: Path,
) -> None:
    rows = [GOOD.replace(",2,", ",0,"), GOOD, GOOD.replace("kim", "lee"), GOOD]
    assert sizes(imported(tmp_path, rows)) == (1, 0, 3, {"out_of_range": 1, "repeated": 2})
    assert orders(tmp_path)["account"].to_list() == ["kim"]
    assert [reject["row"] for reject in rejects(tmp_path)] == [1, 3, 4]


def test_short_and_blank_rows_of_a_csv_do_not_stop_the_import(tmp_path: Path) -> None:
    assert imported(tmp_path, ["", "only-a-number", GOOD, ""]).orders == 1
    assert [reject["field"] for reject in rejects(tmp_path)] == ["event_time"]


@pytest.mark.parametrize("bucket_rows", [1, 7, 1_000])
def test_a_history_is_sorted_in_parts_as_it_is_at_once(tmp_path: Path, bucket_rows: int) -> None:
    rows = [f"n{i},2024-05-{1 + i * 7 % 28:02} 0{i % 10}:00,k,1,1,,cancelled,2024-06-{1 + i % 30:02},"
            for i in range(60)]  # fmt: skip
    counts = imported(tmp_path, rows, bucket_rows=bucket_rows)
    assert (counts.orders, counts.outcomes) == (60, 60)
    keys = orders(tmp_path).select("event_time", pl.col("order_id").str.slice(1).cast(pl.Int64))
    assert keys.equals(keys.sort("event_time", "order_id"))
    assert outcomes(tmp_path)["event_time"].is_sorted()


def test_shuffled_ties_do_not_keep_the_order_of_the_file(tmp_path: Path) -> None:
    rows = [f"n{i},2024-05-01,k,1,1,,,," for i in range(500)]
    imported(tmp_path, rows)
    assert orders(tmp_path)["order_id"].to_list() == [f"n{i}" for i in range(500)]
    imported(tmp_path, rows, '[source]\nties = "shuffled"\n' + MAPPING)
    numbers = orders(tmp_path)["order_id"].str.slice(1).cast(pl.Int64)
    assert numbers.sort().to_list() == list(range(500))
    place = pl.Series(range(500))
    assert abs(pl.select(pl.corr(numbers, place)).item()) < 0.1


def test_an_import_is_the_same_every_time(tmp_path: Path) -> None:
    imported(tmp_path, [GOOD, CANCELLED, GOOD])
    first = {path.name: pl.read_parquet(path) for path in (tmp_path / "out").glob("*.parquet")}
    imported(tmp_path, [GOOD, CANCELLED, GOOD])
    for path in (tmp_path / "out").glob("*.parquet"):
        assert pl.read_parquet(path).equals(first[path.name])


SAME = {
    "no": ["a1", "a2"],
    "placed": ["2024-05-01 08:00:00", "2024-05-01 07:00:00"],
    "buyer": ["kim", "lee"],
    "qty": [2, 1],
    "price": [19.99, 5.0],
    "colour": ["red", None],
    "state": ["done", "cancelled"],
    "closed": [None, "2024-05-02 09:30:00"],
    "why": [None, "too dear"],
}


@pytest.mark.parametrize("ending", ["parquet", "jsonl", "tsv"])
def test_every_format_gives_the_same_data_set(tmp_path: Path, ending: str) -> None:
    imported(tmp_path, [GOOD, CANCELLED])
    expected = orders(tmp_path), outcomes(tmp_path)
    frame, file = pl.DataFrame(SAME), tmp_path / f"history.{ending}"
    if ending == "parquet":
        frame.write_parquet(file)
    elif ending == "jsonl":
        frame.write_ndjson(file)
    else:
        frame.write_csv(file, separator="\t")
    assert sizes(run(tmp_path, file)) == (2, 1, 0, {})
    assert orders(tmp_path).equals(expected[0])
    assert outcomes(tmp_path).equals(expected[1])


def test_lines_that_are_no_json_objects_are_rejected_as_they_stand(tmp_path: Path) -> None:
    good = pl.DataFrame(SAME).write_ndjson().splitlines()
    bad = ["not json", "[1]", "17", '{"no": "x"', '{"no": NaN}', '{"no": "\\ud800"}', "{" * 300]
    file = tmp_path / "history.jsonl"
    file.write_text("\n".join(["\ufeff" + good[0], *bad, "", good[1]]))
    assert sizes(run(tmp_path, file)) == (2, 1, 7, {"broken_row": 7})
    assert [reject["raw"] for reject in rejects(tmp_path)] == bad
    assert rejects(tmp_path)[0]["reason"] == "expected a JSON object, got another shape"
    assert [reject["row"] for reject in rejects(tmp_path)] == [2, 3, 4, 5, 6, 7, 8]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.text(max_size=30), min_size=1, max_size=20))
def test_any_lines_are_orders_or_rejects(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str]
) -> None:
    tmp_path = tmp_path_factory.mktemp("lines")
    file = tmp_path / "history.jsonl"
    first = pl.DataFrame(SAME).head(1).write_ndjson()
    broken = [line for text in lines for line in text.replace("\r", "\n").split("\n")]
    file.write_bytes((first + "\n".join(broken)).encode(errors="ignore"))
    assert run(tmp_path, file).orders == 1


def test_times_may_be_typed_zoned_or_epochs(tmp_path: Path) -> None:
    moment = datetime(2024, 5, 1, 0, 0, tzinfo=UTC)
    frame = pl.DataFrame(
        {
            "zoned": [moment],
            "naive": [datetime(2024, 5, 1, 8, 0)],
            "text": ["2024-05-01T08:00:00+08:00"],
            "slashed": ["5/1/2024 8:00"],
            "seconds": [moment.timestamp()],
            "millis": [int(moment.timestamp() * 1000)],
            "day": [moment.date()],
        }
    )
    frame.write_parquet(tmp_path / "times.parquet")
    zone = 'zone = "Asia/Shanghai"'
    for where in (
        '"zoned"',
        f'{{ column = "naive", {zone} }}',
        '"text"',
        f'{{ column = "slashed", format = "%m/%d/%Y %H:%M", {zone} }}',
        '{ column = "seconds", format = "epoch_s" }',
        '{ column = "millis", format = "epoch_ms" }',
        f'{{ column = "day", {zone}, plus = "interval \'8 hours\'" }}',
    ):
        mapping = f"""
[order]
order_id = {{ row_number = "o" }}
event_time = {where}
quantity = {{ value = 1 }}
unit_price = {{ value = 1 }}
currency = {{ value = "CNY" }}
"""
        run(tmp_path, tmp_path / "times.parquet", mapping)
        assert orders(tmp_path)["event_time"].to_list() == [moment], where


def test_an_hour_that_comes_twice_is_the_first_and_one_that_is_skipped_is_rejected(
    tmp_path: Path,
) -> None:
    mapping = MAPPING.replace("Asia/Shanghai", "Europe/Lisbon")
    twice = GOOD.replace("2024-05-01 08:00:00", "2024-10-27 01:30:00")
    skipped = CANCELLED.replace("2024-05-01 07:00:00", "2024-03-31 01:30:00")
    assert imported(tmp_path, [twice, skipped], mapping).rejects == 1
    assert orders(tmp_path)["event_time"].to_list() == [datetime(2024, 10, 27, 0, 30, tzinfo=UTC)]


def test_declared_types_let_expressions_count_and_reject_what_is_not_of_them(
    tmp_path: Path,
) -> None:
    mapping = MAPPING.replace('"qty"', '{ expr = "greatest(qty, 1)" }')
    mapping = "[source]\nnull_values = ['NULL']\ntypes = { qty = 'integer' }\n" + mapping
    rows = [GOOD.replace(",2,", ",0,"), CANCELLED.replace(",1,", ",many,")]
    assert imported(tmp_path, rows, mapping).reasons == {"wrong_type": 1}
    assert orders(tmp_path)["quantity"].to_list() == [1]
    assert rejects(tmp_path)[0]["reason"] == 'qty: expected an integer, got "many"'
    rows = [GOOD.replace("kim", "NULL")]
    imported(tmp_path, rows, mapping)
    assert orders(tmp_path)["account"].to_list() == [None]


def test_attributes_keep_their_kind(tmp_path: Path) -> None:
    frame = pl.DataFrame(SAME | {"vip": [True, None], "score": [1, 2], "nan": [float("nan"), 1.5]})
    frame.write_parquet(tmp_path / "history.parquet")
    mapping = MAPPING.replace('colour = "colour"', 'vip = "vip"\nscore = "score"\nnan = "nan"')
    run(tmp_path, tmp_path / "history.parquet", mapping)
    assert orders(tmp_path)["attributes"].to_list() == [
        {"vip": None, "score": 2.0, "nan": 1.5},
        {"vip": True, "score": 1.0, "nan": None},
    ]


def test_text_in_another_encoding_is_recoded(tmp_path: Path) -> None:
    file = tmp_path / "history.csv"
    file.write_bytes(f"{HEADER}\n{GOOD.replace('kim', '张三')}\n".encode("gb18030"))
    run(tmp_path, file, '[source]\nencoding = "gb18030"\n' + MAPPING)
    assert orders(tmp_path)["account"].to_list() == ["张三"]
    with pytest.raises(UserError, match=r"is not in utf-8 .* encoding = .gb18030."):
        run(tmp_path, file)


def test_what_is_imported_is_valid_on_the_wire(tmp_path: Path) -> None:
    imported(tmp_path, [GOOD, CANCELLED])
    raws = [encoder.encode(order) for order in orders_from_frame(orders(tmp_path))]
    assert decode_orders(raws).rejected == []
    raws = [encoder.encode(outcome) for outcome in outcomes_from_frame(outcomes(tmp_path))]
    assert decode_outcomes(raws).rejected == []


def test_each_step_is_told(tmp_path: Path) -> None:
    steps: list[str] = []
    (tmp_path / "m.toml").write_text(MAPPING)
    (tmp_path / "history.csv").write_text(f"{HEADER}\n{GOOD}\n")
    import_history(
        tmp_path / "history.csv", tmp_path / "m.toml", tmp_path / "out", on_step=steps.append
    )
    assert tuple(steps) == STEPS


def test_an_import_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    imported(tmp_path, [GOOD])
    before = (tmp_path / "out" / "orders.parquet").read_bytes()

    def stop(step: str) -> None:
        if step == "writing rejects":
            raise KeyboardInterrupt

    (tmp_path / "history.csv").write_text(f"{HEADER}\n{CANCELLED}\n")
    with pytest.raises(KeyboardInterrupt):
        import_history(
            tmp_path / "history.csv", tmp_path / "mapping.toml", tmp_path / "out", on_step=stop
        )
    assert (tmp_path / "out" / "orders.parquet").read_bytes() == before
    assert not (tmp_path / "out" / ".import").exists()
