"""What goes wrong outside: disks, permissions, input that changes, files that are damaged. Each is named, the warehouse
stays as it was, and the next run makes up for it."""

import gzip
import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import loader
from loader import pipeline, store
from loader.delta import Commit, DeltaFile
from loader.errors import LoaderError
from loader.pipeline import Progress
from tests import test_store, warehouses

pytestmark = pytest.mark.usefixtures("many_rejects")

ROOT = Path(__file__).parent.parent


def load(folder: Path, *names: str, progress: Progress = lambda *_: None) -> loader.Report:
    sources = tuple(str(folder / "in" / name) for name in names)
    settings = loader.Settings(warehouse=folder / "warehouse", sources=sources, threads=1, max_load_bytes=1)
    return pipeline.load_only(settings, progress)


def command(folder: Path, *arguments: str, start: str = "pass") -> "subprocess.CompletedProcess[str]":
    """A `loader` of its own, after the Python statements of `start`."""
    code = f"import os, sys; {start}; os.execv(sys.executable, [sys.executable, '-m', 'loader', *sys.argv[1:]])"
    return subprocess.run(
        [sys.executable, "-c", code, "--warehouse", str(folder / "warehouse"), *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a warehouse of one load, and the files of two."""
    folder = tmp_path_factory.mktemp("first")
    warehouses.load(folder, {"1": test_store.FIRST})
    (folder / "in" / "2").write_bytes(test_store.SECOND)
    return folder


@pytest.fixture
def folder(first: Path, tmp_path: Path) -> Path:
    return test_store.copy(first, tmp_path)


@pytest.fixture(scope="module")
def uninterrupted(first: Path, tmp_path_factory: pytest.TempPathFactory) -> list[object]:
    folder = test_store.copy(first, tmp_path_factory.mktemp("uninterrupted"))
    assert load(folder, "2").loads == [2]
    return test_store.content(folder)


# --- room and permissions -------------------------------------------------------------------------------------------


def full_disk(first: Path, folder: Path, uninterrupted: list[object], sizes: range) -> None:
    shutil.copytree(first, folder / "beginning")
    done = subprocess.run(
        [sys.executable, "-m", "tests.small_disk", str(folder), *map(str, sizes)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(found) == len(sizes)
    for each in found:
        assert each["unfinished"] == []
        assert each["content"] == repr(uninterrupted)
        if each["code"] == 0:
            assert each["message"].startswith("loaded 4 events")
        else:
            assert each["code"] == 1
            assert each["stays"]
            assert each["message"].startswith(("error: disk full: ", "error: DISK/", "error: the file would be"))
            assert each["message"].endswith(("what was committed stays.\n", "What was committed stays.\n"))
            assert ": No space left on device." in each["message"] or "stays" in each["message"]
            assert each["message"].count("\n") == 1
    assert {each["code"] for each in found} == {0, 1}
    assert {each["certain"] for each in found if each["code"]} == {False, True}  # before and after the manifest


def test_a_full_disk(first: Path, tmp_path: Path, uninterrupted: list[object]) -> None:
    full_disk(first, tmp_path, uninterrupted, range(10, 500, 80))


@pytest.mark.long
def test_a_full_disk_at_every_step(first: Path, tmp_path: Path, uninterrupted: list[object]) -> None:
    full_disk(first, tmp_path, uninterrupted, range(0, 500, 8))


def test_no_room_at_all(folder: Path) -> None:
    """/dev/full says what a full disk does."""
    (folder / "warehouse" / "loader" / "holder").symlink_to("/dev/full")
    before = test_store.content(folder)
    done = command(folder, "load", str(folder / "in" / "2"))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: disk full: ")
    assert done.stderr.endswith(
        f" free at {folder}/warehouse. Make room and run this again; what was committed stays.\n"
    )
    assert test_store.content(folder) == before


# Root may do anything with files. Not so without CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH, which the next program then
# doesn't get back (PR_CAPBSET_DROP).
LIKE_OTHERS = "import ctypes; [ctypes.CDLL(None).prctl(24, capability, 0, 0, 0) for capability in (1, 2)]"


@pytest.mark.parametrize("name", [".", "loader", "tables/tracks/received_date=2024-05-09", "tables/tracks/_delta_log"])
def test_a_folder_that_can_only_be_read(name: str, folder: Path, uninterrupted: list[object]) -> None:
    locked = folder / "warehouse" / name
    before = test_store.content(folder)
    locked.chmod(0o555)
    done = command(folder, "load", str(folder / "in" / "2"), start=LIKE_OTHERS)
    locked.chmod(0o755)
    assert (done.returncode, done.stdout) == (1, "")
    assert "ermission denied" in done.stderr
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert test_store.content(folder) == before
    load(folder, "2")
    assert test_store.content(folder) == uninterrupted


def test_a_source_that_may_not_be_read(folder: Path, uninterrupted: list[object]) -> None:
    (folder / "in" / "3").write_bytes(warehouses.lines({"type": "page"}))
    (folder / "in" / "3").chmod(0)
    done = command(folder, "load", f"{folder}/in/2", f"{folder}/in/3", "--quiet", start=LIKE_OTHERS)
    assert (done.returncode, done.stderr) == (
        3,
        f"error: {folder}/in/3: Permission denied. The next run tries again.\n",
    )
    assert test_store.content(folder) == uninterrupted


# --- input that is not what it was ----------------------------------------------------------------------------------


def at(stage: str, number: int, do: Callable[[], object]) -> Progress:
    """Does something when a stage begins for the n-th time."""
    last, seen = "", 0

    def progress(now: str, *_: int) -> None:
        nonlocal last, seen
        if now != last and now == stage:
            seen += 1
            if seen == number:
                do()
        last = now

    return progress


def loaded(folder: Path) -> list[str]:
    """The names of the files that count as loaded."""
    rows = warehouses.query(folder, "SELECT uri FROM loader.files ORDER BY file_id")
    return [Path(uri).name for (uri,) in rows]


def grow(path: Path) -> None:
    with path.open("ab") as file:
        file.write(warehouses.lines(test_store.reset("later")))


CHANGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "gone": (Path.unlink, "No such file or directory. The next run tries again."),
    "grown": (grow, "it was changed while it was read. The next run tries again."),
    "cut": (lambda path: os.truncate(path, 10), "it was changed while it was read. The next run tries again."),
    "touched": (lambda path: os.utime(path, (1, 1)), "it was changed while it was read. The next run tries again."),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_file_that_changes_after_it_was_listed(name: str, folder: Path, uninterrupted: list[object]) -> None:
    """It does not count as loaded, not even in part; the others of the run do, before and after it."""
    change, message = CHANGES[name]
    original = folder / "in" / "2"
    for other in ("1a", "3"):
        (folder / "in" / other).write_bytes(warehouses.lines(test_store.reset(other)))
    report = load(folder, "1a", "2", "3", progress=at("read", 2, lambda: change(original)))
    assert report.unread == {str(original): message}
    assert (report.loads, report.files, report.loaded) == ([2, 3], 2, 2)
    assert loaded(folder) == ["1", "1a", "3"]
    assert warehouses.query(folder, "SELECT count(*) FROM tracks") == [(1,)]
    original.write_bytes(test_store.SECOND)
    assert load(folder, "2").loaded == 4


def test_a_file_that_is_cut_off(folder: Path) -> None:
    """A gzip that ends too early is named on stderr, exit 3; the others are loaded."""
    whole = gzip.compress(test_store.SECOND)
    (folder / "in" / "2.gz").write_bytes(whole[:-9])
    (folder / "in" / "3").write_bytes(warehouses.lines(test_store.reset("other")))
    (folder / "in" / "1").unlink()
    (folder / "in" / "2").unlink()
    for _ in range(2):  # a second time, too
        done = command(folder, "load", str(folder / "in"), "--quiet")
        assert (done.returncode, done.stderr) == (
            3,
            f"error: {folder}/in/2.gz: the compressed data ends too early: the file is cut off or still being written. "
            "The next run tries again.\n",
        )
    assert loaded(folder) == ["1", "3"]
    (folder / "in" / "2.gz").write_bytes(whole)
    assert command(folder, "load", str(folder / "in")).returncode == 0
    assert warehouses.query(folder, "SELECT count(*) FROM tracks") == [(3,)]


# --- a load that fails after others ---------------------------------------------------------------------------------


def test_what_was_loaded_before_a_failure_is_published(folder: Path) -> None:
    """The second load of a run cannot write its tables; the first is seen, and nothing of the second."""
    (folder / "in" / "3").write_bytes(warehouses.lines(test_store.track("t9", "Broken")))
    (folder / "warehouse" / "tables" / "broken").write_text("no folder")
    with pytest.raises(OSError, match="broken"):
        load(folder, "2", "3")
    assert warehouses.query(folder, "SELECT load_id FROM loader.published") == [(2,)]
    assert warehouses.query(folder, "SELECT id FROM tracks ORDER BY 1") == [("t1",), ("t2",), ("t3",)]
    (folder / "warehouse" / "tables" / "broken").unlink()
    assert load(folder, "2", "3").loads == [3]


def test_a_load_that_got_stuck_on_its_way_is_not_seen(
    folder: Path, uninterrupted: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is in some tables, and certain; readers see the load before it, though that is published after."""
    wide = test_store.track("t9", "Wide", **{f"property_{at}": at for at in range(400)})
    (folder / "in" / "3").write_bytes(warehouses.lines({**test_store.reset("r9"), "extra": 1}, wide))
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    commits = 0

    def progress(stage: str, *_: int) -> None:
        """The entry in the log of the wide table is larger than the manifest, and than what a file may be then."""
        nonlocal commits
        commits += stage == "commit"
        small = stage == "commit" and commits == 2
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000 if small else limit[0], limit[1]))

    publish = pipeline._publish

    def with_room(*args: Any, **more: Any) -> Any:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        return publish(*args, **more)

    monkeypatch.setattr(pipeline, "_publish", with_room)
    try:
        with pytest.raises(Exception, match="File too large"):
            load(folder, "2", "3", progress=progress)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert [load_id for load_id, _ in store.manifests(folder / "warehouse")] == [3]
    log = folder / "warehouse" / "tables" / "tracks" / "_delta_log"
    assert test_store.loads_of(log) == [1, 2, 3]
    assert test_store.content(folder) == uninterrupted
    report = load(folder, "2", "3")
    assert (report.recovered, report.loads) == ([3], [])
    assert warehouses.query(folder, "SELECT id FROM wide") == [("t9",)]
    assert warehouses.query(folder, "SELECT id FROM tracks WHERE id = 't9'") == [("t9",)]


