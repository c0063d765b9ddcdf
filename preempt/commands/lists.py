"""`preempt lists list | show | create | check | log`: lists that rules read."""

from heapq import nlargest
from typing import Literal

from preempt.console import emit
from preempt.list_shown import By, Json, as_json, iso, minute, open_lists, print_table, until_words
from preempt.options import Count


def list_lists(*, json: Json = False) -> None:
    """Show which lists there are.

    For example:

        preempt lists list --json

    Args:
        json: Print one JSON list.
    """
    with open_lists() as store:
        from preempt.clock import wall_clock
        from serving.list_reader import NO_ENTRIES, ListReader
        from serving.lists import EntityLists

        described, now = store.lists(), wall_clock()
        held = (ListReader(store.news).read() or EntityLists()).lists
    counts = {
        name: int(((each.since <= now) & (now < each.until)).sum())
        for name in described
        for each in [held.get(name, NO_ENTRIES)]
    }
    if json:
        rows = [
            {
                "name": name,
                "kind": each.kind,
                "entries": counts[name],
                "author": each.author,
                "created": iso(each.created),
                "comment": each.comment,
            }
            for name, each in described.items()
        ]
        emit(rows, as_json=True, text="")
        return
    print_table(
        ("name", "kind", "entries", "author", "created", "comment"),
        (
            (name, each.kind, counts[name], each.author, minute(each.created), each.comment)
            for name, each in described.items()
        ),
        empty="no lists",
    )


def show(name: str, /, *, most: Count = 50, json: Json = False) -> None:
    """Show a list, its latest entries first.

    For example:

        preempt lists show blocked --most 10

    Args:
        name: Of the list.
        most: How many entries; `preempt lists export` gives all of them.
        json: Print one JSON list.
    """
    with open_lists() as store:
        from preempt.clock import wall_clock

        now = wall_clock()
        entries = nlargest(
            most, store.entries(name), key=lambda each: (each.since, each.entity, each.value)
        )
    if json:
        emit([as_json(entry) for entry in entries], as_json=True, text="")
        return
    print_table(
        ("entity", "value", "since", "until", "author", "comment"),
        (
            (e.entity, e.value, minute(e.since), until_words(e, now), e.author, e.comment)
            for e in entries
        ),
        empty=f"nothing is on {name}",
    )


def create(
    name: str,
    /,
    *,
    kind: Literal["block", "allow", "watch"],
    by: By,
    comment: str,
    json: Json = False,
) -> None:
    """Make a list that holds nothing yet.

    A list does nothing by itself: a rule reads it, as in `ip_prefix IN LIST('bad_segments')`. The
    kind says for people what it is for.

    For example:

        preempt lists create bad_segments --kind block --by ana --comment "from the CERT"

    Args:
        name: Of the list: a-z, 0-9 and _, a letter first.
        kind: What it is for.
        by: Who makes it.
        comment: Why.
        json: Print one JSON object.
    """
    with open_lists() as store:
        from serving.list_entries import Why

        store.create(name, kind, Why(by, comment))
    emit(
        {"name": name, "kind": kind},
        as_json=json,
        text=f"{name} is there; rules read it as: ENTITY IN LIST('{name}')",
    )


def check(entity: str, value: str, /, *, json: Json = False) -> None:
    """Show which lists hold a value.

    Snoozes that a value has are shown too. An entry that has ended counts for no order placed
    since.

    For example:

        preempt lists check phone "+86 170 1234 5678"

    Args:
        entity: What kind of value it is, such as account, device, ip, phone or sku.
        value: In any spelling.
        json: Print one JSON list.
    """
    from preempt.list_shown import checked

    checked(entity, value)
    with open_lists() as store:
        from preempt.clock import wall_clock

        now = wall_clock()
        held = store.holding(entity, value)
    if json:
        rows = [
            {
                "list": None if each.is_snooze else each.name,
                "snoozed_rule": each.name if each.is_snooze else None,
                "counts_now": each.entry.counts_at(now),
                **as_json(each.entry),
            }
            for each in held
        ]
        emit(rows, as_json=True, text="")
        return
    print_table(
        ("on", "value", "since", "until", "author", "comment"),
        (
            (
                f"{'snoozed: ' * each.is_snooze}{each.name}",
                each.entry.value,
                minute(each.entry.since),
                until_words(each.entry, now),
                each.entry.author,
                each.entry.comment,
            )
            for each in held
        ),
        empty=f"no list holds this {entity}",
    )


def log(*, most: Count = 50, json: Json = False) -> None:
    """Show who changed lists, when and why.

    The latest changes come first; about the last 100,000 are kept.

    For example:

        preempt lists log --most 10

    Args:
        most: How many changes.
        json: Print one JSON list.
    """
    with open_lists() as store:
        changes = store.log(most)
    if json:
        rows = [
            {
                "time": iso(each.time),
                "author": each.author,
                "what": each.what,
                "name": each.name,
                "entity": each.entity,
                "value": each.value,
                "values": each.count,
                "until": iso(each.until),
                "comment": each.comment,
            }
            for each in changes
        ]
        emit(rows, as_json=True, text="")
        return
    print_table(
        ("time", "author", "what", "name", "value", "comment"),
        (
            (
                minute(each.time),
                each.author,
                each.what,
                each.name,
                f"{each.entity} {each.value}" if each.value else f"{each.count:,} values",
                each.comment,
            )
            for each in changes
        ),
        empty="nothing was changed",
    )
