"""`preempt lists add | remove | snooze | unsnooze`: one value at a time."""

from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from orders.errors import UsageError, UserError
from preempt.console import console, emit
from preempt.list_shown import By, Json, checked, end_of, iso, milliseconds, open_lists
from preempt.options import Duration, Time
from preempt.settings import load_settings

if TYPE_CHECKING:
    from serving.list_entries import Entry

For = Annotated[Duration | None, Parameter(name="--for")]


def add(
    name: str,
    entity: str,
    value: str,
    /,
    *,
    by: By,
    comment: str,
    for_: For = None,
    until: Time | None = None,
    since: Time | None = None,
    json: Json = False,
) -> None:
    """Put a value on a list, or renew it there.

    Workers know of it within 10 seconds. Two spellings of a value are one entry; adding again
    renews it. Without --for and --until it never ends.

    For example:

        preempt lists add blocked device 5f2a-77 --for 7d --by ana --comment "ring of 12 March"
        preempt lists add watched ip_prefix 203.0.113.0/24 --by ana --comment "proxies"

    Args:
        name: Of the list.
        entity: What kind of value it is, such as account, device, ip, phone or sku.
        value: In any spelling; after a lone -- if it begins with a hyphen.
        by: Who adds it.
        comment: Why.
        for_: For how long from now: 30m, 12h, 7d, 2w.
        until: Until when instead, ISO 8601 with a zone.
        since: Orders from then on; default: from now on.
        json: Print one JSON object.
    """
    entry = _entry(entity, value, by=by, comment=comment, for_=for_, until=until, since=since)
    with open_lists() as store:
        from serving.list_entries import Why

        written = store.add(name, [entry], Why(by, comment))
    _said(
        {"list": name, "entity": entity, "value": value, "added": written.added},
        entry.until,
        json,
        f"{entity} {value} is on {name}{' already; it is renewed' * written.renewed}",
    )


def remove(
    name: str, entity: str, value: str, /, *, by: By, comment: str, json: Json = False
) -> None:
    """Take a value off a list.

    For example:

        preempt lists remove blocked device 5f2a-77 --by ana --comment "a shared family tablet"

    Args:
        name: Of the list.
        entity: What kind of value it is.
        value: In any spelling.
        by: Who removes it.
        comment: Why.
        json: Print one JSON object.
    """
    checked(entity, value, by=by, comment=comment)
    with open_lists() as store:
        from serving.list_entries import Why

        if not store.remove(name, entity, value, Why(by, comment)):
            raise UserError(f"{name} does not hold this {entity}; nothing was changed")
    removed = {"list": name, "entity": entity, "value": value, "removed": True}
    emit(removed, as_json=json, text=f"{entity} {value} is off {name}")


def snooze(
    rule: str,
    entity: str,
    value: str,
    /,
    *,
    by: By,
    comment: str,
    for_: For = None,
    until: Time | None = None,
    json: Json = False,
) -> None:
    """Let a rule be recorded and not count for one value, for a time.

    Decisions then name the rule with 0 points and `snoozed`.

    For example:

        preempt lists snooze device_burst device kiosk-7 --for 7d --by ana --comment "in the lobby"

    Args:
        rule: Name of the rule.
        entity: What kind of value it is.
        value: In any spelling.
        by: Who does it.
        comment: Why.
        for_: For how long from now: 30m, 12h, 7d, 2w.
        until: Until when instead, ISO 8601 with a zone; one of the two is needed.
        json: Print one JSON object.
    """
    if for_ is None and until is None:
        raise UsageError("a snooze ends: give --for or --until")
    entry = _entry(entity, value, by=by, comment=comment, for_=for_, until=until)
    with open_lists() as store:
        store.snooze(rule, entry)
        _note_an_unknown_rule(rule)
    _said(
        {"rule": rule, "entity": entity, "value": value},
        entry.until,
        json,
        f"{rule} does not count for {entity} {value}",
    )


def unsnooze(
    rule: str, entity: str, value: str, /, *, by: By, comment: str, json: Json = False
) -> None:
    """Let a rule count again for a value.

    For example:

        preempt lists unsnooze device_burst device kiosk-7 --by ana --comment "it was moved"

    Args:
        rule: Name of the rule.
        entity: What kind of value it is.
        value: In any spelling.
        by: Who does it.
        comment: Why.
        json: Print one JSON object.
    """
    checked(entity, value, by=by, comment=comment)
    with open_lists() as store:
        from serving.list_entries import Why

        if not store.unsnooze(rule, entity, value, Why(by, comment)):
            raise UserError(f"{rule} is not snoozed for this {entity}; nothing was changed")
    again = {"rule": rule, "entity": entity, "value": value, "unsnoozed": True}
    emit(again, as_json=json, text=f"{rule} counts again for {entity} {value}")


def _entry(
    entity: str,
    value: str,
    *,
    by: str,
    comment: str,
    for_: Duration | None,
    until: Time | None,
    since: Time | None = None,
) -> "Entry":
    checked(entity, value, by=by, comment=comment)
    from preempt.clock import wall_clock
    from serving.list_entries import Entry
    from serving.lists import FOREVER

    now = wall_clock()
    end = end_of(now, for_, until)
    begin = now if since is None else milliseconds(since)
    if end is not None and end <= begin:
        raise UsageError("--since is not before the end: the entry would count for no order")
    return Entry(
        entity=entity,
        value=value,
        since=begin,
        until=FOREVER if end is None else end,
        author=by,
        comment=comment,
    )


def _said(result: dict[str, Any], until: int, json: bool, words: str) -> None:
    end = iso(until)
    emit(result | {"until": end}, as_json=json, text=words + (f" until {end}" if end else ""))


def _note_an_unknown_rule(rule: str) -> None:
    from preempt.bootstrap import build_policy

    if rule not in {each.name for each in build_policy(load_settings()).rules}:
        console.print(
            f"note: no rule of PREEMPT_RULES, or of those that ship, is called {rule}",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )
