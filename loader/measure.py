"""What the values of each path are, exactly: their number by class.

Paths of `context` are measured for all tables together, once for each different text of a member; those of the other
parts in one pass. Odd events are left out: `loader.odd` measures those.
"""

from collections.abc import Mapping, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import duckdb

from loader import context
from loader.db import literal
from loader.leaf_sql import OWN_PARTS, PLAIN_CLASS, Values, odd_flag, pointers_of, rows_of
from loader.records import NO_TABLE, Leaf, Look, Measure, Target

TABLES_A_QUERY = 100
ByLeaf = dict[tuple[str, Leaf], Look]  # by table and leaf
Path = tuple[int, bool]  # a path, and whether its values are kept as JSON
ByGroup = dict[tuple[Any, ...], dict[Path, list[Look]]]  # by call, event table, and whether the events are odd in each
Own = tuple[str, str]  # a table, and a part that is its own
_GROUP = "call, event_table, odd_call, odd_event"
_BESIDE = -1  # in place of a member's number: what else contexts have


def look(connection: duckdb.DuckDBPyConnection, targets: Sequence[Target], members: Sequence[str]) -> ByLeaf:
    """By table and common leaf, what its values are; of tables without events nothing. members: of the contexts."""
    leaves = {target.table: [leaf for leaf in target.leaves if leaf.common] for target in targets}
    shared = {
        (leaf.path, leaf.kept): leaf for table in leaves.values() for leaf in table if leaf.part.json == "context"
    }
    own = {
        (target.table, part): [(target, leaf) for leaf in leaves[target.table] if leaf.part.json == part]
        for target in targets
        for part in OWN_PARTS
    }
    by_kind = {key for key, mine in own.items() if all(leaf.kind and not leaf.kept for _, leaf in mine)}
    with ThreadPoolExecutor(2, thread_name_prefix="measure") as pool:  # a scan of few rows keeps but one thread busy
        contexts = pool.submit(_of_contexts, connection, shared, members)
        found = _of_tables(connection, own, by_kind)
        groups = {part: _of_plain(connection, part) for part in OWN_PARTS} | {"context": contexts.result()}
    by_table = {part: _by_table(of_part) for part, of_part in groups.items()}
    for target in targets:
        of_event = target.event_table is not None
        of_target = target.call, NO_TABLE if target.unnamed else target.event_table, of_event
        for leaf in leaves[target.table]:
            part = leaf.part.json
            looks = [found[target.table, leaf]] if part in OWN_PARTS else []
            if part == "context" or (target.table, part) in by_kind:
                looks += [
                    look for of in by_table[part].get(of_target, ()) for look in of.get((leaf.path, leaf.kept), ())
                ]
            found[target.table, leaf] = _together(looks)
    return found


def _by_table(groups: ByGroup) -> dict[tuple[str, int | None, bool], list[dict[Path, list[Look]]]]:
    """The groups of events that are not odd there, by call and event table (None: of all), for a call's tables and for
    those of events."""
    found: dict[tuple[str, int | None, bool], list[dict[Path, list[Look]]]] = {}
    for (call, event_table, odd_call, odd_event), looks in groups.items():
        keys = set() if odd_call else {(call, event_table, False), (call, None, False)}
        for key in keys if odd_event else keys | {(call, event_table, True)}:
            found.setdefault(key, []).append(looks)
    return found


