"""Where the events came from that made ties: found in the files of the published tables by their time, id and ids."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, date, timedelta
from typing import Any

import duckdb

from loader.calls import CALL_TABLES
from loader.db import literal
from loader.events import trimmed

Tie = dict[str, Any]  # a row of identity.edges
File = tuple[str, str, date]  # of which table, its path, the received_date of its rows

# The files as the views name them: binding a view would open all of them. Tables of single events are of use only where
# `tracks` does not hold the same rows.
_FILES = """
    WITH view_text AS (
        SELECT view_name, unnest(string_split(replace(sql, chr(39) || chr(39), chr(1)), chr(39))) AS text
        FROM duckdb_views() WHERE schema_name = 'main'
            AND (list_contains($calls, view_name)
                OR (SELECT bool_or((settings ->> 'skip_tracks_table')::BOOLEAN) FROM loader.loads))
    )
    SELECT view_name, replace(text, chr(1), chr(39)), regexp_extract(text, '.*/received_date=([0-9-]+)/', 1)::DATE
    FROM view_text WHERE contains(text, '/received_date=') ORDER BY ALL
"""
_PLACE = ("table", "file", "line", "element")
_TABLE_OF = {"alias": "aliases", "seen": None}  # of the event that makes such a tie; None: any. Else: identifies


def first_events(connection: duckdb.DuckDBPyConnection, ties: Sequence[Tie]) -> list[dict[str, Any] | None]:
    """The first event of each tie: id, timestamp, table, file (its uri), line, and element of a batch (None: no batch).

    None where no event made the tie; file and line are None where the event is not to be found any more.
    """
    missing = [at for at, tie in enumerate(ties) if tie["first_event_id"] is not None]
    events = {at: _event(ties[at], dict.fromkeys(_PLACE)) for at in missing}
    files: list[File] = connection.execute(_FILES, {"calls": [*CALL_TABLES.values()]}).fetchall() if missing else []
    # Most events are received when they happen, or soon after.
    for among in (_near, lambda _: lambda file: True):
        wanted = [ties[at] for at in missing]
        if chosen := list(filter(among(wanted), _of_tables(files, wanted))):
            rows = _read(connection, chosen, wanted)
            events |= {at: _event(ties[at], row) for at in missing for row in reversed(rows) if _made(row, ties[at])}
            missing = [at for at in missing if events[at]["file"] is None]
    return [events.get(at) for at in range(len(ties))]


def _of_tables(files: Iterable[File], ties: Sequence[Tie]) -> list[File]:
    """The files of the tables that such events are in."""
    tables = {_TABLE_OF.get(tie["kind"], "identifies") for tie in ties}
    return [file for file in files if None in tables or file[0] in tables]


def _near(ties: Sequence[Tie]) -> Callable[[File], bool]:
    days = {tie["first_seen"].astimezone(UTC).date() + timedelta(later) for tie in ties for later in (0, 1)}
    return lambda file: file[2] in days


def _read(connection: duckdb.DuckDBPyConnection, files: Sequence[File], ties: Sequence[Tie]) -> list[dict[str, Any]]:
    """The rows of these files with the time and the id of such an event, in order of table. Statistics of the files
    tell where a time can be, so few of them are read."""
    ids = ", ".join(sorted({literal(tie["first_event_id"]) for tie in ties}))
    times = ", ".join(sorted({f"TIMESTAMPTZ {literal(tie['first_seen'].isoformat())}" for tie in ties}))
    by_table: dict[str, list[str]] = {}
    for table, path, _ in files:
        by_table.setdefault(table, []).append(literal(path))
    selects = [
        f"""SELECT {literal(table)} AS "table", id, "timestamp", {trimmed("user_id")} AS user_id,
            {trimmed("anonymous_id")} AS anonymous_id,
            {trimmed("previous_id") if table == "aliases" else "NULL::VARCHAR"} AS previous_id,
            loader_file_id, loader_line AS line, loader_element AS element
        FROM read_parquet([{", ".join(paths)}], hive_partitioning = false)
        WHERE "timestamp" IN ({times}) AND id IN ({ids})"""
        for table, paths in by_table.items()
    ]
    rows = connection.sql(
        f"""SELECT e.* EXCLUDE (loader_file_id), f.uri AS file FROM ({" UNION ALL ".join(selects)}) AS e
        LEFT JOIN loader.files AS f ON f.file_id = e.loader_file_id ORDER BY "table", file, line, element"""
    )
    found: list[dict[str, Any]] = rows.to_arrow_table().to_pylist()
    return found


def _made(event: Mapping[str, Any], tie: Tie) -> bool:
    """Whether this is the event that made the tie: of several calls with one id, the one that has its ids."""
    if (event["id"], event["timestamp"]) != (tie["first_event_id"], tie["first_seen"]):
        return False
    if tie["kind"] == "alias":
        return (event["previous_id"], event["user_id"]) == (tie["id_a"], tie["id_b"])
    device = event["anonymous_id"] if tie["kind"] == "seen" else tie["id_b"]
    return (event["user_id"], device) == (tie["id_a"], tie["id_b"])


def _event(tie: Tie, row: Mapping[str, Any]) -> dict[str, Any]:
    return {"id": tie["first_event_id"], "timestamp": tie["first_seen"], **{name: row[name] for name in _PLACE}}
