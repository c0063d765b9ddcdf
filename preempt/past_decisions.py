"""The archive as those read it who try policies on it: decisions, and what is known of their orders."""

from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import polars as pl

from orders.targets import RISK, TARGETS
from serving.decision_history import DecisionHistory, read_history
from serving.policy import Policy
from training.archived_truth import archived_truth


class PastDecisions(NamedTuple):
    """Decisions, and in the order of their rows what became of the orders."""

    history: DecisionHistory
    truth: pl.DataFrame


def past_decisions(
    folder: Path,
    start: datetime | None,
    end: datetime | None,
    policies: Iterable[Policy] = (),
) -> PastDecisions:
    """Read them.

    Args:
        folder: of the archive.
        start: with zone; None: from the first on.
        end: with zone, excluded; None: to the last.
        policies: whose rules name the targets that orders are labelled by; by risk they always are.

    Raises:
        UserError: there is no archive, or nothing in the range.
    """
    history = read_history(folder, start, end)
    named = {target for policy in policies for rule in policy.rules for target in rule.targets}
    targets = [target for name, target in TARGETS.items() if name in named | {RISK.name}]
    return PastDecisions(history, archived_truth(folder, history.rows, targets))


def unknown_targets(policy: Policy) -> list[str]:
    """What its rules name as targets, and nobody has declared: warnings."""
    return [
        f"rule {rule.name}: there is no target {target!r}; declared are {', '.join(TARGETS)}"
        for rule in policy.rules
        if rule.enabled
        for target in rule.targets
        if target not in TARGETS
    ]
