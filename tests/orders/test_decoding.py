import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orders.decoding import SIZE_LIMIT, decode_orders, decode_outcomes
from orders.events import Order, encoder

ORDER = {
    "schema": "order",
    "version": 1,
    "order_id": "o1",
    "event_time": 1_700_000_000_000,
    "quantity": 2,
    "unit_price": 5_000,
    "currency": "CNY",
}
OUTCOME = {"order_id": "o1", "kind": "paid", "event_time": 1_700_000_000_000}


def order(**changes: object) -> bytes:
    return json.dumps(ORDER | changes).encode()


def without(field: str) -> bytes:
    return json.dumps({name: value for name, value in ORDER.items() if name != field}).encode()


def rejected(raw: bytes | None) -> tuple[str, str]:
    events, indices, (only,) = decode_orders([raw])
    assert events == []
    assert indices == []
    return only.code, only.detail


def test_a_chunk_is_split_into_events_and_rejected_by_place() -> None:
    decoded = decode_orders([order(order_id="a"), b"?", None, order(order_id="b")])
    assert [event.order_id for event in decoded.events] == ["a", "b"]
    assert decoded.indices == [0, 3]
    assert [(fault.index, fault.code) for fault in decoded.rejected] == [
        (1, "not_json"),
        (2, "no_value"),
    ]


def test_an_unknown_field_is_ignored() -> None:
    assert decode_orders([order(weather="rain", nested={"a": [1, 2]})]).events[0].order_id == "o1"


@pytest.mark.parametrize(
    "fields",
    [
        {"unit_price": 0},
        {"unit_price": 10**13, "quantity": 1_000_000},
        {"ip": "not an ip"},
        {"ip": "2001:db8::1"},
        {"ip": ""},
        {"phone": "+86 138 0013 8000"},
        {"phone": "１３８００１３８０００"},
        {"address": "北京市　朝阳区，建国路１号"},
        {"address": "شارع الملك فهد ١٢"},
        {"address": "ул. Ленина, д. 5 🏠"},
        {"device": "路" * 2_048},
    ],
    ids=str,
)
def test_odd_values_that_are_possible_are_kept_as_they_were_written(fields: dict) -> None:
    decoded = decode_orders([order(**fields)])
    assert decoded.rejected == []
    for name, value in fields.items():
        assert getattr(decoded.events[0], name) == value


def test_a_time_may_be_iso_8601_with_a_zone() -> None:
    raws = [order(event_time="2023-11-15T06:13:20+08:00"), order(event_time=1_700_000_000_000)]
    first, second = decode_orders(raws).events
    assert first == second


TIME = "a time from 1970 to 9999, in UTC milliseconds or ISO 8601 with a zone"
ATTRIBUTE = "a number, text of at most 2048 characters or true or false"


