"""What has been loaded: loads, files, rejects, discards, schema changes, as Delta tables; their commit is the load."""

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from loader import delta, history
from loader.calls import CALL_TABLES, OTHER_EVENTS
from loader.errors import LoaderError, UsageError
from loader.records import FileRead, SourceFile
from loader.schema import Column
from loader.settings import RULES, Settings


def _columns(text: str) -> tuple[Column, ...]:
    return tuple(Column(*pair.split()) for pair in text.replace("\n", " ").split(","))


# In the order in which a load commits them: `loads` last, that commit is the load.
TABLES = {
    "rejects": _columns("""load_id BIGINT, loader_file_id BIGINT, loader_line BIGINT, loader_element BIGINT,
        reason VARCHAR, detail VARCHAR, raw VARCHAR, replayed_by BIGINT"""),
    "discards": _columns("""load_id BIGINT, table_name VARCHAR, row_id VARCHAR, column_name VARCHAR, column_value JSON,
        reason VARCHAR, received_at TIMESTAMPTZ, uuid_ts TIMESTAMPTZ, loader_file_id BIGINT, loader_line BIGINT,
        loader_element BIGINT, replayed_by BIGINT"""),
    "schema_changes": _columns("""load_id BIGINT, table_name VARCHAR, column_name VARCHAR, change VARCHAR,
        old_type VARCHAR, new_type VARCHAR, loader_file_id BIGINT, loader_line BIGINT, loader_element BIGINT"""),
    "files": _columns("""load_id BIGINT, file_id BIGINT, uri VARCHAR, size BIGINT, modified TIMESTAMPTZ,
        version VARCHAR, source VARCHAR, lines BIGINT, blank BIGINT, items BIGINT, loaded BIGINT, duplicates BIGINT,
        rejected BIGINT,
        first_received_at TIMESTAMPTZ, last_received_at TIMESTAMPTZ"""),
    "loads": _columns("""load_id BIGINT, started_at TIMESTAMPTZ, finished_at TIMESTAMPTZ, files BIGINT, bytes BIGINT,
        items BIGINT, loaded BIGINT, duplicates BIGINT, rejected BIGINT, discarded BIGINT, settings JSON,
        restored BIGINT, last_file_id BIGINT"""),
}

_BATCH = 10_000  # files
_LISTED = pa.schema(
    [
        ("uri", pa.string()),
        ("size", pa.int64()),
        ("version", pa.string()),
        ("modified", pa.timestamp("us", "UTC")),
        ("source", pa.string()),
        ("etag", pa.string()),
        ("fresh", pa.bool_()),
    ]
)


def folder(table: str) -> str:
    """The folder of a table of the ledger, relative to the warehouse."""
    return f"loader/{table}"


@dataclass(frozen=True, slots=True)
class State:
    """What the ledger says. last_load, last_file: 0 if there is none. settings: the rules in force, None before the
    first load. tables: by name, in order of creation, with their columns. restored: the load that the last one went
    back to; None: it loaded files."""

    last_load: int
    last_file: int
    settings: dict[str, Any] | None
    skipped_tracks: bool
    tables: dict[str, tuple[Column, ...]]
    restored: int | None = None

    @property
    def event_tables(self) -> list[str]:
        """The tables of single events."""
        calls = {*CALL_TABLES.values(), OTHER_EVENTS, "users"}
        return [table for table in self.tables if table not in calls]


def paths(warehouse: Path, table: str, at: int | None = None) -> list[str]:
    """The Parquet files of a table of the ledger, as the load `at` left it; none before the first load."""
    root = warehouse / folder(table)
    version = None if at is None else history.version_at(root, at)
    return [file.path for file in delta.live_files(root, version)] if delta.exists(root) else []


def uris(connection: duckdb.DuckDBPyConnection, warehouse: Path) -> list[str]:
    """The uris of all files that were ever loaded."""
    files = paths(warehouse, "files")
    if not files:
        return []
    rows = connection.execute("SELECT DISTINCT uri FROM read_parquet($files)", {"files": files}).fetchall()
    return [uri for (uri,) in rows]


def new(
    connection: duckdb.DuckDBPyConnection, warehouse: Path, listed: Iterator[SourceFile], *, every: bool = False
) -> tuple[list[SourceFile], int]:
    """Those of the files that are not loaded in this state (uri, size and version), in no order, and the number of the
    others. every: all are to be loaded again. The files are taken as they are listed: only the new ones are kept."""
    count = 0
    failed: list[LoaderError] = []

    def batches() -> Iterator[pa.RecordBatch]:
        nonlocal count
        try:
            while some := list(itertools.islice(listed, _BATCH)):
                count += len(some)
                rows = [(f.uri, f.size, f.version, f.modified, f.source, f.etag, f.fresh) for f in some]
                yield pa.record_batch([pa.array(column) for column in zip(*rows, strict=True)], schema=_LISTED)
        except LoaderError as error:  # the engine would make another error of it
            failed.append(error)

    files = [] if every else paths(warehouse, "files")
    known = "ANTI JOIN (FROM read_parquet($files)) USING (uri, size, version)" if files else ""
    connection.register("listed", pa.RecordBatchReader.from_batches(_LISTED, batches()))
    found = connection.execute(
        f"SELECT uri, size, modified, source, etag, fresh FROM listed {known}", {"files": files} if files else None
    ).fetchall()
    connection.unregister("listed")
    if failed:
        raise failed[0]
    return [SourceFile(*row) for row in found], count - len(found)


