"""The books: a load in which anything goes missing on the way raises, and leaves the warehouse as it was (section 8).

A test puts a fault into a load by patching one step of it. The check under test is the real one.
"""

import inspect
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

import loader
from loader import books, context, dedup, delta, discards, flatten, odd, read, scanner, shape, split, store
from loader.parquet import ParquetFile
from tests import warehouses

BEFORE = [
    {"type": "track", "event": "A", "messageId": "a0", "properties": {"n": 1, "s": "x"}},
    {"type": "identify", "messageId": "i0", "userId": "u0", "traits": {"plan": "free"}},
]
EVENTS: list[Any] = [
    *(
        {
            "type": "track",
            "event": "A",
            "messageId": f"a{at}",
            "userId": f"u{at}",
            "receivedAt": f"2024-05-0{at}",
            "properties": {"n": at, "s": str(at), "extra": at},
            "context": {"app": str(at)},
        }
        for at in (1, 2, 3)
    ),
    {"type": "track", "event": "A", "messageId": "a1", "receivedAt": "2024-05-09"},
    {"type": "track", "event": "A", "messageId": "a4", "properties": {"n": "text"}},
    {"type": "track", "event": "", "messageId": "o1", "properties": {"n": 1}},
    {"type": "identify", "messageId": "i1", "userId": "u1", "traits": {"plan": "pro", "id": "x"}},
    {"type": "reset", "messageId": "odd", "properties": {"a_b": 1, "a": {"b": 2}}},
    '{"type": "reset"',
    {"batch": [{"type": "reset", "messageId": "r1", "context": {"app": "1"}}, 5]},
]

Patch = tuple[Any, str, Callable[..., Any]]


def writing(table: str, change: str) -> Patch:
    """A fault in the write of one table: `change` is SQL over `rows`, those that should have been written."""
    real = ParquetFile.write

    def write(file: ParquetFile, given: pa.Table) -> None:
        if table in file.path.parts:
            with duckdb.connect() as connection:
                connection.register("given", given)
                given = connection.sql(f"WITH rows AS (FROM given) {change}").to_arrow_table().cast(given.schema)
        real(file, given)

    return ParquetFile, "write", write


def copying(table: str, change: str) -> Patch:
    """The same for `other_events` and the tables of the ledger, which the engine writes itself."""
    real = store.write
    signature = inspect.signature(real)

    def write(*args: Any, **kwargs: Any) -> store.Written:
        given = signature.bind(*args, **kwargs)
        if given.arguments["folder"].endswith(f"/{table}"):
            given.arguments["sql"] = f"WITH rows AS ({given.arguments['sql']}) {change}"
        return real(*given.args, **given.kwargs)

    return store, "write", write


def reordering() -> Patch:
    """A fault in the engine that makes a table's own cells: they are those of other rows."""
    real = flatten._cells

    def cells(*given: Any) -> flatten.Cells:
        found = real(*given)
        return replace(found, made=found.made and found.made.replace("pos", "pos + 1 AS pos", 1))

    return flatten, "_cells", cells


def around(module: Any, name: str, sql: str, *, first: bool = False) -> Patch:
    """A fault in the staged data after a step, or before it."""
    real = getattr(module, name)

    def step(connection: duckdb.DuckDBPyConnection, *args: Any, **kwargs: Any) -> Any:
        if first:
            connection.execute(sql)
        result = real(connection, *args, **kwargs)
        if not first:
            connection.execute(sql)
        return result

    return module, name, step


def reading(change: Callable[[pa.RecordBatch], list[pa.RecordBatch]]) -> Patch:
    """A fault in the lines that the reader gives out."""
    real = read.lines

    def lines(*args: Any, **kwargs: Any) -> Iterator[pa.RecordBatch]:
        return (changed for batch in real(*args, **kwargs) for changed in change(batch))

    return read, "lines", lines


def losing_a_line() -> Patch:
    """A fault in the reader itself."""
    real = read._split
    return read, "_split", lambda data, offsets, limit: real(data, offsets[:-1], limit)


