"""The mappings under examples/, on the real sets where they are, and always on made files."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from orders.dataset import dataset_targets
from orders.importing import Imported, import_history
from orders.mapping import read_mapping
from orders.mapping_file import MappingFile
from orders.tables import scan_orders, scan_outcomes
from tests.orders.test_importing import sizes

ROOT = Path(__file__).parents[2]
REAL = ROOT.parent / "shared" / "data"
HOTEL = ROOT / "examples" / "hotel_bookings.toml"
FRAUD = ROOT / "examples" / "fraud_ecommerce.toml"

BOOKING = {
    "hotel": "Resort Hotel",
    "is_canceled": 0,
    "lead_time": 30,
    "arrival_date_year": 2016,
    "arrival_date_month": "July",
    "arrival_date_week_number": 27,
    "arrival_date_day_of_month": 1,
    "stays_in_weekend_nights": 1,
    "stays_in_week_nights": 2,
    "adults": 2,
    "children": "0",
    "babies": 0,
    "meal": "BB",
    "country": "PRT",
    "market_segment": "Online TA",
    "distribution_channel": "TA/TO",
    "is_repeated_guest": 0,
    "previous_cancellations": 0,
    "previous_bookings_not_canceled": 0,
    "reserved_room_type": "A",
    "assigned_room_type": "C",
    "booking_changes": 3,
    "deposit_type": "No Deposit",
    "agent": "240",
    "company": "NULL",
    "days_in_waiting_list": 0,
    "customer_type": "Transient",
    "adr": 75.5,
    "required_car_parking_spaces": 0,
    "total_of_special_requests": 1,
    "reservation_status": "Check-Out",
    "reservation_status_date": "2016-07-04",
}
AFTERWARDS = {
    "is_canceled",
    "reservation_status",
    "reservation_status_date",
    "assigned_room_type",
    "booking_changes",
    "required_car_parking_spaces",
    "country",
}


def bookings(tmp_path: Path, *changes: Mapping[str, object]) -> Imported:
    frame = pl.DataFrame([{**BOOKING, **change} for change in changes])
    frame.write_parquet(tmp_path / "b.parquet")
    return import_history(tmp_path / "b.parquet", HOTEL, tmp_path / "out")


def test_a_booking_is_placed_at_midnight_of_its_day_in_lisbon(tmp_path: Path) -> None:
    bookings(tmp_path, {})
    (order,) = scan_orders(tmp_path / "out").collect().to_dicts()
    # 30 days before 1 July; Lisbon is an hour ahead of UTC in summer
    assert order["event_time"] == datetime(2016, 5, 31, 23, 0, tzinfo=UTC)
    assert (order["quantity"], order["unit_price"], order["currency"]) == (3, 7550, "EUR")
    assert order["account"] == "Resort Hotel agent 240"
    assert order["payment"] is None


def test_what_is_known_only_afterwards_is_no_attribute(tmp_path: Path) -> None:
    bookings(tmp_path, {})
    attributes = scan_orders(tmp_path / "out").collect()["attributes"][0]
    assert not AFTERWARDS & set(attributes)
    assert attributes["deposit_type"] == "No Deposit"
    assert attributes["children"] == 0.0


def test_each_end_of_a_booking_is_an_outcome_at_the_end_of_its_day(tmp_path: Path) -> None:
    ends = ["Canceled", "No-Show", "Check-Out"]
    bookings(tmp_path, *({"reservation_status": end} for end in ends))
    rows = scan_outcomes(tmp_path / "out").collect().select("kind", "reason_text", "event_time")
    at = datetime(2016, 7, 4, 22, 59, 59, tzinfo=UTC)
    assert set(rows.rows()) == {
        ("cancelled", "Canceled", at),
        ("cancelled", "No-Show", at),
        ("delivered", None, at),
    }


def test_a_booking_cancelled_on_its_own_day_is_placed_before(tmp_path: Path) -> None:
    same_day = {"lead_time": 0, "reservation_status_date": "2016-07-01"}
    counts = bookings(tmp_path, same_day | {"reservation_status": "Canceled"})
    assert sizes(counts) == (1, 1, 0, {})


def test_a_rate_below_zero_is_rejected(tmp_path: Path) -> None:
    assert sizes(bookings(tmp_path, {}, {"adr": -6.38})) == (1, 1, 1, {"out_of_range": 1})


def test_bookings_from_csv_need_their_types(tmp_path: Path) -> None:
    # The mapping is for the Parquet file, whose numbers are numbers.
    frame = pl.DataFrame([BOOKING])
    frame.write_csv(tmp_path / "b.csv")
    text = HOTEL.read_text().replace(
        "types = {",
        'types = { lead_time = "integer", stays_in_weekend_nights = "integer", '
        'stays_in_week_nights = "integer", is_repeated_guest = "integer",',
    )
    (tmp_path / "m.toml").write_text(text)
    import_history(tmp_path / "b.csv", tmp_path / "m.toml", tmp_path / "csv")
    bookings(tmp_path, {})
    from_csv, from_parquet = (scan_orders(tmp_path / name).collect() for name in ("csv", "out"))
    assert from_csv.drop("attributes").equals(from_parquet.drop("attributes"))


def test_the_mapping_in_the_documentation_is_one(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "import.md").read_text()
    (tmp_path / "m.toml").write_text(text.split("```toml")[1].split("```")[0])
    mapping = read_mapping(MappingFile.read(tmp_path / "m.toml"))
    assert {"order_id", "event_time", "sku"} <= set(mapping.order)


def test_absence_never_means_that_a_booking_was_kept(tmp_path: Path) -> None:
    bookings(tmp_path, {})
    assert dataset_targets(tmp_path / "out")["cancel"].maturity is None


@pytest.mark.skipif(
    not (REAL / "hotel_bookings.parquet").is_file(), reason="hotel_bookings.parquet is not there"
)
def test_the_real_hotel_bookings(tmp_path: Path) -> None:
    counts = import_history(REAL / "hotel_bookings.parquet", HOTEL, tmp_path)
    assert sizes(counts) == (119_389, 119_389, 1, {"out_of_range": 1})
    outcomes = scan_outcomes(tmp_path).collect()
    assert (outcomes["kind"] == "cancelled").sum() == 44_224
    # The file lists cancelled bookings in blocks; their place among ties must not tell.
    orders = scan_orders(tmp_path).select("order_id", "event_time").collect().with_row_index("at")
    day = pl.col("event_time")
    told = orders.join(outcomes, on="order_id", suffix="_known").select(
        place=pl.col("at").rank().over(day) / pl.len().over(day),
        cancelled=(pl.col("kind") == "cancelled")
        - (pl.col("kind") == "cancelled").mean().over(day),
        number=pl.col("order_id").str.slice(8).cast(pl.Int64),
    )
    assert abs(told.select(pl.corr("place", "cancelled")).item()) < 0.02
    assert abs(told.select(pl.corr("number", "cancelled")).item()) < 0.02


PURCHASE = {
    "user_id": 22058,
    "signup_time": "2/24/2015 22:55",
    "purchase_time": "4/18/2015 2:47",
    "purchase_value": 34.0,
    "device_id": "QVPSPJUOCKZAR",
    "source": "SEO",
    "browser": "Chrome",
    "sex": "M",
    "age": 39.0,
    "ip_address": 732758368.8,
    "class": 0.0,
}


def test_a_purchase_keeps_its_device_its_address_and_the_age_of_its_account(
    tmp_path: Path,
) -> None:
    pl.DataFrame([PURCHASE]).write_parquet(tmp_path / "f.parquet")
    import_history(tmp_path / "f.parquet", FRAUD, tmp_path / "out")
    (order,) = scan_orders(tmp_path / "out").collect().to_dicts()
    assert order["event_time"] == datetime(2015, 4, 18, 2, 47, tzinfo=UTC)
    assert order["account_created_time"] == datetime(2015, 2, 24, 22, 55, tzinfo=UTC)
    assert (order["account"], order["device"]) == ("22058", "QVPSPJUOCKZAR")
    assert order["ip"] == "43.173.1.96"  # 43 · 256³ + 173 · 256² + 1 · 256 + 96 = 732758368
    assert order["unit_price"] == 3400
    assert order["attributes"] == {"browser": "Chrome", "sex": "M", "age": 39.0}


def test_fraud_is_known_by_a_chargeback_two_weeks_later(tmp_path: Path) -> None:
    frame = pl.DataFrame([PURCHASE, PURCHASE | {"class": 1.0}])
    frame.write_parquet(tmp_path / "f.parquet")
    assert import_history(tmp_path / "f.parquet", FRAUD, tmp_path / "out").outcomes == 2
    rows = scan_outcomes(tmp_path / "out").collect().select("kind", "event_time", "reason")
    assert rows.rows() == [
        ("delivered", datetime(2015, 4, 19, 2, 47, tzinfo=UTC), None),
        ("charged_back", datetime(2015, 5, 2, 2, 47, tzinfo=UTC), "risk.payment_fraud"),
    ]


@pytest.mark.skipif(
    not (REAL / "fraud_ecommerce_subset.parquet").is_file(),
    reason="fraud_ecommerce_subset.parquet is not there",
)
def test_the_real_purchases(tmp_path: Path) -> None:
    counts = import_history(REAL / "fraud_ecommerce_subset.parquet", FRAUD, tmp_path)
    assert sizes(counts) == (30_189, 30_189, 0, {})
    kinds = scan_outcomes(tmp_path).collect()["kind"]
    assert (kinds == "charged_back").sum() == 2_867
    times = scan_orders(tmp_path).select("account_created_time", "event_time").collect()
    assert (times["account_created_time"] <= times["event_time"]).all()
