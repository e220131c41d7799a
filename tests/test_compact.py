"""Small files become few: the same rows to everyone, sorted, for readers of now and of before; and which files are."""

import json
import math
import shutil
import sys
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable
from hypothesis import given, settings
from hypothesis import strategies as st

import loader
from loader import compact, db, delta, history, ledger, pipeline, store
from loader.books import BooksError
from loader.calls import LINEAGE
from loader.delta import LiveFile
from loader.errors import LoaderError
from loader.history import COMPACTION
from tests import test_kill, test_store, warehouses
from tests.conftest import Run
from tests.test_readers import readers

DAYS = ("2026-03-01", "2026-03-02", "2026-03-03")
GROWING = ("loader.files", "loader.loads", "identity.resolves")


def night(number: int) -> bytes:
    """A night's events, of three days: new columns, values that don't fit, a reject, ids that make persons one."""
    events: list[Any] = [
        {
            "type": "track",
            "event": "Order Done",
            "messageId": f"t{number}-{at}",
            "userId": f"u{at % 3}",
            "anonymousId": f"d{(number + at) % 4}",
            "receivedAt": f"{DAYS[at % 3]}T{23 - number:02}:{at:02}:00Z",
            "timestamp": f"{DAYS[at % 3]}T{(number * 7 + at * 5) % 24:02}:00:00Z",
            "properties": {"n": at if number != 2 else "text", f"p{number}": "it's", "list": [number]},
        }
        for at in range(6)
    ]
    events.append({"type": "identify", "messageId": f"i{number}", "userId": "u1", "traits": {f"t{number % 2}": number}})
    events[-1]["receivedAt"] = f"{DAYS[0]}T10:00:00Z"
    events.append({"type": "alias", "messageId": f"a{number}", "previousId": f"u{number}", "userId": "u0"})
    events[-1]["receivedAt"] = f"{DAYS[1]}T10:00:00Z"
    return warehouses.lines(*events, "no event")


def run(folder: Path, *numbers: int, **more: Any) -> loader.Report:
    return warehouses.run(folder, {f"{number}.jsonl": night(number) for number in numbers}, **more)


def load(folder: Path, *numbers: int, **more: Any) -> loader.Report:
    return warehouses.load(folder, {f"{number}.jsonl": night(number) for number in numbers}, **more)


def given_(folder: Path) -> loader.Settings:
    return loader.Settings(warehouse=folder / "warehouse", threads=2)


def compacted(folder: Path, *names: str) -> dict[str, tuple[int, int, int]]:
    """Compacts; by table its rows, and the small files before and after."""
    return {each.table: (each.rows, each.files, each.into) for each in pipeline.compact(given_(folder), names)}


def seen(folder: Path) -> dict[str, Any]:
    """Every view's columns, its number of rows, and a sum over all their cells."""
    with warehouses.opened(folder) as connection:
        return seen_by(connection)


def seen_by(connection: duckdb.DuckDBPyConnection) -> dict[str, Any]:
    views = "SELECT schema_name, view_name FROM duckdb_views() WHERE NOT internal ORDER BY ALL"
    found: dict[str, Any] = {}
    for schema, view in connection.execute(views).fetchall():
        name = f'{schema}."{view}"'
        columns = connection.execute(f"DESCRIBE {name}").fetchall()
        found[name] = columns, connection.execute(f"SELECT count(*), sum(hash(v)) FROM {name} v").fetchall()
    return found


def files(folder: Path, table: str) -> list[LiveFile]:
    return delta.live_files(folder / "warehouse" / table)


@pytest.fixture(scope="module")
def nights_made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("nights")
    for number in range(4):
        run(folder, number)
    return folder


@pytest.fixture
def nights(nights_made: Path, tmp_path: Path) -> Path:
    """A warehouse after four nights."""
    shutil.copytree(nights_made, tmp_path, dirs_exist_ok=True)
    pipeline.republish(given_(tmp_path))
    return tmp_path


# --- the rows ---------------------------------------------------------------------------------------------------------


