"""`preempt features list`: the declared features."""

from typing import Annotated

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from features.document import listing
from features.feature_set import feature_set
from preempt.console import emit


def features_list(*, json: Annotated[bool, Parameter(name="--json", negative="")] = False) -> None:
    """List the declared features.

    For example:

        preempt features list --json

    Args:
        json: Print one JSON list.
    """
    rows = listing(feature_set())
    if json:
        emit(rows, as_json=True, text="")
        return
    table = Table(title=f"{len(rows)} features")
    columns = ("name", "unit", "description")
    for column in columns:
        table.add_column(column, no_wrap=column != "description")
    for row in rows:
        table.add_row(*(str(row[column]) for column in columns))
    Console().print(table)
