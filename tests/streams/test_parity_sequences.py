"""Whatever comes late, twice, or in whatever batches: parity explains every difference.

Records go through the scoring, the archive and parity of this process, without a broker.
"""

from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.columns import event_columns_from_orders
from features.memory import InMemoryState
from orders.errors import UserError
from orders.events import Order
from tests.streams.parity_line import DAY, FEATURES, TOPICS, Line
from training.served_archive import read_archive


def test_one_event_at_a_time_in_order_is_equal_attributes_included(tmp_path: Path) -> None:
    line = Line(tmp_path)
    for event in DAY:
        line.step([event])
    line.archive()
    found = line.parity()
    assert found.equal_share == 1
    assert found.orders == 60
    assert found.features == len(FEATURES.names)
    assert found.worst == found.late_events == []


@given(st.data())
@settings(max_examples=25, deadline=None)
def test_every_difference_is_explained_and_named(data: st.DataObject) -> None:
    delays = data.draw(st.lists(st.sampled_from([0] * 12 + [1, 3, 20]), min_size=len(DAY), max_size=len(DAY)))  # fmt: skip
    arrivals = sorted(range(len(DAY)), key=lambda i: i + delays[i])
    events = [DAY[i] for i in arrivals]
    for _ in range(data.draw(st.integers(0, 6))):
        again = data.draw(st.integers(0, len(events) - 1))
        events.insert(data.draw(st.integers(again + 1, len(events))), events[again])
    batch = data.draw(st.integers(1, 12))
    crash = data.draw(st.one_of(st.none(), st.integers(0, len(events))))
    with TemporaryDirectory() as folder:
        line = Line(Path(folder))
        for start in range(0, len(events), batch):
            if crash is not None and start <= crash < start + batch:
                line.restart()
            line.step(events[start : start + batch])
        line.archive()
        found = line.parity()
    assert found.unexplained == found.unnamed == found.too_recent == 0
    assert found.explained == found.differing
    assert found.states <= 1 + (crash is not None)


def test_the_past_in_a_snapshot_is_needed_again(tmp_path: Path) -> None:
    state = InMemoryState(FEATURES)
    past = [event for event in DAY[:40] if isinstance(event, Order)]
    state.apply(event_columns_from_orders(past, FEATURES))
    snapshot = tmp_path / "state"
    state.save(snapshot)
    line = Line(tmp_path / "archive", snapshot=snapshot)
    for event in DAY[40:]:
        line.step([event])
    line.archive()
    assert line.parity([snapshot]).equal_share == 1
    with pytest.raises(UserError, match=r"began with snapshot .*, none was given: .* --state"):
        line.parity()
    state.apply(event_columns_from_orders([event for event in DAY[40:50] if isinstance(event, Order)], FEATURES))  # fmt: skip
    other = tmp_path / "other"
    state.save(other)
    with pytest.raises(UserError, match="other is "):
        line.parity([other])


def test_what_is_not_archived_yet_is_left_out_and_counted(tmp_path: Path) -> None:
    line = Line(tmp_path)
    for event in DAY[:60]:
        line.step([event])
    line.archive()
    for event in DAY[60:]:
        line.step([event])
    line.archive(TOPICS.decisions, TOPICS.orders)  # the archive of outcomes lags
    found = line.parity()
    assert found.too_recent > 0
    assert found.orders + found.too_recent == 60
    assert found.equal_share == 1


def test_a_sample_holds_whole_accounts_and_is_the_same_again(tmp_path: Path) -> None:
    line = Line(tmp_path)
    for event in DAY:
        line.step([event])
    line.archive()
    ends = {name: {0: 1_000, 1: 1_000} for name in ("orders", "outcomes")}
    small = read_archive(tmp_path, ends, sample=15).decisions
    large = read_archive(tmp_path, ends, sample=30).decisions
    accounts = pl.read_delta(str(tmp_path / "orders")).select("order_id", "account")
    per_account = dict(accounts["account"].value_counts().iter_rows())
    of_small = small.join(accounts, on="order_id")["account_right"].value_counts()
    assert 15 <= len(small) < len(large)
    assert all(per_account[account] == count for account, count in of_small.iter_rows())
    assert set(small["order_id"]) < set(large["order_id"])
    assert read_archive(tmp_path, ends, sample=15).decisions.equals(small)


def test_an_archive_that_cannot_be_compared_says_why(tmp_path: Path) -> None:
    ends = {"orders": {0: 1_000}, "outcomes": {0: 1_000}}
    with pytest.raises(UserError, match="no table 'decisions'"):
        read_archive(tmp_path, ends, sample=10)
    line = Line(tmp_path, partitions=1)
    line.step(DAY[:5])
    line.archive()
    with pytest.raises(UserError, match="PREEMPT_TOPIC_PREFIX"):
        read_archive(tmp_path, {}, sample=10)
    for file in (tmp_path / "feature_sets").iterdir():
        file.unlink()
    with pytest.raises(UserError, match=f"served with feature set {FEATURES.hash}"):
        read_archive(tmp_path, ends, sample=10)
