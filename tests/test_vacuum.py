"""What a vacuum takes, and that it takes nothing that is needed: by a version of the last days, or by what is seen."""

import json
import os
import shutil
import sys
import time
from pathlib import Path

import polars as pl
import pytest
from deltalake import DeltaTable

import loader
from loader import delta, pipeline, store
from loader.errors import LoaderError
from tests import test_kill, warehouses
from tests.conftest import Run
from tests.test_compact import compacted, given_, load, run, seen

DAY = 86400


def later(folder: Path, days: float) -> None:
    """As if that many days had passed: all that is there is so much older."""
    for path in (folder / "warehouse").rglob("*"):
        status = path.stat()
        os.utime(path, (status.st_atime, status.st_mtime - days * DAY))


def vacuum(folder: Path, days: int = 7) -> tuple[int, int]:
    done = pipeline.vacuum(given_(folder), days)
    return done.files, done.bytes


def there(folder: Path, under: str = "") -> set[str]:
    """The Parquet files of tables."""
    root = folder / "warehouse"
    paths = (path for path in (root / under).rglob("*.parquet") if path.parent.name != "_delta_log")
    return {str(path.relative_to(root)) for path in paths}


def live(folder: Path, table: str, version: int | None = None) -> set[str]:
    return {
        str(Path(file.path).relative_to(folder / "warehouse"))
        for file in delta.live_files(folder / "warehouse" / table, version)
    }


def ids(folder: Path, table: str, version: int) -> list[str]:
    return sorted(pl.read_delta(str(folder / "warehouse" / table), version=version).get_column("id"))


@pytest.fixture
def weeks(tmp_path: Path) -> Path:
    """Runs 20 and 19 days ago, a compaction 9 days ago, runs 8 and 2 days ago, a compaction one day ago."""
    for wait, number in ((0, 0), (1, 1)):
        later(tmp_path, wait)
        run(tmp_path, number)
    later(tmp_path, 10)
    compacted(tmp_path)
    for wait, number in ((1, 2), (6, 3)):
        later(tmp_path, wait)
        run(tmp_path, number)
    later(tmp_path, 1)
    compacted(tmp_path)
    later(tmp_path, 1)
    return tmp_path


def test_every_version_of_the_last_days_stays(weeks: Path) -> None:
    """And no other: what was live seven days ago is of them, what was replaced before is not."""
    before, every, root = seen(weeks), there(weeks), weeks / "warehouse" / "tables" / "tracks"
    log = {entry["version"]: time.time() - entry["timestamp"] / 1000 for entry in DeltaTable(root).history()}
    assert len(log) == 6
    rows = [ids(weeks, "tables/tracks", version) for version in range(6)]
    wanted = {version: live(weeks, "tables/tracks", version) for version in range(6)}
    count, size = vacuum(weeks)
    gone = every - there(weeks)
    assert (count, size > count * 100) == (len(gone), True)
    assert there(weeks, "tables/tracks") == set().union(*(wanted[version] for version in (3, 4, 5)))
    assert {path for path in gone if path.startswith("tables/tracks")} == wanted[1]
    assert seen(weeks) == before
    assert [ids(weeks, "tables/tracks", version) for version in (2, 3, 4, 5)] == rows[2:]
    assert vacuum(weeks) == (0, 0)
    vacuum(weeks, 1)
    assert there(weeks, "tables/tracks") == wanted[5]
    assert seen(weeks) == before
    run(weeks, 4)
    differences = pipeline.verify(given_(weeks)).differences
    assert differences is not None
    assert set(differences.values()) == {0}


def test_at_the_border(tmp_path: Path) -> None:
    """A version that was replaced just before the time began is gone with its files; just after, it stays."""
    load(tmp_path, 0)
    load(tmp_path, 1)
    old = live(tmp_path, "tables/tracks")
    later(tmp_path, 3)
    compacted(tmp_path)
    later(tmp_path, 1.99)
    assert vacuum(tmp_path, 2) == (0, 0)
    assert old <= there(tmp_path)
    later(tmp_path, 0.02)
    assert vacuum(tmp_path, 2)[0] > 0
    assert not old & there(tmp_path)


