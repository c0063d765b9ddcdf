"""Orders decided by the real scorer and put into real Delta tables, without a broker."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from features.feature_set import FeatureSet
from features.memory import InMemoryState
from orders.events import Order, Outcome, encoder
from preempt.past_decisions import PastDecisions, past_decisions
from serving.backtest import run_backtest
from serving.backtest_result import Backtest
from serving.decisions import Decision, decision_encoder
from serving.lists import EntityLists
from serving.policy import Policy
from serving.policy_on_history import PolicyOnHistory
from serving.scorer import Scorer
from streams.answers import SOURCE_HEADER, Source
from streams.archive import Archive, name_features
from streams.chunks import Chunk
from streams.topics import Topics

TOPICS = Topics()
CHUNK = 50


@dataclass
class Record:
    offset: int
    value: bytes | None
    timestamp: int
    key: bytes | None = None
    headers: Sequence[tuple[str, bytes]] = ()


def decided(
    events: Sequence[Order | Outcome],
    policy: Policy,
    features: FeatureSet,
    lists: EntityLists | None = None,
) -> list[Decision]:
    """The decisions on the orders among events that are in the order of time."""
    scorer = Scorer(features, InMemoryState(features), None, policy, guarded=False)
    scorer.switch_lists(lists or EntityLists())
    decisions: list[Decision] = []
    for event in events:
        if isinstance(event, Order):
            decisions += scorer.decide([event], now=int(event.event_time))
        else:
            scorer.learn([event])
    return decisions


@dataclass
class ArchivedShop:
    """The archive in a folder."""

    folder: Path
    features: FeatureSet
    _offsets: dict[str, int] = field(default_factory=dict)

    def archive(self, events: Sequence[Order | Outcome], decisions: Sequence[Decision]) -> None:
        """Store events and decisions; the decisions are those on the orders, in their sequence."""
        name_features(self.folder, self.features)
        orders = [event for event in events if isinstance(event, Order)]
        outcomes = [event for event in events if isinstance(event, Outcome)]
        first = self._offsets.get(TOPICS.orders, 0)
        sources = [Source(0, first + i, order.event_time) for i, order in enumerate(orders)]
        chunks = [
            self._chunk(TOPICS.orders, [(encoder.encode(o), o.event_time, ()) for o in orders]),
            self._chunk(TOPICS.outcomes, [(encoder.encode(o), o.event_time, ()) for o in outcomes]),
            self._chunk(
                TOPICS.decisions,
                [
                    (decision_encoder.encode(d), d.decided_time, [(SOURCE_HEADER, s.header())])
                    for d, s in zip(decisions, sources, strict=True)
                ],
            ),
        ]
        archive = Archive(self.folder, TOPICS, max_message_bytes=65_536, max_future_ms=1e15)
        archive.store([chunk for chunk in chunks if chunk.records])

    def _chunk(self, topic: str, values: Sequence[tuple[bytes, int, Sequence]]) -> Chunk:
        first = self._offsets.get(topic, 0)
        self._offsets[topic] = first + len(values)
        return Chunk(
            topic, 0, [Record(first + i, v, t, None, h) for i, (v, t, h) in enumerate(values)]
        )

    def rewrite(self, table: str, *changes: pl.Expr, drop: Sequence[str] = ()) -> None:
        """Write a table again with some columns changed or left out."""
        path = str(self.folder / table)
        pl.read_delta(path).drop(drop).with_columns(changes).write_delta(
            path, mode="overwrite", delta_write_options={"schema_mode": "overwrite"}
        )

    def past(self, *policies: Policy) -> PastDecisions:
        """The decisions of all times."""
        return past_decisions(self.folder, None, None, policies)

    def backtest(
        self, candidate: Policy, against: Policy | None = None, lists: EntityLists | None = None
    ) -> Backtest:
        """Try a policy."""
        history, truth = self.past(candidate)
        features = history.feature_set
        return run_backtest(
            history,
            truth,
            PolicyOnHistory(candidate, features, lists),
            None if against is None else PolicyOnHistory(against, features, lists),
            name="tried.toml",
        )
