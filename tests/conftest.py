"""Real servers for the tests, started once when first asked for, on free ports."""

import itertools
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from preempt.embedded import Broker
    from tests.support.apache_kafka import ApacheKafka

# MLflow would send usage data
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ["DO_NOT_TRACK"] = "true"

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> "Iterator[Broker]":
    """The embedded Kafka broker; clients take its `.bootstrap`."""
    from preempt.embedded import Broker

    with Broker(tmp_path_factory.mktemp("broker")) as server:
        yield server


@pytest.fixture(scope="session")
def valkey_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a Valkey that all tests share: use keys of your own, do not flush."""
    from preempt.embedded import Valkey

    with Valkey(tmp_path_factory.mktemp("valkey")) as server:
        yield server.url


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> "Iterator[ApacheKafka]":
    """Apache Kafka; clients take its `.bootstrap`. Mark the test `kafka`.

    Where it cannot run, the test is skipped, or fails if PREEMPT_REQUIRE_KAFKA is set.
    """
    from tests.support.apache_kafka import ApacheKafka, KafkaUnavailableError

    try:
        server = ApacheKafka(tmp_path_factory.mktemp("kafka")).start()
    except KafkaUnavailableError as error:
        if os.environ.get("PREEMPT_REQUIRE_KAFKA"):
            pytest.fail(str(error))
        pytest.skip(str(error))
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def postgresql_url() -> Iterator[str]:
    """URL of a PostgreSQL database that all tests share; skipped where no server is installed."""
    from tests.support.postgresql import PostgreSQL, PostgreSQLUnavailableError

    try:
        server = PostgreSQL().start()
    except PostgreSQLUnavailableError as error:
        pytest.skip(str(error))
    try:
        yield server.url
    finally:
        server.stop()


@pytest.fixture
def topic_prefix() -> str:
    """Unique in the session: put it before topic names and consumer groups."""
    return f"t{os.getpid()}-{next(_numbers)}-"
