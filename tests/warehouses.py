"""Real loads for tests: events in, the published tables out, in the form that `reference.Warehouse` has."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import duckdb

import loader
from loader import pipeline

CALL_TABLES = ("identifies", "tracks", "pages", "screens", "groups", "aliases", "resets")
# Columns that say when and where a row was loaded.
BOOKKEEPING = ("uuid_ts", "received_date", "loader_file_id", "loader_line", "loader_element")


@dataclass(frozen=True)
class Table:
    """A published table: its column types (JSON columns as JSON) and its rows in order of lineage."""

    columns: dict[str, str]
    rows: list[dict[str, Any]]


def lines(*events: Any) -> bytes:
    """NDJSON of these events; text and bytes are taken as they are."""
    parts = [
        e if isinstance(e, bytes) else e.encode() if isinstance(e, str) else json.dumps(e).encode() for e in events
    ]
    return b"".join(part + b"\n" for part in parts)


def load(folder: Path, files: Mapping[str, bytes], **settings: Any) -> loader.Report:
    """Writes the files below `folder/in` and loads them (only these) into `folder/warehouse`."""
    return pipeline.load_only(_settings(folder, files, settings))


def run(folder: Path, files: Mapping[str, bytes], **settings: Any) -> loader.Report:
    """The same, and works out who is who."""
    return loader.run(_settings(folder, files, settings))


def _settings(folder: Path, files: Mapping[str, bytes], settings: Mapping[str, Any]) -> loader.Settings:
    sources = []
    for name, data in files.items():
        path = folder / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        sources.append(str(path))
    settings = {"threads": 2, "settle_seconds": 0, **settings}  # nobody else writes these files
    return loader.Settings(warehouse=folder / "warehouse", sources=tuple(sources), **settings)


@contextmanager
def opened(folder: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """The published file as a plain DuckDB client opens it."""
    with duckdb.connect(str(folder / "warehouse" / "warehouse.duckdb"), read_only=True) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        yield connection


def query(folder: Path, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
    """The rows that a plain DuckDB client gets from the published file."""
    with opened(folder) as connection:
        return connection.execute(sql, list(parameters)).fetchall()


def tables(folder: Path) -> dict[str, Table]:
    """All published tables of events, and `users`."""
    with opened(folder) as connection:
        return tables_of(connection)


def tables_of(connection: duckdb.DuckDBPyConnection) -> dict[str, Table]:
    """The same, by a connection to the published file."""
    json_columns = set(
        connection.execute(
            "SELECT table_name, column_name FROM loader.schema_changes GROUP BY ALL "
            "HAVING max_by(new_type, load_id) = 'JSON'"
        ).fetchall()
    )
    found = {}
    names = connection.execute("SELECT view_name FROM duckdb_views() WHERE schema_name = 'main' AND NOT internal")
    for (name,) in names.fetchall():
        result = connection.execute(f'SELECT * FROM main."{name}"')
        types = {column: type_of(name, column, str(type_), json_columns) for column, type_, *_ in result.description}
        rows = [dict(zip(types, row, strict=True)) for row in result.fetchall()]
        places = ("loader_file_id", "loader_line", "loader_element", "id")
        rows.sort(key=lambda row: [(row.get(key) is None, row.get(key)) for key in places])
        found[name] = Table(types, rows)
    return found


def type_of(table: str, column: str, type_: str, json_columns: set[tuple[str, str]]) -> str:
    """A column's type as the schema has it; `users` has the columns of `identifies`."""
    if ("identifies" if table == "users" else table, column) in json_columns:
        return "JSON"
    return {"TIMESTAMP WITH TIME ZONE": "TIMESTAMPTZ"}.get(type_, type_)


def plain(value: Any) -> Any:
    """A value for comparison: instants in UTC, floats told from integers."""
    if isinstance(value, datetime):
        return value.astimezone(UTC)
    if isinstance(value, float):
        return ("DOUBLE", repr(value + 0.0))  # Parquet dictionaries take -0.0 for 0.0
    if isinstance(value, date | bool):
        return value
    return value


def filled(rows: Sequence[Mapping[str, Any]], without: Sequence[str] = ()) -> list[dict[str, Any]]:
    """The rows with only those columns that hold a value."""
    return [{k: plain(v) for k, v in row.items() if v is not None and k not in without} for row in rows]
