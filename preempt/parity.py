"""Parity of the archive that settings name."""

from collections.abc import Callable, Sequence
from pathlib import Path

import polars as pl
from deltalake import DeltaTable

from preempt.settings import Settings
from streams.archive_table import ArchiveTable
from streams.topics import Topics
from training.parity import Parity, measure_parity
from training.served_archive import Ends, read_archive


def parity_of_archive(
    settings: Settings,
    snapshots: Sequence[Path],
    *,
    sample: int,
    past: Path | None = None,
    on_progress: Callable[[int, int], None],
) -> Parity:
    """Compare about `sample` served vectors; see `measure_parity`.

    Raises:
        UserError: there is no archive, or nothing in it can be compared.
    """
    archive = read_archive(settings.archive_dir, archive_ends(settings), sample=sample)
    return measure_parity(archive, snapshots, on_progress, past=past)


def archive_ends(settings: Settings) -> Ends:
    """How far the archive has taken the partitions of orders and outcomes."""
    topics = Topics(settings.topic_prefix)
    ends: dict[str, dict[int, int]] = {"orders": {}, "outcomes": {}}
    for name, topic in (("orders", topics.orders), ("outcomes", topics.outcomes)):
        path = str(settings.archive_dir / name)
        if not DeltaTable.is_deltatable(path):
            continue
        highest = pl.scan_delta(path).select(pl.col("partition").max()).collect().item()
        table = ArchiveTable(path)
        table.refresh()
        for partition in range(max(settings.partitions, 1 + (highest or 0))):
            ends[name][partition] = 1 + table.last_offset((topic, partition))
    return ends
