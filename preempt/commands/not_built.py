"""Commands whose part is not built yet: they say so, and exit with 1."""

from pathlib import Path
from typing import Annotated, NoReturn

from cyclopts import Parameter

from orders.errors import UserError
from preempt.options import Port, Time


def report(*, from_: Annotated[Time, Parameter(name="--from")], to: Time, out: Path) -> None:
    """Write the reports of a time range. Not built yet.

    For example:

        preempt report --from 2026-03-01T00:00:00Z --to 2026-03-08T00:00:00Z --out reports

    Args:
        from_: Start, ISO 8601 with a zone.
        to: End, exclusive.
        out: Folder to write into.
    """
    _not_built("report")


def gateway(*, port: Port = 8080) -> None:
    """Serve decisions over HTTP. Not built yet.

    For example:

        preempt gateway --port 8080

    Args:
        port: Port on 127.0.0.1.
    """
    _not_built("gateway")


def _not_built(name: str) -> NoReturn:
    raise UserError(f"'preempt {name}' is not built yet; see CHANGELOG.md for what is")
