"""The store of rule sets: one history, one live version, whoever writes at the same time."""

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from subprocess import PIPE, Popen
from threading import Barrier

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, text

from orders.errors import UserError
from serving.database import DatabaseUnavailableError, open_database
from serving.policy import Policy, default_text
from serving.rule_changes import (
    Doing,
    RuleConflictError,
    plan_publication,
    plan_rollback,
    plan_shadow,
)
from serving.rule_history import RuleEvent, RuleHistory
from serving.rule_store import LONGEST, RuleStore

SHIPPED = Policy.default().version
A, B, C = (default_text().replace("points = 50", f"points = {n}") for n in (51, 52, 53))
NOON = 1_760_000_000_000


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/operational/preempt.db"
    found = request.getfixturevalue("postgresql_url")
    engine = open_database(found)
    with engine.begin() as connection:
        connection.execute(text("DROP TABLE IF EXISTS rule_events, rule_sets"))
    engine.dispose()
    return found


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    engine = open_database(url)
    yield engine
    engine.dispose()


@pytest.fixture
def store(engine: Engine) -> RuleStore:
    return RuleStore(engine, default_text())


def drafted(store: RuleStore, content: str, by: str = "ana") -> str:
    return store.draft(content, by=by, at=NOON)[0]


def published(store: RuleStore, content: str) -> str:
    """A version that two people made live."""
    version = drafted(store, content)
    store.publish(version, by="ben", at=NOON + 1)
    assert store.publish(version, by="cleo", at=NOON + 2) is None
    return version


def tried(store: RuleStore, version: str, share: float, against: str | None = None) -> None:
    against = against or store.history().live
    store.record_backtest(
        version, against, changed_share=share, result_json='{"orders": 9}', by="ana", at=NOON
    )


def kinds(store: RuleStore) -> list[str]:
    return [event.kind for event in store.history().events]


def test_where_nothing_was_published_the_shipped_rules_are_live(store: RuleStore) -> None:
    assert store.history().live == store.resolve("live") == SHIPPED
    assert store.history().state(SHIPPED) == "live"
    assert [each.version for each in store.rule_sets()] == [SHIPPED]
    assert store.policy(SHIPPED) == Policy.default()
    assert store.last_number() == 0


def test_a_draft_keeps_the_text_as_given_and_the_same_rules_are_the_same_version(
    store: RuleStore,
) -> None:
    content = f"# 夜间\r\n{A}\n\n"
    version, new = store.draft(content, by=" ana ", at=NOON, comment="nights")
    assert new
    assert version == Policy.parse(content, "").version
    found = store.rule_set(version)
    assert (found.content, found.author) == (content, "ana")
    assert (found.comment, found.created_at) == ("nights", NOON)
    assert store.draft(A, by="ben", at=NOON + 9) == (version, False)
    assert store.draft(default_text(), by="ben", at=NOON + 9) == (SHIPPED, False)
    assert store.rule_set(version) == found
    assert kinds(store) == ["drafted"]


def test_one_person_publishes_what_was_tried_and_changes_little(store: RuleStore) -> None:
    version = drafted(store, A)
    tried(store, version, 0.01)
    assert store.publish(version, by="ana", at=NOON, comment="why not") is None
    history = store.history()
    assert history.live == version
    assert history.state(SHIPPED) == "retired"
    # What shipped is kept too: a later release may ship other rules.
    assert kinds(store) == ["drafted", "drafted", "backtested", "published", "retired"]
    assert store.backtest_result(version, SHIPPED) == '{"orders": 9}'


@pytest.mark.parametrize("share", [None, 0.0101])
def test_otherwise_a_second_person_approves(store: RuleStore, share: float | None) -> None:
    version = drafted(store, A, by="ana")
    if share is not None:
        tried(store, version, share)
    why = store.publish(version, by="Ben", at=NOON)
    assert why is not None
    assert ("rules backtest" if share is None else "1.01% of decisions, more than 1.00%") in why
    assert store.history().live == SHIPPED
    for same, did in (("ben", "Ben asked"), ("Ana", "ana wrote")):
        with pytest.raises(UserError, match=f"{did}.*somebody else must approve"):
            store.publish(version, by=same, at=NOON)
    assert store.publish(version, by="cleo", at=NOON) is None
    assert store.history().live == version
    done = [kind for kind in kinds(store) if kind not in ("drafted", "backtested")]
    assert done == ["publish_requested", "approved", "published", "retired"]


