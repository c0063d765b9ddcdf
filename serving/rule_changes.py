"""What may be done to rule sets: the events that follow from the history, or why it may not be."""

from datetime import datetime
from typing import NamedTuple

from orders.errors import UserError
from serving.policy import Policy
from serving.rule_history import EventKind, RuleEvent, RuleHistory


class RuleConflictError(UserError):
    """Somebody else has changed what is live meanwhile; nothing was done."""


class Doing(NamedTuple):
    """Who does something, when (UTC milliseconds), and what they say about it."""

    by: str
    at: int
    comment: str

    def event(self, kind: EventKind, version: str, *, against: str | None = None) -> RuleEvent:
        """What they do to a version."""
        return RuleEvent(
            version=version,
            kind=kind,
            by=self.by,
            at=self.at,
            comment=self.comment,
            against=against,
        )


def plan_shadow(history: RuleHistory, version: str | None, doing: Doing) -> list[RuleEvent]:
    """One version at most is in shadow: another one ends; None: none is any more.

    Raises:
        UserError: it is live, or in shadow already.
    """
    if version is not None and version == history.live:
        raise UserError(f"{version} is live: a shadow is another version than that")
    if version == history.shadow:
        already = (
            "no version is in shadow" if version is None else f"{version} is in shadow already"
        )
        raise UserError(already)
    events = [] if history.shadow is None else [doing.event("shadow_ended", history.shadow)]
    return events if version is None else [*events, doing.event("shadowed", version)]


def plan_publication(
    history: RuleHistory, version: str, author: str, why_second_person: str | None, doing: Doing
) -> list[RuleEvent]:
    """A version goes live, or one person asks for it where another must approve.

    Raises:
        RuleConflictError: it is live.
        UserError: who wants to approve it may not.
    """
    if version == history.live:
        raise RuleConflictError(f"{version} is live already{by_whom(history)}")
    events: list[RuleEvent] = []
    if why_second_person is not None:
        requester = history.requests.get(version)
        if requester is None:
            return [doing.event("publish_requested", version)]
        for person, did in ((requester, "asked to publish"), (author, "wrote")):
            if person.casefold() == doing.by.casefold():
                raise UserError(
                    f"{person} {did} {version}, and {why_second_person}: somebody else must "
                    "approve it"
                )
        events.append(doing.event("approved", version))
    published = doing.event("published", version, against=history.live)
    return [*events, published, doing.event("retired", history.live)]


def plan_rollback(history: RuleHistory, doing: Doing) -> list[RuleEvent]:
    """The version that was live before is so again.

    Raises:
        UserError: there is none.
    """
    if not history.before:
        raise UserError(f"there is nothing before the live version {history.live}")
    back = doing.event("rolled_back", history.before[-1], against=history.live)
    return [back, doing.event("retired", history.live)]


def by_whom(history: RuleHistory) -> str:
    """Who made the live version so, to be put behind its name."""
    made = [event for event in history.events if event.kind in ("published", "rolled_back")]
    return f" (by {made[-1].by})" if made else ""


def untried_change(before: Policy, after: Policy, at: int) -> str | None:
    """What no backtest shows of a change, in words: another person must look at it; None: nothing.

    Args:
        before: the live policy.
        after: the one to be published.
        at: now, UTC milliseconds.
    """
    for part, words in (
        ("exploration", "which orders are explored"),
        ("circuit_breaker", "when the circuit breaker trips"),
        ("fast_lane", "whom the fast lane lets through"),
    ):
        if getattr(before, part) != getattr(after, part):
            return f"it changes {words}"
    if _actions(before) != _actions(after):
        return "it changes the action of a tier"
    known = set(before.rules)
    for rule in after.rules:
        if rule not in known and rule.valid_from is not None and _ms(rule.valid_from) > at:
            return f"the rule {rule.name} begins later, so no backtest shows what it does"
    return None


def _actions(policy: Policy) -> list[tuple[object, ...]]:
    of_others = [(t.merchants, t.channels, t.actions, t.notify) for t in policy.tiers_for]
    return [((), (), policy.tiers.actions, policy.tiers.notify), *of_others]


def _ms(moment: datetime) -> float:
    return moment.timestamp() * 1000