def _of_contexts(connection: duckdb.DuckDBPyConnection, leaves: Mapping[Path, Leaf], members: Sequence[str]) -> ByGroup:
    """Looks at each of these leaves of contexts, by call, event table and whether the events are odd: at each different
    text of a member once, and at what else contexts have one by one."""
    found: ByGroup = {}
    with connection.cursor() as cursor:
        if cursor.execute("SELECT count(*) FROM odd").fetchall()[0][0]:
            context.use(cursor, members)
        # By member, and of what else contexts have.
        paths = {at: [path for path, leaf in leaves.items() if leaf.member == at] for at in range(len(members))}
        paths[_BESIDE] = [path for path, leaf in leaves.items() if leaf.beside]
        texts = [
            _classes("id", "telling", f"member = {at}", at, [leaves[path] for path in mine])
            if at != _BESIDE
            else _classes("pos AS id", "item", "context IS NOT NULL", at, [leaves[path] for path in mine])
            for at, mine in paths.items()
            if mine
        ]
        if not texts:
            return found
        cursor.execute("""
            CREATE TEMP TABLE telling AS SELECT member, id, context FROM member SEMI JOIN used USING (member, id)
        """)
        events = f"""SELECT {_BESIDE} AS member, pos AS id, {_GROUP}, 1 AS events, pos AS first FROM item
            WHERE context IS NOT NULL"""
        rows = cursor.execute(f"""
            WITH text AS MATERIALIZED ({" UNION ALL ".join(texts)}
            ), kind AS MATERIALIZED (
                SELECT member, classes, row_number() OVER ()::INTEGER AS kind FROM text GROUP BY ALL
            ), numbered AS MATERIALIZED (
                SELECT member, id, kind FROM text JOIN kind USING (member, classes)
            ), counted AS MATERIALIZED (
                SELECT {_GROUP}, kind, sum(events) AS events, min(first) AS first
                FROM (SELECT member, id, {_GROUP}, events, first FROM used UNION ALL {events})
                JOIN numbered USING (member, id) GROUP BY ALL
            )
            SELECT {_GROUP}, member, place, class, sum(events)::BIGINT, min(first)
            FROM counted JOIN (
                SELECT kind, member, unnest(range(len(classes))) AS place, unnest(classes) AS class FROM kind
            ) USING (kind)
            WHERE class IS NOT NULL GROUP BY ALL
        """).fetchall()
    for *group, member, place, name, count, first in rows:
        look = Look(count, Measure({name: count}, first) if name else Measure({}, None))
        found.setdefault(tuple(group), {}).setdefault(paths[member][place], []).append(look)
    return found


def _classes(key: str, relation: str, condition: str, member: int, leaves: Sequence[Leaf]) -> str:
    """SELECT of a row's id, and what its values of these leaves are, in their order: the class, '' for a blank one,
    NULL for none."""
    values = Values(leaves, relation, condition)
    classes = ", ".join(
        f"coalesce({values.class_of(leaf)}, CASE WHEN {values.text(leaf)} IS NOT NULL THEN '' END)" for leaf in leaves
    )
    return f"SELECT {member} AS member, {key}, [{classes}] AS classes FROM {values.source}"


def _of_plain(connection: duckdb.DuckDBPyConnection, part: str) -> ByGroup:
    """The same of a part of tables' own, of the events that have only plain values in it: the shape tells what they
    are."""
    with connection.cursor() as cursor:
        rows = cursor.execute(f"""
            SELECT {_GROUP}, path, kind, sum(events)::BIGINT, min(first)
            FROM (
                SELECT {_GROUP}, {literal(part)} AS json, {part}_shape AS shape, count(*) AS events, min(pos) AS first
                FROM item WHERE {part}_plain GROUP BY ALL
            ) JOIN leaf USING (json, shape)
            WHERE kind NOT IN ('NULL', 'OBJECT') GROUP BY ALL
        """).fetchall()
    found: ByGroup = {}
    for *group, path, kind, count, first in rows:
        look = Look(count, Measure({PLAIN_CLASS[kind]: count}, first))
        found.setdefault(tuple(group), {}).setdefault((path, False), []).append(look)
    return found


def _of_tables(
    connection: duckdb.DuckDBPyConnection, own: Mapping[Own, Sequence[tuple[Target, Leaf]]], by_kind: Set[Own]
) -> ByLeaf:
    """A look at each leaf of a table's own. Values become rows: of many paths, each event has few.

    by_kind: the parts of tables of which only the events are looked at that `_of_plain` leaves.
    """
    leaves = [each for mine in own.values() for each in mine]
    found = {(target.table, leaf): Look(0, Measure({}, None)) for target, leaf in leaves}
    by_table: dict[Own, list[int]] = {}
    for number, (target, leaf) in enumerate(leaves):
        by_table.setdefault((target.table, leaf.part.json), []).append(number)
    tables: dict[tuple[str, bool], list[list[int]]] = {}
    for key, numbers in by_table.items():
        tables.setdefault((key[1], key in by_kind), []).append(numbers)
    for (json, only_others), of_part in tables.items():
        events = f"{json} IS NOT NULL" + (f" AND {json}_plain IS NOT TRUE" if only_others else "")
        for start in range(0, len(of_part), TABLES_A_QUERY):
            chunk = of_part[start : start + TABLES_A_QUERY]
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
                        FROM (SELECT pos, CASE {whens} END AS found FROM item WHERE {events})
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


def _together(looks: Sequence[Look]) -> Look:
    """Looks at one leaf in several groups of events as one."""
    names = {name for look in looks for name in look.measure.classes}
    classes = {name: sum(look.measure.classes.get(name, 0) for look in looks) for name in names}
    firsts = [look.measure.first for look in looks if look.measure.first is not None]
    return Look(sum(look.texts for look in looks), Measure(classes, min(firsts, default=None)))
