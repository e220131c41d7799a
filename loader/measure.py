"""What the values of each path are, exactly: their number by class. A first look at all, a closer one where in doubt.

Paths of `context` are measured for all tables in one pass, those of the other parts table by table. Odd events are left
out: `loader.odd` measures those. (count_if takes a quarter of the time of count with FILTER.)
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import duckdb

from loader.leaf_sql import BLANK, DOUBTFUL, Values, classes_of, odd_flag, rows_of
from loader.records import NO_TABLE, Leaf, Measure, Tally, Target

Leaves = Mapping[str, Sequence[Leaf]]  # by table
ByLeaf = dict[tuple[str, Leaf], list[list[Any]]]  # by table and leaf: a row of numbers for each group of events


def first_look(connection: duckdb.DuckDBPyConnection, targets: Sequence[Target]) -> dict[tuple[str, Leaf], Tally]:
    """By table and common leaf: how many texts, how many blank or doubtful."""

    def numbers(values: Values, leaf: Leaf) -> list[str]:
        text, kind = values.text(leaf), None if leaf.kept else leaf.kind
        blank = f"coalesce(count_if({BLANK[kind].format(text)}), 0)" if kind in BLANK else "0"
        doubtful = f"coalesce(count_if({DOUBTFUL[kind].format(text)}), 0)" if kind in DOUBTFUL else "0"
        return [f"count({text})", blank, doubtful if kind else f"count({text})"]

    leaves = {target.table: [leaf for leaf in target.leaves if leaf.common] for target in targets}
    found = _each(connection, targets, leaves, numbers)
    return {key: Tally(*(sum(column) for column in zip(*rows, strict=True))) for key, rows in found.items()}


def closer_look(
    connection: duckdb.DuckDBPyConnection, targets: Sequence[Target], leaves: Leaves
) -> dict[tuple[str, Leaf], Measure]:
    """By table and leaf: the number of values of each class, and the first one's position."""

    def numbers(values: Values, leaf: Leaf) -> list[str]:
        class_ = values.class_of(leaf)
        counts = [f"coalesce(count_if({class_} = '{name}'), 0)" for name in classes_of(leaf)]
        return [f"min(CASE WHEN {class_} IS NOT NULL THEN pos END)", *counts]

    found = {}
    for (table, leaf), rows in _each(connection, targets, leaves, numbers).items():
        first, *counts = zip(*rows, strict=True)
        sums = dict(zip(classes_of(leaf), map(sum, counts), strict=True))
        found[table, leaf] = Measure(sums, min((pos for pos in first if pos is not None), default=None))
    return found


def first_values(
    connection: duckdb.DuckDBPyConnection, targets: Sequence[Target], leaves: Leaves
) -> dict[tuple[str, Leaf], int | None]:
    """By table and leaf, none of them doubtful: the position of the first event whose value is not blank, if any."""

    def numbers(values: Values, leaf: Leaf) -> list[str]:
        return [f"min(CASE WHEN {values.is_filled(leaf)} THEN pos END)"]

    found = _each(connection, targets, leaves, numbers)
    return {key: min((pos for (pos,) in rows if pos is not None), default=None) for key, rows in found.items()}


def _each(
    connection: duckdb.DuckDBPyConnection,
    targets: Sequence[Target],
    leaves: Leaves,
    numbers: Callable[[Values, Leaf], Sequence[str]],
) -> ByLeaf:
    """Evaluates these aggregates for each leaf over the events of its table."""
    found: ByLeaf = {}
    shared = {(leaf.path, leaf.kept): leaf for mine in leaves.values() for leaf in mine if leaf.part.json == "context"}
    if shared:
        values = Values(shared.values(), "item")
        columns = [numbers(values, leaf) for leaf in shared.values()]
        groups = connection.execute(
            f"SELECT call, event_table, odd_call, odd_event, {_listed(columns)} FROM {values.source} GROUP BY ALL"
        ).fetchall()
        rows = [(*group[:4], dict(zip(shared, _cut(group[4:], columns), strict=True))) for group in groups]
        for target in targets:
            wanted = NO_TABLE if target.unnamed else target.event_table
            of_target = [
                by_leaf
                for call, event_table, odd_call, odd_event, by_leaf in rows
                if call == target.call
                and (wanted is None or event_table == wanted)
                and not (odd_call if target.event_table is None else odd_event)
            ]
            for leaf in leaves.get(target.table, ()) if of_target else ():
                if leaf.part.json == "context":
                    found[target.table, leaf] = [by_leaf[leaf.path, leaf.kept] for by_leaf in of_target]

    def of_table(target: Target) -> ByLeaf:
        own = [leaf for leaf in leaves.get(target.table, ()) if leaf.part.json != "context"]
        if not own:
            return {}
        values = Values(own, "item", f"{rows_of(target)} AND NOT {odd_flag(target)}")
        columns = [numbers(values, leaf) for leaf in own]
        with connection.cursor() as cursor:
            row = cursor.execute(f"SELECT {_listed(columns)} FROM {values.source}").fetchall()[0]
        return {(target.table, leaf): [cut] for leaf, cut in zip(own, _cut(row, columns), strict=True)}

    with ThreadPoolExecutor(2, thread_name_prefix="measure") as pool:  # small queries keep one thread busy, not two
        for part in pool.map(of_table, targets):
            found |= part
    return found


def _listed(columns: Sequence[Sequence[str]]) -> str:
    return ", ".join(sql for group in columns for sql in group)


def _cut(row: Sequence[Any], columns: Sequence[Sequence[str]]) -> list[list[Any]]:
    cut, at = [], 0
    for group in columns:
        cut.append(list(row[at : at + len(group)]))
        at += len(group)
    return cut
