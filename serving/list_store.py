"""Lists in one Redis for all workers: who may change them, and what they then see."""

import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from typing import Any, NamedTuple

import msgspec
import numpy as np
from redis.exceptions import RedisClusterException, RedisError

from serving.list_entries import (
    STARTERS,
    Change,
    Entry,
    EntryError,
    EntryList,
    ListKind,
    Why,
    key_of_value,
    require_name,
    require_words,
)
from serving.list_reader import LIST, NO_ENTRIES, RECORD, SNOOZE, News, Shelf, merged
from serving.list_scripts import CREATE, READ, REWRITE, WRITE
from serving.lists import FOREVER

BATCH = 2_000  # entries of one call, which takes Redis some milliseconds
LOG_LENGTH = 100_000
KEPT_MS = 7 * 86_400_000
"""How long an entry that has ended is kept: orders may come late, or be read from a backlog."""

_TIDY_EVERY_MS = 86_400_000
_SLACK = 24 * 10_000  # bytes of records beyond twice what is needed
_LOGGED = 200  # characters of a value, as `Change.value` says


class ListsUnavailableError(RuntimeError):
    """The lists cannot be had from Redis, or what is there is damaged; trying again is safe."""


class Held(NamedTuple):
    """An entry, and the list or the snooze of a rule that it is on."""

    name: str
    is_snooze: bool
    entry: Entry


class Written(NamedTuple):
    """How many values were not there before, and how many were there and are renewed."""

    added: int
    renewed: int


