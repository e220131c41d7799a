"""Events that cannot be read path by path: a key twice in one object, two keys for one column, or a path too rare to be
read for every event. They are read node by node, and each cell's winner and losers are found (section 3)."""

from collections.abc import Iterator, Sequence

import duckdb
import pyarrow as pa

from loader.leaf_sql import JSON_PARTS, unkept_type
from loader.records import COLUMN, Measure, TablePlan, Target
from loader.scanner import index

_CALL_TABLE = -2  # in place of an event table's number


def mark(connection: duckdb.DuckDBPyConnection, targets: Sequence[Target], members: Sequence[str]) -> None:
    """Makes `odd`: the events that are odd, and whether for their call's table or their event's (or both). members: of
    contexts (loader.context)."""
    connection.execute("CREATE TABLE odd (pos BIGINT, odd_call BOOLEAN, odd_event BOOLEAN)")
    rows: list[tuple[str, int, int, str | None]] = []  # call, event table, path, column; None: the path is rare
    for target in targets:
        columns = [leaf.column for leaf in target.leaves if leaf.fate == COLUMN]
        shared = (
            {column for column in columns if columns.count(column) > 1} if len(set(columns)) < len(columns) else set()
        )
        number = _CALL_TABLE if target.event_table is None else target.event_table
        for leaf in target.leaves:
            if not leaf.common:
                rows.append((target.call, number, leaf.path, None))
            if leaf.fate == COLUMN and leaf.column in shared:
                rows.append((target.call, number, leaf.path, leaf.column))
    twice = connection.execute("SELECT count(*) FROM odd_shape").fetchall()[0][0]
    if not rows and not twice:
        return
    calls, numbers, paths, names = zip(*rows, strict=True) if rows else ((), (), (), ())
    suspects = pa.table(
        {
            "call": pa.array(calls, pa.string()),
            "event_table": pa.array(numbers, pa.int32()),
            "path": pa.array(paths, pa.int32()),
            "name": pa.array(names, pa.string()),
        }
    )
    connection.register("suspect", suspects)
    connection.execute("""
        CREATE TEMP TABLE mark AS
        SELECT call, event_table, json, shape, bool_or(name IS NULL) AS rare,
            list(name) FILTER (name IS NOT NULL) AS names
        FROM suspect JOIN leaf USING (path) WHERE leaf.kind <> 'NULL' GROUP BY ALL
    """)
    connection.unregister("suspect")
    connection.execute(
        "CREATE TEMP TABLE hit (pos BIGINT, call VARCHAR, event_table INTEGER, json VARCHAR, shape UBIGINT)"
    )
    connection.execute("""
        CREATE TEMP TABLE suspect_shape AS SELECT json, shape FROM mark UNION SELECT json, shape FROM odd_shape
    """)
    for part, events in _shapes(members):
        connection.execute(f"""
            INSERT INTO hit SELECT pos, call, event_table, '{part}', shape FROM ({events})
            SEMI JOIN (FROM suspect_shape WHERE json = '{part}') USING (shape)
        """)
    own = "WHERE event_table IS NULL OR event_table < 0" if any(target.unnamed for target in targets) else ""
    names_ = "flatten(list(coalesce(m.names, [])))"
    connection.execute(f"""
        INSERT INTO odd
        SELECT pos, bool_or(number = {_CALL_TABLE}), bool_or(number <> {_CALL_TABLE}) FROM (
            SELECT h.pos, h.number
            FROM (SELECT *, {_CALL_TABLE} AS number FROM hit {own}
                UNION ALL SELECT *, event_table FROM hit WHERE event_table >= 0) h
            LEFT JOIN mark m ON m.call = h.call AND m.event_table = h.number AND m.json = h.json AND m.shape = h.shape
            LEFT JOIN odd_shape s ON s.json = h.json AND s.shape = h.shape
            GROUP BY h.pos, h.number
            HAVING bool_or(coalesce(m.rare, false) OR s.shape IS NOT NULL) OR list_unique({names_}) < len({names_})
        ) GROUP BY pos
    """)
    connection.execute("DROP TABLE hit; DROP TABLE suspect_shape")
    connection.execute("DROP TABLE mark")
    connection.execute("""
        UPDATE item SET odd_call = odd.odd_call, odd_event = odd.odd_event FROM odd WHERE odd.pos = item.pos
    """)


