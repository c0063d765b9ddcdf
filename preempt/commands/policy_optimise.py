"""`preempt policy optimise`: thresholds by cost, as a proposal."""

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from orders.errors import UsageError, UserError
from preempt.console import console, emit, progress
from preempt.options import Share, Time
from preempt.settings import load_settings


def policy_optimise(
    *,
    costs: Path,
    out: Path,
    from_: Annotated[Time | None, Parameter(name="--from")] = None,
    to: Time | None = None,
    rules: Path | None = None,
    choose_on: Annotated[Share, Parameter(validator=lambda _type, share: _between(share))] = 0.7,
    data_dir: Path | None = None,
    json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> None:
    """Find the thresholds that would have cost the least, and write them as a proposal.

    Reads the archive of a stream. Thresholds are chosen on the earlier orders and tried on the
    later ones. The proposal is the present policy file with other thresholds and a comment that
    says how they were found. Nothing is published.

    For example:

        preempt policy optimise --costs examples/costs.toml --out proposal.toml
        preempt policy optimise --costs costs.toml --rules my-rules.toml --out proposal.toml --json

    Args:
        costs: What decisions cost; see examples/costs.toml.
        out: Write the proposal to this file.
        from_: First event time of orders, ISO 8601 with a zone; default: the first order.
        to: End, exclusive; default: the last order.
        rules: The present rules file; default: the ones that come with us.
        choose_on: The share of the orders, the earliest, to choose on; the others are held out.
        data_dir: The data folder whose archive is read.
        json: Print one JSON object.
    """
    settings = load_settings(data_dir=data_dir, rules=rules)
    from preempt.optimise import evidence, optimise
    from preempt.past_decisions import past_decisions
    from serving.backtest import warnings_of
    from serving.costs import Costs
    from serving.policy import Policy, default_text, read_text
    from serving.policy_on_history import PolicyOnHistory
    from serving.threshold_proposal import proposal

    file = settings.rules
    if file is not None and out.resolve() == file.resolve():
        raise UsageError(f"--out is the present rules file {file}: a proposal goes to another file")
    text, source = (default_text(), "rules.toml") if file is None else (read_text(file), str(file))
    spent = Costs.load(costs)
    present = Policy.parse(text, source)
    with console.status("Reading outcomes"):
        past = past_decisions(settings.archive_dir, from_, to, [present])
    policy = PolicyOnHistory(present, past.history.feature_set)
    with progress("Judging", len(past.history.rows)) as bar:
        found = optimise(past, policy, spent, choose_on, lambda n: bar.advance(bar.task_ids[0], n))
    said = evidence(found, costs.name)
    proposed = proposal(text, source, found.thresholds, said)
    try:
        out.write_text(proposed, encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot write {out}: {error.strerror}") from None
    for warning in warnings_of(past.history, [policy]):
        console.print(f"warning: {warning}", markup=False, highlight=False, soft_wrap=True)
    emit(found, as_json=json, text="\n".join([*said[1:], f"Written to {out}."]))


def _between(share: Any) -> None:
    if not 0 < share < 1:
        raise ValueError("Must be between 0% and 100%, both excluded.")
