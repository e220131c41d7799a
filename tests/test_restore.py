"""Back to an earlier load: what is seen, what counts as loaded, what later loads make of it, what cannot be done."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from click.testing import CliRunner
from deltalake import DeltaTable

import loader
from loader import db, delta, history, ledger, pipeline, store
from loader.cli import main
from loader.delta import Commit
from loader.errors import LoaderError, LockedError
from loader.schema import Column
from tests import warehouses
from tests.test_ledger import RULES
from tests.test_store import content, reset, track

FILES = {
    "1": warehouses.lines(reset("r1", v=1), track("t1", "A", n=1), {**reset("i1"), "type": "identify", "userId": "u"}),
    "2": warehouses.lines(
        reset("r2", v="text", w=2),
        "{",
        track("t2", "A", n=2, more="text"),
        track("t3", "B", n=3, tags=[1]),
        {**reset("i2"), "type": "identify", "userId": "v", "traits": {"plan": "pro"}},
    ),
    "3": warehouses.lines(track("t4", "A", n=4), track("t5", "C"), "no event"),
}


def load(folder: Path, *names: str, **more: Any) -> loader.Report:
    sources = tuple(str(folder / "in" / name) for name in names)
    return pipeline.load_only(loader.Settings(warehouse=folder / "warehouse", sources=sources, threads=1, **more))


def restore(folder: Path, load_id: int) -> tuple[int, int, tuple[int, ...], tuple[int, ...], int]:
    done = pipeline.restore(loader.Settings(warehouse=folder / "warehouse"), load_id)
    return done.load, done.restored, done.undone, done.again, done.files


def put(folder: Path, **files: bytes) -> None:
    for name, data in files.items():
        (folder / "in" / name).write_bytes(data)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with three files."""
    (tmp_path / "in").mkdir()
    for name, data in FILES.items():
        (tmp_path / "in" / name).write_bytes(data)
    return tmp_path


@pytest.fixture
def loaded(folder: Path) -> Path:
    """With a warehouse of three loads, of a file each."""
    for name in FILES:
        load(folder, name)
    return folder


def events(folder: Path) -> Any:
    """The tables of events, but for when they were loaded and which load gave the file its id."""
    return {
        name: (table.columns, warehouses.filled(table.rows, without=("uuid_ts", "loader_file_id")))
        for name, table in warehouses.tables(folder).items()
    }


def in_force(folder: Path) -> list[tuple[Any, ...]]:
    return [
        row
        for table in ("files", "rejects", "discards", "schema_changes")
        for row in warehouses.query(folder, f"SELECT '{table}', * FROM loader.{table} ORDER BY ALL")
    ]


def test_all_is_as_it_was(folder: Path) -> None:
    """Tables, columns, the ledger; the restore is a load of its own, and what it undid counts as not loaded."""
    load(folder, "1")
    then, ledger_then = content(folder), in_force(folder)
    load(folder, "2")
    load(folder, "3")
    assert restore(folder, 1) == (4, 1, (2, 3), (), 2)
    assert in_force(folder) == ledger_then
    loads = warehouses.query(
        folder, "SELECT load_id, files, items, loaded, rejected, restored, last_file_id FROM loader.loads ORDER BY 1"
    )
    assert loads == [(1, 1, 3, 3, 0, None, None), (4, 0, 0, 0, 0, 1, 3)]
    assert warehouses.query(folder, "SELECT load_id FROM loader.published") == [(4,)]
    assert [row for row in content(folder) if row[0] != "loads"] == [row for row in then if row[0] != "loads"]
    assert "b" not in warehouses.tables(folder)
    assert "w" not in warehouses.tables(folder)["resets"].columns
    # who reads the Delta tables sees the same
    assert DeltaTable(folder / "warehouse/tables/b").file_uris() == []
    assert DeltaTable(folder / "warehouse/tables/a").to_pyarrow_table().column("id").to_pylist() == ["t1"]


def test_then_the_same_files_are_loaded_once(loaded: Path) -> None:
    """With the same rows as before, under new ids of load and file."""
    before = events(loaded)
    restore(loaded, 1)
    report = load(loaded, "1", "2", "3")
    assert (report.loads, report.known_files, report.files, report.duplicates) == ([5], 1, 2, 0)
    assert events(loaded) == before
    assert warehouses.query(loaded, "SELECT load_id, file_id FROM loader.files ORDER BY 2") == [(1, 1), (5, 4), (5, 5)]
    assert load(loaded, "1", "2", "3").loads == []