def read(connection: duckdb.DuckDBPyConnection, targets: Sequence[Target], members: Sequence[str]) -> None:
    """Makes `odd_cell`: the winner and the losers of each cell of the odd events, and `repeated`: the values under a
    key that was there before."""
    connection.execute("""
        CREATE TABLE odd_node (pos BIGINT, call VARCHAR, event_table INTEGER, odd_call BOOLEAN, odd_event BOOLEAN,
            json VARCHAR, id BIGINT, fullkey VARCHAR, kind VARCHAR, value VARCHAR)
    """)
    for part in JSON_PARTS:
        connection.execute(
            f"""
            INSERT INTO odd_node
            SELECT pos, call, event_table, odd_call, odd_event, '{part}', n.id, n.fullkey, n.kind, n.value
            FROM (SELECT pos, call, event_table, odd_call, odd_event, unnest(nodes_of({part})) AS n FROM item
                WHERE (odd_call OR odd_event) AND {part} IS NOT NULL)
            """
        )
    if connection.execute("SELECT count(*) FROM odd").fetchall()[0][0]:
        for at in range(len(members)):
            connection.execute(f"""
                INSERT INTO odd_node
                WITH mine AS (
                    SELECT pos, call, event_table, odd_call, odd_event, {index(at)} AS id
                    FROM item WHERE (odd_call OR odd_event) AND {index(at)} IS NOT NULL
                ), found AS (
                    SELECT id, unnest(nodes_of(context)) AS n
                    FROM member WHERE member = {at} AND id IN (SELECT id FROM mine)
                )
                SELECT pos, call, event_table, odd_call, odd_event, 'context', n.id, n.fullkey, n.kind, n.value
                FROM mine JOIN found USING (id)
            """)
    _drop_repeated(connection)
    rows = [
        (
            target.call,
            target.event_table is not None,
            _CALL_TABLE if target.event_table is None else target.event_table,
            leaf.path,
            leaf.column,
            leaf.fate,
            order,
            leaf.kept,
        )
        for target in targets
        for order, leaf in enumerate(target.leaves)
    ]
    names = ("call", "of_event", "number", "path", "name", "fate", "place", "kept")
    types = (pa.string(), pa.bool_(), pa.int32(), pa.int32(), pa.string(), pa.string(), pa.int32(), pa.bool_())
    columns = zip(*rows, strict=True) if rows else [()] * len(names)
    plan = pa.table({name: pa.array(list(c), type_) for name, c, type_ in zip(names, columns, types, strict=True)})
    connection.register("odd_leaf", plan)
    connection.execute(f"""
        CREATE TABLE odd_cell AS
        WITH cell AS (
            SELECT n.pos, n.event_table, l.call, l.of_event, l.number, l.name, l.fate, l.place, l.kept, l.path,
                n.value ->> '$' AS text, n.kind, n.value AS json
            FROM odd_node n JOIN path p USING (json, fullkey)
            JOIN odd_leaf l ON l.path = p.path AND l.call = n.call
                AND CASE WHEN l.of_event THEN n.odd_event AND l.number = n.event_table ELSE n.odd_call END
        ), filled AS (
            SELECT *, CASE WHEN kept THEN CASE WHEN cell_kept(text, kind) IS NOT NULL THEN 'JSON' END
                ELSE class_of(text, kind) END AS class
            FROM cell
        )
        SELECT *, fate = '{COLUMN}' AND class IS NOT NULL
                AND place = max(CASE WHEN class IS NOT NULL THEN place END) OVER same AS winner,
            max_by(CASE WHEN class IS NOT NULL THEN json END, CASE WHEN class IS NOT NULL THEN place END)
                OVER same AS winner_json
        FROM filled WINDOW same AS (PARTITION BY pos, of_event, name, fate)
    """)
    connection.unregister("odd_leaf")


def stage(connection: duckdb.DuckDBPyConnection, plans: Sequence[TablePlan]) -> None:
    """Makes `odd_row`: of each odd event and table the cells, as one JSON object of the texts that they are cast from.
    Their keys: c and the number of the column in the plan."""
    rows = [
        (
            plan.target.call,
            plan.target.event_table is not None,
            _CALL_TABLE if plan.target.event_table is None else plan.target.event_table,
            column.name,
            at,
            unkept_type(plan, column).lower(),
            column.type in ("JSON", "VARCHAR"),
        )
        for plan in plans
        if (filled := {leaf.column for leaf in plan.target.leaves if leaf.fate == COLUMN})
        for at, column in enumerate(plan.columns)
        if column.name in filled
    ]
    names = ("call", "of_event", "number", "name", "ordinal", "type", "takes_kept")
    types = (pa.string(), pa.bool_(), pa.int32(), pa.string(), pa.int32(), pa.string(), pa.bool_())
    columns = zip(*rows, strict=True) if rows else [()] * len(names)
    table = pa.table({name: pa.array(list(c), type_) for name, c, type_ in zip(names, columns, types, strict=True)})
    connection.register("odd_column", table)
    made = "".join(f" WHEN '{type_}' THEN cell_{type_}(text, kind)::VARCHAR" for type_ in sorted({r[5] for r in rows}))
    cell = f"CASE type{made} END" if made else "NULL"
    connection.execute(f"""
        CREATE TABLE odd_row AS
        SELECT pos, of_event, cells
        FROM (
            SELECT pos, false AS of_event FROM odd WHERE odd_call
            UNION ALL SELECT pos, true FROM odd WHERE odd_event
        ) LEFT JOIN (
            SELECT pos, of_event,
                '{{' || string_agg('"c' || ordinal || '":' || to_json(cell)::VARCHAR, ',') || '}}' AS cells
            FROM (
                SELECT pos, of_event, ordinal, CASE WHEN kept THEN CASE WHEN takes_kept THEN json END
                    ELSE {cell} END AS cell
                FROM odd_cell JOIN odd_column USING (call, of_event, number, name) WHERE winner
            ) WHERE cell IS NOT NULL GROUP BY ALL
        ) USING (pos, of_event)
    """)
    connection.unregister("odd_column")