# --- a warehouse that is damaged ------------------------------------------------------------------------------------


@pytest.mark.parametrize("table", ["tables/tracks", "tables/a", "loader/loads", "loader/schema_changes"])
@pytest.mark.parametrize("damage", [b"\0 no log", None], ids=["garbage", "gone"])
def test_a_log_that_is_damaged(table: str, damage: bytes | None, folder: Path, uninterrupted: list[object]) -> None:
    """Nothing is loaded, the table is named, what is published stays; with the log put back all is well."""
    log = folder / "warehouse" / table / "_delta_log" / "00000000000000000000.json"
    before, entry = test_store.content(folder), log.read_bytes()
    files = {path for path in folder.rglob("*") if path.suffix == ".json"}
    if damage is None:
        log.unlink()
        log.with_name("00000000000000000001.json").write_bytes(entry)
        log.with_name("00000000000000000003.json").write_bytes(entry)  # a gap
    else:
        log.write_bytes(damage)
    done = command(folder, "load", str(folder / "in" / "2"))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"error: {folder}/warehouse/{table}: the log of this table cannot be read (")
    assert done.stderr.endswith("Put the folder back from a backup, or load all files into a new warehouse.\n")
    assert done.stderr.count("\n") == 1
    assert test_store.content(folder) == before
    assert store.manifests(folder / "warehouse") == []  # it was seen in time
    for path in log.parent.glob("*.json"):
        path.unlink()
    log.write_bytes(entry)
    assert {path for path in folder.rglob("*") if path.suffix == ".json"} == files
    load(folder, "2")
    assert test_store.content(folder) == uninterrupted


