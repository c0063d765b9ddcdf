"""A policy tried on the orders of the past: what would have been decided otherwise, and its worth."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import polars as pl

from orders.decision_table import TIERS
from orders.errors import UserError
from orders.fates import FATES
from serving.backtest_result import (
    Backtest,
    ChangedOrder,
    MoneyOfFate,
    Move,
    Part,
    PolicyName,
    ReasonBefore,
    Sum,
)
from serving.backtest_rules import Observed, RuleTallies
from serving.decision_history import DecisionHistory
from serving.policy_on_history import HistoricVerdicts, PolicyOnHistory
from serving.tiers import CALL, FREEZE, PASS

SHOWN = 10  # orders of each kind and currency
MOST_MERCHANTS = 50
VALUED_BY = "risk"  # the target that says whether an order is fraud

_TIER = pl.Enum(TIERS)
_OF_DECISION = ("order_id", "event_time", "tier", "propensity", "explored", "softened_by", "rules")
_OF_ORDER = ("quantity", "unit_price", "currency", "merchant", "channel")

_STOPPED_BEFORE, _STOPPED_AFTER = pl.col("before") != PASS, pl.col("after") != PASS
_NEWLY_STOPPED = ~_STOPPED_BEFORE & _STOPPED_AFTER
_NEWLY_PASSED = _STOPPED_BEFORE & ~_STOPPED_AFTER
_CHANGED = pl.col("before") != pl.col("after")
_COUNTS = {
    "orders": pl.len(),
    "stopped_before": _STOPPED_BEFORE.sum(),
    "stopped_after": _STOPPED_AFTER.sum(),
    "changed": _CHANGED.sum(),
    "newly_stopped": _NEWLY_STOPPED.sum(),
    "newly_passed": _NEWLY_PASSED.sum(),
}


def run_backtest(
    history: DecisionHistory,
    truth: pl.DataFrame,
    candidate: PolicyOnHistory,
    against: PolicyOnHistory | None,
    *,
    name: str,
    against_name: str = "live",
    on_progress: Callable[[int], Any] = lambda _done: None,
) -> Backtest:
    """Compare what a policy says with what was decided, or with what another one says.

    Args:
        history: the decisions.
        truth: in the order of `history.rows`: `fate`, and `label_<target>` with risk among them.
        candidate: the policy that is tried.
        against: the other one; None: what was decided.
        name: what to call the candidate.
        against_name: what to call the other one.
        on_progress: called with the number of decisions that a block had.

    Raises:
        UserError: none of the decisions can be compared.
    """
    comparison = _Comparison(candidate, against, truth)
    policies = [candidate] if against is None else [candidate, against]
    of_decision = set(_OF_DECISION).union(*(policy.of_decision for policy in policies))
    if against is None:
        of_decision.add("reasons")
    blocks = history.blocks(
        frozenset().union(*(policy.features for policy in policies)),
        of_decision,
        set(_OF_ORDER).union(*(policy.of_order for policy in policies)),
    )
    done = 0
    for block in blocks:
        rows = slice(done, done + len(block))
        comparison.add(block, truth[rows], history.rows["again"][rows])
        done += len(block)
        on_progress(len(block))
    times = history.rows["event_time"]
    return comparison.result(
        candidate=PolicyName(name=name, version=candidate.policy.version),
        against=PolicyName(
            name=against_name, version=None if against is None else against.policy.version
        ),
        start=_iso(times.min()),
        end=_iso(times.max()),
        warnings=warnings_of(history, policies),
    )


def warnings_of(history: DecisionHistory, policies: Sequence[PolicyOnHistory]) -> list[str]:
    """What the archive does not have that the policies read."""
    total = len(history.rows)
    said = []
    for feature in sorted(frozenset().union(*(policy.features for policy in policies))):
        lacking = history.lacking(feature)
        if lacking:
            said.append(
                f"{lacking:,} of {total:,} decisions were served without the feature {feature}: "
                "it is unknown there"
            )
    if len(history.by_feature_set) > 1:
        said.append(
            f"the decisions carry {len(history.by_feature_set)} feature sets; features of one name "
            "are taken to be the same"
        )
    for policy in policies:
        said += [
            f"no list {name!r} is given: rules find nothing on it" for name in policy.empty_lists
        ]
    return list(dict.fromkeys(said))


class _Comparison:
    """Sums of a comparison, block by block."""

    def __init__(
        self, candidate: PolicyOnHistory, against: PolicyOnHistory | None, truth: pl.DataFrame
    ) -> None:
        self._candidate, self._against = candidate, against
        self._targets = [c.removeprefix("label_") for c in truth.columns if c.startswith("label_")]
        self._rules = RuleTallies(candidate, self._targets)
        self._sums: dict[str, list[pl.DataFrame]] = {}
        self._best: list[ChangedOrder] = []
        self._worst: list[ChangedOrder] = []
        self._left_out = {"repeats": 0, "without_order": 0}
        self._explored = self._softened = 0

    def add(self, block: pl.DataFrame, truth: pl.DataFrame, again: pl.Series) -> None:
        """Take a block of decisions."""
        self._left_out["repeats"] += int(again.sum())
        self._left_out["without_order"] += int((~again & ~block["has_order"]).sum())
        kept = ~again & block["has_order"]
        block, truth = block.filter(kept), truth.filter(kept)
        if block.is_empty():
            return
        judged = self._candidate.judge(block)
        decided = block["tier"].cast(_TIER).to_physical().to_numpy().astype(np.intp)
        explored = block["explored"].fill_null(False).to_numpy()
        other = self._against and self._against.judge(block)
        # What exploration let through, the policy of the time would have frozen.
        before = np.where(explored & (decided == CALL), FREEZE, decided)
        if other is not None:
            before = other.verdicts.tier
        self._explored += int(explored.sum())
        self._softened += int((block["softened_by"].list.len() > 0).sum())
        orders = block.select(
            "merchant",
            "channel",
            "currency",
            "rules",
            amount=pl.col("quantity") * pl.col("unit_price"),
            day=pl.col("event_time").dt.date(),
        ).with_columns(
            truth["fate"],
            truth[f"label_{VALUED_BY}"].alias("label"),
            before=pl.Series(before, dtype=pl.UInt8),
            after=pl.Series(judged.verdicts.tier, dtype=pl.UInt8),
        )
        observed = Observed(
            amount=orders["amount"].to_numpy(),
            currency=orders["currency"],
            before=before,
            decided=decided,
            propensity=block["propensity"].fill_null(1.0).to_numpy(),
            labels={
                target: truth[f"label_{target}"].fill_null(-1).to_numpy()
                for target in self._targets
            },
        )
        self._rules.add(judged, observed)
        self._sum(orders)
        self._sum_reasons(block, orders, other)
        self._keep_examples(block, orders, judged)

    def _sum(self, orders: pl.DataFrame) -> None:
        amount = pl.col("amount")
        self._add(
            "moves",
            orders.group_by("before", "after", "fate", "currency").agg(
                orders=pl.len(), amount=amount.sum()
            ),
        )
        for by in ("merchant", "channel", "day"):
            self._add(by, orders.group_by(by).agg(**_COUNTS))
        self._add("rules", orders.group_by("rules").agg(orders=pl.len()))

    def _sum_reasons(
        self, block: pl.DataFrame, orders: pl.DataFrame, other: HistoricVerdicts | None
    ) -> None:
        changed = orders.select(_CHANGED).to_series()
        moved = orders.filter(changed).select("before", "after")
        if other is None:
            codes = block["reasons"].filter(changed).list.eval(pl.element().struct.field("code"))
        else:
            names = [f"rule:{rule.name}" for rule in self._against.rules]  # pyright: ignore[reportOptionalMemberAccess]
            hits = other.counted[changed.to_numpy()]
            rows = [[names[i] for i in np.flatnonzero(row)] for row in hits]
            codes = pl.Series(rows, dtype=pl.List(pl.String))
        named = moved.with_columns(code=codes).explode("code", empty_as_null=False)
        self._add(
            "reasons",
            named.drop_nulls("code")
            .group_by("code")
            .agg(
                changed=pl.len(),
                newly_stopped=_NEWLY_STOPPED.sum(),
                newly_passed=_NEWLY_PASSED.sum(),
            ),
        )

    def _add(self, name: str, sums: pl.DataFrame) -> None:
        self._sums.setdefault(name, []).append(sums)

    def _total(self, name: str, *by: str) -> pl.DataFrame:
        return (
            pl.concat(self._sums[name]).group_by(by).agg(pl.all().sum()).sort(by, nulls_last=True)
        )

    def _keep_examples(
        self, block: pl.DataFrame, orders: pl.DataFrame, judged: HistoricVerdicts
    ) -> None:
        honest = (pl.col("label") == 0) & (pl.col("fate") == FATES.index("completed"))
        worth = pl.when(pl.col("label") == 1).then("amount").when(honest).then(-pl.col("amount"))
        moved = (
            orders.with_row_index("row")
            .with_columns(
                value=pl.when(_NEWLY_STOPPED).then(worth).when(_NEWLY_PASSED).then(-worth)
            )
            .filter(pl.col("value") != 0)
            .sort("value", descending=True)
        )
        for kept, few in (
            (self._best, moved.filter(pl.col("value") > 0).group_by("currency").head(SHOWN)),
            (self._worst, moved.filter(pl.col("value") < 0).group_by("currency").tail(SHOWN)),
        ):
            kept += [self._example(row, block, judged) for row in few.iter_rows(named=True)]
            kept.sort(key=lambda each: (each.currency, -abs(each.value)))
            firsts: dict[str, int] = {}
            for index in range(len(kept) - 1, -1, -1):
                firsts[kept[index].currency] = index
            kept[:] = [each for i, each in enumerate(kept) if i - firsts[each.currency] < SHOWN]

    def _example(
        self, row: dict[str, Any], block: pl.DataFrame, judged: HistoricVerdicts
    ) -> ChangedOrder:
        index = row["row"]
        rules = self._candidate.rules
        return ChangedOrder(
            order_id=block["order_id"][index],
            event_time=_iso(block["event_time"][index]),
            merchant=row["merchant"],
            before=TIERS[row["before"]],
            after=TIERS[row["after"]],
            points=float(judged.verdicts.points[index]),
            rules=[rules[i].name for i in np.flatnonzero(judged.counted[index])],
            fate=FATES[row["fate"]],
            is_risk=row["label"] == 1,
            value=row["value"],
            currency=row["currency"],
        )

    def result(self, **of_run: Any) -> Backtest:
        """All sums.

        Raises:
            UserError: nothing was compared.
        """
        if "moves" not in self._sums:
            raise UserError("none of the decisions can be compared: their orders are not archived")
        moves = self._total("moves", "before", "after", "fate", "currency")
        of_tiers = moves.group_by("before", "after").agg(pl.col("orders").sum())
        of_tiers = of_tiers.sort("before", "after")
        merchants = self._parts("merchant")
        reasons = self._total("reasons", "code").sort("changed", descending=True)
        return Backtest(
            orders=int(moves["orders"].sum()),
            **self._left_out,
            explored=self._explored,
            softened=self._softened,
            changed=int(moves.filter(_CHANGED)["orders"].sum()),
            moves=[
                Move(before=TIERS[before], after=TIERS[after], orders=orders)
                for before, after, orders in of_tiers.iter_rows()
            ],
            money=_money(moves),
            rules=self._rules.results(),
            overlap=self._rules.overlap(),
            merchants=sorted(merchants, key=lambda m: (-m.changed, -m.orders))[:MOST_MERCHANTS],
            channels=self._parts("channel"),
            days=self._parts("day"),
            reasons_before=[ReasonBefore(**row) for row in reasons.iter_rows(named=True)],
            best=_by_currency(self._best),
            worst=_by_currency(self._worst),
            decided_by=dict(self._total("rules", "rules").iter_rows()),
            **of_run,
        )

    def _parts(self, by: str) -> list[Part]:
        rows = self._total(by, by).iter_rows(named=True)
        return [Part(name=None if (n := row.pop(by)) is None else str(n), **row) for row in rows]


def _money(moves: pl.DataFrame) -> list[MoneyOfFate]:
    found = []
    for (currency, fate), rows in moves.group_by("currency", "fate", maintain_order=True):
        parts = {
            "all": pl.lit(True),
            "stopped_before": _STOPPED_BEFORE,
            "stopped_after": _STOPPED_AFTER,
            "newly_stopped": _NEWLY_STOPPED,
            "newly_passed": _NEWLY_PASSED,
        }
        sums = {}
        for name, which in parts.items():
            orders, amount = rows.filter(which).select("orders", "amount").sum().row(0)
            sums[name] = Sum(orders=orders, amount=amount)
        found.append(MoneyOfFate(currency=str(currency), fate=FATES[int(str(fate))], **sums))
    return sorted(found, key=lambda each: (each.currency, -FATES.index(each.fate)))


def _by_currency(orders: list[ChangedOrder]) -> dict[str, list[ChangedOrder]]:
    found: dict[str, list[ChangedOrder]] = {}
    for each in orders:
        found.setdefault(each.currency, []).append(each)
    return found


def _iso(moment: Any) -> str:
    return moment.isoformat(timespec="seconds")
