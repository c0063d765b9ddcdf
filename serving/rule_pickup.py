"""How a worker follows the rule store: a published version is taken up without a restart."""

import logging
from collections.abc import Callable
from typing import NamedTuple

from orders.errors import UserError
from serving.alerts import Alert
from serving.database import DatabaseUnavailableError
from serving.prepared_policy import PreparedPolicy
from serving.rule_history import RuleHistory
from serving.rule_store import RuleStore
from serving.scorer import Scorer

logger = logging.getLogger("serving.rules")


class Change(NamedTuple):
    """What a look at the store found, ready to be taken.

    Attributes:
        number: of the last event that it knows of.
        live: to decide by; None: the present one stays.
        shadow: the one in shadow; None: none is.
        refused: an alert for each version that was refused for the first time.
    """

    number: int
    live: PreparedPolicy | None
    shadow: PreparedPolicy | None
    refused: list[Alert]


class RulePickup:
    """Keeps a scorer at the live version of the store, and at the one in shadow.

    A version that cannot be read, or that does not fit this worker's features, is refused, with one
    alert, and the newest one before it that can be used stays, or is taken by a worker that starts.
    A database that does not answer changes nothing.

    Args:
        store: asked by `look` only.
        scorer: begins with the shipped rules.
        clock: now in UTC milliseconds.
    """

    def __init__(self, store: RuleStore, scorer: Scorer, clock: Callable[[], int]) -> None:
        self._store = store
        self._scorer = scorer
        self._clock = clock
        self._number = -1
        self._live: PreparedPolicy | None = None
        self._shadow: PreparedPolicy | None = None
        self._refused: set[str] = set()
        self._untold: list[Alert] = []  # of refused versions, told with the next change

    def begin(self) -> None:
        """Take the live version, before the first order.

        Raises:
            DatabaseUnavailableError: nobody knows which rules are live.
            UserError: no version that was ever live can be used.
        """
        history = self._store.history()
        live = self._best(history)
        if live is None:
            raise UserError(self._untold[0].text)
        self._live = live
        self._scorer.switch(live)
        logger.info("decides by the rules %s", live.version)
        self._take_shadow(self._prepared(history.shadow))
        self._number = history.number
        for alert in self._untold:
            self._scorer.tell(alert)
        self._untold = []

    def look(self) -> Change | None:
        """Ask the store, and prepare what has changed; None: nothing has. Call it from any thread.

        Raises:
            DatabaseUnavailableError: the next call tries again.
        """
        if self._store.last_number() == self._number:
            return None
        history = self._store.history()
        live = self._best(history)
        shadow = self._prepared(history.shadow)
        untold, self._untold = self._untold, []
        return Change(history.number, live, shadow, untold)

    def take(self, change: Change) -> list[Alert]:
        """Decide by what was prepared; returns the alerts to be sent.

        Call it from the thread of the event loop, between batches: no batch is then decided by two
        versions.
        """
        alerts = [*change.refused]
        self._number = change.number
        before = self._scorer.rules_version
        if change.live is not None and change.live is not self._live:
            self._live = change.live
            self._scorer.switch(change.live)
            alerts.append(_switched(before, change.live.version, self._clock()))
            logger.info("%s", alerts[-1].text)
        self._take_shadow(change.shadow)
        return alerts

    def _best(self, history: RuleHistory) -> PreparedPolicy | None:
        """The live version, else the newest before it that can be used; None: none can."""
        for version in (history.live, *reversed(history.before)):
            live = self._prepared(version)
            if live is not None:
                return live
        return None

    def _take_shadow(self, shadow: PreparedPolicy | None) -> None:
        if shadow is not self._shadow:
            logger.info("in shadow: %s", "no rules" if shadow is None else shadow.version)
        self._shadow = shadow
        self._scorer.switch_shadow(shadow)

    def _prepared(self, version: str | None) -> PreparedPolicy | None:
        """A version that can judge, or None where it is refused, with an alert the first time."""
        if version is None or version in self._refused:
            return None
        for known in (self._live, self._shadow):
            if known is not None and known.version == version:
                return known
        try:
            return self._scorer.prepare(self._store.policy(version))
        except DatabaseUnavailableError:
            raise
        except Exception as error:  # whatever is wrong with it, it must not stop the stream
            why = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
            self._refused.add(version)
            self._untold.append(_refused(version, why, self._clock()))
            logger.error("%s", self._untold[-1].text)
            return None


def _switched(before: str, after: str, now: int) -> Alert:
    return Alert(
        kind="rules_switched",
        time=now,
        subject=after,
        text=f"decides by the rules {after} from now on, no more by {before}",
        text_zh=f"规则已切换：{before} → {after}",
    )


def _refused(version: str, why: str, now: int) -> Alert:
    return Alert(
        kind="rules_refused",
        time=now,
        subject=version,
        text=f"the rules {version} are refused, and what was before them stays: {why}",
        text_zh=f"规则 {version} 无法使用，沿用原有规则：{why}",
    )
