"""Records in, answers out: what becomes of every message, without a broker."""

import base64
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import polars as pl
import pytest

from features.feature_set import feature_set
from features.memory import InMemoryState
from orders.decision_table import archived_features, feature_column
from orders.events import Instant, Outcome, encoder
from serving.decisions import decision_decoder, decision_encoder
from serving.policy import Policy
from serving.scorer import Scorer
from streams.answers import dead_letter_decoder, source_of
from streams.archive import Archive, name_features
from streams.chunks import Chunk
from streams.recovery import after
from streams.scoring import Scoring
from streams.topics import Topics
from tests.streams.traffic_maker import START, plain_orders

TOPICS = Topics()
ARRIVED = START + 3_600_000
MINUTE = 60_000


@dataclass
class Record:
    offset: int
    value: bytes | None
    timestamp: int = ARRIVED
    key: bytes | None = b"key"
    headers: Sequence[tuple[str, bytes]] = ()


def chunk(*values: bytes | None, topic: str = "orders", partition: int = 0) -> Chunk:
    return Chunk(topic, partition, [Record(i, value) for i, value in enumerate(values)])


@pytest.fixture
def scoring() -> Scoring:
    features = feature_set()
    scorer = Scorer(features, InMemoryState(features), None, Policy.default())
    return Scoring(
        scorer, TOPICS, clock=lambda: ARRIVED, max_message_bytes=65_536, max_future_ms=5 * MINUTE
    )


ORDER = encoder.encode(plain_orders(1)[0])


def without(field: str) -> bytes:
    order = json.loads(ORDER)
    del order[field]
    return json.dumps(order).encode()


def changed(**fields: object) -> bytes:
    return json.dumps(json.loads(ORDER) | fields).encode()


