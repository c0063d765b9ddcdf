"""What the feature states of an archive began with."""

from collections.abc import Sequence
from pathlib import Path

from features.feature_set import FeatureSet, FeatureSetMismatchError
from features.memory import InMemoryState
from features.snapshot import SnapshotError, fingerprint
from orders.errors import UserError


class Starts:
    """The states that workers began with.

    A start is None, when nothing was known, the fingerprint of a snapshot, or the name of a shared
    state that held events before the first worker came.

    Args:
        feature_set: of the states.
        snapshots: files, to be found by their fingerprint.
        past: file with what shared states held; None: that is not known.
    """

    def __init__(
        self, feature_set: FeatureSet, snapshots: Sequence[Path], past: Path | None = None
    ) -> None:
        self._feature_set = feature_set
        self._past = past
        try:
            self._files = {fingerprint(path): path for path in snapshots}
        except SnapshotError as error:
            raise UserError(f"{error}; name the snapshot with --state") from None

    def require(self, snapshot: str | None) -> None:
        """Raise `UserError` unless a state of one worker can begin with it."""
        if snapshot is None or snapshot in self._files:
            return
        held = ", ".join(f"{path} is {found}" for found, path in self._files.items())
        raise UserError(
            f"a worker began with snapshot {snapshot}, {held or 'none was given'}: name its file "
            "with --state"
        )

    def knows(self, start: str | None) -> bool:
        """Whether a shared state can begin with it."""
        return start is None or self._past is not None

    def state(self, start: str | None) -> InMemoryState:
        """A new state as it was at the start; an empty one where that is not known."""
        path = None if start is None else self._files.get(start, self._past)
        if path is None:
            return InMemoryState(self._feature_set)
        try:
            return InMemoryState.load(path, self._feature_set)[0]
        except (SnapshotError, FeatureSetMismatchError) as error:
            raise UserError(str(error)) from None
