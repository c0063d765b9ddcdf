"""Frames of features on disk: written block by block, there only when whole."""

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq

from features.feature_set import FeatureSet
from features.replay import frame_schema
from orders.errors import UserError
from orders.tables import first_line

ROW_GROUP = 65_536


@contextmanager
def frame_writer(path: Path, feature_set: FeatureSet) -> Iterator[Callable[[pl.DataFrame], None]]:
    """Write frames of `features.replay.replay` into one Parquet file.

    The file appears under its name when the context ends without an error; until then what was
    there before stays. Its metadata hold the `feature_hash`.

    Raises:
        UserError: `path` is a folder, or it cannot be written, e.g. because the disk is full.
    """
    if path.is_dir():
        raise UserError(f"cannot write {path}: it is a folder; name a file, e.g. frame.parquet")
    with _written(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        os.close(descriptor)
    try:
        file = _FrameFile(path, temporary, feature_set)
        try:
            yield file.write
        except BaseException:
            file.abandon()
            raise
        file.finish()
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


class _FrameFile:
    """A Parquet file that grows by row groups."""

    def __init__(self, path: Path, temporary: str, feature_set: FeatureSet) -> None:
        self._path = path
        self._temporary = temporary
        self._frames: list[pl.DataFrame] = []
        self._rows = 0
        empty = pl.DataFrame(schema=frame_schema(feature_set))
        schema = empty.to_arrow(compat_level=pl.CompatLevel.oldest()).schema
        with _written(path):
            self._writer = pq.ParquetWriter(
                temporary,
                schema.with_metadata({"feature_hash": feature_set.hash}),
                compression="zstd",  # as fast as lz4 here, and half its size
            )

    def write(self, frame: pl.DataFrame) -> None:
        self._frames.append(frame)
        self._rows += len(frame)
        if self._rows >= ROW_GROUP:
            self._write_group()

    def finish(self) -> None:
        if self._rows:
            self._write_group()
        with _written(self._path):
            self._writer.close()
            os.chmod(self._temporary, 0o644)
            os.replace(self._temporary, self._path)

    def abandon(self) -> None:
        # Closing writes the footer, which fails again where the disk is full; the file goes anyway.
        with suppress(OSError):
            self._writer.close()

    def _write_group(self) -> None:
        table = pl.concat(self._frames).to_arrow(compat_level=pl.CompatLevel.oldest())
        self._frames, self._rows = [], 0
        with _written(self._path):
            self._writer.write_table(table, row_group_size=len(table))


@contextmanager
def _written(path: Path) -> Iterator[None]:
    """What goes wrong on the disk, for people."""
    try:
        yield
    except (FileExistsError, NotADirectoryError):
        raise UserError(f"cannot write {path}: {path.parent} is not a folder") from None
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else first_line(error)
        raise UserError(f"cannot write {path}: {reason}") from None