def giving_ids(fault: Callable[..., pa.ChunkedArray]) -> Patch:
    """A fault in how events are given the ids of their contexts' members."""
    real = context._ids
    return context, "_ids", lambda *given: fault(real, *given)


def losing_an_id(real: Any, *given: Any) -> pa.ChunkedArray:
    found = real(*given)
    return found.take(pa.nulls(len(found), pa.int32()))


def mixing_up_events(real: Any, connection: Any, members: Any, member: int, events: Any, *rest: Any) -> Any:
    """In the order in which the texts of a member are read."""
    return real(connection, members, member, events.take(pa.array(range(len(events))[::-1])), *rest)


def losing_a_part(real: Any, connection: Any, members: Any, member: int, events: Any, parts: range, given: Any) -> Any:
    """In the parts in which they are read."""
    return real(connection, members, member, events, parts[:0], given)


def scanning(change: Callable[[pa.RecordBatch], pa.RecordBatch]) -> Patch:
    """A fault in the events that the scanner makes of lines, on their way to `item`."""
    real = scanner.Scanned.events
    return scanner.Scanned, "events", lambda found, schema: change(real(found, schema))


def without_an_id(events: pa.RecordBatch) -> pa.RecordBatch:
    name = scanner.index(0)
    ids = [None, *events.column(name).to_pylist()[1:]]
    return events.set_column(events.schema.names.index(name), events.schema.field(name), pa.array(ids, pa.int32()))


def keeping(change: Callable[[pa.Table], pa.Table]) -> Patch:
    """A fault in the texts of members that are kept."""
    real = context.keep
    return context, "keep", lambda connection, members, texts: real(connection, members, change(texts))


def without(column: str, condition: str) -> str:
    """A change for `writing`: the cells of a column are empty where the condition holds."""
    return f"SELECT * REPLACE (CASE WHEN NOT ({condition}) THEN {column} END AS {column}) FROM rows"


