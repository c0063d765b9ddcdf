"""Files and folders that options name, looked at before the work whose results they shall take."""

import os
from pathlib import Path

from orders.errors import UsageError


def require_file_place(path: Path, example: str) -> None:
    """Refuse what no file can be written to.

    Raises:
        UsageError: It is a folder, or its folder is none or may not be written to.
    """
    if path.is_dir():
        raise UsageError(f"cannot write {path}: it is a folder; name a file, e.g. {example}")
    _require_writable(path, path.parent)


def require_folder_place(path: Path) -> None:
    """Refuse what no folder can be made of.

    Raises:
        UsageError: It is a file, or lies in one, or may not be written to.
    """
    _require_writable(path, path)


def _require_writable(path: Path, folder: Path) -> None:
    there = next(each for each in (folder, *folder.absolute().parents) if each.exists())
    if not there.is_dir():
        raise UsageError(f"cannot write {path}: {there} is not a folder; name another place")
    if not os.access(there, os.W_OK | os.X_OK):
        raise UsageError(f"cannot write {path}: no permission in {there}; name another place")


def require_data_set(path: Path) -> None:
    """Refuse a file where the folder of a data set is asked for.

    Raises:
        UsageError: It is a file; says which folder might be meant.
    """
    if not path.is_file():
        return
    if path.name in ("orders.parquet", "outcomes.parquet"):
        raise UsageError(f"{path} is a file: name the folder of the data set, {path.parent}")
    raise UsageError(
        f"{path} is a file, and a data set is a folder: make one with "
        f"'preempt import {path} --mapping M.toml --out DIR'"
    )