def read(connection: duckdb.DuckDBPyConnection, warehouse: Path, at: int | None = None) -> State:
    """The state of a warehouse, also of one that has no load yet; with `at` as that load left it."""
    loads = paths(warehouse, "loads", at)
    if not loads:
        return State(0, 0, None, False, {})
    last_load, settings, skipped, restored, last_file = connection.execute(
        """SELECT max(load_id), max_by(settings, load_id), bool_or((settings ->> 'skip_tracks_table')::BOOLEAN),
            arg_max_null(restored, load_id),
            greatest(max(last_file_id), (SELECT max(file_id) FROM read_parquet($read)))
        FROM read_parquet($files)""",
        {"files": loads, "read": paths(warehouse, "files", at)},
    ).fetchall()[0]
    tables: dict[str, list[Column]] = {}
    rows = connection.execute(
        """SELECT table_name, column_name, max_by(new_type, load_id)
        FROM read_parquet($files, file_row_number = true)
        WHERE column_name IS NOT NULL GROUP BY ALL ORDER BY min(load_id), min_by(file_row_number, load_id)""",
        {"files": paths(warehouse, "schema_changes", at)},
    ).fetchall()
    for table, column, type_ in rows:
        tables.setdefault(table, []).append(Column(column, type_))
    named = {name: tuple(columns) for name, columns in tables.items()}
    return State(last_load, last_file or 0, json.loads(settings), skipped, named, restored)


def arrow_schema(columns: Sequence[Column]) -> pa.Schema:
    """The schema for rows of a table of the ledger that are made in Python."""
    types = {
        "BIGINT": pa.int64(),
        "VARCHAR": pa.string(),
        "JSON": pa.string(),
        "BOOLEAN": pa.bool_(),
        "TIMESTAMPTZ": pa.timestamp("us", "UTC"),
    }
    return pa.schema([(column.name, types[column.type]) for column in columns])


def arrow_table(columns: Sequence[Column], rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Rows that were made in Python as a relation for the engine."""
    return pa.Table.from_pylist(list(rows), arrow_schema(columns))


def file_rows(
    connection: duckdb.DuckDBPyConnection,
    load_id: int,
    reads: Sequence[FileRead],
    counts: Mapping[int, Any],
    loaded: Mapping[int, int],
) -> list[dict[str, Any]]:
    """The rows of `files` for one load, from what was counted and staged."""
    times = {
        file_id: (first, last)
        for file_id, first, last in connection.execute(
            "SELECT loader_file_id, min(received_at), max(received_at) FROM flat GROUP BY ALL"
        ).fetchall()
    }
    return [
        {
            "load_id": load_id,
            "file_id": read.file_id,
            "uri": read.file.uri,
            "size": read.file.size,
            "modified": read.file.modified,
            "version": read.file.version,
            "source": read.file.source,
            "lines": counts[read.file_id].lines,
            "blank": counts[read.file_id].blank,
            "items": counts[read.file_id].items,
            "loaded": loaded.get(read.file_id, 0),
            "duplicates": counts[read.file_id].duplicates,
            "rejected": counts[read.file_id].rejected,
            "first_received_at": times.get(read.file_id, (None, None))[0],
            "last_received_at": times.get(read.file_id, (None, None))[1],
        }
        for read in reads
    ]


def rejects_sql(load_id: int) -> str:
    """SELECT of the rows of `rejects` from the engine's `reject`."""
    return f"""SELECT {load_id}::BIGINT AS load_id, file_id::BIGINT AS loader_file_id, line AS loader_line,
        element AS loader_element, reason, detail, raw, NULL::BIGINT AS replayed_by FROM reject"""


def discards_sql(load_id: int, uuid_ts: str) -> str:
    """SELECT of the rows of `discards` from the engine's `discard`."""
    return f"""SELECT {load_id}::BIGINT AS load_id, table_name, row_id, column_name, column_value, reason, received_at,
        {uuid_ts} AS uuid_ts, loader_file_id, loader_line, loader_element, NULL::BIGINT AS replayed_by FROM discard"""


def rules(settings: Settings, in_force: Mapping[str, Any] | None) -> str:
    """The settings that change names or types, as JSON. UsageError if they are not those of the warehouse."""
    chosen = {name: getattr(settings, name) for name in RULES}
    chosen["json_paths"] = sorted(chosen["json_paths"])
    changed = [name for name in RULES if in_force is not None and in_force[name] != chosen[name]]
    if changed and not settings.accept_new_rules:
        was = ", ".join(f"{name} = {json.dumps(in_force[name])}" for name in changed if in_force)
        raise UsageError(
            f"{settings.warehouse}: was loaded with {was}. Set that again, or give --accept-new-rules: old rows keep "
            "the names and types that they have."
        )
    return json.dumps(chosen)