def test_what_the_author_asked_for_somebody_else_approves(store: RuleStore) -> None:
    version = drafted(store, A, by="ana")
    assert store.publish(version, by="ana", at=NOON) is not None
    assert store.publish(version, by="ben", at=NOON) is None


def test_a_backtest_counts_against_the_live_version_only_and_the_newest_counts(
    store: RuleStore,
) -> None:
    first, second = drafted(store, A), drafted(store, B)
    tried(store, first, 0)
    tried(store, second, 0)
    assert store.publish(first, by="ana", at=NOON) is None
    assert store.publish(second, by="ana", at=NOON) is not None  # it was tried against another one
    tried(store, second, 0.2)
    tried(store, second, 0.001)
    assert store.publish(second, by="ana", at=NOON) is None


def test_a_request_lapses_when_another_version_goes_live(store: RuleStore) -> None:
    wanted = drafted(store, A)
    store.publish(wanted, by="ana", at=NOON)
    published(store, B)
    assert store.publish(wanted, by="ben", at=NOON) is not None
    assert store.history().live != wanted


def test_rollbacks_go_back_version_by_version(store: RuleStore) -> None:
    first, second = published(store, A), published(store, B)
    assert store.rollback(by="ana", at=NOON, reason="calls") == first
    assert store.history().state(second) == "retired"
    assert store.rollback(by="ana", at=NOON, reason="still") == SHIPPED
    with pytest.raises(UserError, match="nothing before the live version"):
        store.rollback(by="ana", at=NOON, reason="more")
    assert store.history().events[-2].comment == "still"
    assert published(store, B) == second  # a retired version may come back
    assert store.rollback(by="ana", at=NOON, reason="no") == SHIPPED


def test_one_version_at_most_is_in_shadow(store: RuleStore) -> None:
    first, second = drafted(store, A), drafted(store, B)
    store.shadow(first, by="ana", at=NOON)
    store.shadow(second, by="ana", at=NOON)
    history = store.history()
    assert (history.state(first), history.state(second)) == ("draft", "shadow")
    assert store.resolve("shadow") == second
    with pytest.raises(UserError, match="in shadow already"):
        store.shadow(second, by="ana", at=NOON)
    store.publish(second, by="ben", at=NOON)
    store.publish(second, by="cleo", at=NOON)
    assert store.history().shadow is None
    with pytest.raises(UserError, match="is live"):
        store.shadow(second, by="ana", at=NOON)
    store.shadow(SHIPPED, by="ana", at=NOON)
    store.shadow(None, by="ana", at=NOON)
    assert store.history().state(SHIPPED) == "retired"
    with pytest.raises(UserError, match="no version is in shadow"):
        store.shadow(None, by="ana", at=NOON)
    with pytest.raises(UserError, match="no version is in shadow"):
        store.resolve("shadow")


def test_a_version_is_named_by_its_first_letters(store: RuleStore) -> None:
    versions = [
        drafted(store, default_text().replace("points = 50", f"points = {n}")) for n in range(1, 18)
    ]
    assert store.resolve(versions[0].upper()) == versions[0]
    shared = next(v[0] for v in versions if sum(w[0] == v[0] for w in [*versions, SHIPPED]) > 1)
    with pytest.raises(UserError, match="give more letters"):
        store.resolve(shared)
    for unknown in ("", "zz"):
        with pytest.raises(UserError, match="rules list"):
            store.resolve(unknown)


