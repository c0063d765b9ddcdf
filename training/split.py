"""The split by time: what was known then trains, what came later tests.

Orders of the training range whose label is known at T are cut by time into three slices:

    fit (70 %) → stop (15 %, early stopping) → calibrate (15 %)

Labels take time, and not all the same: a cancellation comes early, while a stay that was not
cancelled only ends months later. So in the youngest orders the known labels are mostly of the
quick kind, and a slice of them has a rate of positives that never was. Therefore the three slices
are cut from the *ripe* part of the range, up to the last time at which nearly all labels have come
in. Younger orders, as long as at least half of their labels are in, only grow the final trees:
they show the newest behaviour. The test, too, ends where labels are still coming in.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import polars as pl
from numpy.typing import NDArray

from orders.errors import UserError

SHARES = (0.70, 0.15, 0.15)
BINS = 20  # of equal numbers of orders, in which the share of known labels is taken
RIPE = 0.9  # of the share in the best bin
HALF_RIPE = 0.5
MOST = 0.8  # of the labels of 1

Rows = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Split:
    """Row numbers of the frame, each slice in the order of event time.

    `train` grows the final trees: fit, stop, and the younger orders, but not `calibrate`. `silent`
    are those of them that count as 0 because nothing was said about them yet.
    `untested` are the orders of the test range whose labels are still coming in.
    """

    fit: Rows
    stop: Rows
    calibrate: Rows
    train: Rows
    silent: Rows
    test: Rows
    untested: Rows


@dataclass(frozen=True, slots=True)
class Range:
    """Times of a split, all with zone; an end is exclusive."""

    train_from: datetime
    train_until: datetime
    label_known_at: datetime
    test_from: datetime
    test_until: datetime


def resolve_range(
    event_time: pl.Series,
    train_until: datetime | float,
    *,
    train_from: datetime | None = None,
    label_known_at: datetime | None = None,
    test_from: datetime | None = None,
    test_until: datetime | None = None,
) -> Range:
    """Fill in the times that were not given, and check that they make sense.

    Args:
        event_time: Of all orders of the frame, in any sequence.
        train_until: A time, or the share of orders (0 to 1, by event time) that comes before it.
        train_from: The first order's time, when not given.
        label_known_at: `train_until`, when not given.
        test_from: When not given, the later of `train_until` and `label_known_at`: before that the
            model could not have been trained.
        test_until: After the last order, when not given.

    Raises:
        UserError: A range is empty or the ranges overlap.
    """
    ordered = event_time.sort()
    first, last = ordered[0], ordered[-1]
    until = train_until if isinstance(train_until, datetime) else _after_share(ordered, train_until)
    start = train_from or first
    known_at = label_known_at or until
    test_start = test_from or max(until, known_at)
    test_end = test_until or max(last + timedelta(milliseconds=1), test_start)
    if until <= start:
        raise UserError(
            f"the training range is empty: until {_iso(until)} is not after from {_iso(start)} "
            f"(orders run from {_iso(first)} to {_iso(last)})"
        )
    if known_at <= start:
        raise UserError(
            f"--label-known-at {_iso(known_at)} is not after the start of the training range, "
            f"{_iso(start)}: no label is known then"
        )
    if test_start < until:
        raise UserError(
            f"--test-from {_iso(test_start)} is before --train-until {_iso(until)}: "
            "a test on orders that trained the model tells nothing"
        )
    if test_end < test_start:
        raise UserError(
            f"the test range is empty: until {_iso(test_end)} is before from {_iso(test_start)}"
        )
    return Range(start, until, known_at, test_start, test_end)


def _after_share(ordered: pl.Series, share: float) -> datetime:
    if not 0 < share < 1:
        raise UserError("--train-until as a share must lie between 0% and 100%, e.g. 80%")
    return ordered[int(share * len(ordered))]


def split(
    event_time: pl.Series,
    known_label: NDArray[np.float64],
    final_label: NDArray[np.float64],
    times: Range,
    *,
    known_time: NDArray[np.float64] | None = None,
    maturity: timedelta | None = None,
) -> Split:
    """Cut the frame by time.

    Args:
        event_time: Of each row.
        known_label: (n,) 1, 0 or NaN, as known at `times.label_known_at`.
        final_label: (n,) the same with everything known.
        times: The ranges.
        known_time: (n,) since when `known_label` is known, UTC milliseconds, NaN with the label;
            None: not known, then no order counts as 0 before its time.
        maturity: After how long silence means 0; None: never.

    Raises:
        UserError: A range holds no orders, no labels, or a slice holds one class only.
    """
    moment = event_time.dt.epoch("ms").to_numpy()
    by_time = np.argsort(moment, kind="stable")
    moment = moment[by_time]

    def between(start: datetime, end: datetime) -> Rows:
        first, last = np.searchsorted(moment, [_ms(start), _ms(end)])
        return by_time[first:last]

    wanted = between(times.train_from, times.train_until)
    if len(wanted) == 0:
        raise UserError(
            f"no orders from {_iso(times.train_from)} until {_iso(times.train_until)} to train on"
        )
    known = ~np.isnan(known_label[wanted])
    if not known.any():
        older = "train on older orders, or give a later --label-known-at"
        raise UserError(
            f"none of the {len(wanted):,} orders of the training range has a label known at "
            f"{_iso(times.label_known_at)}: {_settle(times, maturity) or older}"
        )
    unripe = _settle(times, maturity) if not known.all() else ""
    _both_classes(known_label[wanted[known]], "training range", "choose a longer range", unripe)

    ripe, half_ripe = _ripeness(known)
    whole = wanted[:ripe][known[:ripe]]
    younger = wanted[ripe:half_ripe][known[ripe:half_ripe]]
    silent = np.empty(0, np.intp)
    if maturity is not None and known_time is not None:
        placed = event_time.dt.epoch("ms").to_numpy()
        ones = whole[known_label[whole] == 1]
        wait = np.quantile(known_time[ones] - placed[ones], MOST) if len(ones) else np.inf
        younger = wanted[ripe:]
        younger = younger[placed[younger] <= _ms(times.label_known_at) - wait]
        silent = younger[np.isnan(known_label[younger])]
    ends = np.floor(np.cumsum(SHARES[:2]) * len(whole)).astype(int)
    fit, stop, calibrate = np.split(whole, ends)
    for name, rows in (("fitting", fit), ("early-stopping", stop), ("calibration", calibrate)):
        _both_classes(
            known_label[rows],
            f"{name} slice",
            "choose a longer training range, or a later --label-known-at",
            unripe,
        )
    test = between(times.test_from, times.test_until)
    test_known = ~np.isnan(final_label[test])
    test_ripe, _ = _ripeness(test_known)
    tested = test_known & (np.arange(len(test)) < test_ripe)
    train = np.concatenate([fit, stop, younger])
    return Split(fit, stop, calibrate, train, silent, test[tested], test[~tested])


def _ripeness(known: NDArray[np.bool_]) -> tuple[int, int]:
    """How many of the orders, oldest first, have (nearly all, at least half) of their labels."""
    if len(known) == 0:
        return 0, 0
    edges = np.linspace(0, len(known), min(BINS, len(known)) + 1).astype(int)
    share = np.add.reduceat(known, edges[:-1], dtype=np.float64) / np.diff(edges)
    ripe = np.flatnonzero(share >= RIPE * share.max())[-1]
    half_ripe = np.flatnonzero(share >= HALF_RIPE * share.max())[-1]
    return int(edges[ripe + 1]), int(edges[half_ripe + 1])


def _settle(times: Range, maturity: timedelta | None) -> str:
    """What to do where labels are missing because silence does not mean 0 yet."""
    if maturity is None:
        return ""
    days = maturity / timedelta(days=1)
    return (
        f"an order without an outcome counts as 0 only {days:g} days after it was placed (the "
        f"target's maturity), so give a --label-known-at well after "
        f"{_iso(times.train_from + maturity)}, or a --train-from more than {days:g} days before it"
    )


def _both_classes(
    label: NDArray[np.float64], where: str, what_to_do: str, unripe: str = ""
) -> None:
    positives = int(label.sum())
    if positives == 0:
        raise UserError(
            f"no positive labels among the {len(label):,} known ones of the {where}: {what_to_do}"
        )
    if positives == len(label):
        raise UserError(
            f"all {len(label):,} known labels of the {where} are 1: {unripe or what_to_do}"
        )


def _ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


def _iso(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds")
