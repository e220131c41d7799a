"""What the values of each path are, exactly: their number by class.

Paths of `context` are measured for all tables in one pass, as columns, those of the other parts in another, as rows.
Odd events are left out: `loader.odd` measures those. (count_if takes a quarter of the time of count with FILTER.)
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import duckdb

from loader.db import literal
from loader.leaf_sql import JSON_PARTS, Values, classes_of, odd_flag, pointers_of, rows_of
from loader.records import NO_TABLE, Leaf, Look, Measure, Target

TABLES_A_QUERY = 100
ByLeaf = dict[tuple[str, Leaf], Look]  # by table and leaf


def look(connection: duckdb.DuckDBPyConnection, targets: Sequence[Target]) -> ByLeaf:
    """By table and common leaf, what its values are; of tables without events nothing."""
    leaves = {target.table: [leaf for leaf in target.leaves if leaf.common] for target in targets}

    def of_context() -> ByLeaf:
        mine = (leaf for table in leaves.values() for leaf in table if leaf.part.json == "context")
        shared = {(leaf.path, leaf.kept): leaf for leaf in mine}
        if not shared:
            return {}
        with connection.cursor() as cursor:
            groups = _measured(cursor, list(shared.values()), ["call", "event_table", "odd_call", "odd_event"])
        found: ByLeaf = {}
        for target in targets:
            wanted = NO_TABLE if target.unnamed else target.event_table
            of_target = [
                dict(zip(shared, looks, strict=True))
                for (call, event_table, odd_call, odd_event), looks in groups
                if call == target.call
                and (wanted is None or event_table == wanted)
                and not (odd_call if target.event_table is None else odd_event)
            ]
            for leaf in leaves[target.table] if of_target else ():
                if leaf.part.json == "context":
                    found[target.table, leaf] = _together([looks[leaf.path, leaf.kept] for looks in of_target])
        return found

    own = [(target, leaf) for target in targets for leaf in leaves[target.table] if leaf.part.json != "context"]
    with ThreadPoolExecutor(2, thread_name_prefix="measure") as pool:  # a scan of few rows keeps but one thread busy
        context = pool.submit(of_context)
        return _of_tables(connection, own) | context.result()


def _of_tables(connection: duckdb.DuckDBPyConnection, leaves: Sequence[tuple[Target, Leaf]]) -> ByLeaf:
    """A look at each leaf of a table's own. Values become rows: of many paths, each event has few."""
    found = {(target.table, leaf): Look(0, Measure({}, None)) for target, leaf in leaves}
    by_table: dict[tuple[str, str], list[int]] = {}
    for number, (target, leaf) in enumerate(leaves):
        by_table.setdefault((leaf.part.json, target.table), []).append(number)
    for json in JSON_PARTS:
        tables = [numbers for (part, _), numbers in by_table.items() if part == json]
        for start in range(0, len(tables), TABLES_A_QUERY):
            chunk = tables[start : start + TABLES_A_QUERY]
            whens = " ".join(f"WHEN {_values(leaves[numbers[0]][0], numbers, leaves)}" for numbers in chunk)
            class_ = "class_of(text, kind)"
            if kept := [str(number) for numbers in chunk for number in numbers if leaves[number][1].kept]:
                is_kept = f"leaf IN ({', '.join(kept)})"
                class_ = f"CASE WHEN NOT {is_kept} THEN {class_} WHEN cell_kept(text, kind) IS NOT NULL THEN 'JSON' END"
            with connection.cursor() as cursor:
                rows = cursor.execute(f"""
                    SELECT leaf, {class_} AS class, count(*), min(pos)
                    FROM (
                        SELECT pos, unnest(found.leaf) AS leaf, unnest(found.text) AS text, unnest(found.kind) AS kind
                        FROM (SELECT pos, CASE {whens} END AS found FROM item WHERE {json} IS NOT NULL)
                    ) WHERE text IS NOT NULL GROUP BY ALL
                """).fetchall()
            for number, name, count, first in rows:
                target, leaf = leaves[number]
                look = Look(count, Measure({name: count}, first) if name else Measure({}, None))
                found[target.table, leaf] = _together([found[target.table, leaf], look])
    return found


def _values(target: Target, numbers: Sequence[int], leaves: Sequence[tuple[Target, Leaf]]) -> str:
    """SQL of a WHEN: the events of a table, and of each of its leaves of a part the number, the text and the kind."""
    mine = [leaves[number][1] for number in numbers]
    json, pointers = mine[0].part.json, pointers_of(mine)
    kinds = "[" + ", ".join(literal(leaf.kind or "") for leaf in mine) + "]"
    if any(leaf.kind is None for leaf in mine):
        kinds = f"json_type({json}, {pointers})"
    return f"""{rows_of(target)} AND NOT {odd_flag(target)}
        THEN {{'leaf': {list(numbers)}, 'text': json_extract_string({json}, {pointers}), 'kind': {kinds}}}"""


def _measured(
    connection: duckdb.DuckDBPyConnection, leaves: Sequence[Leaf], keys: Sequence[str]
) -> list[tuple[Sequence[Any], list[Look]]]:
    """By these keys of `item`, a look at each leaf."""
    values = Values(leaves, "item")
    columns = [*keys, "pos"]
    numbers = list(keys)
    for at, leaf in enumerate(leaves):
        columns += [f"{values.text(leaf)} AS text{at}", f"{values.class_of(leaf)} AS class{at}"]
        numbers += [f"count(text{at})", f"min(CASE WHEN class{at} IS NOT NULL THEN pos END)"]
        numbers += [f"coalesce(count_if(class{at} = '{name}'), 0)" for name in classes_of(leaf)]
    rows = connection.execute(f"""
        SELECT {", ".join(numbers)} FROM (SELECT {", ".join(columns)} FROM {values.source})
        GROUP BY ALL
    """).fetchall()
    found: list[tuple[Sequence[Any], list[Look]]] = []
    for row in rows:
        rest, looks = iter(row[len(keys) :]), []
        for leaf in leaves:
            texts, first = next(rest), next(rest)
            looks.append(Look(texts, Measure({name: next(rest) for name in classes_of(leaf)}, first)))
        found.append((row[: len(keys)], looks))
    return found


def _together(looks: Sequence[Look]) -> Look:
    """Looks at one leaf in several groups of events as one."""
    names = {name for look in looks for name in look.measure.classes}
    classes = {name: sum(look.measure.classes.get(name, 0) for look in looks) for name in names}
    firsts = [look.measure.first for look in looks if look.measure.first is not None]
    return Look(sum(look.texts for look in looks), Measure(classes, min(firsts, default=None)))
