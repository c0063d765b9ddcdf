"""A PostgreSQL server for tests, where this machine has one installed."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Self

from preempt.processes import free_port


class PostgreSQLUnavailableError(Exception):
    """There is no PostgreSQL on this machine."""


class PostgreSQL:
    """A server on a free port of 127.0.0.1, in a folder of its own, that trusts everybody."""

    def __init__(self) -> None:
        found = [
            *Path("/usr/lib/postgresql").glob("*/bin"),
            *(Path(p).parent for p in [shutil.which("pg_ctl")] if p),
        ]
        if not found:
            raise PostgreSQLUnavailableError("no PostgreSQL server is installed (pg_ctl)")
        self._programs = found[-1]
        # The server refuses to run as root, and the folders of pytest are for their owner only.
        self._user = "postgres" if os.geteuid() == 0 else None
        self._folder = Path(tempfile.mkdtemp(prefix="preempt-pg-"))
        if self._user is not None:
            try:
                shutil.chown(self._folder, self._user)
            except LookupError:
                raise PostgreSQLUnavailableError("PostgreSQL refuses to run as root") from None

    def start(self) -> Self:
        """Make the database and start the server; returns when it answers."""
        data, log = self._folder / "data", self._folder / "log"
        self._run("initdb", "-D", data, "-U", "preempt", "--auth=trust", "--no-sync")
        self.port = free_port()
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c fsync=off -k {self._folder}"
        self._run("pg_ctl", "-D", data, "-l", log, "-o", options, "-w", "start")
        return self

    @property
    def url(self) -> str:
        """Of the database `postgres`."""
        return f"postgresql://preempt@127.0.0.1:{self.port}/postgres"

    def stop(self) -> None:
        """End it at once, and remove its folder."""
        self._run("pg_ctl", "-D", self._folder / "data", "-m", "immediate", "stop")
        shutil.rmtree(self._folder)

    def _run(self, program: str, *arguments: str | Path) -> None:
        done = subprocess.run(
            [self._programs / program, *map(str, arguments)],
            user=self._user,
            cwd=self._folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,  # the server would keep a pipe open
            stderr=subprocess.PIPE if program == "initdb" else subprocess.DEVNULL,
            text=True,
            timeout=120,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"{program} ended with {done.returncode}: {done.stderr}")
