"""`loader status`: what is loaded, what was refused, how far persons are resolved; from the ledger and the views."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb

from loader import store
from loader.calls import CALL_TABLES, OTHER_EVENTS
from loader.given import written
from loader.open_rejects import Chosen
from loader.text import counts, many, number, size, table

DAYS, LOADS, NAMES, EVENT_TABLES = 7, 10, 20, 20  # how many of each are told

_LOADS = f"""
    SELECT load_id, started_at, finished_at, files, bytes, items, loaded, duplicates, rejected, discarded, restored
    FROM loader.loads ORDER BY load_id DESC LIMIT {LOADS}
"""
_LAST = "SELECT load_id, finished_at FROM loader.loads WHERE restored IS NULL ORDER BY load_id DESC LIMIT 1"
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
    ), dated AS MATERIALIZED (
        SELECT view_name, replace(text, chr(1), chr(39)) AS path,
            regexp_extract(text, '.*/received_date=([0-9-]+)/', 1)::DATE AS day
        FROM view_text WHERE contains(text, '/received_date=')
    )
    SELECT view_name, path, day FROM dated SEMI JOIN (SELECT DISTINCT day FROM dated ORDER BY day DESC LIMIT {DAYS})
    USING (day)
"""
_MODELS = "SELECT name AS model, rows, load_id AS load, error FROM loader.models ORDER BY name"
_ROWS = "SELECT file_name, num_rows FROM parquet_file_metadata($paths)"


def gather(connection: duckdb.DuckDBPyConnection, warehouse: Path, *, every: bool = False) -> dict[str, Any]:
    """The state of a published warehouse as plain JSON values.

    days: the last 7 values of received_date. tables: their rows by day; of the event tables the 20 that hold
    most, or `every` one; more_tables: how many that leaves out. rejects: those that are open, discards: those not
    replayed, by reason. pending: loads that are certain and not to be seen yet. persons: how far they are resolved, see
    `_persons`. events_without_table: the 20 most frequent. models: the user's own, with the rows and the load of their
    last result, and why there is no newer one.
    """
    ((load,),) = connection.execute("SELECT load_id FROM loader.published").fetchall()
    loads = connection.sql(_LOADS)
    files: list[tuple[str, str, date]] = connection.execute(_FILES).fetchall()
    chosen, more = _choose(files, every)
    nameless = connection.execute(_NAMELESS).fetchall() if _there(connection, "main", OTHER_EVENTS) else []
    models = connection.sql(_MODELS) if _there(connection, "loader", "models") else None
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
        "models": [dict(zip(models.columns, row, strict=True)) for row in models.fetchall()] if models else [],
    }


def _there(connection: duckdb.DuckDBPyConnection, schema: str, view: str) -> bool:
    sql = "SELECT 1 FROM duckdb_views() WHERE schema_name = $schema AND view_name = $view"
    return bool(connection.execute(sql, {"schema": schema, "view": view}).fetchall())


@dataclass(frozen=True, slots=True)
class Age:
    """The last load of files that is published, and the seconds since its end. load: None where there is none."""

    load: int | None
    finished: datetime | None
    seconds: float

    def is_good(self, max_age: float) -> bool:
        """Whether that is no longer ago than that many seconds."""
        return self.load is not None and self.seconds <= max_age

    def to_dict(self, max_age: float) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            "good": self.is_good(max_age),
            "load": self.load,
            "finished_at": _plain_value(self.finished),
            "age_seconds": None if self.load is None else round(self.seconds),
            "max_age_seconds": round(max_age),
        }

    def text(self, max_age: float) -> str:
        """In one line."""
        if self.load is None or self.finished is None:
            return "stale: nothing is loaded"
        age = timedelta(seconds=round(self.seconds))
        word = "good" if self.is_good(max_age) else "stale"
        limit = f"the limit is {written(max_age)}"
        return f"{word}: load {self.load} ended {self.finished:%Y-%m-%d %H:%M:%S} UTC, {age} ago; {limit}"


def age(connection: duckdb.DuckDBPyConnection, now: datetime) -> Age:
    """How long ago the last load ended that is published; one that went back to an earlier load doesn't count."""
    rows = connection.execute(_LAST).fetchall()
    if not rows:
        return Age(None, None, 0.0)
    ((load, finished),) = rows
    return Age(load, finished.astimezone(UTC), (now - finished).total_seconds())


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
    if models := found["models"]:
        listed = [
            [e["model"], *("" if e[key] is None else number(e[key]) for key in ("rows", "load")), e["error"] or ""]
            for e in models
        ]
        parts.append(table(["model", "rows", "of load", "error"], listed, [1, 2]))
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
