"""Orders of a file as the messages they would be: JSON Lines, or the Parquet of a data set."""

from collections.abc import Iterator
from contextlib import ExitStack
from itertools import chain, islice
from pathlib import Path
from typing import IO, NamedTuple

from orders.errors import UserError
from orders.expectations import shown

CHUNK = 500

Chunk = tuple[list[int], list[bytes]]
"""Numbers, from 1, of lines or rows, and as many messages."""


class OrderFile(NamedTuple):
    """A file of orders, at its beginning.

    Attributes:
        unit: What the numbers count: "line" or "row".
        chunks: At most `CHUNK` messages each.
    """

    unit: str
    chunks: Iterator[Chunk]


def open_orders(files: ExitStack, path: Path, stdin: IO[bytes]) -> OrderFile:
    """Open a file of orders.

    Args:
        files: Closes what is opened.
        path: JSON Lines, `orders.parquet` or the folder of a data set; - is `stdin`.
        stdin: JSON Lines.

    Raises:
        UserError: It cannot be read, or is something else.
    """
    if str(path) == "-":
        return _json_lines(stdin, "standard input", "FILE")
    if path.is_dir():
        path = path / "orders.parquet"
    try:
        file = files.enter_context(path.open("rb"))
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
    if file.peek(4).startswith(b"PAR1"):
        return OrderFile("row", _rows(path))
    return _json_lines(file, str(path), str(path))


def _json_lines(file: IO[bytes], name: str, source: str) -> OrderFile:
    """Blank lines are left out.

    A line that is no order is for the caller to tell; where none of the first `CHUNK` even begins
    as an object, the file is of another kind.
    """
    numbered = ((number, line) for number, line in enumerate(file, start=1) if line.strip())
    chunks = iter(lambda: list(islice(numbered, CHUNK)), [])
    first = next(chunks, [])
    if first and not any(line.strip(b"\xef\xbb\xbf \t\r\n").startswith(b"{") for _, line in first):
        number, line = first[0]
        seen = f"{name} is not JSON Lines, line {number} is {shown(line.decode(errors='replace').strip())}"
        if line.lstrip().startswith(b"["):
            raise UserError(f"{seen}: write one order a line, as 'jq -c .[]' does")
        raise UserError(
            f"{seen}: make a data set of it with 'preempt import {source} --mapping M.toml --out "
            "DIR', and decide on DIR/orders.parquet"
        )
    return OrderFile("line", map(_split, chain([first] if first else [], chunks)))


def _split(numbered: list[tuple[int, bytes]]) -> Chunk:
    return [number for number, _ in numbered], [line for _, line in numbered]


_ROWS_READ = 65_536


def _rows(file: Path) -> Iterator[Chunk]:
    """Orders written out again: what somebody else put into the table is checked as messages are."""
    import polars as pl

    from orders.events import encoder
    from orders.tables import first_line, orders_from_frame, scan_order_table

    table = scan_order_table(file)
    try:
        total: int = table.select(pl.len()).collect().item()
        for start in range(0, total, _ROWS_READ):
            rows = table.slice(start, _ROWS_READ).collect()
            for offset in range(0, len(rows), CHUNK):
                orders = orders_from_frame(rows.slice(offset, CHUNK))
                number = start + offset + 1
                yield (
                    list(range(number, number + len(orders))),
                    [encoder.encode(order) for order in orders],
                )
    except (pl.exceptions.PolarsError, OSError) as error:
        raise UserError(f"{file} cannot be read: {first_line(error)}") from None
