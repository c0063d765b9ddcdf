"""Frames of features on disk: written block by block, there only when whole."""

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq

from features.feature_set import FeatureSet
from features.replay import frame_schema
from orders.errors import UserError


@contextmanager
def frame_writer(path: Path, feature_set: FeatureSet) -> Iterator[Callable[[pl.DataFrame], None]]:
    """Write frames of `features.replay.replay` into one Parquet file.

    The file appears under its name when the context ends without an error; until then what was
    there before stays. Its metadata hold the `feature_hash`.

    Raises:
        UserError: `path` is a folder.
    """
    if path.is_dir():
        raise UserError(f"cannot write {path}: it is a folder; name a file, e.g. frame.parquet")
    path.parent.mkdir(parents=True, exist_ok=True)
    empty = pl.DataFrame(schema=frame_schema(feature_set))
    schema = empty.to_arrow(compat_level=pl.CompatLevel.oldest()).schema
    schema = schema.with_metadata({"feature_hash": feature_set.hash})
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(descriptor)
    try:
        with pq.ParquetWriter(temporary, schema, compression="zstd") as writer:

            def write(frame: pl.DataFrame) -> None:
                writer.write_table(frame.to_arrow(compat_level=pl.CompatLevel.oldest()))

            yield write
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
