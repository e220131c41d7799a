"""The warehouse folder: who may write, which folders will do, and that a load happens once, whatever dies."""

import json
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import loader
from loader import pipeline, store
from loader.errors import Exit, LoaderError, LockedError, UsageError
from tests import warehouses


def reset(message_id: str, **properties: Any) -> dict[str, Any]:
    return {"type": "reset", "messageId": message_id, "receivedAt": "2024-05-09T10:00:00Z", "properties": properties}


def track(message_id: str, event: str, **properties: Any) -> dict[str, Any]:
    return {**reset(message_id, **properties), "type": "track", "event": event, "userId": "u"}


FIRST = warehouses.lines(reset("r1", v=1), track("t1", "A", n=1), {**reset("i1"), "type": "identify", "userId": "u"})
SECOND = warehouses.lines(
    reset("r2", v="text", w=2),
    "{",
    track("t2", "A", n=2, new=[1]),
    track("t3", "B", n=3),
    track("t1", "A"),
    {**reset("i2"), "type": "identify", "userId": "v", "traits": {"plan": "pro"}},
)

# --- a run that dies ------------------------------------------------------------------------------------------------

# Each ends the process where it says, as kill -9 does, in the second load.
DEATHS = {
    "before the manifest": "patch(store, 'make_certain', lambda *_: die())",
    "in the manifest": "on_replace(lambda path: path.parent.name == 'manifests')",
    "after the manifest": "patch(store, 'commit', lambda *_: die())",
    "between two tables": "on_commit(lambda commit, number: number == 3)",
    "between columns and files": "on_write(lambda table: table.history(1)[0]['operation'] == 'ADD COLUMN')",
    "before the load counts": "on_commit(lambda commit, number: commit.folder == 'loader/loads')",
    "before the file of views": "patch(publish, 'publish', lambda *_, **__: die())",
    "before the views are there": "on_replace(lambda path: path.name.startswith('warehouse.duckdb'))",
    "before the manifest goes": "patch(store, 'forget', lambda *of: die() if len(of) == 2 else None)",
}
TO_PUBLISH, FIRST_LOAD = "to be published", "in the first load"
DRIVER = """
import os, signal, sys
from pathlib import Path
from deltalake import DeltaTable
import loader
from loader import delta, pipeline, publish, store

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def patch(owner, name, function):
    getattr(owner, name)
    setattr(owner, name, function)

def on_replace(condition):
    real = Path.replace
    patch(Path, "replace", lambda path, to: die() if condition(path) else real(path, to))

def on_commit(condition):
    real, number = delta.commit, 0
    def commit(warehouse, commit, *rest):
        nonlocal number
        number += 1
        return die() if condition(commit, number) else real(warehouse, commit, *rest)
    patch(delta, "commit", commit)

def on_write(condition):
    real = DeltaTable.create_write_transaction
    patch(
        DeltaTable,
        "create_write_transaction",
        lambda table, *args, **more: die() if condition(table) else real(table, *args, **more),
    )

warehouse, source, death = sys.argv[1:]
exec(death)
pipeline.load_only(loader.Settings(warehouse=Path(warehouse), sources=(source,), threads=1))
"""


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a warehouse of one load, and the files of two."""
    folder = tmp_path_factory.mktemp("first")
    warehouses.load(folder, {"1": FIRST})
    (folder / "in" / "2").write_bytes(SECOND)
    return folder


def copy(folder: Path, to: Path) -> Path:
    """A copy, published where it is now."""
    shutil.copytree(folder, to, dirs_exist_ok=True)
    run(to)
    return to


def run(folder: Path, *names: str) -> loader.Report:
    sources = tuple(str(folder / "in" / name) for name in names)
    return pipeline.load_only(loader.Settings(warehouse=folder / "warehouse", sources=sources, threads=1))


@pytest.fixture(scope="module")
def dead(first: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, int]]:
    """For each death a folder in which a run died like this, and how the process ended."""
    processes = {}

    def start(name: str, folder: Path, source: str, death: str) -> None:
        command = [sys.executable, "-c", DRIVER, str(folder / "warehouse"), str(folder / "in" / source), death]
        processes[name] = (folder, subprocess.Popen(command))

    for name, death in {**DEATHS, TO_PUBLISH: DEATHS["between two tables"]}.items():
        start(name, copy(first, tmp_path_factory.mktemp("dead")), "2", death)
    fresh = tmp_path_factory.mktemp("dead")
    shutil.copytree(first / "in", fresh / "in")
    start(FIRST_LOAD, fresh, "1", DEATHS["between two tables"])
    return {name: (folder, process.wait(60)) for name, (folder, process) in processes.items()}


@pytest.fixture(scope="module")
def uninterrupted(first: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    folder = copy(first, tmp_path_factory.mktemp("uninterrupted"))
    assert run(folder, "2").loads == [2]
    return content(folder)


def content(folder: Path) -> list[Any]:
    """All that is published but for when and where it was loaded."""
    found: list[Any] = [
        (name, table.columns, warehouses.filled(table.rows, without=("uuid_ts",)))
        for name, table in sorted(warehouses.tables(folder).items())
    ]
    for table, left_out in (
        ("loads", "started_at, finished_at"),
        ("files", "uri, modified, version"),
        ("rejects", "replayed_by"),
        ("discards", "uuid_ts"),
        ("schema_changes", "old_type"),
    ):
        found += warehouses.query(folder, f"SELECT '{table}', * EXCLUDE ({left_out}) FROM loader.{table} ORDER BY ALL")
    return found


@pytest.mark.parametrize("name", DEATHS)
def test_the_next_run_finishes_it(
    name: str, dead: dict[str, tuple[Path, int]], first: Path, uninterrupted: list[Any]
) -> None:
    folder, code = dead[name]
    assert code == -signal.SIGKILL
    # Readers see the first load, whole; or the second, once its views are there.
    published = name == "before the manifest goes"
    assert content(folder) == (uninterrupted if published else content(first))
    certain = name not in ("before the manifest", "in the manifest")
    assert [load_id for load_id, _ in store.manifests(folder / "warehouse")] == ([2] if certain else [])

    report = run(folder, "2")
    assert report.recovered == ([2] if certain else [])
    assert (report.loads, report.known_files) == (([], 1) if certain else ([2], 0))
    assert content(folder) == uninterrupted
    assert store.manifests(folder / "warehouse") == []
    assert not [*folder.glob("warehouse/**/*.part")]
    for log in folder.glob("warehouse/*/*/_delta_log"):
        assert loads_of(log) in ([1], [2], [1, 2]), log


def loads_of(log: Path) -> list[int]:
    """The loads that a table's log names."""
    entries = [json.loads(line) for path in sorted(log.glob("*.json")) for line in path.read_text().splitlines()]
    return [entry["txn"]["version"] for entry in entries if "txn" in entry]


