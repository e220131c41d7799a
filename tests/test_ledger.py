"""What was loaded, as the ledger has it: loads, files, rejects, discards, schema changes; and what is loaded again."""

import gzip
import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import loader
from loader import db, ledger, pipeline
from loader.errors import UsageError
from loader.schema import Column
from tests import warehouses

MODIFIED = datetime(2024, 5, 10, 12, 0, 0, 123456, UTC)
WEB = "rudder-logs/src1/2024-05-10/1.json"
RULES = {
    "skip_tracks_table": False,
    "store_full_event": False,
    "underscore_divide_numbers": False,
    "allow_users_context_traits": False,
    "json_paths": [],
}

ONE = warehouses.lines(
    {"type": "track", "event": "A", "messageId": "a1", "receivedAt": "2024-05-09T10:00:00Z", "context": {"os": "x"}},
    "",
    {
        "batch": [
            {"type": "track", "event": "A", "messageId": "a2", "receivedAt": "2024-05-08", "properties": {"n": 1}},
            {"type": "nothing"},
            {"type": "track", "event": "A", "messageId": "a1", "receivedAt": "2024-05-09T10:00:00Z"},
        ]
    },
    '{"type":',
    {
        "type": "reset",
        "messageId": "r1",
        "receivedAt": "2024-05-07",
        "sentAt": "bad",
        "properties": {"id": "x", "v": 1},
    },
)
TWO = warehouses.lines({"type": "reset", "messageId": "r2", "receivedAt": "2024-05-06", "properties": {"v": 2}})
MORE = warehouses.lines(
    {"type": "reset", "messageId": "r3", "receivedAt": "2024-05-05", "properties": {"v": "text", "w": 1.5}},
    {"type": "identify", "messageId": "i1", "receivedAt": "2024-05-05", "userId": "u", "traits": {"tags": [1]}},
)


def put(folder: Path, name: str, data: bytes) -> str:
    path = folder / "in" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    os.utime(path, (MODIFIED.timestamp(), MODIFIED.timestamp()))
    return str(path)


