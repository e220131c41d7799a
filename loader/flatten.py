"""How columns are made: compiles plans to SQL over the staged events.

`stage` makes `flat`: one row an event with its rule columns, and the cells of every common path of `context`, which
most tables share, as `c<path>_<type>`. The paths of `props` and `user_props` differ by table; they are read per table.
Events that need more than that (a key twice, two keys for one column, a rare path) are `odd`: `loader.odd` reads them
node by node, and they join the others here, in the same columns with the same types.
"""

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from json import dumps as to_json

import duckdb

from loader.calls import TRACK, rule_columns
from loader.db import literal, quote
from loader.leaf_sql import Values, cell_type, odd_flag, rows_of
from loader.records import COLUMN, NO_TABLE, Leaf, TablePlan, Target
from loader.schema import Column

FEW = 250_000  # events: a scan of so few keeps one thread busy, so two share them


def stage(connection: duckdb.DuckDBPyConnection, plans: Sequence[TablePlan], full_event: bool) -> None:
    """Makes `flat` from `item`, sorted so that the rows of a table lie together: its scan touches no others."""
    cells: dict[str, tuple[Leaf, str]] = {}
    for plan in plans:
        types = {column.name: column for column in plan.columns}
        for leaf in plan.target.leaves:
            if leaf.common and leaf.fate == COLUMN and leaf.part.json == "context" and leaf.column in types:
                type_ = cell_type(plan, types[leaf.column], leaf)
                cells[_staged(leaf, type_)] = (leaf, type_)
    values = Values((), "item", cells=cells.values())
    context = "".join(f", {values.cell(leaf, type_)} AS {name}" for name, (leaf, type_) in cells.items())
    select = f"""
        SELECT pos, call, event_table, odd_call, odd_event, id, anonymous_id, user_id, channel,
            original_timestamp, sent_at, received_at,
            coalesce(own_timestamp, device_time(own_received_at, sent_at, original_timestamp),
                original_timestamp, sent_at, received_at) AS "timestamp",
            (received_at AT TIME ZONE 'UTC')::DATE AS received_date,
            coalesce(passed_ip, request_ip) AS context_ip, request_ip AS context_request_ip,
            passed_ip AS context_passed_ip, event_name AS event, event AS event_text, name, group_id, previous_id,
            {"json(text)::VARCHAR" if full_event else "NULL::VARCHAR"} AS rudder_event,
            file_id::BIGINT AS loader_file_id, line AS loader_line, element AS loader_element,
            props, user_props{context}
        FROM {values.source} LEFT JOIN (SELECT event_key, event_name FROM event_name)
            ON call = '{TRACK}' AND coalesce(event, '') = event_key
    """
    connection.execute(f"CREATE TABLE flat AS {select} LIMIT 0")
    count: int = connection.execute("SELECT count(*) FROM item").fetchall()[0][0]
    parts = 2 if count < FEW else 1

    def insert(part: int) -> None:
        with connection.cursor() as cursor:
            rows = f"WHERE hash(pos) % {parts} = {part}" if parts > 1 else ""
            cursor.execute(f"INSERT INTO flat {select} {rows} ORDER BY call, event_table")

    with ThreadPoolExecutor(parts, thread_name_prefix="flatten") as pool:
        for _ in pool.map(insert, range(parts)):
            pass


def _staged(leaf: Leaf, type_: str) -> str:
    """The column of `flat` with a path's cells of a type."""
    return f"c{leaf.path}_{type_.lower()}"


def _first_of(cells: Sequence[str]) -> str:
    return cells[0] if len(cells) == 1 else f"coalesce({', '.join(cells)})"


def rows(connection: duckdb.DuckDBPyConnection) -> list[tuple[str, int | None, str, int]]:
    """The number of staged events by call, event table and received_date."""
    return connection.execute("""
        SELECT call, event_table, (received_at AT TIME ZONE 'UTC')::DATE::VARCHAR, count(*)
        FROM item GROUP BY ALL ORDER BY ALL
    """).fetchall()


def rows_and_dates(target: Target, rows: Iterable[tuple[str, int | None, str, int]]) -> tuple[int, list[str]]:
    """Of these numbers, a target's: how many rows it gets and which dates they have."""
    mine = [(date, count) for call, event_table, date, count in rows if _is_of(target, call, event_table)]
    return sum(count for _, count in mine), sorted({date for date, _ in mine})


# Rule columns that every row fills, and those that an event fills from one field of its own.
_ALWAYS = ("id", "received_at", "received_date", "timestamp", "uuid_ts", "loader_file_id", "loader_line")
_FIELDS = {
    "anonymous_id": "anonymous_id",
    "user_id": "user_id",
    "channel": "channel",
    "original_timestamp": "original_timestamp",
    "sent_at": "sent_at",
    "context_request_ip": "request_ip",
    "loader_element": "element",
    "event_text": "event",
    "name": "name",
    "group_id": "group_id",
    "previous_id": "previous_id",
}


def filled(connection: duckdb.DuckDBPyConnection) -> list[tuple[str, int | None, dict[str, int]]]:
    """By call and event table, how many events fill each rule column."""
    counts = ", ".join(["count(*)", *(f"count({field})" for field in _FIELDS.values())])
    rows = connection.execute(f"SELECT call, event_table, {counts} FROM item GROUP BY ALL").fetchall()
    return [
        (call, event_table, {**dict.fromkeys(_ALWAYS, number), **dict(zip(_FIELDS, numbers, strict=True))})
        for call, event_table, number, *numbers in rows
    ]


