"""`preempt demo`: the main job on the embedded stack."""

import signal
import socket
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from orders.errors import UsageError, UserError
from preempt.console import console, emit
from preempt.processes import ChildProcess, free_port
from preempt.settings import load_settings
from training.simulation.config import SimulationConfig

if TYPE_CHECKING:
    from preempt.demo import RunningDemo


def demo(
    *,
    orders: int = 200_000,
    days: float = 30,
    seed: int = 7,
    speed: str = "2400",
    data_dir: Path | None = None,
    serve: Annotated[bool, Parameter(negative=())] = False,
    json: Annotated[bool, Parameter(name="--json", negative=())] = False,
) -> None:
    """Run the main job from end to end, on a broker and a Valkey that it starts itself.

    Makes a history of orders and outcomes, replays it for features, trains and registers a model,
    and streams the last day through a worker. Leaves `summary.json` and `report.html` in the data
    folder. Everything it starts ends with it.

    For example:

        preempt demo
        preempt demo --orders 100000 --days 20 --speed max --json
        preempt demo --data-dir /tmp/preempt --serve

    Args:
        orders: How many orders in all.
        days: Over how many days; the last one is the live day.
        seed: Another seed makes another shop.
        speed: Seconds of the live day in one second, or "max" for as fast as it goes.
        data_dir: Where everything is kept; when not given, `demo` in PREEMPT_DATA_DIR or `data`.
        serve: Stay up afterwards, and print the addresses to open.
        json: Print the summary as one JSON object.
    """
    # Also where the shell started us with SIGINT ignored, as it does in the background.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    pace = _speed(speed)
    SimulationConfig(orders=orders, days=days, seed=seed)  # refuses what is out of range
    from preempt.closing_summary import render_summary
    from preempt.demo import DemoOptions
    from preempt.demo import demo as run_demo

    options = DemoOptions(
        orders=orders,
        days=days,
        seed=seed,
        speed=pace,
        data_dir=data_dir or load_settings().data_dir / "demo",
    )
    with run_demo(options) as finished:
        console.print(render_summary(finished.summary))
        console.print(f"\n{finished.folder.summary}\n{finished.folder.report}")
        if json:
            emit(finished.summary, as_json=True, text="")
            sys.stdout.flush()  # somebody may wait for it at the other end of a pipe
        if serve:
            _serve(finished)


def _speed(text: str) -> float | None:
    if text == "max":
        return None
    try:
        speed = float(text)
    except ValueError:
        speed = 0.0
    if not 0 < speed < float("inf"):
        raise UsageError(f"--speed is {text!r}, expected a number above 0, or max")
    return speed


def _serve(finished: "RunningDemo") -> None:
    """Keep everything up until Ctrl-C, with MLflow and the report to look at."""
    folder = finished.folder.path
    port = free_port()
    mlflow = ChildProcess(
        [
            *(sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1"),
            *("--port", str(port), "--workers", "1"),
            *("--backend-store-uri", finished.settings.mlflow_uri),
        ],
        log=folder / "mlflow.log",
        environment={"MLFLOW_DISABLE_TELEMETRY": "true"},
        when_parent_dies=signal.SIGTERM,
    )
    with mlflow:
        with console.status("Starting MLflow"):
            _wait_for_port(port, mlflow)
        console.print(
            f"\nReport   {finished.folder.report.as_uri()}"
            f"\nMLflow   http://127.0.0.1:{port}"
            f"\nKafka    {finished.stack.broker.bootstrap}"
            f"\nValkey   {finished.stack.valkey.url}"
            "\n\nThe workers stay up too. Ctrl-C stops everything.",
            soft_wrap=True,
        )
        try:
            while True:
                finished.stack.check()
                time.sleep(0.5)
        except KeyboardInterrupt:
            console.print("Stopped.")


def _wait_for_port(port: int, server: ChildProcess) -> None:
    """Wait until somebody listens on a port of 127.0.0.1.

    Raises:
        UserError: the server ended, or does not listen after two minutes.
    """
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and server.running:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise UserError(f"MLflow does not start; its log {server.log} ends: {server.log_tail()}")