def _drop_repeated(connection: duckdb.DuckDBPyConnection) -> None:
    """Of a key that is twice in one object the first wins; the others, with all below them, are no cells."""
    connection.execute("""
        CREATE TABLE repeated AS
        WITH twice AS (
            SELECT pos, json, fullkey FROM odd_node GROUP BY ALL HAVING count(*) > 1
        ), twin AS (
            SELECT pos, json, fullkey, id, value, first_value(value) OVER same AS first_value,
                row_number() OVER same AS number
            FROM odd_node SEMI JOIN twice USING (pos, json, fullkey)
            WINDOW same AS (PARTITION BY pos, json, fullkey ORDER BY id)
        ), loser AS (SELECT * FROM twin WHERE number > 1)
        SELECT * FROM loser l
        WHERE NOT EXISTS (FROM loser o WHERE o.pos = l.pos AND o.json = l.json AND o.id < l.id
            AND starts_with(l.fullkey, o.fullkey || '.'))
    """)
    connection.execute("""
        DELETE FROM odd_node n WHERE EXISTS (FROM repeated r WHERE r.pos = n.pos AND r.json = n.json AND n.id >= r.id
            AND (n.fullkey = r.fullkey OR starts_with(n.fullkey, r.fullkey || '.')))
    """)


def measure(connection: duckdb.DuckDBPyConnection) -> dict[tuple[str, int | None], dict[str, Measure]]:
    """What the winning values of odd events are, by column; by call and event table (None: the call's own table)."""
    rows = connection.execute("""
        SELECT call, CASE WHEN of_event THEN number END, name, class, count(*), min(pos) FROM odd_cell WHERE winner
        GROUP BY ALL
    """).fetchall()
    found: dict[tuple[str, int | None], dict[str, Measure]] = {}
    for call, event_table, name, class_, number, first in rows:
        columns = found.setdefault((call, event_table), {})
        known = columns.get(name, Measure({}, first))
        columns[name] = Measure({**known.classes, class_: number}, min(known.first, first))
    return found


def events_by_path(
    connection: duckdb.DuckDBPyConnection, members: Sequence[str], without_repeated: bool = False
) -> dict[tuple[str, int | None, int], int]:
    """How many odd events have a path, by call, event table (None: the call's own table) and path: by their shapes.

    without_repeated: events with a key twice are left out.
    """
    among = "AND pos NOT IN (SELECT pos FROM repeated)" if without_repeated else ""
    found: dict[tuple[str, int | None, int], int] = {}
    if not connection.execute("SELECT count(*) FROM odd").fetchall()[0][0]:
        return found
    for part, events in _shapes(members):
        for flag, number in (("odd_call", "NULL"), ("odd_event", "event_table")):
            rows = connection.execute(f"""
                SELECT call, {number}, path, count(*) FROM ({events}) e
                JOIN odd USING (pos) JOIN leaf ON leaf.json = '{part}' AND leaf.shape = e.shape
                WHERE odd.{flag} AND kind <> 'NULL' {among} GROUP BY ALL
            """).fetchall()
            for call, event_table, path, count in rows:
                found[call, event_table, path] = found.get((call, event_table, path), 0) + count
    return found


def _shapes(members: Sequence[str]) -> Iterator[tuple[str, str]]:
    """The parts that events are made of, members of contexts apart: a SELECT of the events that have one, with its
    shape."""
    for part in JSON_PARTS:
        yield part, f"SELECT pos, call, event_table, {part}_shape AS shape FROM item WHERE {part}_shape IS NOT NULL"
    for at in range(len(members)):
        yield (
            "context",
            f"""SELECT i.pos, i.call, i.event_table, m.shape FROM item i
                JOIN (FROM member WHERE member = {at}) m ON m.id = i.{index(at)}""",
        )


def cells_by_path(connection: duckdb.DuckDBPyConnection) -> dict[tuple[str, int | None, int], int]:
    """The same for events without a key twice, by the values that were read: to be compared with the shapes."""
    rows = connection.execute("""
        SELECT call, CASE WHEN of_event THEN event_table END, path, count(DISTINCT pos) FROM odd_cell
        WHERE kind <> 'NULL' AND pos NOT IN (SELECT pos FROM repeated) GROUP BY ALL
    """).fetchall()
    return {(call, event_table, path): count for call, event_table, path, count in rows}
