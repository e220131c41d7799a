"""`loader status`: what is loaded, what was refused, how far persons are resolved; from the ledger and the views."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import duckdb

from loader import store
from loader.calls import CALL_TABLES, OTHER_EVENTS
from loader.open_rejects import Chosen
from loader.text import counts, many, number, size, table

DAYS, LOADS, NAMES, EVENT_TABLES = 7, 10, 20, 20  # how many of each are told

_LOADS = f"""
    SELECT load_id, started_at, finished_at, files, bytes, items, loaded, duplicates, rejected, discarded, restored
    FROM loader.loads ORDER BY load_id DESC LIMIT {LOADS}
"""
_DISCARDS = "SELECT reason, count(*) FROM loader.discards WHERE replayed_by IS NULL GROUP BY reason ORDER BY reason"
_RESOLVED = """
    SELECT resolved_load, (SELECT count(*) FROM loader.loads WHERE load_id > resolved_load) FROM loader.published
"""
_LIVING = "SELECT count(*) FROM identity.persons WHERE retired_at IS NULL"
_DOUBTS = "SELECT kind, count(*) FROM identity.conflicts GROUP BY kind ORDER BY kind"
_NAMELESS = f"""
    SELECT coalesce(event_text, '') AS event_text, count(*) AS rows FROM other_events
    GROUP BY event_text ORDER BY rows DESC, event_text LIMIT {NAMES}
"""
# The files of the last days, as the views name them: so the counts are those of the load that is seen.
_FILES = f"""
    WITH view_text AS (
        SELECT view_name, unnest(string_split(replace(sql, chr(39) || chr(39), chr(1)), chr(39))) AS text
        FROM duckdb_views() WHERE schema_name = 'main' AND NOT internal
    ), dated AS (
        SELECT view_name, replace(text, chr(1), chr(39)) AS path,
            regexp_extract(text, '.*/received_date=([0-9-]+)/', 1)::DATE AS day
        FROM view_text WHERE contains(text, '/received_date=')
    )
    SELECT view_name, path, day FROM dated SEMI JOIN (SELECT DISTINCT day FROM dated ORDER BY day DESC LIMIT {DAYS})
    USING (day)
