"""The Faust application that carries chunks, and the process that runs it.

Faust's defaults are for tables, a web server and its own producer. None of them is used here, so
a worker is ready when the group has joined, and ends within a moment.
"""

import asyncio
import logging
import threading
from collections.abc import Mapping
from typing import Any

import faust
import mode
import uvloop
from faust.app.base import BootStrategy
from faust.tables import TableManager
from faust.types import TP

from orders.errors import UserError
from streams.broker import check_broker
from streams.chunks import RawSchema
from streams.transport import ChunkedTransport
from streams.watch import STOPPED_WITHOUT_BROKER, Watch, answers, report

# Not the module's own name: Faust gives that, as of every module with a service, a handler that
# swallows what nobody has configured.
logger = logging.getLogger("streams.process")


class _ConsumeOnly(BootStrategy):
    enable_kafka_producer = False  # `BatchProducer` takes its place
    enable_web = False


class _NoTables(TableManager):
    async def on_start(self) -> None:
        """Start at once: Faust gives tables a second to register."""
        await self._update_channels()
        await self.recovery.start()


class ChunkedApp(faust.App):
    """A Faust app on the chunked transport; `transport_app` makes one."""

    BootStrategy = _ConsumeOnly
    bootstrap: str
    chunk_records: int

    def _new_transport(self) -> ChunkedTransport:
        return ChunkedTransport(self.conf.broker_consumer, self)

    def _create_directories(self) -> None:
        """Nothing is kept on disk: there are no tables."""


def transport_app(
    group: str,
    bootstrap: str,
    *,
    member: str | None = None,
    chunk_records: int = 500,
    buffer_chunks: int = 64,
    commit_interval: float = 0.5,
    settings: Mapping[str, Any] | None = None,
) -> ChunkedApp:
    """Build the app of a consumer group; nothing connects before `run_worker`.

    Args:
        group: Consumer group.
        bootstrap: Addresses of the brokers, "host:port" with commas between.
        member: Name of this worker, its own in the group and the same after a restart (static
            membership): a worker that was killed then has its partitions back at once. The
            embedded broker needs it, for it never gives up a member that died. Others take over
            the partitions of a named member after the session timeout, also when it has stopped.
        chunk_records: Most records in a chunk.
        buffer_chunks: Chunks that wait for an agent before its partitions are held back; this
            bounds the memory a backlog takes.
        commit_interval: Seconds between commits: what may be delivered twice after a crash.
        settings: Further settings of Faust, e.g. `broker_credentials`.

    Raises:
        UserError: An address is not "host:port".
    """
    app = ChunkedApp(
        group,
        **{
            "broker": [_broker_url(address.strip()) for address in bootstrap.split(",")],
            "consumer_auto_offset_reset": "earliest",
            "consumer_group_instance_id": member,
            "broker_session_timeout": 10.0,
            "broker_heartbeat_interval": 1.0,
            "broker_rebalance_timeout": 60.0,
            "broker_request_timeout": 10.0,
            "broker_commit_interval": commit_interval,
            "broker_commit_every": 2**31,  # a commit by count would hold up the fetching
            "stream_buffer_maxsize": buffer_chunks,
            "stream_wait_empty": True,
            # An agent that fails ends the worker. Faust's default restarts it behind the chunk
            # that failed, and commits past it.
            "agent_supervisor": mode.CrashingSupervisor,
            "TableManager": _NoTables,
            "table_standby_replicas": 0,
            "topic_disable_leader": True,
            "topic_allow_declare": False,
            "autodiscover": False,
            "web_enabled": False,
            **(settings or {}),
        },
    )
    app.bootstrap = bootstrap
    app.chunk_records = chunk_records
    return app


def _broker_url(address: str) -> str:
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise UserError(f"the broker address {address!r} is not host:port: correct it")
    return f"kafka://{address}"


def chunk_topic(app: ChunkedApp, *names: str) -> Any:
    """Topics for an agent of `app` to read with `take_chunks`."""
    return app.topic(*names, schema=RawSchema())


def assigned_partitions(app: ChunkedApp) -> set[TP]:
    """The partitions this worker holds at present."""
    return app.consumer.assignment()


class _Worker(faust.Worker):
    def _setproctitle(self, info: str, *, ident: str = "") -> None:
        """The process keeps the name it was started by."""

    async def _sentinel_task(self) -> None:
        """Faust sleeps for a second here before it closes the loop."""
        await asyncio.sleep(0)


def run_worker(
    app: ChunkedApp,
    *,
    broker_patience: float = 20.0,
    settle_patience: float = 60.0,
    stop_patience: float = 8.0,
) -> int:
    """Run the app in this process until SIGTERM or SIGINT; give the exit code.

    A signal lets every batch under way be finished and commits it. A failing agent ends the
    worker with 1: what it had not acknowledged is not committed. Three things end the process on
    the spot, with one line and exit code 1, where Faust would wait for ever: a broker that has
    not answered for `broker_patience` seconds (a warning comes after 2 to 4), a group that has
    not agreed who reads what for `settle_patience`, and a stop that takes more than
    `stop_patience`, or that meets a broker which does not answer.

    Raises:
        UserError: No broker answers, or a topic is missing.
    """
    _check_topics(app)
    _quieten()
    loop = uvloop.new_event_loop()
    asyncio.set_event_loop(loop)
    worker = _Worker(app, loop=loop, quiet=True, override_logging=False, redirect_stdouts=False)
    worker.spinner = None
    ended = threading.Event()
    watch = Watch(
        app,
        worker,
        app.bootstrap,
        broker_patience=broker_patience,
        settle_patience=settle_patience,
        stop_patience=stop_patience,
    )
    threading.Thread(target=watch.run, args=(ended,), name="worker-watch", daemon=True).start()
    reason: BaseException | None = None
    code = 0
    try:
        worker.execute_from_commandline()
    except SystemExit as stop:
        code, reason = int(stop.code or 0), stop.__context__
    finally:
        ended.set()
    reason = worker.crash_reason or reason
    if isinstance(reason, UserError):
        raise reason
    if code and reason is not None:
        report(reason)
    elif not answers(app.bootstrap):  # then Faust's last commit has failed, and it does not say so
        logger.error(STOPPED_WITHOUT_BROKER, app.bootstrap)
        return 1
    return code


def _check_topics(app: ChunkedApp) -> None:
    existing = check_broker(app.bootstrap)
    wanted = {topic for agent in app.agents.values() for topic in agent.get_topic_names()}
    # Reading a missing topic would make the broker create it, with one partition.
    if missing := sorted(wanted - existing.keys()):
        raise UserError(
            f"topics {', '.join(missing)} do not exist at {app.bootstrap}: create them first"
        )


def _quieten() -> None:
    """Leave one report of each failure, ours; aiokafka writes 60 lines a second of a lost broker."""
    for name, level in {
        "aiokafka": logging.CRITICAL,
        "faust": logging.ERROR,
        "mode": logging.ERROR,
        "faust.worker": logging.CRITICAL + 1,
        "faust.agents.actor": logging.CRITICAL + 1,
        "streams.transport": logging.ERROR,
        ChunkedApp.logger.name: logging.ERROR,
    }.items():
        logging.getLogger(name).setLevel(level)
