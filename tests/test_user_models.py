"""A user's own models, by the command line: what they read, when they run, and what becomes of one that fails."""

import json
import shutil
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import duckdb
import polars as pl
import pyarrow as pa
import pytest
from click.testing import Result
from deltalake import write_deltalake

from tests import warehouses
from tests.conftest import Run

EVENTS: list[dict[str, Any]] = [
    {"type": "track", "event": "Order", "userId": "u1", "anonymousId": "d1", "properties": {"total": 10, "note": "x"}},
    {"type": "track", "event": "Order", "userId": "u2", "anonymousId": "d2", "properties": {"total": 5}},
    {"type": "track", "event": "Look", "anonymousId": "d1"},
    {"type": "page", "name": "Home", "anonymousId": "d3"},
]
ORDERS = "SELECT user_id, sum(total) AS total FROM _order GROUP BY user_id"


class Folder:
    """A folder with events, models and a warehouse, and the command at work on it."""

    def __init__(self, path: Path, run: Run) -> None:
        self.path = path
        self.run = run
        self.model("orders", ORDERS)
        (path / "loader.toml").write_text('models = "sql"\n')

    def model(self, stem: str, sql: str | bytes) -> str:
        """Writes a model; the name of its file, as messages have it."""
        file = self.path / "sql" / f"{stem}.sql"
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(sql if isinstance(sql, bytes) else sql.encode())
        return f"sql/{stem}.sql"

    def events(self, number: int = 1, events: Sequence[dict[str, Any]] = EVENTS) -> None:
        """Writes a file of events: not those of another number."""
        file = self.path / "in" / f"{number}.jsonl"
        file.parent.mkdir(exist_ok=True)
        lines = [
            {**event, "messageId": f"{number}-{at}", "receivedAt": f"2024-05-0{number}T10:00:0{at}Z"}
            for at, event in enumerate(events)
        ]
        file.write_bytes(warehouses.lines(*lines))

    def load(self, *arguments: str, code: int = 0) -> list[dict[str, Any]]:
        """`loader run`; what it says of models."""
        done = self.run("run", "in", "--json", *arguments)
        assert done.exit_code == code, done.output
        models: list[dict[str, Any]] = json.loads(done.stdout)["models"]
        return models

    def command(self, *arguments: str, code: int = 0) -> Result:
        done = self.run(*arguments)
        assert done.exit_code == code, done.output
        return done

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        return warehouses.query(self.path, sql)

    def shown(self) -> list[str]:
        """The models that are published."""
        views = "SELECT view_name FROM duckdb_views() WHERE schema_name = 'models' ORDER BY view_name"
        return [name for (name,) in self.query(views)]


@pytest.fixture
def here(tmp_path: Path, run: Run) -> Folder:
    folder = Folder(tmp_path, run)
    folder.events()
    return folder


def made(models: list[dict[str, Any]]) -> dict[str, int | None]:
    """The rows of each model that ran, by name; None where it failed."""
    return {each["name"]: each["rows"] for each in models}


def errors(models: list[dict[str, Any]]) -> dict[str, str]:
    return {each["name"]: each["error"] for each in models if each["error"]}


# --- what they make ---------------------------------------------------------------------------------------------------


