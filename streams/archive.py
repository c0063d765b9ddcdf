"""Orders, outcomes and decisions from the log into Delta tables, each exactly once.

Rows carry where they stand in the log: `partition`, `offset`, and `appended_time`, when the broker
took them. What cannot be decoded is left to the score and feedback agents, which dead-letter it.
"""

import json
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import polars as pl

from features.feature_set import FeatureSet
from orders.decision_table import DECISION_SCHEMA, FEATURE_LIST, feature_column
from orders.decoding import Decoded, decode_orders, decode_outcomes
from orders.events import Order
from orders.tables import TIME, frame_from_orders, frame_from_outcomes
from serving.decisions import Decision, Reason, decision_decoder
from streams.answers import source_of
from streams.archive_table import ArchiveTable
from streams.chunks import Chunk, Record
from streams.topics import Topics

logger = logging.getLogger("streams.process")

COMPACT_AFTER = 500  # commits


class Archive:
    """The Delta tables `orders`, `outcomes` and `decisions` under one folder.

    Args:
        folder: where the tables are.
        topics: names of the topics.
        max_records: most records in one commit.
        linger_s: how long to wait between commits, so that they do not become tiny.
        max_message_bytes: larger messages are dead-lettered elsewhere and left out here.
        max_future_ms: so are events whose own time is later than their arrival by more.
    """

    def __init__(
        self,
        folder: Path,
        topics: Topics,
        *,
        max_records: int = 20_000,
        linger_s: float = 1.0,
        max_message_bytes: int,
        max_future_ms: float,
    ) -> None:
        self._commits = 0
        self._names = FeatureNames(folder)
        self._max_future_ms = max_future_ms
        self.max_records = max_records
        self.linger_s = linger_s
        self._max_message_bytes = max_message_bytes
        self._tables = {
            topics.orders: (ArchiveTable(folder / "orders"), self._orders),
            topics.outcomes: (ArchiveTable(folder / "outcomes"), self._outcomes),
            topics.decisions: (ArchiveTable(folder / "decisions"), self._decisions),
        }

    @property
    def topics(self) -> tuple[str, ...]:
        """The topics that are archived."""
        return tuple(self._tables)

    def store(self, chunks: Sequence[Chunk]) -> None:
        """Add the records that the tables do not hold yet: one commit a table."""
        for topic, (table, rows) in self._tables.items():
            table.refresh()
            fresh: list[Chunk] = []
            last: dict[tuple[str, int], int] = {}
            for chunk in chunks:
                if chunk.topic != topic:
                    continue
                where = (topic, chunk.partition)
                held = last[where] if where in last else table.last_offset(where)
                records = [record for record in chunk.records if record.offset > held]
                if records:
                    fresh.append(Chunk(topic, chunk.partition, records))
                    last[where] = records[-1].offset
            if fresh:
                table.append(rows(fresh), last)
                self._commits += 1
        if self._commits >= COMPACT_AFTER:
            self.compact()

    def compact(self) -> None:
        """Join the small files of every table."""
        for table, _ in self._tables.values():
            table.compact()
        self._commits = 0

    def _orders(self, chunks: Sequence[Chunk]) -> pl.DataFrame:
        events, log = self._decoded(chunks, decode_orders)
        bare = [msgspec.structs.replace(order, attributes=None) for order in events]
        return frame_from_orders(bare).with_columns(
            pl.Series("attributes", list(map(_attributes, events)), dtype=pl.String), *log
        )

    def _outcomes(self, chunks: Sequence[Chunk]) -> pl.DataFrame:
        events, log = self._decoded(chunks, decode_outcomes)
        return frame_from_outcomes(events).with_columns(*log)

    def _decisions(self, chunks: Sequence[Chunk]) -> pl.DataFrame:
        decisions, sources, kept = [], [], []
        for chunk in chunks:
            for record in chunk.records:
                try:
                    decisions.append(decision_decoder.decode(record.value or b""))
                    sources.append(source_of(record.headers))
                except (msgspec.DecodeError, ValueError) as error:
                    del decisions[len(sources) :]
                    # Only we write decisions; a stranger's record must not stop the archive.
                    logger.error(
                        "%s-%d offset %d is no decision and is left out: %s",
                        *(chunk.topic, chunk.partition, record.offset, error),
                    )
                else:
                    kept.append((chunk.partition, record))
        of_order = [
            pl.Series("order_offset", [source.offset for source in sources], dtype=pl.Int64),
            _time("order_appended_time", [source.appended for source in sources]),
        ]
        # Delta keeps statistics of the first 32 columns; readers skip files by where rows stand.
        return pl.DataFrame([*_log(kept), *of_order]).hstack(
            [*decision_frame(decisions), *feature_columns(decisions, self._names)]
        )

    def _decoded(
        self, chunks: Sequence[Chunk], decode: Callable[..., Decoded]
    ) -> tuple[list[Any], list[pl.Series]]:
        records = [(chunk.partition, record) for chunk in chunks for record in chunk.records]
        decoded = decode(
            [record.value for _, record in records], size_limit=self._max_message_bytes
        )
        kept = [
            (event, records[index])
            for event, index in zip(decoded.events, decoded.indices, strict=True)
            if event.event_time - records[index][1].timestamp <= self._max_future_ms
        ]
        return [event for event, _ in kept], _log([record for _, record in kept])


