"""Quix Streams, in an environment of its own that uv makes and keeps in its cache."""

import json
import subprocess
import sys
from pathlib import Path
from shutil import which

from benchmarks.feature_engines.contest import Contest, NotAvailableError, Run, window_ms
from benchmarks.feature_engines.on_broker import rows, run_worker

WORKER = Path(__file__).with_name("quix_worker.py")


def run(contest: Contest) -> Run:
    """One worker on a backlog."""
    features = [
        {
            "name": feature.name,
            "entity": feature.entity,
            "aggregate": feature.aggregate,
            "of": feature.of,
            "window_ms": window_ms(feature),
        }
        for feature in contest.declared.features
    ]
    command = [_python(), WORKER, json.dumps(features)]
    return run_worker("quix", command, rows(contest), contest)


def _python() -> str:
    """The interpreter of the worker's environment, which is made when it is missing."""
    beside = Path(sys.executable).with_name("uv")
    uv = str(beside) if beside.exists() else which("uv")
    if uv is None:
        raise NotAvailableError("uv is not there to make an environment: run `make setup`")
    made = subprocess.run(
        [uv, "sync", "--script", WORKER], capture_output=True, text=True, check=False
    )
    if made.returncode:
        raise NotAvailableError(f"uv makes no environment: {made.stderr.strip()[-300:]}")
    found = subprocess.run(
        [uv, "python", "find", "--script", WORKER], capture_output=True, text=True, check=True
    )
    return found.stdout.strip()