def test_restore_after_it(weeks: Path) -> None:
    """What is of the last days can be restored. Of the rest it is said that it cannot, and nothing changes."""
    then = {number: ids(weeks, "tables/tracks", version) for number, version in ((2, 2), (3, 3), (4, 5))}
    vacuum(weeks)
    before = seen(weeks)
    with pytest.raises(LoaderError) as error:
        pipeline.restore(given_(weeks), 1)
    assert str(error.value).startswith("load 1 can no longer be restored: 1 of its files are gone, such as ")
    assert str(error.value).endswith("A vacuum takes what was replaced since, after some days. Nothing was changed.")
    assert seen(weeks) == before
    pipeline.restore(given_(weeks), 3)
    assert sorted(id_ for (id_,) in warehouses.query(weeks, "SELECT id FROM tracks")) == then[3]
    pipeline.restore(given_(weeks), 4)
    assert sorted(id_ for (id_,) in warehouses.query(weeks, "SELECT id FROM tracks")) == then[4]


def test_what_runs_that_died_had_written(tmp_path: Path) -> None:
    """Goes when it is older; also of a table that never came to be. What is no file of a table stays."""
    load(tmp_path, 0)
    root = tmp_path / "warehouse"
    orphans = [
        root / "tables/tracks/received_date=2026-03-01/9-x.parquet",
        root / "tables/never/received_date=2026-03-01/9-x.parquet",
        root / "identity/map/9-x.parquet",
        root / "models/mine/9-x.parquet",
        root / "loader/files/9-x.parquet",
    ]
    others = [root / "tables/tracks/notes.txt", root / "loader/x.json", root / "mine.parquet"]
    for path in (*orphans, *others):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"12345")
    before = there(tmp_path)
    later(tmp_path, 2.5)
    assert vacuum(tmp_path, 3) == (0, 0)
    (orphans[0].parent / "young.parquet").write_bytes(b"1")
    assert vacuum(tmp_path, 2) == (5, 25)
    assert before - there(tmp_path) == {str(path.relative_to(root)) for path in orphans}
    assert all(path.exists() for path in (*others, orphans[0].parent / "young.parquet"))
    assert seen(tmp_path)['main."tracks"'][1][0][0] == 6


def test_persons_of_long_ago_stay(tmp_path: Path) -> None:
    """They show the events up to the load that they were resolved at, however long ago that is."""
    run(tmp_path, 0)
    for number in (1, 2):
        load(tmp_path, number)
    later(tmp_path, 30)
    compacted(tmp_path)
    load(tmp_path, 3)
    later(tmp_path, 30)
    before = seen(tmp_path)
    assert before['resolved."tracks"'][1][0][0] == 6
    assert vacuum(tmp_path)[0] > 0
    assert seen(tmp_path) == before
    pipeline.republish(given_(tmp_path))
    assert seen(tmp_path) == before
    report = pipeline.resolve_only(given_(tmp_path))
    assert report.resolved is not None
    assert report.resolved["events"] == 24
    differences = pipeline.verify(given_(tmp_path)).differences
    assert differences is not None
    assert set(differences.values()) == {0}
    vacuum(tmp_path)
    assert there(tmp_path, "tables") == set().union(
        *(live(tmp_path, f"tables/{path.name}") for path in (tmp_path / "warehouse" / "tables").iterdir())
    )


def test_what_is_published_stays(tmp_path: Path) -> None:
    """Also where that is older than the tables: somebody may have it open."""
    load(tmp_path, 0)
    load(tmp_path, 1)
    shutil.copy(tmp_path / "warehouse/warehouse.duckdb", tmp_path / "old.duckdb")
    before, old = seen(tmp_path), live(tmp_path, "tables/tracks")
    compacted(tmp_path)
    later(tmp_path, 30)
    shutil.copy(tmp_path / "old.duckdb", tmp_path / "warehouse/warehouse.duckdb")
    vacuum(tmp_path)
    assert old <= there(tmp_path)
    assert seen(tmp_path) == before
    pipeline.republish(given_(tmp_path))
    assert vacuum(tmp_path)[0] >= len(old)
    assert not old & there(tmp_path)
    assert seen(tmp_path) == before