def test_models_are_published_with_what_they_read(here: Folder) -> None:
    """In order of what they read, whatever their names; of events, persons and each other."""
    here.model("a_total", "-- grain: one row\nWITH orders AS (FROM orders) SELECT sum(total) AS total FROM orders;")
    here.model(
        "buyers", "SELECT person_id FROM resolved.users JOIN models.orders ON primary_user_id = user_id;\n-- all"
    )
    here.model("nobody", "SELECT person_id, [1] AS list FROM identity.persons WHERE false")
    found = here.load()
    assert made(found) == {"orders": 2, "a_total": 1, "buyers": 2, "nobody": 0}
    assert all(each["seconds"] >= 0 and each["error"] is None for each in found)
    assert {each["file"] for each in found} == {"sql/orders.sql", "sql/a_total.sql", "sql/buyers.sql", "sql/nobody.sql"}
    assert here.shown() == ["a_total", "buyers", "nobody", "orders"]
    assert here.query("FROM models.orders ORDER BY ALL") == [("u1", 10), ("u2", 5)]
    assert here.query("FROM models.a_total") == [(15,)]
    persons = here.query("SELECT person_id FROM resolved.users WHERE primary_user_id IN ('u1', 'u2') ORDER BY ALL")
    assert here.query("FROM models.buyers ORDER BY ALL") == persons
    assert here.query("FROM models.nobody") == []
    assert here.query("SELECT data_type FROM duckdb_columns() WHERE table_name = 'nobody' ORDER BY column_index") == [
        ("VARCHAR",),
        ("INTEGER[]",),
    ]
    comment = "SELECT comment FROM duckdb_views() WHERE schema_name = 'models' AND view_name = 'a_total'"
    assert here.query(comment) == [("one row",)]
    assert here.query(
        "SELECT name, file, grain, rows, load_id, resolve_id, error FROM loader.models WHERE rows = 1"
    ) == [("a_total", "sql/a_total.sql", "one row", 1, 1, 1, None)]


def test_models_show_the_load_that_is_published(here: Folder) -> None:
    here.model(
        "state",
        """SELECT (SELECT count(*) FROM tracks) AS events, (SELECT count(*) FROM resolved.tracks) AS resolved,
        (SELECT max(load_id) FROM loader.loads) AS load, (SELECT count(*) FROM resolved.users) AS persons""",
    )
    here.load()
    assert here.query("FROM models.state") == [(3, 3, 1, 3)]
    here.events(2)
    here.load()
    assert here.query("FROM models.state") == [(6, 6, 2, 3)]


TYPES = {
    "sum(1::BIGINT)": (1, "HUGEINT"),
    "1.50::DECIMAL(9, 2)": (Decimal("1.50"), "DECIMAL(9,2)"),
    "18446744073709551615::UBIGINT": (18446744073709551615, "UBIGINT"),
    "true": (True, "BOOLEAN"),
    "1::FLOAT": (1.0, "FLOAT"),
    "[1, NULL]": ([1, None], "INTEGER[]"),
    "{'a': 1::HUGEINT, 'b c': ['x']}": ({"a": 1, "b c": ["x"]}, 'STRUCT(a HUGEINT, "b c" VARCHAR[])'),
    "MAP {'k': 1::UTINYINT}": ({"k": 1}, "MAP(VARCHAR, UTINYINT)"),
    "'{\"a\": 1}'::JSON": ('{"a": 1}', "VARCHAR"),
    "'2f9f6f2e-7b5c-4a53-8c1e-0d9b8f6c1a11'::UUID": (UUID("2f9f6f2e-7b5c-4a53-8c1e-0d9b8f6c1a11"), "UUID"),
    "'b'::ENUM('a', 'b')": ("b", "ENUM('a', 'b')"),
    "NULL": (None, "VARCHAR"),
    "'\\x00'::BLOB": (b"\x00", "BLOB"),
    "TIMESTAMP '2024-05-01 10:00'::VARCHAR": ("2024-05-01 10:00:00", "VARCHAR"),
    "(INTERVAL 1 DAY)": ("1 day", "INTERVAL"),
    "TIME '10:00'": ("10:00:00", "TIME"),
    "TIMESTAMP_NS '2024-05-01 10:00:00.000000001'": ("2024-05-01 10:00:00.000000001", "TIMESTAMP_NS"),
    "TIMESTAMP '2024-05-01 10:00'": ("2024-05-01 10:00:00", "TIMESTAMP"),
    "TIMESTAMPTZ '2024-05-01 10:00Z'": ("2024-05-01 10:00:00+00", "TIMESTAMP WITH TIME ZONE"),
    "DATE '2024-05-01'": ("2024-05-01", "DATE"),
}