"""
_ROWS = "SELECT file_name, num_rows FROM parquet_file_metadata($paths)"


def gather(connection: duckdb.DuckDBPyConnection, warehouse: Path, *, every: bool = False) -> dict[str, Any]:
    """The state of a published warehouse as plain JSON values.

    days: the last 7 values of received_date. tables: their rows by day; of the event tables the 20 that hold
    most, or `every` one; more_tables: how many that leaves out. rejects: those that are open, discards: those not
    replayed, by reason. pending: loads that are certain and not to be seen yet. persons: how far they are resolved, see
    `_persons`. events_without_table: the 20 most frequent.
    """
    ((load,),) = connection.execute("SELECT load_id FROM loader.published").fetchall()
    loads = connection.sql(_LOADS)
    files: list[tuple[str, str, date]] = connection.execute(_FILES).fetchall()
    chosen, more = _choose(files, every)
    there = connection.execute("SELECT count(*) FROM duckdb_views() WHERE view_name = $name", {"name": OTHER_EVENTS})
    nameless = connection.execute(_NAMELESS).fetchall() if there.fetchall() != [(0,)] else []
    return {
        "warehouse": str(warehouse.absolute()),
        "load": load,
        "pending": [load_id for load_id, _ in store.manifests(warehouse) if load_id > load],
        "loads": [dict(zip(loads.columns, map(_plain_value, row), strict=True)) for row in loads.fetchall()],
        "persons": _persons(connection),
        "days": sorted({str(day) for _, _, day in files}),
        "tables": _rows(connection, [file for file in files if file[0] in chosen]),
        "more_tables": more,
        "rejects": _open_rejects(connection),
        "discards": dict(connection.execute(_DISCARDS).fetchall()),
        "events_without_table": [{"event": event, "rows": rows} for event, rows in nameless],
    }


def _persons(connection: duckdb.DuckDBPyConnection) -> dict[str, Any]:
    """load: up to which persons are resolved; None where they never were. behind: loads since. living: persons.
    conflicts: findings of `identity.conflicts`, by kind."""
    ((load, behind),) = connection.execute(_RESOLVED).fetchall()
    if not load:
        return {"load": None, "behind": behind, "living": 0, "conflicts": {}}
    ((living,),) = connection.execute(_LIVING).fetchall()
    conflicts = dict(connection.execute(_DOUBTS).fetchall())
    return {"load": load, "behind": behind, "living": living, "conflicts": conflicts}


def _open_rejects(connection: duckdb.DuckDBPyConnection) -> dict[str, int]:
    rejects = Chosen().sql("loader.rejects", "loader.files")
    sql = f"SELECT reason, count(*) FROM ({rejects}) GROUP BY reason ORDER BY reason"
    return dict(connection.execute(sql, Chosen().parameters).fetchall())


def _choose(files: Sequence[tuple[str, str, date]], every: bool) -> tuple[set[str], int]:
    """The tables to count, and how many that leaves out: a footer of each file is 0.3 ms, its size is nothing."""
    calls = {*CALL_TABLES.values(), OTHER_EVENTS}
    tables = {name for name, _, _ in files}
    if every:
        return tables, 0
    sizes: dict[str, int] = defaultdict(int)
    for name, path, _ in files:
        if name not in calls:
            sizes[name] += Path(path).stat().st_size
    largest = sorted(sizes, key=lambda name: (-sizes[name], name))[:EVENT_TABLES]
    return (tables & calls) | {*largest}, len(sizes) - len(largest)


def _rows(connection: duckdb.DuckDBPyConnection, files: Sequence[tuple[str, str, date]]) -> list[dict[str, Any]]:
    """The tables of the files with their rows by day: call tables first, then those with most rows."""
    if not files:
        return []
    rows = dict(connection.execute(_ROWS, {"paths": [path for _, path, _ in files]}).fetchall())
    by_table: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for name, path, day in files:
        by_table[name][str(day)] += rows[path]
    place = {name: at for at, name in enumerate((*CALL_TABLES.values(), OTHER_EVENTS))}
    ordered = sorted(
        by_table.items(), key=lambda item: (place.get(item[0], len(place)), -sum(item[1].values()), item[0])
    )
    return [{"table": name, "rows": dict(sorted(days.items()))} for name, days in ordered]


def _plain_value(value: Any) -> Any:
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z") if isinstance(value, datetime) else value


def write(found: dict[str, Any]) -> str:
    """The state in words and tables."""
    parts = [f"{found['warehouse']}: load {found['load']} is published\n"]
    if found["pending"]:
        pending = ", ".join(map(str, found["pending"]))
        parts[0] += f"load {pending} is written but not published: a run is at work, or was stopped; the next ends it\n"
    parts.append(_loads_table(found["loads"]))
    parts += [
        f"load {each['load_id']} went back to load {each['restored']}\n" for each in found["loads"] if each["restored"]
    ]
    if found["days"]:
        parts.append(_days_table(found))
    for what, where in (("rejects", "loader rejects list"), ("discards", "loader.discards")):
        if found[what]:
            total = number(sum(found[what].values()))
            parts.append(f"{what}: {total} ({counts(found[what])}); see {where}\n")
        else:
            parts.append(f"{what}: none\n")
    parts.append(_persons_text(found["persons"]))
    if names := found["events_without_table"]:
        listed = [[each["event"], number(each["rows"])] for each in names]
        parts.append(table(["event without a table (see other_events)", "rows"], listed, [1]))
    return "\n".join(parts)


def _persons_text(persons: dict[str, Any]) -> str:
    if persons["load"] is None:
        return "persons: not worked out yet. Run: loader resolve\n"
    behind = f", {many(persons['behind'], 'load')} behind. Run: loader resolve" if persons["behind"] else ""
    text = f"persons: {number(persons['living'])}, resolved up to load {persons['load']}{behind}\n"
    if conflicts := persons["conflicts"]:
        total = number(sum(conflicts.values()))
        text += f"in doubt: {total} ({counts(conflicts)}); see loader identity conflicts\n"
    return text


def _loads_table(loads: Sequence[dict[str, Any]]) -> str:
    rows = [
        [
            str(each["load_id"]),
            each["started_at"][:19].replace("T", " "),
            f"{(_instant(each['finished_at']) - _instant(each['started_at'])).total_seconds():,.1f}",
            number(each["files"]),
            size(each["bytes"]),
            *(number(each[name]) for name in ("loaded", "duplicates", "rejected", "discarded")),
        ]
        for each in loads
    ]
    names = ["load", "started (UTC)", "seconds", "files", "read", "events", "duplicates", "rejects", "discards"]
    return table(names, rows, [0, *range(2, len(names))])


def _days_table(found: dict[str, Any]) -> str:
    rows = [
        [each["table"], *(number(each["rows"][day]) if day in each["rows"] else "" for day in found["days"])]
        for each in found["tables"]
    ]
    text = table(["rows received on", *found["days"]], rows, range(1, len(found["days"]) + 1))
    more = found["more_tables"]
    return text + (f"and {many(more, 'smaller event table')}: loader status --all\n" if more else "")


def _instant(text: str) -> datetime:
    return datetime.fromisoformat(text)
