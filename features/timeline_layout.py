"""Which bytes a shared store keeps of an event.

`features/redis_state.lua` says what the records look like. Which facts of an order stand in the
timeline of an entity follows from the plan: those that its accumulators read, and no others.
"""

from dataclasses import dataclass

import numpy as np

from features import kernels
from features.declare import ENTITIES
from features.plan import Plan

HEADER_BYTES, EVENT_BYTES, RECORD_BYTES, ORDER_BYTES, OUTCOME_BYTES = 12, 25, 17, 20, 17
MEASURE_BYTES = 12  # unit price, quantity
FACTS_BYTES = MEASURE_BYTES + 8 * len(ENTITIES)

_MEASURED = (kernels.SUM, kernels.MAX)
_CARRIED = (kernels.DISTINCT, kernels.SAME, kernels.LATEST_VALUE, kernels.CHANGES)
_PLAIN = (kernels.COUNT, kernels.LAST, kernels.FIRST, kernels.TILED)


@dataclass(frozen=True)
class TimelineLayout:
    """Entities are numbered as in the plan. The first of two is orders, the second outcomes."""

    spec: str  # for the server
    entity_column: np.ndarray  # (E,) column of each entity in EventColumns.entity_key
    entity_of_letter: np.ndarray  # (256,) of the byte that names an entity in a key
    width: np.ndarray  # (E, 2) bytes of a record, 0: there are none
    measured: np.ndarray  # (E,) whether order records carry the measures
    carried: np.ndarray  # (E, 2, E) entities whose keys a record carries, in sequence; -1 ends
    reach: np.ndarray  # (E, 2) ms, the longest window


def timeline_layout(plan: Plan) -> TimelineLayout:
    """The layout that serves every accumulator of a plan."""
    program = plan.program
    n = len(plan.entities)
    measured = np.zeros(n, np.int64)
    carries: list[tuple[set[int], set[int]]] = [(set(), set()) for _ in range(n)]
    reach = np.zeros((n, 2), np.int64)
    for walk, entity in enumerate(program.walk_entity.tolist()):
        of = 1 - int(program.walk_over_orders[walk])
        reach[entity, of] = max(reach[entity, of], program.walk_windows[walk].max())
        first = int(program.walk_first[walk])
        for a in range(first, first + int(program.walk_n[walk])):
            op, arg = int(program.op[a]), int(program.arg[a])
            if op in _MEASURED:
                measured[entity] = 1
            elif op in _CARRIED:
                carries[entity][of].add(arg)
            elif op == kernels.CIRCLE:
                account, *through = program.circle[:3].tolist()
                carries[entity][of].add(account)
                for other in through:
                    carries[other][0].add(account)
                    reach[other, 0] = max(reach[other, 0], program.circle[3])
            elif op not in _PLAIN:
                raise ValueError(f"no layout is known for accumulator operation {op}")
    width = np.zeros((n, 2), np.int64)
    carried = np.full((n, 2, n), -1, np.int64)
    spec = ""
    for entity in range(n):
        texts = []
        for of, chains in enumerate((program.order_chain, program.outcome_chain)):
            if chains[entity] < 0:
                texts.append("-")
                continue
            others = sorted(carries[entity][of] - {entity})
            carried[entity, of, : len(others)] = others
            slices = [(1, MEASURE_BYTES)] if of == 0 and measured[entity] else []
            for other in others:
                start = MEASURE_BYTES + 8 * int(program.entity_column[other]) + 1
                if slices and slices[-1][1] == start - 1:
                    slices[-1] = (slices[-1][0], start + 7)
                else:
                    slices.append((start, start + 7))
            width[entity, of] = RECORD_BYTES + sum(stop - start + 1 for start, stop in slices)
            texts.append(",".join(f"{start}-{stop}" for start, stop in slices) or "=")
        column = int(program.entity_column[entity])
        spec += f"{_letter(column)} {column} {texts[0]} {texts[1]};"
    letters = np.full(256, -1, np.int64)
    for entity, column in enumerate(program.entity_column.tolist()):
        letters[ord(_letter(column))] = entity
    return TimelineLayout(
        spec, program.entity_column.astype(np.int64), letters, width, measured, carried, reach
    )


def _letter(column: int) -> str:
    return "abcdefghij"[column]  # "o" is for orders
