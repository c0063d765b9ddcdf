"""A Valkey cluster of three primaries on free loopback ports."""

import time
from contextlib import ExitStack
from pathlib import Path

from redis import Redis
from redis.cluster import ClusterNode, RedisCluster

from preempt.embedded import Valkey
from preempt.processes import free_port

_SLOTS = 16_384


class ClusterNodeServer(Valkey):
    """A Valkey that takes part in a cluster."""

    def _arguments(self, port: int) -> list[str]:
        cluster = ["--cluster-enabled", "yes", "--cluster-port", str(free_port())]
        return [*super()._arguments(port), *cluster]


class ValkeyCluster:
    """Use as a context manager; `nodes` are the servers."""

    def __init__(self, folder: Path, size: int = 3) -> None:
        self.nodes = [ClusterNodeServer(folder / f"node{i}") for i in range(size)]
        self._up = ExitStack()

    def client(self, **options) -> RedisCluster:
        """A client; the caller closes it."""
        nodes = [ClusterNode("127.0.0.1", _port(node)) for node in self.nodes]
        return RedisCluster(startup_nodes=nodes, **options)

    def __enter__(self) -> "ValkeyCluster":
        with ExitStack() as starting:
            clients = []
            for node in self.nodes:
                starting.enter_context(node)
                clients.append(starting.enter_context(Redis.from_url(node.url)))
            share = -(-_SLOTS // len(clients))
            bus = [int(client.config_get("cluster-port")["cluster-port"]) for client in clients]
            for i, client in enumerate(clients):
                last = min(share * (i + 1), _SLOTS) - 1
                client.execute_command("CLUSTER ADDSLOTSRANGE", share * i, last)
                client.execute_command("CLUSTER MEET", "127.0.0.1", _port(self.nodes[0]), bus[0])
            deadline = time.monotonic() + 30
            while not all(_is_ready(client, len(clients)) for client in clients):
                if time.monotonic() > deadline:
                    raise TimeoutError("the cluster does not come together")
                time.sleep(0.05)
            for client in clients:
                starting.callback(client.close)
            self._up = starting.pop_all()
        return self

    def __exit__(self, *_error: object) -> None:
        self._up.close()


def _is_ready(client: Redis, size: int) -> bool:
    info = client.execute_command("CLUSTER INFO") or {}
    return info["cluster_state"] == "ok" and int(info["cluster_known_nodes"]) == size


def _port(node: Valkey) -> int:
    return int(node.address.rpartition(":")[2])
