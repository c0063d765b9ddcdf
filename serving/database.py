"""The operational database: SQLite, or PostgreSQL, by the same code."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, MetaData, create_engine, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, SQLAlchemyError

from orders.errors import UserError

PATIENCE_S = 5  # for a connection, and for a SQLite file that another process writes to

_DRIVERS = {"postgresql": "postgresql+psycopg", "postgres": "postgresql+psycopg"}
_OPTIONS: dict[str, dict[str, Any]] = {
    "sqlite": {"timeout": PATIENCE_S},
    # A server whose machine is gone answers nothing, not even no.
    "postgresql": {"connect_timeout": PATIENCE_S, "tcp_user_timeout": 1000 * PATIENCE_S},
}


class DatabaseUnavailableError(UserError):
    """The operational database does not answer, or refuses what was asked."""


def open_database(url: str) -> Engine:
    """An engine; nothing connects before it is used.

    Args:
        url: `sqlite:///FILE`, whose folder is made, or `postgresql://USER:PASSWORD@HOST/NAME`.

    Raises:
        UserError: the URL is none of these.
    """
    try:
        parsed = make_url(url)
        parsed = parsed.set(drivername=_DRIVERS.get(parsed.drivername, parsed.drivername))
        backend = parsed.get_backend_name()
        if backend not in _OPTIONS:
            raise ArgumentError
        engine = create_engine(parsed, connect_args=_OPTIONS[backend], pool_pre_ping=True)
    except (ArgumentError, ImportError):
        raise UserError(
            "PREEMPT_DATABASE_URL must be sqlite:///FILE or postgresql://USER:PASSWORD@HOST/NAME"
        ) from None
    if backend == "sqlite" and parsed.database:
        folder = Path(parsed.database).parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"cannot make the folder {folder}: {error.strerror}") from None
    return engine


def create_tables(engine: Engine, tables: MetaData) -> None:
    """Create what is missing.

    Raises:
        DatabaseUnavailableError: it cannot be.
    """
    try:
        tables.create_all(engine)
    except SQLAlchemyError:
        # Another process may have created them between our look and our turn.
        with translated_errors(engine):
            tables.create_all(engine)


@contextmanager
def transaction(engine: Engine) -> Iterator[Connection]:
    """A transaction: everything in it counts, or nothing.

    Raises:
        DatabaseUnavailableError: the database does not answer, or refuses.
        IntegrityError: of SQLAlchemy; a key is taken.
    """
    with translated_errors(engine), engine.begin() as connection:
        yield connection


@contextmanager
def translated_errors(engine: Engine) -> Iterator[None]:
    """What the database says, in one line; a key that is taken stays SQLAlchemy's own error.

    Raises:
        DatabaseUnavailableError: the database does not answer, or refuses.
    """
    try:
        yield
    except IntegrityError:
        raise
    except SQLAlchemyError as error:
        said = str(error.orig if isinstance(error, DBAPIError) else error).strip()
        raise DatabaseUnavailableError(
            f"the operational database {engine.url.render_as_string()} does not answer: "
            f"{said.splitlines()[0] if said else type(error).__name__}"
        ) from error