@pytest.mark.parametrize(
    ("message", "error", "said"),
    [
        (without("quantity"), "missing_field", "quantity"),
        (changed(unit_price="12.50"), "wrong_type", "unit_price"),
        (changed(quantity=0), "out_of_range", "quantity"),
        (b"{not json", "not_json", ""),
        (ORDER[:-2] + b"\xff\xfe}", "not_utf8", "0xff"),
        (b'{"order_id": "' + b"x" * 1_048_576 + b'"}', "too_large", "65536"),
        (None, "no_value", ""),
        (changed(version=99), "wrong_version", "version"),
        (changed(event_time=ARRIVED + 6 * MINUTE), "in_the_future", "event_time"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_decided_is_dead_lettered_with_the_reason_and_stops_nothing(
    scoring: Scoring, message: bytes | None, error: str, said: str
) -> None:
    answers = scoring.decide([chunk(message, ORDER)])
    letters = [
        dead_letter_decoder.decode(each.value) for each in answers if each.topic == "dead-letter"
    ]
    [letter] = letters
    assert (letter.error, letter.topic, letter.partition, letter.offset) == (error, "orders", 0, 0)
    assert said in letter.detail
    assert letter.raw_bytes == len(message or b"")
    assert base64.b64decode(letter.raw) == (message or b"")[:65_536]
    [decision] = [each for each in answers if each.topic == "decisions"]
    assert decision_decoder.decode(decision.value).order_id == "order-1-0"


def test_an_unknown_field_is_ignored(scoring: Scoring) -> None:
    [answer] = scoring.decide([chunk(changed(loyalty_card="gold"))])
    assert answer.topic == "decisions"


def test_decisions_go_to_the_partition_of_their_order_in_the_order_of_the_offsets(
    scoring: Scoring,
) -> None:
    orders = plain_orders(40)
    late_first = [encoder.encode(order) for order in reversed(orders[:20])]
    others = [encoder.encode(order) for order in orders[20:]]
    answers = scoring.decide([chunk(*late_first, partition=1), chunk(*others, partition=0)])
    sources = [source_of(answer.headers) for answer in answers]
    assert [(s.partition, s.offset) for s in sources] == [
        (partition, offset) for partition in (0, 1) for offset in range(20)
    ]
    assert [answer.partition for answer in answers] == [s.partition for s in sources]
    assert {s.appended for s in sources} == {ARRIVED}


def test_an_outcome_counts_for_later_orders_and_a_broken_one_is_dead_lettered(
    scoring: Scoring,
) -> None:
    features = feature_set().names
    first, second = plain_orders(2)
    second = json.loads(encoder.encode(second)) | {"account": first.account}
    second["event_time"] = first.event_time + 40 * MINUTE
    expired = Outcome(
        order_id=first.order_id, kind="expired", event_time=Instant(first.event_time + 30 * MINUTE)
    )
    scoring.decide([chunk(encoder.encode(first))])
    [dead] = scoring.learn([chunk(encoder.encode(expired), b"[]", topic="outcomes")])
    assert dead_letter_decoder.decode(dead.value).error == "not_an_object"
    [answer] = scoring.decide([chunk(json.dumps(second).encode())])
    vector = decision_decoder.decode(answer.value).features
    assert vector[features.index("account_expired_24h")] == 1


def test_what_was_absorbed_counts_as_if_it_had_been_decided(scoring: Scoring) -> None:
    orders = [encoder.encode(order) for order in plain_orders(60)]
    features = feature_set()
    other = Scoring(
        Scorer(features, InMemoryState(features), None, Policy.default()),
        TOPICS,
        clock=lambda: ARRIVED,
        max_message_bytes=65_536,
        max_future_ms=5 * MINUTE,
    )
    scoring.decide([chunk(*orders[:50])])
    other.absorb([chunk(*orders[:50])])
    assert other.decide([chunk(*orders[50:])]) == scoring.decide([chunk(*orders[50:])])


def test_what_has_been_answered_is_not_answered_again() -> None:
    chunks = [chunk(*[b"x"] * 5), chunk(*[b"x"] * 5, partition=1)]
    kept = after(chunks, {0: 2, 1: 4})
    assert [(each.partition, [r.offset for r in each.records]) for each in kept] == [(0, [3, 4])]


@pytest.fixture
def archive(tmp_path: Path) -> Callable[[], Archive]:
    return lambda: Archive(tmp_path, TOPICS, max_message_bytes=65_536, max_future_ms=5 * MINUTE)


def test_the_archive_takes_each_record_once_whatever_comes_again(
    scoring: Scoring, archive: Callable[[], Archive], tmp_path: Path
) -> None:
    orders = [encoder.encode(order) for order in plain_orders(30)]
    answers = scoring.decide([chunk(*orders)])
    decisions = Chunk(
        "decisions",
        0,
        [Record(i, a.value, headers=tuple(a.headers)) for i, a in enumerate(answers)],
    )
    archive().store([chunk(*orders[:20]), Chunk("decisions", 0, decisions.records[:10])])
    archive().store([chunk(*orders), decisions])  # as after a crash: some of it for a second time
    for table in ("orders", "decisions"):
        rows = pl.read_delta(str(tmp_path / table)).sort("offset")
        assert rows["offset"].to_list() == list(range(30))
        assert rows["order_id"].n_unique() == 30


def test_the_archive_has_a_column_a_feature_and_keeps_vectors_that_nobody_named(
    scoring: Scoring, archive: Callable[[], Archive], tmp_path: Path
) -> None:
    answers = scoring.decide([chunk(*map(encoder.encode, plain_orders(4)))])
    sent = [decision_decoder.decode(answer.value or b"") for answer in answers]
    named, other = feature_set(), "0" * 32
    name_features(tmp_path, named)
    strange = decision_encoder.encode(
        msgspec.structs.replace(sent[2], feature_hash=other, features=[1.0, None])
    )
    values = [answers[0].value, answers[1].value, strange, answers[3].value]
    records = [
        Record(i, value, headers=tuple(answer.headers))
        for i, (value, answer) in enumerate(zip(values, answers, strict=True))
    ]
    archive().store([Chunk("decisions", 0, records[:2])])
    archive().store([Chunk("decisions", 0, records)])
    rows = pl.read_delta(str(tmp_path / "decisions")).sort("offset")
    assert rows["features"].to_list() == [None, None, [1.0, None], None]
    assert rows["feature_hash"].to_list() == [named.hash, named.hash, other, named.hash]
    for row in (0, 1, 3):
        held = rows.select(map(feature_column, named.names)).row(row)
        assert held == tuple(sent[row].features)
    assert rows.select(map(feature_column, named.names)).row(2) == (None,) * len(named.names)
    read = archived_features(rows.schema, ["b", "a", "amount", "gone"], ["a", "b"])
    assert rows.select(read).row(2) == (None, 1.0, None, None)


def test_the_archive_leaves_out_what_was_dead_lettered_and_what_is_no_decision(
    scoring: Scoring, archive: Callable[[], Archive], tmp_path: Path
) -> None:
    future = changed(event_time=ARRIVED + 6 * MINUTE)
    [answer] = scoring.decide([chunk(ORDER)])
    good = Record(3, answer.value, headers=tuple(answer.headers))
    strange = [Record(0, None), Record(1, b"{"), Record(2, answer.value), good]
    archive().store([chunk(b"{", future, ORDER), Chunk("decisions", 0, strange)])
    assert pl.read_delta(str(tmp_path / "orders"))["offset"].to_list() == [2]
    assert pl.read_delta(str(tmp_path / "decisions"))["offset"].to_list() == [3]