class ListStore:
    """Lists and snoozes in Redis.

    Any number of people and processes may write at once: what one call says happens as a whole.

    Args:
        client: a `redis.Redis` or `redis.cluster.RedisCluster` that returns bytes; owned by the
            caller.
        prefix: put before every key; without braces, which would choose the slot.
        clock: now in UTC ms.

    Every method raises `ListsUnavailableError` when Redis cannot be used, and `EntryError` when
    what is asked for cannot be.
    """

    def __init__(self, client: Any, *, clock: Callable[[], int], prefix: str = "") -> None:
        if "{" in prefix or "}" in prefix:
            raise ValueError(f"the prefix {prefix!r} must not contain braces")
        self._client = client
        self._clock = clock
        self._prefix = f"{prefix}{{lists}}:"
        self._create, self._write, self._rewrite, self._read = (
            client.register_script(script) for script in (CREATE, WRITE, REWRITE, READ)
        )

    def create(self, name: str, kind: ListKind, why: Why) -> None:
        """Make a list that holds nothing yet."""
        require_name("a list", name)
        change = self._changing("create", LIST + name, why, count=0)
        made = EntryList(kind=kind, comment=why.comment, author=why.author, created=change.time)
        with _named_errors():
            done = name not in STARTERS and self._create(
                [self._key("version"), self._key("catalog"), self._key("log")],
                [_token(), LOG_LENGTH, _encoded(change), name, _encoded(made)],
            )
        if not done:
            raise EntryError(f"there is a list {name!r} already")

    def lists(self) -> dict[str, EntryList]:
        """Every list by name, those that ship with us among them."""
        with _named_errors():
            made = self._client.hgetall(self._key("catalog"))
        ours = {name: EntryList(kind=kind, comment="") for name, kind in STARTERS.items()}
        theirs = {
            name.decode(): msgspec.json.decode(text, type=EntryList) for name, text in made.items()
        }
        return dict(sorted({**ours, **theirs}.items()))

    def add(self, name: str, entries: Iterable[Entry], why: Why) -> Written:
        """Put entries on a list. A value that is on it is renewed: it ends as the new entry does.

        Many go in batches: should a call fail, those before it are there, and adding them all
        again is right.

        Args:
            name: of the list.
            entries: each with its own author and comment.
            why: for the log.
        """
        self._require_list(name)
        return self._put("add", LIST + name, entries, why)

    def remove(self, name: str, entity: str, value: str, why: Why) -> bool:
        """Take a value off a list; whether it was on it."""
        self._require_list(name)
        return self._take("remove", LIST + name, entity, value, why)

    def snooze(self, rule: str, entry: Entry) -> Written:
        """Let a rule's matches be recorded and not count, for one value until a time."""
        require_name("a rule", rule)
        return self._put("snooze", SNOOZE + rule, [entry], Why(entry.author, entry.comment))

    def unsnooze(self, rule: str, entity: str, value: str, why: Why) -> bool:
        """Let a rule count again for a value; whether it was snoozed."""
        require_name("a rule", rule)
        return self._take("unsnooze", SNOOZE + rule, entity, value, why)

    def entries(self, name: str) -> Iterator[Entry]:
        """The entries of a list in no sequence, those that have ended among them."""
        self._require_list(name)
        with _named_errors():
            found = self._client.hscan_iter(self._key("entries", LIST + name), count=BATCH)
            for _, packed in found:
                yield _entry(packed)

    def holding(self, entity: str, value: str) -> list[Held]:
        """Where a value is, also where its entry has ended or not begun; by name."""
        key = key_of_value(entity, value).to_bytes(8, "little")
        with _named_errors():
            shelves = sorted(map(bytes.decode, self._client.hkeys(self._key("heads"))))
            found = [
                (shelf, self._client.hget(self._key("entries", shelf), key)) for shelf in shelves
            ]
        return [
            Held(_name(shelf), shelf.startswith(SNOOZE), _entry(packed))
            for shelf, packed in found
            if packed is not None
        ]

    def log(self, most: int) -> list[Change]:
        """The last changes, the latest first."""
        with _named_errors():
            found = self._client.xrevrange(self._key("log"), count=most)
        return [msgspec.json.decode(fields[b"change"], type=Change) for _, fields in found]

    def news(self, version: str, known: Mapping[str, Shelf]) -> News:
        """What is new against a version; for a `ListReader`."""
        told = [(name, shelf.generation, shelf.size) for name, shelf in known.items()]
        with _named_errors():
            answer = self._read(
                [self._key("version"), self._key("heads")],
                [version, self._key("records", ""), *(each for shelf in told for each in shelf)],
            )
        found = answer[0].decode()
        if version and not found:
            raise ListsUnavailableError("the lists in Redis are gone")
        if found == version:
            return News(found, None)
        rows = iter(answer[1:])
        shelves = [
            (name.decode(), generation, int(left_out), records)
            for name, generation, left_out, records in zip(rows, rows, rows, rows, strict=True)
        ]
        for name, *_, records in shelves:
            _require_whole(name, records)
        return News(found, shelves)

    def _require_list(self, name: str) -> None:
        require_name("a list", name)
        with _named_errors():
            known = name in STARTERS or self._client.hexists(self._key("catalog"), name)
        if not known:
            raise EntryError(
                f"there is no list {name!r}; preempt lists list shows which there are, preempt "
                "lists create makes one"
            )

    def _put(self, what: str, shelf: str, entries: Iterable[Entry], why: Why) -> Written:
        added = renewed = 0
        left = iter(entries)
        while some := list(islice(left, BATCH)):
            change = self._changing(what, shelf, why, count=len(some))
            if len(some) == 1:
                one = some[0]
                until = None if one.until == FOREVER else one.until
                change = _of_one(change, one.entity, one.value, until)
            keys = [key_of_value(entry.entity, entry.value) for entry in some]
            new = self._change(shelf, change, zip(keys, some, strict=True), distinct=len(set(keys)))
            added += new.added
            renewed += new.renewed
        return Written(added, renewed)

    def _take(self, what: str, shelf: str, entity: str, value: str, why: Why) -> bool:
        key = key_of_value(entity, value)
        change = _of_one(self._changing(what, shelf, why, count=1), entity, value, None)
        return self._change(shelf, change, [(key, None)], distinct=1).renewed > 0

    def _changing(self, what: str, shelf: str, why: Why, *, count: int) -> Change:
        require_words("the author", why.author)
        require_words("the comment", why.comment)
        name = _name(shelf)
        return Change(
            time=self._clock(), author=why.author, what=what, name=name, comment=why.comment,
            count=count,
        )  # fmt: skip

    def _change(
        self,
        shelf: str,
        change: Change,
        entries: Iterable[tuple[int, Entry | None]],
        *,
        distinct: int,
    ) -> Written:
        told: list[Any] = [_token(), LOG_LENGTH, _encoded(change), shelf, _generation(change.time)]
        for key, entry in entries:
            since, until = (0, 0) if entry is None else (entry.since, entry.until)
            told.append(b"".join(n.to_bytes(8, "little") for n in (key, since, until)))
            told.append(b"" if entry is None else _encoded(entry))
        with _named_errors():
            keys = [self._key("version"), self._key("heads")]
            keys += [self._key("entries", shelf), self._key("records", shelf), self._key("log")]
            new, changed, generation, size, count = self._write(keys, told)
            due = change.time - _made(generation) > _TIDY_EVERY_MS if generation else False
            if due or size > 2 * RECORD.itemsize * count + _SLACK:
                self._tidy(shelf, change.time)
        return Written(new, min(changed, distinct) - new)

    def _tidy(self, shelf: str, now: int) -> None:
        """Write the records anew without what is superseded, or has ended a while ago."""
        generation = self._client.hget(self._key("heads"), shelf)
        records = self._client.get(self._key("records", shelf))
        if generation is None or records is None:
            return
        _require_whole(shelf, records)
        current = merged(NO_ENTRIES, np.frombuffer(records, RECORD))
        ended = current.until <= now - KEPT_MS
        kept = np.empty(int((~ended).sum()), RECORD)
        for field, values in zip(
            ("key", "since", "until"),
            (current.keys, current.since, current.until),
            strict=True,
        ):
            kept[field] = values[~ended]
        keys = [self._key("version"), self._key("heads")]
        keys += [self._key("entries", shelf), self._key("records", shelf)]
        forgotten = current.keys[ended].astype("<u8").tobytes()
        self._rewrite(
            keys,
            [shelf, generation, len(records), _generation(now), kept.tobytes(), forgotten],
        )

    def _key(self, *parts: str) -> str:
        return self._prefix + ":".join(parts)


def _name(shelf: str) -> str:
    return shelf.partition(":")[2]


def _of_one(change: Change, entity: str, value: str, until: int | None) -> Change:
    return msgspec.structs.replace(change, entity=entity, value=value[:_LOGGED], until=until)


def _encoded(what: msgspec.Struct) -> bytes:
    return msgspec.json.encode(what)


def _entry(packed: bytes) -> Entry:
    # The times before the text are those that count: a renewed entry has kept its beginning.
    entry = msgspec.json.decode(packed[16:], type=Entry)
    since = int.from_bytes(packed[:8], "little", signed=True)
    return msgspec.structs.replace(entry, since=since)


def _token() -> str:
    return secrets.token_hex(4)


def _generation(now: int) -> str:
    return f"{now}.{_token()}"


def _made(generation: bytes) -> int:
    return int(generation.partition(b".")[0])


def _require_whole(shelf: str, records: bytes) -> None:
    if len(records) % RECORD.itemsize:
        raise ListsUnavailableError(f"the records of {shelf} in Redis are damaged")


@contextmanager
def _named_errors() -> Iterator[None]:
    try:
        yield
    except (RedisError, RedisClusterException) as error:
        raise ListsUnavailableError(f"the lists in Redis cannot be used: {error}") from error
