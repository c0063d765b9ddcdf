"""Rule sets in the operational database: versions that never change, and what happened to them.

Nothing is ever overwritten or deleted. Every change appends events under the numbers that follow the
last one its writer has seen; the number is the primary key, so of two writers at once one is refused
by the database, looks again, and either still may or is told what the other did.
"""

from collections.abc import Callable, Sequence

import msgspec
from sqlalchemy import Engine, func, insert, select
from sqlalchemy.exc import IntegrityError

from orders.errors import UserError
from serving.database import create_tables, transaction
from serving.policy import Policy
from serving.rule_changes import (
    Doing,
    RuleConflictError,
    by_whom,
    plan_publication,
    plan_rollback,
    plan_shadow,
    untried_change,
)
from serving.rule_history import RuleEvent, RuleHistory
from serving.rule_tables import RULE_EVENTS, RULE_SETS, TABLES, RuleSet

LONGEST = 1_048_576  # characters of a rule set
ATTEMPTS = 10

_EVENT = [RULE_EVENTS.c[name] for name in RuleEvent.__struct_fields__]

Plan = Callable[[RuleHistory], list[RuleEvent]]


class RuleStore:
    """Drafts, publishes and remembers rule sets. Times are UTC milliseconds.

    Every method raises `DatabaseUnavailableError` when the database does not answer, and `UserError`
    when what is asked cannot be done; nothing has then changed.

    Args:
        engine: of the operational database; tables that are missing are created.
        shipped: the text of the rules that come with Preempt, live where none was published.
    """

    def __init__(self, engine: Engine, shipped: str) -> None:
        self._engine = engine
        self._shipped = RuleSet(
            version=Policy.parse(shipped, "the shipped rules").version,
            content=shipped,
            author="preempt",
            comment="the rules that come with Preempt",
            created_at=0,
        )
        create_tables(engine, TABLES)

    def last_number(self) -> int:
        """The number of the last event: it tells whether anything has happened."""
        with transaction(self._engine) as connection:
            return connection.scalar(select(func.max(RULE_EVENTS.c.number))) or 0

    def history(self) -> RuleHistory:
        """All that has happened, and what follows from it."""
        with transaction(self._engine) as connection:
            rows = connection.execute(select(*_EVENT).order_by(RULE_EVENTS.c.number)).mappings()
            events = [RuleEvent(**row) for row in rows]
        return RuleHistory(self._shipped.version, events)

    def rule_set(self, version: str) -> RuleSet:
        """A version by its full name."""
        wanted = select(RULE_SETS).where(RULE_SETS.c.version == version)
        with transaction(self._engine) as connection:
            row = connection.execute(wanted).mappings().one_or_none()
        if row is not None:
            return RuleSet(**row)
        if version == self._shipped.version:
            return self._shipped
        raise UserError(f"there is no version {version!r}; preempt rules list shows all")

    def policy(self, version: str) -> Policy:
        """What a version stands for.

        Raises:
            UserError: its content cannot be used, or is not what was drafted.
        """
        policy = Policy.parse(self.rule_set(version).content, f"the rules {version}")
        if policy.version != version:
            raise UserError(
                f"the content of {version} reads as {policy.version}: it was altered, or this "
                "release reads it otherwise; draft and publish it again"
            )
        return policy

    def rule_sets(self) -> list[RuleSet]:
        """Every version, the oldest first."""
        wanted = select(RULE_SETS).order_by(RULE_SETS.c.created_at, RULE_SETS.c.version)
        with transaction(self._engine) as connection:
            found = [RuleSet(**row) for row in connection.execute(wanted).mappings()]
        stored = {each.version for each in found}
        return found if self._shipped.version in stored else [self._shipped, *found]

    def resolve(self, name: str) -> str:
        """The version that is meant by `live`, by `shadow`, or by the first letters of its name."""
        history = self.history()
        if name == "live":
            return history.live
        if name == "shadow":
            if history.shadow is None:
                raise UserError("no version is in shadow; preempt rules shadow VERSION begins it")
            return history.shadow
        known = {*history.drafted, self._shipped.version}
        meant = sorted(version for version in known if version.startswith(name.lower()))
        if not name or not meant:
            raise UserError(f"there is no version {name!r}; preempt rules list shows all")
        if len(meant) > 1:
            raise UserError(f"{name!r} may be {' or '.join(meant)}: give more letters")
        return meant[0]

    def backtest_result(self, version: str, against: str) -> str | None:
        """JSON of the newest backtest of a version against another; None where there is none."""
        wanted = (
            select(RULE_EVENTS.c.result)
            .where(RULE_EVENTS.c.version == version, RULE_EVENTS.c.against == against)
            .where(RULE_EVENTS.c.kind == "backtested")
            .order_by(RULE_EVENTS.c.number.desc())
            .limit(1)
        )
        with transaction(self._engine) as connection:
            return connection.scalar(wanted)

    def draft(self, content: str, *, by: str, at: int, comment: str = "") -> tuple[str, bool]:
        """Store a rule set; returns its version, and whether it is new.

        The same content is the same version: what is there already stays as it is.
        """
        author = _person(by)
        if len(content) > LONGEST:
            raise UserError(f"the rules have {len(content):,} characters, at most {LONGEST:,}")
        version = Policy.parse(content, "the rules").version
        new = RuleSet(
            version=version, content=content, author=author, comment=comment, created_at=at
        )
        event = RuleEvent(version=version, kind="drafted", by=author, at=at, comment=comment)

        def plan(history: RuleHistory) -> list[RuleEvent]:
            known = version in history.drafted or version == self._shipped.version
            return [] if known else [event]

        return version, bool(self._append(plan, new))

    def record_backtest(
        self,
        version: str,
        against: str,
        *,
        changed_share: float,
        result_json: str,
        by: str,
        at: int,
    ) -> None:
        """Remember what a version would have changed.

        Args:
            version: that was tried.
            against: what it was compared with; it counts for a publication while that is live.
            changed_share: of the decisions, 0 to 1.
            result_json: everything else that came out.
            by: who tried it.
            at: when.
        """
        if not 0 <= changed_share <= 1:
            raise ValueError(f"changed_share is {changed_share}, expected 0 to 1")
        event = RuleEvent(
            version=self.rule_set(version).version,
            kind="backtested",
            by=_person(by),
            at=at,
            against=self.rule_set(against).version,
            changed_share=changed_share,
        )
        self._append(lambda _history: [event], result=result_json)

    def shadow(self, version: str | None, *, by: str, at: int, comment: str = "") -> None:
        """Let a version run beside the live one, in the place of any other; None: none any more."""
        doing = Doing(_person(by), at, comment)
        if version is not None:
            self.policy(version)
        self._append(lambda history: plan_shadow(history, version, doing))

    def publish(
        self, version: str, *, by: str, at: int, comment: str = "", alone_share: float = 0.01
    ) -> str | None:
        """Make a version live, or ask for it.

        One person may when a backtest against the live version changed at most `alone_share` of the
        decisions, and nothing else is changed than a backtest can show. Otherwise the first call is a request, and the call of another person, who is
        neither who asked nor the author, approves it.

        Returns:
            None when the version is live now; else why a second person must approve it.
        """
        doing = Doing(_person(by), at, comment)
        policy = self.policy(version)
        author = self.rule_set(version).author
        why: str | None = None

        def plan(history: RuleHistory) -> list[RuleEvent]:
            nonlocal why
            why = history.why_second_person(version, alone_share)
            if why is None:
                try:
                    why = untried_change(self.policy(history.live), policy, at)
                except UserError:
                    why = f"the live version {history.live} cannot be read, nor compared with it"
            return plan_publication(history, version, author, why, doing)

        events = self._append(plan, while_live_stays=True)
        return why if events[0].kind == "publish_requested" else None

    def rollback(self, *, by: str, at: int, reason: str) -> str:
        """Return to the version that was live before, at once; returns it."""
        if not reason.strip():
            raise UserError("a rollback needs a reason: say it with --comment")
        doing = Doing(_person(by), at, reason)
        events = self._append(lambda history: plan_rollback(history, doing), while_live_stays=True)
        return events[0].version

    def _append(
        self,
        plan: Plan,
        drafted: RuleSet | None = None,
        *,
        result: str | None = None,
        while_live_stays: bool = False,
    ) -> list[RuleEvent]:
        """Append what `plan` makes of the history, in one transaction; plan again on a conflict."""
        live: str | None = None
        for _ in range(ATTEMPTS):
            history = self.history()
            if live not in (None, history.live) and while_live_stays:
                raise RuleConflictError(
                    f"{history.live} has become live meanwhile{by_whom(history)}: look at "
                    "preempt rules diff, then try again"
                )
            live = history.live
            events = plan(history)
            if not events or self._written(history, events, drafted, result):
                return events
        raise RuleConflictError("others change the rules at this very moment: try again")

    def _written(
        self,
        history: RuleHistory,
        events: Sequence[RuleEvent],
        drafted: RuleSet | None,
        result: str | None,
    ) -> bool:
        """Whether nobody else has written since `history` was read."""
        sets = [] if drafted is None else [drafted]
        shipped = self._shipped
        named = {version for event in events for version in (event.version, event.against)}
        if shipped.version in named - history.drafted:
            # From now on the history depends on it, and a later release may ship others.
            at = events[0].at
            sets.append(msgspec.structs.replace(shipped, created_at=at))
            first = Doing(shipped.author, at, shipped.comment).event("drafted", shipped.version)
            events = [first, *events]
        rows = [
            {**msgspec.structs.asdict(event), "number": number, "result": None}
            for number, event in enumerate(events, start=history.number + 1)
        ]
        rows[-1]["result"] = result
        try:
            with transaction(self._engine) as connection:
                if sets:
                    connection.execute(insert(RULE_SETS), [msgspec.structs.asdict(s) for s in sets])
                connection.execute(insert(RULE_EVENTS), rows)
        except IntegrityError:
            return False
        return True


def _person(name: str) -> str:
    name = name.strip()
    if not 0 < len(name) <= 200:
        raise UserError("say who you are with --by, in at most 200 characters")
    return name
