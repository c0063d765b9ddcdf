"""When a state that workers share took each event, as far as the archive can tell.

The server of such a state numbers the calls to it; a decision carries the number, the turn, of the
call that took its order. Outcomes have none, and neither have orders that a worker took just before
it died, undecided: another one decided them later. For these the decisions around them give bounds:

- a batch covers offsets, so whatever lies below them was taken before it;
- a process took no event before its last batch that does not cover it, and when a partition came
  to another process, somebody may have taken what was there since the last batch that told of it;
- no event was taken in a turn whose decision the broker had before the event.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from training.applied import NEVER, Events, Timeline

SKEW_MS = 1_000  # that the clocks of two brokers may differ by
TAIL_MS = 10_000  # that one partition may be archived ahead of another


@dataclass(frozen=True, slots=True)
class Turns:
    """For each of the n events of a timeline, int64.

    Attributes:
        first: no turn before this one took it.
        last: an order was taken in this turn or before, an outcome before this turn; NEVER: maybe
            not at all. Of an order whose decision has a turn both are that turn.
        position: of such an order in its batch; -1 for outcomes, NEVER for other orders.
    """

    first: np.ndarray
    last: np.ndarray
    position: np.ndarray

    def latest(self, timeline: Timeline) -> Events:
        """The sequence in which each event is as late as it may be: what is surely before comes
        before, and only that."""
        return _sorted(timeline, np.flatnonzero(self.last != NEVER), self.last, self.position)

    def earliest(self, timeline: Timeline) -> Events:
        """The sequence in which each event is as early as it may be."""
        early = self.first < self.last
        position = np.where(early, NEVER, self.position)
        return _sorted(timeline, np.flatnonzero(self.first != NEVER), self.first, position)


def turns_of(timeline: Timeline, decided: pl.DataFrame, elsewhere: np.ndarray) -> Turns:
    """The bounds that follow from the decisions of one shared state.

    Args:
        timeline: all events.
        decided: the rows of `ServedArchive.placed` of this state.
        elsewhere: rows of orders that another state decided: this one never took them.
    """
    n, first_order = len(timeline), timeline.first_order
    processes = list(_processes(decided))
    is_order = np.arange(n) >= first_order
    begin, end = np.full(n, NEVER), np.full(n, NEVER)
    for table, part in (("orders", is_order), ("outcomes", ~is_order)):
        for partition in np.unique(timeline.partition[part]).tolist():
            here = np.flatnonzero(part & (timeline.partition == partition))
            offset, appended = timeline.offset[here], timeline.appended[here]
            ends = [process.ends(table, partition) for process in processes]
            for process, of_process in zip(processes, ends, strict=True):
                batch = np.searchsorted(of_process, offset, side="right")
                covers = batch < len(of_process)
                from_ = np.append(NEVER, process.last + 1)[batch]  # before its first: a handover
                begin[here] = np.minimum(begin[here], np.where(covers, from_, NEVER))
                until = process.last if table == "orders" else process.first
                end[here] = np.minimum(end[here], np.append(until, NEVER)[batch])
            for held, since, took_over in _handovers(processes, ends):
                doubtful = here[(offset >= held) & (appended <= took_over)]
                begin[doubtful] = np.minimum(begin[doubtful], since)
    begin = np.maximum(begin, _after_decisions(timeline, decided))
    position = np.where(is_order, NEVER, -1)
    exact = decided.drop_nulls("turn").sort("turn").unique("row", keep="first", maintain_order=True)
    mine = first_order + exact["row"].to_numpy().astype(np.intp)
    end[mine] = exact["turn"].to_numpy()
    begin[mine] = end[mine]
    position[mine] = exact["position"].to_numpy()
    others = first_order + np.setdiff1d(elsewhere, decided["row"].to_numpy()).astype(np.intp)
    begin[others] = end[others] = NEVER
    return Turns(np.minimum(begin, end), end, position)


def _handovers(
    processes: Sequence["_Process"], ends: Sequence[np.ndarray]
) -> Iterator[tuple[int, int, int]]:
    """When a partition came to another process, and what one in between may have taken untold.

    Yields:
        The offset below which everything was told, the turn after the last batch that told, and
        when the broker had a decision of the new process, UTC ms: what came into the log later was
        not taken before. The last is the end of the log.
    """
    told = pl.concat(
        pl.DataFrame(
            {
                "first": process.first,
                "last": process.last,
                "appended": process.appended,
                "end": of_process,
                "process": np.full(len(of_process), number),
            }
        ).filter(pl.col("end").diff().fill_null(pl.col("end")) > 0)
        for number, (process, of_process) in enumerate(zip(processes, ends, strict=True))
    ).sort("first")
    held = np.append(0, np.maximum.accumulate(told["end"].to_numpy()))
    since = 1 + np.append(0, np.maximum.accumulate(told["last"].to_numpy()))
    process, appended = told["process"].to_numpy(), told["appended"].to_numpy()
    for i in np.flatnonzero(np.diff(process, prepend=-1)).tolist():
        yield held[i], since[i], appended[i]
    yield held[-1], since[-1], NEVER


def is_recent(timeline: Timeline, decided: pl.DataFrame) -> np.ndarray:
    """Which decisions may depend on events that are not archived yet.

    One partition may be archived ahead of another. Those decisions are safe that came before the
    newest record of every partition, or TAIL_MS before the newest of all.
    """
    place = pl.DataFrame(
        {
            "is_order": np.arange(len(timeline)) >= timeline.first_order,
            "partition": timeline.partition,
            "appended": timeline.appended,
        }
    )
    reach = place.group_by("is_order", "partition").agg(pl.col("appended").max())["appended"]
    times = _appended(decided)
    safe = max(reach.min(), max(reach.max(), times.max()) - TAIL_MS)
    return times > safe


@dataclass(frozen=True, slots=True)
class _Process:
    """The batches of one worker process: b of them, in their sequence."""

    first: np.ndarray  # (b,) turns; a batch may take several calls
    last: np.ndarray
    appended: np.ndarray  # (b,) when the broker had the last of its decisions, UTC ms
    covered: pl.DataFrame

    def ends(self, table: str, partition: int) -> np.ndarray:
        """(b,) the offset below which everything of a partition was taken."""
        ends = self.covered[table].list.get(partition, null_on_oob=True).fill_null(0).to_numpy()
        return np.maximum.accumulate(ends)


def _processes(decided: pl.DataFrame) -> Iterator[_Process]:
    batches = (
        decided.drop_nulls("turn")
        .group_by("state", "batch")
        .agg(
            first=pl.col("turn").min(),
            last=pl.col("turn").max(),
            appended=pl.col("appended_time").cast(pl.Int64).max(),
            orders=pl.col("covered_orders").first(),
            outcomes=pl.col("covered_outcomes").first(),
        )
        .sort("state", "batch")
    )
    for process in batches.partition_by("state", maintain_order=True):
        yield _Process(
            process["first"].to_numpy(),
            process["last"].to_numpy(),
            process["appended"].to_numpy(),
            process.select("orders", "outcomes"),
        )


def _appended(decided: pl.DataFrame) -> np.ndarray:
    return decided["appended_time"].cast(pl.Int64).to_numpy()


def _after_decisions(timeline: Timeline, decided: pl.DataFrame) -> np.ndarray:
    """(n,) the turn after all those whose decision the broker had before it had the event."""
    known = decided.drop_nulls("turn").sort("appended_time")
    newest = np.append(0, np.maximum.accumulate(known["turn"].to_numpy()))
    return 1 + newest[np.searchsorted(_appended(known), timeline.appended - SKEW_MS)]


def _sorted(timeline: Timeline, events: Events, turn: np.ndarray, position: np.ndarray) -> Events:
    """By turn and position; beyond that as the broker took them."""
    place = (timeline.offset, timeline.partition, timeline.appended, position, turn)
    return events[np.lexsort([each[events] for each in place])]
