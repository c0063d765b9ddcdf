"""Child processes that never outlive us, folders that only one process uses, and free ports."""

import fcntl
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from orders.errors import UserError

_TETHER = Path(__file__).with_name("tether.py")


class ChildProcess:
    """A command that runs beside us, its output appended to a log file.

    It has a session of its own: Ctrl-C in the terminal reaches only us, and we stop the children
    in the order that loses nothing. When we die without stopping it, the kernel sends it
    `when_parent_dies` (Linux; see `preempt.tether`). The kernel counts the *thread* that called
    `start` as the parent, so start children from a thread that lives as long as they should.

    Args:
        command: Program and arguments; the program as a path, or looked up on PATH.
        log: File that stdout and stderr are appended to; its folder must exist.
        environment: Set on top of ours.
        cwd: Working directory; ours when None.
        when_parent_dies: SIGTERM for a server that saves on it; SIGKILL for what might hang.
        keep_open: File descriptors that the child inherits.
    """

    def __init__(
        self,
        command: Sequence[str | Path],
        *,
        log: Path,
        environment: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        when_parent_dies: signal.Signals = signal.SIGKILL,
        keep_open: Sequence[int] = (),
    ) -> None:
        self.command = [str(part) for part in command]
        self.log = log
        self._environment = dict(environment or {})
        self._cwd = cwd
        self._when_parent_dies = when_parent_dies
        self._keep_open = tuple(keep_open)
        self._process: subprocess.Popen[bytes] | None = None
        self._log_start = 0

    def start(self) -> Self:
        """Start it, or start it again after it ended."""
        if self.running:
            raise RuntimeError(f"{self.command[0]} is running already")
        # -I -S: start in milliseconds, and let nothing of this environment interfere.
        tether = [sys.executable, "-I", "-S", str(_TETHER)]
        tether += [str(os.getpid()), str(int(self._when_parent_dies))]
        with self.log.open("ab") as log:
            self._log_start = log.tell()
            self._process = subprocess.Popen(
                tether + self.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=os.environ | self._environment,
                cwd=self._cwd,
                start_new_session=True,
                pass_fds=self._keep_open,
            )
        return self

    @property
    def pid(self) -> int:
        """Process id of the running or last run; an error before the first start."""
        if self._process is None:
            raise RuntimeError(f"{self.command[0]} was never started")
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    @property
    def returncode(self) -> int | None:
        """Exit code of the last run, -N when signal N ended it; None while it runs."""
        return self._process.poll() if self._process is not None else None

    def terminate(self) -> None:
        """Ask it to end (SIGTERM)."""
        if self._process is not None:
            self._process.terminate()

    def kill(self) -> None:
        """End it and everything it started, at once (SIGKILL)."""
        if self._process is not None:
            self._process.poll()
            self._kill_group()
            self._process.wait()

    def wait(self, timeout: float | None = None) -> int:
        """Exit code, once it has ended.

        Raises:
            TimeoutError: It still runs after `timeout` seconds.
        """
        if self._process is None:
            raise RuntimeError(f"{self.command[0]} was never started")
        try:
            return self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"{self.command[0]} still runs after {timeout:g} s") from None

    def stop(self, grace_s: float = 10.0) -> None:
        """End it: SIGTERM, and SIGKILL for whatever is left after `grace_s` seconds."""
        if self._process is None:
            return
        self.terminate()
        try:
            self.wait(grace_s)
        except TimeoutError:
            pass  # the kill below is the answer to it
        finally:
            self.kill()

    def log_tail(self) -> str:
        """The last of what this run has written, on one line of at most 600 characters."""
        with self.log.open("rb") as log:
            size = log.seek(0, os.SEEK_END)
            log.seek(max(self._log_start, size - 4096))
            written = log.read().decode(errors="replace").splitlines()
        return " | ".join(line.strip() for line in written if line.strip())[-600:]

    def _kill_group(self) -> None:
        # Its process group is its own process id: it leads a session.
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            return  # nobody is left (macOS says so by EPERM)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


class FolderLock:
    """A folder that one process uses at a time.

    The kernel holds the lock as long as one descriptor of it is open, so it cannot go stale: it
    ends with its owner and with every child that inherited `descriptor`.
    """

    def __init__(self, folder: Path, *, what: str) -> None:
        self._folder = folder
        self._what = what
        self._descriptor: int | None = None

    @property
    def descriptor(self) -> int:
        """For `ChildProcess(keep_open=…)`, when a child must be gone before the next owner."""
        if self._descriptor is None:
            raise RuntimeError(f"{self._folder} is not locked")
        return self._descriptor

    def acquire(self, *, patience_s: float = 15.0) -> None:
        """Lock the folder, which is made when missing.

        A folder whose owner is dead may be held by the owner's children, which are saving: they
        get `patience_s` seconds to end.

        Raises:
            UserError: The folder is in use, or cannot be written.
        """
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
        except OSError as error:
            raise UserError(
                f"cannot write to {self._folder}: {error.strerror}; choose another data folder"
            ) from error
        deadline = time.monotonic() + patience_s
        try:
            while True:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    owner = os.pread(descriptor, 32, 0).decode(errors="replace").strip()
                    if _alive(owner) or time.monotonic() > deadline:
                        raise UserError(
                            f"{self._what} in {self._folder} is in use by process "
                            f"{owner or 'unknown'}: stop that one, or choose another data folder"
                        ) from None
                    time.sleep(0.05)
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor = descriptor

    def release(self) -> None:
        """Give the folder free; nothing happens when it is not held."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on now.

    Somebody may take it before you do: start your server, and try another port when it fails.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _alive(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except (ValueError, ProcessLookupError):
        return False
    except PermissionError:
        return True  # somebody else's
    return True