def test_all_is_as_it_was(nights: Path) -> None:
    """Every table, to the cell; of each day one file, with its rows in order of time."""
    before = seen(nights)
    assert before['main."order_done"'][1][0][0] == 24
    assert compacted(nights) == {
        "identifies": (4, 4, 1),
        "tracks": (24, 12, 3),
        "aliases": (4, 4, 1),
        "order_done": (24, 12, 3),
        "loader.rejects": (4, 4, 1),
        "loader.schema_changes": (ledger_rows(nights, "schema_changes"), 4, 1),
        "loader.files": (4, 4, 1),
        "loader.loads": (4, 4, 1),
        "identity.person_changes": (ledger_rows(nights, "person_changes", "identity"), 3, 1),
        "identity.resolves": (4, 4, 1),
    }
    assert seen(nights) == before
    for table in ("tracks", "order_done"):
        there = files(nights, f"tables/{table}")
        assert [file.partition["received_date"] for file in there] == list(DAYS)
        for file in there:
            times = pq.read_table(file.path, columns=["timestamp", *LINEAGE[:2]]).to_pylist()
            assert times == sorted(times, key=lambda row: tuple(row.values()))
            assert len(times) == 8
    assert compacted(nights) == {}


def ledger_rows(folder: Path, table: str, schema: str = "loader") -> int:
    [(count,)] = warehouses.query(folder, f"SELECT count(*) FROM {schema}.{table}")
    return int(count)


def test_columns_are_in_the_order_in_which_they_came(nights: Path) -> None:
    """That is told by the rows of schema_changes, which are in one file then; also of one that was widened since."""
    pipeline.widen(given_(nights), "order_done.n", "VARCHAR")
    with db.connect() as connection:
        before = ledger.read(connection, nights / "warehouse")
        names = [column.name for column in before.tables["order_done"]]
        assert names.index("n") < names.index("p0") < names.index("p1") < names.index("p3")
        assert compacted(nights, "loader.schema_changes")["loader.schema_changes"][1:] == (5, 1)
        assert ledger.read(connection, nights / "warehouse") == before


def test_the_log_says_that_no_data_changed(nights: Path) -> None:
    root = nights / "warehouse" / "tables" / "tracks"
    old = {file.path for file in files(nights, "tables/tracks")}
    version = DeltaTable(root).version()
    compacted(nights, "tracks")
    entry = root / "_delta_log" / f"{version + 1:020}.json"
    actions = [json.loads(line) for line in entry.read_text().splitlines()]
    changes = [(name, change) for each in actions for name, change in each.items() if name in ("add", "remove")]
    assert [name for name, _ in changes].count("add") == 3
    assert {f"{root}/{change['path']}" for name, change in changes if name == "remove"} == old
    assert not any(change["dataChange"] for _, change in changes)
    assert all(change["partitionValues"]["received_date"] in DAYS for _, change in changes)
    assert [each["txn"]["appId"] for each in actions if "txn" in each] == [COMPACTION]
    for name, change in changes:
        if name == "add":
            stats = json.loads(change["stats"])
            assert stats["numRecords"] == 8
            assert stats["minValues"]["timestamp"][:10] == change["partitionValues"]["received_date"]
    assert all(Path(path).exists() for path in old)


def test_versions_of_before_are_read_as_they_were(nights: Path) -> None:
    root = nights / "warehouse" / "tables" / "tracks"
    version = DeltaTable(root).version()
    ids = sorted(pl.read_delta(str(root)).get_column("id"))
    compacted(nights)
    assert sorted(pl.read_delta(str(root)).get_column("id")) == ids
    assert len(DeltaTable(root).file_uris()) == 3
    assert sorted(pl.read_delta(str(root), version=version).get_column("id")) == ids
    assert len(DeltaTable(root, version=version).file_uris()) == 12


def test_columns_that_a_day_has_not_are_null(tmp_path: Path) -> None:
    """Added, or made wider, after the day's events came."""
    for number, properties in enumerate([{"n": 1}, {"n": 2}]):
        event = {**test_store.track(f"t{number}", "A", **properties), "receivedAt": f"2026-03-01T1{number}:00:00Z"}
        warehouses.load(tmp_path, {str(number): warehouses.lines(event)})
    later = {**test_store.track("t9", "A", n=1.5, later=True), "receivedAt": "2026-03-05T10:00:00Z"}
    warehouses.load(tmp_path, {"9": warehouses.lines(later)})
    more = {**test_store.track("t8", "A"), "receivedAt": "2026-03-01T09:00:00Z"}
    warehouses.load(tmp_path, {"8": warehouses.lines(more)})
    before = seen(tmp_path)
    assert compacted(tmp_path, "a") == {"a": (3, 2, 1)}
    assert seen(tmp_path) == before
    assert warehouses.query(tmp_path, "SELECT id, n, later FROM a ORDER BY id") == [
        ("t0", 1.0, None),
        ("t1", 2.0, None),
        ("t8", None, None),
        ("t9", 1.5, True),
    ]


