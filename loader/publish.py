"""What analysts see: `warehouse.duckdb`, views only, each over the files of one version, replaced as a whole."""

import os
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import reduce
from pathlib import Path

import duckdb

from loader import delta, file_names
from loader.calls import PARTITION
from loader.db import literal, quote
from loader.schema import TYPES, Column

NAME = "warehouse.duckdb"
# The names of files in the text of views, where a quote is written twice.
_FILES = """
    WITH name AS (
        SELECT unnest(string_split(replace(sql, chr(39) || chr(39), chr(1)), chr(39))) AS text
        FROM duckdb_views() WHERE NOT internal AND contains(sql, $folder)
    )
    SELECT DISTINCT replace(text, chr(1), chr(39)) FROM name
    WHERE contains(text, $folder) AND ends_with(text, '.parquet') ORDER BY ALL
"""
SCHEMAS = ("main", "loader", "identity", "resolved", "models")


@dataclass(frozen=True, slots=True)
class View:
    """A view to publish: where it is seen, and what it shows: a SELECT, or the Delta table in a folder, relative to the
    warehouse, at a version (None: the newest)."""

    schema: str
    name: str
    folder: str = ""
    version: int | None = None
    sql: str | None = None


@dataclass(frozen=True, slots=True)
class Shown:
    """What `warehouse.duckdb` shows: a load, and persons resolved up to a load by a run (0: none were). warehouse: the
    path that its views name."""

    load_id: int
    warehouse: str
    resolved_load: int = 0
    resolve_id: int = 0


def publish(
    connection: duckdb.DuckDBPyConnection,
    warehouse: Path,
    views: Sequence[View],
    *,
    shown: Shown,
    names: Mapping[str, Collection[str]],
    afresh: bool = False,
    then: Callable[[duckdb.DuckDBPyConnection], object] = lambda _: None,
) -> None:
    """Replaces these views, and keeps the others of `names`, by schema; with `afresh` these are all there will be, but
    for what `then` adds: it gets them as the current database. Readers keep what they have open. What the file shows is
    in `loader.published`."""
    path, beside = warehouse / NAME, warehouse / (NAME + ".part")
    try:
        if not afresh:
            shutil.copyfile(path, beside)
        _write(connection, warehouse, beside, views, shown, names, then)
        with beside.open("rb") as file:
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        for unfinished in (beside, warehouse / (beside.name + ".wal")):  # such a log would be taken for the next file's
            unfinished.unlink(missing_ok=True)


def _write(
    connection: duckdb.DuckDBPyConnection,
    warehouse: Path,
    beside: Path,
    views: Sequence[View],
    shown: Shown,
    names: Mapping[str, Collection[str]],
    then: Callable[[duckdb.DuckDBPyConnection], object],
) -> None:
    connection.execute(f"ATTACH {literal(str(beside))} AS target (STORAGE_VERSION 'v1.0.0')")
    try:
        connection.execute("USE target")  # so that views find each other, whatever the file is called later
        with _at_once(connection):
            for schema in SCHEMAS:
                connection.execute(f"CREATE SCHEMA IF NOT EXISTS {quote(schema)}")
            with ThreadPoolExecutor(2, thread_name_prefix="view") as pool:  # tables are opened while views are made
                selects = pool.map(lambda view: view.sql or table_sql(warehouse / view.folder, view.version), views)
                for view, select in zip(views, selects, strict=True):
                    connection.execute(f"CREATE OR REPLACE VIEW {quote(view.schema)}.{quote(view.name)} AS {select}")
            connection.execute(f"""
                CREATE OR REPLACE VIEW loader.published AS
                SELECT {shown.load_id}::BIGINT AS load_id, {literal(shown.warehouse)} AS warehouse,
                    {shown.resolved_load}::BIGINT AS resolved_load, {shown.resolve_id}::BIGINT AS resolve_id
            """)
            there = connection.execute("""
                SELECT schema_name, view_name FROM duckdb_views() WHERE database_name = 'target' AND NOT internal
            """)
            for schema, name in there.fetchall():
                if name not in names.get(schema, {name}):
                    connection.execute(f"DROP VIEW {quote(schema)}.{quote(name)}")
        then(connection)
    finally:
        connection.execute("USE memory")
        connection.execute("DETACH target")


@contextmanager
def _at_once(connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """One transaction: else each statement is put on disk by itself."""
    connection.execute("BEGIN")
    try:
        yield
    except BaseException:
        with suppress(duckdb.Error):  # where the engine has ended it already
            connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def table_sql(root: Path, version: int | None = None) -> str:
    """SELECT of the rows of a Delta table, typed."""
    snapshot = delta.snapshot(root, version)
    files = [file.path for file in snapshot.files]
    return view_sql(snapshot.columns, files, partitioned=any(file.partition for file in snapshot.files))


def view_sql(columns: Sequence[Column], files: Sequence[str], *, partitioned: bool) -> str:
    """The SELECT of a view: these columns, typed, over exactly these files; no row where there is no file."""
    if not files:
        nothing = ", ".join(f"NULL::{column.sql_type} AS {quote(column.name)}" for column in columns)
        return f"SELECT {nothing} WHERE false"
    names = ", ".join(_cell(column) for column in columns)
    hive = (
        f"hive_partitioning = true, hive_types = {{{literal(PARTITION)}: DATE}}"
        if partitioned
        else "hive_partitioning = false"
    )
    sources = [
        f"read_parquet([{', '.join(map(literal, of_group))}], union_by_name = {str(not alike).lower()}, {hive})"
        for alike, of_group in file_names.groups(files)
    ]
    # Two at a time: of three or more, as such a view is stored, DuckDB 1.1 loses rows.
    rows = reduce(lambda some, more: f"(FROM {some} UNION ALL BY NAME FROM {more})", sources)
    return f"SELECT {names} FROM {rows}"


def _cell(column: Column) -> str:
    """A column of files in its type. The loader's own types are what is in the files, and a cast would take time in
    each query; a model has others, too, that are kept as something else."""
    name = quote(column.name)
    return name if column.type in TYPES else f"{name}::{column.sql_type} AS {name}"


def gone(warehouse: Path, folder: str) -> list[Path]:
    """The files below a folder of the warehouse that `warehouse.duckdb` shows, and that are no more."""
    path = warehouse / NAME
    if not path.exists():
        return []
    try:
        with duckdb.connect(str(path), read_only=True) as connection:
            rows = connection.execute(_FILES, {"folder": f"/{folder}/"}).fetchall()
    except duckdb.Error:
        return []
    return [file for (name,) in rows if not (file := Path(name)).exists()]


def published(warehouse: Path) -> Shown | None:
    """What `warehouse.duckdb` shows; None if it is not there or not readable."""
    path = warehouse / NAME
    if not path.exists():
        return None
    try:
        with duckdb.connect(str(path), read_only=True) as connection:
            columns = "load_id, warehouse, resolved_load, resolve_id"
            return Shown(*connection.execute(f"SELECT {columns} FROM loader.published").fetchall()[0])
    except duckdb.Error:
        return None


def files(warehouse: Path) -> set[str]:
    """The paths of the files that the views of `warehouse.duckdb` name, also where the warehouse was moved since; none
    if it is not there or not readable."""
    shown = published(warehouse)
    if shown is None:
        return set()
    with duckdb.connect(str(warehouse / NAME), read_only=True) as connection:
        rows = connection.execute(_FILES, {"folder": "/"}).fetchall()
    return {str(warehouse) + name.removeprefix(shown.warehouse) for (name,) in rows}
