"""`loader status`: what is loaded and what was refused, from the ledger and the files of the views; no event is read."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb

from loader import publish, store
from loader.text import counts, number, plain, size, table

DAYS, LOADS, NAMES, TABLES = 7, 10, 20, 30  # how many of each are shown; all tables are in the JSON

_LOADS = f"""SELECT load_id, started_at, finished_at, files, bytes, items, loaded, duplicates, rejected, discarded
    FROM loader.loads ORDER BY load_id DESC LIMIT {LOADS}"""
_REJECTS = "SELECT reason, count(*) FROM loader.rejects WHERE replayed_by IS NULL GROUP BY ALL"
_DISCARDS = "SELECT reason, count(*) FROM loader.discards WHERE replayed_by IS NULL GROUP BY ALL"
_NAMELESS = f"""SELECT event_text, count(*) AS rows FROM other_events WHERE trim(event_text) <> ''
    GROUP BY ALL ORDER BY rows DESC, event_text LIMIT {NAMES}"""

# The files of the last days, as the views name them: so the counts are of the load that is seen.
_FILES = f"""
    WITH file AS (
        SELECT view_name, unnest(regexp_extract_all(sql, '''(([^'']|'''')*/received_date=[^'']*)''', 1)) AS path
        FROM duckdb_views() WHERE schema_name = 'main' AND NOT internal
    ),
    dated AS (SELECT view_name, replace(path, '''''', '''') AS path, regexp_extract(path, 'received_date=([0-9-]+)', 1) AS day FROM file)
    SELECT view_name, path, day FROM dated WHERE day::DATE > (SELECT max(day::DATE) FROM dated) - {DAYS}
"""


def gather(connection: duckdb.DuckDBPyConnection, warehouse: Path) -> dict[str, Any]:
    """The state of a published warehouse as plain JSON values.

    days: the last 7 up to the newest received_date. tables: rows by day, of the tables that have some. rejects,
    discards: by reason, but for those loaded again since. pending: loads that are certain and not yet seen.
    """
    (published,) = connection.execute("SELECT load_id FROM loader.published").fetchall()[0]
    loads = connection.execute(_LOADS)
    names = [column[0] for column in loads.description]
    files = connection.execute(_FILES).fetchall()
    return {
        "warehouse": str(warehouse.absolute()),
        "load": published,
        "pending": [load_id for load_id, _ in store.manifests(warehouse) if load_id > published],
        "loads": [dict(zip(names, map(_json, row), strict=True)) for row in loads.fetchall()],
        "days": _days([day for _, _, day in files]),
        "tables": _rows(connection, files),
        "rejects": dict(sorted(connection.execute(_REJECTS).fetchall())),
        "discards": dict(sorted(connection.execute(_DISCARDS).fetchall())),
        "events_without_table": [
            {"event": event, "rows": rows} for event, rows in (connection.execute(_NAMELESS).fetchall() if _has_others(connection) else ())
        ],
    }
