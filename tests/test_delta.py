"""Delta tables: what a commit does once, twice, killed half-way; what readers and other engines then see."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from deltalake import CommitProperties, DeltaTable, Transaction
from deltalake.exceptions import TableNotFoundError
from hypothesis import given, settings
from hypothesis import strategies as st

from loader import delta
from loader.bounds import LAST_CHARACTER, TEXT_BOUND
from loader.delta import Commit, DeltaFile, TableError, copy_stats, live_files, snapshot
from loader.schema import Column

COLUMNS = (
    Column("id", "VARCHAR"),
    Column("received_at", "TIMESTAMPTZ"),
    Column("received_date", "DATE"),
    Column("n", "BIGINT"),
    Column("x", "DOUBLE"),
    Column("yes", "BOOLEAN"),
    Column("day", "DATE"),
    Column("context", "JSON"),
)
ROWS = """
    SELECT * FROM (VALUES
        ('a', TIMESTAMPTZ '2026-03-02 01:02:03.456789Z', DATE '2026-03-02', 1::BIGINT, 1.5::DOUBLE, true,
         DATE '2020-02-29', '{"é": [1, null]}'),
        ('b', TIMESTAMPTZ '2026-03-02 23:59:59.999999Z', DATE '2026-03-02', -9223372036854775807, 'NaN', false,
         NULL, NULL),
        ('é', TIMESTAMPTZ '2026-03-03 00:00:00Z', DATE '2026-03-03', NULL, NULL, NULL, NULL, '"x"')
    ) v(id, received_at, received_date, n, x, yes, day, context)
"""
ASTRAL = "\U0002a6a5"  # an ideograph beyond U+20000


@pytest.fixture
def warehouse(tmp_path: Path) -> Path:
    return tmp_path / "données de l'été"


@pytest.fixture
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        connection.execute("SET timezone = 'UTC'")
        yield connection


def copied(con: duckdb.DuckDBPyConnection, root: Path, sql: str, load: int) -> tuple[DeltaFile, ...]:
    root.mkdir(parents=True, exist_ok=True)
    target = str(root).replace("'", "''")
    copies = con.execute(
        f"COPY ({sql}) TO '{target}' (FORMAT parquet, PARTITION_BY (received_date), RETURN_STATS, APPEND, "
        f"FILENAME_PATTERN '{load}-{{uuid}}')"
    ).fetchall()
    return tuple(copy_stats(row, root) for row in copies)


def one_file(con: duckdb.DuckDBPyConnection, path: Path, sql: str, *stats_columns: Column) -> DeltaFile:
    path.parent.mkdir(parents=True, exist_ok=True)
    target = str(path).replace("'", "''")
    row = con.execute(f"COPY ({sql}) TO '{target}' (FORMAT parquet, RETURN_STATS)").fetchall()[0]
    return copy_stats(row, path.parent, stats_columns or delta.STATS_COLUMNS)


def tracks(files: tuple[DeltaFile, ...], columns: tuple[Column, ...] = COLUMNS, **more: Any) -> Commit:
    return Commit("tables/tracks", "tracks", columns, ("received_date",), files, **more)


def ids(root: Path, version: int | None = None) -> list[str]:
    return sorted(
        str(v) for file in live_files(root, version) for v in pq.read_table(file.path, columns=["id"])["id"].to_pylist()
    )


def rows(root: Path, *columns: str) -> list[tuple[Any, ...]]:
    """The table's rows as deltalake reads them, sorted by the columns asked for."""
    table: pa.Table = DeltaTable(root).to_pyarrow_table(columns=list(columns))
    return pl.DataFrame(table).select(columns).sort(columns).rows()


def event(n: int) -> str:
    """One row with only id, received_at and received_date."""
    return f"SELECT '{n}' AS id, TIMESTAMPTZ '2026-03-02 00:00:00Z' AS received_at, DATE '2026-03-02' AS received_date"


# --- one table, many readers ----------------------------------------------------------------------------------------


