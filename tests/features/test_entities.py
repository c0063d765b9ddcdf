import ipaddress
import math

import numpy as np
import polars as pl
import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from features.entities import (
    ip_columns,
    ip_facts,
    keys_of_column,
    phone_columns,
    phone_facts,
    text_keys,
)
from features.hashing import key_of_text


@pytest.mark.parametrize("entity", sorted(text_keys))
def test_width_case_and_stray_spaces_do_not_matter(entity: str) -> None:
    key = text_keys[entity]
    assert key(" ＡＢＣ１２３ ") == key("abc123") == key("a\u200bbc123") != 0


@pytest.mark.parametrize("entity", sorted(text_keys))
@pytest.mark.parametrize("text", [None, "", "  ", "\u200b"])
def test_nothing_is_missing(entity: str, text: str | None) -> None:
    assert text_keys[entity](text) == 0


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("شارع الملك فهد، 12", "شارع  الملك فهد 12"),
        ("УЛ. ЛЕНИНА, д. 5", "ул ленина д 5"),
        ("北京市　朝阳区，建国路１号", "北京市朝阳区建国路1号"),
        ("カナガワ ﾖｺﾊﾏ", "カナガワヨコハマ"),
        ("Straße 5", "STRASSE 5"),
    ],
)
def test_an_address_in_any_script_is_one_however_it_is_spaced_and_punctuated(
    text: str, same: str
) -> None:
    key = text_keys["address"]
    assert key(text) == key(same) != 0


def test_one_text_has_another_key_for_another_entity() -> None:
    assert len({key("same") for key in text_keys.values()}) == len(text_keys)


def test_a_value_of_any_length_has_its_own_key() -> None:
    assert text_keys["device"]("x" * 10_000) != text_keys["device"]("x" * 9_999)


@pytest.mark.parametrize(
    "text", ["17012345678", "+86 170-1234-5678", "0086 17012345678", "１７０１２３４５６７８"]
)
def test_a_phone_is_the_same_with_and_without_country_code(text: str) -> None:
    assert phone_facts(text) == (phone_facts("17012345678").key, 1.0)


def test_a_phone_without_digits_is_missing() -> None:
    facts = phone_facts("unknown")
    assert facts.key == 0
    assert math.isnan(facts.is_virtual)


def test_only_virtual_operators_are_virtual() -> None:
    assert phone_facts("13812345678").is_virtual == 0
    assert phone_facts("+1 170 1234 567").is_virtual == 0


@pytest.mark.parametrize("text", ["not an ip", "1.2.3", "1.2.3.256", "01.2.3.4", "1.2.3.4:80", ""])
def test_what_is_no_ip_is_missing(text: str) -> None:
    facts = ip_facts(text)
    assert (facts.key, facts.prefix_key) == (0, 0)
    assert math.isnan(facts.is_v6)


def test_an_ipv4_address_inside_ipv6_is_itself() -> None:
    assert ip_facts("::ffff:10.1.2.3") == ip_facts("10.1.2.3") == ip_facts(" 10.1.2.3 ")


def test_prefixes_are_24_and_48_bits() -> None:
    assert ip_facts("10.1.2.3").prefix_key == ip_facts("10.1.2.250").prefix_key
    assert ip_facts("10.1.2.3").prefix_key != ip_facts("10.1.3.3").prefix_key
    assert ip_facts("2001:db8:1::1").prefix_key == ip_facts("2001:DB8:1:FFFF::2").prefix_key
    assert ip_facts("2001:db8:1::1").prefix_key != ip_facts("2001:db8:2::1").prefix_key


@settings(deadline=None)  # the first call compiles
@given(st.ip_addresses(v=4))
def test_the_short_way_for_ipv4_agrees_with_the_long_one(ip: ipaddress.IPv4Address) -> None:
    assert ip_facts(str(ip)) == ip_facts(f"::ffff:{ip}")


_texts = st.lists(
    st.one_of(st.none(), st.text(max_size=80), st.from_regex(r"[a-z0-9-北京市号㐀豈　]{1,50}"))
)


@settings(deadline=None)  # the first call compiles
@given(_texts, st.sampled_from(sorted(text_keys)))
def test_a_column_has_the_keys_of_its_texts(texts: list[str | None], entity: str) -> None:
    texts = [t if t is None else t.encode("utf-8", "ignore").decode() for t in texts]
    expected = np.array([text_keys[entity](text) for text in texts], np.uint64)
    column = pl.Series(texts, dtype=pl.String)
    np.testing.assert_array_equal(keys_of_column(entity, column), expected)


_phones = st.one_of(
    st.none(), st.text(max_size=12), st.from_regex(r"(\+?86)?1[0-9]{10}\n?", fullmatch=True)
)
_ips = st.one_of(
    st.none(),
    st.text(max_size=12),
    st.ip_addresses().map(str),
    st.from_regex(r"[0-9]{1,3}(\.[0-9]{1,3}){3}\n?", fullmatch=True),
)


@settings(deadline=None)  # the first call compiles
@given(st.lists(_phones), st.lists(_ips))
def test_columns_of_phones_and_ips_say_what_each_of_them_says(
    phones: list[str | None], ips: list[str | None]
) -> None:
    keys, is_virtual = phone_columns(pl.Series(phones, dtype=pl.String))
    expected = np.array([phone_facts(text) for text in phones]).reshape(-1, 2)
    assert keys.tolist() == [phone_facts(text).key for text in phones]
    np.testing.assert_array_equal(is_virtual, expected[:, 1])
    keys, prefix_keys, is_v6 = ip_columns(pl.Series(ips, dtype=pl.String))
    expected = np.array([ip_facts(text) for text in ips]).reshape(-1, 3)
    assert keys.tolist() == [ip_facts(text).key for text in ips]
    assert prefix_keys.tolist() == [ip_facts(text).prefix_key for text in ips]
    np.testing.assert_array_equal(is_v6, expected[:, 2])


@settings(deadline=None)  # the first call compiles
@given(st.lists(st.text(min_size=1, max_size=100)), st.integers(0, 20))
def test_compiled_hashes_are_xxhash(texts: list[str], seed: int) -> None:
    texts = [t.encode("utf-8", "ignore").decode() or "x" for t in texts]
    expected = [xxhash.xxh64_intdigest(text.encode(), seed) for text in texts]
    assert key_of_text(pl.Series(texts, dtype=pl.String), seed).tolist() == expected
