"""Lists in Redis: what people change, and what workers then hold."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import redis
from hypothesis import given, settings
from hypothesis import strategies as st
from redis.cluster import RedisCluster

from features.columns import event_columns_from_orders
from features.declare import ENTITIES
from features.feature_set import feature_set
from orders.events import Instant, Order
from preempt.embedded import Valkey
from serving.list_entries import Entry, EntryError, Why, key_of_value
from serving.list_reader import NO_ENTRIES, RECORD, ListReader, merged
from serving.list_store import KEPT_MS, ListStore, ListsUnavailableError, Written
from serving.lists import FOREVER, EntityLists
from tests.serving.stopped_clock import NOW, Clock
from tests.support.valkey_cluster import ValkeyCluster

DAY = 86_400_000
WHY = Why("ana", "ring of 12 March")
FEATURES = feature_set()


def entry(value: str, entity: str = "device", since: int = NOW, until: int = FOREVER) -> Entry:
    return Entry(
        entity=entity, value=value, since=since, until=until, author="ana", comment="seen twice"
    )


def order(at: int = NOW, **fields: Any) -> Order:
    return Order(
        order_id="o", event_time=Instant(at), quantity=1, unit_price=1, currency="CNY", **fields
    )


def with_value(field: str, value: str) -> Order:
    return msgspec.structs.replace(order(), **{field: value})


def held(lists: EntityLists | None, name: str, *orders: Order) -> list[bool]:
    """Which orders are on a list by any entity."""
    assert lists is not None
    events = event_columns_from_orders(orders, FEATURES)
    return lists.hold(name, "any_entity", events.entity_key, events.time).tolist()


@pytest.fixture(scope="module")
def cluster_client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisCluster]:
    with ValkeyCluster(tmp_path_factory.mktemp("cluster")) as cluster:
        client = cluster.client()
        yield client
        client.close()


@pytest.fixture(params=["client", "cluster_client"])
def store(request: pytest.FixtureRequest, clock: Clock, prefix: str) -> ListStore:
    return ListStore(request.getfixturevalue(request.param), clock=clock, prefix=prefix)


def now_held(store: ListStore) -> EntityLists:
    """What a worker that starts now has."""
    return ListReader(store.news).read() or EntityLists()


def test_without_anything_written_there_are_no_lists(store: ListStore) -> None:
    assert ListReader(store.news).read() is None
    assert {name: each.kind for name, each in store.lists().items()} == {
        "allowed": "allow",
        "blocked": "block",
        "watched": "watch",
    }


def test_a_value_on_a_list_is_held_and_another_is_not(store: ListStore) -> None:
    assert store.add("blocked", [entry("d1")], WHY) == Written(1, 0)
    lists = now_held(store)
    assert held(lists, "blocked", order(device="d1"), order(device="d2")) == [True, False]
    assert held(lists, "allowed", order(device="d1")) == [False]
    assert held(lists, "blocked", order(account="d1")) == [False]


SPELLINGS = {
    "phone": ["+86 170-1234 5678", "17012345678", "００８６17012345678"],
    "ip": ["203.0.113.7", "::ffff:203.0.113.7", " 203.0.113.7 "],
    "ip_prefix": ["203.0.113.0/24", "203.0.113", " 203.0.113.0/24"],
    "account": ["Acc-1", "ａｃｃ-１", " acc-1\u200b"],
    "address": ["北京市 朝阳区，建国路１号", "北京市朝阳区建国路1号"],
}


@pytest.mark.parametrize("entity", SPELLINGS)
def test_spellings_of_one_value_are_one_entry(one_server: ListStore, entity: str) -> None:
    spellings = SPELLINGS[entity]
    for number, spelling in enumerate(spellings):
        assert one_server.add("watched", [entry(spelling, entity)], WHY) == (
            Written(0, 1) if number else Written(1, 0)
        )
    [kept] = one_server.entries("watched")
    assert kept.value == spellings[-1]
    field = "ip" if entity == "ip_prefix" else entity
    value = "203.0.113.7" if entity == "ip_prefix" else spellings[0]
    assert held(now_held(one_server), "watched", with_value(field, value)) == [True]
    assert one_server.remove("watched", entity, spellings[1], WHY)
    assert not list(one_server.entries("watched"))


@pytest.mark.parametrize("entity", [e for e in ENTITIES if e != "ip_prefix"])
def test_a_key_is_that_of_an_order_with_the_value(entity: str) -> None:
    value = {"ip": "2001:DB8::7", "phone": "13812345678"}.get(entity, "Aß 7")
    events = event_columns_from_orders([with_value(entity, value)], FEATURES)
    assert key_of_value(entity, value) == events.entity_key[0, ENTITIES.index(entity)]


def test_a_prefix_of_ipv6_holds_its_addresses(one_server: ListStore) -> None:
    one_server.add("blocked", [entry("2001:db8:1::/48", "ip_prefix")], WHY)
    lists = now_held(one_server)
    orders = order(ip="2001:db8:1:5::9"), order(ip="2001:db8:2::9")
    assert held(lists, "blocked", *orders) == [True, False]


@pytest.mark.parametrize(
    ("entity", "value", "says"),
    [
        ("card", "x", "'card' is no entity; there are account"),
        ("any_entity", "x", "no entity"),
        ("device", "", "the value is empty"),
        ("device", " \u3000\n", "the value is empty"),
        ("device", "\u200b", "is no device"),
        ("address", "，。", "is no address"),
        ("device", "x" * 16_385, "16,385 bytes; at most 16,384"),
        ("device", "\udcff", "not UTF-8"),
        ("ip", "203.0.113", "is no ip"),
        ("ip", "203.0.113.0/24", "is no ip"),
        ("ip_prefix", "203.0.113.7", "is no ip_prefix; write it as"),
        ("ip_prefix", "203.0.113.7/24", "is no ip_prefix"),
        ("ip_prefix", "203.0.113.0/25", "is no ip_prefix"),
        ("ip_prefix", "2001:db8::/32", "is no ip_prefix"),
        ("phone", "n/a", "is no phone"),
    ],
)
def test_what_no_order_can_have_is_refused(
    one_server: ListStore, entity: str, value: str, says: str
) -> None:
    with pytest.raises(EntryError, match=says):
        one_server.add("blocked", [entry("good"), entry(value, entity)], WHY)
    assert not list(one_server.entries("blocked"))


def test_any_text_of_10_kb_comes_back_as_it_was(store: ListStore) -> None:
    value = "\x00\r\n\"'\\ €😀" + "y" * 10_000
    store.add("blocked", [entry(value)], WHY)
    assert [each.value for each in store.entries("blocked")] == [value]
    assert [each.entry.value for each in store.holding("device", value)] == [value]
    assert held(now_held(store), "blocked", order(device=value)) == [True]


def test_an_entry_counts_from_since_until_before_until_by_event_time(store: ListStore) -> None:
    store.add("blocked", [entry("d", since=NOW, until=NOW + DAY)], WHY)
    at = [NOW - 1, NOW, NOW + DAY - 1, NOW + DAY]
    orders = [order(time, device="d") for time in at]
    assert held(now_held(store), "blocked", *orders) == [False, True, True, False]


def test_adding_again_renews_and_forgets_no_beginning(store: ListStore) -> None:
    store.add("blocked", [entry("d", since=NOW, until=NOW + DAY)], WHY)
    store.add("blocked", [entry("d", since=NOW + 5, until=NOW + 2 * DAY)], WHY)
    at = [NOW - 1, NOW, NOW + 2 * DAY - 1, NOW + 2 * DAY]
    orders = [order(time, device="d") for time in at]
    assert held(now_held(store), "blocked", *orders) == [False, True, True, False]
    [kept] = store.entries("blocked")
    assert (kept.since, kept.until) == (NOW, NOW + 2 * DAY)


def test_adding_after_the_end_begins_anew(store: ListStore) -> None:
    store.add("blocked", [entry("d", since=NOW, until=NOW + 10)], WHY)
    store.add("blocked", [entry("d", since=NOW + 20)], WHY)
    orders = [order(NOW + after, device="d") for after in (5, 15, 25)]
    assert held(now_held(store), "blocked", *orders) == [False, False, True]


def test_what_was_removed_counts_no_more_and_removing_it_again_is_told(store: ListStore) -> None:
    store.add("blocked", [entry("a"), entry("b")], WHY)
    reader = ListReader(store.news)
    reader.read()
    assert store.remove("blocked", "device", "A", WHY)
    lists = reader.read()
    assert held(lists, "blocked", order(device="a"), order(device="b")) == [False, True]
    assert not store.remove("blocked", "device", "a", WHY)
    assert reader.read() is None


def test_every_change_has_another_version_and_the_reader_sees_each(store: ListStore) -> None:
    reader = ListReader(store.news)
    changes: list[Callable[[], object]] = [
        lambda: store.create("mine", "block", WHY),
        lambda: store.add("mine", [entry("a")], WHY),
        lambda: store.add("mine", [entry("a")], WHY),
        lambda: store.add("blocked", [entry("b")], WHY),
        lambda: store.snooze("device_burst", entry("k", until=NOW + DAY)),
        lambda: store.remove("mine", "device", "a", WHY),
        lambda: store.unsnooze("device_burst", "device", "k", WHY),
    ]
    versions = []
    for change in changes:
        change()
        lists = reader.read()
        assert lists is not None
        versions.append(lists.version)
        assert reader.read() is None
        assert now_held(store).version == lists.version
    assert len({*versions}) == len(changes)


def test_a_list_that_nobody_made_takes_no_entries(one_server: ListStore) -> None:
    with pytest.raises(EntryError, match=r"no list .bad..*lists create"):
        one_server.add("bad", [entry("a")], WHY)
    with pytest.raises(EntryError, match="no name of a list"):
        one_server.add("Bad list", [entry("a")], WHY)


@pytest.mark.parametrize("name", ["mine", "blocked"])
def test_a_list_is_made_once(one_server: ListStore, name: str) -> None:
    if name == "mine":
        one_server.create(name, "block", WHY)
    with pytest.raises(EntryError, match="there is a list"):
        one_server.create(name, "allow", WHY)


@pytest.mark.parametrize("why", [Why("", "x"), Why("ana", " "), Why("ana", "x" * 1_001)])
def test_a_change_without_who_and_why_is_refused(one_server: ListStore, why: Why) -> None:
    with pytest.raises(EntryError, match=r"the (author|comment)"):
        one_server.add("blocked", [entry("a")], why)
    assert now_held(one_server).version is None


def test_the_log_says_who_changed_what_when_and_why(store: ListStore, clock: Clock) -> None:
    store.create("mine", "block", Why("bo", "new"))
    store.add("mine", [entry("a", until=NOW + DAY)], WHY)
    store.add("mine", [entry("b"), entry("x" * 300)], WHY)
    clock.now += 5
    store.remove("mine", "device", "A", Why("cy", "wrong"))
    removed, both, added, created = store.log(10)
    assert (created.what, created.name, created.author, created.comment) == (
        "create", "mine", "bo", "new",
    )  # fmt: skip
    assert (added.entity, added.value, added.until, added.count) == ("device", "a", NOW + DAY, 1)
    assert (both.count, both.value) == (2, None)
    assert (removed.what, removed.value, removed.author, removed.time) == (
        "remove", "A", "cy", NOW + 5,
    )  # fmt: skip
    assert [each.what for each in store.log(1)] == ["remove"]


def test_what_holds_a_value_is_found_in_any_spelling(store: ListStore) -> None:
    store.add("blocked", [entry("Kiosk-7")], WHY)
    store.add("watched", [entry("kiosk-7", until=NOW + 1)], WHY)
    store.snooze("device_burst", entry("KIOSK-7", until=NOW + DAY))
    found = store.holding("device", "kiosk-７")
    assert [(each.name, each.is_snooze, each.entry.value) for each in found] == [
        ("blocked", False, "Kiosk-7"),
        ("watched", False, "kiosk-7"),
        ("device_burst", True, "KIOSK-7"),
    ]
    assert store.holding("account", "kiosk-7") == []


def test_two_writers_at_once_lose_nothing(one_server: ListStore) -> None:
    """And a reader that looks all the time has in the end what one that starts then has."""
    failures: list[BaseException] = []

    def write(writer: int) -> None:
        try:
            for number in range(60):
                own, both = entry(f"{writer}-{number}"), entry(f"both-{number}")
                one_server.add("blocked", [own, both], WHY)
                if number % 3 == 0:
                    one_server.remove("blocked", "device", f"{writer}-{number}", WHY)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=write, args=(writer,)) for writer in (1, 2)]
    for thread in threads:
        thread.start()
    reader, lists = ListReader(one_server.news), None
    while any(thread.is_alive() for thread in threads):
        lists = reader.read() or lists
    lists = reader.read() or lists
    assert not failures
    expected = {f"both-{n}" for n in range(60)}
    expected |= {f"{writer}-{n}" for writer in (1, 2) for n in range(60) if n % 3}
    assert {each.value for each in one_server.entries("blocked")} == expected
    fresh = now_held(one_server)
    assert lists is not None
    assert lists.version == fresh.version
    for field in ("keys", "since", "until"):
        np.testing.assert_array_equal(
            getattr(lists.lists["blocked"], field), getattr(fresh.lists["blocked"], field)
        )


def test_what_has_ended_long_ago_is_forgotten_at_a_later_write(
    store: ListStore, clock: Clock
) -> None:
    store.add("blocked", [entry("a", until=NOW + DAY), entry("b")], WHY)
    reader = ListReader(store.news)
    reader.read()
    clock.now = NOW + 2 * DAY
    store.add("blocked", [entry("c")], WHY)
    assert {each.value for each in store.entries("blocked")} == {"a", "b", "c"}
    clock.now = NOW + 2 * DAY + KEPT_MS
    store.add("blocked", [entry("d")], WHY)
    assert {each.value for each in store.entries("blocked")} == {"b", "c", "d"}
    lists = reader.read()
    orders = [order(NOW, device=device) for device in "ab"]
    assert held(lists, "blocked", *orders) == [False, True]
    assert len(now_held(store).lists["blocked"].keys) == 3


def test_renewing_again_and_again_does_not_grow_for_ever(
    one_server: ListStore, client: redis.Redis, prefix: str
) -> None:
    many = [entry(f"d{n}") for n in range(2_000)]
    for _ in range(12):
        one_server.add("blocked", many, WHY)
    assert client.strlen(f"{prefix}{{lists}}:records:list:blocked") <= 14_000 * 24
    assert len(now_held(one_server).lists["blocked"].keys) == 2_000


def test_redis_that_is_away_is_a_named_error_and_the_reader_goes_on_later(tmp_path: Path) -> None:
    with Valkey(tmp_path) as server:
        client = redis.Redis.from_url(server.url)
        store = ListStore(client, clock=Clock())
        store.add("blocked", [entry("a")], WHY)
        reader = ListReader(store.news)
        assert held(reader.read(), "blocked", order(device="a")) == [True]
    with client, pytest.raises(ListsUnavailableError, match="cannot be used"):
        reader.read()


def test_lists_that_are_gone_are_an_error_and_new_ones_are_read(tmp_path: Path) -> None:
    with Valkey(tmp_path) as server, redis.Redis.from_url(server.url) as client:
        store = ListStore(client, clock=Clock())
        store.add("blocked", [entry("a")], WHY)
        reader = ListReader(store.news)
        reader.read()
        client.flushall()
        with pytest.raises(ListsUnavailableError, match="gone"):
            reader.read()
        store.add("blocked", [entry("b")], WHY)
        orders = order(device="a"), order(device="b")
        assert held(reader.read(), "blocked", *orders) == [False, True]


def test_damaged_records_are_a_named_error(
    one_server: ListStore, client: redis.Redis, prefix: str
) -> None:
    one_server.add("blocked", [entry("a")], WHY)
    client.append(f"{prefix}{{lists}}:records:list:blocked", "x")
    with pytest.raises(ListsUnavailableError, match="damaged"):
        ListReader(one_server.news).read()


def test_a_prefix_that_would_choose_the_slot_is_refused(client: redis.Redis) -> None:
    with pytest.raises(ValueError, match="braces"):
        ListStore(client, clock=Clock(), prefix="{x}")


records = st.lists(
    st.tuples(st.integers(1, 6), st.integers(0, 3), st.integers(0, 3)), max_size=20
).map(lambda rows: np.array([(k, s, s + more) for k, s, more in rows], RECORD))


@settings(max_examples=200)
@given(first=records, second=records)
def test_reading_in_two_parts_gives_what_reading_at_once_gives(
    first: np.ndarray, second: np.ndarray
) -> None:
    parts = merged(merged(NO_ENTRIES, first), second)
    whole = merged(NO_ENTRIES, np.concatenate([first, second]))
    last = {int(record["key"]): record for record in np.concatenate([first, second])}
    expected = sorted(
        (key, int(each["since"]), int(each["until"]))
        for key, each in last.items()
        if each["since"] < each["until"]
    )
    for found in (parts, whole):
        rows = zip(found.keys.tolist(), found.since.tolist(), found.until.tolist(), strict=True)
        assert list(rows) == expected


@pytest.mark.slow
def test_a_million_entries(one_server: ListStore, clock: Clock) -> None:
    """Added in batches, read at once, and one more is read alone; `hold` finds each."""
    some = (entry(f"device-{number:07d}") for number in range(1_000_000))
    assert one_server.add("blocked", some, WHY) == Written(1_000_000, 0)
    reader = ListReader(one_server.news)
    lists = reader.read()
    assert lists is not None
    found = lists.lists["blocked"]
    assert (len(found.keys), found.keys.nbytes + found.since.nbytes + found.until.nbytes) == (
        1_000_000, 24_000_000,
    )  # fmt: skip
    orders = [order(device=f"device-{number:07d}") for number in range(0, 1_000_500, 1_000)]
    orders.append(order(device="one more"))
    assert held(lists, "blocked", *orders) == [True] * 1_000 + [False] * 2
    one_server.add("blocked", [entry("one more")], WHY)
    assert held(reader.read(), "blocked", *orders) == [True] * 1_000 + [False, True]