def test_books_that_do_not_balance(nights: Path) -> None:
    """A file that has not the rows that the log tells of: nothing is committed of its table."""
    file = files(nights, "tables/tracks")[4]
    rows = pq.read_table(file.path, partitioning=None)
    pq.write_table(rows.slice(1), file.path)
    version = DeltaTable(nights / "warehouse/tables/tracks").version()
    with pytest.raises(BooksError, match=r"rows of tracks of 2026-03-02, compacted: .*: 8 expected, 7 found"):
        compacted(nights, "tracks")
    assert DeltaTable(nights / "warehouse/tables/tracks").version() == version
    assert store.manifests(nights / "warehouse", COMPACTION) == []


def test_cells_that_are_not_there_any_more(nights: Path) -> None:
    """A column that was left out would be lost."""
    now = delta.snapshot(nights / "warehouse" / "loader" / "files")
    columns = [column for column in now.columns if column.name != "uri"]
    target = compact.Target("loader.files", "loader/files", "load_id")
    with db.connect() as connection, pytest.raises(BooksError, match=r"cells of loader.files, compacted: uri: 4 exp"):
        compact._write(connection, nights / "warehouse", target, columns, {"": now.files}, 1)


# --- which files ------------------------------------------------------------------------------------------------------


def file(size: int, day: str = "2026-03-01", name: str = "") -> LiveFile:
    return LiveFile(f"/w/{day}/{name or size}", {"received_date": day} if day else {}, 1, size)


def sizes(files: list[LiveFile], today: date, *, thrifty: bool = False) -> dict[str, list[int]]:
    found = compact._groups(files, today, thrifty=thrifty)
    return {day: sorted(file.size for file in group) for day, group in found.items()}


def test_only_past_days_with_more_than_one_small_file() -> None:
    there = [file(size, day) for day in ("2026-03-01", "2026-03-02", "2026-03-03") for size in (5, 7)]
    there += [file(9, "2026-02-01"), file(compact.LARGE, "2026-02-02"), file(3, "2026-02-02")]
    there += [file(size, "2026-02-03") for size in (compact.LARGE - 1, compact.LARGE, compact.LARGE - 2)]
    assert sizes(there, date(2026, 3, 2)) == {
        "2026-02-03": [compact.LARGE - 2, compact.LARGE - 1],
        "2026-03-01": [5, 7],
    }


@pytest.mark.parametrize(
    ("there", "worth"),
    [
        ([10, 160], [10, 160]),
        ([10, 161], []),
        ([10, 10, 320], [10, 10, 320]),
        ([10, 10, 321], [10, 10]),
        ([1, 100, 100], [1, 100, 100]),  # not with the small one alone, but with each other
        ([1, 100, 100, 4000], [1, 100, 100]),
        ([7], []),
    ],
)
def test_a_large_file_is_not_written_anew_for_a_little_one(there: list[int], worth: list[int]) -> None:
    listed = [file(size, name=str(at)) for at, size in enumerate(there)]
    assert sizes(listed, date(2026, 4, 1), thrifty=True) == ({"2026-03-01": worth} if worth else {})
    assert sizes([file(f.size, "", f.path) for f in listed], date(2026, 4, 1), thrifty=True) == (
        {"": worth} if worth else {}
    )


@given(st.lists(st.integers(1, 2000), min_size=1, max_size=40), st.integers(1, 300))
@settings(deadline=None)
def test_a_row_is_written_a_few_times_only(first: list[int], late: int) -> None:
    """However often a little comes to a day, what is written in all is in proportion to what came, times a logarithm;
    and the files that stay are few."""
    there: list[LiveFile] = [file(size, name=f"f{at}") for at, size in enumerate(first)]
    came, wrote = sum(first), 0
    for number in range(200):
        there.append(file(late, name=f"late{number}"))
        came += late
        group = compact._worth(there)
        if len(group) > 1:
            wrote += sum(each.size for each in group)
            there = [each for each in there if each not in group]
            there.append(file(sum(each.size for each in group), name=f"made{number}"))
    assert wrote <= came * (1 + math.log(came / min(late, *first), 1 + 1 / compact.SHARE))
    assert len(there) <= 2 + math.log(came, compact.SHARE)


