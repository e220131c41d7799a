"""Who is who as lines of text: what a warehouse has published, and what the oracle says, in the same words.

An identifier is `type:id`, the id quoted if it is more than letters, digits, `_`, `-`; a person is its anchor; `-` is
none. Times are of 6 May 2024, others have their day in front: `09:00`, `09:00:00.000001`, `2024-05-07T09:00`.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import duckdb

from tests import warehouses
from tests.identity_reference import DEVICE, Node, Resolved, text_of
from tests.persons_reference import Change, Persons, person_id, session_id

DAY = date(2024, 5, 6)
Views = dict[str, list[str]]
# The columns of `resolved.users` that are no traits.
FIXED = "person_id primary_user_id user_ids anonymous_ids first_seen last_seen events sessions".split()


def time_of(text: str) -> datetime:
    """The instant that `09:00` or `2024-05-07T09:00` is, in UTC."""
    return datetime.fromisoformat(text if "T" in text else f"{DAY}T{text}").replace(tzinfo=UTC)


def shown_time(time: datetime) -> str:
    time = time.astimezone(UTC).replace(tzinfo=None)
    return time.isoformat(timespec="auto" if time.second or time.microsecond else "minutes").removeprefix(f"{DAY}T")


def shown(node: tuple[str, str]) -> str:
    type_, id_ = node
    return f"{type_}:{id_ if re.fullmatch(r'[A-Za-z0-9_-]+', id_) else json.dumps(id_, ensure_ascii=False)}"


def line(*words: object) -> str:
    """Words with spaces between: tuples are identifiers, None is `-`, lists and dicts are JSON."""
    texts = []
    for word in words:
        if isinstance(word, datetime):
            texts.append(shown_time(word))
        elif isinstance(word, tuple):
            texts.append(shown(word))
        elif isinstance(word, list | dict):
            texts.append(json.dumps(word, ensure_ascii=False, sort_keys=True))
        else:
            texts.append("-" if word is None else str(word))
    return " ".join(texts)


def of_changes(changes: Iterable[Change]) -> list[str]:
    """What is there again is the point of a restore, not what it was meanwhile."""
    return [line(kind, None if kind == "restore" else old, "->", new) for kind, old, new in changes]


# --- the oracle -------------------------------------------------------------------------------------------------------


def of_oracle(found: Resolved, persons: Persons) -> Views:
    """What the oracle says. persons: when they have been given what was found."""
    anchor: dict[Node | None, Node | None] = {None: None, **{label: persons.of[label] for label in found.members()}}
    session_of = {}
    sessions = []
    for label, events in found.sessions:
        session = session_id(person_id(persons.of[label]), events[0].timestamp)
        sessions.append(line(anchor[label], events[0].timestamp, events[-1].timestamp, len(events), session))
        session_of.update({event.id: (session, event.timestamp) for event in events})
    edges = []
    for edge in found.edges:
        seen = (
            (edge.first.timestamp, max(event.timestamp for event in edge.events), edge.first.id) if edge.first else ()
        )
        edges.append(line(edge.kind, edge.a, edge.b, edge.status, len(edge.events), *seen))
    return {
        "map": [
            line(node, status, anchor[found.person.get(node)], seen[0], seen[-1], len(found.nodes[node][0]))
            for node, status in found.status.items()
            for seen in [found.seen(node)]
        ],
        "edges": edges,
        "intervals": [
            line(device, anchor[person], start, end)
            for device, stretches in found.stretches.items()
            for person, start, end in stretches
        ],
        "events": [line(id_, anchor[person], by) for id_, (person, by) in found.events.items()],
        "persons": [
            line(each, person_id(each), persons.current(each), "retired" if person.retired_at else "living")
            for each, person in persons.all.items()
        ],
        "users": [
            line(
                anchor[label],
                user.primary,
                user.user_ids,
                user.anonymous_ids,
                user.first_seen,
                user.last_seen,
                user.events,
                user.sessions,
                {"_" * (name in FIXED) + name: value for name, value in user.traits.items()},
            )
            for label, user in found.users.items()
        ],
        "user_traits": [
            line(anchor[person], name, [text_of(trait.value), trait.previous], trait.set_at, trait.event_id)
            for (person, name), trait in found.traits.items()
        ],
        "sessions": sessions,
        "timeline": [
            line(anchor[person], session_of[id_][1], id_, session_of[id_][0])
            for id_, (person, _) in found.events.items()
            if person
        ],
    }


# --- the product ------------------------------------------------------------------------------------------------------


def of_product(folder: Path) -> Views:
    """What is published in `folder/warehouse`."""
    with warehouses.opened(folder) as connection:
        return _published(connection)


def changes_of(folder: Path) -> Counter[Change]:
    """Every change that is published."""
    with warehouses.opened(folder) as connection:
        anchor = _anchors(connection)
        rows = connection.execute("SELECT kind, old_id, new_id FROM identity.person_changes").fetchall()
        return Counter(Change(kind, anchor[old], anchor[new]) for kind, old, new in rows)


def _anchors(connection: duckdb.DuckDBPyConnection) -> dict[str | None, Node | None]:
    rows = connection.execute("SELECT person_id, anchor_type, anchor_id FROM identity.persons").fetchall()
    return {None: None, **{person: Node(type_, id_) for person, type_, id_ in rows}}


def _published(connection: duckdb.DuckDBPyConnection) -> Views:
    anchor = _anchors(connection)

    def rows(columns: str, view: str) -> list[tuple[Any, ...]]:
        return connection.execute(f"SELECT {columns} FROM {view}").fetchall()

    edges = []
    columns = "kind, type_a, id_a, type_b, id_b, status, events, first_seen, last_seen, first_event_id"
    for kind, type_a, a, type_b, b, status, events, *seen in rows(columns, "identity.edges"):
        if kind == "link":  # seen when the operator said so: today
            assert (seen[0], seen[2]) == (seen[1], None)
            seen = []
        edges.append(line(kind, (type_a, a), (type_b, b), status, events, *seen))

    result = connection.execute("FROM resolved.users")
    names = [name for name, *_ in result.description]
    users = []
    for values in result.fetchall():
        row = dict(zip(names, values, strict=True))
        person, primary, user_ids, anonymous_ids, *counts = (row.pop(name) for name in FIXED)
        traits = {name: value for name, value in row.items() if value is not None}
        users.append(line(anchor[person], primary, user_ids or [], anonymous_ids or [], *counts, traits))

    resolved: dict[str, str] = {}
    views = "SELECT table_name FROM duckdb_columns() WHERE schema_name = 'resolved' AND column_name = 'resolved_by'"
    for (view,) in connection.execute(views).fetchall():
        for id_, person, by in rows("id, person_id, resolved_by", f'resolved."{view}"'):
            text = line(id_, anchor[person], by)
            assert resolved.setdefault(id_, text) == text, f"{view} has it otherwise"
    return {
        "map": [
            line((type_, id_), status, anchor[person], *seen)
            for type_, id_, status, person, *seen in rows(
                "id_type, id, status, person_id, first_seen, last_seen, events", "identity.map"
            )
        ],
        "edges": edges,
        "intervals": [
            line((DEVICE, device), anchor[person], start, end)
            for device, person, start, end in rows(
                "anonymous_id, person_id, valid_from, valid_to", "identity.device_intervals"
            )
        ],
        "events": [*resolved.values()],
        "persons": [
            line(anchor[person], person, anchor[current], "living" if retired is None else "retired")
            for person, current, retired in rows("person_id, current_person_id, retired_at", "identity.persons")
        ],
        "users": users,
        "user_traits": [
            line(anchor[person], trait, [value, before], at, event)
            for person, trait, value, before, at, event in rows(
                "person_id, trait, value, previous_value, set_at, event_id", "resolved.user_traits"
            )
        ],
        "sessions": [
            line(anchor[person], *seen, session)
            for person, *seen, session in rows(
                "person_id, started_at, ended_at, events, session_id", "resolved.sessions"
            )
        ],
        "timeline": [
            line(anchor[person], *event)
            for person, *event in rows("person_id, timestamp, event_id, session_id", "resolved.timeline")
        ],
    }
