"""Widening of columns that hold values already: may they, and the rows of a table written anew.

Delta changes a column's type only where all rows are written again. A table is rewritten at most once a load, however
many of its columns widen. The new files are committed with those of the load; readers keep the old ones.
"""

import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from loader import books, delta, publish, store
from loader.calls import LINEAGE, PARTITION
from loader.db import literal, quote
from loader.delta import DeltaFile, LiveFile
from loader.schema import Column

# What a cell becomes in a wider type: the number, the text of section 5, its JSON. A DOUBLE of -0.0 is 0.0 in Parquet
# or not, as DuckDB likes it; its text never is.
_NUMBER = "to_json({0} + 0.0)::VARCHAR"
CASTS = {
    ("BIGINT", "DOUBLE"): "{0}::DOUBLE",
    ("BIGINT", "VARCHAR"): "{0}::VARCHAR",
    ("DOUBLE", "VARCHAR"): _NUMBER,
    ("BOOLEAN", "VARCHAR"): "{0}::VARCHAR",
    ("TIMESTAMPTZ", "VARCHAR"): "instant_text({0})",
    ("JSON", "VARCHAR"): "CASE json_type({0}) WHEN 'VARCHAR' THEN cell_varchar({0} ->> '$', 'VARCHAR') ELSE {0} END",
    ("BIGINT", "JSON"): "{0}::VARCHAR",
    ("DOUBLE", "JSON"): _NUMBER,
    ("BOOLEAN", "JSON"): "{0}::VARCHAR",
    ("TIMESTAMPTZ", "JSON"): "to_json(instant_text({0}))::VARCHAR",
    ("VARCHAR", "JSON"): "to_json({0})::VARCHAR",
}


@dataclass(frozen=True, slots=True)
class Rewritten:
    """A table's rows in new files. columns: those whose cells changed. bytes: of the new files."""

    table: str
    columns: tuple[str, ...]
    rows: int
    bytes: int
    seconds: float
    files: tuple[DeltaFile, ...]

    def to_dict(self) -> dict[str, Any]:
        """What it cost, as plain JSON values."""
        return {
            "table": self.table,
            "columns": list(self.columns),
            "rows": self.rows,
            "bytes": self.bytes,
            "seconds": self.seconds,
        }


@dataclass(frozen=True, slots=True)
class Fill:
    """Cells to put where there is NULL. relation: its lineage columns, and `cell` in the column's new type."""

    column: str
    relation: str
    cells: int


def inexact(connection: duckdb.DuckDBPyConnection, root: Path, columns: Sequence[str]) -> dict[str, tuple[int, int]]:
    """Of these BIGINT columns those with values that no DOUBLE holds: how many, and one of them."""
    if not columns or not delta.exists(root):
        return {}
    misfit = "{0}::DOUBLE::HUGEINT <> {0}::HUGEINT"
    numbers = ", ".join(
        f"count_if({misfit.format(quote(name))}), any_value({quote(name)}) FILTER ({misfit.format(quote(name))})"
        for name in columns
    )
    snapshot = delta.snapshot(root)
    if not snapshot.files:
        return {}
    row = connection.execute(f"SELECT {numbers} FROM {rows_sql(snapshot.columns, snapshot.files)}").fetchall()[0]
    found = zip(columns, row[::2], row[1::2], strict=True)
    return {name: (count, value) for name, count, value in found if count}


def rows_sql(columns: Sequence[Column], files: Sequence[LiveFile]) -> str:
    """The rows of these files with these columns, NULL where a file lacks one; in brackets, to select from."""
    template = publish.view_sql(columns, (), partitioned=False)
    hive = f"true, hive_types = {{{literal(PARTITION)}: DATE}}" if files[0].partition else "false"
    listed = ", ".join(literal(file.path) for file in files)
    return (
        f"({template} UNION ALL BY NAME "
        f"FROM read_parquet([{listed}], union_by_name = true, hive_partitioning = {hive}))"
    )


def rewrite(
    connection: duckdb.DuckDBPyConnection,
    warehouse: Path,
    table: str,
    columns: Sequence[Column],
    load_id: int,
    fill: Fill | None = None,
) -> Rewritten:
    """Writes all live rows of a table into new files, date by date, in the types of `columns`. No reader sees them yet.

    columns: of the table as it will be; new ones are left out, they are NULL. fill: cells that are put in, too. Raises
    BooksError unless there are as many rows and cells as before, and those of `fill`.
    """
    began = time.monotonic()
    folder = store.table_folder(table)
    snapshot = delta.snapshot(warehouse / folder)
    types = {column.name: column for column in columns}
    changed = tuple(
        c.name for c in snapshot.columns if types[c.name].type != c.type or (fill and c.name == fill.column)
    )
    new_columns = [types[column.name] for column in snapshot.columns]
    select = ", ".join(f"{_cell(c, types[c.name], fill)} AS {quote(c.name)}" for c in snapshot.columns)
    join = ""
    if fill:
        # `=` lets the engine hash; the element of a plain line is NULL on both sides
        same = " AND ".join(f"old.{name} = fill.{name}" for name in LINEAGE[:2])
        join = f" LEFT JOIN {fill.relation} fill ON {same} AND old.{LINEAGE[2]} IS NOT DISTINCT FROM fill.{LINEAGE[2]}"
    by_date: dict[str, list[LiveFile]] = defaultdict(list)
    for file in snapshot.files:
        by_date[file.partition.get(PARTITION, "")].append(file)
    new: list[DeltaFile] = []
    rows, cells = 0, {fill.column: fill.cells} if fill else {}
    found: dict[str, int] = {}
    for date, files in sorted(by_date.items()):
        sql = f"SELECT {select} FROM {rows_sql(snapshot.columns, files)} old{join}"
        written = store.write(connection, warehouse, folder, new_columns, sql, load_id, 0, [date] if date else [])
        new += written.files
        rows += written.rows
        for name, count in filled(connection, files).items():
            cells[name] = cells.get(name, 0) + count
        for name, count in written.cells.items():
            if name != PARTITION:
                found[name] = found.get(name, 0) + count
    books.balance(f"rows of {table}, written anew", {table: sum(f.rows for f in snapshot.files)}, {table: rows})
    books.balance(f"cells of {table}, written anew", cells, found)
    size = sum(file.size for file in new)
    return Rewritten(table, changed, rows, size, time.monotonic() - began, tuple(new))


def _cell(old: Column, new: Column, fill: Fill | None) -> str:
    cell = f"old.{quote(old.name)}"
    if old.type != new.type:
        cell = CASTS[old.type, new.type].format(cell)
    return f"coalesce({cell}, fill.cell)" if fill and fill.column == old.name else cell


def filled(connection: duckdb.DuckDBPyConnection, files: Sequence[LiveFile]) -> dict[str, int]:
    """By column, the cells of these files that are not NULL."""
    paths = {"files": [file.path for file in files]}
    source = "FROM read_parquet($files, union_by_name = true, hive_partitioning = false)"
    names = [name for name, *_ in connection.execute(f"{source} LIMIT 0", paths).description]
    counts = ", ".join(f"count({quote(name)})" for name in names)
    found = connection.execute(f"SELECT {counts} {source}", paths).fetchall()[0]
    return {name: count for name, count in zip(names, found, strict=True) if count}
