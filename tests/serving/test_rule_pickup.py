"""A worker follows the store; whatever is wrong there, it goes on with what it has."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from features.feature_set import feature_set
from features.memory import InMemoryState
from orders.errors import UserError
from orders.events import Instant, Order
from serving.alerts import Alert
from serving.database import DatabaseUnavailableError, open_database
from serving.policy import Policy, default_text
from serving.rule_pickup import RulePickup
from serving.rule_store import RuleStore
from serving.scorer import Scorer

NOON = 1_760_000_000_000
FEATURES = feature_set()
SHIPPED = Policy.default().version
FOREIGN = """
[[rules]]
name = "foreign"
title = "T"
title_zh = "T"
when = "attribute_platform = 'ios'"
points = 9
"""


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = open_database(f"sqlite:///{tmp_path}/preempt.db")
    yield engine
    engine.dispose()


@pytest.fixture
def store(engine: Engine) -> RuleStore:
    return RuleStore(engine, default_text())


@pytest.fixture
def scorer() -> Scorer:
    return Scorer(FEATURES, InMemoryState(FEATURES), None, Policy.default())


@pytest.fixture
def pickup(store: RuleStore, scorer: Scorer) -> RulePickup:
    return RulePickup(store, scorer, clock=lambda: NOON)


def rules(points: int) -> str:
    return default_text().replace("points = 40", f"points = {points}", 1)


def published(store: RuleStore, content: str) -> str:
    version, _ = store.draft(content, by="ana", at=NOON)
    store.publish(version, by="ben", at=NOON)
    store.publish(version, by="cleo", at=NOON)
    return version


def broken(store: RuleStore, engine: Engine, content: str = "[[rules") -> str:
    """A published version whose content was altered in the database."""
    version = published(store, rules(99))
    with engine.begin() as connection:
        change = text("UPDATE rule_sets SET content = :content WHERE version = :version")
        connection.execute(change, {"content": content, "version": version})
    return version


def turn(pickup: RulePickup) -> list[Alert]:
    found = pickup.look()
    return [] if found is None else pickup.take(found)


def shadow_of(scorer: Scorer) -> str | None:
    fields = {"event_time": Instant(NOON), "quantity": 1, "unit_price": 1, "currency": "CNY"}
    [decision] = scorer.decide([Order(order_id="o", **fields)], now=NOON)
    return None if decision.shadow is None else decision.shadow.rules


def test_it_begins_with_what_is_live(store: RuleStore, scorer: Scorer, pickup: RulePickup) -> None:
    pickup.begin()
    assert scorer.rules_version == SHIPPED
    version = published(store, rules(41))
    late = Scorer(FEATURES, InMemoryState(FEATURES), None, Policy.default())
    RulePickup(store, late, clock=lambda: NOON).begin()
    assert late.rules_version == version


def test_it_takes_what_is_published_and_what_is_rolled_back(
    store: RuleStore, scorer: Scorer, pickup: RulePickup
) -> None:
    pickup.begin()
    assert turn(pickup) == []
    version = published(store, rules(41))
    found = pickup.look()
    assert found is not None
    assert scorer.rules_version == SHIPPED  # prepared, not yet taken
    [alert] = pickup.take(found)
    assert scorer.rules_version == version
    assert (alert.kind, alert.subject, alert.time) == ("rules_switched", version, NOON)
    assert turn(pickup) == []
    store.rollback(by="ana", at=NOON, reason="why not")
    assert [each.subject for each in turn(pickup)] == [SHIPPED]
    assert scorer.rules_version == SHIPPED


def test_a_shadow_comes_and_goes(store: RuleStore, scorer: Scorer, pickup: RulePickup) -> None:
    version, _ = store.draft(rules(41), by="ana", at=NOON)
    store.shadow(version, by="ana", at=NOON)
    pickup.begin()
    assert shadow_of(scorer) == version
    store.shadow(None, by="ana", at=NOON)
    assert turn(pickup) == []
    assert shadow_of(scorer) is None


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("[[rules", "not valid TOML"),
        (default_text().replace('virtual_phone"\npoints', 'virtual_fone"\npoints'), "reads as"),
        (rules(50), "it was altered"),
        ("", "missing"),
    ],
)
def test_a_broken_version_is_refused_once_and_the_old_one_stays(
    store: RuleStore, engine: Engine, scorer: Scorer, pickup: RulePickup, content: str, why: str
) -> None:
    good = published(store, rules(41))
    pickup.begin()
    bad = broken(store, engine, content)
    [alert] = turn(pickup)
    assert (alert.kind, alert.subject) == ("rules_refused", bad)
    assert why in alert.text
    assert scorer.rules_version == good
    store.shadow(store.draft(rules(42), by="ana", at=NOON)[0], by="ana", at=NOON)
    assert turn(pickup) == []  # told once
    store.rollback(by="ana", at=NOON, reason="broken")
    assert turn(pickup) == []  # it had never left
    assert scorer.rules_version == good


def test_a_version_that_does_not_fit_the_features_is_refused(
    store: RuleStore, scorer: Scorer, pickup: RulePickup
) -> None:
    pickup.begin()
    version = published(store, default_text() + FOREIGN)
    [alert] = turn(pickup)
    assert (alert.kind, alert.subject) == ("rules_refused", version)
    assert "attribute_platform" in alert.text
    assert scorer.rules_version == SHIPPED


def test_a_worker_that_starts_under_a_broken_version_has_what_the_others_have(
    store: RuleStore, engine: Engine, scorer: Scorer, pickup: RulePickup
) -> None:
    good = published(store, rules(41))
    bad = broken(store, engine)
    pickup.begin()
    assert scorer.rules_version == good
    told = [(each.kind, each.subject) for each in scorer.take_alerts()]
    assert told == [("rules_refused", bad)]
    assert turn(pickup) == []


def test_where_nothing_that_was_live_can_be_used_it_does_not_begin(
    store: RuleStore, engine: Engine, pickup: RulePickup
) -> None:
    published(store, rules(41))
    with engine.begin() as connection:
        connection.execute(text("UPDATE rule_sets SET content = ''"))
    with pytest.raises(UserError, match="are refused"):
        pickup.begin()


def test_a_database_that_is_away_changes_nothing(
    store: RuleStore, engine: Engine, scorer: Scorer, pickup: RulePickup, tmp_path: Path
) -> None:
    good = published(store, rules(41))
    pickup.begin()
    database, away = tmp_path / "preempt.db", tmp_path / "away.db"
    database.rename(away)
    database.mkdir()  # nothing can be opened there
    engine.dispose()
    with pytest.raises(DatabaseUnavailableError, match="does not answer"):
        pickup.look()
    assert scorer.rules_version == good
    database.rmdir()
    away.rename(database)
    version = published(store, rules(42))
    assert [each.subject for each in turn(pickup)] == [version]
