"""What changes rows that are loaded: a column widened by hand, discarded values put into their rows.

Each is a load of its own without files: with an id, a manifest, and its row in `loader.loads`. So it happens once, as a
whole, and whatever dies on the way, the next run finishes it.
"""

import difflib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import duckdb

from loader import delta, entry, ledger, plan, store
from loader import widen as widening
from loader.calls import CALL_TABLES, LINEAGE, OTHER_EVENTS, PARTITION, rule_columns
from loader.db import literal, quote
from loader.delta import Commit
from loader.errors import LoaderError, UsageError
from loader.job import Rewritten
from loader.schema import Column
from loader.settings import Settings

# Discarded values as cells: `t` is the value's text, `k` its kind, `json` its JSON text (values.sql).
_CELLS = {
    "BIGINT": "cell_bigint(t, k)",
    "DOUBLE": "cell_double(t, k)",
    "BOOLEAN": "cell_boolean(t, k)",
    "TIMESTAMPTZ": "cell_timestamptz(t, k)",
    "VARCHAR": "CASE WHEN k IN ('ARRAY', 'OBJECT') THEN json ELSE cell_varchar(t, k) END",
    "JSON": "json",
}


@dataclass(frozen=True, slots=True)
class Amended:
    """What one such load did. load_id: None if there was nothing to do. old, new: the column's types, alike but after
    `widen`. values: discarded values of the column, replayed: those put into their rows. rewritten: see Report."""

    load_id: int | None
    table: str
    column: str
    old: str
    new: str
    values: int = 0
    replayed: int = 0
    rewritten: Mapping[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        """The same as plain JSON values."""
        return {
            "load": self.load_id,
            "table": self.table,
            "column": self.column,
            "old_type": self.old,
            "new_type": self.new,
            "values": self.values,
            "replayed": self.replayed,
            "rewritten": dict(self.rewritten) if self.rewritten else None,
        }


def widen(
    connection: duckdb.DuckDBPyConnection, settings: Settings, known: ledger.State, name: str, type_: str
) -> Amended:
    """Gives the column TABLE.COLUMN a wider type, with the cells of old rows in it; nothing to do if it has that type.

    Raises UsageError where the types don't allow it, LoaderError where the values don't, or there is no such column.
    """
    started = datetime.now(UTC)
    table, column = _find(known, name)
    if column.type == type_:
        return Amended(None, table, column.name, type_, type_)
    if (column.type, type_) not in widening.CASTS:
        wider = [new for old, new in widening.CASTS if old == column.type]
        raise UsageError(
            f"{table}.{column.name}: is {column.type}, which does not widen to {type_}, only to {' or '.join(wider)}."
        )
    if type_ == "DOUBLE":
        inexact = widening.inexact(connection, settings.warehouse / store.table_folder(table), [column.name])
        if column.name in inexact:
            count, value = inexact[column.name]
            raise LoaderError(
                f"{table}.{column.name}: no DOUBLE holds {count:,} of its values, such as {value}, so nothing was "
                f"changed. Take VARCHAR: loader widen {table}.{column.name} VARCHAR"
            )
    columns = tuple(Column(c.name, type_ if c == column else c.type) for c in known.tables[table])
    done = widening.rewrite(connection, settings.warehouse, table, columns, known.last_load + 1)
    change = {
        "load_id": known.last_load + 1,
        "table_name": table,
        "column_name": column.name,
        "change": "widened",
        "old_type": column.type,
        "new_type": type_,
    }
    query = entry.of_rows(connection, "schema_changes", [change])
    changes = entry.commit(connection, settings.warehouse, known.last_load + 1, "schema_changes", query, 1)
    _commit(connection, settings, known, started, [_rewritten(table, columns, done), changes])
    return Amended(known.last_load + 1, table, column.name, column.type, type_, rewritten=done.to_dict())


def replay(connection: duckdb.DuckDBPyConnection, settings: Settings, known: ledger.State, name: str) -> Amended:
    """Puts the discarded values (type_mismatch) that fit the column TABLE.COLUMN now into their rows, and marks them.

    Those that don't fit stay, as do those whose row is gone or has a value. Raises LoaderError if none can be put in.
    """
    started, load_id = datetime.now(UTC), known.last_load + 1
    table, column = _find(known, name)
    values = _find_fitting(connection, settings, table, column)
    if not values:
        return Amended(None, table, column.name, column.type, column.type)
    replayed: int = connection.execute("SELECT count(*) FROM filling").fetchall()[0][0]
    if not replayed:
        raise LoaderError(
            f"{table}.{column.name}: is {column.type}, and none of its {values:,} discarded values fits a row. "
            f"Widen it first: loader widen {table}.{column.name} VARCHAR"
        )
    columns = known.tables[table]
    fill = widening.Fill(column.name, "filling", replayed)
    done = widening.rewrite(connection, settings.warehouse, table, columns, load_id, fill)
    marked = f"""
        SELECT d.* REPLACE (CASE WHEN f.cell IS NULL THEN d.replayed_by ELSE {load_id} END AS replayed_by)
        FROM discarded d LEFT JOIN filling f ON {_mine(table, column)} AND {_same_place("d", "f")}
    """
    total: int = connection.execute("SELECT count(*) FROM discarded").fetchall()[0][0]
    none = entry.of_rows(connection, "discards", [])
    discards = entry.commit(connection, settings.warehouse, load_id, "discards", none, 0, Rewritten(marked, total, {}))
    _commit(connection, settings, known, started, [_rewritten(table, columns, done), discards])
    return Amended(load_id, table, column.name, column.type, column.type, values, replayed, done.to_dict())


def _find_fitting(connection: duckdb.DuckDBPyConnection, settings: Settings, table: str, column: Column) -> int:
    """How many discarded values of the column wait to be replayed. Makes `discarded`, all discards, and `filling`: of
    these values those that fit a cell which is NULL, with its place."""
    waiting = delta.snapshot(settings.warehouse / ledger.folder("discards"))
    if not waiting.files:
        return 0
    connection.execute(f"CREATE TEMP VIEW discarded AS FROM {widening.rows_sql(waiting.columns, waiting.files)}")
    mine = _mine(table, column)
    values: int = connection.execute(f"SELECT count(*) FROM discarded d WHERE {mine}").fetchall()[0][0]
    rows = delta.snapshot(settings.warehouse / store.table_folder(table))
    if values and rows.files:
        place = ", ".join(LINEAGE)
        connection.execute(f"""
            CREATE TEMP TABLE filling AS
            WITH fitting AS (
                SELECT {place}, any_value({_CELLS[column.type]}) AS cell
                FROM (SELECT *, column_value AS json, column_value ->> '$' AS t, json_type(column_value) AS k
                    FROM discarded d WHERE {mine})
                GROUP BY {place} HAVING cell IS NOT NULL
            ), gap AS (
                SELECT {place} FROM {widening.rows_sql(rows.columns, rows.files)} WHERE {quote(column.name)} IS NULL
            )
            SELECT f.* FROM fitting f SEMI JOIN gap ON {_same_place("f", "gap")}
        """)
    return values if rows.files else 0


def _mine(table: str, column: Column) -> str:
    return (
        f"d.table_name = {literal(table)} AND d.column_name = {literal(column.name)} "
        "AND d.reason = 'type_mismatch' AND d.replayed_by IS NULL"
    )


def _same_place(one: str, other: str) -> str:
    file, line, element = LINEAGE
    return (
        f"{one}.{file} = {other}.{file} AND {one}.{line} = {other}.{line} "
        f"AND {one}.{element} IS NOT DISTINCT FROM {other}.{element}"
    )


def _find(known: ledger.State, name: str) -> tuple[str, Column]:
    """The table and column that TABLE.COLUMN names. UsageError where it is none whose type the events give, LoaderError
    where there is none of this name."""
    table, dot, column = name.removeprefix("main.").partition(".")
    if not (table and dot and column):
        raise UsageError(f"{name}: is no TABLE.COLUMN, such as order_completed.price.")
    if table == "loader":
        raise UsageError(f"{name}: the tables of loader.* have fixed types.")
    if table == "users":
        raise UsageError(f"{name}: users is made from identifies. Name that table: identifies.{column}")
    if table not in known.tables:
        raise LoaderError(f"{name}: there is no such table.{_close(table, known.tables)} See: loader schema")
    call = plan.call_of(table)
    rules = rule_columns(call, table != CALL_TABLES[call], full_event=True)
    if table == OTHER_EVENTS or column in {rule.name for rule in rules}:
        raise UsageError(f"{name}: this column's type is fixed by the rules, not by its values.")
    types = {each.name: each for each in known.tables[table]}
    if column not in types:
        raise LoaderError(f"{name}: there is no such column.{_close(column, types)} See: loader schema {table}")
    return table, types[column]


def _close(name: str, names: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(names), 3)
    return f" Close: {', '.join(close)}." if close else ""


def _rewritten(table: str, columns: Sequence[Column], done: widening.Rewritten) -> Commit:
    return Commit(store.table_folder(table), table, tuple(columns), (PARTITION,), done.files, overwrite=True)


def _commit(
    connection: duckdb.DuckDBPyConnection,
    settings: Settings,
    known: ledger.State,
    started: datetime,
    commits: Sequence[Commit],
) -> None:
    """Commits a load that read no file: its row in `loads` is last."""
    load_id = known.last_load + 1
    row: dict[str, Any] = {column.name: 0 for column in ledger.TABLES["loads"] if column.type == "BIGINT"}
    row |= {"load_id": load_id, "started_at": started, "finished_at": datetime.now(UTC)}
    row["settings"] = json.dumps(known.settings)
    query = entry.of_rows(connection, "loads", [row])
    all_ = [*commits, entry.commit(connection, settings.warehouse, load_id, "loads", query, 1)]
    store.make_certain(settings.warehouse, load_id, all_)
    store.commit(settings.warehouse, load_id, all_)