@pytest.mark.parametrize(
    ("raw", "code", "detail"),
    [
        (without("order_id"), "missing_field", "order_id: expected text of 1 to 256 characters, got nothing"),
        (without("event_time"), "missing_field", f"event_time: expected {TIME}, got nothing"),
        (order(quantity=-3), "out_of_range", "quantity: expected an integer from 1 to 1000000, got -3"),
        (order(quantity="2"), "wrong_type", 'quantity: expected an integer from 1 to 1000000, got "2"'),
        (order(quantity=1.5), "wrong_type", "quantity: expected an integer from 1 to 1000000, got 1.5"),
        (order(quantity=True), "wrong_type", "quantity: expected an integer from 1 to 1000000, got true"),
        (order(quantity=None), "wrong_type", "quantity: expected an integer from 1 to 1000000, got null"),
        (order(unit_price=-1), "out_of_range", "unit_price: expected an integer from 0 to 10000000000000, got -1"),
        (order(unit_price=10**13 + 1), "out_of_range", "unit_price: expected an integer from 0 to 10000000000000, got 10000000000001"),
        (order(unit_price=19.99), "wrong_type", "unit_price: expected an integer from 0 to 10000000000000, got 19.99"),
        (order().replace(b"5000", b"NaN"), "not_json", None),
        (order(list_price=-1), "out_of_range", "list_price: expected an integer from 0 to 10000000000000, got -1"),
        (order(quantity=0), "out_of_range", "quantity: expected an integer from 1 to 1000000, got 0"),
        (order(quantity=1_000_001), "out_of_range", "quantity: expected an integer from 1 to 1000000, got 1000001"),
        (order(ip=16909060), "wrong_type", "ip: expected text of at most 2048 characters, got 16909060"),
        (order(phone=13800138000), "wrong_type", "phone: expected text of at most 2048 characters, got 13800138000"),
        (order(device="d" * 10_240), "out_of_range", f'device: expected text of at most 2048 characters, got "{"d" * 63}…'),
        (order(address="路" * 2_049), "out_of_range", f'address: expected text of at most 2048 characters, got "{"路" * 63}…'),
        (order(member_level=7), "out_of_range", "member_level: expected an integer from 0 to 6, got 7"),
        (order(currency="cny"), "out_of_range", 'currency: expected text like ^[A-Z]{3}$, got "cny"'),
        (order(currency="CNY\n"), "out_of_range", 'currency: expected text like ^[A-Z]{3}$, got "CNY\\n"'),
        (order(order_id=""), "out_of_range", 'order_id: expected text of 1 to 256 characters, got ""'),
        (order(order_id=17), "wrong_type", "order_id: expected text of 1 to 256 characters, got 17"),
        (order(event_time="2023-11-15T06:13:20"), "out_of_range", f'event_time: expected {TIME}, got "2023-11-15T06:13:20"'),
        (order(event_time=-1), "out_of_range", f"event_time: expected {TIME}, got -1"),
        (order(event_time=17.5), "wrong_type", f"event_time: expected {TIME}, got 17.5"),
        (order(received_time=[]), "wrong_type", f"received_time: expected {TIME}, got []"),
        (order(schema="outcome"), "wrong_schema", 'schema: expected "order", got "outcome"'),
        (order(version=2, quantity=None), "wrong_version", "version: expected 1, got 2"),
        (order(version=True), "wrong_version", "version: expected 1, got true"),
        (order(attributes={"a": 1, "b": [1]}), "wrong_type", f"attributes.b: expected {ATTRIBUTE}, got [1]"),
        (order(attributes={"": 1}), "out_of_range", 'attributes: expected names of 1 to 128 characters, got ""'),
        (order(attributes=[1]), "wrong_type", "attributes: expected an object of at most 256 names, got [1]"),
        (order(attributes={str(n): n for n in range(257)}), "out_of_range", None),
        (b"", "not_json", None),
        (b"{", "not_json", None),
        (order() + b" x", "not_json", None),
        (order().replace(b"1700000000000", b"NaN"), "not_json", None),
        (order().replace(b"1700000000000", b"-Infinity"), "not_json", None),
        (order(account="\ud800"), "not_json", None),
        (order().decode().encode("utf-16"), "not_utf8", "byte 0xff at position 0 is not UTF-8"),
        (order(account="x").replace(b'"x"', b'"\xff"'), "not_utf8", None),
        (order(unknown="x").replace(b'"x"', b'"\xff"'), "not_utf8", None),
        (b"[]", "not_an_object", "expected an object, got []"),
        (b"null", "not_an_object", "expected an object, got null"),
        (b"17", "not_an_object", "expected an object, got 17"),
        (order(x=1).replace(b'"x": 1', b'"x": ' + b"[" * 20_000 + b"]" * 20_000), "too_deep", None),
        (order().replace(b'"quantity": 2', b'"quantity": ' + b"1" * 9_999), "out_of_range", None),
        (order().replace(b'"quantity": 2', b'"quantity": "x", "quantity": 2'), "duplicate_field", "quantity: expected once, got several times"),
        (None, "no_value", "the message has no value; a deletion is not an event"),
    ],
)  # fmt: skip
def test_a_message_that_is_no_order_gets_one_reason(
    raw: bytes | None, code: str, detail: str | None
) -> None:
    seen = rejected(raw)
    assert seen[0] == code
    assert detail is None or seen[1] == detail
    assert "\n" not in seen[1]
    assert len(seen[1]) < 300


def test_a_message_above_the_limit_is_rejected_unread() -> None:
    raw = order(padding="x" * 1_000_000)
    assert rejected(raw) == ("too_large", f"{len(raw)} bytes, expected at most {SIZE_LIMIT}")
    assert len(decode_orders([raw], size_limit=2_000_000).events) == 1


def test_outcomes_are_held_to_their_own_contract() -> None:
    raws = [
        json.dumps(OUTCOME | changes).encode()
        for changes in ({}, {"kind": "exploded"}, {"verdict": "maybe"}, {"schema": "order"})
    ]
    decoded = decode_outcomes(raws)
    assert decoded.indices == [0]
    assert [(fault.code, fault.detail.partition(":")[0]) for fault in decoded.rejected] == [
        ("out_of_range", "kind"),
        ("out_of_range", "verdict"),
        ("wrong_schema", "schema"),
    ]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)


@given(st.lists(st.none() | st.binary(max_size=40)))
def test_any_bytes_are_an_event_or_have_a_reason(raws: list[bytes | None]) -> None:
    decoded = decode_orders(raws)
    places = decoded.indices + [fault.index for fault in decoded.rejected]
    assert sorted(places) == list(range(len(raws)))


@settings(max_examples=300)
@given(st.sampled_from(Order.__struct_fields__), json_values)
def test_a_wrong_value_is_blamed_on_its_own_field(field: str, value: object) -> None:
    decoded = decode_orders([order(**{field: value})])
    for fault in decoded.rejected:
        assert fault.code in {
            "wrong_type",
            "out_of_range",
            "wrong_schema",
            "wrong_version",
            "not_json",
        }
        if fault.code != "not_json":
            assert fault.detail.startswith(field)
    for event in decoded.events:
        assert decode_orders([encoder.encode(event)]).events == [event]
