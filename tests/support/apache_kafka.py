"""Apache Kafka for the tests that the embedded broker cannot carry: one node, KRaft, loopback.

The jars come by Maven once and are kept in `.cache/kafka/` of the repository.
"""

import hashlib
import os
import shutil
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from preempt.processes import ChildProcess, free_port

_POM = Path(__file__).with_name("pom.xml")
_CACHE = Path(__file__).parents[2] / ".cache" / "kafka"
_CLUSTER_ID = "cHJlZW1wdC10ZXN0cy0xMQ"  # 16 bytes in base64; any will do
_JAVA = ["java", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]  # small, quick to start


class KafkaUnavailableError(Exception):
    """This machine cannot run Apache Kafka; the message says what is missing."""


class ApacheKafka:
    """A broker and controller in one process; its data and log lie in `folder`.

    Sessions of group members may be as short as one second, topics are never made by themselves,
    and a group does not wait for members before its first rebalance.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bootstrap = ""
        self._child: ChildProcess | None = None

    def start(self) -> Self:
        """Start it and wait until it answers.

        Raises:
            KafkaUnavailableError: No Java, no Maven, or the jars cannot be fetched.
            RuntimeError: It does not come up.
        """
        class_path = f"{jars()}/*"
        said = ""
        for attempt in range(3):  # somebody may take a port before Kafka binds it
            port, properties = free_port(), self.folder / f"server-{attempt}.properties"
            data = self.folder / f"data-{attempt}"
            properties.write_text(_properties(port, free_port(), data))
            java = [*_JAVA, "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", class_path]
            storage = ["kafka.tools.StorageTool", "format", "-t", _CLUSTER_ID, "-c", properties]
            subprocess.run([*java, *storage], check=True, capture_output=True, timeout=60)
            log = self.folder / "kafka.log"
            child = ChildProcess([*java, "kafka.Kafka", properties], log=log)
            try:
                child.start()
                if _comes_up(child, port):
                    self._child, self.bootstrap = child, f"127.0.0.1:{port}"
                    return self
                said = child.log_tail()
            except BaseException:
                child.kill()
                raise
            child.kill()
        raise RuntimeError(f"Apache Kafka does not start: {said}")

    def stop(self) -> None:
        """Stop it; its data is of no use afterwards, so it need not save."""
        if self._child is not None:
            self._child.kill()
            self._child = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


def jars() -> Path:
    """Folder of Kafka's jars, fetched when they are not there yet.

    Raises:
        KafkaUnavailableError: No Java, no Maven, or no way to fetch them.
    """
    for program in ("java", "mvn"):
        if shutil.which(program) is None:
            raise KafkaUnavailableError("Apache Kafka: no java or mvn on PATH")
    folder = _CACHE / hashlib.sha256(_POM.read_bytes()).hexdigest()[:12]
    if folder.is_dir():
        return folder
    partial = folder.with_suffix(f".{os.getpid()}")
    fetched = subprocess.run(
        [
            "mvn",
            "-B",
            "-q",
            "-f",
            _POM,
            "dependency:copy-dependencies",
            f"-DoutputDirectory={partial}",
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    if fetched.returncode != 0:
        shutil.rmtree(partial, ignore_errors=True)
        raise KafkaUnavailableError(f"Apache Kafka: mvn cannot fetch it: {fetched.stdout[-400:]}")
    try:
        partial.rename(folder)
    except OSError:  # another session was first
        shutil.rmtree(partial)
    return folder


def _comes_up(child: ChildProcess, port: int) -> bool:
    admin = AdminClient({"bootstrap.servers": f"127.0.0.1:{port}", "log_level": 0})
    deadline = time.monotonic() + 90
    while child.running and time.monotonic() < deadline:
        try:
            if any(node.port == port for node in admin.list_topics(timeout=1).brokers.values()):
                return True
        except KafkaException:
            time.sleep(0.1)
    return False


def _properties(port: int, controller_port: int, data: Path) -> str:
    return f"""
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller_port}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={data}
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
auto.create.topics.enable=false
"""
