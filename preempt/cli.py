"""The command line: which commands there are, and how an error ends.

Each command lives in a module of its own under `preempt/commands/` and is imported when it is
called, so `preempt --help` answers at once.
"""

import sys
from collections.abc import Sequence
from typing import NamedTuple

from cyclopts import App, CycloptsError

from orders.errors import UsageError, UserError


class Command(NamedTuple):
    """A command of the list that `preempt --help` prints."""

    where: str  # module in preempt.commands, and name
    text: str  # the first line of its docstring, which is not imported for the list


COMMANDS = {
    "demo": Command(
        "demo:demo",
        "Run the main job from end to end, on a broker and a Valkey that it starts itself.",
    ),
    "simulate": Command(
        "simulate:simulate",
        "Make a shop's orders and outcomes, with attacks among them, and the truth about each.",
    ),
    "import": Command(
        "import_history:import_history",
        "Turn your own order history into orders.parquet, outcomes.parquet and rejects.parquet.",
    ),
    "backfill": Command(
        "backfill:backfill",
        "Compute the features that were known when each order was placed, by replaying history.",
    ),
    "train": Command(
        "train:train", "Train a model on the past, test it on what came later, and register it."
    ),
    "score": Command(
        "score:score",
        "Score every order of a frame with a model: probability, points, and the tier they give.",
    ),
    "decide": Command(
        "decide:decide",
        "Decide on the orders of a file, in the order of the file, without a broker.",
    ),
    "up": Command("up:up", "Start the embedded broker and Valkey, and keep them up until Ctrl-C."),
    "worker": Command(
        "worker:worker",
        "Run one worker until SIGTERM or Ctrl-C; start several to share the partitions.",
    ),
    "features list": Command("features_list:features_list", "List the declared features."),
    "bench features": Command(
        "bench_features:bench_features",
        "Measure the feature engine alone, on made-up traffic of 30 days.",
    ),
    "bench stream": Command(
        "bench_stream:bench_stream",
        "Measure one worker from broker to broker: features, a model of 300 trees, rules, decision.",
    ),
    "parity": Command(
        "parity:parity", "Compare the feature vectors that were served with recomputed ones."
    ),
    "report": Command("not_built:report", "Write the reports of a time range. Not built yet."),
    "gateway": Command("not_built:gateway", "Serve decisions over HTTP. Not built yet."),
    "rules backtest": Command(
        "rules_backtest:rules_backtest",
        "Try a rules file on the orders of the past: what would have been decided otherwise.",
    ),
    "policy optimise": Command(
        "policy_optimise:policy_optimise",
        "Find the thresholds that would have cost the least, and write them as a proposal.",
    ),
}
GROUPS = {
    "features": "The declared features.",
    "bench": "Measure speed on this machine.",
    "rules": "The life of a rule set: draft, shadow, live, retired.",
    "policy": "The decision policy: tiers and what they cost.",
}


def build_app(arguments: Sequence[str] = ()) -> App:
    """The command line, with nothing imported that no command needs.

    Args:
        arguments: What it will be called with. The command that they name describes itself.
    """
    app = App(
        name="preempt",
        help="Decide before payment which orders go through, and learn from what happened after.",
    )
    groups = {name: App(name=name, help=words) for name, words in GROUPS.items()}
    for group in groups.values():
        app.command(group)
    for name, command in COMMANDS.items():
        group, _, member = name.rpartition(" ")
        # A text given here would take the place of the docstring in the command's own help.
        named = name.split() == list(arguments[: len(name.split())])
        (groups[group] if group else app).command(
            f"preempt.commands.{command.where}", name=member, help=None if named else command.text
        )
    return app


def main() -> None:
    """Run the command line; exit 0 when done, 1 when it failed, 2 on wrong use."""
    try:
        build_app(sys.argv[1:])(sys.argv[1:], exit_on_error=False)
    except CycloptsError:
        sys.exit(2)
    except UsageError as error:
        print(f"preempt: {error}", file=sys.stderr)
        sys.exit(2)
    except UserError as error:
        print(f"preempt: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
