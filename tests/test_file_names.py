"""Names of data files tell which have the same columns, truly, and views look into as few of them as they can."""

import uuid
from collections import Counter
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest

from loader import delta, file_names, pipeline, publish
from loader.schema import Column
from loader.settings import Settings
from tests import warehouses

SHORT = {"TIMESTAMP WITH TIME ZONE": "TIMESTAMPTZ"}
A, B = Column("a", "BIGINT"), Column("b", "VARCHAR")


def mark(*columns: Column) -> str:
    """What the name of a file with these columns says of them."""
    load, mark, chance = file_names.new(7, columns).split("-")
    assert (load, len(chance)) == ("7", 12)
    return mark


def test_the_mark_is_of_the_columns() -> None:
    """Of their names and types in a file, in any order; the partition is no column of a file."""
    assert mark(A, B) == mark(B, A) == mark(A, Column("b", "JSON"), Column("received_date", "DATE"))
    others = [mark(A), mark(B), mark(A, Column("b", "DATE")), mark(A, Column("c", "VARCHAR")), mark()]
    assert len({mark(A, B), *others}) == 6
    assert file_names.new(7, [A]) != file_names.new(7, [A])


def test_groups() -> None:
    """Files of one mark, the most first; alone, or without a mark, they are of the others. In the order given."""
    one, two, three = (f"{number:016x}" for number in range(3))
    paths = [f"/w/t/received_date=2026-03-0{at}/{at}-{mark}-0123456789ab.parquet" for at, mark in enumerate([one] * 3)]
    more = [f"/w/t/{at}-{mark}-0123456789ab.parquet" for at, mark in enumerate([two, two, three])]
    old = ["/w/t/4-0123456789ab.parquet", "/w/t/4-0123456789ab-0.parquet", f"/w/5-{one}-a/t/5-0123456789ab.parquet"]
    mixed = [more[0], old[0], paths[0], old[1], more[2], paths[1], more[1], old[2], paths[2]]
    assert file_names.groups(mixed) == [
        (True, paths),
        (True, more[:2]),
        (False, [old[0], old[1], more[2], old[2]]),
    ]
    assert file_names.groups(paths) == [(True, paths)]
    assert file_names.groups(old) == [(False, old)]
    assert file_names.groups(paths[:1]) == [(False, paths[:1])]


def test_no_more_than_some_groups() -> None:
    paths = [f"/w/{at}-{at // 2:016x}-0123456789ab.parquet" for at in range(40)]
    found = file_names.groups([*paths, "/w/99-0000000000000013-0123456789ab.parquet"])
    assert [(alike, len(files)) for alike, files in found] == [(True, 3), *[(True, 2)] * 7, (False, 24)]
    assert sorted(file for _, files in found for file in files) == sorted(
        [*paths, "/w/99-" + "0" * 14 + "13-0123456789ab.parquet"]
    )


def track(number: int, day: int = 1, **properties: Any) -> dict[str, Any]:
    received = f"2026-03-{day:02}T10:00:00Z"
    return {"type": "track", "event": "E", "messageId": f"t{number}", "receivedAt": received, "properties": properties}