def test_what_cannot_be_is_refused_and_changes_nothing(store: RuleStore) -> None:
    version = drafted(store, A)
    number = store.last_number()
    for wrong in (
        lambda: store.draft("rules = 3", by="ana", at=NOON),
        lambda: store.draft(A + "#" * LONGEST, by="ana", at=NOON),
        lambda: store.draft(B, by="  ", at=NOON),
        lambda: store.draft(B, by="a" * 201, at=NOON),
        lambda: store.publish("0" * 12, by="ana", at=NOON),
        lambda: store.shadow("0" * 12, by="ana", at=NOON),
        lambda: store.rollback(by="ana", at=NOON, reason=" "),
        lambda: tried(store, "0" * 12, 0.1),
        lambda: tried(store, version, 0.1, against="0" * 12),
    ):
        with pytest.raises(UserError):
            wrong()
    with pytest.raises(ValueError, match="expected 0 to 1"):
        tried(store, version, float("nan"))
    assert store.last_number() == number


def test_a_content_that_was_altered_cannot_be_published(store: RuleStore, engine: Engine) -> None:
    version = drafted(store, A)
    with engine.begin() as connection:
        connection.execute(text("UPDATE rule_sets SET content = :b"), {"b": B})
    with pytest.raises(UserError, match="altered"):
        store.publish(version, by="ben", at=NOON)


def at_once(store: RuleStore, *doings) -> list[object]:
    """What each gave or raised, all begun at the same moment."""
    barrier = Barrier(len(doings))

    def run(doing) -> object:
        barrier.wait()
        try:
            return doing(store)
        except RuleConflictError as error:
            return error

    with ThreadPoolExecutor(len(doings)) as pool:
        return list(pool.map(run, doings))


@pytest.mark.parametrize("attempt", range(5))
def test_of_two_who_publish_at_once_one_wins_and_the_other_is_told(
    store: RuleStore, attempt: int
) -> None:
    versions = [drafted(store, A), drafted(store, B)]
    for version in versions:
        tried(store, version, 0)
    outcomes = at_once(
        store,
        lambda s: s.publish(versions[0], by="ana", at=NOON),
        lambda s: s.publish(versions[1], by="ben", at=NOON),
    )
    history = store.history()
    assert [event.number for event in history.events] == list(range(1, history.number + 1))
    won = versions.index(history.live)
    assert outcomes[won] is None
    lost = outcomes[1 - won]
    # Seen while it wrote: told who was quicker. Seen before: its backtest is of another version.
    if isinstance(lost, RuleConflictError):
        assert f"{history.live} has become live meanwhile (by {('ana', 'ben')[won]})" in str(lost)
    else:
        assert "was not tried against the live version" in str(lost)


def test_many_who_draft_at_once_all_succeed(store: RuleStore) -> None:
    texts = [default_text().replace("points = 50", f"points = {n}") for n in range(1, 7)]
    outcomes = at_once(
        store, *(lambda s, t=t: s.draft(t, by="ana", at=NOON) for t in [*texts, *texts[:2]])
    )
    assert all(isinstance(outcome, tuple) for outcome in outcomes)
    assert len(store.history().events) == len(texts)


