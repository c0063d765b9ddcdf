"""The tables of the archive, as whoever reads it finds them."""

from pathlib import Path

import polars as pl
from deltalake import DeltaTable
from deltalake.exceptions import TableNotFoundError

from orders.errors import UserError


def archived_table(folder: Path, name: str) -> pl.LazyFrame:
    """A table of the archive, at the version that it has now.

    Raises:
        UserError: there is none.
    """
    try:
        return pl.scan_delta(DeltaTable(str(folder / name)))
    except TableNotFoundError:
        raise UserError(
            f"{folder} holds no table {name!r}: run `preempt worker --role archive`, or name the "
            "folder with --data-dir"
        ) from None