def test_a_table_and_columns_that_come_again_with_other_types(loaded: Path) -> None:
    """What a load made that was undone binds no later one: neither that `more` was text, nor that B had `tags`."""
    restore(loaded, 1)
    put(
        loaded,
        **{"4": warehouses.lines(track("t2", "A", more=7), track("t3", "B", n="text", tags=1.5), reset("r4", w=True))},
    )
    report = load(loaded, "4")
    assert (report.loads, report.new_tables, report.discards) == ([5], ["b"], {})
    tables = warehouses.tables(loaded)
    assert tables["a"].columns["more"] == "BIGINT"
    assert tables["resets"].columns["w"] == "BOOLEAN"
    assert {name: tables["b"].columns[name] for name in ("n", "tags")} == {"n": "VARCHAR", "tags": "DOUBLE"}
    assert warehouses.query(loaded, "SELECT id, n, tags FROM b") == [("t3", "text", 1.5)]
    assert warehouses.query(loaded, "SELECT id, n, more FROM a ORDER BY 1") == [("t1", 1, None), ("t2", None, 7)]
    # Delta's own readers agree
    assert DeltaTable(loaded / "warehouse/tables/b").to_pyarrow_table().column("n").to_pylist() == ["text"]
    put(loaded, **{"5": warehouses.lines(track("t6", "B", n="more"))})
    assert load(loaded, "5").new_tables == []
    assert warehouses.query(loaded, "SELECT id, n FROM b ORDER BY 1") == [("t3", "text"), ("t6", "more")]


def widen(folder: Path, load_id: int) -> None:
    """A load that does nothing but make `n` of table `a` VARCHAR: all of the table written anew, in one commit."""
    warehouse = folder / "warehouse"
    with db.connect() as connection:
        known = ledger.read(connection, warehouse).tables["a"]
        columns = tuple(Column("n", "VARCHAR") if column.name == "n" else column for column in known)
        files = [file.path for file in delta.snapshot(warehouse / "tables/a").files]
        rows = connection.read_parquet(files, union_by_name=True, hive_partitioning=True)
        change = {"load_id": load_id, "table_name": "a", "column_name": "n", "change": "widened", "new_type": "VARCHAR"}
        made = {"schema_changes": change, "loads": {"load_id": load_id, "settings": json.dumps(RULES)}}
        connection.register("rows", rows.to_arrow_table())
        written = store.write(connection, warehouse, "tables/a", columns, "FROM rows", load_id, dates=["2024-05-09"])
        commits = [Commit("tables/a", "a", columns, ("received_date",), written.files, overwrite=True)]
        for table, row in made.items():
            connection.register("row", pa.Table.from_pylist([row], ledger.arrow_schema(ledger.TABLES[table])))
            written = store.write(
                connection, warehouse, ledger.folder(table), ledger.TABLES[table], "FROM row", load_id
            )
            commits.append(Commit(ledger.folder(table), table, ledger.TABLES[table], (), written.files))
    store.make_certain(warehouse, load_id, commits)
    pipeline.republish(loader.Settings(warehouse=warehouse))


def test_a_column_whose_type_had_changed(loaded: Path) -> None:
    """A later load rewrote the table: its files and types of before are live again, and the next load adds to them."""
    before = events(loaded)
    widen(loaded, 4)
    assert warehouses.query(loaded, "SELECT n FROM a ORDER BY id") == [("1",), ("2",), ("4",)]
    assert restore(loaded, 3) == (5, 3, (4,), (), 0)
    assert events(loaded) == before
    put(loaded, **{"5": warehouses.lines(track("t9", "A", n=9))})
    assert load(loaded, "5").loads == [6]
    assert warehouses.query(loaded, "SELECT sum(n) FROM a") == [(16,)]
    assert restore(loaded, 4)[1:4] == (4, (5, 6), (4,))
    assert warehouses.query(loaded, "SELECT n FROM a ORDER BY id") == [("1",), ("2",), ("4",)]


def test_twice_and_back_again(loaded: Path) -> None:
    """A restore can be restored from, too: what it undid is not gone before a vacuum."""
    before, ledger_before = events(loaded), in_force(loaded)
    assert restore(loaded, 2) == (4, 2, (3,), (), 1)
    assert restore(loaded, 1) == (5, 1, (2, 4), (), 1)
    assert restore(loaded, 3) == (6, 3, (5,), (2, 3), 0)
    assert events(loaded) == before
    assert in_force(loaded) == ledger_before
    assert load(loaded, "1", "2", "3").known_files == 3
    put(loaded, **{"4": warehouses.lines(track("t9", "C", x=1))})
    assert load(loaded, "4").loads == [7]
    assert warehouses.query(loaded, "SELECT file_id FROM loader.files WHERE load_id = 7") == [(4,)]
    assert restore(loaded, 4)[1:4] == (4, (3, 6, 7), (4,))
    assert warehouses.query(loaded, "SELECT load_id, restored FROM loader.loads ORDER BY 1") == [
        (1, None),
        (2, None),
        (4, 2),
        (8, 4),
    ]