def test_today_is_left(tmp_path: Path) -> None:
    """So is what came with a clock that is ahead."""
    load(tmp_path, 0)
    load(tmp_path, 1)
    root = tmp_path / "warehouse"
    with db.connect() as connection:
        done = compact.compact(connection, root, [compact.Target("tracks", "tables/tracks")], date(2026, 3, 2))
    assert [(each.rows, each.files, each.into) for each in done] == [(4, 2, 1)]
    assert [file.partition["received_date"] for file in files(tmp_path, "tables/tracks")] == [
        DAYS[0],
        *(DAYS[1:2] * 2),
        *(DAYS[2:] * 2),
    ]


def test_a_run_compacts_once_there_are_more_than_that(tmp_path: Path) -> None:
    """A night adds three files to tracks; each table counts for itself."""
    for number in range(3):
        assert run(tmp_path, number, compact_files=12).compacted == []
    assert run(tmp_path, 3, compact_files=12).compacted == []
    before = len(files(tmp_path, "tables/tracks"))
    report = run(tmp_path, 4, compact_files=12)
    assert (before, [(each["table"], each["files"], each["into"]) for each in report.compacted]) == (
        12,
        [("tracks", 15, 3), ("order_done", 15, 3)],
    )
    assert "compacted 2 tables: 30 small files into 6, " in loader.report.summary(report, "")
    assert len(files(tmp_path, "loader/files")) == 5
    assert seen(tmp_path)['main."tracks"'][1][0][0] == 30
    assert run(tmp_path, 5, compact_files=12).compacted == []


def test_a_run_looks_only_at_what_its_loads_added_to(nights: Path) -> None:
    """Whatever else there is; one that finds nothing new looks at nothing."""
    event = {**test_store.track("x", "Other"), "receivedAt": f"{DAYS[0]}T10:00:00Z"}
    report = warehouses.run(nights, {"x": warehouses.lines(event)}, compact_files=1)
    assert {each["table"] for each in report.compacted} == {
        *("tracks", "loader.schema_changes", "identity.person_changes", *GROWING)
    }
    assert len(files(nights, "tables/order_done")) == 12
    again = loader.Settings(warehouse=nights / "warehouse", sources=(str(nights / "in" / "x"),), compact_files=0)
    assert (loader.run(again).known_files, loader.run(again).compacted) == (1, [])


def test_a_backfill(nights: Path) -> None:
    """Days of long ago that got files are compacted, those that got none are not looked at."""
    compacted(nights)
    made = files(nights, "tables/tracks")
    late = [{**test_store.track(f"l{at}", "A"), "receivedAt": f"{DAYS[0]}T10:00:{at:02}Z"} for at in range(3)]
    for at, event in enumerate(late):
        report = warehouses.run(nights, {f"l{at}": warehouses.lines(event)}, compact_files=3)
    assert next(each["files"] for each in report.compacted if each["table"] == "tracks") == 4
    now = files(nights, "tables/tracks")
    assert [file.partition["received_date"] for file in now] == list(DAYS)
    assert [file.path for file in now if file in made] == [made[1].path, made[2].path]


# --- what comes after -------------------------------------------------------------------------------------------------


def test_resolving_sees_the_same_new_events(tmp_path: Path) -> None:
    """Compacted between load and resolve, and after: only what is new is looked at, and all is as if made anew."""
    run(tmp_path, 0, 1)
    load(tmp_path, 2)
    compacted(tmp_path)
    report = pipeline.resolve_only(given_(tmp_path))
    assert report.resolved is not None
    assert (report.resolved["events"], report.resolved["complete"]) == (8, False)
    compacted(tmp_path)
    assert pipeline.resolve_only(given_(tmp_path)).resolved is None
    report = run(tmp_path, 3, compact_files=0)
    assert report.resolved is not None
    assert (report.resolved["events"], report.resolved["complete"]) == (8, False)
    differences = pipeline.verify(given_(tmp_path)).differences
    assert differences is not None
    assert set(differences.values()) == {0}
    alone = tmp_path / "alone"
    run(alone, 0, 1, 2, 3)
    counts = "SELECT id_type, id, status, events FROM identity.map ORDER BY ALL"
    assert warehouses.query(tmp_path, counts) == warehouses.query(alone, counts)


