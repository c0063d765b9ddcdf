from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orders.errors import UserError
from tests.training.made_history import at
from training.split import Range, resolve_range, split

DAYS = pl.Series([at(day / 10) for day in range(1_000)])  # 100 days, ten orders a day


def alternating(rows: int) -> np.ndarray:
    return (np.arange(rows) % 2).astype(float)


def known_after(delay_of_zeros: float, until: float) -> np.ndarray:
    """Ones are known at once, zeros after so many days."""
    label = alternating(1_000)
    label[(label == 0) & (np.arange(1_000) / 10 + delay_of_zeros > until)] = np.nan
    return label


def times(until: float = 80, known: float | None = None) -> Range:
    return resolve_range(DAYS, at(until), label_known_at=None if known is None else at(known))


def test_the_slices_follow_each_other_in_time_and_the_test_comes_last():
    parts = split(DAYS, alternating(1_000), alternating(1_000), times())
    assert [len(rows) for rows in (parts.fit, parts.stop, parts.calibrate)] == [560, 120, 120]
    joined = np.concatenate([parts.fit, parts.stop, parts.calibrate, parts.test])
    np.testing.assert_array_equal(joined, np.arange(1_000))


def test_the_final_trees_do_not_see_the_calibration_slice_nor_the_test():
    parts = split(DAYS, known_after(5, 80), alternating(1_000), times())
    assert not set(parts.train) & (set(parts.calibrate) | set(parts.test))
    assert set(parts.train) >= set(parts.fit) | set(parts.stop)


def test_slices_end_where_labels_are_still_coming_in():
    parts = split(DAYS, known_after(20, 80), alternating(1_000), times())
    newest = max(rows.max() for rows in (parts.fit, parts.stop, parts.calibrate))
    assert newest < 640  # after day 60 only the quick labels are known
    assert parts.train.max() > 780  # half of the labels are in: good enough to learn from


def test_the_test_ends_where_labels_are_still_coming_in():
    parts = split(DAYS, alternating(1_000), known_after(10, 100), times())
    assert 880 <= parts.test.max() < 910
    np.testing.assert_array_equal(
        np.sort(np.concatenate([parts.test, parts.untested])), np.arange(800, 1_000)
    )


def test_orders_of_which_hardly_any_label_is_in_do_not_train():
    label = alternating(1_000)
    label[600:800][np.arange(200) % 10 > 0] = np.nan
    parts = split(DAYS, label, alternating(1_000), times())
    assert parts.train.max() < 600


def test_a_share_is_counted_in_orders():
    assert resolve_range(DAYS, 0.8).train_until == DAYS[800]


def test_rows_may_come_in_any_sequence():
    shuffled = np.random.default_rng(3).permutation(1_000)
    moments = pl.Series(np.array(DAYS.to_list(), dtype=object)[shuffled].tolist())
    label = alternating(1_000)
    parts = split(moments, label[shuffled], label[shuffled], resolve_range(moments, at(80)))
    np.testing.assert_array_equal(shuffled[parts.fit], np.arange(560))


def test_the_test_begins_when_the_model_could_have_been_trained():
    resolved = times(until=60, known=75)
    assert resolved.test_from == at(75)
    parts = split(DAYS, alternating(1_000), alternating(1_000), resolved)
    assert parts.test.min() == 750


@given(st.floats(1, 99), st.floats(1, 60))
def test_no_label_of_the_test_trains_and_no_time_overlaps(until: float, delay: float):
    resolved = times(until=until)
    known = known_after(delay, until)
    try:
        parts = split(DAYS, known, alternating(1_000), resolved)
    except UserError:
        return
    moments = np.array(DAYS.to_list())
    for rows in (parts.fit, parts.stop, parts.calibrate, parts.train):
        assert all(moments[rows] < at(until))
        assert not np.isnan(known[rows]).any()
    assert all(moments[parts.test] >= at(until))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"train_from": at(90)}, "the training range is empty"),
        ({"label_known_at": at(0)}, "no label is known then"),
        ({"test_from": at(70)}, "is before --train-until"),
        ({"test_from": at(90), "test_until": at(85)}, "the test range is empty"),
    ],
)
def test_ranges_that_make_no_sense_are_refused(arguments: dict[str, datetime], message: str):
    with pytest.raises(UserError, match=message):
        resolve_range(DAYS, at(80), **arguments)


def test_a_share_must_be_one():
    with pytest.raises(UserError, match="between 0% and 100%"):
        resolve_range(DAYS, 1.5)


@pytest.mark.parametrize(
    ("label", "message"),
    [
        (np.full(1_000, np.nan), "none of the 800 orders of the training range has a label"),
        (np.zeros(1_000), "no positive labels among the 800 known ones of the training range"),
        (np.ones(1_000), "all 800 known labels of the training range are 1"),
        ((np.arange(1_000) < 10).astype(float), "no positive labels .* early-stopping slice"),
    ],
)
def test_labels_that_cannot_train_are_named(label: np.ndarray, message: str):
    with pytest.raises(UserError, match=message):
        split(DAYS, label, label, times())


def test_a_range_without_orders_is_named():
    later = resolve_range(DAYS, at(200), train_from=at(150))
    with pytest.raises(UserError, match="no orders from"):
        split(DAYS, alternating(1_000), alternating(1_000), later)


def test_no_orders_after_the_training_range_leave_nothing_to_test():
    parts = split(DAYS, alternating(1_000), alternating(1_000), times(until=100 + 1))
    assert len(parts.test) == 0
    assert timedelta(0) < times(until=101).train_until - DAYS[-1]


def young_and_silent(wait: float, maturity: timedelta | None) -> tuple[np.ndarray, np.ndarray]:
    """Zeros are known after 20 days, ones after `wait`; rows that train beyond the ripe, and silent."""
    placed = np.arange(1_000) / 10
    label = known_after(20, 80)
    label[(label == 1) & (placed + wait > 80)] = np.nan
    delay = np.where(alternating(1_000) == 1, wait, 20) * 86_400_000
    known_time = DAYS.dt.epoch("ms").to_numpy() + delay.astype(float)
    known_time[np.isnan(label)] = np.nan
    parts = split(
        DAYS, label, alternating(1_000), times(), known_time=known_time, maturity=maturity
    )
    return parts.train[parts.train > parts.calibrate.max()], parts.silent


def test_younger_orders_of_which_nothing_was_said_count_as_0_once_most_ones_would_be_known():
    young, silent = young_and_silent(3, timedelta(days=20))
    assert (young.min(), young.max()) == (600, 770)  # three days before day 80
    assert set(silent) == set(range(602, 771, 2))  # every zero that is not known, and no one


def test_where_silence_never_means_0_no_order_counts_as_0_before_its_label():
    _, silent = young_and_silent(3, None)
    assert len(silent) == 0
