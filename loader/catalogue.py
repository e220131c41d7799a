"""`loader schema`: the published tables, and the columns of one with their types and where they came from."""

import difflib
from typing import Any

import duckdb

from loader import ledger
from loader.calls import CALL_TABLES, OTHER_EVENTS
from loader.errors import LoaderError
from loader.text import number, table

_WHAT = {
    **{name: f"every {call}" for call, name in CALL_TABLES.items()},
    "tracks": "every track, without its properties",
    "users": "one row a user_id, latest traits",
    OTHER_EVENTS: "tracks whose event has no table",
    "resolved.users": "one row a person, latest traits",
    "resolved.user_traits": "where each trait came from",
    "resolved.sessions": "one row a session",
    "resolved.timeline": "every event of a person",
    "identity.edges": "one row a tie of two ids",
    "identity.map": "one row an id: whose it is",
    "identity.persons": "one row a person that ever was",
    "identity.person_changes": "persons as they came and merged",
    "identity.device_intervals": "one row a stretch of a shared device",
    "identity.conflicts": "one row a doubt about who is who",
    "identity.rules": "one row a rule of the operator",
    "loader.published": "the load that is seen",
    "loader.loads": "one row a load",
    "loader.files": "one row a file and load",
    "loader.rejects": "lines and elements that are no events",
    "loader.discards": "values without a cell",
    "loader.schema_changes": "tables and columns as they were made",
    "loader.models": "your own models, and how they went",
}
_REST = {"main": "one event", "resolved": "one event, with its person", "models": "a model of your own"}
_FIRST = [*CALL_TABLES.values(), "users", OTHER_EVENTS]
_SCHEMAS = ["main", "resolved", "models", "identity", "loader"]
_TABLES = f"""
    WITH change AS (
        SELECT table_name, min(load_id) AS created, max(load_id) AS changed FROM loader.schema_changes GROUP BY ALL
    )
    SELECT schema_name, if(schema_name = 'main', '', schema_name || '.') || view_name, column_count, created, changed,
        comment
    FROM duckdb_views() LEFT JOIN change ON schema_name = 'main' AND table_name = view_name
    WHERE NOT internal
    ORDER BY list_position({_SCHEMAS!r}, schema_name), coalesce(list_position({_FIRST!r}, view_name), 99), view_name
"""
# `users` has the columns of identifies, and no changes of its own.
_COLUMNS = """
    WITH change AS (
        SELECT column_name, max_by(new_type, load_id) AS type, min(load_id) AS load_id FROM loader.schema_changes
        WHERE $schema IN ('main', 'resolved') AND table_name = if($name = 'users', 'identifies', $name)
            AND column_name IS NOT NULL GROUP BY ALL
    )
    SELECT column_name, coalesce(type, replace(data_type, 'TIMESTAMP WITH TIME ZONE', 'TIMESTAMPTZ')), load_id
    FROM duckdb_columns() LEFT JOIN change USING (column_name)
    WHERE schema_name = $schema AND table_name = $name ORDER BY column_index
"""


def tables(connection: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
    """The tables, by schema: call tables first, those of `loader` last. created, changed: by which load; None where by
    none. what: a model's is its grain, if it says that."""
    return [
        {
            "table": name,
            "columns": columns,
            "created": created,
            "changed": changed,
            "what": _WHAT.get(name) or comment or _REST.get(schema, ""),
        }
        for schema, name, columns, created, changed, comment in connection.execute(_TABLES).fetchall()
    ]


def columns(connection: duckdb.DuckDBPyConnection, name: str) -> list[dict[str, Any]]:
    """The columns of a table in order, with their type and the load that added them (None where no load did).

    Raises LoaderError with names that are close where there is no such table.
    """
    known = [each["table"] for each in tables(connection)]
    wanted = name.removeprefix("main.").lower()
    if wanted not in known:
        close = difflib.get_close_matches(wanted, known, 3)
        hint = f" Close: {', '.join(close)}." if close else " `loader schema` lists the tables."
        raise LoaderError(f"{name}: there is no such table.{hint}")
    schema, _, view = wanted.rpartition(".")
    own = {column.name: column.type for column in ledger.TABLES.get(view, ())} if schema == "loader" else {}
    found = connection.execute(_COLUMNS, {"schema": schema or "main", "name": view}).fetchall()
    return [
        {"column": column, "type": own.get(column, type_), "load": None if schema else load}
        for column, type_, load in found
    ]


def write_tables(found: list[dict[str, Any]]) -> str:
    """The tables as aligned columns."""
    rows = [
        [each["table"], number(each["columns"]), _load(each["created"]), _load(each["changed"]), each["what"]]
        for each in found
    ]
    return table(["table", "columns", "created by load", "changed by load", "holds"], rows, [1, 2, 3])


def write_columns(found: list[dict[str, Any]]) -> str:
    """The columns as aligned columns."""
    return table(["column", "type", "added by load"], [[e["column"], e["type"], _load(e["load"])] for e in found], [2])


def _load(load_id: int | None) -> str:
    return "" if load_id is None else str(load_id)
