"""`loader query`: what it prints, to the character, for a small warehouse."""

import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest
from click.testing import CliRunner, Result

import loader
from loader import query, warehouse
from loader.cli import main
from loader.errors import LoaderError, UsageError

ROOT = Path(__file__).parent.parent

EVENTS: list[dict[str, Any]] = [
    {"type": "track", "event": "Order Done", "userId": "u1", "properties": {"total": 9.5, "items": [1], "paid": True}},
    {"type": "track", "event": "Order Done", "userId": "u2", "properties": {"total": "none"}},
    {"type": "track", "event": "Город", "userId": "u1"},
    {"type": "track", "event": "!!!", "userId": "u1"},
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A warehouse with four tracks."""
    top = tmp_path_factory.mktemp("query")
    common = {"receivedAt": "2026-03-02T10:00:02.5Z"}
    lines = [json.dumps({"messageId": f"m{at}", **common, **event}) for at, event in enumerate(EVENTS)]
    (top / "a.jsonl").write_text("\n".join(lines) + "\n")
    loader.run(loader.Settings(warehouse=top / "wh", sources=(str(top / "a.jsonl"),)))
    return top / "wh"


@pytest.fixture
def run(folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Result]:
    """Runs a command on the warehouse, with no setting from elsewhere."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("LOADER_")]:
        monkeypatch.delenv(name)

    def run(*args: str, input: str | None = None) -> Result:
        return CliRunner().invoke(main, [*args, "--warehouse", str(folder)], input=input)

    return run


@pytest.fixture
def connection(folder: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """The warehouse, opened as `loader query` does."""
    with warehouse.connect(folder) as connection:
        yield connection


# --- formats ----------------------------------------------------------------------------------------------------------

ORDERS = "SELECT id, user_id, total, paid, received_at FROM order_done ORDER BY id"


def test_a_table_is_aligned_columns(run: Callable[..., Result]) -> None:
    found = run("query", ORDERS)
    assert (found.exit_code, found.stderr) == (0, "")
    assert found.stdout == (
        "id  user_id  total  paid  received_at\n"
        "--  -------  -----  ----  ------------------------\n"
        "m0  u1       9.5    true  2026-03-02 10:00:02.5+00\n"
        "m1  u2       none   NULL  2026-03-02 10:00:02.5+00\n"
    )


def test_csv(run: Callable[..., Result]) -> None:
    assert run("query", ORDERS, "--format", "csv").stdout == (
        "id,user_id,total,paid,received_at\n"
        "m0,u1,9.5,true,2026-03-02T10:00:02.500000Z\n"
        "m1,u2,none,,2026-03-02T10:00:02.500000Z\n"
    )


def test_json_is_one_array(run: Callable[..., Result]) -> None:
    expected = (
        '[{"id":"m0","user_id":"u1","total":"9.5","paid":true,"received_at":"2026-03-02T10:00:02.500000Z"},\n'
        '{"id":"m1","user_id":"u2","total":"none","paid":null,"received_at":"2026-03-02T10:00:02.500000Z"}]\n'
    )
    assert run("query", ORDERS, "--format", "json").stdout == expected
    assert run("query", ORDERS, "--json").stdout == expected
    assert run("--json", "query", ORDERS).stdout == expected
    assert run("query", "-", "--json", input=ORDERS).stdout == expected


def test_no_rows(run: Callable[..., Result]) -> None:
    nothing = "SELECT 1 AS a, 'x' AS b WHERE false"
    assert run("query", nothing).stdout == "a  b\n-  -\n"
    assert run("query", nothing, "--format", "csv").stdout == "a,b\n"
    assert run("query", nothing, "--format", "json").stdout == "[]\n"


VALUES = {  # SQL -> JSON, CSV
    "NULL": ("null", ""),
    "''": ('""', '""'),
    "'a,\"b\"' || chr(10)": ('"a,\\"b\\"\\n"', '"a,""b""\n"'),
    "'Łódź 日本'": ('"Łódź 日本"', "Łódź 日本"),
    "true": ("true", "true"),
    "9007199254740993": ("9007199254740993", "9007199254740993"),
    "170141183460469231731687303715884105727::HUGEINT": ("170141183460469231731687303715884105727",) * 2,
    "0.1::DOUBLE": ("0.1", "0.1"),
    "'nan'::DOUBLE": ("null", "nan"),
    "'-inf'::FLOAT": ("null", "-inf"),
    "12345678901234567.25::DECIMAL(38, 2)": ("12345678901234567.25",) * 2,
    "DATE '2026-03-02'": ('"2026-03-02"', "2026-03-02"),
    "TIMESTAMPTZ '2026-03-02 10:00:00.5+02'": ('"2026-03-02T08:00:00.500000Z"', "2026-03-02T08:00:00.500000Z"),
    "TIMESTAMP '2026-03-02 10:00:00'": ('"2026-03-02T10:00:00.000000"', "2026-03-02T10:00:00.000000"),
    "'infinity'::TIMESTAMPTZ": ('"infinity"', "infinity"),
    "'[1, {\"a\": 2}]'::JSON": ('[1,{"a":2}]', '"[1, {""a"": 2}]"'),
    "[1.5::DOUBLE, 'inf'::DOUBLE, NULL]": ("[1.5,null,null]", '"[1.5,null,null]"'),
    "[[TIMESTAMPTZ '2026-03-02']]": ('[["2026-03-02T00:00:00.000000Z"]]', '"[[""2026-03-02T00:00:00.000000Z""]]"'),
    "[1, 2]::INTEGER[2]": ("[1,2]", '"[1,2]"'),
    "['nan'::DOUBLE]::DOUBLE[1]": ("[null]", "[null]"),
    "{'a b': {'c\"': 'nan'::DOUBLE}, 'd': 1}": (
        '{"a b":{"c\\"":null},"d":1}',
        '"{""a b"":{""c\\"""":null},""d"":1}"',
    ),
    "NULL::STRUCT(a DOUBLE)": ("null", ""),
    "row(1, 'nan'::DOUBLE)": ("[1,null]", '"[1,null]"'),
    "map {'k': TIMESTAMPTZ '2026-03-02'}": (
        '{"k":"2026-03-02T00:00:00.000000Z"}',
        '"{""k"":""2026-03-02T00:00:00.000000Z""}"',
    ),
    "map {1: 2}": ('{"1":2}', '"{""1"":2}"'),
    "INTERVAL 3 DAYS": ('"3 days"', "3 days"),
    "'\\x00a'::BLOB": ('"\\\\x00a"', "\\x00a"),
    "union_value(x := 'nan'::DOUBLE)": ('"nan"', "nan"),
}


@pytest.mark.parametrize("sql", VALUES)
def test_every_type_of_value(connection: duckdb.DuckDBPyConnection, sql: str) -> None:
    as_json, as_csv = VALUES[sql]
    rows = query.result(connection, f"SELECT {sql} AS v, 1 AS w")
    assert rows is not None
    stream = io.BytesIO()
    query.write_json(rows, stream)
    assert stream.getvalue().decode() == f'[{{"v":{as_json},"w":1}}]\n'
    json.loads(stream.getvalue(), parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    stream = io.BytesIO()
    query.write_csv(rows, stream)
    assert stream.getvalue().decode() == f"v,w\n{as_csv},1\n"


def test_names_that_come_twice(run: Callable[..., Result]) -> None:
    assert run("query", "SELECT 1 AS a, 2 AS a", "--format", "json").stdout == '[{"a":1,"a_1":2}]\n'
    assert run("query", "SELECT 1 AS a, 2 AS a", "--format", "csv").stdout == "a,a\n1,2\n"


def test_many_rows_are_all_there_in_order(run: Callable[..., Result]) -> None:
    sql = "SELECT range AS n FROM range(25_000) ORDER BY n DESC"
    assert run("query", sql, "--format", "csv").stdout == "n\n" + "".join(f"{n}\n" for n in range(24_999, -1, -1))
    assert [row["n"] for row in json.loads(run("query", sql, "--json").stdout)] == list(range(24_999, -1, -1))
    assert len(run("query", sql).stdout.splitlines()) == 25_002


def test_files(run: Callable[..., Result], tmp_path: Path) -> None:
    for name in ("o.csv", "o.json", "o.txt", "o.parquet"):
        found = run("query", "SELECT 1 AS a", "-o", name)
        assert (found.exit_code, found.output) == (0, "")
    assert (tmp_path / "o.csv").read_text() == "a\n1\n"
    assert (tmp_path / "o.json").read_text() == '[{"a":1}]\n'
    assert (tmp_path / "o.txt").read_text() == "a\n-\n1\n"
    assert duckdb.execute(f"FROM '{tmp_path}/o.parquet'").fetchall() == [(1,)]
    assert run("query", "SELECT 1 AS a", "-o", "o.txt", "--format", "csv").exit_code == 0
    assert (tmp_path / "o.txt").read_text() == "a\n1\n"


@pytest.mark.parametrize("name", ["o.csv", "o.parquet"])
def test_a_query_that_fails_leaves_the_file_as_it_was(run: Callable[..., Result], tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("before")
    found = run("query", "SELECT (event_text || 'x')::INTEGER FROM tracks", "-o", name)
    assert found.exit_code == 1
    assert found.stderr.startswith("error: Conversion Error: Could not convert string")
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "before"


def test_a_file_where_there_is_no_folder(run: Callable[..., Result]) -> None:
    found = run("query", "SELECT 1", "-o", "no/o.parquet")
    assert (found.exit_code, found.stderr) == (1, "error: no/o.parquet: there is no folder no.\n")


def test_parquet_needs_a_file(run: Callable[..., Result]) -> None:
    found = run("query", "SELECT 1", "--format", "parquet")
    assert (found.exit_code, found.stdout) == (2, "")
    assert found.stderr == "error: --format parquet needs a file: give -o FILE.\n"


# --- statements -------------------------------------------------------------------------------------------------------


def test_times_are_utc(run: Callable[..., Result]) -> None:
    found = run("query", "SELECT current_setting('TimeZone') AS z", "--format", "csv")
    assert found.stdout == "z\nUTC\n"


@pytest.mark.parametrize(
    ("sql", "out"),
    [
        ("SET VARIABLE x = 3; SELECT getvariable('x') AS x; -- end", "x\n3\n"),
        ("SHOW TABLES FROM loader", None),
        ("DESCRIBE tracks", None),
        ("SUMMARIZE SELECT 1 AS a", None),
        ("PRAGMA version", None),
        ("FROM tracks SELECT count(*) AS n", "n\n4\n"),
        ("PIVOT (SELECT 'a' AS k, 1 AS v) ON k USING sum(v)", "a\n1\n"),
        ("SET threads = 1", ""),
    ],
)
def test_what_only_reads_is_run(run: Callable[..., Result], sql: str, out: str | None) -> None:
    found = run("query", sql, "--format", "csv")
    assert (found.exit_code, found.stderr) == (0, "")
    assert out is None or found.stdout == out


def test_a_plan_is_shown_as_it_is(run: Callable[..., Result]) -> None:
    shown = run("query", "EXPLAIN SELECT 1").stdout
    assert "Projection" in shown
    assert "explain_value" not in shown


@pytest.mark.parametrize(
    ("sql", "word"),
    [
        ("INSERT INTO tracks SELECT * FROM tracks", "INSERT"),
        ("COPY tracks TO 'o.csv'", "COPY"),
        ("CREATE TEMP TABLE t AS SELECT 1", "CREATE"),
        ("SELECT 1; DROP VIEW tracks; SELECT 2", "DROP"),
        ("UPDATE tracks SET id = 1", "UPDATE"),
        ("ATTACH ':memory:' AS m", "ATTACH"),
    ],
)
def test_what_writes_is_refused(run: Callable[..., Result], tmp_path: Path, sql: str, word: str) -> None:
    found = run("query", sql)
    assert (found.exit_code, found.stdout) == (2, "")
    assert found.stderr == (
        f"error: loader query only reads, and {word} does not. "
        "To keep a result, give -o FILE; to load events, use loader load.\n"
    )
    assert list(tmp_path.iterdir()) == []


def test_wrong_sql_is_told_in_the_words_of_duckdb(run: Callable[..., Result]) -> None:
    found = run("query", "SELECT nme FROM users")
    assert (found.exit_code, found.stdout) == (1, "")
    assert found.stderr.startswith('error: Binder Error: Referenced column "nme" not found in FROM clause!\nCandidate')
    assert "Traceback" not in found.stderr
    assert run("query", "SELEC 1").stderr == (
        'error: Parser Error: syntax error at or near "SELEC"\n\nLINE 1: SELEC 1\n        ^^^^^\n'
    )
    assert run("query", " ").exit_code == 2


def test_a_reader_that_leaves_is_nothing_to_tell(folder: Path) -> None:
    sql = "SELECT range FROM range(10_000_000)"
    with subprocess.Popen(
        [sys.executable, "-m", "loader", "query", sql, "--format", "csv", "--warehouse", folder],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == b"range\n"
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(30) == 1


def test_sql_from_a_pipe_that_does_not_block(folder: Path) -> None:
    ours, theirs = os.pipe()
    os.set_blocking(ours, False)
    command = [sys.executable, "-m", "loader", "query", "-", "--format", "csv", "--warehouse", str(folder)]
    with subprocess.Popen(command, cwd=ROOT, stdin=ours, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        time.sleep(1)  # it finds nothing there yet
        os.write(theirs, b"SELECT 41")
        time.sleep(0.2)
        os.write(theirs, b" + 1 AS n")
        os.close(theirs)
        assert process.communicate(timeout=30) == (b"n\n42\n", b"")
    os.close(ours)


def test_sql_from_a_closed_stdin(folder: Path) -> None:
    command = f'"{sys.executable}" -m loader query - --warehouse "{folder}" <&-'
    done = subprocess.run(["/bin/sh", "-c", command], cwd=ROOT, capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (1, b"", b"error: stdin is closed.\n")


def test_ctrl_c_stops_a_query(folder: Path) -> None:
    sql = "SELECT range FROM range(1_000_000_000_000)"
    with subprocess.Popen(
        [sys.executable, "-m", "loader", "query", sql, "--format", "csv", "--warehouse", folder],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        process.stdout.read(1)  # it is at work
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=30)
        assert (process.returncode, stderr) == (130, b"error: interrupted; what was committed stays\n")


def test_ctrl_c_stops_a_query_that_gives_nothing_yet(connection: duckdb.DuckDBPyConnection) -> None:
    rows = query.result(
        connection, "SELECT count(*) FROM range(1_000_000) a, range(1_000_000) b WHERE a.range * b.range % 7 = 3"
    )
    assert rows is not None
    threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        query.interruptible(connection, lambda: query.write(rows, "csv", None, io.BytesIO()))
    assert signal.getsignal(signal.SIGINT) is before


# --- tables on a terminal ---------------------------------------------------------------------------------------------


def test_a_terminal_gets_what_it_has_room_for(connection: duckdb.DuckDBPyConnection) -> None:
    rows = query.result(connection, "SELECT range AS n, repeat('x', 50) AS long, 1 AS more FROM range(50)")
    assert rows is not None
    shown, remark = query.as_table(rows, 46)
    assert shown.splitlines()[:3] == [
        " n  long",
        "--  " + "-" * 40,
        " 0  " + "x" * 39 + "…",
    ]
    assert len(shown.splitlines()) == 42
    assert remark == "40 of 50 rows and 2 of 3 columns shown; --format csv shows all"
    rows = query.result(connection, "FROM range(20_000)")
    assert rows is not None
    assert query.as_table(rows, 80)[1] == "40 of 10,000 or more rows shown; --format csv shows all"
    rows = query.result(connection, "FROM range(40)")
    assert rows is not None
    assert query.as_table(rows, 80)[1] is None


# --- opening ----------------------------------------------------------------------------------------------------------


def test_nothing_to_open(tmp_path: Path) -> None:
    with pytest.raises(LoaderError, match="there is no warehouse here"):
        warehouse.connect(tmp_path)
    (tmp_path / "loader").mkdir()
    (tmp_path / "loader/format").write_text("1\n")
    with pytest.raises(LoaderError, match="there is nothing published yet"):
        warehouse.connect(tmp_path)
    (tmp_path / "loader/format").write_text("99\n")
    with pytest.raises(LoaderError, match="Install a newer version of loader"):
        warehouse.connect(tmp_path)
    with pytest.raises(UsageError, match="a warehouse's path may not contain '='"):
        warehouse.connect(tmp_path / "id=9")


def test_a_link_to_the_warehouse_will_do(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(folder)
    with warehouse.connect(tmp_path / "link") as connection:
        assert connection.execute("SELECT count(*) FROM tracks").fetchall() == [(4,)]
