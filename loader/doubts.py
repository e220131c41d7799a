"""`loader identity rules` and `conflicts`: the operator's rules, and where it is in doubt who is who."""

from collections.abc import Sequence
from typing import Any

import duckdb

from loader import events
from loader.errors import LoaderError, UsageError
from loader.text import number, table

TYPES = ("user_id", "anonymous_id")

_RULES = "SELECT action, type_a, id_a, type_b, id_b, reason, added_at FROM identity.rules ORDER BY added_at, id_a, id_b"
_CONFLICTS = """
    SELECT kind, id_type, id, persons, events, example_event_ids FROM identity.conflicts
    ORDER BY kind, events DESC, id_type, id
"""


def named(text: str) -> tuple[str | None, str]:
    """The type with which a person gives an id, as in `user_id:A` (None: a bare one), and the id, trimmed as those of
    events are. UsageError where that is none."""
    type_, colon, rest = text.partition(":")
    typed = bool(colon) and type_ in TYPES
    if id_ := (rest if typed else text).strip(events.WHITE):
        return (type_ if typed else None), id_
    raise UsageError(f"{text if typed else repr(text)}: names no id. Give for example user_id:4711.")


def check(connection: duckdb.DuckDBPyConnection) -> None:
    """LoaderError where nothing was resolved yet."""
    there = connection.execute("SELECT count(*) FROM duckdb_views() WHERE schema_name = 'identity'").fetchall()
    if there == [(0,)]:
        raise LoaderError("who is who was not worked out yet. Run: loader resolve")


def rules(connection: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
    """The rules in force, oldest first, as plain JSON values."""
    check(connection)
    names = ("action", "type_a", "id_a", "type_b", "id_b", "reason", "added_at")
    rows = [dict(zip(names, row, strict=True)) for row in connection.execute(_RULES).fetchall()]
    return [{**row, "added_at": row["added_at"].isoformat()} for row in rows]


def write_rules(found: Sequence[dict[str, Any]]) -> str:
    """The rules for a person, one a line."""
    if not found:
        return "there are no rules\n"
    rows = [
        [
            each["action"],
            f"{each['type_a']}:{each['id_a']}",
            f"{each['type_b']}:{each['id_b']}" if each["id_b"] is not None else "",
            each["reason"] or "",
            each["added_at"][:16].replace("T", " "),
        ]
        for each in found
    ]
    return table(["rule", "id", "and", "reason", "since (UTC)"], rows)


def conflicts(connection: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
    """The findings as plain JSON values: kind, id_type, id, persons, events, example_event_ids."""
    check(connection)
    names = ("kind", "id_type", "id", "persons", "events", "example_event_ids")
    rows = connection.execute(_CONFLICTS).fetchall()
    return [{**dict(zip(names, row, strict=True)), "example_event_ids": row[-1] or []} for row in rows]


def write_conflicts(found: Sequence[dict[str, Any]]) -> str:
    """The findings for a person, one a line."""
    if not found:
        return "nothing is in doubt\n"
    rows = [
        [
            each["kind"],
            f"{each['id_type']}:{each['id']}",
            number(each["persons"]),
            number(each["events"]),
            ", ".join(each["example_event_ids"][:2]),
        ]
        for each in found
    ]
    return table(["finding", "id", "persons", "events", "events such as"], rows, (2, 3), cut=80)
