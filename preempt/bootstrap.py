"""The composition root: the only place that builds real objects from settings."""

import gc
import logging
from pathlib import Path
from uuid import uuid4

import numpy as np
from redis import Redis
from redis.cluster import RedisCluster
from redis.exceptions import NoPermissionError
from redis.exceptions import ResponseError as RedisResponseError

from features.feature_set import ATTRIBUTE_PREFIX, FeatureSet, FeatureSetMismatchError, feature_set
from features.memory import InMemoryState
from features.redis_state import RedisState
from features.snapshot import SnapshotError, fingerprint
from features.state import FeatureState, StateCorruptedError, StateUnavailableError
from models.points import POINTS_TARGET
from models.registry import load_model
from models.risk_model import RiskModel
from models.signature import SignatureMismatchError
from orders.errors import UserError
from orders.events import Instant, Order, Outcome
from preempt.clock import wall_clock
from preempt.operational import build_rule_store
from preempt.redis_stores import list_store, redis_client
from preempt.settings import Settings
from serving.alerts import Alert
from serving.database import DatabaseUnavailableError
from serving.ledger import InMemoryLedger, RedisLedger
from serving.list_reader import ListReader
from serving.list_store import ListsUnavailableError
from serving.lists import EntityLists
from serving.policy import Policy
from serving.rule_pickup import RulePickup
from serving.scorer import Scorer
from streams.app import Origin, archive_app, scoring_app
from streams.archive import Archive, name_features
from streams.broker import check_broker, create_topics
from streams.following import Follower
from streams.scoring import Scoring
from streams.topics import TOPIC_CONFIG, Topics
from streams.worker import ChunkedApp

logger = logging.getLogger("preempt")

LISTS_EVERY_S = 2.0
RULES_EVERY_S = 1.0
REMEMBERED_IN_PROCESS = 100_000  # decisions, where no Redis is given


def build_model(settings: Settings) -> RiskModel | None:
    """The model that settings name; None for "none", when rules decide alone.

    Raises:
        UserError: it cannot be had, or foretells something else than risk.
    """
    if settings.model == "none":
        return None
    model = load_model(settings.model, settings.mlflow_uri)
    if model.target != POINTS_TARGET:
        raise UserError(
            f"model {settings.model!r} foretells {model.target!r}, and only {POINTS_TARGET!r} is "
            "worth points: name a model of that target, or none"
        )
    return model


def feature_set_of(model: RiskModel | None) -> FeatureSet:
    """The declared features, and those of the shop's own attributes that the model knows."""
    if model is None:
        return feature_set()
    return feature_set(
        {
            name.removeprefix(ATTRIBUTE_PREFIX): "categorical"
            if name in model.signature.categories
            else "numeric"
            for name in model.signature.features
            if name.startswith(ATTRIBUTE_PREFIX)
        }
    )


def build_policy(settings: Settings) -> Policy:
    """The rules and tiers that settings name, or those that come with the package."""
    return Policy.load(settings.rules) if settings.rules else Policy.default()


def build_scorer(settings: Settings, state_file: Path | None, *, guarded: bool = True) -> Scorer:
    """Features, model, rules and policy.

    Args:
        settings: where everything is.
        state_file: a snapshot of the feature state to begin with; None: nothing is known.
        guarded: whether the circuit breaker counts stops.

    Raises:
        UserError: the model, the rules, the snapshot or Redis cannot be had, or do not fit.
    """
    policy = build_policy(settings)  # a moment; a registry may take ten seconds
    model = build_model(settings)
    features = feature_set_of(model)
    state = _state(settings, features, state_file)
    try:
        scorer = Scorer(features, state, model, policy, _ledger(settings), guarded=guarded)
    except SignatureMismatchError as error:
        raise UserError(f"model {settings.model!r} does not fit: {error}; train it again") from None
    _warm(features, model, policy)
    return scorer


def _warm(features: FeatureSet, model: RiskModel | None, policy: Policy) -> None:
    """Let everything that is compiled or loaded at first use be so before the first order."""
    state = InMemoryState(features)
    scorer = Scorer(features, state, model, policy)
    past = Instant(0)
    orders = [
        Order(order_id=f"warm-{n}", event_time=past, quantity=1, unit_price=1, currency="CNY")
        for n in range(2)
    ]
    outcomes = [Outcome(order_id="warm-0", kind="expired", event_time=past)]
    scorer.decide(orders, now=0)
    scorer.learn(outcomes)
    state.compact()
    if model is not None:
        model.contributions(np.full((1, len(features.names)), np.nan))


def _state(settings: Settings, features: FeatureSet, state_file: Path | None) -> FeatureState:
    if settings.store == "redis":
        if state_file is not None:
            raise UserError(
                "--state is for --store memory: fill Redis with preempt backfill --store redis"
            )
        shared = shared_state(settings, features)
        if shared.is_new:
            logger.warning(
                "the feature state in Redis is new: nothing is known of the past until "
                "preempt backfill --store redis has put it there"
            )
        return shared
    if state_file is None:
        return InMemoryState(features)
    try:
        state, _ = InMemoryState.load(state_file, features)
    except (SnapshotError, FeatureSetMismatchError) as error:
        raise UserError(f"{error}; make it again with preempt backfill --state-out") from None
    return state