def test_versions_of_loads(nights: Path) -> None:
    """What was compacted since is a load's version, too: it has its rows. What a later load began is not."""
    root = nights / "warehouse" / "tables" / "order_done"
    before = [history.version_at(root, load_id) for load_id in (1, 2, 3, 4)]
    compacted(nights)
    assert [history.version_at(root, load_id) for load_id in (1, 2, 3, 4)] == [*before[:3], DeltaTable(root).version()]
    compact_again = DeltaTable(root).version()
    load(nights, 5)
    assert [entry["operation"] for entry in DeltaTable(root).history(2)] == ["WRITE", "ADD COLUMN"]
    assert history.version_at(root, 4) == compact_again
    compacted(nights)
    assert history.version_at(root, 5) == compact_again + 3
    assert history.loads(root) == [1, 2, 3, 4, 5]


def test_restore(tmp_path: Path) -> None:
    """To loads before, at and after a compaction; and what is compacted then is what is in force."""
    there = {}
    for number in range(4):
        load(tmp_path, number)
        if number == 2:
            compacted(tmp_path)
        there[number + 1] = {name: view for name, view in seen(tmp_path).items() if name.startswith("main.")}
    for wanted in (2, 3, 4, 1, 3):
        pipeline.restore(given_(tmp_path), wanted)
        now = seen(tmp_path)
        assert {name: view for name, view in now.items() if name.startswith("main.")} == there[wanted], wanted
        compacted(tmp_path)
        assert seen(tmp_path) == now
    again = load(tmp_path, 0, 1, 2, 3)
    assert (again.loaded, again.duplicates) == (8, 24)


def test_duplicates_widening_and_discards(nights: Path) -> None:
    compacted(nights)
    assert load(nights, 0, 1, reload=True).duplicates == 16
    pipeline.widen(given_(nights), "order_done.n", "VARCHAR")
    assert pipeline.replay_discards(given_(nights), "order_done.n").replayed == 6
    before = seen(nights)
    compacted(nights)
    assert seen(nights) == before
    assert warehouses.query(nights, "SELECT n, count(*) FROM order_done GROUP BY n ORDER BY 2, 1")[-1] == ("text", 6)


def test_status_counts_the_same(nights: Path, run: Run) -> None:
    arguments = ("--warehouse", str(nights / "warehouse"), "status", "--json")
    before = run(*arguments).stdout
    compacted(nights)
    assert run(*arguments).stdout == before


# --- readers, and what dies -------------------------------------------------------------------------------------------


def test_a_reader_keeps_what_it_has_open(nights: Path) -> None:
    before = seen(nights)
    with warehouses.opened(nights) as connection:
        rows = connection.execute("SELECT id FROM tracks")
        assert compacted(nights)["tracks"] == (24, 12, 3)
        assert len(rows.fetchall()) == 24
        assert seen_by(connection) == before
        [(sql,)] = connection.execute("SELECT sql FROM duckdb_views() WHERE view_name = 'tracks'").fetchall()[:1]
    with warehouses.opened(nights) as connection:
        [(now,)] = connection.execute(
            "SELECT sql FROM duckdb_views() WHERE view_name = 'tracks' AND schema_name = 'main'"
        ).fetchall()
    assert (sql.count(".parquet"), now.count(".parquet")) == (12, 3)


def test_readers_and_compactions(tmp_path: Path) -> None:
    from tests.test_readers import load as load_one

    load_one(tmp_path, 1)
    with readers(tmp_path, 2) as there:
        for number in range(2, 5):
            load_one(tmp_path, number)
            compacted(tmp_path)
            for reader in there:
                reader.wait_for_looks(2)


def test_all_views_name_the_new_files(nights: Path) -> None:
    """Those of persons, too."""
    compacted(nights)
    named = loader.publish.files(nights / "warehouse")
    live = {
        file.path
        for root in (nights / "warehouse").glob("*/*")
        if root.is_dir() and delta.exists(root)
        for file in delta.live_files(root)
    }
    assert named <= live
    assert {f.path for f in files(nights, "tables/tracks")} <= named


DEATHS = 6


