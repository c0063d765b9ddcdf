"""What a call of `RedisState` folded, put in the place of what is stored.

The kernel folds hot timelines in the scratch tables of a call. The timeline as the call left it is
stored then as tiles and the single events that are left, in the place of what the call read and
appended. Until that is sent, the next blocks of the call read the stored timeline as it was, and
see in it what was folded.
"""

from dataclasses import replace

import numpy as np

from features import kernels
from features.kernels import Program, Tables
from features.redis_functions import Folded, Known
from features.timeline_layout import HEADER_BYTES, RECORD_BYTES, TimelineLayout
from features.timeline_tiles import packed_tiles
from features.timelines import Timelines, packed_records

# A timeline with so many bytes of records may hold more than two blocks of orders, or of outcomes.
LONG_BYTES = (2 * kernels.EXACT + 1) * RECORD_BYTES
# What one fold takes away at least.
FOLD_BYTES = kernels.EXACT * RECORD_BYTES


def name_of(known: Known, number: int) -> bytes:
    """The key of a timeline."""
    length = len(known.names) // len(known.timelines)
    return known.names[length * number : length * (number + 1)]


class Folds:
    """What some blocks of a call folded, until it is stored.

    Args:
        layout: of the store.
        program: of the plan.
        fold_bytes: So many bytes of records less are worth the writing.
    """

    def __init__(self, layout: TimelineLayout, program: Program, fold_bytes: int) -> None:
        self._layout = layout
        self._program = program
        self._fold_bytes = fold_bytes
        self.folded: dict[bytes, Folded] = {}  # by key

    def seen_in(self, known: Known) -> Known:
        """What the server knew, as it would be if what is folded were stored already."""
        if not self.folded:
            return known
        timelines = list(known.timelines)
        for number in known.long["number"].tolist():
            earlier, stored = self.folded.get(name_of(known, number)), timelines[number]
            if earlier is None or _integer(stored[:4]) != earlier.generation:
                continue
            rest = HEADER_BYTES + _integer(stored[4:8]) + earlier.record_bytes
            if len(stored) >= rest:  # else it was cut, for this call is made again
                size = len(earlier.tiles).to_bytes(4, "little")
                head = stored[:4] + size + stored[8:12]
                timelines[number] = head + earlier.tiles + earlier.records + stored[rest:]
        return replace(known, timelines=timelines)

    def note(self, known: Known, timelines: Timelines, tables: Tables) -> None:
        """Note the long timelines that became shorter.

        Args:
            known: What `seen_in` gave for a block.
            timelines: Those of `known`.
            tables: What the block left.
        """
        long = known.long[known.long["record_bytes"] > 0]
        if not len(long):
            return
        numbers = long["number"].astype(np.int64)
        entities, keys = timelines.entity[numbers], timelines.key[numbers]
        sizes = np.zeros((len(long), 4), np.int64)
        kernels.timeline_sizes(entities, keys, sizes, tables, self._program)
        left = (sizes[:, :2] * self._layout.width[entities]).sum(axis=1)
        for i, (number, generation, record_bytes) in enumerate(long.tolist()):
            name = name_of(known, number)
            earlier = self.folded.get(name)
            gone = record_bytes - int(left[i])
            if earlier is not None and earlier.generation == generation:
                gone -= earlier.record_bytes - len(earlier.records)
            if gone >= self._fold_bytes:
                content = self._content(int(entities[i]), int(keys[i]), sizes[i], tables)
                self.folded[name] = Folded(generation, record_bytes, *content)

    def _content(
        self, entity: int, key: int, sizes: np.ndarray, tables: Tables
    ) -> tuple[bytes, bytes]:
        """Tiles and records of one timeline."""
        orders, outcomes, order_tiles, outcome_tiles = sizes.tolist()
        records = np.empty((orders + outcomes, 6 + len(self._layout.entity_column)), np.int64)
        tiles = np.empty((order_tiles + outcome_tiles, kernels.TILE_WIDTH), np.int64)
        sketches = np.empty((order_tiles, tables.sketches.shape[1]), np.uint8)
        n = kernels.leave_timeline(entity, key, records, tiles, sketches, tables, self._program)
        in_time = records[np.argsort(records[:, 3], kind="stable")]
        return packed_tiles(order_tiles, tiles, sketches[:n]), packed_records(self._layout, in_time)


def _integer(bytes_: bytes) -> int:
    return int.from_bytes(bytes_, "little")