def test_every_reader_sees_the_values_written(warehouse: Path, con: duckdb.DuckDBPyConnection) -> None:
    root = warehouse / "tables/tracks"
    assert delta.commit(warehouse, tracks(copied(con, root, ROWS, 1)), 1)
    wanted = con.sql(f"{ROWS} ORDER BY id").pl()
    names = wanted.columns
    files = live_files(root)

    by_duckdb = con.sql(
        "SELECT * FROM read_parquet($files, hive_partitioning = true, union_by_name = true) ORDER BY id",
        params={"files": [file.path for file in files]},
    ).pl()
    assert by_duckdb.select(names).equals(wanted)
    schema = pl.Schema({name: type_ for name, type_ in wanted.schema.items() if name != "received_date"})
    scanned = pl.scan_parquet(
        [file.path for file in files], schema=schema, hive_schema={"received_date": pl.Date}, glob=False
    )
    assert scanned.select(names).sort("id").collect().equals(wanted)
    table: pa.Table = DeltaTable(root).to_pyarrow_table()
    assert pl.DataFrame(table.select(names).sort_by("id")).equals(wanted)


def test_the_table_is_the_plainest_delta_there_is(warehouse: Path, con: duckdb.DuckDBPyConnection) -> None:
    root = warehouse / "tables/tracks"
    delta.commit(warehouse, tracks(copied(con, root, ROWS, 1)), 1)
    table = DeltaTable(root)
    assert tuple(table.protocol()) == (1, 2, None, None)
    assert table.metadata().name == "tracks"
    assert table.metadata().partition_columns == ["received_date"]
    assert all(field.nullable for field in table.schema().fields)
    fields = json.loads(table.schema().to_json())["fields"]
    assert {field["name"]: field["type"] for field in fields} == {
        "id": "string",
        "received_at": "timestamp",
        "received_date": "date",
        "n": "long",
        "x": "double",
        "yes": "boolean",
        "day": "date",
        "context": "string",
    }
    for file in live_files(root):
        parquet = pq.read_schema(file.path)
        assert parquet.names == [column.name for column in COLUMNS if column.name != "received_date"]
        assert parquet.field("received_at").type == pa.timestamp("us", tz="UTC")  # isAdjustedToUTC


def test_reads_back_what_was_committed(warehouse: Path, con: duckdb.DuckDBPyConnection) -> None:
    root = warehouse / "tables/tracks"
    files = copied(con, root, ROWS, 1)
    delta.commit(warehouse, tracks(files), 1)
    seen = snapshot(root)
    assert (seen.version, seen.columns) == (0, COLUMNS)
    assert [(file.partition, file.rows) for file in seen.files] == [
        ({"received_date": "2026-03-02"}, 2),
        ({"received_date": "2026-03-03"}, 1),
    ]
    assert [file.path for file in seen.files] == sorted(str(root / file.path) for file in files)
    assert [file.size for file in seen.files] == [Path(file.path).stat().st_size for file in seen.files]
    assert snapshot(root).columns == COLUMNS


@pytest.mark.parametrize(
    ("first", "last", "days"), [(2, 3, ["02", "03"]), (2, 2, ["02"]), (3, 9, ["03"]), (4, 9, []), (1, 1, [])]
)
def test_live_files_of_some_days(
    warehouse: Path, con: duckdb.DuckDBPyConnection, first: int, last: int, days: list[str]
) -> None:
    root = warehouse / "tables/tracks"
    delta.commit(warehouse, tracks(copied(con, root, ROWS, 1)), 1)
    files = live_files(root, partitions=(date(2026, 3, first), date(2026, 3, last)))
    assert [file.partition["received_date"] for file in files] == [f"2026-03-{day}" for day in days]