def run(folder: Path, *sources: str, **settings: Any) -> loader.Report:
    return pipeline.load_only(loader.Settings(warehouse=folder / "warehouse", sources=sources, threads=2, **settings))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two files loaded; then one of them again, since it has grown."""
    folder = tmp_path_factory.mktemp("ledger")
    two = put(folder, "two.json.gz", gzip.compress(TWO, mtime=0))
    began = datetime.now(UTC)
    report = run(folder, put(folder, WEB, ONE), two)
    assert report.loads == [1]
    report = run(folder, put(folder, WEB, ONE + MORE), two, source="shop")
    assert (report.loads, report.files, report.known_files) == ([2], 1, 1)
    [(first, last)] = warehouses.query(folder, "SELECT min(started_at), max(finished_at) FROM loader.loads")
    assert began <= first < last <= datetime.now(UTC)
    return folder


def rows(folder: Path, table: str, *columns: str, order: str = "ALL") -> list[tuple[Any, ...]]:
    return warehouses.query(folder, f"SELECT {', '.join(columns)} FROM loader.{table} ORDER BY {order}")


def test_columns(folder: Path) -> None:
    for table, columns in ledger.TABLES.items():
        found = warehouses.query(folder, f"SELECT column_name, column_type FROM (DESCRIBE loader.{table})")
        types = {"TIMESTAMP WITH TIME ZONE": "TIMESTAMPTZ"}
        assert [(name, types.get(type_, type_)) for name, type_ in found] == [(c.name, c.sql_type) for c in columns]


def test_loads(folder: Path) -> None:
    numbers = ("files", "bytes", "items", "loaded", "duplicates", "rejected", "discarded")
    sizes = len(ONE) + (folder / "in/two.json.gz").stat().st_size, len(ONE + MORE)
    assert rows(folder, "loads", "load_id", *numbers) == [
        (1, 2, sizes[0], 7, 4, 1, 2, 2),
        (2, 1, sizes[1], 8, 2, 4, 2, 1),
    ]
    assert [json.loads(text) for (text,) in rows(folder, "loads", "settings")] == [RULES, RULES]
    times = rows(folder, "loads", "started_at", "finished_at")
    assert times[0][0] < times[0][1] < times[1][0] < times[1][1]
    assert [time for (time,) in warehouses.query(folder, "SELECT DISTINCT uuid_ts FROM resets ORDER BY 1")] == [
        started for started, _ in times
    ]


def test_files(folder: Path) -> None:
    web, two = str(folder / "in" / WEB), str(folder / "in/two.json.gz")
    assert rows(folder, "files", "load_id", "file_id", "uri", "size", "modified", "version", "source") == [
        (1, 1, web, len(ONE), MODIFIED, "2024-05-10T12:00:00.123456+00:00", "src1"),
        (1, 2, two, (folder / "in/two.json.gz").stat().st_size, MODIFIED, "2024-05-10T12:00:00.123456+00:00", None),
        (2, 3, web, len(ONE + MORE), MODIFIED, "2024-05-10T12:00:00.123456+00:00", "shop"),
    ]
    assert rows(folder, "files", "file_id", "lines", "blank", "items", "loaded", "duplicates", "rejected") == [
        (1, 5, 1, 6, 3, 1, 2),
        (2, 1, 0, 1, 1, 0, 0),
        (3, 7, 1, 8, 2, 4, 2),
    ]
    assert rows(folder, "files", "file_id", "first_received_at", "last_received_at") == [
        (1, datetime(2024, 5, 7, tzinfo=UTC), datetime(2024, 5, 9, 10, tzinfo=UTC)),
        (2, datetime(2024, 5, 6, tzinfo=UTC), datetime(2024, 5, 6, tzinfo=UTC)),
        (3, datetime(2024, 5, 5, tzinfo=UTC), datetime(2024, 5, 5, tzinfo=UTC)),
    ]


def test_rejects(folder: Path) -> None:
    lineage = ("load_id", "loader_file_id", "loader_line", "loader_element")
    nothing = ("unknown_type", 'type is "nothing"', '{"type":"nothing"}', None)
    cut = ("invalid_json", "the line is not valid JSON", '{"type":', None)
    assert rows(folder, "rejects", *lineage, "reason", "detail", "raw", "replayed_by") == [
        (1, 1, 3, 1, *nothing),
        (1, 1, 4, None, *cut),
        (2, 3, 3, 1, *nothing),
        (2, 3, 4, None, *cut),
    ]


def test_discards(folder: Path) -> None:
    first, second = (time for (time,) in rows(folder, "loads", "started_at"))
    names = [column.name for column in ledger.TABLES["discards"]]
    day = datetime(2024, 5, 7, tzinfo=UTC)
    assert rows(folder, "discards", *names) == [
        (1, "resets", "r1", "id", '"x"', "rule_column", day, first, 1, 5, None, None),
        (1, "resets", "r1", "sentAt", '"bad"', "bad_timestamp", day, first, 1, 5, None, None),
        (2, "resets", "r3", "v", '"text"', "type_mismatch", day - timedelta(days=2), second, 3, 6, None, None),
    ]


def test_schema_changes(folder: Path) -> None:
    """The tables and columns with the place of what caused them; rule columns and empty tables have none."""
    place = ("loader_file_id", "loader_line", "loader_element")
    created = warehouses.query(
        folder,
        f"""SELECT load_id, table_name, {", ".join(place)} FROM loader.schema_changes
        WHERE change = 'created' ORDER BY ALL""",
    )
    assert created == [
        (1, "a", 1, 1, None),
        *((1, table, None, None, None) for table in ("aliases", "groups", "identifies", "pages")),
        (1, "resets", 1, 5, None),
        (1, "screens", None, None, None),
        (1, "tracks", 1, 1, None),
    ]
    added = warehouses.query(
        folder,
        f"""SELECT load_id, table_name, column_name, old_type, new_type, {", ".join(place)} FROM loader.schema_changes
        WHERE change = 'added' AND loader_file_id IS NOT NULL ORDER BY ALL""",
    )
    assert added == [
        (1, "a", "context_os", None, "VARCHAR", 1, 1, None),
        (1, "a", "n", None, "BIGINT", 1, 3, 0),
        (1, "resets", "v", None, "BIGINT", 1, 5, None),
        (1, "tracks", "context_os", None, "VARCHAR", 1, 1, None),
        (2, "identifies", "tags", None, "JSON", 3, 7, None),
        (2, "resets", "w", None, "DOUBLE", 3, 6, None),
    ]
    rules = warehouses.query(
        folder,
        """SELECT DISTINCT load_id, change, old_type, new_type FROM loader.schema_changes
        WHERE column_name = 'received_at' AND loader_file_id IS NULL""",
    )
    assert rules == [(1, "added", None, "TIMESTAMPTZ")]
    assert warehouses.query(folder, "SELECT DISTINCT change FROM loader.schema_changes ORDER BY 1") == [
        ("added",),
        ("created",),
    ]


def test_the_first_value_is_not_null(tmp_path: Path) -> None:
    events = [{"type": "reset", "messageId": str(at), "properties": {"v": at or None}} for at in range(2)]
    warehouses.load(tmp_path, {"1": warehouses.lines(*events)})
    assert warehouses.query(
        tmp_path, "SELECT loader_line FROM loader.schema_changes WHERE table_name = 'resets' AND column_name = 'v'"
    ) == [(2,)]


def test_the_schema_changes_are_the_schema(folder: Path) -> None:
    """Taken together they give every published table with its columns in order."""
    with db.connect() as connection:
        state = ledger.read(connection, folder / "warehouse")
    assert (state.last_load, state.last_file, state.settings, state.skipped_tracks) == (2, 3, RULES, False)
    published = warehouses.tables(folder)
    assert {name: [Column(*pair) for pair in table.columns.items()] for name, table in published.items()} == {
        name: list(columns) for name, columns in state.tables.items()
    }
    assert state.event_tables == ["a"]
    with db.connect() as connection:
        assert ledger.read(connection, folder / "no warehouse") == ledger.State(0, 0, None, False, {})


def test_what_is_known_is_not_loaded(folder: Path) -> None:
    """Not under its old size either, in which it was loaded before."""
    before = warehouses.tables(folder)
    web, two = str(folder / "in" / WEB), str(folder / "in/two.json.gz")
    report = run(folder, web, two)
    assert (report.loads, report.files, report.known_files, report.items) == ([], 0, 2, 0)
    put(folder, WEB, ONE)
    assert run(folder, web, two).known_files == 2
    put(folder, WEB, ONE + MORE)
    assert warehouses.tables(folder) == before
    assert len(rows(folder, "loads", "load_id")) == 2


def test_rows_of_a_file_that_has_grown_are_single(folder: Path) -> None:
    ids = warehouses.query(folder, "SELECT id, loader_file_id, loader_line FROM resets ORDER BY ALL")
    assert ids == [("r1", 1, 5), ("r2", 2, 1), ("r3", 3, 6)]
    assert warehouses.query(folder, "SELECT id, loader_file_id, loader_element FROM a ORDER BY ALL") == [
        ("a1", 1, None),
        ("a2", 1, 0),
    ]


def test_reload_and_dry_run(folder: Path, tmp_path: Path) -> None:
    """`reload` reads what is known again, and loads nothing twice. `dry_run` leaves everything as it is."""
    web = str(folder / "in" / WEB)
    report = run(folder, web, dry_run=True, reload=True)
    assert (report.loads, report.rows) == ([], {})
    assert run(tmp_path, web, dry_run=True).loads == []
    assert not (tmp_path / "warehouse" / "warehouse.duckdb").exists()
    report = run(tmp_path, web)
    assert (report.loads, report.loaded) == ([1], 5)
    before = warehouses.tables(tmp_path)
    report = run(tmp_path, web, reload=True)
    assert (report.loads, report.loaded, report.duplicates, report.rejected) == ([2], 0, 6, 2)
    assert warehouses.tables(tmp_path) == before


def test_rules_are_those_of_the_first_load(folder: Path, tmp_path: Path) -> None:
    """Other settings that change names or types are refused, unless new rules are accepted; then these are in force."""
    path = put(tmp_path, "1", TWO)
    with pytest.raises(UsageError, match="was loaded with store_full_event = false") as error:
        run(folder, path, store_full_event=True)
    assert error.value.exit == 2
    assert len(rows(folder, "loads", "load_id")) == 2

    run(tmp_path, path, json_paths=("track.properties.b", "track.properties.a"))
    with pytest.raises(UsageError, match=r'json_paths = \["track.properties.a", "track.properties.b"\]'):
        run(tmp_path, put(tmp_path, "2", TWO))
    assert run(tmp_path, put(tmp_path, "2", MORE), accept_new_rules=True).loads == [2]
    assert run(tmp_path, put(tmp_path, "3", TWO)).loads == [3]
    assert json.loads(rows(tmp_path, "loads", "settings", order="load_id")[-1][0]) == RULES