@pytest.mark.parametrize("every", [False, pytest.param(True, marks=pytest.mark.long)])
def test_one_that_dies(nights: Path, every: bool) -> None:
    """At any step: readers see the same, and the next one ends it."""
    warehouse = nights / "warehouse"
    before = seen(nights)
    done: dict[str, int] = {}
    for step in test_kill.deaths(nights, "compact", sys.maxsize if every else DEATHS):
        assert seen(nights) == before, step
        compacted(nights)
        assert seen(nights) == before, step
        left = {table: len(files(nights, f"tables/{table}")) for table in ("tracks", "order_done", "aliases")}
        done = done or left
        assert left == done, step
        assert store.manifests(warehouse, COMPACTION) == [], step
        assert test_kill.strays(warehouse) == set(), step
        assert loader.publish.files(warehouse).isdisjoint(
            file.path for file in delta.live_files(warehouse / "tables" / "tracks", 3)
        ), step
        for log in warehouse.glob("*/*/_delta_log"):
            entries = [json.loads(line) for path in log.glob("*.json") for line in path.read_text().splitlines()]
            numbers = [each["txn"]["version"] for each in entries if each.get("txn", {}).get("appId") == COMPACTION]
            assert numbers == sorted(set(numbers)), (step, log)


def test_the_next_command_ends_it(nights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever that is: what was certain is committed and published."""

    def die(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    before = seen(nights)
    with monkeypatch.context() as patched:
        patched.setattr(pipeline, "_publish", die)
        patched.setattr(store, "commit", die)
        with pytest.raises(KeyboardInterrupt):
            compacted(nights, "tracks")
    assert len(store.manifests(nights / "warehouse", COMPACTION)) == 1
    assert len(files(nights, "tables/tracks")) == 12
    assert seen(nights) == before
    assert pipeline.resolve_only(given_(nights)).resolved is None
    assert store.manifests(nights / "warehouse", COMPACTION) == []
    assert len(files(nights, "tables/tracks")) == 3
    assert seen(nights) == before
    assert {file.path for file in files(nights, "tables/tracks")} <= loader.publish.files(nights / "warehouse")


# --- the command line -------------------------------------------------------------------------------------------------


def test_on_the_command_line(nights: Path, run: Run) -> None:
    at = ("--warehouse", str(nights / "warehouse"))
    done = run(*at, "compact", "tracks", "main.aliases", "tracks")
    size = sum(file.size for table in ("tracks", "aliases") for file in files(nights, f"tables/{table}"))
    assert (done.exit_code, done.stdout) == (0, "")
    assert done.stderr == f"compacted 2 tables: 16 small files into 4, {size / 1000:.1f} kB\n"
    done = run(*at, "compact", "tracks")
    assert (done.exit_code, done.stderr) == (0, "nothing to do: no past day has more than one small file\n")
    done = run(*at, "compact", "loader.files", "--json")
    size = files(nights, "loader/files")[0].size
    assert json.loads(done.stdout) == [{"table": "loader.files", "rows": 4, "files": 4, "into": 1, "bytes": size}]
    done = run(*at, "compact", "track")
    assert (done.exit_code, done.stderr) == (
        1,
        "error: track: there is no such table to compact. Close: tracks. See: loader schema\n",
    )
    with store.locked(nights / "warehouse"):
        assert run(*at, "compact").exit_code == 4
    done = run("--warehouse", str(nights / "none"), "compact")
    assert (done.exit_code, done.stderr) == (
        1,
        f"error: {nights}/none: there is no warehouse here. Load something first, or give --warehouse.\n",
    )


def test_names() -> None:
    known = compact.targets(["tracks", "файл"])
    assert [target.name for target in compact.named(known, ["loader.loads", "файл"])] == ["loader.loads", "файл"]
    assert compact.named(known, []) == known
    assert {target.name for target in known} >= {"tracks", "файл", *GROWING}
    with pytest.raises(LoaderError, match=r"identity\.map: there is no such table to compact"):
        compact.named(known, ["identity.map"])


def test_settings_of_a_run(tmp_path: Path, run: Run) -> None:
    (tmp_path / "in").mkdir()
    at = ("--warehouse", str(tmp_path / "warehouse"))
    for number in range(2):
        (tmp_path / "in" / f"{number}.jsonl").write_bytes(night(number))
        done = run(*at, "run", "in", "--compact-files", "5", "--max-reject-share", "1")
        assert done.exit_code == 0, done.stderr
    assert "compacted 2 tables: 12 small files into 6, " in done.stderr
    assert run(*at, "load", "in", "--compact-files", "5").exit_code == 2
    assert run(*at, "run", "in", "--compact-files", "-1").exit_code == 2
    assert "compact_files = 32" in run("config").stdout
