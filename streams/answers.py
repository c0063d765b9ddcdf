"""What the worker puts into the log: decisions and dead letters.

A decision goes to the partition of the same number as its order, in the order of the offsets, and
carries where its order stands. So the newest decision of a partition tells which orders have been
answered: the `decisions` topic is the commit log of the scoring agent.
"""

import base64
from typing import Any, Literal

import msgspec

SOURCE_HEADER = "order"
RAW_BYTES_KEPT = 65_536


class Source(msgspec.Struct, frozen=True, gc=False):
    """Where a record stands in the log, and when the broker appended it (UTC ms)."""

    partition: int
    offset: int
    appended: int

    def header(self) -> bytes:
        """The value of the header `order` of a decision."""
        return b"%d:%d:%d" % (self.partition, self.offset, self.appended)

    @classmethod
    def from_header(cls, value: bytes) -> "Source":
        """Read what `header` wrote."""
        partition, offset, appended = value.split(b":")
        return cls(int(partition), int(offset), int(appended))


def source_of(headers: Any) -> Source:
    """Where the order of a decision stands, from the decision's headers: pairs, or None."""
    for name, value in headers or ():
        if name == SOURCE_HEADER:
            return Source.from_header(value)
    raise ValueError(f"a decision without the header {SOURCE_HEADER!r}")


class Answer(msgspec.Struct, frozen=True, gc=False):
    """A record to be produced."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes
    headers: list[tuple[str, bytes]]


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """A message that could not be processed, with the reason.

    `raw` holds the first 64 KiB in base64; the whole message is still in `topic` at `offset`.
    The same message may be dead-lettered again after a crash: topic, partition and offset name it.
    """

    schema: Literal["dead-letter"] = "dead-letter"
    version: Literal[1] = 1

    topic: str
    partition: int
    offset: int
    appended_time: int  # UTC ms, by the broker
    error: str  # a code, e.g. "missing_field"
    detail: str  # in words: which field, which value, what was expected
    raw: str  # base64
    raw_bytes: int  # length of the whole message


def dead_letter(
    topic: str, source: Source, raw: bytes | None, *, error: str, detail: str
) -> DeadLetter:
    """The dead letter for the message `raw` that stands at `source` in `topic`."""
    raw = raw or b""
    return DeadLetter(
        topic=topic,
        partition=source.partition,
        offset=source.offset,
        appended_time=source.appended,
        error=error,
        detail=detail,
        raw=base64.b64encode(raw[:RAW_BYTES_KEPT]).decode(),
        raw_bytes=len(raw),
    )


dead_letter_decoder = msgspec.json.Decoder(DeadLetter)
dead_letter_encoder = msgspec.json.Encoder()