def test_nothing_to_do(loaded: Path) -> None:
    """Where that load is the last, or was restored last."""
    before = content(loaded)
    assert restore(loaded, 3) == (3, 3, (), (), 0)
    assert content(loaded) == before
    restore(loaded, 2)
    before = content(loaded)
    assert restore(loaded, 2) == (4, 2, (), (), 0)
    assert content(loaded) == before


def test_a_load_that_there_is_not(loaded: Path) -> None:
    restore(loaded, 2)
    load(loaded, "3")
    before = content(loaded)
    for unknown in (6, 99):
        with pytest.raises(LoaderError) as error:
            restore(loaded, unknown)
        assert str(error.value) == (
            f"load {unknown}: there is no such load. There are: 1-2, 4-5; undone, but not gone: 3. "
            "See loader status, or loader.loads."
        )
    assert content(loaded) == before


def test_what_a_vacuum_took_cannot_come_back(loaded: Path) -> None:
    """That is said, and nothing changes."""
    before = content(loaded)
    restore(loaded, 2)
    table = DeltaTable(loaded / "warehouse" / "tables" / "a")
    taken = table.vacuum(0, dry_run=False, enforce_retention_duration=False)
    assert len(taken) == 1
    state = content(loaded)
    versions = {path: DeltaTable(path).version() for path in (loaded / "warehouse").glob("*/*/") if delta.exists(path)}
    with pytest.raises(LoaderError) as error:
        restore(loaded, 3)
    assert str(error.value) == (
        f"load 3 can no longer be restored: 1 of its files are gone, such as {loaded}/warehouse/tables/a/{taken[0]}. "
        "A vacuum takes what was replaced since, after some days. Nothing was changed."
    )
    assert {path: DeltaTable(path).version() for path in versions} == versions
    assert content(loaded) == state != before
    assert restore(loaded, 1)[1:3] == (1, (2, 4))


def test_rules_of_then(folder: Path) -> None:
    """The settings in force are those of the load that is restored."""
    load(folder, "1")
    load(folder, "2", accept_new_rules=True, store_full_event=True)
    restore(folder, 1)
    assert load(folder, "2").loads == [4]


def test_versions_of_loads(loaded: Path) -> None:
    """The last version of each load; one that only adds columns is none."""
    root = loaded / "warehouse" / "tables" / "a"
    operations = [entry["operation"] for entry in reversed(DeltaTable(root).history())]
    assert operations == ["CREATE TABLE", "ADD COLUMN", "WRITE", "WRITE"]
    assert [history.version_at(root, load_id) for load_id in (0, 1, 2, 3, 9)] == [None, 0, 2, 3, 3]
    assert history.loads(root) == [1, 2, 3]
    assert history.version_at(loaded / "warehouse" / "tables" / "none", 1) is None


def test_on_the_command_line(loaded: Path) -> None:
    def run(*arguments: str) -> tuple[int, str, str]:
        done = CliRunner().invoke(main, ["--warehouse", str(loaded / "warehouse"), *arguments])
        return done.exit_code, done.stdout, done.stderr

    assert run("restore", "1") == (
        0,
        "",
        "restored load 1, as load 4\nundone: 2, 3\n2 files count as not loaded\n",
    )
    assert run("restore", "1") == (0, "", "nothing to do: that is the state of load 1\n")
    assert run("restore", "3") == (0, "", "restored load 3, as load 5\nundone: 4\nin force again: 2, 3\n")
    code, out, err = run("restore", "2", "--json")
    assert (code, out, err) == (0, '{"load": 6, "restored": 2, "undone": [3, 5], "again": [], "files": 1}\n', "")
    assert "\nload 6 went back to load 2\n" in run("status")[1]
    assert run("restore", "9")[0] == 1
    for wrong in ("0", "x"):
        assert run("restore", wrong)[0] == 2
    with store.locked(loaded / "warehouse"):
        assert run("restore", "1")[0] == LockedError.exit
    done = CliRunner().invoke(main, ["--warehouse", str(loaded / "none"), "restore", "1"])
    assert (done.exit_code, done.stderr) == (
        1,
        f"error: {loaded}/none: there is no warehouse here. Load something first, or give --warehouse.\n",
    )