def filled_rule_columns(target: Target, filled: Iterable[tuple[str, int | None, dict[str, int]]]) -> dict[str, int]:
    """How many cells a target's rule columns must have."""
    there = {column.name for column in rule_columns(target.call, target.event_table is not None)}
    expected: dict[str, int] = {}
    for call, event_table, counts in filled:
        if _is_of(target, call, event_table):
            for column in there & counts.keys():
                expected[column] = expected.get(column, 0) + counts[column]
    return expected


def other_properties(connection: duckdb.DuckDBPyConnection) -> int:
    """How many of the tracks without a table of their own have properties."""
    count: int = connection.execute(f"""
        SELECT count(*) FROM item WHERE event_table = {NO_TABLE} AND props IS NOT NULL AND props <> '{{}}'
    """).fetchall()[0][0]
    return count


def with_odd(connection: duckdb.DuckDBPyConnection) -> set[tuple[str, int | None]]:
    """The tables (call, and event table but for a call's own) that have odd events."""
    rows = connection.execute("""
        SELECT DISTINCT call, NULL FROM item WHERE odd_call
        UNION SELECT DISTINCT call, event_table FROM item WHERE odd_event
    """).fetchall()
    return {(call, event_table) for call, event_table in rows}


def first_rows(connection: duckdb.DuckDBPyConnection, targets: Iterable[Target]) -> dict[str, int | None]:
    """By table, the position of a target's first event, None if it has none."""
    rows = connection.execute("SELECT call, event_table, min(pos) FROM item GROUP BY ALL").fetchall()
    return {
        target.table: min((first for *of, first in rows if _is_of(target, *of)), default=None) for target in targets
    }


def _is_of(target: Target, call: str, event_table: int | None) -> bool:
    """Whether events of this call and event table have a row in the target's table."""
    wanted = NO_TABLE if target.unnamed else target.event_table
    return call == target.call and (wanted is None or event_table == wanted)


def rows_sql(plan: TablePlan, uuid_ts: str, has_odd: bool) -> str:
    """SELECT of the table's rows, all columns of the plan in order. uuid_ts: SQL of the time of the load.
    has_odd: whether some of its events are odd."""
    target = plan.target
    rules = {column.name for column in rule_columns(target.call, target.event_table is not None, full_event=True)}
    there = {column.name: column for column in plan.columns}
    mine = [
        (leaf, cell_type(plan, there[leaf.column], leaf))
        for leaf in target.leaves
        if leaf.common and leaf.fate == COLUMN and leaf.part.json != "context" and leaf.column in there
    ]
    values = Values((), "flat", f"{rows_of(target)} AND NOT {odd_flag(target)}", mine)
    by_column: dict[str, list[Leaf]] = {}
    for leaf in target.leaves:
        if leaf.fate == COLUMN:
            by_column.setdefault(leaf.column, []).append(leaf)
    common, odd, cells_of_odd = [], [], {}
    for at, column in enumerate(plan.columns):
        name = quote(column.name)
        if column.name == "uuid_ts":
            common.append(f"{uuid_ts} AS {name}")
            odd.append(f"{uuid_ts} AS {name}")
        elif column.name in rules:
            common.append(name)
            odd.append(name)
        else:
            leaves = by_column.get(column.name, [])
            types = [(leaf, cell_type(plan, column, leaf)) for leaf in leaves if leaf.common]
            cells = [
                _staged(leaf, type_) if leaf.part.json == "context" else values.cell(leaf, type_)
                for leaf, type_ in types
            ]
            common.append(f"{_first_of(cells)} AS {name}" if cells else f"NULL::{column.sql_type} AS {name}")
            if leaves:
                cells_of_odd[f"c{at}"] = "VARCHAR"
                odd.append(f"cell.c{at}::{column.sql_type} AS {name}")
            else:
                odd.append(f"NULL::{column.sql_type} AS {name}")
    select = f"SELECT {', '.join(common)} FROM {values.source}"
    if not has_odd:
        return select
    read = f"json_transform(cells, {literal(to_json(cells_of_odd))})" if cells_of_odd else "NULL"
    return f"""{select} UNION ALL SELECT {", ".join(odd)} FROM (
        SELECT flat.*, {read} AS cell FROM flat JOIN odd_row o USING (pos)
        WHERE {rows_of(target)} AND {odd_flag(target)} AND o.of_event = {target.event_table is not None}
    )"""


def other_events_sql(uuid_ts: str) -> str:
    """SELECT of the rows of `other_events`: tracks without a table of their own, properties as JSON text."""
    names = ", ".join(
        f"{uuid_ts} AS uuid_ts"
        if c.name == "uuid_ts"
        else "nullif(props, '{}')::VARCHAR AS properties"
        if c.name == "properties"
        else quote(c.name)
        for c in OTHER_EVENTS_COLUMNS
    )
    return f"SELECT {names} FROM flat WHERE event_table = {NO_TABLE}"


OTHER_EVENTS_COLUMNS = (*rule_columns(TRACK, event_table=True), Column("properties", "JSON"))
