import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import redis
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from orders.errors import UserError
from preempt.embedded import Broker, EmbeddedStack, Valkey

# A process that starts the stack of the folder it is given, says where it is, and waits.
HOLD = """
import json, sys, time
from pathlib import Path
from preempt.embedded import EmbeddedStack
with EmbeddedStack(Path(sys.argv[1])) as stack:
    print(json.dumps(stack.environment()), flush=True)
    time.sleep(60)
"""


def create_topic(bootstrap: str, name: str, partitions: int = 1) -> None:
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
    for created in admin.create_topics([NewTopic(name, partitions, 1)]).values():
        created.result(10)


def partitions(bootstrap: str) -> dict[str, int]:
    topics = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0}).list_topics(timeout=10)
    return {name: len(topic.partitions) for name, topic in topics.topics.items()}


def produce(bootstrap: str, topic: str, *values: bytes) -> None:
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 0, "log_level": 0})
    for value in values:
        producer.produce(topic, value)
    assert producer.flush(10) == 0


def consume(bootstrap: str, topic: str, count: int) -> list[bytes | None]:
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "reader",
            "auto.offset.reset": "earliest",
            "log_level": 0,
        }
    )
    consumer.subscribe([topic])
    try:
        return [message.value() for message in consumer.consume(count, 10)]
    finally:
        consumer.close()


def listens(address: str) -> bool:
    host, port = address.removeprefix("redis://").removesuffix("/0").split(":")
    with socket.socket() as probe:
        return probe.connect_ex((host, int(port))) == 0


def eventually(condition: Callable[[], bool], timeout: float = 20.0) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def hold(*arguments: str | Path) -> tuple[subprocess.Popen[str], dict[str, str]]:
    process = subprocess.Popen([sys.executable, *arguments], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, json.loads(process.stdout.readline())


def test_messages_and_keys_come_back_after_a_stop(tmp_path: Path):
    with EmbeddedStack(tmp_path) as stack:
        create_topic(stack.broker.bootstrap, "kept", partitions=3)
        produce(stack.broker.bootstrap, "kept", b"1", b"2")
        redis.Redis.from_url(stack.valkey.url).set("kept", "yes")
    with EmbeddedStack(tmp_path) as stack:
        assert partitions(stack.broker.bootstrap)["kept"] == 3
        assert sorted(consume(stack.broker.bootstrap, "kept", 2), key=str) == [b"1", b"2"]
        assert redis.Redis.from_url(stack.valkey.url).get("kept") == b"yes"


def test_servers_killed_by_sigkill_start_again_on_what_they_had_saved(tmp_path: Path):
    stack = EmbeddedStack(tmp_path).start()
    create_topic(stack.broker.bootstrap, "kept")
    redis.Redis.from_url(stack.valkey.url).set("kept", "yes")
    saved = tmp_path / "broker" / "kafka.json"
    eventually(lambda: saved.exists() and '"kept"' in saved.read_text())
    eventually(lambda: b"kept" in (next((tmp_path / "valkey").rglob("*.incr.aof"))).read_bytes())
    stack.broker.kill()
    stack.valkey.kill()
    with EmbeddedStack(tmp_path) as stack:
        assert "kept" in partitions(stack.broker.bootstrap)
        assert redis.Redis.from_url(stack.valkey.url).get("kept") == b"yes"


def test_a_process_id_left_by_a_crash_does_not_keep_the_broker_from_starting(tmp_path: Path):
    stale = {"pid": os.getpid(), "port": 1, "started_ms": 1, "token": "x", "version": "0"}
    (tmp_path / "noida.control.json").write_text(json.dumps(stale))
    with Broker(tmp_path) as broker:
        assert partitions(broker.bootstrap) is not None


def test_servers_end_when_the_process_that_started_them_is_killed(tmp_path: Path):
    process, where = hold("-c", HOLD, tmp_path)
    create_topic(where["PREEMPT_BROKER"], "kept")
    process.kill()
    process.communicate()
    # At once, while they may still be saving: the folder is locked until they are done.
    with EmbeddedStack(tmp_path) as stack:
        assert not listens(where["PREEMPT_BROKER"])
        assert not listens(where["PREEMPT_REDIS_URL"])
        assert "kept" in partitions(stack.broker.bootstrap)


def test_ctrl_c_in_the_terminal_does_not_reach_the_servers(tmp_path: Path):
    with Valkey(tmp_path) as valkey:
        assert os.getpgid(valkey.pid) != os.getpgid(0)
        assert os.getsid(valkey.pid) != os.getsid(0)


def test_two_stacks_run_side_by_side_in_two_folders(tmp_path: Path):
    with EmbeddedStack(tmp_path / "a") as a, EmbeddedStack(tmp_path / "b") as b:
        create_topic(a.broker.bootstrap, "only-in-a")
        assert "only-in-a" not in partitions(b.broker.bootstrap)


def test_a_folder_in_use_is_refused_in_one_line_and_its_owner_not_disturbed(tmp_path: Path):
    with EmbeddedStack(tmp_path) as stack:
        with pytest.raises(UserError, match=rf"in use by process {os.getpid()}") as refused:
            EmbeddedStack(tmp_path).start()
        assert "\n" not in str(refused.value)
        stack.check()
        assert partitions(stack.broker.bootstrap) is not None


def test_a_port_that_somebody_takes_first_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with socket.socket() as squatter:
        squatter.bind(("127.0.0.1", 0))
        squatter.listen()
        taken = squatter.getsockname()[1]
        for server in (Broker(tmp_path / "b"), Valkey(tmp_path / "v")):
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                free = probe.getsockname()[1]
            ports = iter([taken, free])
            monkeypatch.setattr("preempt.embedded.free_port", lambda ports=ports: next(ports))
            with server:
                assert server.address == f"127.0.0.1:{free}"


def test_a_server_that_does_not_start_says_so_with_the_end_of_its_log(tmp_path: Path):
    (tmp_path / "kafka.json").write_text("not JSON")
    with pytest.raises(UserError, match=r"the broker does not start; its log .*broker.log") as said:
        Broker(tmp_path).start()
    assert "snapshot" in str(said.value)
    assert "\n" not in str(said.value)


def test_a_server_that_ends_by_itself_is_noticed(tmp_path: Path):
    with EmbeddedStack(tmp_path) as stack:
        os.kill(stack.valkey.pid, signal.SIGKILL)
        with pytest.raises(UserError, match=r"the valkey has ended by itself \(exit code -9\)"):
            eventually(lambda: stack.check() is not None)


def test_a_folder_that_cannot_be_made_is_a_persons_error(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write to"):
        Valkey(tmp_path / "file" / "valkey").start()


def test_up_on_a_folder_in_use_fails_in_one_line(tmp_path: Path):
    with EmbeddedStack(tmp_path):
        up = [sys.executable, "-m", "preempt", "up", "--data-dir", tmp_path]
        done = subprocess.run(up, capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("preempt: the broker in ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_up_prints_where_it_is_and_exits_0_with_nothing_left(tmp_path: Path, number: int):
    process, where = hold("-m", "preempt", "up", "--data-dir", tmp_path, "--json")
    assert where["PREEMPT_DATA_DIR"] == str(tmp_path)
    assert partitions(where["PREEMPT_BROKER"]) is not None
    assert redis.Redis.from_url(where["PREEMPT_REDIS_URL"]).ping()
    process.send_signal(number)
    assert process.wait(20) == 0
    process.communicate()
    assert not listens(where["PREEMPT_BROKER"])
    assert not listens(where["PREEMPT_REDIS_URL"])
