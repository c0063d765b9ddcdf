"""Values of options: read and checked before a command begins, so a wrong one is wrong use.

A converter raises ValueError; the command line names the option, and exits with 2.
"""

import math
import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Annotated, Any

from cyclopts import Parameter, Token
from cyclopts.validators import Number

_DURATION = re.compile(r"([1-9][0-9]{0,4})([mhdw])")
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def duration(text: str) -> timedelta:
    """As in 30m, 12h, 7d, 2w.

    Raises:
        ValueError: it is none.
    """
    found = _DURATION.fullmatch(text)
    if not found:
        raise ValueError(f"{text!r} is not a time span, e.g. 30m, 12h, 7d, 2w")
    return timedelta(**{_UNITS[found[2]]: int(found[1])})


def moment(text: str) -> datetime:
    """ISO 8601 with a zone.

    Raises:
        ValueError: it is none.
    """
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is not an ISO 8601 time, e.g. 2026-03-01T00:00:00Z") from None
    if found.tzinfo is None:
        raise ValueError(f"{text!r} has no zone; write e.g. {text}{'T00:00' * ('T' not in text)}Z")
    return found


def _time(_type: Any, tokens: Sequence[Token]) -> datetime:
    return moment(tokens[0].value)


def _duration(_type: Any, tokens: Sequence[Token]) -> timedelta:
    return duration(tokens[0].value)


def _percent(text: str) -> float:
    """A share as in 80%; NaN where it is none."""
    try:
        return float(text[:-1]) / 100 if text.endswith("%") else math.nan
    except ValueError:
        return math.nan


def _share(_type: Any, tokens: Sequence[Token]) -> float:
    share = _percent(tokens[0].value)
    if not 0 <= share <= 1:
        raise ValueError(f"{tokens[0].value!r} is not a share from 0% to 100%, e.g. 50%")
    return share


def _time_or_share(type_: Any, tokens: Sequence[Token]) -> datetime | float:
    text = tokens[0].value
    if not text.endswith("%"):
        return _time(type_, tokens)
    share = _percent(text)
    if not 0 < share < 1:
        raise ValueError(f"{text!r} is not a share between 0% and 100%, e.g. 80%")
    return share


Time = Annotated[datetime, Parameter(converter=_time)]
"""ISO 8601 with a zone."""

Duration = Annotated[timedelta, Parameter(converter=_duration)]
"""A time span, as in 7d."""

Share = Annotated[float, Parameter(converter=_share)]
"""As in 50%; 0 to 1."""

TimeOrShare = Annotated[datetime | float, Parameter(converter=_time_or_share)]
"""A time, or a share strictly between 0 and 1."""


def _host_and_port(_type: Any, value: str | None) -> None:
    for address in (value or "").split(",") if value is not None else ():
        host, _, port = address.strip().rpartition(":")
        if not host or not port.isdecimal():
            raise ValueError(f"{address!r} is not host:port")


def _finite_above_0(_type: Any, value: float | None) -> None:
    if value is not None and not 0 < value < math.inf:
        raise ValueError("Must be > 0, and finite.")


Broker = Annotated[str, Parameter(validator=_host_and_port)]
"""host:port, several with commas between."""

Rate = Annotated[float, Parameter(validator=_finite_above_0)]
"""A second: above 0."""

Count = Annotated[int, Parameter(validator=Number(gte=1))]
"""How many: at least 1."""

CountOrNone = Annotated[int, Parameter(validator=Number(gte=0))]
"""How many: 0 leaves something out."""

Port = Annotated[int, Parameter(validator=Number(gte=1, lte=65_535))]
"""Of TCP."""

Seed = Annotated[int, Parameter(validator=Number(gte=0))]
"""Of random numbers: 0 or more."""