# name -> (the fault, what is said of it)
FAULTS: dict[str, tuple[Callable[[], Patch], str]] = {
    # lines = blank + lines read
    "the reader loses a line": (losing_a_line, "bytes of a file: .*/2.jsonl: "),
    "a line is lost": (lambda: reading(lambda batch: [batch.slice(1)]), "lines of a file: 2: 10 expected, 9 found"),
    "lines come twice": (lambda: reading(lambda batch: [batch, batch]), "lines of a file: 2: 10 expected"),
    "an event of the scanner's is lost": (
        lambda: scanning(lambda events: events.slice(0, len(events) - 1)),
        "lines of a file: 2: 10 expected, 9 found",
    ),
    "lines that the scanner leaves are lost": (
        lambda: around(split, "_scan", "DELETE FROM unusual"),
        "lines of a file: 2: 10 expected, 8 found",
    ),
    "a reject is lost": (
        lambda: around(split, "split", "DELETE FROM reject WHERE element IS NULL"),
        "lines of a file: 2: 10 expected, 9 found",
    ),
    # items = loaded + duplicates + rejected
    "an event is lost as if it were a duplicate": (
        lambda: around(dedup, "drop_duplicates", "DELETE FROM item WHERE id = 'a2'"),
        "items of a file: 2: 11 expected, 10 found",
    ),
    "an event is lost before the scan": (
        lambda: around(shape, "scan", "DELETE FROM item WHERE id = 'a2'", first=True),
        "items of a file: 2: 11 expected, 10 found",
    ),
    # members of contexts = texts of them = their ids; values that shapes tell of = values there
    "a member of a context is lost": (
        lambda: around(context, "encode", "UPDATE parsed SET m0 = NULL WHERE id = 'r1'", first=True),
        "members of contexts: all: 1 expected, 0 found",
    ),
    "the id of a member of a context is lost": (
        lambda: giving_ids(losing_an_id),
        "members of contexts: app: 1 expected, 0 found",
    ),
    "texts of members are read in another order": (
        lambda: giving_ids(mixing_up_events),
        "order of events: app: 1 expected, 0 found",
    ),
    "texts of members are not read": (
        lambda: giving_ids(losing_a_part),
        "events of members: app: 2 expected, 0 found",
    ),
    "an id of the scanner's is lost": (
        lambda: scanning(without_an_id),
        "members of contexts: all: 3 expected, 2 found",
    ),
    "a text of the scanner's is lost": (
        lambda: keeping(lambda texts: texts.slice(1) if len(texts) == 3 else texts),
        "texts of members: app: 4 expected, 3 found",
    ),
    "the last text of a member is lost": (
        lambda: keeping(lambda texts: texts.slice(0, len(texts) - 1)),
        "texts of members: app: 4 expected, 2 found",
    ),
    "a text of a member is lost after the scan": (
        lambda: around(shape, "scan", "DELETE FROM member WHERE id = 0"),
        "values of tracks: context.app: 3 expected, 2 found",
    ),
    "a text of a member is lost before it is written": (
        lambda: around(flatten, "stage", "DELETE FROM member WHERE id = 0"),
        "texts of members: app: ",
    ),
    "an id of a member is lost after the scan": (
        lambda: around(flatten, "stage", "UPDATE item SET i0 = NULL WHERE i0 = 1"),
        "cells of tracks: context_app: 3 expected, 2 found",
    ),
    # rows written = rows planned
    "an event is lost after the scan": (
        lambda: around(flatten, "stage", "DELETE FROM item WHERE id = 'i1'", first=True),
        "rows of identifies: identifies: 1 expected, 0 found",
    ),
    "an odd event is lost": (
        lambda: around(odd, "stage", "DELETE FROM odd_row"),
        "cells of resets: a_b: 1 expected, 0 found",
    ),
    "a row of a call table is lost": (
        lambda: writing("tracks", "FROM rows WHERE id <> 'a2'"),
        "rows of tracks: tracks: 5 expected, 4 found",
    ),
    "a row of an event table is lost": (
        lambda: writing("a", "FROM rows WHERE id <> 'a2'"),
        "rows of a: a: 4 expected, 3 found",
    ),
    "a row of other_events is lost": (
        lambda: copying("other_events", "FROM rows WHERE false"),
        "rows of other_events: other_events: 1 expected, 0 found",
    ),
    "a row comes twice": (
        lambda: writing("a", "FROM rows UNION ALL FROM rows WHERE id = 'a2'"),
        "rows of a: a: 4 expected, 5 found",
    ),
    "cells are put beside the rows of others": (reordering, "order of rows: .*: 1 expected, 0 found"),
    # cells written = values counted less discards
    "a cell is lost": (lambda: writing("a", without("n", "id = 'a2'")), "cells of a: n: 4 expected, 3 found"),
    "a cell of a new column is lost": (
        lambda: writing("a", without("extra", "id = 'a2'")),
        "cells of a: extra: 3 expected, 2 found",
    ),
    "a cell of the context is lost": (
        lambda: writing("tracks", without("context_app", "id = 'a2'")),
        "cells of tracks: context_app: 3 expected, 2 found",
    ),
    "a discard is lost": (
        lambda: around(discards, "of_table", "DELETE FROM discard WHERE reason = 'type_mismatch'"),
        "cells of a: n: 4 expected, 3 found",
    ),
    "a value that its shape tells of is lost": (
        lambda: around(shape, "scan", """UPDATE item SET props = '{"id":"x"}' WHERE id = 'i1'"""),
        "cells of identifies: plan: 1 expected, 0 found",
    ),
    "a cell of a rule column is lost": (
        lambda: writing("identifies", without("user_id", "true")),
        "cells of identifies: user_id: 1 expected, 0 found",
    ),
    "the properties in other_events are lost": (
        lambda: copying("other_events", without("properties", "true")),
        "cells of other_events: properties: 1 expected, 0 found",
    ),
    "the cells of an odd event are lost": (
        lambda: around(odd, "read", "DELETE FROM odd_cell"),
        "values of odd events: .*: 1 expected, 0 found",
    ),
    # so do the rows of the ledger
    "a row of the rejects is lost": (
        lambda: copying("rejects", "FROM rows LIMIT 1"),
        "rows of loader.rejects: rejects: 2 expected, 1 found",
    ),
    "a row of the discards is lost": (
        lambda: copying("discards", "FROM rows LIMIT 1"),
        "rows of loader.discards: discards: 3 expected, 1 found",
    ),
    "the row of the file is lost": (
        lambda: copying("files", "FROM rows WHERE false"),
        "rows of loader.files: files: 1 expected, 0 found",
    ),
}


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a warehouse of one load."""
    folder = tmp_path_factory.mktemp("books")
    warehouses.load(folder, {"1.jsonl": warehouses.lines(*BEFORE)})
    return folder


def copy(loaded: Path, to: Path) -> Path:
    """A copy of the warehouse, published where it is now."""
    shutil.copytree(loaded / "warehouse", to / "warehouse")
    warehouses.load(to, {})
    return to


def state(folder: Path) -> Any:
    """All that a load changes: the versions of the tables, the manifests, the published file."""
    warehouse = folder / "warehouse"
    versions = {str(log.relative_to(warehouse)): delta.snapshot(log.parent) for log in warehouse.glob("*/*/_delta_log")}
    manifests = list((warehouse / "loader" / "manifests").iterdir())
    return versions, manifests, (warehouse / "warehouse.duckdb").read_bytes()


def load(folder: Path) -> loader.Report:
    return warehouses.load(folder, {"2.jsonl": warehouses.lines(*EVENTS)})


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_stops_the_load(name: str, loaded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The warehouse is as before, so that the next test can use it, too."""
    fault, message = FAULTS[name]
    before = state(loaded)
    assert len(before[0]) == 13
    monkeypatch.setattr(*fault())
    with pytest.raises(books.BooksError, match=f"the books do not balance, {message}"):
        load(loaded)
    assert state(loaded) == before