def test_paths_come_back_as_written_in_a_relative_warehouse(
    tmp_path: Path, con: duckdb.DuckDBPyConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    root = Path("lager haus/users")
    file = one_file(con, root / "1 é %41+.parquet", "SELECT 'a' AS id")
    assert delta.commit(Path("lager haus"), Commit("users", "users", (Column("id", "VARCHAR"),), (), (file,)), 1)
    assert [(file.path, file.partition) for file in live_files(root)] == [
        (str(tmp_path / root / "1 é %41+.parquet"), {})
    ]
    assert ids(root) == ["a"]


def test_a_commit_survives_json(warehouse: Path, con: duckdb.DuckDBPyConnection) -> None:
    commit = tracks(copied(con, warehouse / "tables/tracks", ROWS, 1), overwrite=True)
    assert Commit.from_dict(json.loads(json.dumps(commit.to_dict()))) == commit
    assert DeltaFile.from_dict(json.loads(json.dumps(commit.files[0].to_dict()))) == commit.files[0]


def test_a_table_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "received_date=2026-03-02").mkdir()
    (tmp_path / "_delta_log").mkdir()
    (tmp_path / "_delta_log" / "00000000000000000000.json#1").write_text("{")  # a first commit that was killed
    assert not delta.exists(tmp_path)
    assert delta.transaction_version(tmp_path) is None
    with pytest.raises(TableNotFoundError):
        snapshot(tmp_path)
    assert delta.commit(tmp_path.parent, Commit(tmp_path.name, "t", COLUMNS[:1], (), ()), 1)
    assert snapshot(tmp_path) == delta.Snapshot(0, COLUMNS[:1], ())


def test_polars_reads_the_log_of_a_table_in_a_plain_path(tmp_path: Path, con: duckdb.DuckDBPyConnection) -> None:
    """Its read_delta looks for percent signs in the folder's name where there is an accent or a space."""
    root = tmp_path / "tables/tracks"
    delta.commit(tmp_path, tracks(copied(con, root, ROWS, 1)), 1)
    wanted = con.sql(f"{ROWS} ORDER BY id").pl()
    assert pl.read_delta(str(root)).select(wanted.columns).sort("id").equals(wanted)
    assert pl.scan_delta(str(root)).filter(pl.col("id") == "é").select("context").collect().rows() == [('"x"',)]


# --- once and again -------------------------------------------------------------------------------------------------


def test_a_commit_counts_once(warehouse: Path, con: duckdb.DuckDBPyConnection) -> None:
    root = warehouse / "tables/tracks"
    columns = COLUMNS[:3]
    commits = [tracks(copied(con, root, event(n), n), columns) for n in range(4)]
    assert delta.commit(warehouse, commits[1], 1)
    assert not delta.commit(warehouse, commits[1], 1)
    assert delta.commit(warehouse, commits[3], 3)
    assert not delta.commit(warehouse, commits[3], 3)
    assert not delta.commit(warehouse, commits[2], 2)  # an older load than the last seen
    assert delta.commit(warehouse, commits[0], 1, "identity")  # another app counts for itself
    assert ids(root) == ["0", "1", "3"]
    assert (delta.transaction_version(root), delta.transaction_version(root, "identity")) == (3, 1)
    assert snapshot(root).version == 2


def test_a_table_without_files(warehouse: Path, con: duckdb.DuckDBPyConnection) -> None:
    root = warehouse / "tables/tracks"
    assert delta.commit(warehouse, tracks(()), 1)
    assert not delta.commit(warehouse, tracks(()), 1)
    assert snapshot(root) == delta.Snapshot(0, COLUMNS, ())
    assert delta.commit(warehouse, tracks(()), 2)  # nothing for this table in load 2
    assert delta.transaction_version(root) == 2
    assert delta.commit(warehouse, tracks(copied(con, root, ROWS, 3)), 3)
    assert ids(root) == ["a", "b", "é"]


def test_new_columns_are_null_in_old_rows(warehouse: Path, con: duckdb.DuckDBPyConnection) -> None:
    root = warehouse / "tables/tracks"
    delta.commit(warehouse, tracks(copied(con, root, event(1), 1), COLUMNS[:3]), 1)
    wider = (*COLUMNS[:3], Column("traits", "JSON"), Column("größe", "DOUBLE"))
    files = copied(con, root, f"""{event(2)}, '{{"a":1}}' AS traits, 2.5::DOUBLE AS "größe" """, 2)
    assert delta.commit(warehouse, tracks(files, wider), 2)
    assert snapshot(root).columns == wider
    assert snapshot(root, version=0).columns == COLUMNS[:3]
    assert rows(root, "id", "traits", "größe") == [("1", None, None), ("2", '{"a":1}', 2.5)]


