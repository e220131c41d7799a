"""Columns that widen: when, what becomes of old rows, what readers, `users` and a run that dies see."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import pytest
from deltalake import DeltaTable

import loader
from loader import db, delta, pipeline, plan, publish, store, widen
from loader.books import BooksError
from loader.errors import LoaderError, UsageError
from loader.records import Measure, Target
from loader.schema import Column, folder_of
from tests import warehouses

WIDEN = {"on_type_conflict": "widen"}


def event(message_id: str, day: int = 9, type_: str = "reset", **properties: Any) -> dict[str, Any]:
    part = "traits" if type_ == "identify" else "properties"
    received = f"2024-05-{day:02}T10:00:00Z"
    return {"type": type_, "messageId": message_id, "userId": "u", "receivedAt": received, part: properties}


def cells(folder: Path, *columns: str, table: str = "resets") -> list[tuple[Any, ...]]:
    return warehouses.query(folder, f"SELECT id, {', '.join(columns)} FROM {table} ORDER BY id")


def types(folder: Path, table: str = "resets") -> dict[str, str]:
    return warehouses.tables(folder)[table].columns


def live(folder: Path, table: str = "resets") -> set[str]:
    return {file.path for file in delta.snapshot(folder / "warehouse" / "tables" / table).files}


def settings(folder: Path) -> loader.Settings:
    return loader.Settings(warehouse=folder / "warehouse", threads=1)


def command(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "loader", *arguments, "--warehouse", str(folder / "warehouse")],
        capture_output=True,
        encoding="utf-8",
        check=False,
        timeout=120,
    )


# --- which type --------------------------------------------------------------------------------------------------

D, W = "discard", "widen"


@pytest.mark.parametrize(
    ("old", "classes", "inexact", "policy", "new", "unfit"),
    [
        ("BIGINT", "BIGINT EXACT LONG", False, W, "BIGINT", ""),
        ("BIGINT", "DOUBLE", False, D, "DOUBLE", ""),
        ("BIGINT", "DOUBLE EXACT BIGINT", False, W, "DOUBLE", ""),
        ("BIGINT", "DOUBLE", True, D, "BIGINT", "DOUBLE"),
        ("BIGINT", "DOUBLE LONG", False, D, "BIGINT", "DOUBLE"),
        ("BIGINT", "DOUBLE LONG", False, W, "VARCHAR", ""),
        ("BIGINT", "DOUBLE", True, W, "VARCHAR", ""),
        ("BIGINT", "DOUBLE VARCHAR", False, D, "DOUBLE", "VARCHAR"),
        ("BIGINT", "DOUBLE VARCHAR", False, W, "VARCHAR", ""),
        ("BIGINT", "NUMBER", False, D, "BIGINT", "NUMBER"),
        ("BIGINT", "JSON", False, W, "VARCHAR", ""),
        ("DOUBLE", "BIGINT DOUBLE", False, W, "DOUBLE", ""),
        ("DOUBLE", "EXACT", False, D, "DOUBLE", "EXACT"),
        ("DOUBLE", "EXACT", False, W, "VARCHAR", ""),
        ("BOOLEAN", "BOOLEAN BIGINT", False, D, "BOOLEAN", "BIGINT"),
        ("TIMESTAMPTZ", "VARCHAR TIMESTAMPTZ", False, W, "VARCHAR", ""),
        ("VARCHAR", "JSON NUMBER BOOLEAN", False, W, "VARCHAR", ""),
        ("JSON", "VARCHAR BIGINT", False, W, "JSON", ""),
    ],
)
def test_the_type_of_an_existing_column(
    old: str, classes: str, inexact: bool, policy: str, new: str, unfit: str
) -> None:
    measures = {"v": Measure(dict.fromkeys(classes.split(), 1), 0)}
    target = Target("resets", "reset", None, ())
    known = (Column("v", old),)
    decided = plan.decide(
        target, known, measures, loader.Settings(on_type_conflict=policy), {"v"} if inexact else set()
    )
    assert decided.columns[0] == Column("v", new)
    assert decided.widened == ({} if new == old else {"v": old})
    assert Column("v", new) not in decided.added
    assert plan.misfits(new, measures["v"].classes, decided.is_fresh(Column("v", new))) == set(unfit.split())


def test_only_a_double_makes_it_ask_for_old_values() -> None:
    known = [Column(name, "BIGINT") for name in "abcd"] + [Column("e", "DOUBLE")]
    there = {"a": {"BIGINT": 2}, "b": {"DOUBLE": 1}, "c": {"DOUBLE": 1, "LONG": 1}, "e": {"DOUBLE": 1}}
    measures = {name: Measure(classes, 0) for name, classes in there.items()}
    assert plan.needing_doubles(known, measures) == ["b"]


# --- a load that widens --------------------------------------------------------------------------------------------


def test_a_table_is_rewritten_once_and_told_what_it_cost(tmp_path: Path) -> None:
    first = [event(f"a{n:03}", day=1 + n % 3, v=n, w=n, keep=n) for n in range(300)]
    warehouses.load(tmp_path, {"1": warehouses.lines(*first)})
    warehouses.load(tmp_path, {"2": warehouses.lines(event("b", day=2, other="x"))})
    before, version = live(tmp_path), DeltaTable(tmp_path / "warehouse/tables/resets").version()
    rows = cells(tmp_path, "v", "w", "keep", "received_date", "loader_file_id", "loader_line", "uuid_ts")
    report = warehouses.load(
        tmp_path,
        {"3": warehouses.lines(event("c", day=2, v=0.5, w="x", more=1), event("d", 4, "page", v=1))},
        **WIDEN,
    )
    (cost,) = report.rewritten
    new = live(tmp_path)
    assert (cost["table"], cost["columns"], cost["rows"]) == ("resets", ["v", "w"], 301)
    of_old = [path for path in new if "received_date=2024-05-02" not in path]
    assert len(of_old) == 2, "a file a date"
    assert before.isdisjoint(new)
    assert all(Path(path).exists() for path in before), "readers keep them"
    sizes = sum(Path(path).stat().st_size for path in new)
    with duckdb.connect() as connection:
        own = [path for path in new if connection.execute(f"SELECT min(id) FROM '{path}'").fetchall() == [("c",)]]
    assert cost["bytes"] == sizes - sum(Path(path).stat().st_size for path in own)
    assert cost["seconds"] > 0
    table = DeltaTable(tmp_path / "warehouse/tables/resets")
    assert table.version() == version + 1, "one commit: types, old rows and new ones together"
    assert table.metadata().partition_columns == ["received_date"]
    assert types(tmp_path).items() >= {"v": "DOUBLE", "w": "VARCHAR", "keep": "BIGINT", "more": "BIGINT"}.items()
    found = cells(tmp_path, "v", "w", "keep", "received_date", "loader_file_id", "loader_line", "uuid_ts")
    assert found[:301] == [
        (id_, None if v is None else float(v), None if w is None else str(w), *rest) for id_, v, w, *rest in rows
    ]
    assert [type(row[1]) for row in found[:2]] == [float, float]
    assert found[301][:4] == ("c", 0.5, "x", None)


def test_summary_and_dry_run_tell_it(tmp_path: Path) -> None:
    warehouses.load(tmp_path, {"1": warehouses.lines(event("a", v=1))})
    (tmp_path / "in" / "2").write_bytes(warehouses.lines(event("b", v=1.5)))
    source = str(tmp_path / "in" / "2")
    dry = command(tmp_path, "load", source, "--dry-run")
    assert [line.split() for line in dry.stdout.splitlines()][-1:] == [
        ["resets", "v", "widened", "BIGINT", "to", "DOUBLE"]
    ]
    assert types(tmp_path)["v"] == "BIGINT"
    done = command(tmp_path, "load", source)
    assert done.returncode == 0
    assert "  rewritten   resets (v): 1 row, " in done.stderr


def test_the_ledger_names_the_first_value_that_caused_it(tmp_path: Path) -> None:
    warehouses.load(tmp_path, {"1": warehouses.lines(event("a", d=1, t=1, i=2**53 + 1, b=True, r=1))})
    lines = [
        event("b", d="no DOUBLE", t=0.5, b=False),
        {"batch": [event("c", r=2), event("d", d=1.5, t="text", r=2.5), event("e", d=2.5)]},
        event("f", i=0.5, b=1),
    ]
    twice = '{"type":"reset","messageId":"g","properties":{"r":"x","r":1}}'
    warehouses.load(tmp_path, {"2": warehouses.lines(event("z")), "3": warehouses.lines(*lines, twice)}, **WIDEN)
    found = warehouses.query(
        tmp_path,
        "SELECT column_name, old_type, new_type, loader_file_id, loader_line, loader_element "
        "FROM loader.schema_changes WHERE change = 'widened' AND load_id = 2 AND table_name = 'resets' ORDER BY ALL",
    )
    assert found == [
        ("b", "BOOLEAN", "VARCHAR", 3, 3, None),
        ("d", "BIGINT", "VARCHAR", 3, 1, None),
        ("i", "BIGINT", "VARCHAR", 3, 3, None),
        ("r", "BIGINT", "VARCHAR", 3, 4, None),
        ("t", "BIGINT", "VARCHAR", 3, 2, 1),
    ]
    warehouses.load(tmp_path, {"4": warehouses.lines(event("h", type_="page", v=1))})
    warehouses.load(tmp_path, {"5": warehouses.lines(event("i", type_="page", v="x"), event("j", 9, "page", v=1.5))})
    found = warehouses.query(
        tmp_path, "SELECT new_type, loader_line FROM loader.schema_changes WHERE table_name = 'pages' AND load_id = 4"
    )
    assert found == [("DOUBLE", 2)]


def test_users_follow_identifies(tmp_path: Path) -> None:
    warehouses.run(tmp_path, {"1": warehouses.lines(event("a", 8, "identify", v=1, w=True, x=[1]))})
    warehouses.run(tmp_path, {"2": warehouses.lines(event("b", 9, "identify", v=1.5, w="x"))}, **WIDEN)
    assert types(tmp_path, "users").items() >= {"v": "DOUBLE", "w": "VARCHAR", "x": "JSON"}.items()
    assert cells(tmp_path, "v", "w", "x", table="users") == [("u", 1.5, "x", "[1]")]
    warehouses.run(tmp_path, {"3": warehouses.lines(event("c", 10, "identify", v=None, w=5))})
    assert cells(tmp_path, "v", "w", table="users") == [("u", 1.5, "5")]


def test_open_readers_keep_the_old_type(tmp_path: Path) -> None:
    warehouses.load(tmp_path, {"1": warehouses.lines(event("a", v=7))})
    with warehouses.opened(tmp_path) as reader:
        reader.execute("BEGIN")
        assert reader.execute("SELECT v FROM resets").fetchall() == [(7,)]
        warehouses.load(tmp_path, {"2": warehouses.lines(event("b", v=7.5))})
        result = reader.execute("SELECT v, typeof(v) FROM resets")
        assert result.fetchall() == [(7, "BIGINT")]
    assert cells(tmp_path, "v", "typeof(v)") == [("a", 7.0, "DOUBLE"), ("b", 7.5, "DOUBLE")]


def test_files_that_differ_in_columns_and_types_are_one_view(tmp_path: Path) -> None:
    files = []
    for number, row in enumerate(["1::BIGINT AS v, true AS w", "2.5::DOUBLE AS v", "'x' AS v, 'y' AS w"]):
        files.append(str(tmp_path / f"{number}.parquet"))
        duckdb.execute(f"COPY (SELECT {row}) TO '{files[-1]}'")
    columns = [Column("w", "VARCHAR"), Column("v", "VARCHAR")]
    with duckdb.connect() as connection:
        view = publish.view_sql(columns, files, partitioned=False)
        assert connection.execute(f"{view} ORDER BY v").fetchall() == [("true", "1"), (None, "2.5"), ("y", "x")]


# --- on_type_conflict = fail ---------------------------------------------------------------------------------------


def test_fail_loads_nothing_and_says_where(tmp_path: Path) -> None:
    warehouses.load(tmp_path, {"1": warehouses.lines(event("a", v=1, w=True), event("a", 9, "page", v=2**53 + 1))})
    before = warehouses.tables(tmp_path), live(tmp_path)
    lines = [event("b", v=1.5, w=False), {"batch": [event("c"), event("d", v="x", w=2)]}, event("e", 9, "page", v=0.5)]
    source = tmp_path / "in" / "2"
    source.write_bytes(warehouses.lines(*lines))
    for flags in ([], ["--dry-run"]):
        done = command(tmp_path, "load", str(source), "--on-type-conflict", "fail", *flags)
        assert done.returncode == 1
        assert done.stderr.splitlines() == [
            "error: values do not fit their columns (on_type_conflict is fail), so nothing of this load is loaded.",
            f"pages.v is BIGINT, and there comes DOUBLE, first in {source}:3",
            f"resets.v is BIGINT, and there comes VARCHAR, first in {source}:2, element 1",
            f"resets.w is BOOLEAN, and there comes BIGINT, first in {source}:2, element 1",
            "Widen the column first (loader widen TABLE.COLUMN VARCHAR), or give --on-type-conflict widen or discard.",
        ]
    assert (warehouses.tables(tmp_path), live(tmp_path)) == before
    assert warehouses.query(tmp_path, "SELECT max(load_id), count(*) FROM loader.loads") == [(1, 1)]
    # What fits goes on loading, and a BIGINT still becomes a DOUBLE.
    fits = warehouses.load(tmp_path, {"3": warehouses.lines(event("f", v=1.5))}, on_type_conflict="fail")
    assert (fits.loads, types(tmp_path)["v"]) == ([2], "DOUBLE")


@pytest.mark.parametrize("way", ["flag", "environment", "file"])
def test_the_setting_has_three_places(tmp_path: Path, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    warehouses.load(tmp_path, {"1": warehouses.lines(event("a", v=True))})
    source = tmp_path / "in" / "2"
    source.write_bytes(warehouses.lines(event("b", v=1)))
    flags: list[str] = []
    match way:
        case "flag":
            flags = ["--on-type-conflict", "Widen"]
        case "environment":
            monkeypatch.setenv("LOADER_ON_TYPE_CONFLICT", "widen")
        case "file":
            (tmp_path / "loader.toml").write_text('on_type_conflict = "widen"\n')
            flags = ["--config", str(tmp_path / "loader.toml")]
    assert command(tmp_path, "load", str(source), *flags).returncode == 0
    assert cells(tmp_path, "v") == [("a", "true"), ("b", "1")]


def test_another_word_is_refused(tmp_path: Path) -> None:
    done = command(tmp_path, "load", "x", "--on-type-conflict", "crash")
    assert done.returncode == 2
    assert done.stderr == ("error: --on-type-conflict: 'crash' is not usable. It takes one of discard, widen, fail.\n")


# --- by hand -------------------------------------------------------------------------------------------------------

ALL_TYPES = event(
    "a",
    bigint=-5,
    double=1e22,
    zero=-0.0,
    boolean=True,
    instant="2024-05-10T10:00:00.5+01:00",
    text='q"é',
    json=[1, "x"],
)


@pytest.fixture(scope="module")
def of_all_types(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("of_all_types")
    mixed = event("b", 10, json="x"), event("c", 11, json="2024-05-10"), event("d", 12, json=1.50)
    warehouses.load(folder, {"1": warehouses.lines(ALL_TYPES, *mixed)})
    return folder


def copy(folder: Path, to: Path) -> Path:
    shutil.copytree(folder, to, dirs_exist_ok=True)
    pipeline.republish(settings(to))
    return to


def test_each_widening_keeps_every_value(of_all_types: Path, tmp_path: Path) -> None:
    folder = copy(of_all_types, tmp_path)
    for column, type_ in [
        ("bigint", "DOUBLE"),
        ("double", "VARCHAR"),
        ("zero", "JSON"),
        ("boolean", "VARCHAR"),
        ("instant", "JSON"),
        ("text", "JSON"),
        ("json", "VARCHAR"),
    ]:
        done = pipeline.widen(settings(folder), f"resets.{column}", type_)
        assert (done.new, done.rewritten and done.rewritten["rows"]) == (type_, 4)
    first, *others = cells(folder, "bigint", "double", "zero", "boolean", "instant", "text", "json")
    instant = '"2024-05-10T09:00:00.500000Z"'
    assert first == ("a", -5.0, "1e22", "0.0", "true", instant, '"q\\"é"', '[1,"x"]')
    assert [row[-1] for row in others] == ["x", "2024-05-10T00:00:00.000000Z", "1.5"]
    assert types(folder).items() >= {"bigint": "DOUBLE", "zero": "JSON", "text": "JSON", "json": "VARCHAR"}.items()
    for column, type_, value in [("bigint", "VARCHAR", "-5.0"), ("instant", "VARCHAR", instant[1:-1])]:
        pipeline.widen(settings(folder), f"resets.{column}", type_)
        assert cells(folder, column)[0] == ("a", value)
    # A later load finds the types as they are now, and the ledger has the changes as loads without files.
    known = delta.snapshot(folder / "warehouse" / "tables" / "resets").columns
    assert {column.name: column.type for column in known} == types(folder)
    warehouses.load(folder, {"2": warehouses.lines(event("e", boolean="new", zero="new"))})
    assert cells(folder, "boolean", "zero")[-1] == ("e", "new", '"new"')
    assert warehouses.query(folder, "SELECT load_id, files, loaded, discarded FROM loader.loads ORDER BY ALL")[1:] == [
        *((load_id, 0, 0, 0) for load_id in range(2, 11)),
        (11, 1, 1, 0),
    ]
    changes = warehouses.query(
        folder,
        "SELECT load_id, column_name, change, old_type, new_type, loader_line FROM loader.schema_changes "
        "WHERE load_id IN (2, 10)",
    )
    assert sorted(changes) == [
        (2, "bigint", "widened", "BIGINT", "DOUBLE", None),
        (10, "instant", "widened", "JSON", "VARCHAR", None),
    ]


@pytest.mark.parametrize(
    ("name", "type_", "error", "message"),
    [
        ("resets.text", "DOUBLE", UsageError, "resets.text: is VARCHAR, which does not widen to DOUBLE, only to JSON."),
        (
            "resets.boolean",
            "DOUBLE",
            UsageError,
            "is BOOLEAN, which does not widen to DOUBLE, only to VARCHAR or JSON.",
        ),
        ("resets.id", "JSON", UsageError, "resets.id: this column's type is fixed by the rules"),
        ("resets.loader_line", "DOUBLE", UsageError, "resets.loader_line: this column's type is fixed by the rules"),
        ("users.text", "JSON", UsageError, "users is made from identifies. Name that table: identifies.text"),
        ("loader.files", "JSON", UsageError, "the tables of loader.* have fixed types"),
        ("reset.text", "JSON", LoaderError, "reset.text: there is no such table. Close: resets. See: loader schema"),
        ("resets.txt", "JSON", LoaderError, "no such column. Close: text. See: loader schema resets"),
        ("resets", "JSON", UsageError, "resets: is no TABLE.COLUMN, such as order_completed.price."),
    ],
)
def test_what_cannot_be_widened(
    of_all_types: Path, name: str, type_: str, error: type[LoaderError], message: str
) -> None:
    with pytest.raises(LoaderError) as raised:
        pipeline.widen(settings(of_all_types), name, type_)
    assert type(raised.value) is error
    assert message in str(raised.value)
    assert warehouses.query(of_all_types, "SELECT load_id FROM loader.published") == [(1,)]


def test_to_double_only_if_exact(tmp_path: Path) -> None:
    warehouses.load(tmp_path, {"1": warehouses.lines(event("a", v=2**53 + 1, w=2**53 + 2), event("b", 10, v=2**60))})
    done = command(tmp_path, "widen", "resets.v", "double")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "error: resets.v: no DOUBLE holds 1 of its values, such as 9007199254740993, so nothing was changed. "
        "Take VARCHAR: loader widen resets.v VARCHAR\n"
    )
    done = command(tmp_path, "widen", "resets.w", "double", "--json")
    assert (done.returncode, json.loads(done.stdout)["new_type"]) == (0, "DOUBLE")
    assert cells(tmp_path, "v", "w") == [("a", 2**53 + 1, float(2**53 + 2)), ("b", 2**60, None)]
    done = command(tmp_path, "widen", "resets.w", "DOUBLE")
    assert (done.returncode, done.stderr) == (0, "resets.w: is DOUBLE already\n")
    assert warehouses.query(tmp_path, "SELECT load_id FROM loader.published") == [(2,)]


# --- discards ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def with_discards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("with_discards")
    warehouses.load(folder, {"1": warehouses.lines(event("a", v=1, w=True), event("b", 8, "identify", v=1))})
    lines = [
        event("c", 9, v="2024-05-10", w=[1]),
        {"batch": [event("d", 10, v=2), event("e", 10, v=["x"]), event("f", 10, v=10**20, w="no")]},
        event("g", 11, v="x", V="lost"),
        event("h", 12, "identify", v="x"),
    ]
    warehouses.load(folder, {"2": warehouses.lines(*lines)})
    return folder


def test_discards_are_listed(with_discards: Path) -> None:
    done = command(with_discards, "discards", "list")
    assert done.returncode == 0
    assert [line.split() for line in done.stdout.splitlines()[2:]] == [
        ["resets", "v", "type_mismatch", "4", '"2024-05-10"'],
        ["resets", "w", "type_mismatch", "2", "[1]"],
        ["identifies", "v", "type_mismatch", "1", '"x"'],
        ["resets", "v", "name_collision", "1", '"lost"'],
    ]
    found = json.loads(command(with_discards, "discards", "list", "--json").stdout)
    assert found[0] == {
        "table": "resets",
        "column": "v",
        "reason": "type_mismatch",
        "values": 4,
        "value": '"2024-05-10"',
        "file": str(with_discards / "in" / "2"),
        "line": 1,
        "element": None,
    }


def test_discards_are_replayed_into_their_rows(with_discards: Path, tmp_path: Path) -> None:
    folder = copy(with_discards, tmp_path)
    done = command(folder, "discards", "replay", "resets.v")
    assert done.returncode == 1
    assert (
        "resets.v: is BIGINT, and none of its 4 discarded values fits a row. Widen it first: loader widen"
        in done.stderr
    )
    assert command(folder, "widen", "resets.v", "VARCHAR").returncode == 0
    before = cells(folder, "w", "received_date", "uuid_ts", "loader_file_id", "loader_line", "loader_element")
    done = command(folder, "discards", "replay", "resets.v")
    assert done.returncode == 0
    assert done.stderr.startswith(
        "load 4: put 4 of 4 values into resets.v (VARCHAR)\n  rewritten  resets (v): 6 rows, "
    )
    assert cells(folder, "v") == [
        ("a", "1"),
        ("c", "2024-05-10T00:00:00.000000Z"),
        ("d", "2"),
        ("e", '["x"]'),
        ("f", "100000000000000000000"),
        ("g", "x"),
    ]
    assert cells(folder, "w", "received_date", "uuid_ts", "loader_file_id", "loader_line", "loader_element") == before
    marks = (
        "SELECT table_name, column_name, reason, replayed_by, count(*) FROM loader.discards GROUP BY ALL ORDER BY ALL"
    )
    assert warehouses.query(folder, marks) == [
        ("identifies", "v", "type_mismatch", None, 1),
        ("resets", "v", "name_collision", None, 1),
        ("resets", "v", "type_mismatch", 4, 4),
        ("resets", "w", "type_mismatch", None, 2),
    ]
    done = command(folder, "discards", "replay", "resets.v")
    assert (done.returncode, done.stderr) == (0, "resets.v: there is no discarded value of it to replay\n")
    listed = json.loads(command(folder, "discards", "list", "--json").stdout)
    assert [(each["table"], each["column"], each["reason"]) for each in listed] == [
        ("resets", "w", "type_mismatch"),
        ("identifies", "v", "type_mismatch"),
        ("resets", "v", "name_collision"),
    ]


def test_values_that_still_do_not_fit_stay(tmp_path: Path) -> None:
    warehouses.load(tmp_path, {"1": warehouses.lines(event("a", v=1))})
    lines = [event("b", v=2**53 + 1), event("c", v="x"), event("d", v=2.5), event("e", v=2**53 + 2)]
    warehouses.load(tmp_path, {"2": warehouses.lines(lines[1])})
    warehouses.load(tmp_path, {"3": warehouses.lines(lines[0], lines[2], lines[3])})
    assert cells(tmp_path, "v")[1:] == [("b", 2**53 + 1), ("c", None), ("d", None), ("e", 2**53 + 2)]
    warehouses.load(tmp_path, {"4": warehouses.lines(event("f", type_="page", v=1.5))})
    warehouses.load(tmp_path, {"5": warehouses.lines(event("g", type_="page", v=5), event("h", 9, "page", v=2**60))})
    assert cells(tmp_path, "v", table="pages") == [("f", 1.5), ("g", 5.0), ("h", None)]
    for name in ("resets.v", "pages.v"):
        done = command(tmp_path, "discards", "replay", name)
        assert (done.returncode, "none of its" in done.stderr) == (1, True)
    pipeline.widen(settings(tmp_path), "resets.v", "VARCHAR")
    assert command(tmp_path, "discards", "replay", "resets.v").returncode == 0
    assert cells(tmp_path, "v")[1:] == [("b", str(2**53 + 1)), ("c", "x"), ("d", "2.5"), ("e", str(2**53 + 2))]


def test_replay_of_a_part_needs_a_look(tmp_path: Path) -> None:
    rules = {"json_paths": ("reset.properties.a.b",)}
    warehouses.load(tmp_path, {"1": warehouses.lines(event("a", a_b=1))}, **rules)
    lines = [event("b", a={"b": 2}), event("c", a={"b": "x"}), event("d", a={"b": {"y": [1]}})]
    warehouses.load(tmp_path, {"2": warehouses.lines(*lines)}, **rules)
    done = command(tmp_path, "discards", "replay", "resets.a_b")
    assert done.returncode == 3
    assert done.stderr.startswith("load 3: put 1 of 3 values into resets.a_b (BIGINT)\n")
    assert cells(tmp_path, "a_b") == [("a", 1), ("b", 2), ("c", None), ("d", None)]
    pipeline.widen(settings(tmp_path), "resets.a_b", "JSON")
    assert command(tmp_path, "discards", "replay", "resets.a_b").returncode == 0
    assert cells(tmp_path, "a_b") == [("a", "1"), ("b", "2"), ("c", '"x"'), ("d", '{"y":[1]}')]
    marks = warehouses.query(tmp_path, "SELECT row_id, replayed_by FROM loader.discards ORDER BY ALL")
    assert marks == [("b", 3), ("c", 5), ("d", 5)]


def test_books_of_a_rewriting(of_all_types: Path, tmp_path: Path) -> None:
    folder = copy(of_all_types, tmp_path)
    warehouse = folder / "warehouse"
    columns = delta.snapshot(warehouse / "tables/resets").columns
    with db.connect() as connection:
        connection.execute(
            "CREATE TABLE gap AS SELECT 1::BIGINT AS loader_file_id, 2::BIGINT AS loader_line, "
            "NULL::BIGINT AS loader_element, 7::BIGINT AS cell"
        )
        done = widen.rewrite(connection, warehouse, "resets", columns, 2, widen.Fill("bigint", "gap", 1))
        assert (done.columns, done.rows) == (("bigint",), 4)
        with pytest.raises(BooksError, match="cells of resets, written anew: bigint: 3 expected, 2 found"):
            widen.rewrite(connection, warehouse, "resets", columns, 2, widen.Fill("bigint", "gap", 2))
        connection.execute("INSERT INTO gap FROM gap")
        with pytest.raises(BooksError, match="rows of resets, written anew: resets: 4 expected, 5 found"):
            widen.rewrite(connection, warehouse, "resets", columns, 2, widen.Fill("bigint", "gap", 1))


def test_no_two_tables_share_a_folder() -> None:
    hashed = folder_of("日本語")
    assert folder_of(hashed) != hashed
    assert [folder_of(name) for name in ("x_1", "x_order", "tracks")] == ["x_1", "x_order", "tracks"]


# --- a run that dies -----------------------------------------------------------------------------------------------

DRIVER = """
import os, signal, sys
from pathlib import Path
import loader
from loader import delta, pipeline, publish, store

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

