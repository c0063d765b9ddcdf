"""The topics, by name: nothing is derived from where code stands."""

from dataclasses import dataclass

TOPIC_CONFIG = {
    "message.timestamp.type": "LogAppendTime",
    "retention.ms": str(46 * 86_400_000),
}
"""Topic configuration. The broker stamps each record, which gives latencies and a replay order.

Records are kept longer than the feature state looks back, since a worker rebuilds it from them.
"""


@dataclass(frozen=True, slots=True)
class Topics:
    """Topic and group names under a prefix; all but dead letters and alerts have the same number of partitions."""

    prefix: str = ""

    @property
    def orders(self) -> str:
        """Orders that were placed, keyed by order id."""
        return f"{self.prefix}orders"

    @property
    def outcomes(self) -> str:
        """What happened to orders afterwards, keyed by order id."""
        return f"{self.prefix}outcomes"

    @property
    def decisions(self) -> str:
        """One decision per order, in the partition of the order, keyed by order id."""
        return f"{self.prefix}decisions"

    @property
    def dead_letter(self) -> str:
        """Messages that could not be processed, with the reason."""
        return f"{self.prefix}dead-letter"

    @property
    def alerts(self) -> str:
        """What people must be told: `serving.alerts.Alert`, keyed by its subject."""
        return f"{self.prefix}alerts"

    @property
    def score_group(self) -> str:
        """Consumer group of the workers that decide."""
        return f"{self.prefix}preempt-score"

    @property
    def archive_group(self) -> str:
        """Consumer group of the workers that archive."""
        return f"{self.prefix}preempt-archive"

    def partitions(self, count: int) -> dict[str, int]:
        """Every topic with its number of partitions."""
        return {
            self.orders: count,
            self.outcomes: count,
            self.decisions: count,
            self.dead_letter: 1,
            self.alerts: 1,
        }
