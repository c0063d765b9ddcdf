"""The data folder of a demo: where its parts are, and that it is a demo's alone."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from orders.errors import UserError
from preempt.processes import FolderLock

MARKER = ".preempt-demo"
MADE_ANEW = ("archive", "broker", "history", "valkey")  # folders that a run begins without


class DemoFolder:
    """The data folder of a demo: one demo at a time, nothing of anybody else's is touched."""

    def __init__(self, folder: Path) -> None:
        self.path = folder.resolve()
        self.history = self.path / "history"
        self.frame = self.path / "frame.parquet"
        self.state = self.path / "state.snapshot"
        self.summary = self.path / "summary.json"
        self.report = self.path / "report.html"
        self.picture = self.path / "live.svg"  # the live table at its busiest

    @contextmanager
    def claimed(self) -> Iterator[None]:
        """Hold the folder, and begin without what an earlier run left, save the registry.

        Raises:
            UserError: it is in use, cannot be written, or holds something else.
        """
        marker = self.path / MARKER
        try:
            if self.path.exists() and any(self.path.iterdir()) and not marker.exists():
                raise UserError(
                    f"{self.path} is not empty and no demo made it: choose another --data-dir"
                )
            self.path.mkdir(parents=True, exist_ok=True)
            marker.touch()
        except OSError as error:
            raise UserError(
                f"cannot write to {self.path}: {error.strerror}; choose another --data-dir"
            ) from None
        lock = FolderLock(self.path, what="a demo")
        lock.acquire()
        try:
            for name in ("broker", "valkey"):  # perhaps `preempt up` runs on them
                server = FolderLock(self.path / name, what=f"the {name}")
                server.acquire()
                server.release()
            for name in MADE_ANEW:
                shutil.rmtree(self.path / name, ignore_errors=True)
            for file in (self.frame, self.state, self.summary, self.report, self.picture):
                file.unlink(missing_ok=True)
            yield
        finally:
            lock.release()
