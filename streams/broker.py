"""The broker before anything streams: is it there, and are the topics."""

from collections.abc import Mapping

from confluent_kafka import ConsumerGroupState, KafkaError, KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from orders.errors import UserError

_COORDINATOR_COMES = (
    KafkaError.NOT_COORDINATOR,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
)


def check_broker(bootstrap: str, timeout: float = 5.0) -> dict[str, int]:
    """Ask the broker for its topics: name → number of partitions.

    Raises:
        UserError: No Kafka broker answers at `bootstrap` ("host:port", several with commas)
            within `timeout` seconds.
    """
    try:
        metadata = _admin(bootstrap).list_topics(timeout=timeout)
    except (KafkaException, ValueError) as error:
        raise UserError(
            f"no Kafka broker answers at {bootstrap!r} within {timeout:g} s: "
            "start it, or correct the address (host:port)"
        ) from error
    return {name: len(topic.partitions) for name, topic in metadata.topics.items()}


def create_topics(
    bootstrap: str,
    partitions: Mapping[str, int],
    *,
    config: Mapping[str, str] | None = None,
    replicas: int = 1,
    timeout: float = 10.0,
) -> None:
    """Create the topics that do not exist yet; existing ones stay as they are.

    Raises:
        UserError: The broker does not answer, or refuses a topic.
    """
    existing = check_broker(bootstrap, timeout)
    wanted = [
        NewTopic(name, num_partitions=count, replication_factor=replicas, config=dict(config or {}))
        for name, count in partitions.items()
        if name not in existing
    ]
    if not wanted:
        return
    admin = _admin(bootstrap)  # must outlive its futures
    for name, created in admin.create_topics(wanted, operation_timeout=timeout).items():
        try:
            created.result(timeout)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise UserError(
                    f"the broker refuses topic {name!r}: {error.args[0].str()}"
                ) from error


def working_members(bootstrap: str, group: str, timeout: float = 10.0) -> int:
    """How many members of a consumer group hold partitions; 0 while the group is rebalancing.

    Also 0 while the broker has no coordinator for the group yet.
    """
    admin = _admin(bootstrap)  # must outlive its futures
    described = admin.describe_consumer_groups([group], request_timeout=timeout)
    try:
        found = described[group].result(timeout)
    except KafkaException as error:
        if error.args[0].code() in _COORDINATOR_COMES:
            return 0
        raise
    if found.state != ConsumerGroupState.STABLE:
        return 0
    return sum(bool(m.assignment and m.assignment.topic_partitions) for m in found.members)


def _admin(bootstrap: str) -> AdminClient:
    # librdkafka writes its own complaints to stderr; ours says it once.
    return AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
