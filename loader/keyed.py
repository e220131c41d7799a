"""A table of which a run replaces the rows of some keys: two Delta tables, so that a run writes only what changed.

The rows of `<folder>_recent` stand for those of `<folder>` with the same key; with `gone` there are none.
Once the recent rows are a quarter of the others, all are written anew: on average a row is written a few times, however
long the history.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb

from loader import delta, store
from loader.db import quote
from loader.delta import Commit
from loader.publish import view_sql
from loader.schema import Column

GONE = Column("gone", "BOOLEAN")
SHARE = 4  # so many times as many old rows as recent ones are left where they are


@dataclass(frozen=True, slots=True)
class Keyed:
    """A keyed table. folder: relative to the warehouse. key: rows alike in these columns are replaced together."""

    name: str
    folder: str
    key: tuple[str, ...]
    columns: tuple[Column, ...]

    @property
    def recent(self) -> str:
        """The folder of the rows that stand for others."""
        return self.folder + "_recent"


def columns_of(warehouse: Path, table: Keyed) -> tuple[Column, ...]:
    """The columns that the table has on disk; () where there is none."""
    root = warehouse / table.folder
    return delta.snapshot(root).columns if delta.exists(root) else ()


def select(warehouse: Path, table: Keyed) -> str:
    """SELECT of all rows there are, in the columns of `table`; those that the files lack are NULL."""
    return _current(warehouse, table, list(table.columns))


def _current(warehouse: Path, table: Keyed, columns: Sequence[Column]) -> str:
    base = _rows(warehouse / table.folder, columns)
    root = warehouse / table.recent
    if not (delta.exists(root) and delta.snapshot(root).files):
        return base
    recent = _rows(root, [*columns, GONE])
    names = ", ".join(quote(column.name) for column in columns)
    key = ", ".join(map(quote, table.key))
    keys = _rows(root, [column for column in table.columns if column.name in table.key])
    return (
        f"SELECT {names} FROM ({base}) AS old ANTI JOIN ({keys}) AS changed USING ({key}) "
        f"UNION ALL SELECT {names} FROM ({recent}) AS recent WHERE NOT gone"
    )


def _rows(root: Path, columns: Sequence[Column]) -> str:
    """SELECT of the rows of one of the two tables."""
    if not delta.exists(root):
        return view_sql(columns, [], partitioned=False)
    now = delta.snapshot(root)
    there = {column.name for column in now.columns}
    inner = view_sql(
        [column for column in columns if column.name in there], [f.path for f in now.files], partitioned=False
    )
    lacking = [f"NULL::{column.sql_type} AS {quote(column.name)}" for column in columns if column.name not in there]
    if not lacking:
        return inner
    in_order = ", ".join(quote(column.name) for column in columns)
    return f"SELECT {in_order} FROM (SELECT *, {', '.join(lacking)} FROM ({inner}))"


def write(
    connection: duckdb.DuckDBPyConnection,
    warehouse: Path,
    table: Keyed,
    rows: str,
    keys: str,
    version: int,
    *,
    afresh: bool,
) -> list[Commit]:
    """Writes the files that replace the rows of all `keys` by `rows` (both relations of the engine), for a commit.

    afresh: there are no rows but these. Returns what to commit.
    """
    names = ", ".join(quote(column.name) for column in table.columns)
    key = ", ".join(map(quote, table.key))
    root, recent_root = warehouse / table.folder, warehouse / table.recent
    recent_files = delta.snapshot(recent_root).files if delta.exists(recent_root) else ()
    old_rows = sum(file.rows for file in delta.snapshot(root).files) if delta.exists(root) else 0
    if not afresh and old_rows:
        left = _rows(recent_root, [*table.columns, GONE])
        connection.execute(
            f"CREATE OR REPLACE TEMP TABLE keyed_recent AS "
            f"SELECT {names}, gone FROM ({left}) AS recent ANTI JOIN {keys} USING ({key}) "
            f"UNION ALL BY NAME SELECT {names}, false AS gone FROM {rows} "
            f"UNION ALL BY NAME SELECT {key}, true AS gone FROM {keys} ANTI JOIN {rows} USING ({key})"
        )
        ((count,),) = connection.execute("SELECT count(*) FROM keyed_recent").fetchall()
        if count * SHARE <= old_rows:
            sql = f"SELECT {names}, gone FROM keyed_recent"
            return [_replaced(connection, warehouse, table.recent, (*table.columns, GONE), sql, version)]
        all_rows = f"""SELECT {names} FROM ({_rows(root, table.columns)}) AS old ANTI JOIN keyed_recent USING ({key})
            UNION ALL SELECT {names} FROM keyed_recent WHERE NOT gone"""
    elif afresh:
        all_rows = f"SELECT {names} FROM {rows}"
    else:
        old = _current(warehouse, table, table.columns)
        all_rows = f"""SELECT {names} FROM ({old}) AS old ANTI JOIN {keys} USING ({key})
            UNION ALL SELECT {names} FROM {rows}"""
    commits = [_replaced(connection, warehouse, table.folder, table.columns, all_rows, version)]
    if recent_files:
        commits.append(Commit(table.recent, f"{table.name}_recent", (*table.columns, GONE), (), (), overwrite=True))
    return commits


def _replaced(
    connection: duckdb.DuckDBPyConnection,
    warehouse: Path,
    folder: str,
    columns: tuple[Column, ...],
    sql: str,
    version: int,
) -> Commit:
    written = store.write(connection, warehouse, folder, columns, sql, version)
    exists = delta.exists(warehouse / folder)
    return Commit(folder, folder.rpartition("/")[2], columns, (), written.files, overwrite=exists)