def test_the_first_load_died(dead: dict[str, tuple[Path, int]], first: Path) -> None:
    folder, code = dead[FIRST_LOAD]
    assert code == -signal.SIGKILL
    assert not (folder / "warehouse" / "warehouse.duckdb").exists()
    report = run(folder)
    assert (report.recovered, report.loads) == ([1], [])
    assert content(folder) == content(first)


def test_recovery_reads_no_input(dead: dict[str, tuple[Path, int]], uninterrupted: list[Any]) -> None:
    """`loader publish` finishes a load, too. The file that it came from may be gone."""
    folder, _ = dead[TO_PUBLISH]
    (folder / "in" / "2").unlink()
    load, tables = pipeline.republish(loader.Settings(warehouse=folder / "warehouse"))
    assert (load, tables) == (2, 9)
    assert content(folder) == uninterrupted
    assert store.manifests(folder / "warehouse") == []


# --- one writer -----------------------------------------------------------------------------------------------------

HOLDER = """
import sys
from pathlib import Path
from loader import store
with store.locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_another_run_holds_the_lock(tmp_path: Path) -> None:
    """That is said at once, before a source is looked at, with who it is; when it has died, the lock is free."""
    (tmp_path / "1").write_bytes(FIRST)
    settings = loader.Settings(warehouse=tmp_path / "warehouse", sources=(str(tmp_path / "1"),))
    command = [sys.executable, "-c", HOLDER, str(tmp_path / "warehouse")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        unlisted = replace(settings, sources=(str(tmp_path / "none"),))
        for asked in (settings, unlisted):
            with pytest.raises(
                LockedError, match=rf"another run is at work: process {process.pid} on .*, since 20"
            ) as error:
                pipeline.load_only(asked)
        assert error.value.exit is Exit.LOCKED
        assert not (tmp_path / "warehouse" / "loader" / "format").exists()
        process.kill()
    assert pipeline.load_only(settings).loads == [1]
    assert not (tmp_path / "warehouse" / "loader" / "holder").exists()


# --- which folders will do ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["mes données d'été", '#1 & "co"; {a}~+$/数据 仓库'])
def test_paths(name: str, tmp_path: Path, uninterrupted: list[Any]) -> None:
    """Spaces, accents, quotes and the like do no harm."""
    folder = tmp_path / name
    warehouses.load(folder, {"1": FIRST})
    (folder / "in" / "2").write_bytes(SECOND)
    assert run(folder, "1", "2").loads == [2]
    assert content(folder) == uninterrupted


@pytest.mark.parametrize("character", [*"%[]=?*", "\n", "\x7f", "\\"])
def test_paths_that_would_be_misread(character: str, tmp_path: Path) -> None:
    warehouse = tmp_path / f"id{character}9" / "warehouse"
    with pytest.raises(UsageError, match="a warehouse's path may not contain") as error:
        pipeline.load_only(loader.Settings(warehouse=warehouse))
    assert repr(character) in str(error.value)
    assert error.value.exit is Exit.USAGE
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize("format_", ["2", "10", "x", ""])
def test_a_newer_format(format_: str, first: Path, tmp_path: Path) -> None:
    folder = copy(first, tmp_path)
    (folder / "warehouse" / "loader" / "format").write_text(f"{format_}\n")
    before = content(folder)
    with pytest.raises(LoaderError, match=f"its format is '{format_}', this version reads up to 1") as error:
        run(folder, "2")
    assert error.value.exit is Exit.FAILED
    assert content(folder) == before


def test_folders_of_others(tmp_path: Path) -> None:
    """A folder with other files in it becomes no warehouse, an empty one does."""
    warehouse = tmp_path / "warehouse"
    warehouse.mkdir()
    (warehouse / "notes.txt").write_text("mine")
    with pytest.raises(LoaderError, match="this folder holds other files and is no warehouse"):
        run(tmp_path)
    (warehouse / "notes.txt").unlink()
    run(tmp_path)
    assert (warehouse / "loader" / "format").exists()


def test_a_folder_that_a_run_died_in_early(tmp_path: Path) -> None:
    (tmp_path / "warehouse" / "loader" / "manifests").mkdir(parents=True)
    (tmp_path / "warehouse" / "tables").mkdir()
    run(tmp_path)
    assert (tmp_path / "warehouse" / "loader" / "format").exists()


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "warehouse").write_text("a file")
    with pytest.raises(LoaderError, match=r"cannot write here: (Not a directory|File exists)\."):
        run(tmp_path)


def test_an_event_table_with_another_script(tmp_path: Path) -> None:
    """Its folder has an ASCII name; the table has its own."""
    warehouses.load(tmp_path, {"1": warehouses.lines(track("t", "商品を見た", v=1))})
    folders = {path.name for path in (tmp_path / "warehouse" / "tables").iterdir()}
    assert folders == {*warehouses.CALL_TABLES, "x_a08a0cc4a375ce5a"}
    assert warehouses.query(tmp_path, 'SELECT id, v FROM "商品を見た"') == [("t", 1)]


def test_a_table_that_is_gone_is_not_made_anew(tmp_path: Path) -> None:
    warehouses.load(tmp_path, {"a.jsonl": warehouses.lines({"type": "page", "messageId": "a"})})
    shutil.rmtree(tmp_path / "warehouse" / "tables" / "pages")
    with pytest.raises(LoaderError, match=r"pages: this table was loaded before, and is gone\."):
        warehouses.load(tmp_path, {"b.jsonl": warehouses.lines({"type": "page", "messageId": "b"})})
