"""Settings: every one has a name, a default, and an environment variable `PREEMPT_<NAME>`."""

import re
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from orders.errors import UserError

PREFIX = "PREEMPT_"


class Settings(BaseSettings):
    """Where things are and what is allowed; command-line options override the environment."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="ignore")

    data_dir: Path = Path("data")
    broker: str = "127.0.0.1:9092"
    redis_url: str | None = None  # decisions, and features by `store`; None: in the worker only
    topic_prefix: str = ""
    worker_name: str | None = None  # with a name a worker has its partitions back at once
    replicas: int = Field(default=1, ge=1, le=32767)  # of topics that are created
    partitions: int = Field(default=4, ge=1, le=1024)
    store: Literal["memory", "redis"] = "memory"
    tracking_uri: str | None = None  # None: SQLite in the data folder
    model: str = "risk"  # a registered name, a URI, a folder, or "none" for rules alone
    rules: Path | None = None  # None: a worker takes what was published, else what we ship
    database_url: str | None = None  # operational records; None: SQLite in the data folder
    publish_alone_share: float = Field(default=0.01, ge=0, le=1)  # of decisions, by one person
    chunk: int = Field(default=500, ge=1, le=10_000)  # records scored in one pass
    max_message_bytes: int = Field(default=65_536, ge=1_024)  # larger ones are dead-lettered
    max_future_s: float = Field(default=300, ge=0)  # clock skew allowed to a channel
    decision_ttl_s: int = Field(default=86_400, ge=60)  # how long a decision is remembered

    @property
    def mlflow_uri(self) -> str:
        """The MLflow tracking server, or SQLite in the data folder."""
        return (
            self.tracking_uri or f"sqlite:///{(self.data_dir / 'mlflow' / 'mlflow.db').resolve()}"
        )

    @property
    def operational_url(self) -> str:
        """The operational database, or SQLite in the data folder."""
        return self.database_url or f"sqlite:///{(self.data_dir / 'preempt.db').resolve()}"

    @property
    def archive_dir(self) -> Path:
        """Folder of the Delta tables."""
        return self.data_dir / "archive"

    def environment(self) -> dict[str, str]:
        """Environment variables that give another process these settings."""
        return {
            f"{PREFIX}{name.upper()}": str(value)
            for name, value in self.model_dump().items()
            if value is not None
        }


def load_settings(**options: object) -> Settings:
    """Settings from the environment, and from the options that were given, those not None.

    Raises:
        UserError: a value is of the wrong type or form, or out of range; names the variable.
    """
    given = {name: value for name, value in options.items() if value is not None}
    try:
        settings = Settings(**given)  # type: ignore[arg-type]
    except ValidationError as error:
        first = error.errors()[0]
        name = f"{PREFIX}{str(first['loc'][0]).upper()}" if first["loc"] else "settings"
        raise UserError(f"{name} is {first['input']!r}: {first['msg'].lower()}") from None
    if settings.redis_url is not None:
        _check_redis_url(settings.redis_url)
    return settings


def _check_redis_url(url: str) -> None:
    """The client takes a wrong database for number 0; and the password is for no message."""
    shown = re.sub(r"//.*@", "//", url)
    wrong = UserError(
        f"PREEMPT_REDIS_URL is {shown!r}: expected redis://HOST:PORT/DATABASE, "
        "e.g. redis://127.0.0.1:6379/0 (or rediss://, or unix://PATH)"
    )
    try:
        place = urlsplit(url)
        has_port = place.port is None or place.port > 0  # reading it refuses what is none
    except ValueError:
        raise wrong from None
    if place.scheme == "unix":
        return
    is_database = re.fullmatch(r"/?|/[0-9]+", place.path)
    if place.scheme not in ("redis", "rediss") or not (has_port and is_database):
        raise wrong
