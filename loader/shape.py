"""What is there, exactly: every path of every part of the events, with its kinds, per table. Nothing is sampled.

Events of one shape have the same keys in the same order with the same kinds, so one of them tells the paths of all.
Tables of the engine that this makes: `event_name` (an event's text -> its name and table), `leaf` (the paths of a
shape), `path`, `odd_shape` (shapes with a key twice), and `usage` (rows and first event by table, path and kind).
"""

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import duckdb
import pyarrow as pa

from loader import context
from loader.leaf_sql import JSON_PARTS
from loader.paths import split_path
from loader.records import EventName, Usage


def event_names(connection: duckdb.DuckDBPyConnection) -> list[EventName]:
    """The names of the tracks in order of first appearance."""
    rows = connection.execute("""
        SELECT coalesce(event, ''), count(*), min(pos) FROM item WHERE call = 'track' GROUP BY ALL ORDER BY min(pos)
    """).fetchall()
    return [EventName(*row) for row in rows]


def name_events(connection: duckdb.DuckDBPyConnection, names: Iterable[tuple[str, str, int]]) -> None:
    """Sets the event table of each track, from (text, name, event table); keeps them as `event_name`."""
    texts, names_, tables = zip(*names, strict=True) if (names := list(names)) else ((), (), ())
    table = pa.table(
        {
            "event_key": pa.array(texts, pa.string()),
            "event_name": pa.array(names_, pa.string()),
            "event_table": pa.array(tables, pa.int32()),
        }
    )
    connection.register("names", table)
    connection.execute("CREATE TABLE event_name AS SELECT * FROM names")
    connection.unregister("names")
    connection.execute("""
        UPDATE item SET event_table = n.event_table FROM event_name n
        WHERE item.call = 'track' AND coalesce(item.event, '') = n.event_key
    """)


def scan(connection: duckdb.DuckDBPyConnection, members: Sequence[str]) -> None:
    """Makes `leaf`, `path`, `odd_shape` and `usage` from `item`. members: of its contexts (loader.context)."""
    with connection.cursor() as cursor, ThreadPoolExecutor(1, thread_name_prefix="use") as pool:
        used = pool.submit(context.use, cursor, members)
        _find_paths(connection)
        used.result()
    counted = " UNION ALL ".join(
        f"""SELECT call, event_table, '{part}' AS json, {part}_shape AS shape, count(*) AS events, min(pos) AS first
            FROM item WHERE {part}_shape IS NOT NULL GROUP BY ALL"""
        for part in JSON_PARTS
    )
    connection.execute(f"""
        CREATE TABLE usage AS
        SELECT g.call, g.event_table, json, path, kind, sum(events)::BIGINT AS events, min(g.first) AS first
        FROM (
            {counted} UNION ALL
            SELECT call, event_table, 'context', shape, sum(events), min(first)
            FROM used JOIN member USING (member, id) GROUP BY ALL
        ) g JOIN leaf USING (json, shape) GROUP BY ALL
    """)


def _find_paths(connection: duckdb.DuckDBPyConnection) -> None:
    connection.execute("CREATE TABLE node (json VARCHAR, shape UBIGINT, fullkey VARCHAR, kind VARCHAR, times BIGINT)")
    for part in JSON_PARTS:
        docs = f"SELECT {part}_shape AS shape, {part} AS doc FROM item WHERE {part} IS NOT NULL"
        if part == "context":
            docs += " UNION ALL SELECT shape, context FROM member"
        connection.execute(
            f"""
            INSERT INTO node
            SELECT '{part}', shape, n.fullkey, min_by(n.kind, n.id), count(*)
            FROM (SELECT shape, unnest(paths_of(doc)) AS n
                FROM (SELECT shape, any_value(doc) AS doc FROM ({docs}) GROUP BY shape))
            GROUP BY ALL
            """
        )
    connection.execute("""
        CREATE TABLE path AS
        SELECT row_number() OVER (ORDER BY json, fullkey)::INTEGER AS path, json, fullkey,
            bool_or(json = 'context' AND shape IN (SELECT shape FROM member)) AS of_member,
            bool_or(json <> 'context' OR shape IN (SELECT context_shape FROM item WHERE context IS NOT NULL)) AS beside
        FROM node GROUP BY json, fullkey
    """)
    connection.execute("""
        CREATE TABLE leaf AS SELECT json, shape, path, kind, times FROM node JOIN path USING (json, fullkey)
    """)
    connection.execute("CREATE TABLE odd_shape AS SELECT DISTINCT json, shape FROM leaf WHERE times > 1")
    connection.execute("DROP TABLE node")


def usages(connection: duckdb.DuckDBPyConnection, members: Sequence[str]) -> dict[tuple[str, int | None], list[Usage]]:
    """By (call, event table; None but for tracks): the paths there, by part and key."""
    numbers = {key: number for number, key in enumerate(members)}
    paths = {}
    for path, fullkey, of_member, beside in connection.execute(
        "SELECT path, fullkey, of_member, beside FROM path"
    ).fetchall():
        keys = split_path(fullkey)
        paths[path] = keys, numbers[keys[0]] if of_member else None, beside
    found: dict[tuple[str, int | None], dict[int, Usage]] = {}
    rows = connection.execute("""
        SELECT call, event_table, json, path, kind, events, first FROM usage ORDER BY ALL
    """).fetchall()
    for call, event_table, json, path, kind, events, first in rows:
        table = found.setdefault((call, event_table), {})
        known = table.get(path)
        kinds = {**known.kinds} if known else {}
        if kind != "NULL":
            kinds[kind] = events
            first = min(first, known.first) if known and known.kinds else first
        elif known:
            first = known.first
        keys, member, beside = paths[path]
        table[path] = Usage(path, json, keys, kinds, first, member, beside)
    return {table: list(paths.values()) for table, paths in found.items()}


def merged(usages: Iterable[Usage]) -> list[Usage]:
    """The paths of several tables taken together."""
    found: dict[int, Usage] = {}
    for usage in usages:
        known = found.get(usage.path)
        if known:
            kinds = {
                kind: known.kinds.get(kind, 0) + usage.kinds.get(kind, 0) for kind in {**known.kinds, **usage.kinds}
            }
            firsts = [each.first for each in (usage, known) if each.kinds] or [known.first]
            usage = replace(usage, kinds=kinds, first=min(firsts))
        found[usage.path] = usage
    return list(found.values())
