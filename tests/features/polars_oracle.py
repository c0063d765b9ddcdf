"""Every feature again, in Polars: slow, plain, and sharing nothing with the engine but the
declarations.

First the log is written down as two tables, one row for each order and outcome that was taken,
with the position at which it was. Then each order asks these tables for what is inside its
windows.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from features.declare import ENTITIES, RATE_PRIOR, RATE_WEIGHT, Feature
from features.feature_set import FeatureSet
from orders.events import Order, Outcome

VIRTUAL = ("162", "165", "167", "170", "171")


@dataclass(eq=False)
class _Record:
    number: int
    placed: int | None = None  # position, None: only its outcomes came so far
    order: Order | None = None
    outcomes: list[tuple[int, str, int]] = field(default_factory=list)  # time, class, position


@dataclass
class _Question:
    order: Order
    position: int
    floor: int
    own: int


def oracle(
    events: Sequence[Order | Outcome], feature_set: FeatureSet, horizon_ms: int
) -> np.ndarray:
    """(n_orders, n_features): the features of each order, applied in the given sequence."""
    records, questions = _log(events, horizon_ms)
    orders, outcomes = _tables(records)
    rows = [_answer(question, orders, outcomes, feature_set) for question in questions]
    return np.array(rows, np.float64).reshape(len(questions), len(feature_set.features))


def _log(
    events: Sequence[Order | Outcome], horizon_ms: int
) -> tuple[list[_Record], list[_Question]]:
    records: list[_Record] = []
    by_id: dict[str, _Record] = {}
    questions: list[_Question] = []
    newest = -math.inf

    def remembered(order_id: str, floor: float) -> _Record | None:
        record = by_id.get(order_id)
        if record is None:
            return None
        times = [time for time, _, _ in record.outcomes]
        if record.order is not None:
            times.append(record.order.event_time)
        return record if max(times) >= floor else None

    def enter(order_id: str) -> _Record:
        record = by_id[order_id] = _Record(len(records))
        records.append(record)
        return record

    for position, event in enumerate(events):
        if isinstance(event, Outcome) and _class(event) is None:
            continue
        newest = max(newest, event.event_time)
        floor = newest - horizon_ms
        record = remembered(event.order_id, floor)
        if isinstance(event, Order):
            is_repeat = record is not None and record.order is not None
            own = record.number if is_repeat and record is not None else -1
            questions.append(_Question(event, position, int(floor), own))
            if not is_repeat and event.event_time >= floor:
                record = record or enter(event.order_id)
                record.order, record.placed = event, position
        elif event.event_time >= floor:
            name = _class(event) or ""
            record = record or enter(event.order_id)
            if all((event.event_time, name) != (time, other) for time, other, _ in record.outcomes):
                record.outcomes.append((event.event_time, name, position))
    return records, questions


def _class(outcome: Outcome) -> str | None:
    if outcome.kind == "cancelled":
        risk = (outcome.reason or "").split(".")[0] == "risk"
        return "cancelled_risk" if risk else "cancelled_other"
    if outcome.kind == "reviewed":
        return "reviewed_fraud" if outcome.verdict == "fraud" else None
    if outcome.kind == "delivered":
        return "completed"
    known = ("expired", "payment_failed", "verification_failed", "charged_back")
    return outcome.kind if outcome.kind in known else None


def _entities(order: Order) -> dict[str, str | None]:
    values = {name: getattr(order, name) for name in ENTITIES if name != "ip_prefix"}
    values["ip_prefix"] = None if order.ip is None else order.ip.rpartition(".")[0]
    return values


def _tables(records: list[_Record]) -> tuple[pl.DataFrame, pl.DataFrame]:
    order_rows, outcome_rows = [], []
    for record in records:
        if record.order is None or record.placed is None:
            continue
        order = record.order
        common = {"record": record.number, **_entities(order)}
        amount = order.quantity * order.unit_price
        measures = {"amount": amount, "quantity": order.quantity, "unit_price": order.unit_price}
        order_rows.append(
            {"time": int(order.event_time), "position": record.placed, **common, **measures}
        )
        outcome_rows += [
            {"time": int(time), "position": max(position, record.placed), "class": name, **common}
            for time, name, position in record.outcomes
        ]
    texts = dict.fromkeys(ENTITIES, pl.String)
    base = {"time": pl.Int64, "position": pl.Int64, "record": pl.Int64, **texts}
    measured = dict.fromkeys(("amount", "quantity", "unit_price"), pl.Int64)
    return (
        pl.DataFrame(order_rows, schema={**base, **measured}),
        pl.DataFrame(outcome_rows, schema={**base, "class": pl.String}),
    )


def _answer(
    question: _Question, orders: pl.DataFrame, outcomes: pl.DataFrame, feature_set: FeatureSet
) -> list[float]:
    time = int(question.order.event_time)
    known = (
        (pl.col("position") < question.position)
        & (pl.col("record") != question.own)
        & pl.col("time").is_between(question.floor, time)
    )
    # Latest first; among equal times the one applied later comes first.
    orders = orders.filter(known).sort("time", "position", descending=True)
    outcomes = outcomes.filter(known)
    values = _entities(question.order)
    of_orders = {
        f.name: _aggregate(f, question.order, values)
        for f in feature_set.features
        if f.entity is not None and f.events == "orders"
    }
    of_outcomes = {
        f.name: _outcome_aggregate(f, time, values)
        for f in feature_set.features
        if f.events != "orders" and f.aggregate != "known_to_circle"
    }
    row = orders.select(**of_orders).row(0, named=True) if of_orders else {}
    row |= outcomes.select(**of_outcomes).row(0, named=True) if of_outcomes else {}
    answers = []
    for feature in feature_set.features:
        if feature.entity is None:
            value = _own(feature, question.order)
        elif values[feature.entity] is None:
            value = None
        elif feature.aggregate == "known_to_circle":
            value = _known_to_circle(feature, time, values, orders, outcomes)
        elif feature.aggregate == "rate":
            n = orders.select(_within(feature, time, values).sum()).item()
            value = (row[feature.name] + RATE_PRIOR * RATE_WEIGHT) / (n + RATE_WEIGHT)
        else:
            value = row[feature.name]
        answers.append(math.nan if value is None else float(value))
    return answers


def _within(feature: Feature, time: int, values: dict[str, str | None]) -> pl.Expr:
    mine = pl.col(str(feature.entity)) == pl.lit(values[str(feature.entity)], pl.String)
    window = 1000 * (feature.window_s or 0)
    return (mine & (pl.col("time") >= time - window)).fill_null(False)


def _aggregate(feature: Feature, order: Order, values: dict[str, str | None]) -> pl.Expr:
    time = int(order.event_time)
    inside = _within(feature, time, values)
    of = feature.of or ""
    here = values.get(of)
    same = pl.col(of).filter(inside) == pl.lit(here, pl.String) if of else pl.lit(None)
    measures = {
        "amount": order.quantity * order.unit_price,
        "quantity": order.quantity,
        "unit_price": order.unit_price,
    }
    total = pl.col(of).filter(inside).sum() if of else pl.lit(0)
    any_here = inside.sum() > 0
    match feature.aggregate:
        case "count":
            return inside.sum()
        case "sum":
            return total
        case "max":
            return pl.col(of).filter(inside).max()
        case "mean":
            return pl.when(any_here).then(total / inside.sum())
        case "ratio_to_mean":
            ratio = pl.lit(float(measures[of])) / (total / inside.sum())
            return pl.when(any_here & (total > 0)).then(ratio)
        case "distinct":
            return pl.col(of).filter(inside).drop_nulls().n_unique()
        case "matches":
            return pl.lit(None) if here is None else same.sum()
        case "first_use":
            return pl.lit(None) if here is None else same.sum() == 0
        case "changed":
            latest = pl.col(of).filter(inside).drop_nulls().first()
            return pl.lit(None) if here is None else latest != here
        case "changes":
            mine = pl.Series([here], dtype=pl.String)
            line = pl.lit(mine).append(pl.col(of).filter(inside)).drop_nulls()
            return (line != line.shift(1)).sum()
        case "saturated":
            return pl.lit(0)
        case "seconds_since_last":
            return (time - pl.col("time").filter(inside).max()) / 1000
        case "seconds_since_first":
            return (time - pl.col("time").filter(inside).min()) / 1000
    raise AssertionError(feature.aggregate)


def _known_to_circle(
    feature: Feature,
    time: int,
    values: dict[str, str | None],
    orders: pl.DataFrame,
    outcomes: pl.DataFrame,
) -> bool:
    circle = [values["account"]]
    recent = orders.filter(pl.col("time") >= time - 1000 * (feature.window_s or 0))
    for shared in ("device", "payment"):
        same = recent.filter(pl.col(shared) == pl.lit(values[shared], pl.String))
        circle += same["account"].to_list()
    known = list(dict.fromkeys(account for account in circle if account is not None))[:12]
    met = outcomes.filter(
        _within(feature, time, values) & pl.col("class").is_in(feature.events.split("|"))
    )
    return met["account"].is_in(known).any()


def _outcome_aggregate(feature: Feature, time: int, values: dict[str, str | None]) -> pl.Expr:
    inside = _within(feature, time, values) & pl.col("class").is_in(feature.events.split("|"))
    if feature.aggregate != "matches":
        return inside.sum()
    here = values[str(feature.of)]
    same = (pl.col(str(feature.of)) == pl.lit(here, pl.String)).fill_null(False)
    return pl.lit(None) if here is None else (inside & same).sum()


def _own(feature: Feature, order: Order) -> float | None:
    time = pl.from_epoch(pl.Series([int(order.event_time)]), time_unit="ms")
    created, listed = order.account_created_time, order.list_price
    match feature.name:
        case "amount":
            return order.quantity * order.unit_price
        case "quantity":
            return order.quantity
        case "price_to_list":
            return order.unit_price / listed if listed else None
        case "hour_of_day":
            return time.dt.hour().item()
        case "hour_of_week":
            return 24 * (time.dt.weekday().item() - 1) + time.dt.hour().item()
        case "account_age_s":
            return None if created is None else max(order.event_time - created, 0) / 1000
        case "member_level":
            return order.member_level
        case "virtual_phone":
            return None if order.phone is None else order.phone.startswith(VIRTUAL)
        case "ip_v6":
            return None if order.ip is None else 0
        case "has_coupon":
            return order.coupon is not None
    return None  # text and attributes have their own tests
