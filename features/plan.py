"""Declarations compiled into the integer arrays that drive the kernel.

Features over one entity share a walk along its timeline, and features that accumulate the same
thing share an accumulator: `device_orders_5m` and `device_orders_1h` are one counter, read as the
walk leaves each window. Accumulators that need the longer windows come first, so that the kernel
drops the others by looking at fewer.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from features import kernels
from features.declare import (
    CIRCLE,
    ENTITIES,
    MEASURES,
    OUTCOME_CODES,
    RATE_PRIOR,
    RATE_WEIGHT,
    Aggregate,
    Feature,
)
from features.feature_set import FeatureSet
from features.kernels import Program

# How a feature is finished, and what it reads: (over orders?, operation) once or twice.
_RECIPES: dict[Aggregate, tuple[int, tuple[int, ...]]] = {
    "sum": (kernels.VALUE, (kernels.SUM,)),
    "max": (kernels.VALUE_IF_ANY, (kernels.MAX,)),
    "mean": (kernels.MEAN, (kernels.SUM, kernels.COUNT)),
    "ratio_to_mean": (kernels.RATIO, (kernels.SUM, kernels.COUNT)),
    "count": (kernels.VALUE, (kernels.COUNT,)),
    "rate": (kernels.RATE, (kernels.COUNT, kernels.COUNT)),
    "distinct": (kernels.VALUE, (kernels.DISTINCT,)),
    "matches": (kernels.SAME_VALUE, (kernels.SAME,)),
    "first_use": (kernels.FIRST_USE, (kernels.SAME,)),
    "known_to_circle": (kernels.FLAG, (kernels.CIRCLE,)),
    "changes": (kernels.VALUE, (kernels.CHANGES,)),
    "saturated": (kernels.FLAG, (kernels.TILED,)),
    "changed": (kernels.CHANGED, (kernels.LATEST_VALUE,)),
    "seconds_since_last": (kernels.SINCE, (kernels.LAST,)),
    "seconds_since_first": (kernels.SINCE, (kernels.FIRST,)),
}


@dataclass(frozen=True, order=True)
class _Accumulator:
    entity: int
    over_orders: int
    op: int
    arg: int
    mask: int


@dataclass(frozen=True)
class Plan:
    """What the in-memory store needs to know of a feature set."""

    program: Program
    entities: tuple[str, ...]  # those that some feature uses, as the program numbers them
    n_order_chains: int
    n_outcome_chains: int
    order_columns: np.ndarray  # columns of the features of the order itself


def compile_plan(feature_set: FeatureSet, horizon_ms: int) -> Plan:
    """The plan of a feature set; `horizon_ms` is how long events are remembered."""
    windowed = [(i, f) for i, f in enumerate(feature_set.features) if f.aggregate != "order"]
    entities = _entities(feature for _, feature in windowed)
    reads = [_reads(feature, entities) for _, feature in windowed]

    windows: dict[_Accumulator, set[int]] = {}
    for (_, feature), accumulators in zip(windowed, reads, strict=True):
        for accumulator in accumulators:
            windows.setdefault(accumulator, set()).add(_window_ms(feature))

    walks = sorted({(a.entity, 1 - a.over_orders) for a in windows})
    ordered: list[_Accumulator] = []
    edges: list[list[int]] = []
    firsts: list[int] = []
    active: list[list[int]] = []
    for entity, over_outcomes in walks:
        mine = sorted(
            (a for a in windows if (a.entity, 1 - a.over_orders) == (entity, over_outcomes)),
            key=lambda a: (-max(windows[a]), a),
        )
        firsts.append(len(ordered))
        edges.append(sorted(set().union(*(windows[a] for a in mine))))
        active.append([sum(max(windows[a]) >= edge for a in mine) for edge in edges[-1]])
        ordered += mine

    sketched = [
        sorted({a.arg for a in ordered if a.entity == e and a.op == kernels.DISTINCT})
        for e in range(len(entities))
    ]
    number = {accumulator: i for i, accumulator in enumerate(ordered)}
    edges_of = {a: edges[walks.index((a.entity, 1 - a.over_orders))] for a in ordered}
    sources = np.zeros((len(windowed), 4), np.int32)
    for row, ((_, feature), accumulators) in enumerate(zip(windowed, reads, strict=True)):
        for j, accumulator in enumerate(accumulators):
            window = edges_of[accumulator].index(_window_ms(feature))
            sources[row, 2 * j : 2 * j + 2] = number[accumulator], window

    circle = _circle(entities, windowed)
    through = set(circle[1:3].tolist()) if circle[0] >= 0 else set()
    order_chain = _chains(
        entities, through | {e for e, over_outcomes in walks if not over_outcomes}
    )
    outcome_chain = _chains(entities, {e for e, over_outcomes in walks if over_outcomes})
    program = Program(
        horizon=np.array([horizon_ms], np.int64),
        entity_column=_int32([ENTITIES.index(entity) for entity in entities]),
        order_chain=order_chain,
        outcome_chain=outcome_chain,
        walk_entity=_int32([entity for entity, _ in walks]),
        walk_over_orders=_int32([1 - over_outcomes for _, over_outcomes in walks]),
        walk_link=_int32(
            [
                kernels.C_LINKS + outcome_chain[entity]
                if over_outcomes
                else kernels.O_SLOTS + len(entities) + order_chain[entity]
                for entity, over_outcomes in walks
            ]
        ),
        walk_first=_int32(firsts),
        walk_windows=_padded(edges, np.int64),
        walk_n_windows=_int32([len(e) for e in edges]),
        walk_active=_padded(active, np.int32),
        walk_n=_int32([a[0] for a in active]),
        op=_int32([a.op for a in ordered]),
        arg=_int32([a.arg for a in ordered]),
        mask=_int32([a.mask for a in ordered]),
        sketch=_int32(
            [sketched[a.entity].index(a.arg) if a.op == kernels.DISTINCT else -1 for a in ordered]
        ),
        sketched=_padded(sketched, np.int32, fill=-1),
        sketched_for=np.array(
            [
                max(
                    (max(windows[a]) for a in ordered if (a.entity, a.op) == (e, kernels.DISTINCT)),
                    default=0,
                )
                for e in range(len(entities))
            ],
            np.int64,
        ),
        circle=circle,
        feature_column=_int32([i for i, _ in windowed]),
        feature_entity=_int32([entities.index(str(f.entity)) for _, f in windowed]),
        feature_finish=_int32([_RECIPES[f.aggregate][0] for _, f in windowed]),
        feature_arg=_int32([_arg(f, entities) for _, f in windowed]),
        feature_from=sources,
        feature_prior=np.array([RATE_PRIOR * RATE_WEIGHT, RATE_WEIGHT], np.float64),
    )
    order_columns = [i for i, f in enumerate(feature_set.features) if f.aggregate == "order"]
    return Plan(
        program,
        entities,
        int(order_chain.max(initial=-1)) + 1,
        int(outcome_chain.max(initial=-1)) + 1,
        np.array(order_columns, np.int64),
    )


def _entities(features: Iterable[Feature]) -> tuple[str, ...]:
    used = set()
    for feature in features:
        used |= {feature.entity, feature.of}
        if feature.aggregate == "known_to_circle":
            used |= set(CIRCLE)
    return tuple(entity for entity in ENTITIES if entity in used)


def _reads(feature: Feature, entities: tuple[str, ...]) -> list[_Accumulator]:
    _, operations = _RECIPES[feature.aggregate]
    entity = entities.index(str(feature.entity))
    mask = _mask(feature.events)
    accumulators = []
    for position, op in enumerate(operations):
        # The second reading is a number of orders: of a mean, or below a rate.
        kinds = mask if position == 0 else kernels.ORDERS
        arg = 0 if op == kernels.COUNT else _arg(feature, entities)
        accumulators.append(_Accumulator(entity, int(kinds == kernels.ORDERS), op, arg, kinds))
    return accumulators


def _arg(feature: Feature, entities: tuple[str, ...]) -> int:
    if feature.of in MEASURES:
        return MEASURES.index(feature.of)
    return entities.index(feature.of) if feature.of in entities else 0


def _circle(entities: tuple[str, ...], windowed: list[tuple[int, Feature]]) -> np.ndarray:
    windows = {_window_ms(f) for _, f in windowed if f.aggregate == "known_to_circle"}
    if not windows:
        return np.full(4, -1, np.int64)
    if len(windows) > 1:
        raise ValueError("features over the circle of an account must share one window")
    return np.array([*map(entities.index, CIRCLE), windows.pop()], np.int64)


def _mask(events: str) -> int:
    if events == "orders":
        return kernels.ORDERS
    return sum(1 << OUTCOME_CODES[name] for name in events.split("|"))


def _window_ms(feature: Feature) -> int:
    return 1000 * (feature.window_s or 0)


def _chains(entities: tuple[str, ...], walked: set[int]) -> np.ndarray:
    numbers = {entity: i for i, entity in enumerate(sorted(walked))}
    return _int32([numbers.get(entity, -1) for entity in range(len(entities))])


def _int32(values: list[int]) -> np.ndarray:
    return np.array(values, np.int32)


def _padded(rows: list[list[int]], dtype: type, fill: int = 0) -> np.ndarray:
    padded = np.full((len(rows), max([1, *map(len, rows)])), fill, dtype)
    for i, row in enumerate(rows):
        padded[i, : len(row)] = row
    return padded