def test_a_column_has_the_type_that_its_model_gives_it(here: Folder) -> None:
    """Also where a Delta table has no such type."""
    here.model("types", "SELECT " + ", ".join(f"{sql} AS c{at}" for at, sql in enumerate(TYPES)))
    assert made(here.load())["types"] == 1
    with warehouses.opened(here.path) as connection:
        row = connection.sql("FROM models.types")
        types = [str(type_) for type_ in row.types]
        cells = [
            f"c{at}::VARCHAR" if isinstance(value, str) else f"c{at}" for at, (value, _) in enumerate(TYPES.values())
        ]
        values = connection.execute(f"SELECT {', '.join(cells)} FROM models.types").fetchall()[0]
    assert types == [type_ for _, type_ in TYPES.values()]
    assert list(values) == [value for value, _ in TYPES.values()]


def test_what_a_model_made_is_a_delta_table(here: Folder) -> None:
    here.load()
    found = pl.read_delta(str(here.path / "warehouse" / "models" / "orders")).sort("user_id")
    assert found.to_dicts() == [{"user_id": "u1", "total": 10}, {"user_id": "u2", "total": 5}]


def test_columns_may_change_from_run_to_run(here: Folder) -> None:
    here.load()
    here.model("orders", "SELECT {'id': user_id} AS user FROM _order")
    here.load()
    assert here.query("FROM models.orders ORDER BY ALL") == [({"id": "u1"},), ({"id": "u2"},)]


def test_schema_and_status_show_models(here: Folder) -> None:
    here.model("orders", f"-- grain: one row per buyer\n{ORDERS}")
    here.model("bad", "SELECT nope FROM tracks")
    here.model("look", "SELECT 1 AS event")
    here.load(code=3)
    listed = json.loads(here.command("schema", "--json").stdout)
    assert [
        (each["table"], each["columns"], each["what"]) for each in listed if each["table"].startswith("models.")
    ] == [("models.look", 1, "a model of your own"), ("models.orders", 2, "one row per buyer")]
    schemas = [each["table"].rpartition(".")[0] for each in listed]
    assert list(dict.fromkeys(schemas)) == ["", "identity", "resolved", "models", "loader"]
    assert len({each["what"] for each in listed if each["table"].startswith("identity.")}) == 7
    columns = json.loads(here.command("schema", "models.orders", "--json").stdout)
    assert [(each["column"], each["type"], each["load"]) for each in columns] == [
        ("user_id", "VARCHAR", None),
        ("total", "HUGEINT", None),
    ]
    columns = json.loads(here.command("schema", "models.look", "--json").stdout)
    assert [(each["column"], each["type"]) for each in columns] == [
        ("event", "INTEGER")
    ]  # not as the table of that name
    (bad, _, orders) = json.loads(here.command("status", "--json").stdout)["models"]
    assert orders == {"model": "orders", "rows": 2, "load": 1, "error": None}
    assert (bad["model"], bad["rows"]) == ("bad", None)
    assert "orders     2        1" in here.command("status").stdout


# --- when they run ----------------------------------------------------------------------------------------------------


def test_nothing_new_runs_nothing(here: Folder) -> None:
    here.load()
    before = (here.path / "warehouse" / "warehouse.duckdb").stat().st_ino
    assert here.load() == []
    assert json.loads(here.command("resolve", "--json").stdout) == {"resolved": None, "models": []}
    assert (here.path / "warehouse" / "warehouse.duckdb").stat().st_ino == before


def test_a_text_that_changed_runs_with_those_that_read_it(here: Folder) -> None:
    here.model("total", "SELECT sum(total) AS total FROM orders")
    here.model("looks", "FROM look")
    here.load()
    here.model("orders", f"{ORDERS} HAVING user_id = 'u1'")
    assert made(here.load()) == {"orders": 1, "total": 1}
    assert here.query("FROM models.total") == [(10,)]
    here.model("more", "FROM pages")
    assert made(json.loads(here.command("resolve", "--json").stdout)["models"]) == {"more": 1}


def test_a_load_runs_all(here: Folder) -> None:
    here.load()
    here.events(2, EVENTS[:1])
    assert made(here.load()) == {"orders": 2}
    assert here.query("SELECT total FROM models.orders ORDER BY ALL") == [(5,), (20,)]