def test_deltalake_appends_wider_files_but_keeps_the_schema(warehouse: Path, con: duckdb.DuckDBPyConnection) -> None:
    """Why new columns have a log entry of their own: if this ever fails, one entry is enough."""
    root = warehouse / "tables/tracks"
    delta.commit(warehouse, tracks(copied(con, root, event(1), 1), COLUMNS[:3]), 1)
    file = copied(con, root, f"{event(2)}, 1::BIGINT AS n", 2)[0]
    DeltaTable(root).create_write_transaction(
        [delta._add_action(file)],
        "append",
        delta._schema(COLUMNS[:4]),
        ["received_date"],
        commit_properties=CommitProperties(app_transactions=[Transaction("loader", 2)]),
    )
    assert len(live_files(root)) == 2
    assert snapshot(root).columns == COLUMNS[:3]


def test_killed_between_new_columns_and_files(
    warehouse: Path, con: duckdb.DuckDBPyConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = warehouse / "tables/tracks"
    delta.commit(warehouse, tracks(copied(con, root, event(1), 1), COLUMNS[:3]), 1)
    commit = tracks(copied(con, root, f"{event(2)}, 7::BIGINT AS n", 2), COLUMNS[:4])
    with monkeypatch.context() as patch:

        def die(*_: object, **__: object) -> None:
            raise KeyboardInterrupt

        patch.setattr(DeltaTable, "create_write_transaction", die)
        with pytest.raises(KeyboardInterrupt):
            delta.commit(warehouse, commit, 2)
    assert (snapshot(root).columns, ids(root), delta.transaction_version(root)) == (COLUMNS[:4], ["1"], 1)
    assert delta.commit(warehouse, commit, 2)
    assert (snapshot(root).columns, ids(root), snapshot(root).version) == (COLUMNS[:4], ["1", "2"], 2)


KILLED = """
import json, os, signal, sys, threading
from pathlib import Path
from loader import delta
warehouse, last, milliseconds = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
for load, commit in json.loads((warehouse / "commits.json").read_text()):
    if load == last:
        threading.Timer(milliseconds / 1000, lambda: os.kill(os.getpid(), signal.SIGKILL)).start()
    delta.commit(warehouse, delta.Commit.from_dict(commit), load)
"""


@pytest.mark.parametrize(("last", "milliseconds"), [(2, 0), (3, 3), (20, 5), (45, 1)])
def test_killed_anywhere_and_repeated(
    warehouse: Path, con: duckdb.DuckDBPyConnection, last: int, milliseconds: int
) -> None:
    root = warehouse / "tables/tracks"
    commits = []
    for n in range(1, 61):
        columns = (*COLUMNS[:3], *(Column(f"c{k}", "JSON") for k in range(n // 3)))
        more = "".join(f", {n}::VARCHAR AS c{k}" for k in range(n // 3))
        commits.append((n, tracks(copied(con, root, event(n) + more, n), columns).to_dict()))
    (warehouse / "commits.json").write_text(json.dumps(commits))
    command = [sys.executable, "-c", KILLED, str(warehouse)]
    assert subprocess.run([*command, str(last), str(milliseconds)], check=False).returncode == -signal.SIGKILL
    done = delta.transaction_version(root)
    assert done is not None
    assert last - 1 <= done < 60
    subprocess.run([*command, "0", "0"], check=True)
    assert ids(root) == sorted(str(n) for n in range(1, 61))
    assert len(live_files(root)) == 60
    assert len(snapshot(root).columns) == 23
    assert delta.transaction_version(root) == 60


# --- overwriting ----------------------------------------------------------------------------------------------------


def test_overwrite_replaces_the_files_and_keeps_them_for_readers(
    warehouse: Path, con: duckdb.DuckDBPyConnection
) -> None:
    root = warehouse / "tables/tracks"
    columns = (*COLUMNS[:3], Column("n", "BIGINT"), Column("context", "JSON"))
    old = copied(con, root, f"{event(1)}, 5::BIGINT AS n, '5' AS context", 1)
    delta.commit(warehouse, tracks(old, columns), 1)
    changed = (*COLUMNS[:3], Column("n", "DOUBLE"), Column("context", "VARCHAR"), Column("y", "JSON"))
    rewritten = copied(con, root, f"{event(1)}, 5::DOUBLE AS n, '5' AS context, NULL::VARCHAR AS y", 2)
    new = copied(con, root, f"{event(2)}, 0.5::DOUBLE AS n, 'x' AS context, '[]' AS y", 2)
    commit = tracks(rewritten + new, changed, overwrite=True)
    assert delta.commit(warehouse, commit, 2)
    assert not delta.commit(warehouse, commit, 2)
    now = snapshot(root)
    assert (now.version, now.columns, len(now.files)) == (1, changed, 2)
    assert rows(root, "n", "context", "y") == [(0.5, "x", "[]"), (5.0, "5", None)]
    assert (snapshot(root, 0).columns, ids(root, 0)) == (columns, ["1"])  # the old file is still there to be read


def test_overwrite_by_nothing_and_of_nothing(warehouse: Path, con: duckdb.DuckDBPyConnection) -> None:
    root = warehouse / "users"
    columns = (Column("id", "VARCHAR"),)
    first = one_file(con, root / "1.parquet", "SELECT 'a' AS id")
    second = one_file(con, root / "3.parquet", "SELECT 'c' AS id")
    assert delta.commit(warehouse, Commit("users", "users", columns, (), (first,), overwrite=True), 1)
    assert ids(root) == ["a"]
    assert delta.commit(warehouse, Commit("users", "users", columns, (), (), overwrite=True), 2)
    assert live_files(root) == []
    assert delta.commit(warehouse, Commit("users", "users", columns, (), (second,), overwrite=True), 3)
    assert (ids(root), ids(root, 0)) == (["c"], ["a"])


# --- refused --------------------------------------------------------------------------------------------------------


def test_what_would_spoil_the_table_is_refused(warehouse: Path, con: duckdb.DuckDBPyConnection) -> None:
    root = warehouse / "tables/tracks"
    columns = COLUMNS[:4]
    old = copied(con, root, f"{event(1)}, 1::BIGINT AS n", 1)
    new = copied(con, root, f"{event(2)}, 2::BIGINT AS n", 2)
    null = copied(con, root, f"SELECT * REPLACE (NULL::DATE AS received_date) FROM ({event(3)})", 2)
    delta.commit(warehouse, tracks(old, columns), 1)

    def refused(commit: Commit, message: str) -> None:
        with pytest.raises(TableError, match=message):
            delta.commit(warehouse, commit, 2)
        assert (ids(root), snapshot(root).columns, delta.transaction_version(root)) == (["1"], columns, 1)

    refused(tracks(new, (*COLUMNS[:3], Column("n", "DOUBLE"))), "tracks.n: to make DOUBLE of BIGINT takes an overwrite")
    refused(tracks(new, COLUMNS[:3]), "tracks.n: to make no column of BIGINT takes an overwrite")
    refused(tracks(old, columns, overwrite=True), "is live already; an overwrite takes new files only")
    refused(tracks(null, columns), "__HIVE_DEFAULT_PARTITION__")
    refused(Commit("tables/tracks", "tracks", columns, (), ()), "partitioned by .'received_date'., not by ..")
    file = root / new[0].path
    file.write_bytes(file.read_bytes() + b"x")
    refused(tracks(new, columns), f"{new[0].size} bytes when it was written, now {new[0].size + 1}")
    file.unlink()
    refused(tracks(new, columns), "now gone")


# --- the log --------------------------------------------------------------------------------------------------------


def test_checkpoints_are_written_and_no_version_is_ever_forgotten(
    warehouse: Path, con: duckdb.DuckDBPyConnection
) -> None:
    root = warehouse / "tables/tracks"
    for n in range(40):
        delta.commit(warehouse, tracks(copied(con, root, event(n), n), COLUMNS[:3]), n)
        assert delta.transaction_version(root) == n  # at a checkpoint, too
        for entry in (root / "_delta_log").iterdir():
            long_ago = time.time() - 400 * 86400
            os.utime(entry, (long_ago, long_ago))
    log = [entry.name.lstrip("0") for entry in sorted((root / "_delta_log").iterdir())]
    assert [name for name in log if "checkpoint" in name] == [
        "9.checkpoint.parquet",
        "19.checkpoint.parquet",
        "29.checkpoint.parquet",
        "39.checkpoint.parquet",
        "_last_checkpoint",
    ]
    assert len([name for name in log if name.endswith(".json")]) == 40
    for version in (0, 18, 19, 38, 39):
        assert len(live_files(root, version)) == version + 1


# --- statistics -----------------------------------------------------------------------------------------------------


def stats_of(con: duckdb.DuckDBPyConnection, root: Path, values: str, type_: str = "VARCHAR") -> Any:
    """What a file with one column `c` of these SQL values has of it: [nulls, low, high], or [nulls] without bounds."""
    file = one_file(con, root / "1.parquet", f"SELECT c::{type_} AS c FROM (VALUES {values}) v(c)", Column("c", type_))
    found = json.loads(file.stats)
    return [found["nullCount"]["c"], *(found[side]["c"] for side in ("minValues", "maxValues") if found.get(side))]


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        ("('b'), (NULL), ('a')", [1, "a", "b"]),
        ("(''), ('b')", [0, "", "b"]),
        ("(NULL)", [1]),
        (f"(repeat('x', {TEXT_BOUND}))", [0, "x" * TEXT_BOUND, "x" * TEXT_BOUND]),
        ("(repeat('x', 100))", [0, "x" * TEXT_BOUND, "x" * TEXT_BOUND + LAST_CHARACTER]),
        ("(repeat(chr(1114111), 64))", [0, LAST_CHARACTER * 64, LAST_CHARACTER * 64]),
        ("(repeat(chr(1114111), 65))", [0]),  # 260 bytes: DuckDB itself gives no bounds
        ("(repeat('x', 64) || chr(1114111))", [0]),
        ("(repeat('я', 400))", [0]),
        ("('é'), ('𪚥')", [0, "é", "𪚥"]),
        ("(chr(0) || 'a')", [0, "\0a", "\0a"]),
    ],
)
def test_bounds_of_texts(con: duckdb.DuckDBPyConnection, tmp_path: Path, values: str, wanted: list[Any]) -> None:
    assert stats_of(con, tmp_path, values) == wanted


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        ("('2026-03-02 01:02:03.456789Z')", [0, "2026-03-02T01:02:03.456Z", "2026-03-02T01:02:03.457Z"]),
        ("('2026-03-02 01:02:03.456Z'), (NULL)", [1, "2026-03-02T01:02:03.456Z", "2026-03-02T01:02:03.456Z"]),
        ("('2026-12-31 23:59:59.9999+00')", [0, "2026-12-31T23:59:59.999Z", "2027-01-01T00:00:00.000Z"]),
        ("('1969-12-31 23:59:59.9999-01:00')", [0, "1970-01-01T00:59:59.999Z", "1970-01-01T01:00:00.000Z"]),
        ("('0044-01-01 00:00:00Z')", [0, "0044-01-01T00:00:00.000Z", "0044-01-01T00:00:00.000Z"]),
        ("('9999-12-31 23:59:59.999999Z')", [0]),
        ("('12026-03-02 01:00:00Z')", [0]),
        ("('0044-03-15 (BC) 00:00:00Z'), ('2026-03-02 01:02:03Z')", [0]),
        ("('infinity')", [0]),
    ],
)
@pytest.mark.parametrize("zone", ["UTC", "Asia/Kolkata"])
def test_bounds_of_timestamps(
    con: duckdb.DuckDBPyConnection, tmp_path: Path, zone: str, values: str, wanted: list[Any]
) -> None:
    con.execute(f"SET timezone = '{zone}'")
    assert stats_of(con, tmp_path, values, "TIMESTAMPTZ") == wanted


@pytest.mark.parametrize(
    ("type_", "values", "wanted"),
    [
        ("BIGINT", "(9223372036854775807), (-5), (NULL)", [1, -5, 9223372036854775807]),
        ("DOUBLE", "(1.5), ('NaN'::DOUBLE)", [0]),
        ("DOUBLE", "(1.5), (NULL)", [1]),
        ("BOOLEAN", "(true), (NULL)", [1]),
        ("DATE", "('2026-03-02')", [0]),
    ],
)
def test_bounds_of_other_types(
    con: duckdb.DuckDBPyConnection, tmp_path: Path, type_: str, values: str, wanted: list[Any]
) -> None:
    assert stats_of(con, tmp_path, values, type_) == wanted


def test_statistics_are_of_few_columns(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    (file, _) = copied(con, tmp_path, ROWS, 1)
    assert file.rows == 2
    assert file.partition == {"received_date": "2026-03-02"}
    assert file.path.startswith("received_date=2026-03-02/1-")
    assert file.size == (tmp_path / file.path).stat().st_size
    assert json.loads(file.stats) == {
        "numRecords": 2,
        "minValues": {"id": "a", "received_at": "2026-03-02T01:02:03.456Z"},
        "maxValues": {"id": "b", "received_at": "2026-03-03T00:00:00.000Z"},
        "nullCount": {"id": 0, "received_at": 0},
    }
    empty = one_file(con, tmp_path / "e.parquet", 'SELECT 1 AS "a""b" WHERE false', Column('a"b', "BIGINT"))
    assert (empty.rows, json.loads(empty.stats)["nullCount"]) == (0, {'a"b': 0})


@settings(max_examples=60, deadline=None)
@given(
    texts=st.lists(st.text(st.characters(codec="utf-8"), max_size=90), min_size=1, max_size=4),
    times=st.lists(st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30)), min_size=1, max_size=4),  # noqa: DTZ001
)
def test_no_reader_skips_a_file_it_needs(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], times: list[datetime]
) -> None:
    """The bounds as deltalake reads them from the log contain every value; texts are compared as UTF-8."""
    warehouse = tmp_path_factory.mktemp("bounds")
    columns = (Column("id", "VARCHAR"), Column("received_at", "TIMESTAMPTZ"))
    times = [at.replace(tzinfo=UTC) for at in times]
    events = pa.table({"id": texts[:1] * len(times), "received_at": pa.array(times, pa.timestamp("us", "UTC"))})
    events = pa.concat_tables([events, pa.table({"id": texts})], promote_options="default")
    with duckdb.connect() as con:
        con.register("events", events)
        file = one_file(con, warehouse / "t/1.parquet", "FROM events")
    delta.commit(warehouse, Commit("t", "t", columns, (), (file,)), 1)
    (action,) = pa.table(DeltaTable(warehouse / "t").get_add_actions()).to_pylist()
    assert action["null_count"] == {"id": 0, "received_at": len(texts)}
    if "min" not in action:
        return  # a text that has no end: no bounds at all
    low, high = action["min"]["received_at"], action["max"]["received_at"]
    assert low <= min(times) < low + timedelta(milliseconds=1)
    assert high - timedelta(milliseconds=1) < max(times) <= high
    assert action["min"]["id"].encode() <= min(text.encode() for text in texts)
    assert max(text.encode() for text in texts) <= action["max"]["id"].encode()


