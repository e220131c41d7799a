"""What analysts see: `warehouse.duckdb`, views only, each over the files of one version, replaced as a whole."""

import os
import shutil
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb

from loader import delta
from loader.calls import PARTITION
from loader.db import literal, quote
from loader.schema import Column

NAME = "warehouse.duckdb"
SCHEMAS = ("main", "loader")


@dataclass(frozen=True, slots=True)
class View:
    """A view to publish: where it is seen, the folder of its Delta table, relative to the warehouse, and the version
    (None: the newest)."""

    schema: str
    name: str
    folder: str
    version: int | None = None


def publish(
    connection: duckdb.DuckDBPyConnection,
    warehouse: Path,
    views: Sequence[View],
    *,
    load_id: int,
    tables: Collection[str],
    afresh: bool = False,
) -> None:
    """Replaces these views, and keeps the others of `tables`; with `afresh` these are all there will be. Readers keep
    what they have open. The load that the file shows is in `loader.published`, as is where the warehouse lies."""
    path, beside = warehouse / NAME, warehouse / (NAME + ".part")
    try:
        if not afresh:
            shutil.copyfile(path, beside)
        _write(connection, warehouse, beside, views, load_id, tables)
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
    load_id: int,
    tables: Collection[str],
) -> None:
    connection.execute(f"ATTACH {literal(str(beside))} AS target (STORAGE_VERSION 'v1.0.0')")
    try:
        for schema in SCHEMAS:
            connection.execute(f"CREATE SCHEMA IF NOT EXISTS target.{quote(schema)}")
        for view in views:
            snapshot = delta.snapshot(warehouse / view.folder, view.version)
            files = [file.path for file in snapshot.files]
            select = view_sql(snapshot.columns, files, partitioned=any(file.partition for file in snapshot.files))
            connection.execute(f"CREATE OR REPLACE VIEW target.{quote(view.schema)}.{quote(view.name)} AS {select}")
        connection.execute(f"""
            CREATE OR REPLACE VIEW target.loader.published AS
            SELECT {load_id}::BIGINT AS load_id, {literal(str(warehouse))} AS warehouse
        """)
        there = connection.execute("""
            SELECT view_name FROM duckdb_views()
            WHERE database_name = 'target' AND schema_name = 'main' AND NOT internal
        """)
        for (name,) in there.fetchall():
            if name not in tables:
                connection.execute(f"DROP VIEW target.main.{quote(name)}")
    finally:
        connection.execute("DETACH target")


def up_to(
    connection: duckdb.DuckDBPyConnection,
    warehouse: Path,
    load_id: int,
    tables: Sequence[View],
    changed: Collection[str],
    afresh: bool = False,
) -> None:
    """Publishes a load, if it is not published yet. tables: all views there are to be, of which the ledger's and those
    named in `changed` are made; all of them with `afresh`, or where there is no usable file of before."""
    shown = published(warehouse)
    if shown == (load_id, str(warehouse)) and not afresh:
        return
    afresh = afresh or shown is None or shown[1] != str(warehouse)
    views = [view for view in tables if afresh or view.schema == "loader" or view.name in changed]
    names = {view.name for view in tables if view.schema == "main"}
    publish(connection, warehouse, views, load_id=load_id, tables=names, afresh=afresh)


def view_sql(columns: Sequence[Column], files: Sequence[str], *, partitioned: bool) -> str:
    """The SELECT of a view: these columns, typed, over exactly these files; no row where there is no file."""
    if not files:
        nothing = ", ".join(f"NULL::{column.sql_type} AS {quote(column.name)}" for column in columns)
        return f"SELECT {nothing} WHERE false"
    names = ", ".join(f"{quote(column.name)}::{column.sql_type} AS {quote(column.name)}" for column in columns)
    hive = (
        f"hive_partitioning = true, hive_types = {{{literal(PARTITION)}: DATE}}"
        if partitioned
        else "hive_partitioning = false"
    )
    listed = ", ".join(literal(file) for file in files)
    return f"SELECT {names} FROM read_parquet([{listed}], union_by_name = true, {hive})"


def published(warehouse: Path) -> tuple[int, str] | None:
    """The load that `warehouse.duckdb` shows and the path it was made for; None if it is not there or not readable."""
    path = warehouse / NAME
    if not path.exists():
        return None
    try:
        with duckdb.connect(str(path), read_only=True) as connection:
            row: tuple[int, str] = connection.execute("SELECT load_id, warehouse FROM loader.published").fetchall()[0]
            return row
    except duckdb.Error:
        return None
