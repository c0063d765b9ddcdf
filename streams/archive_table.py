"""Exactly-once appends to a Delta table.

Each commit carries, for every topic partition it took rows from, the last offset as a Delta
application transaction (`SetTransaction` of the Delta protocol). What the table already holds is
therefore in the table itself: after a crash the same records may come again and change nothing,
and of two writers of the same partition one fails instead of writing twice.
"""

from collections.abc import Mapping
from pathlib import Path

import polars as pl
from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake
from deltalake.exceptions import TableNotFoundError

Partition = tuple[str, int]  # topic, partition


class ArchiveTable:
    """One Delta table that is fed from topic partitions.

    `refresh`, look at `last_offset`, then `append`: the commit is made on the version that was
    looked at, so it fails if another writer took the same partition meanwhile. Not thread-safe.
    """

    def __init__(self, path: Path | str) -> None:
        self._path = str(path)
        self._table: DeltaTable | None = None

    def refresh(self) -> None:
        """Look at the newest version of the table."""
        if self._table is not None:
            self._table.update_incremental()
            return
        try:
            self._table = DeltaTable(self._path)
        except TableNotFoundError:
            self._table = None

    def last_offset(self, partition: Partition) -> int:
        """The highest offset of `partition` whose row is in the version looked at, or -1."""
        if self._table is None:
            return -1
        version = self._table.transaction_version(_application(partition))
        return -1 if version is None else version

    def append(self, rows: pl.DataFrame, last_offsets: Mapping[Partition, int]) -> None:
        """Add `rows` and the offsets they came from in one commit.

        Args:
            rows: one row a record; new columns are added to the table, null in older rows.
            last_offsets: for every partition that `rows` were taken from, the last offset read.

        Raises:
            deltalake.exceptions.DeltaError: another writer took the same partition since
                `refresh`, or made the table.
        """
        transactions = [Transaction(_application(p), offset) for p, offset in last_offsets.items()]
        write_deltalake(
            self._path if self._table is None else self._table,
            rows,
            mode="error" if self._table is None else "append",
            schema_mode=None if self._table is None else "merge",  # a newer program's columns
            commit_properties=CommitProperties(app_transactions=transactions),
        )
        self.refresh()

    def compact(self) -> None:
        """Join small files; a no-op while there is no table."""
        self.refresh()
        if self._table is not None:
            self._table.optimize.compact()


def _application(partition: Partition) -> str:
    topic, number = partition
    return f"{topic}-{number}"
