"""What analysts open: views only, each load as a whole, and a file that is replaced while others read it."""

import re
import shutil
import threading
from pathlib import Path
from typing import Any

import duckdb
import pytest

import loader
from loader import publish, warehouse
from loader.errors import LoaderError
from loader.schema import Column
from tests import warehouses

CALLS = ("id", "anonymous_id", "user_id", "channel", "timestamp", "original_timestamp", "sent_at", "received_at")
LAST = (
    "context_ip",
    "context_request_ip",
    "context_passed_ip",
    "uuid_ts",
    *("loader_file_id", "loader_line", "loader_element"),
)
OWN = {
    "tracks": ("event", "event_text"),
    "pages": ("name",),
    "screens": ("name",),
    "groups": ("group_id",),
    "aliases": ("previous_id",),
}


def reset(number: int) -> dict[str, Any]:
    return {"type": "reset", "messageId": f"r{number}", "receivedAt": f"2024-05-{number % 28 + 1:02}"}


def track(number: int, event: str) -> dict[str, Any]:
    return {**reset(number), "type": "track", "event": event, "messageId": f"t{number}"}


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a warehouse of one load, of resets only."""
    folder = tmp_path_factory.mktemp("publish")
    warehouses.run(folder, {"1": warehouses.lines(reset(1), reset(2))})
    return folder


def test_all_tables_are_there_from_the_first_load_on(loaded: Path) -> None:
    """With their rule columns, typed, if they are empty."""
    tables = warehouses.tables(loaded)
    assert tables.keys() == {*warehouses.CALL_TABLES, "users"}
    for name, table in tables.items():
        if name != "users":
            assert list(table.columns) == [*CALLS, "received_date", *OWN.get(name, ()), *LAST]
        assert len(table.rows) == (2 if name == "resets" else 0)
        assert (table.columns["timestamp"], table.columns["received_date"]) == ("TIMESTAMPTZ", "DATE")
        assert table.columns["anonymous_id"] == "VARCHAR"
    assert list(tables["users"].columns) == [
        "id",
        "anonymous_id",
        *CALLS[3:7],
        "received_date",
        *LAST[:4],
        "received_at",
    ]
    assert tables["users"].columns["uuid_ts"] == "TIMESTAMPTZ"


def test_views_only(loaded: Path) -> None:
    """Nothing but views that any DuckDB can read, in a file for DuckDB 1.1 and later. (Those on persons need more
    functions: see test_old_duckdb.)"""
    with warehouses.opened(loaded) as connection:
        assert connection.execute("SELECT count(*) FROM duckdb_tables() WHERE NOT internal").fetchall() == [(0,)]
        views = connection.execute(
            "SELECT schema_name, list(view_name ORDER BY view_name) FROM duckdb_views() WHERE NOT internal GROUP BY ALL"
        ).fetchall()
        ledger = ["discards", "files", "loads", "published", "rejects", "schema_changes"]
        assert dict(views) == {
            "loader": ledger,
            "main": sorted([*warehouses.CALL_TABLES, "users"]),
            "identity": ["conflicts", "device_intervals", "edges", "map", "person_changes", "persons", "rules"],
            "resolved": sorted([*warehouses.CALL_TABLES, "sessions", "timeline", "user_traits", "users"]),
        }
        [(sql,)] = connection.execute("""
            SELECT string_agg(sql, ' ') FROM duckdb_views() WHERE schema_name IN ('main', 'loader') AND NOT internal
        """).fetchall()
        assert set(re.findall(r"\w+(?=\()", sql)) <= {"CAST", "list_value", "read_parquet", "struct_pack"}
    head = (loaded / "warehouse" / "warehouse.duckdb").read_bytes()[:20]
    assert head[8:12] == b"DUCK"
    assert int.from_bytes(head[12:20], "little") == 64  # the storage version of DuckDB 0.9 to 1.1


def test_columns_of_a_view_are_typed(loaded: Path) -> None:
    """A file that lacks a newer column reads as NULL there; `received_date` is a DATE that prunes files."""
    with warehouses.opened(loaded) as connection:
        [(plan,)] = [
            row[1:]
            for row in connection.execute("EXPLAIN SELECT id FROM resets WHERE received_date = '2024-05-02'").fetchall()
        ]
        assert "1/2" in plan
        rows = connection.execute("SELECT id FROM resets WHERE received_date = DATE '2024-05-02'").fetchall()
        assert rows == [("r1",)]


def test_readers_keep_what_they_have_open(tmp_path: Path) -> None:
    """An open connection sees the load that it opened, whole, also in tables that have grown or are new; a new one the
    next load."""
    warehouses.load(tmp_path, {"1": warehouses.lines(track(1, "A"))})
    inode = (tmp_path / "warehouse" / "warehouse.duckdb").stat().st_ino
    with warehouses.opened(tmp_path) as before:
        sql = "SELECT (SELECT count(*) FROM tracks), (SELECT count(*) FROM a), (SELECT load_id FROM loader.published)"
        assert before.execute(sql).fetchall() == [(1, 1, 1)]
        warehouses.load(tmp_path, {"2": warehouses.lines(track(2, "A"), track(3, "B"))})
        assert before.execute(sql).fetchall() == [(1, 1, 1)]
        with pytest.raises(duckdb.CatalogException):
            before.execute("FROM b")
    assert (tmp_path / "warehouse" / "warehouse.duckdb").stat().st_ino != inode
    assert warehouses.query(tmp_path, sql) == [(3, 2, 2)]
    assert warehouses.query(tmp_path, "SELECT id FROM b") == [("t3",)]
    assert not [*tmp_path.glob("warehouse/*.part")]


def test_only_what_has_changed_is_written_anew(tmp_path: Path) -> None:
    """The other views stay word for word. Without news the file stays."""
    warehouses.run(tmp_path, {"1": warehouses.lines(reset(1), track(1, "A"))})
    views = "SELECT schema_name, view_name, sql FROM duckdb_views() WHERE NOT internal"
    before = {row[:2]: row[2] for row in warehouses.query(tmp_path, views)}
    warehouses.run(tmp_path, {"2": warehouses.lines(reset(2))})
    after = {row[:2]: row[2] for row in warehouses.query(tmp_path, views)}
    assert {name for name in after if after[name] != before[name]} == {
        ("main", "resets"),
        ("resolved", "resets"),
        ("resolved", "timeline"),
        ("loader", "files"),
        ("loader", "loads"),
        ("loader", "published"),
    }  # nobody is identified, so no person and no user is new
    file = tmp_path / "warehouse" / "warehouse.duckdb"
    stat = file.stat()
    source = str(tmp_path / "in" / "2")
    assert loader.run(loader.Settings(warehouse=tmp_path / "warehouse", sources=(source,))).known_files == 1
    assert (file.stat().st_ino, file.stat().st_mtime_ns) == (stat.st_ino, stat.st_mtime_ns)


def test_readers_meanwhile_see_whole_loads(tmp_path: Path) -> None:
    """Tables of one load belong together, whenever one looks."""
    warehouses.load(tmp_path, {"0": warehouses.lines(track(0, "A"), reset(0))})
    done = threading.Event()
    seen = []

    def look() -> None:
        while not done.is_set():
            seen.append(
                warehouses.query(
                    tmp_path,
                    """SELECT (SELECT count(*) FROM tracks), (SELECT count(*) FROM a), (SELECT count(*) FROM resets),
                    (SELECT sum(loaded) FROM loader.files), (SELECT load_id FROM loader.published)""",
                )[0]
            )

    reader = threading.Thread(target=look)
    reader.start()
    try:
        for number in (1, 2):
            warehouses.load(tmp_path, {str(number): warehouses.lines(track(number, "A"), reset(number))})
    finally:
        done.set()
        reader.join()
    assert set(seen) <= {(1, 1, 1, 2, 1), (2, 2, 2, 4, 2), (3, 3, 3, 6, 3)}
    assert seen == sorted(seen)
    assert len({row[-1] for row in seen}) > 1


def test_a_warehouse_that_was_moved(loaded: Path, tmp_path: Path) -> None:
    """Its views name files that are elsewhere: opening it says so, and the next run writes all of them anew."""
    shutil.copytree(loaded / "warehouse", tmp_path / "moved" / "warehouse")
    folder = tmp_path / "moved"
    with pytest.raises(LoaderError, match=r"was moved here from .*\. Run: loader publish"):
        warehouse.connect(folder / "warehouse")
    assert publish.published(folder / "warehouse") == publish.Shown(1, str(loaded / "warehouse"), 1, 1)
    assert loader.run(loader.Settings(warehouse=folder / "warehouse")).loads == []
    assert publish.published(folder / "warehouse") == publish.Shown(1, str(folder / "warehouse"), 1, 1)
    views = warehouses.query(folder, "SELECT sql FROM duckdb_views() WHERE NOT internal")
    assert not [sql for (sql,) in views if str(loaded) in sql]
    assert warehouses.tables(folder) == warehouses.tables(loaded)
    with warehouse.connect(folder / "warehouse") as connection:
        assert connection.execute("SELECT count(*) FROM resets").fetchall() == [(2,)]


@pytest.mark.parametrize("damage", [b"", b"no database" * 1000, None])
def test_a_file_that_is_lost_or_broken_is_made_anew(damage: bytes | None, loaded: Path, tmp_path: Path) -> None:
    shutil.copytree(loaded / "warehouse", tmp_path / "warehouse")
    file = tmp_path / "warehouse" / "warehouse.duckdb"
    if damage is None:
        file.unlink()
    else:
        file.write_bytes(damage)
    assert publish.published(tmp_path / "warehouse") is None
    loader.run(loader.Settings(warehouse=tmp_path / "warehouse"))
    assert warehouses.tables(tmp_path) == warehouses.tables(loaded)


def test_nothing_is_published_before_the_first_load(tmp_path: Path) -> None:
    loader.run(loader.Settings(warehouse=tmp_path / "warehouse"))
    assert not (tmp_path / "warehouse" / "warehouse.duckdb").exists()
    with pytest.raises(LoaderError, match="there is nothing published yet"):
        warehouse.connect(tmp_path / "warehouse")


def test_a_table_without_files_has_no_rows() -> None:
    columns = (Column("id", "VARCHAR"), Column('q"uote', "TIMESTAMPTZ"), Column("tags", "JSON"))
    sql = publish.view_sql(columns, [], partitioned=False)
    assert sql == 'SELECT NULL::VARCHAR AS "id", NULL::TIMESTAMPTZ AS "q""uote", NULL::VARCHAR AS "tags" WHERE false'
    assert duckdb.execute(sql).fetchall() == []
