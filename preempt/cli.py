"""The command line: which commands there are, and how an error ends.

Each command lives in a module of its own under `preempt/commands/` and is imported when it is
called, so `preempt --help` answers at once.
"""

import sys

from cyclopts import App, CycloptsError

from orders.errors import UserError

COMMANDS = {
    "demo": "demo:demo",
    "simulate": "simulate:simulate",
    "import": "import_history:import_history",
    "backfill": "backfill:backfill",
    "train": "train:train",
    "score": "score:score",
    "decide": "decide:decide",
    "up": "up:up",
    "worker": "worker:worker",
    "features list": "features_list:features_list",
    "bench features": "bench_features:bench_features",
    "bench stream": "bench_stream:bench_stream",
    "parity": "parity:parity",
    "report": "not_built:report",
    "gateway": "not_built:gateway",
    "rules": "not_built:rules",
}
GROUPS = {"features": "The declared features.", "bench": "Measure speed on this machine."}


def build_app() -> App:
    """The command line, with nothing imported that no command needs."""
    app = App(
        name="preempt",
        help="Decide before payment which orders go through, and learn from what happened after.",
    )
    groups = {name: App(name=name, help=words) for name, words in GROUPS.items()}
    for group in groups.values():
        app.command(group)
    for name, where in COMMANDS.items():
        group, _, member = name.rpartition(" ")
        (groups[group] if group else app).command(f"preempt.commands.{where}", name=member)
    return app


def main() -> None:
    """Run the command line; exit 0 when done, 1 when it failed, 2 on wrong use."""
    try:
        build_app()(sys.argv[1:], exit_on_error=False)
    except CycloptsError:
        sys.exit(2)
    except UserError as error:
        print(f"preempt: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