warehouse, source, what, death = sys.argv[1:]
real = delta.commit
match death:
    case "before the manifest":
        store.make_certain = die
    case "after the manifest":
        store.commit = die
    case "before the publishing":
        publish.publish = die
    case _:  # before the table's commit is followed by the ledger's
        delta.commit = lambda warehouse, commit, *rest: (
            die() if commit.folder == death else real(warehouse, commit, *rest)
        )
settings = loader.Settings(warehouse=Path(warehouse), threads=1)
match what:
    case "load":
        from dataclasses import replace
        pipeline.load_only(replace(settings, sources=(source,), on_type_conflict="widen"))
    case "widen":
        pipeline.widen(settings, "resets.v", "VARCHAR")
    case "replay":
        pipeline.replay_discards(settings, "resets.w")
"""
DEATHS = (
    "before the manifest",
    "after the manifest",
    "loader/schema_changes",
    "loader/loads",
    "before the publishing",
)


def content(folder: Path) -> list[Any]:
    """All that is published but for the times of loads."""
    found: list[Any] = [
        (name, table.columns, warehouses.filled(table.rows, without=("uuid_ts",)))
        for name, table in sorted(warehouses.tables(folder).items())
    ]
    for table, left_out in (("discards", "uuid_ts"), ("schema_changes", ""), ("loads", "started_at, finished_at")):
        columns = f"* EXCLUDE ({left_out})" if left_out else "*"
        found.append(sorted(warehouses.query(folder, f"SELECT {columns} FROM loader.{table}"), key=str))
    return found


@pytest.mark.parametrize("what", ["load", "widen", "replay"])
def test_killed_anywhere_it_happens_once(tmp_path: Path, what: str) -> None:
    first = tmp_path / "first"
    warehouses.load(first, {"1": warehouses.lines(event("a", v=1, w=True), event("b", 9, "identify", v=1, w=2))})
    warehouses.load(first, {"2": warehouses.lines(event("c", 10, v=2, w=5), event("d", 11, "identify", v=0.5, w="x"))})
    if what == "replay":
        pipeline.widen(settings(first), "resets.w", "VARCHAR")
    third = [event("e", 12, v="x", w=[1]), event("f", 12, "identify", v="y", w=True)]
    source = tmp_path / "3.jsonl"
    source.write_bytes(warehouses.lines(*third))
    deaths = [death for death in DEATHS if what != "replay" or death != "loader/schema_changes"]
    processes = {}
    for number, death in enumerate([*deaths, "none"]):
        folder = copy(first, tmp_path / str(number))
        arguments = [str(folder / "warehouse"), str(source), what, death]
        processes[death] = (folder, subprocess.Popen([sys.executable, "-c", DRIVER, *arguments]))
    ended = {death: (folder, process.wait(120)) for death, (folder, process) in processes.items()}
    assert {death: code for death, (_, code) in ended.items()} == {**dict.fromkeys(deaths, -9), "none": 0}
    wanted = content(ended["none"][0])
    assert wanted != content(first)
    for death in deaths:
        folder = ended[death][0]
        assert content(folder) == content(first), f"{death}: nothing is seen before it is published"
        done = subprocess.run(
            [sys.executable, "-c", DRIVER, str(folder / "warehouse"), str(source), what, "none"], check=False
        )
        assert done.returncode == 0, death
        if what != "load" and death not in ("before the manifest",):
            # The run that died is finished first; then the column is what it should be, or there is nothing to replay.
            assert warehouses.query(folder, "SELECT max(load_id) FROM loader.loads") == [
                (4 if what == "replay" else 3,)
            ]
        assert content(folder) == wanted, death
        assert store.manifests(folder / "warehouse") == []
