"""The life of rule sets, read off a history of events to which one only adds.

    draft → (backtest) → shadow → live → retired

What is live, what is in shadow and who asked for what is nowhere stored: it follows from the events
in their sequence, so that it can never contradict them.
"""

from collections.abc import Iterable
from typing import Literal

import msgspec

EventKind = Literal[
    "drafted",
    "backtested",
    "shadowed",
    "shadow_ended",
    "publish_requested",
    "approved",
    "published",
    "retired",
    "rolled_back",
]
State = Literal["draft", "shadow", "live", "retired"]


class RuleEvent(msgspec.Struct, frozen=True, kw_only=True):
    """Something that happened to one version of the rules.

    `against` is the version that was live: what a backtest compares with, and what a publication or
    a rollback takes the place of.
    """

    number: int = 0  # from 1, without gaps; 0: not yet in the history
    version: str
    kind: EventKind
    by: str
    at: int  # UTC milliseconds
    comment: str = ""
    against: str | None = None
    changed_share: float | None = None  # of a backtest: decisions that would change, 0 to 1


class RuleHistory:
    """What follows from the events.

    Args:
        shipped: the version of the rules that come with Preempt, live where none was published.
        events: all of them, in sequence.

    Attributes:
        events: as given.
        live: the version that decides.
        before: versions that were live and to which rollbacks lead, the nearest last.
        shadow: the version that runs beside it, or None.
        requests: by version, who asked to publish it while the present version was live.
        drafted: versions that are stored.
    """

    def __init__(self, shipped: str, events: Iterable[RuleEvent] = ()) -> None:
        self.events = tuple(events)
        self.live = shipped
        self.before: list[str] = []
        self.shadow: str | None = None
        self.requests: dict[str, str] = {}
        self.drafted: set[str] = set()
        self._retired: set[str] = set()
        self._changed_shares: dict[tuple[str, str | None], float] = {}
        for event in self.events:
            self._follow(event)

    @property
    def number(self) -> int:
        """Of the last event; 0 where nothing has happened yet."""
        return self.events[-1].number if self.events else 0

    def state(self, version: str) -> State:
        """Of a version that is known."""
        if version == self.live:
            return "live"
        if version == self.shadow:
            return "shadow"
        return "retired" if version in self._retired else "draft"

    def changed_share(self, version: str) -> float | None:
        """Of the newest backtest of a version against the live one; None where there is none."""
        return self._changed_shares.get((version, self.live))

    def why_second_person(self, version: str, alone_share: float) -> str | None:
        """Why one person alone may not publish a version; None where they may.

        Args:
            version: to be published.
            alone_share: of decisions that one person may change.
        """
        share = self.changed_share(version)
        if share is None:
            return (
                f"it was not tried against the live version {self.live} (preempt rules backtest "
                f"{version} does that)"
            )
        if share > alone_share:
            return f"it would change {share:.2%} of decisions, more than {alone_share:.2%}"
        return None

    def _follow(self, event: RuleEvent) -> None:
        match event.kind:
            case "drafted":
                self.drafted.add(event.version)
            case "backtested":
                if event.changed_share is not None:
                    self._changed_shares[event.version, event.against] = event.changed_share
            case "shadowed":
                self.shadow = event.version
            case "shadow_ended":
                self.shadow = None
            case "publish_requested":
                self.requests[event.version] = event.by
            case "published":
                # Before the first publication the rules that shipped then were live, which a later
                # release may have changed: the event knows which.
                self.before.append(event.against or self.live)
                self._goes_live(event.version)
            case "rolled_back":
                if self.before:
                    self.before.pop()
                self._goes_live(event.version)
            case "retired":
                self._retired.add(event.version)
            case "approved":
                pass  # the publication that it is for follows

    def _goes_live(self, version: str) -> None:
        self.live = version
        # Who asked had the version in mind that was live then.
        self.requests.clear()
        if self.shadow == version:
            self.shadow = None
