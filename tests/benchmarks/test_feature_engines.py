"""The contest of feature engines runs, and what claims to be exact is."""

import pytest

from benchmarks.feature_engines import ours
from benchmarks.feature_engines.contenders import CONTENDERS, Entry
from benchmarks.feature_engines.contest import (
    SUBSET,
    Contest,
    NotAvailableError,
    Run,
    equal_shares,
    make_contest,
)

IN_PROCESS = [entry for entry in CONTENDERS if not entry.is_worker]


@pytest.fixture(scope="module")
def contest(tmp_path_factory: pytest.TempPathFactory) -> Contest:
    # Three days, so that windows of a day lose orders.
    return make_contest(300, days=3, seed=7, seconds=60, folder=tmp_path_factory.mktemp("contest"))


@pytest.fixture(scope="module")
def reference(contest: Contest) -> Run:
    return ours.memory(contest)


@pytest.mark.parametrize("entry", IN_PROCESS, ids=lambda entry: entry.name)
def test_in_process_every_value_is_equal_to_ours(
    entry: Entry, contest: Contest, reference: Run
) -> None:
    try:
        run = entry.load()(contest)
    except NotAvailableError as reason:
        pytest.skip(str(reason))
    assert run.orders == len(contest.orders) == len(run.values)
    shares = equal_shares(reference.values, run.values, contest.declared.names)
    assert shares == dict.fromkeys(SUBSET, 1.0)


def test_every_contender_can_be_imported() -> None:
    for entry in CONTENDERS:
        assert callable(entry.load()), entry.name


def test_the_orders_exercise_every_feature(reference: Run) -> None:
    for name, column in zip(SUBSET, reference.values.T, strict=True):
        assert (column > 0).any(), name


def test_a_wrong_value_is_seen(reference: Run) -> None:
    wrong = reference.values.copy()
    wrong[7, 0] += 1
    shares = equal_shares(reference.values, wrong, SUBSET)
    assert shares.pop(SUBSET[0]) == pytest.approx(1 - 1 / len(wrong))
    assert set(shares.values()) == {1.0}
