"""Producing a batch: many records queued, one flush, one answer."""

import asyncio
import logging
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from confluent_kafka import KafkaError, Message, Producer

Headers = Sequence[tuple[str, bytes]]


class DeliveryError(Exception):
    """At least one record of a flush was not acknowledged by the broker.

    What became of it is unknown; do not go on with this producer: acknowledge nothing and start
    anew from the committed offsets.
    """


class BatchProducer:
    """A Kafka producer for one batch at a time: `produce` each record, then `flush`.

    Records of one partition keep the order of their `produce` calls, also across retries. A
    record counts as delivered when every in-sync replica has it. Use it from one event loop, and
    `close` it at the end.

    Args:
        bootstrap: Addresses of the brokers, "host:port" with commas between.
        linger_ms: How long librdkafka waits for a request to fill up. `flush` cuts that short.
        delivery_timeout: Seconds until an unanswered record fails.
        options: Further librdkafka settings.
    """

    def __init__(
        self,
        bootstrap: str,
        *,
        linger_ms: float = 1.0,
        delivery_timeout: float = 30.0,
        options: dict[str, Any] | None = None,
    ) -> None:
        self._failure: KafkaError | None = None
        self._failures = 0
        self._delivery_timeout = delivery_timeout
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="producer-flush")
        self._producer = Producer(
            {
                "bootstrap.servers": bootstrap,
                "enable.idempotence": True,
                "acks": "all",
                "linger.ms": linger_ms,
                "compression.type": "lz4",  # a decision shrinks to a third
                "delivery.timeout.ms": round(delivery_timeout * 1000),
                "partitioner": "murmur2_random",  # as Kafka's own clients
                "message.max.bytes": 8 * 1024 * 1024,
                "delivery.report.only.error": True,
                "on_delivery": self._on_delivery,
                "reconnect.backoff.max.ms": 1000,
                # its failures reach us by `flush`; stderr is not its to write to
                "logger": logging.Logger("librdkafka", level=logging.CRITICAL + 1),
                **(options or {}),
            }
        )

    def _on_delivery(self, error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            self._failure = self._failure or error
            self._failures += 1

    def produce(
        self,
        topic: str,
        value: bytes | None,
        *,
        key: bytes | None = None,
        partition: int | None = None,
        headers: Headers | None = None,
    ) -> None:
        """Queue one record; without `partition`, the hash of its key chooses.

        Raises:
            KafkaException: The record can never be sent, e.g. because it is too large.
        """
        extra: dict[str, Any] = {}
        if partition is not None:
            extra["partition"] = partition
        if headers:
            extra["headers"] = list(headers)
        while True:
            try:
                self._producer.produce(topic, value, key, **extra)
            except BufferError:  # librdkafka's queue is full: let it drain
                self._producer.poll(0.05)
            else:
                return

    async def flush(self) -> None:
        """Wait until the broker has everything that was produced.

        Raises:
            DeliveryError: Something was not delivered; names the first failure.
        """
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._executor, self._flush)

    def _flush(self) -> None:
        deadline = time.monotonic() + self._delivery_timeout + 5
        try:
            waiting = self._producer.flush(deadline - time.monotonic())
        except SystemError as error:
            raise self._fatal(error) from None  # what is below, while a callback was under way
        except BaseException:
            raise
        except:  # noqa: E722
            # A fatal error, e.g. a broker that has forgotten this producer: confluent-kafka then
            # raises its KafkaError, which is no exception class, so nothing can name it here. All
            # that is an exception has been dealt with above.
            raise self._fatal(sys.exc_info()[1]) from None
        failure, failures = self._failure, self._failures
        self._failure, self._failures = None, 0
        if failure is not None:
            raise DeliveryError(f"{failures} records were not delivered: {failure.str()}")
        if waiting:
            raise DeliveryError(f"{waiting} records were not answered in time")

    def _fatal(self, error: object) -> DeliveryError:
        reason = self._failure.str() if self._failure else error
        return DeliveryError(f"records were not delivered: {reason}")

    def close(self) -> None:
        """Give up what was not flushed: a flush under way ends, and nothing waits for the broker."""
        self._producer.purge()
        self._executor.shutdown(wait=False)
