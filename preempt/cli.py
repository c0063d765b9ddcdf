"""The command line: which commands there are, and how an error ends.

Each command lives in a module of its own under `preempt/commands/` and is imported when it is
called, so `preempt --help` answers at once.
"""

import os
import sys
from collections.abc import Sequence
from typing import NamedTuple

from cyclopts import App, CycloptsError, Group

from orders.errors import UsageError, UserError


class Command(NamedTuple):
    """A command of the list that `preempt --help` prints."""

    where: str  # module in preempt.commands, and name
    text: str  # the first line of its docstring, which is not imported for the list


# In the sequence in which they are used; so they are listed.
SECTIONS: dict[str, dict[str, Command]] = {
    "See it": {
        "demo": Command(
            "demo:demo",
            "Run the main job from end to end, on a broker and a Valkey that it starts itself.",
        ),
    },
    "1. Get a history": {
        "simulate": Command(
            "simulate:simulate",
            "Make a shop's orders and outcomes, with attacks among them, and the truth about each.",
        ),
        "import": Command(
            "import_history:import_history",
            "Turn your own order history into orders.parquet, outcomes.parquet and rejects.parquet.",
        ),
    },
    "2. Learn from it": {
        "backfill": Command(
            "backfill:backfill",
            "Compute the features that were known when each order was placed, by replaying history.",
        ),
        "train": Command(
            "train:train",
            "Train a model on the past, test it on what came later, and register it.",
        ),
        "score": Command(
            "score:score",
            "Score every order of a frame with a model: probability, points, and the tier they give.",
        ),
    },
    "3. Decide": {
        "decide": Command(
            "decide:decide",
            "Decide on the orders of a file, in the order of the file, without a broker.",
        ),
        "up": Command(
            "up:up", "Start the embedded broker and Valkey, and keep them up until Ctrl-C."
        ),
        "worker": Command(
            "worker:worker",
            "Run one worker until SIGTERM or Ctrl-C; start several to share the partitions.",
        ),
        "gateway": Command("not_built:gateway", "Serve decisions over HTTP. Not built yet."),
    },
    "4. Edit the rules": {
        "rules lint": Command(
            "rules_lint:rules_lint",
            "Check a rules file: all that is wrong or odd about it, one line each.",
        ),
        "rules draft": Command(
            "rules_life:rules_draft",
            "Store a rules file as a version that can be tried, published, and never changed.",
        ),
        "rules backtest": Command(
            "rules_backtest:rules_backtest",
            "Try rules on the orders of the past: what would have been decided otherwise.",
        ),
        "rules shadow": Command(
            "rules_life:rules_shadow",
            "Let a version run beside the live one: decisions say what it would have said.",
        ),
        "rules publish": Command(
            "rules_life:rules_publish",
            "Make a version live, or ask for it where a second person must approve.",
        ),
        "rules rollback": Command(
            "rules_life:rules_rollback", "Return at once to the version that was live before."
        ),
        "rules list": Command(
            "rules_read:rules_list", "List the versions of the rules with their states."
        ),
        "rules history": Command(
            "rules_read:rules_history",
            "List what happened to the rules, who did it, when and why; the newest last.",
        ),
        "rules show": Command(
            "rules_read:rules_show",
            "Print a version as a rules file, with what is known of it in comments above.",
        ),
        "rules diff": Command(
            "rules_diff:rules_diff",
            "Compare two versions: rules that were added, removed or changed, field by field, and the rest.",
        ),
        "policy optimise": Command(
            "policy_optimise:policy_optimise",
            "Find the thresholds that would have cost the least, and write them as a proposal.",
        ),
        "lists list": Command("lists:list_lists", "Show which lists there are."),
        "lists show": Command("lists:show", "Show a list, its latest entries first."),
        "lists create": Command("lists:create", "Make a list that holds nothing yet."),
        "lists add": Command("list_entries:add", "Put a value on a list, or renew it there."),
        "lists remove": Command("list_entries:remove", "Take a value off a list."),
        "lists import": Command(
            "list_files:import_list", "Put the values of a CSV file on a list."
        ),
        "lists export": Command("list_files:export_list", "Write a list as CSV."),
        "lists snooze": Command(
            "list_entries:snooze", "Let a rule be recorded and not count for one value, for a time."
        ),
        "lists unsnooze": Command("list_entries:unsnooze", "Let a rule count again for a value."),
        "lists check": Command("lists:check", "Show which lists hold a value."),
        "lists log": Command("lists:log", "Show who changed lists, when and why."),
    },
    "5. Look after it": {
        "parity": Command(
            "parity:parity", "Compare the feature vectors that were served with recomputed ones."
        ),
        "report": Command("not_built:report", "Write the reports of a time range. Not built yet."),
        "features list": Command("features_list:features_list", "List the declared features."),
        "bench features": Command(
            "bench_features:bench_features",
            "Measure the feature engine alone, on made-up traffic of 30 days.",
        ),
        "bench stream": Command(
            "bench_stream:bench_stream",
            "Measure one worker from broker to broker: features, a model of 300 trees, rules, decision.",
        ),
    },
}
COMMANDS = {name: command for section in SECTIONS.values() for name, command in section.items()}
GROUPS = {
    "rules": "The life of a rule set: draft, shadow, live, retired.",
    "policy": "The decision policy: tiers and what they cost.",
    "lists": "Lists of values that rules read: blocked, allowed, watched, and your own.",
    "features": "The declared features.",
    "bench": "Measure speed on this machine.",
}


def build_app(arguments: Sequence[str] = ()) -> App:
    """The command line, with nothing imported that no command needs.

    Args:
        arguments: What it will be called with. The command that they name describes itself.
    """
    app = App(
        name="preempt",
        help="Decide before payment which orders go through, and learn from what happened after.",
        suppress_keyboard_interrupt=False,  # `main` says what a command has to say of it
    )
    options = Group("Options", sort_key=len(SECTIONS))
    app["--help"].group = app["--version"].group = options
    groups: dict[str, App] = {}
    for place, (title, commands) in enumerate(SECTIONS.items()):
        section = Group(title, sort_key=place)
        for number, (name, command) in enumerate(commands.items()):
            group, _, member = name.rpartition(" ")
            if group and group not in groups:
                groups[group] = App(name=group, help=GROUPS[group], group=section, sort_key=number)
                app.command(groups[group])
            # A text given here would take the place of the docstring in the command's own help.
            named = name.split() == list(arguments[: len(name.split())])
            (groups[group] if group else app).command(
                f"preempt.commands.{command.where}",
                name=member,
                help=None if named else command.text,
                group=None if group else section,
                sort_key=number,
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
    except BrokenPipeError:
        # The reader, say `head`, has enough. What is still buffered must not fail again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt as stop:
        print(f"preempt: {str(stop) or 'stopped'}", file=sys.stderr)
        sys.exit(130)
