"""Keyed tables: rows of a key are replaced together; what changed lies beside until it is a quarter; none is lost."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from loader import db, delta, keyed, store
from loader.db import literal
from loader.keyed import Keyed
from loader.schema import Column

VARCHAR, BIGINT = "VARCHAR", "BIGINT"
TABLE = Keyed(
    "visits", "identity/visits", ("type", "id"), (Column("type", VARCHAR), Column("id", VARCHAR), Column("n", BIGINT))
)
BASE, RECENT = "identity/visits", "identity/visits_recent"

Row = tuple[Any, ...]


def values(columns: Sequence[Column], rows: Sequence[Row]) -> str:
    """SELECT of rows; NULL where a value is None."""
    cells = [
        ", ".join(
            f"{'NULL' if value is None else literal(str(value))}::{column.sql_type} AS {column.name}"
            for column, value in zip(columns, row, strict=True)
        )
        for row in rows
    ]
    nothing = ", ".join(f"NULL::{column.sql_type} AS {column.name}" for column in columns)
    return " UNION ALL ".join(f"SELECT {each}" for each in cells) or f"SELECT {nothing} WHERE false"


def put(
    warehouse: Path,
    version: int,
    rows: Sequence[Row],
    gone: Sequence[Row] = (),
    *,
    afresh: bool = False,
    table: Keyed = TABLE,
) -> list[str]:
    """Replaces the rows of the keys of `rows` and `gone`, and commits. The folders committed to."""
    key = [column for column in table.columns if column.name in table.key]
    keys = dict.fromkeys([*(row[: len(key)] for row in rows), *gone])
    with db.connect() as connection:
        connection.execute(f"CREATE TEMP TABLE new_rows AS {values(table.columns, rows)}")
        connection.execute(f"CREATE TEMP TABLE new_keys AS {values(key, [*keys])}")
        commits = keyed.write(connection, warehouse, table, "new_rows", "new_keys", version, afresh=afresh)
    store.commit(warehouse, version, commits, "resolve")
    return [commit.folder for commit in commits]


def seen(warehouse: Path, table: Keyed = TABLE) -> list[Row]:
    with db.connect() as connection:
        return connection.execute(f"FROM ({keyed.select(warehouse, table)}) ORDER BY ALL").fetchall()


def rows_in(warehouse: Path, folder: str) -> int:
    return sum(file.rows for file in delta.snapshot(warehouse / folder).files)


@pytest.fixture
def warehouse(tmp_path: Path) -> Path:
    """With a table of eight keys, of which `a` has two rows."""
    rows = [("u", "a", 1), ("u", "a", 2), *(("u", name, 1) for name in "bcdefg")]
    assert put(tmp_path, 1, rows) == [BASE]
    return tmp_path


def test_nothing_there(tmp_path: Path) -> None:
    assert keyed.columns_of(tmp_path, TABLE) == ()
    with db.connect() as connection:
        found = connection.sql(keyed.select(tmp_path, TABLE))
        assert (found.columns, [str(type_) for type_ in found.types]) == (
            ["type", "id", "n"],
            [VARCHAR, VARCHAR, BIGINT],
        )
    assert seen(tmp_path) == []


def test_no_rows_at_first(tmp_path: Path) -> None:
    """Then what comes are the first."""
    assert put(tmp_path, 1, []) == [BASE]
    assert (seen(tmp_path), keyed.columns_of(tmp_path, TABLE)) == ([], TABLE.columns)
    assert put(tmp_path, 2, [("u", "a", 1)]) == [BASE]
    assert seen(tmp_path) == [("u", "a", 1)]


def test_rows_of_a_key_are_replaced_together(warehouse: Path) -> None:
    """Only what changed is written. A key is all of its columns."""
    before = delta.snapshot(warehouse / BASE).version
    assert put(warehouse, 2, [("u", "a", 7), ("d", "b", 9)]) == [RECENT]
    assert seen(warehouse) == [("d", "b", 9), ("u", "a", 7), *(("u", name, 1) for name in "bcdefg")]
    assert delta.snapshot(warehouse / BASE).version == before
    assert rows_in(warehouse, RECENT) == 2


def test_the_last_rows_of_a_key_count(warehouse: Path) -> None:
    put(warehouse, 2, [("u", "b", 2)])
    put(warehouse, 3, [("u", "b", 3)])
    assert [row for row in seen(warehouse) if row[1] == "b"] == [("u", "b", 3)]
    assert rows_in(warehouse, RECENT) == 1


def test_keys_without_rows_are_gone(warehouse: Path) -> None:
    """Also those of which there were none; and a key that is gone can come back."""
    assert put(warehouse, 2, [], [("u", "a"), ("u", "x")]) == [RECENT]
    assert seen(warehouse) == [("u", name, 1) for name in "bcdefg"]
    assert put(warehouse, 3, [("u", "a", 5)]) == [RECENT]
    assert seen(warehouse) == [("u", "a", 5), *(("u", name, 1) for name in "bcdefg")]


def test_a_quarter_is_folded(warehouse: Path) -> None:
    """Two recent rows beside eight stay; a third writes all anew, and no recent row is left."""
    assert put(warehouse, 2, [("u", "b", 2)], [("u", "c")]) == [RECENT]
    assert put(warehouse, 3, [("u", "d", 3)]) == [BASE, RECENT]
    expected = [("u", "a", 1), ("u", "a", 2), ("u", "b", 2), ("u", "d", 3), *(("u", name, 1) for name in "efg")]
    assert seen(warehouse) == expected
    assert (rows_in(warehouse, BASE), rows_in(warehouse, RECENT)) == (7, 0)
    assert put(warehouse, 4, [("u", "b", 4)]) == [RECENT]
    assert seen(warehouse) == [row if row[1] != "b" else ("u", "b", 4) for row in expected]


def test_all_gone(warehouse: Path) -> None:
    put(warehouse, 2, [], [("u", name) for name in "abcdefg"])
    assert seen(warehouse) == []
    assert put(warehouse, 3, [("u", "z", 1)]) == [BASE]
    assert seen(warehouse) == [("u", "z", 1)]


def test_all_made_anew(warehouse: Path) -> None:
    """Then there is nothing but these rows, in columns of other types even."""
    put(warehouse, 2, [("u", "b", 2)])
    other = Keyed(TABLE.name, TABLE.folder, TABLE.key, (*TABLE.columns[:2], Column("n", VARCHAR)))
    assert put(warehouse, 3, [("u", "q", "text")], afresh=True, table=other) == [BASE, RECENT]
    assert seen(warehouse, other) == [("u", "q", "text")]
    assert keyed.columns_of(warehouse, other) == other.columns


def test_columns_are_added(warehouse: Path) -> None:
    """Old rows have none of a newer column, in files of before and after, and when all are written anew."""
    wider = Keyed(TABLE.name, TABLE.folder, TABLE.key, (*TABLE.columns, Column("plan", VARCHAR)))
    put(warehouse, 2, [("u", "b", 2)])
    assert ("u", "b", 2, None) in seen(warehouse, wider)
    assert put(warehouse, 3, [("u", "c", 3, "pro")], table=wider) == [RECENT]
    rest = [("u", name, 1, None) for name in "defg"]
    expected = [("u", "a", 1, None), ("u", "a", 2, None), ("u", "b", 2, None), ("u", "c", 3, "pro"), *rest]
    assert seen(warehouse, wider) == expected
    assert keyed.columns_of(warehouse, wider) == TABLE.columns
    assert put(warehouse, 4, [("u", "g", 1, "free")], table=wider) == [BASE, RECENT]
    assert seen(warehouse, wider) == [*expected[:-1], ("u", "g", 1, "free")]
    assert keyed.columns_of(warehouse, wider) == wider.columns


def test_a_key_of_one_column(tmp_path: Path) -> None:
    table = Keyed("persons", "identity/persons", ("id",), (Column("id", VARCHAR), Column("of", "JSON")))
    put(tmp_path, 1, [(f"p{at}", None) for at in range(4)], table=table)
    assert put(tmp_path, 2, [("p1", "[1]")], table=table) == ["identity/persons_recent"]
    assert seen(tmp_path, table) == [("p0", None), ("p1", "[1]"), ("p2", None), ("p3", None)]