def load(folder: Path, number: int, *events: dict[str, Any], **settings: Any) -> None:
    warehouses.load(folder, {f"{number}.jsonl": warehouses.lines(*events)}, **settings)


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A warehouse whose loads brought columns, in turn with loads that did not, and wider numbers."""
    folder = tmp_path_factory.mktemp("grown")
    for number in range(12):
        more = {f"p{number // 3}": number, "x": number if number < 5 else 1.5} if number % 3 < 2 else {}
        load(folder, number, track(3 * number, 1, n=number), track(3 * number + 1, 2, **more))
    load(folder, 12, {**track(100), "event": "One Too Many"}, max_event_tables=1)
    warehouses.run(folder, {"13.jsonl": warehouses.lines({**track(101), "type": "identify", "userId": "u"})})
    return folder


def test_the_marks_are_those_of_the_columns_that_files_have(grown: Path) -> None:
    """Of all tables: of events, of the ledger, of persons; also of files that were rewritten or compacted."""
    pipeline.compact(Settings(warehouse=grown / "warehouse"), ["tracks", "loader.files"])
    found = set()
    with duckdb.connect() as connection:
        for file in (grown / "warehouse").rglob("*.parquet"):
            folder = file.relative_to(grown / "warehouse").parts[:2]
            if "_delta_log" in file.parts or folder[0] == "models":
                continue
            sql = "DESCRIBE FROM read_parquet($file, hive_partitioning = false)"
            described = connection.execute(sql, {"file": str(file)}).fetchall()
            columns = [Column(name, SHORT.get(type_, type_)) for name, type_, *_ in described]
            own = file.name.split("-")[1]
            assert mark(*columns) == own, file
            found.add(("/".join(folder), own))
    counts = Counter(folder for folder, _ in found)
    assert (counts["tables/tracks"], counts["tables/e"], counts["tables/other_events"]) == (1, 5, 1)
    assert (counts["loader/files"], counts["loader/schema_changes"], counts["identity/map"]) == (1, 1, 1)


def test_a_view_over_groups_has_all_rows_and_cells(grown: Path) -> None:
    snapshot = delta.snapshot(grown / "warehouse/tables/e")
    files = [file.path for file in snapshot.files]
    assert len(file_names.groups(files)) > 2
    plain = f"SELECT * FROM read_parquet({files}, union_by_name = true, hive_partitioning = true)"
    names = ", ".join(f'"{column.name}"' for column in snapshot.columns)
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        wanted = connection.execute(f"SELECT {names} FROM ({plain}) ORDER BY id").fetchall()
    found = warehouses.query(grown, f"SELECT {names} FROM e ORDER BY id")
    assert (len(found), found) == (24, wanted)
    types = {name: type_ for name, type_, *_ in warehouses.query(grown, "DESCRIBE e")}
    assert {column.name: column.type for column in snapshot.columns} == {
        name: SHORT.get(type_, type_) for name, type_ in types.items()
    }


def test_a_query_looks_only_into_files_that_it_needs(tmp_path: Path) -> None:
    """And at the first for its columns: files of other days may as well be no Parquet."""
    for number in range(3):
        load(tmp_path, number, track(number, number + 1))
    files = [file.path for file in delta.snapshot(tmp_path / "warehouse/tables/tracks").files]
    assert warehouses.query(tmp_path, "SELECT id FROM tracks ORDER BY id") == [("t0",), ("t1",), ("t2",)]
    Path(files[1]).write_text("no Parquet")
    assert warehouses.query(tmp_path, "SELECT id FROM tracks WHERE received_date = '2026-03-03'") == [("t2",)]
    with pytest.raises(duckdb.InvalidInputException):
        warehouses.query(tmp_path, "SELECT id FROM tracks ORDER BY id")


def test_what_is_compacted_is_of_the_group_of_loads_with_its_columns(tmp_path: Path) -> None:
    for number in range(3):
        load(tmp_path, number, track(number, 1, n=number), track(10 + number, 2, n=number))
    load(tmp_path, 3, track(20, 3, n=1))
    pipeline.compact(Settings(warehouse=tmp_path / "warehouse"), ["e"])
    snapshot = delta.snapshot(tmp_path / "warehouse/tables/e")
    files = [file.path for file in snapshot.files]
    assert (len(files), file_names.groups(files)) == (3, [(True, files)])
    assert len({str(sorted(pq.read_schema(file).names)) for file in files}) == 1
    assert "union_by_name = false" in publish.table_sql(tmp_path / "warehouse/tables/e")
    assert warehouses.query(tmp_path, "SELECT count(*), sum(n) FROM e") == [(7, 7)]


def test_files_that_were_rewritten(tmp_path: Path) -> None:
    """A column that got another type has all its cells."""
    load(tmp_path, 0, track(0, 1, n=1), track(1, 2))
    load(tmp_path, 1, track(2, 1, n=1.5), track(3, 2))
    assert warehouses.query(tmp_path, "SELECT id, n FROM e ORDER BY id") == [
        ("t0", 1.0),
        ("t1", None),
        ("t2", 1.5),
        ("t3", None),
    ]


def test_a_ledger_is_compacted_with_files_of_an_earlier_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whose names tell no columns: all are read in their order, and views show all of them."""
    for number in range(9):
        with monkeypatch.context() as patch:
            if number % 3 == 0:
                patch.setattr(file_names, "new", lambda number, _: f"{number}-{uuid.uuid4().hex[:12]}")
            load(tmp_path, number, track(number), {"no": "event"}, max_reject_share=1.0)
        if number == 4:
            pipeline.compact(Settings(warehouse=tmp_path / "warehouse"), ["loader.rejects"])
    root = tmp_path / "warehouse/loader/rejects"
    assert [alike for alike, _ in file_names.groups([file.path for file in delta.snapshot(root).files])] == [
        True,
        False,
    ]
    assert warehouses.query(tmp_path, "SELECT id FROM e ORDER BY id") == [(f"t{number}",) for number in range(9)]
    pipeline.compact(Settings(warehouse=tmp_path / "warehouse"), ["loader.rejects"])
    (file,) = delta.snapshot(root).files
    rows = "SELECT load_id, file_row_number FROM read_parquet($1, file_row_number = true)"
    assert warehouses.query(tmp_path, rows, file.path) == [(number + 1, number) for number in range(9)]