def test_the_next_run_loads_all(loaded: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = copy(loaded, tmp_path)
    for fault in (writing("a", "FROM rows WHERE id <> 'a2'"), around(dedup, "drop_duplicates", "DELETE FROM item")):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(*fault)
            with pytest.raises(books.BooksError):
                load(folder)
    report = load(folder)
    assert (report.loads, report.known_files) == ([2], 0)
    assert (report.lines, report.items, report.loaded, report.duplicates, report.rejected) == (10, 11, 8, 1, 2)
    assert report.rows == {"tracks": 5, "a": 4, "identifies": 1, "resets": 2, "other_events": 1}
    other = tmp_path_factory.mktemp("without faults")
    warehouses.load(other, {"1.jsonl": warehouses.lines(*BEFORE)})
    load(other)
    found, expected = warehouses.tables(folder), warehouses.tables(other)
    assert {name: table.columns for name, table in found.items()} == {name: t.columns for name, t in expected.items()}
    for name, table in found.items():
        assert cells(table) == cells(expected[name]), name


def cells(table: warehouses.Table) -> list[dict[str, Any]]:
    """The rows but for the times of their loads, and of the files as far as events have these times."""
    return warehouses.filled(table.rows, without=("uuid_ts", "received_at", "received_date", "timestamp"))


def test_what_does_not_balance_is_named() -> None:
    books.balance("x", {}, {})
    books.balance("x", {"a": 0, "b": 1}, {"b": 1, "c": 0})
    with pytest.raises(books.BooksError) as error:
        books.balance("cells of t", {"a": 1, "b": 2, "c": 3}, {"b": 2, "d": 4})
    assert str(error.value).startswith(
        "the books do not balance, cells of t: a: 1 expected, 0 found; c: 3 expected, 0 found; d: 0 expected, 4 found. "
        "Nothing was loaded."
    )
    with pytest.raises(books.BooksError, match=r"4: 1 expected, 0 found \(and 2 more\)\."):
        books.balance("x", dict.fromkeys(range(7), 1), {})
