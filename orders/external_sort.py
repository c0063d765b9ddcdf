"""Sorting a table that is larger than memory, by time, from one Parquet file into another."""

from collections.abc import Sequence
from pathlib import Path

import polars as pl

BUCKET_ROWS = 250_000


def write_sorted(
    table: pl.LazyFrame,
    time: str,
    ties: list[str],
    columns: Sequence[pl.Expr],
    file: Path,
    *,
    scratch: Path,
    bucket_rows: int = BUCKET_ROWS,
) -> int:
    """Write `columns` over `table`, sorted by `time`, then by `ties`; returns the number of rows.

    The table is split by time into files of about `bucket_rows` rows, and each is sorted by itself:
    that many rows are held in memory at once, more if more lie within one hour.

    Args:
        table: Is read twice.
        time: A column of type `Datetime`, never null.
        ties: Columns that order rows of the same time.
        columns: What to write, over the sorted rows; a column that is the same in every row is
            best made here.
        file: The Parquet file to write.
        scratch: A folder that is not there yet; it is left for the caller to remove.
        bucket_rows: About how many rows to sort at once.
    """
    starts, rows = _starts(table, time, bucket_rows)
    if rows == 0:
        table.select(columns).sink_parquet(file, engine="streaming")
        return 0
    scratch.mkdir()
    parts = [table]
    if len(starts) > 1:
        # How many starts are not after the time: unlike a search, this is done while streaming.
        bucket = pl.sum_horizontal(pl.col(time) >= start for start in starts[1:])
        stream_to(
            table.with_columns(bucket.alias("bucket")),
            pl.PartitionBy(scratch, key="bucket", include_key=False),
        )
        parts = [
            pl.scan_parquet(scratch / f"bucket={number}" / "*.parquet")
            for number in range(len(starts))
        ]
    # One after the other: within one query they would be held in memory together.
    runs = [scratch / f"sorted-{number}.parquet" for number in range(len(parts))]
    for part, run in zip(parts, runs, strict=True):
        stream_to(part.sort(time, *ties), run)
    pl.scan_parquet(runs).select(columns).sink_parquet(
        file, engine="streaming", row_group_size=65_536
    )
    return rows


def stream_to(table: pl.LazyFrame, target: Path | pl.PartitionBy) -> None:
    """Write a table that is read again soon, in row groups so small that few rows are in memory.

    Polars holds one row group for each file it writes, and several for a file it reads: with
    groups of 16,384 rows, 5 million rows were split with a peak of 266 MB, with its own 262,144
    with 1,216 MB.
    """
    table.sink_parquet(target, engine="streaming", compression="lz4", row_group_size=16_384)


def _starts(table: pl.LazyFrame, time: str, bucket_rows: int) -> tuple[pl.Series, int]:
    """The first hour of each bucket, and the number of rows."""
    hours = (
        table.group_by(pl.col(time).dt.truncate("1h").alias("hour"))
        .len()
        .sort("hour")
        .collect(engine="streaming")
        .with_columns(bucket=(pl.col("len").cum_sum() - pl.col("len")) // bucket_rows)
    )
    starts = hours.group_by("bucket", maintain_order=True).agg(pl.col("hour").first())
    return starts["hour"], int(hours["len"].sum())