def test_of_two_processes_one_publishes(store: RuleStore, url: str) -> None:
    versions = [drafted(store, A), drafted(store, B)]
    for version in versions:
        tried(store, version, 0)
    code = (
        "import sys\nfrom serving.database import open_database\n"
        "from serving.policy import default_text\nfrom serving.rule_store import RuleStore\n"
        "store = RuleStore(open_database(sys.argv[1]), default_text())\n"
        "print('ready', flush=True); sys.stdin.readline()\n"
        "print(store.publish(sys.argv[2], by=sys.argv[3], at=1) or 'live')"
    )
    processes = [
        Popen(
            [sys.executable, "-c", code, url, v, by],
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
            text=True,
        )
        for v, by in zip(versions, ("ana", "ben"), strict=True)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    said = ["".join(process.communicate(timeout=60)) for process in processes]
    history = store.history()
    won = versions.index(history.live)
    assert said[won].strip() == "live"
    assert "meanwhile" in said[1 - won] or "not tried against" in said[1 - won]
    assert [event.kind for event in history.events].count("published") == 1


def test_two_stores_may_be_opened_at_once(url: str) -> None:
    engines = [open_database(url) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        stores = list(pool.map(lambda engine: RuleStore(engine, default_text()), engines))
    assert {store.last_number() for store in stores} == {0}
    for engine in engines:
        engine.dispose()


@pytest.mark.parametrize(
    "url", ["mysql://h/x", "nonsense", "sqlite+other:///x", "postgresql+asyncpgx://h/x"]
)
def test_a_url_of_another_database_is_one_line(url: str) -> None:
    with pytest.raises(UserError, match="PREEMPT_DATABASE_URL must be"):
        open_database(url)


def test_a_database_that_does_not_answer_says_so_without_its_password() -> None:
    engine = open_database("postgresql://preempt:secret@127.0.0.1:1/x")
    with pytest.raises(DatabaseUnavailableError, match=r"127\.0\.0\.1:1/x does not answer") as told:
        RuleStore(engine, default_text())
    assert "secret" not in str(told.value)
    assert "\n" not in str(told.value)


def test_a_file_that_is_no_database_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "preempt.db").write_text("not a database " * 100)
    engine = open_database(f"sqlite:///{tmp_path}/preempt.db")
    with pytest.raises(DatabaseUnavailableError, match="not a database"):
        RuleStore(engine, default_text())
    engine.dispose()


DOINGS = st.lists(
    st.tuples(
        st.sampled_from(["publish", "rollback", "shadow", "unshadow", "backtest"]),
        st.sampled_from(["v1", "v2", "v3"]),
        st.sampled_from(["ana", "ben", "cleo"]),
    ),
    max_size=30,
)


@given(DOINGS)
def test_whatever_people_do_one_version_is_live_and_no_one_publishes_alone(doings) -> None:
    events: list[RuleEvent] = []
    for what, version, by in doings:
        history = RuleHistory("shipped", events)
        doing = Doing(by, NOON, "")
        try:
            if what == "publish":
                why = history.why_second_person(version, 0.01)
                new = plan_publication(history, version, "ana", why, doing)
            elif what == "rollback":
                new = plan_rollback(history, doing)
            elif what == "backtest":
                new = [doing.event("backtested", version, against=history.live)]
            else:
                new = plan_shadow(history, version if what == "shadow" else None, doing)
        except UserError:
            continue
        events += new
        after = RuleHistory("shipped", events)
        states = [after.state(each) for each in ("shipped", "v1", "v2", "v3")]
        assert states.count("live") == 1
        assert states.count("shadow") <= 1
        if what == "publish" and after.live == version:
            # no backtest says by how much decisions change, so two people took part
            request = next(
                e
                for e in reversed(events)
                if e.kind == "publish_requested" and e.version == version
            )
            assert len({by, request.by}) == 2
            assert by != "ana"
        if what == "rollback":
            assert after.live == history.before[-1]
            assert after.before == history.before[:-1]


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ('"verify_call"', '"verify_sms"', "the action of a tier"),
        ("share = 0.01", "share = 0.2", "which orders are explored"),
        ("at_most = 1000", "at_most = 100000", "when the circuit breaker trips"),
        ("member_level = 4", "member_level = 0", "whom the fast lane lets through"),
        (
            'when = "virtual_phone"',
            'when = "virtual_phone"\nvalid_from = 2040-01-01T00:00:00Z',
            "begins later",
        ),
    ],
)
def test_what_no_backtest_shows_needs_a_second_person_whatever_it_said(
    store: RuleStore, old: str, new: str, why: str
) -> None:
    text = default_text()
    if old not in text:
        text = text.replace("at_least = 30", "at_least = 30\nat_most = 1000")
    assert old in text
    version, _ = store.draft(text.replace(old, new), by="ana", at=NOON)
    store.record_backtest(
        version, store.history().live, changed_share=0.0, result_json="{}", by="ana", at=NOON
    )
    said = store.publish(version, by="ben", at=NOON)
    assert said is not None
    assert why in said
    assert store.publish(version, by="cleo", at=NOON) is None
