"""Values that do not fit a column which is there: where the first one stands, and the end of a load that is to fail."""

from collections.abc import Collection, Mapping, Sequence

import duckdb

from loader import context, plan, split
from loader.db import literal
from loader.errors import LoaderError
from loader.job import Job, Planned
from loader.leaf_sql import Values, odd_flag, rows_of
from loader.records import COLUMN, FileRead, Measure, TablePlan, Target

_SHOWN = 10  # conflicts that a message names
# What a value of each class (values.sql, class_of) is by section 5, for a message.
_WORDS = {
    "EXACT": "BIGINT beyond 2^53",
    "LONG": "BIGINT beyond 2^53",
    "NUMBER": "a number beyond 64 bits (VARCHAR)",
}


def of_plan(
    connection: duckdb.DuckDBPyConnection,
    decided: TablePlan,
    measures: Mapping[str, Measure],
    inexact: Collection[str],
) -> tuple[dict[str, int | None], dict[str, frozenset[str]]]:
    """By column that the plan widens, the position of the first value that caused it; and by existing column, the
    classes of values that do not fit it. inexact: as for `plan.decide`."""
    causes = {}
    for column in decided.columns:
        if old := decided.widened.get(column.name):
            classes = plan.causes(old, column.type, measures[column.name].classes, column.name in inexact)
            causes[column.name] = first_value(connection, decided.target, column.name, classes)
    new = {column.name for column in decided.added}
    unfit = {
        column.name: plan.misfits(column.type, measures[column.name].classes, decided.is_fresh(column))
        for column in decided.columns
        if column.name in measures and column.name not in new
    }
    return causes, {name: classes for name, classes in unfit.items() if classes}


def first_value(
    connection: duckdb.DuckDBPyConnection, target: Target, column: str, classes: Collection[str]
) -> int | None:
    """The position of the first of a table's staged events whose value for the column is of one of these classes."""
    listed = ", ".join(map(literal, sorted(classes)))
    leaves = [leaf for leaf in target.leaves if leaf.common and leaf.fate == COLUMN and leaf.column == column]
    parts = []
    for leaf in leaves:
        values = Values([leaf], context.of_leaf("item", leaf), f"{rows_of(target)} AND NOT {odd_flag(target)}")
        parts.append(f"SELECT min(pos) AS pos FROM {values.source} WHERE {values.class_of(leaf)} IN ({listed})")
    of_event = target.event_table is not None
    mine = f"number = {target.event_table}" if of_event else f"NOT of_event AND call = {literal(target.call)}"
    parts.append(
        f"SELECT min(pos) AS pos FROM odd_cell WHERE winner AND {mine} AND name = {literal(column)} "
        f"AND class IN ({listed})"
    )
    first: int | None = connection.execute(f"SELECT min(pos) FROM ({' UNION ALL '.join(parts)})").fetchall()[0][0]
    return first


def refuse(job: Job, planned: Sequence[Planned], reads: Sequence[FileRead]) -> None:
    """Raises LoaderError if any value does not fit its column: which columns, and where each one's first stands."""
    found = [
        (each.plan, column, first_value(job.sql, each.plan.target, column.name, each.misfits[column.name]))
        for each in planned
        for column in each.plan.columns
        if column.name in each.misfits
    ]
    if not found:
        return
    places = split.places(job.sql, sorted({first for *_, first in found if first is not None}))
    uris = {read.file_id: read.file.uri for read in reads}
    misfits = {each.plan.target.table: each.misfits for each in planned}
    told = []
    for decided, column, first in found[:_SHOWN]:
        table = decided.target.table
        brought = " and ".join(sorted({_WORDS.get(name, name) for name in misfits[table][column.name]}))
        file_id, line, element = places[first] if first is not None else (0, 0, None)
        at = f"{uris.get(file_id, '?')}:{line}" + (f", element {element}" if element is not None else "")
        old = decided.widened.get(column.name, column.type)
        told.append(f"{table}.{column.name} is {old}, and there comes {brought}, first in {at}")
    more = f"\nand {len(found) - _SHOWN:,} more columns" if len(found) > _SHOWN else ""
    raise LoaderError(
        "values do not fit their columns (on_type_conflict is fail), so nothing of this load is loaded.\n"
        + "\n".join(told)
        + more
        + "\nWiden the column first (loader widen TABLE.COLUMN VARCHAR), or give --on-type-conflict widen or discard."
    )
