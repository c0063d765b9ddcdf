"""What is built on Redis alone, so that commands which need no more answer soon."""

from redis import Redis
from redis.backoff import NoBackoff
from redis.cluster import RedisCluster
from redis.exceptions import RedisClusterException, RedisError
from redis.retry import Retry

from orders.errors import UserError
from preempt.clock import wall_clock
from preempt.settings import Settings
from serving.list_store import ListStore


def redis_client(url: str) -> Redis | RedisCluster:
    """A client of a Redis or Valkey, or of the cluster it belongs to; it tries everything once.

    Whoever uses it tries again: a client that waits in between would hold up the worker.

    Raises:
        UserError: none answers.
    """
    once = Retry(NoBackoff(), 0)
    options = {"socket_timeout": 5, "socket_connect_timeout": 5, "retry": once}
    try:
        client = Redis.from_url(url, **options)
        client.ping()
        if client.info("cluster").get("cluster_enabled"):
            client.close()
            return RedisCluster.from_url(url, **options)
    except (RedisError, RedisClusterException, ValueError) as error:
        raise UserError(
            f"no Redis answers at {_without_password(url)}: {error}; start it, correct "
            "PREEMPT_REDIS_URL, or leave it out"
        ) from error
    return client


def list_store(settings: Settings) -> ListStore:
    """The lists in Redis.

    Raises:
        UserError: no Redis is named or answers.
    """
    if settings.redis_url is None:
        raise UserError(
            "lists are kept in Redis: set PREEMPT_REDIS_URL, such as redis://127.0.0.1:6379/0"
        )
    client = redis_client(settings.redis_url)
    try:
        return ListStore(client, clock=wall_clock, prefix=settings.topic_prefix)
    except ValueError as error:
        raise UserError(f"{error} (PREEMPT_TOPIC_PREFIX)") from error


def _without_password(url: str) -> str:
    scheme, found, rest = url.rpartition("://")
    return f"{scheme}{found}{rest.rpartition('@')[2]}"
