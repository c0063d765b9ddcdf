"""What commands say: people read stderr, machines read one JSON object on stdout."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

console = Console(stderr=True)


def emit(result: Any, *, as_json: bool, text: str) -> None:
    """Print a command's result on stdout: `result` as one line of JSON, or `text` for people."""
    print(msgspec.json.encode(result).decode() if as_json else text)


@contextmanager
def progress(description: str, total: int | None) -> Iterator[Progress]:
    """A progress bar on stderr with one task, id 0; silent where stderr is not a terminal.

    Advance it with `bar.advance(bar.task_ids[0], n)`.
    """
    with Progress(
        TextColumn("{task.description:<28}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    ) as bar:
        bar.add_task(description, total=total)
        yield bar
