"""`loader schema`: the published tables, and the columns of one with their types and where they came from."""

import difflib
from typing import Any

import duckdb

from loader import identity, ledger, resolved
from loader.calls import CALL_TABLES, OTHER_EVENTS
from loader.errors import LoaderError
from loader.text import number, table

_WHAT = {
    **{name: f"every {call}" for call, name in CALL_TABLES.items()},
    "tracks": "every track, without its properties",
    "users": "one row a user_id, latest traits",
    OTHER_EVENTS: "tracks whose event has no table",
    "identity.map": "one row an id: whose it is",
    "identity.edges": "what ties two ids, and whether it counts",
    "identity.persons": "one row a person ever found",
    "identity.person_changes": "persons new, merged, split, restored",
    "identity.device_intervals": "whose a shared device was, and when",
    "identity.conflicts": "where it is in doubt who is who",
    "identity.rules": "the operator's rules",
    "resolved.users": "one row a person, latest traits",
    "resolved.user_traits": "where each trait of a person came from",
    "resolved.sessions": "one row a session of a person",
    "resolved.timeline": "every event of a person",
    "loader.published": "the load that is seen",
    "loader.loads": "one row a load",
    "loader.files": "one row a file and load",
    "loader.rejects": "lines and elements that are no events",
    "loader.discards": "values without a cell",
    "loader.schema_changes": "tables and columns as they were made",
    "loader.models": "your own models, and how they went",
}
_REST = {"main": "one event", "resolved": "one event, with its person", "models": "a model of your own"}
_SCHEMAS = ["main", "identity", "resolved"]  # then others, and `loader` last
_FIRST = [
    *(f"main.{name}" for name in [*CALL_TABLES.values(), "users", OTHER_EVENTS]),
    *(name for name in _WHAT if name.startswith(("identity.", "resolved."))),
    *(f"resolved.{name}" for name in [*CALL_TABLES.values(), OTHER_EVENTS]),
]
_TABLES = f"""
    WITH change AS (
        SELECT table_name, min(load_id) AS created, max(load_id) AS changed FROM loader.schema_changes GROUP BY ALL
    )
    SELECT schema_name, if(schema_name = 'main', '', schema_name || '.') || view_name, column_count, created, changed,
        comment
    FROM duckdb_views() LEFT JOIN change ON schema_name = 'main' AND table_name = view_name
    WHERE NOT internal
    ORDER BY schema_name = 'loader', coalesce(list_position({_SCHEMAS!r}, schema_name), 99), schema_name,
        coalesce(list_position({_FIRST!r}, schema_name || '.' || view_name), 99), view_name
"""
# `users` has the columns of identifies, and no changes of its own. Of a type only JSON is not in the view.
_COLUMNS = """
    WITH change AS (
        SELECT column_name, max_by(new_type, load_id) AS type, min(load_id) AS load_id FROM loader.schema_changes
        WHERE $schema IN ('main', 'resolved') AND table_name = if($name = 'users', 'identifies', $name)
            AND column_name IS NOT NULL AND NOT list_contains($fixed, column_name) GROUP BY ALL
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
        schema, dot, view = wanted.rpartition(".")
        names = {each: each.rpartition(".")[2] for each in known if each.startswith(schema + dot)}
        near = difflib.get_close_matches(view, sorted(set(names.values())), 3)
        close = [each for each in names if names[each] in near]
        hint = f" Close: {', '.join(close)}." if close else " `loader schema` lists the tables."
        raise LoaderError(f"{name}: there is no such table.{hint}")
    schema, _, view = wanted.rpartition(".")
    own = {column.name: column.type for column in ledger.TABLES.get(view, ())} if schema == "loader" else {}
    ours = [column.name for column in identity.PERSON] + [*resolved.ADDED] if schema == "resolved" else []
    given = {"schema": schema or "main", "name": view, "fixed": ours}
    found = connection.execute(_COLUMNS, given).fetchall()
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