def name_features(folder: Path, feature_set: FeatureSet) -> None:
    """Write `feature_sets/<hash>.json` under the archive: the names of the elements of vectors.

    A decision carries the hash of the feature set that its vector was served with. Beside the
    names stand the shop's own attributes and their kinds, from which the set can be made again.
    """
    file = _description(folder, feature_set.hash)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(
        msgspec.json.encode({"features": feature_set.names, "attributes": feature_set.attributes})
    )


class FeatureNames:
    """The names of the elements of vectors, by the hash of their feature set, as the archive has them.

    Args:
        folder: of the archive.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: dict[str, tuple[str, ...]] = {}

    def of(self, feature_hash: str) -> tuple[str, ...] | None:
        """The names; None while no worker has named that feature set here."""
        if feature_hash not in self._known:
            try:
                described = json.loads(_description(self._folder, feature_hash).read_bytes())
            except (FileNotFoundError, json.JSONDecodeError):  # or just being written
                return None
            self._known[feature_hash] = tuple(described["features"])
        return self._known[feature_hash]


def _description(folder: Path, feature_hash: str) -> Path:
    return folder / "feature_sets" / f"{feature_hash}.json"


def feature_columns(decisions: Sequence[Decision], names: FeatureNames) -> list[pl.Series]:
    """The vectors of decisions, one column a feature; null where it is unknown.

    A vector whose feature set has no names here, or another number of them, is kept as a whole in
    the column `features`.
    """
    by_set: dict[str, list[int]] = {}
    for row, decision in enumerate(decisions):
        by_set.setdefault(decision.feature_hash, []).append(row)
    parts = []
    for feature_hash, rows in by_set.items():
        named = names.of(feature_hash)
        vectors = [decisions[row].features for row in rows]
        if named is None or any(len(vector) != len(named) for vector in vectors):
            logger.warning(
                "%s decisions: the archive has no names for feature set %s, so their vectors are "
                "kept as lists",
                *(len(rows), feature_hash),
            )
            part = pl.DataFrame({FEATURE_LIST: pl.Series(vectors, dtype=pl.List(pl.Float64))})
        else:
            matrix = np.array(vectors, np.float64)  # None becomes NaN
            part = pl.from_numpy(matrix, [feature_column(name) for name in named])
            part = part.with_columns(pl.all().fill_nan(None))
        parts.append(part.with_columns(pl.Series("row", rows, dtype=pl.UInt32)))
    if not parts:
        return []
    return pl.concat(parts, how="diagonal").sort("row").drop("row").get_columns()


def decision_frame(decisions: Sequence[Decision]) -> pl.DataFrame:
    """Decisions as a table without their vectors, one row each, in the order given."""
    columns: list[pl.Series] = []
    for name, dtype in DECISION_SCHEMA.items():
        values = [getattr(decision, name) for decision in decisions]
        if name == "reasons":
            values = [[_reason_row(reason) for reason in each] for each in values]
        elif name in ("as_of", "shadow"):
            values = [None if each is None else msgspec.structs.asdict(each) for each in values]
        physical = pl.Int64() if dtype == TIME else dtype
        columns.append(pl.Series(name, values, dtype=physical, strict=False).cast(dtype))
    return pl.DataFrame(columns)


def _reason_row(reason: Reason) -> dict[str, Any]:
    row = msgspec.structs.asdict(reason)
    if reason.values is not None:
        row["values"] = msgspec.json.encode(reason.values).decode()
    return row


def _log(records: Sequence[tuple[int, Record]]) -> list[pl.Series]:
    return [
        pl.Series("partition", [partition for partition, _ in records], dtype=pl.Int32),
        pl.Series("offset", [record.offset for _, record in records], dtype=pl.Int64),
        _time("appended_time", [record.timestamp for _, record in records]),
    ]


def _time(name: str, milliseconds: Sequence[int]) -> pl.Series:
    return pl.Series(name, milliseconds, dtype=pl.Int64).cast(TIME)


def _attributes(order: Order) -> str | None:
    return msgspec.json.encode(order.attributes).decode() if order.attributes else None