@pytest.mark.parametrize("damage", ["cut", "overwritten", "emptied"])
def test_a_file_of_views_that_is_damaged(damage: str, folder: Path, uninterrupted: list[object]) -> None:
    """A query says how to make it anew; a load does that by itself."""
    file = folder / "warehouse" / "warehouse.duckdb"
    data = bytearray(file.read_bytes())
    if damage == "overwritten":
        data[12_288:20_480] = b"x" * 8192
    del data[{"cut": len(data) // 2, "emptied": 0}.get(damage, len(data)) :]
    file.write_bytes(data)
    done = command(folder, "query", "SELECT 1")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"error: {file}: cannot open this file. Run: loader publish\n")
    assert command(folder, "load", str(folder / "in" / "2")).returncode == 0
    assert test_store.content(folder) == uninterrupted


def test_a_file_of_a_table_that_is_gone(folder: Path) -> None:
    """A load that needs it says which; one whose manifest names a file that is gone does not begin."""
    [file] = (folder / "warehouse" / "tables" / "tracks").glob("*/*.parquet")
    file.rename(folder / "kept")
    before = warehouses.query(folder, "SELECT * FROM loader.loads")
    done = command(folder, "load", str(folder / "in" / "2"))
    assert done.returncode == 1
    assert str(file) in done.stderr
    assert warehouses.query(folder, "SELECT * FROM loader.loads") == before
    (folder / "kept").rename(file)
    wrong = Commit("tables/tracks", "tracks", (), (), (DeltaFile("x.parquet", {}, 1, 1, "{}"),))
    with pytest.raises(LoaderError, match=r"x\.parquet: 1 bytes when it was written, now gone"):
        store.make_certain(folder / "warehouse", 2, [wrong])
    assert store.manifests(folder / "warehouse") == []