def test_after_a_move(tmp_path: Path) -> None:
    """The files are where the warehouse is now."""
    load(tmp_path, 0)
    load(tmp_path, 1)
    old, before = live(tmp_path, "tables/tracks"), seen(tmp_path)
    shutil.copy(tmp_path / "warehouse/warehouse.duckdb", tmp_path / "old.duckdb")
    compacted(tmp_path)
    shutil.copy(tmp_path / "old.duckdb", tmp_path / "warehouse/warehouse.duckdb")
    (tmp_path / "there").mkdir()
    (tmp_path / "warehouse").rename(tmp_path / "there" / "warehouse")
    later(tmp_path / "there", 30)
    assert {
        path.removeprefix(f"{tmp_path}/there/warehouse/") for path in loader.publish.files(tmp_path / "there/warehouse")
    } >= old
    vacuum(tmp_path / "there")
    assert old <= there(tmp_path / "there")
    pipeline.republish(given_(tmp_path / "there"))
    after = seen(tmp_path / "there")
    assert {name: view for name, view in after.items() if name != 'loader."published"'} == {
        name: view for name, view in before.items() if name != 'loader."published"'
    }


def test_models(tmp_path: Path) -> None:
    """Results of before go, those that are seen stay."""
    models = tmp_path / "models"
    models.mkdir()
    (models / "orders.sql").write_text("SELECT count(*) AS orders FROM order_done")
    for number in range(3):
        run(tmp_path, number, models=models)
    now = live(tmp_path, "models/orders")
    assert (len(now), len(there(tmp_path, "models"))) == (1, 3)
    later(tmp_path, 8)
    vacuum(tmp_path)
    assert there(tmp_path, "models") == now
    assert warehouses.query(tmp_path, "SELECT orders FROM models.orders") == [(18,)]


def test_checkpoints_stay(tmp_path: Path) -> None:
    """They are Parquet files, too, and the table's history is read from them."""
    for number in range(12):
        load(tmp_path, number)
    log = tmp_path / "warehouse/loader/files/_delta_log"
    entries = sorted(path.name for path in log.iterdir())
    assert sum(name.endswith(".parquet") for name in entries) == 1
    later(tmp_path, 30)
    vacuum(tmp_path)
    assert sorted(path.name for path in log.iterdir()) == entries


DEATHS = 4


@pytest.mark.parametrize("every", [False, pytest.param(True, marks=pytest.mark.long)])
def test_one_that_dies(weeks: Path, every: bool) -> None:
    """At any step: nothing that is needed is gone, and the next one takes the rest."""
    before = seen(weeks)
    left: set[str] = set()
    for step in test_kill.deaths(weeks, "vacuum", sys.maxsize if every else DEATHS):
        left = left or there(weeks)
        assert left <= there(weeks), step
        assert seen(weeks) == before, step
        vacuum(weeks)
        assert (there(weeks), seen(weeks)) == (left, before), step


def test_on_the_command_line(tmp_path: Path, run: Run) -> None:
    load(tmp_path, 0)
    load(tmp_path, 1)
    old = live(tmp_path, "tables/tracks")
    size = sum((tmp_path / "warehouse" / path).stat().st_size for path in old)
    compacted(tmp_path, "tracks")
    later(tmp_path, 8)
    at = ("--warehouse", str(tmp_path / "warehouse"), "vacuum")
    done = run(*at, "--retain", "9d")
    assert (done.exit_code, done.stdout) == (0, "")
    assert done.stderr == "removed 0 files, 0 B; kept all versions of 9 days\n"
    done = run(*at, "--json")
    assert json.loads(done.stdout) == {"files": 6, "bytes": size, "days": 7}
    assert run(*at, LOADER_RETAIN="1d").stderr == "removed 0 files, 0 B; kept all versions of 1 day\n"
    for wrong in ("0", "0d", "all", "", "-1d", "1.5", "7 weeks"):
        done = run(*at, "--retain", wrong)
        assert (done.exit_code, done.stderr) == (
            2,
            f"error: --retain: {wrong!r} is not usable. It takes days, such as 7 or 7d, from 1d on.\n",
        )
    with store.locked(tmp_path / "warehouse"):
        assert run(*at).exit_code == 4
    assert run("--warehouse", str(tmp_path / "none"), "vacuum").exit_code == 1