def shared_state(settings: Settings, features: FeatureSet) -> RedisState:
    """The feature state in Redis.

    Raises:
        UserError: no Redis is named or answers, it may evict keys, or it cannot hold the state.
    """
    if settings.redis_url is None:
        raise UserError("--store redis needs PREEMPT_REDIS_URL, such as redis://127.0.0.1:6379/0")
    client = redis_client(settings.redis_url)
    _refuse_eviction(client)
    try:
        state = RedisState(client, features, prefix=f"{settings.topic_prefix}features:")
    except (StateUnavailableError, StateCorruptedError, ValueError) as error:
        raise UserError(f"{error} (PREEMPT_REDIS_URL, PREEMPT_TOPIC_PREFIX)") from error
    return state


def _refuse_eviction(client: Redis | RedisCluster) -> None:
    """A server that evicts would forget in silence."""
    try:
        found = client.config_get("maxmemory-policy")
    except (NoPermissionError, RedisResponseError):  # hosted ones often hide it
        logger.warning("Redis does not show its maxmemory-policy: it must be noeviction")
        return
    policy = found.get("maxmemory-policy")
    if policy != "noeviction":
        raise UserError(
            f"Redis has maxmemory-policy {policy} and would forget features when it is full: "
            "set it to noeviction"
        )


def _ledger(settings: Settings) -> InMemoryLedger | RedisLedger:
    if settings.redis_url is None:
        return InMemoryLedger(REMEMBERED_IN_PROCESS)
    return RedisLedger(
        redis_client(settings.redis_url), settings.decision_ttl_s, prefix=settings.topic_prefix
    )


def prepare_topics(settings: Settings) -> Topics:
    """Create the topics that are missing.

    Raises:
        UserError: no broker answers, or existing topics differ in their number of partitions.
    """
    topics = Topics(settings.topic_prefix)
    create_topics(
        settings.broker,
        topics.partitions(settings.partitions),
        config=TOPIC_CONFIG,
        replicas=settings.replicas,
    )
    existing = check_broker(settings.broker)
    counts = {name: existing[name] for name in (topics.orders, topics.outcomes, topics.decisions)}
    if len(set(counts.values())) > 1:
        found = ", ".join(f"{name} {count}" for name, count in counts.items())
        raise UserError(
            f"topics must have the same number of partitions, found {found}: a decision goes to "
            "the partition of its order; create them alike"
        )
    return topics


def build_scoring_worker(settings: Settings, state_file: Path | None) -> ChunkedApp:
    """A Faust app that decides orders and learns from outcomes.

    Args:
        settings: where everything is.
        state_file: a snapshot of the feature state to begin with; None: nothing is known.
    """
    topics = prepare_topics(settings)
    scorer = build_scorer(settings, state_file)
    following = [*_rules_followed(settings, scorer), *_lists_followed(settings, scorer)]
    name_features(settings.archive_dir, scorer.feature_set)
    # What exists now stays, and decisions hold no cycles: let the collector run seldom, and not
    # walk through all of it each time.
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 20, 20)
    scoring = Scoring(
        scorer,
        topics,
        clock=wall_clock,
        max_message_bytes=settings.max_message_bytes,
        max_future_ms=settings.max_future_s * 1000,
    )
    return scoring_app(
        group=topics.score_group,
        bootstrap=settings.broker,
        topics=topics,
        scoring=scoring,
        following=following,
        chunk_records=settings.chunk,
        worker_name=settings.worker_name,
        shared_state=settings.store == "redis",
        origin=_origin(scorer.state, state_file),
    )


def _rules_followed(settings: Settings, scorer: Scorer) -> list[Follower]:
    """Let the worker begin with the live version of the rules, unless a file holds them."""
    if settings.rules is not None:
        return []
    pickup = RulePickup(build_rule_store(settings), scorer, wall_clock)
    pickup.begin()
    return [
        Follower(
            "rules",
            pickup.look,
            pickup.take,
            every_s=RULES_EVERY_S,
            unavailable=DatabaseUnavailableError,
        )
    ]


def _lists_followed(settings: Settings, scorer: Scorer) -> list[Follower]:
    """Let the worker begin with the lists as they are."""
    if settings.redis_url is None:
        if scorer.lists_read:
            logger.warning(
                "rules read the lists %s, and without PREEMPT_REDIS_URL there are none: they hold "
                "nothing",
                ", ".join(scorer.lists_read),
            )
        return []
    reader = ListReader(list_store(settings).news)
    try:
        lists = reader.read()
    except ListsUnavailableError as error:
        raise UserError(f"{error} (PREEMPT_REDIS_URL)") from error
    if lists is not None:
        scorer.switch_lists(lists)

    def take(lists: EntityLists) -> list[Alert]:
        scorer.switch_lists(lists)
        return []

    return [
        Follower(
            "lists", reader.read, take, every_s=LISTS_EVERY_S, unavailable=ListsUnavailableError
        )
    ]


def _origin(state: FeatureState, state_file: Path | None) -> Origin:
    """Names this process, and what the state knew before it."""
    process = uuid4().hex[:16]
    if isinstance(state, RedisState):
        return Origin(process, None if state.was_empty else state.name, state.name)
    return Origin(process, None if state_file is None else fingerprint(state_file))


def build_archive_worker(settings: Settings) -> tuple[ChunkedApp, Archive]:
    """A Faust app that puts orders, outcomes and decisions into Delta tables, and these tables."""
    topics = prepare_topics(settings)
    archive = Archive(
        settings.archive_dir,
        topics,
        max_message_bytes=settings.max_message_bytes,
        max_future_ms=settings.max_future_s * 1000,
    )
    app = archive_app(
        group=topics.archive_group,
        bootstrap=settings.broker,
        archive=archive,
        chunk_records=settings.chunk,
        worker_name=settings.worker_name,
    )
    return app, archive
