"""A backtest of the default policy over a made-up archive: time, processor time, memory, as JSON.

    python -m benchmarks.backtest --decisions 1000000
    python -m benchmarks.backtest --decisions 10000000 --folder /tmp/archive   # kept, and used again

`archive` compares the layout of one column a feature with vectors as lists.
"""

import json
import resource
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import msgspec
import polars as pl
from cyclopts import App, Parameter

from benchmarks.decision_archive import Layout, write_archive
from features.feature_set import feature_set
from orders.decision_table import archived_features, feature_column
from preempt.past_decisions import past_decisions
from serving.backtest import run_backtest
from serving.policy import Policy
from serving.policy_on_history import PolicyOnHistory

app = App(name="backtest", help=__doc__)


@app.default
def main(*, decisions: int = 1_000_000, folder: Path | None = None) -> None:
    """Time a backtest of the default policy against what was decided.

    Args:
        decisions: how many there are in the archive.
        folder: where the archive is, or is made and kept; default: a temporary one.
    """
    with TemporaryDirectory() as temporary:
        archive = folder or Path(temporary)
        if not (archive / "decisions").exists():
            write_archive(archive, decisions, feature_set())
        policy = Policy.default()
        past, of_truth = _timed(lambda: past_decisions(archive, None, None, [policy]))
        tried = PolicyOnHistory(policy, past.history.feature_set)
        found, of_judging = _timed(
            lambda: run_backtest(past.history, past.truth, tried, None, name="rules.toml")
        )
        result = {
            "decisions": len(past.history.rows),
            "changed": found.changed,
            "features_read": len(tried.features),
            "outcomes_and_labels": of_truth,
            "judging": of_judging,
            "wall_s": round(of_truth["wall_s"] + of_judging["wall_s"], 2),
            "cpu_s": round(of_truth["cpu_s"] + of_judging["cpu_s"], 2),
            "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
            "json_kb": len(msgspec.json.encode(found)) // 1024,
        }
        print(json.dumps(result))


@app.command
def archive(
    *, decisions: int = 1_000_000, features: int = 12, repeat: Annotated[int, Parameter()] = 3
) -> None:
    """Compare the two layouts of the archive: size, and the time to read some features.

    Args:
        decisions: how many.
        features: how many of them are read.
        repeat: the best of so many.
    """
    declared = feature_set()
    step = len(declared.names) // features
    read = declared.names[::step][:features]
    result: dict[str, Any] = {"decisions": decisions, "features_read": len(read)}
    layouts: tuple[Layout, ...] = ("list", "columns")
    for layout in layouts:
        with TemporaryDirectory() as temporary:
            write_archive(Path(temporary), decisions, declared, layout=layout)
            table = Path(temporary) / "decisions"
            scan = pl.scan_delta(str(table))
            schema = scan.collect_schema()
            wanted = scan.select(archived_features(schema, read, declared.names))
            runs = [_timed(partial(wanted.collect, engine="streaming"))[1] for _ in range(repeat)]
            result[layout] = {
                "bytes_a_decision": round(
                    sum(file.stat().st_size for file in table.glob("*.parquet")) / decisions, 1
                ),
                "columns": sum(name.startswith(feature_column("")) for name in schema),
                **min(runs, key=lambda run: run["cpu_s"]),
            }
    print(json.dumps(result))


def _timed(work: Callable[[], Any]) -> tuple[Any, dict[str, float]]:
    wall, cpu = time.perf_counter(), time.process_time()
    found = work()
    return found, {
        "wall_s": round(time.perf_counter() - wall, 2),
        "cpu_s": round(time.process_time() - cpu, 2),
    }


if __name__ == "__main__":
    app()
