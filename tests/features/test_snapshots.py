from pathlib import Path

import pytest

from features import snapshot
from features.declare import DAY, count
from features.definitions import FEATURES
from features.feature_set import FeatureSetMismatchError, feature_set
from features.memory import InMemoryState
from features.snapshot import SnapshotError

DECLARED = feature_set()


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "state"
    InMemoryState(DECLARED).save(path, metadata={"offsets": {"orders-0": 17}})
    return path


def test_metadata_comes_back(saved: Path) -> None:
    assert InMemoryState.load(saved, DECLARED)[1] == {"offsets": {"orders-0": 17}}


def test_saving_leaves_nothing_else_behind(saved: Path) -> None:
    assert list(saved.parent.iterdir()) == [saved]


def test_a_snapshot_of_other_features_is_refused(saved: Path) -> None:
    more = count("orders", per="recipient", within=DAY, catches="x")
    with pytest.raises(FeatureSetMismatchError, match="build the state again"):
        InMemoryState.load(saved, feature_set(features=(*FEATURES, more)))


def test_a_snapshot_of_another_version_is_refused(saved: Path) -> None:
    content = saved.read_bytes().replace(b'"version": 2', b'"version": 9')
    saved.write_bytes(content)
    with pytest.raises(SnapshotError, match="version 9"):
        InMemoryState.load(saved, DECLARED)


def test_a_snapshot_cut_short_anywhere_is_refused(saved: Path) -> None:
    content = saved.read_bytes()
    for length in (0, 4, 12, 40, len(content) // 2, len(content) - 1):
        saved.write_bytes(content[:length])
        with pytest.raises(SnapshotError):
            InMemoryState.load(saved, DECLARED)


def test_a_damaged_snapshot_is_refused(saved: Path) -> None:
    content = bytearray(saved.read_bytes())
    content[-3] ^= 1
    saved.write_bytes(bytes(content))
    with pytest.raises(SnapshotError, match="damaged"):
        InMemoryState.load(saved, DECLARED)


def test_no_file_is_a_snapshot_error(tmp_path: Path) -> None:
    with pytest.raises(SnapshotError, match="cannot be read"):
        snapshot.load(tmp_path / "nothing", DECLARED.hash)