def test_a_load_without_resolving_leaves_them(here: Folder) -> None:
    here.load()
    here.events(2, EVENTS[:1])
    here.command("load", "in")
    assert here.query("SELECT total FROM models.orders ORDER BY ALL") == [(5,), (10,)]
    assert made(json.loads(here.command("resolve", "--json").stdout)["models"]) == {"orders": 2}
    assert here.query("SELECT total FROM models.orders ORDER BY ALL") == [(5,), (20,)]


def test_a_load_that_failed_leaves_them(here: Folder) -> None:
    here.load()
    here.events(2, [EVENTS[0], {"type": "none"}])
    here.model("orders", "SELECT 1 AS one")
    here.command("run", "in", "--strict", code=1)
    assert here.query("SELECT total FROM models.orders ORDER BY ALL") == [(5,), (10,)]


def test_a_rule_of_the_operator_runs_them(here: Folder) -> None:
    here.model("persons", "SELECT count(*) AS persons FROM resolved.users")
    here.load()
    assert here.query("FROM models.persons") == [(3,)]
    here.command("identity", "link", "user_id:u1", "user_id:u2")
    assert here.query("FROM models.persons") == [(2,)]


def test_a_model_that_is_gone_is_not_published(here: Folder) -> None:
    here.model("total", "SELECT sum(total) AS total FROM orders")
    here.load()
    (here.path / "sql" / "orders.sql").unlink()
    found = errors(here.load(code=3))
    assert found["total"].startswith("sql/total.sql:1: Catalog Error: Table with name orders does not exist!")
    assert here.shown() == ["total"]
    (here.path / "sql" / "total.sql").unlink()
    assert here.load() == []
    assert here.shown() == []
    assert here.query("FROM loader.models") == []


def test_without_the_setting_there_are_none(here: Folder) -> None:
    here.load()
    (here.path / "loader.toml").unlink()
    here.load()
    assert here.shown() == []


def test_where_the_folder_is_said(here: Folder) -> None:
    """In a loader.toml it is relative to that, elsewhere to the folder one is in."""
    (here.path / "loader.toml").unlink()
    (here.path / "etc").mkdir()
    shutil.copytree(here.path / "sql", here.path / "etc" / "mine")
    (here.path / "etc" / "my.toml").write_text('models = "mine"\n')
    assert [each["file"] for each in here.load("--config", "etc/my.toml")] == ["etc/mine/orders.sql"]
    assert here.load("--models", "sql") == []  # the same texts
    here.model("orders", "SELECT 1 AS one")
    done = here.run("resolve", "--json", LOADER_MODELS="sql")
    assert made(json.loads(done.stdout)["models"]) == {"orders": 1}
    here.command("load", "in", "--models", "sql", code=2)


def test_a_folder_that_is_not_there(here: Folder) -> None:
    done = here.command("run", "in", "--models", "nowhere", code=2)
    assert done.stderr == "error: nowhere: cannot read this folder of models: No such file or directory.\n"
    assert not (here.path / "warehouse").exists()


# --- what goes wrong --------------------------------------------------------------------------------------------------