@pytest.mark.parametrize("stem", ["", ASTRAL * 70, "я" * 400], ids=["short", "astral", "unbounded"])
def test_filters_find_what_lies_on_the_bounds(tmp_path: Path, con: duckdb.DuckDBPyConnection, stem: str) -> None:
    root = tmp_path / "tables/tracks"
    times = [datetime(2026, 3, 2, 1, 2, 3, microsecond, UTC) for microsecond in (456789, 999999, 0)]
    for n, at in enumerate(times):
        sql = f"""
            SELECT '{stem}' || {n} AS id, TIMESTAMPTZ '{at}' AS received_at,
                DATE '2026-03-02' AS received_date
        """
        delta.commit(tmp_path, tracks(copied(con, root, sql, n), COLUMNS[:3]), n)
    delta.commit(tmp_path, tracks(copied(con, root, event(9), 9), COLUMNS[:3]), 9)  # a file with all bounds among them
    dataset = DeltaTable(root).to_pyarrow_dataset()
    for n, at in enumerate(times):
        id_ = f"{stem}{n}"
        for field, value in (("id", pa.scalar(id_)), ("received_at", pa.scalar(at, pa.timestamp("us", "UTC")))):
            assert dataset.to_table(filter=ds.field(field) == value)["id"].to_pylist() == [id_]
            assert pl.scan_delta(str(root)).filter(pl.col(field) == value.as_py()).collect()["id"].to_list() == [id_]
