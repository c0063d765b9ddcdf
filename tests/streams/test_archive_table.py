"""A row comes into the archive exactly once, whatever is sent again."""

from pathlib import Path

import polars as pl
import pytest
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from streams.archive_table import ArchiveTable


def rows(*ids: str) -> pl.DataFrame:
    return pl.DataFrame({"order_id": ids})


def test_an_absent_table_holds_no_offset(tmp_path: Path) -> None:
    table = ArchiveTable(tmp_path / "t")
    table.refresh()
    assert table.last_offset(("decisions", 0)) == -1


def test_the_commit_carries_the_last_offset_of_every_partition(tmp_path: Path) -> None:
    table = ArchiveTable(tmp_path / "t")
    table.append(rows("a", "b"), {("decisions", 0): 4, ("decisions", 1): 9})
    table.append(rows("c"), {("decisions", 0): 5})

    reopened = ArchiveTable(tmp_path / "t")
    reopened.refresh()
    assert reopened.last_offset(("decisions", 0)) == 5
    assert reopened.last_offset(("decisions", 1)) == 9
    assert reopened.last_offset(("decisions", 2)) == -1
    assert pl.read_delta(str(tmp_path / "t"))["order_id"].sort().to_list() == ["a", "b", "c"]


def test_a_column_of_a_newer_program_is_added_and_null_before(tmp_path: Path) -> None:
    table = ArchiveTable(tmp_path / "t")
    table.append(rows("a"), {("decisions", 0): 0})
    known = rows("b").with_columns(pl.struct(pl.lit([1, 2]).alias("orders")).alias("as_of"))
    table.append(known, {("decisions", 0): 1})
    found = pl.read_delta(str(tmp_path / "t")).sort("order_id")
    assert found["as_of"].to_list() == [None, {"orders": [1, 2]}]


def test_of_two_writers_that_looked_at_the_same_version_one_fails(tmp_path: Path) -> None:
    first, second = ArchiveTable(tmp_path / "t"), ArchiveTable(tmp_path / "t")
    for number in range(2):  # while the table is made, and later
        first.refresh()
        second.refresh()
        first.append(rows(f"o{number}"), {("decisions", 0): number})
        with pytest.raises(DeltaError):
            second.append(rows(f"o{number}"), {("decisions", 0): number})
    assert pl.read_delta(str(tmp_path / "t"))["order_id"].sort().to_list() == ["o0", "o1"]


def test_compaction_keeps_rows_and_offsets(tmp_path: Path) -> None:
    table = ArchiveTable(tmp_path / "t")
    for n in range(3):
        table.append(rows(f"o{n}"), {("decisions", 0): n})
    table.compact()
    assert table.last_offset(("decisions", 0)) == 2
    assert pl.read_delta(str(tmp_path / "t")).height == 3
    assert len(DeltaTable(str(tmp_path / "t")).file_uris()) == 1