ERRORS: dict[str, tuple[str | bytes, str]] = {
    "syntax": ("SELECT *\nFORM tracks", ':2: Parser Error: syntax error at or near "tracks"'),
    "quote": ("SELECT 'a", ":1: Parser Error: unterminated string literal."),
    "unknown": ("-- why\nSELECT id,\n  nope\nFROM tracks", ':3: Binder Error: Referenced column "nope" not found'),
    "missing": ("SELECT 1\nFROM nowhere", ":2: Catalog Error: Table with name nowhere does not exist!"),
    "casting": ("SELECT\n  note::INTEGER\nFROM _order", ":2: Conversion Error: Could not convert string 'x' to INT32"),
    "type": ("SELECT union_value(a := 1) AS u", ": column u: a UNION(a INTEGER) cannot be kept in a Delta table. Cast"),
    "two": ("SELECT 1; SELECT 2", ": holds 2 statements. A model is one SELECT."),
    "none": ("-- to be written", ": holds 0 statements. A model is one SELECT."),
    "insert": ("INSERT INTO tracks SELECT 1", ": holds no SELECT, but INSERT. A model is one SELECT."),
    "explain": ("EXPLAIN SELECT 1", ": holds no SELECT, but EXPLAIN. A model is one SELECT."),
    "bytes": (b"SELECT '\xff'", ": cannot read this file: 'utf-8' codec can't decode byte 0xff"),
    "9lives": ("SELECT 1", ": '9lives' is no name for a table: it takes a-z, 0-9 and _, and no digit first."),
    "Upper": ("SELECT 1", ": 'Upper' is no name for a table"),
    "order": ("SELECT 1", ": order is a word of SQL. Rename the file, or give a `-- name:`."),
    "undeclared": (
        "-- reads: pages\nFROM pages JOIN tracks USING (id)",
        ": reads tracks, and its header doesn't say so. Add it to `-- reads:`.",
    ),
    "declared": ("-- reads: pages, tracks\nFROM pages", ": its header reads tracks, and its SELECT doesn't."),
    "elsewhere": (
        "-- writes: main.tracks\nSELECT 1",
        ": its header says that it writes main.tracks; it is models.elsewhere.",
    ),
    "same": ("-- name: orders\nSELECT 1", ": sql/orders.sql is called orders, too. Rename one of them."),
    "itself": ("FROM models.itself", ": models read each other in a circle: itself → itself. Break it."),
    "after": ("FROM ring_a", ": did not run: it reads ring_a, which failed."),
    "ring_a": ("FROM ring_b", ": models read each other in a circle: "),
    "ring_b": ("FROM ring_a", ": models read each other in a circle: "),
}


def test_each_error_names_its_file_and_loses_none_of_the_others(here: Folder) -> None:
    """Nor the load."""
    for stem, (sql, _) in ERRORS.items():
        here.model(stem, sql)
    here.model("good", "SELECT count(*) AS n FROM _order")
    done = here.command("run", "in", "--json", code=3)
    found = {each["file"]: each["error"] for each in json.loads(done.stdout)["models"]}
    for stem, (_, error) in ERRORS.items():
        file = f"sql/{stem}.sql"
        if stem != "same":
            assert found.pop(file).startswith(file + error), stem
    assert found == {
        "sql/orders.sql": "sql/same.sql: sql/orders.sql is called orders, too. Rename one of them.",
        "sql/good.sql": None,
    }
    assert here.shown() == ["good"]
    assert here.query("FROM models.good") == [(2,)]
    assert here.query("SELECT count(*) FROM tracks") == [(3,)]
    said = done.stderr.splitlines()
    assert len(said) == len(ERRORS)
    assert all(line.startswith("error: sql/") for line in said)


def test_a_model_may_say_its_header(here: Folder) -> None:
    here.model(
        "Any-Name",
        "-- name: visits\n-- reads: pages, models.orders\n-- writes: models.visits\n-- grain: one row per page\n"
        "SELECT pages.id FROM pages CROSS JOIN models.orders",
    )
    assert made(here.load()) == {"orders": 2, "visits": 2}


def test_a_name_that_a_model_and_a_table_have(here: Folder) -> None:
    """Which of them is meant is to be said; a model of a table's name means that table."""
    here.model("look", "SELECT count(*) AS n FROM look")
    here.model("looks", "FROM look")
    found = here.load(code=3)
    assert errors(found) == {
        "looks": "sql/looks.sql: look is a table and a model. Say which: main.look or models.look."
    }
    assert here.query("FROM models.look") == [(1,)]
    here.model("looks", "SELECT n, (SELECT count(*) FROM main.look) AS m FROM models.look")
    here.load()
    assert here.query("FROM models.looks") == [(1, 1)]


