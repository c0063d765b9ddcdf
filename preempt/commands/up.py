"""`preempt up`: the embedded stack, for as long as somebody wants it."""

import shlex
import signal
import sys
import time
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from preempt.console import console, emit
from preempt.embedded import EmbeddedStack
from preempt.settings import load_settings


def up(
    *,
    data_dir: Path | None = None,
    json: Annotated[bool, Parameter(name="--json", negative=())] = False,
) -> None:
    """Start the embedded broker and Valkey, and keep them up until Ctrl-C.

    Prints the environment variables that point the other commands at them, as `export` lines or
    with `--json` as one object. Both servers listen on 127.0.0.1 only, at ports that change from
    start to start; their data stays in the data folder.

    For example:

        preempt up --data-dir data

    Args:
        data_dir: Folder of the data; `PREEMPT_DATA_DIR`, or `data`, when not given.
        json: Print one JSON object on stdout.
    """
    # Also where the shell started us with SIGINT ignored, as it does in the background.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    try:
        with EmbeddedStack(data_dir or load_settings().data_dir) as stack:
            environment = stack.environment()
            lines = [f"export {name}={shlex.quote(value)}" for name, value in environment.items()]
            emit(environment, as_json=json, text="\n".join(lines))
            sys.stdout.flush()  # somebody may wait for it at the other end of a pipe
            console.print(f"Up, data in {stack.data_dir}. Ctrl-C stops both servers.")
            while True:
                stack.check()
                time.sleep(0.5)
    except KeyboardInterrupt:
        console.print("Stopped.")
