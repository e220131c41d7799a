"""Whether all that was put in is there: otherwise a benchmark ends, and its figures don't count."""

from pathlib import Path

import duckdb

from loader.calls import CALL_TABLES


def check_warehouse(warehouse: Path, events: int) -> int:
    """Number of tables in the warehouse. Ends the benchmark unless each event is one row with all its values.

    A value that fits no type of an earlier load is a discard, which keeps it; there must be few of those.
    """
    with duckdb.connect(str(warehouse / "warehouse.duckdb"), read_only=True) as connection:
        connection.execute("SET TimeZone = 'UTC'")

        def number(sql: str) -> int:
            return int(connection.execute(sql).fetchall()[0][0])

        views = "SELECT view_name FROM duckdb_views() WHERE schema_name = 'main' AND NOT internal"
        tables = [name for (name,) in connection.execute(views).fetchall()]
        calls = [table for table in tables if table in CALL_TABLES.values()]
        rows = {table: number(f'SELECT count(*) FROM "{table}"') for table in tables if table != "users"}
        ids = " UNION ALL ".join(f'SELECT id FROM "{table}"' for table in calls)
        discards = "SELECT count(*) FROM loader.discards"
        found = {
            "rows of the call tables": (sum(rows[table] for table in calls), events),
            "different ids in them": (number(f"SELECT count(DISTINCT id) FROM ({ids})"), events),
            "rows of the event tables": (sum(rows[table] for table in rows if table not in calls), rows["tracks"]),
            "rejects": (number("SELECT count(*) FROM loader.rejects"), 0),
            "discards but for type_mismatch": (number(f"{discards} WHERE reason <> 'type_mismatch'"), 0),
            "type_mismatch beyond 1 ‰ of events": (max(number(discards) - events // 1000, 0), 0),
        }
    expect(warehouse, found)
    return len(tables)


def check_parquet(path: Path, events: int) -> None:
    """Ends the benchmark unless each event is one row."""
    sql = "SELECT count(*), count(DISTINCT messageId) FROM read_parquet($path)"
    rows, ids = duckdb.execute(sql, {"path": str(path)}).fetchall()[0]
    expect(path, {"rows": (rows, events), "different ids": (ids, events)})


def expect(path: Path, found: dict[str, tuple[int, int]]) -> None:
    """Ends the benchmark if a number is not the one it should be."""
    if wrong := [f"{what}: {number:,}, not {right:,}" for what, (number, right) in found.items() if number != right]:
        raise SystemExit(f"{path}: this is not what was put in. {'; '.join(wrong)}")


def check_dlt(path: Path, events: int) -> None:
    """Ends the benchmark unless each event is one row of one of dlt's tables; those of arrays have no `type`."""
    with duckdb.connect(str(path), read_only=True) as connection:
        tables = connection.execute("""
            SELECT table_name FROM duckdb_columns()
            WHERE schema_name = 'loaded' AND column_name IN ('type', 'message_id', '_dlt_load_id')
            GROUP BY table_name HAVING count(*) = 3
        """).fetchall()
        ids = " UNION ALL ".join(f'SELECT message_id FROM loaded."{table}"' for (table,) in tables)
        rows, different = connection.execute(f"SELECT count(*), count(DISTINCT message_id) FROM ({ids})").fetchall()[0]
    expect(path, {"rows": (rows, events), "different ids": (different, events)})