def test_what_a_model_made_before_it_failed_stays(here: Folder) -> None:
    here.model("total", "SELECT sum(total) AS total FROM orders")
    here.load()
    here.events(2, [{"type": "track", "event": "Order", "properties": {"total": 1, "note": "x"}}])
    here.model("orders", "SELECT total, note::INTEGER FROM _order")
    done = here.command("run", "in", code=3)
    cast, dependent = done.stderr.splitlines()[-2:]
    assert cast.startswith("error: sql/orders.sql:1: Conversion Error: Could not convert string 'x' to INT32")
    assert cast.endswith("; its result of load 1 stays.")
    assert dependent == "error: sql/total.sql: did not run: it reads orders, which failed; its result of load 1 stays."
    assert here.query("FROM models.orders ORDER BY ALL") == [("u1", 10), ("u2", 5)]
    assert here.query("FROM models.total") == [(15,)]
    assert here.query("SELECT count(*) FROM _order") == [(3,)]
    assert errors(here.load(code=3)).keys() == {"orders", "total"}  # tried again each time, until it is mended
    here.model("orders", ORDERS)
    assert made(here.load()) == {"orders": 3, "total": 1}
    assert here.query("FROM models.total") == [(16,)]
    assert here.query("SELECT DISTINCT load_id, error FROM loader.models") == [(2, None)]


def test_a_text_that_fails_is_tried_again_each_time(here: Folder) -> None:
    """Also where its last result is of this load."""
    here.load()
    here.model("orders", "SELECT nope")
    for _ in range(2):
        assert errors(here.load(code=3)).keys() == {"orders"}
    assert here.query("FROM models.orders ORDER BY ALL") == [("u1", 10), ("u2", 5)]


def test_resolve_and_identity_tell_of_a_failure(here: Folder) -> None:
    here.load()
    file = here.model("bad", "SELECT nope")
    for command in (["resolve"], ["identity", "block", "user_id:u2"]):
        done = here.command(*command, code=3)
        assert f'error: {file}:1: Binder Error: Referenced column "nope" was not found' in done.stderr


# --- what dies, what moves --------------------------------------------------------------------------------------------


def test_rows_that_were_written_and_not_published_do_no_harm(here: Folder) -> None:
    here.load()
    table = here.path / "warehouse" / "models" / "orders"
    write_deltalake(table, pa.table({"other": [1]}), mode="overwrite", schema_mode="overwrite")
    here.command("publish")
    assert here.query("FROM models.orders ORDER BY ALL") == [("u1", 10), ("u2", 5)]
    here.events(2, EVENTS[:1])
    here.load()
    assert here.query("FROM models.orders ORDER BY ALL") == [("u1", 20), ("u2", 5)]


def test_models_move_with_the_warehouse(here: Folder) -> None:
    here.model("orders", f"-- grain: one row per buyer\n{ORDERS}")
    here.load()
    here.path.joinpath("warehouse").rename(here.path / "moved é")
    here.command("publish", "--warehouse", "moved é")
    with duckdb.connect(str(here.path / "moved é" / "warehouse.duckdb"), read_only=True) as connection:
        assert connection.execute("FROM models.orders ORDER BY ALL").fetchall() == [("u1", 10), ("u2", 5)]
        views = connection.execute("SELECT comment FROM duckdb_views() WHERE view_name = 'orders'").fetchall()
    assert views == [("one row per buyer",)]
    assert here.load("--warehouse", "moved é") == []


def test_models_come_back_after_the_file_was_lost(here: Folder) -> None:
    here.load()
    (here.path / "warehouse" / "warehouse.duckdb").unlink()
    here.command("publish")
    assert here.shown() == []
    assert made(here.load()) == {"orders": 2}


def test_a_result_whose_files_are_gone_is_made_anew(here: Folder) -> None:
    here.load()
    shutil.rmtree(here.path / "warehouse" / "models")
    here.path.joinpath("warehouse").rename(here.path / "moved")
    here.command("publish", "--warehouse", "moved")
    (lost,) = json.loads(here.command("status", "--json", "--warehouse", "moved").stdout)["models"]
    assert (lost["model"], lost["rows"], lost["load"]) == ("orders", None, None)
    assert lost["error"].startswith(f"{here.path}/moved/models/orders: ")
    assert made(here.load("--warehouse", "moved")) == {"orders": 2}
