"""Values that found no cell, each with its reason: fills `discard` (section 6). Bad data is a row, counted."""

from collections.abc import Sequence

import duckdb
import pyarrow as pa

from loader import context
from loader.calls import CALL_TABLES, CONTEXT, TRAIT_CALLS, rule_columns
from loader.db import literal, quote
from loader.fields import DATETIMES, FIELDS_OF, OBJECTS, SCALARS
from loader.leaf_sql import Values, cell_type, odd_flag, rows_of, unkept_type
from loader.paths import split_path
from loader.records import COLUMN, NO_TABLE, RULE_COLUMN, TOO_MANY, Leaf, TablePlan
from loader.schema import Column

_COLUMNS = """table_name VARCHAR, row_id VARCHAR, column_name VARCHAR, column_value VARCHAR, reason VARCHAR,
    received_at TIMESTAMPTZ, loader_file_id BIGINT, loader_line BIGINT, loader_element BIGINT"""
_TABLE = "CASE call " + " ".join(f"WHEN '{call}' THEN '{table}'" for call, table in CALL_TABLES.items()) + " END"
_BLANK = """'null', '""', '[]', '[""]', '[[]]'"""
_WHERE_FROM = "received_at, loader_file_id, loader_line, loader_element"


def prepare(connection: duckdb.DuckDBPyConnection) -> None:
    """Makes the empty `discard`."""
    connection.execute(f"CREATE TABLE discard ({_COLUMNS})")


def of_events(connection: duckdb.DuckDBPyConnection) -> None:
    """The reasons of whole events, once each under their call's table: not_a_scalar, bad_timestamp, not_an_object and
    duplicate_key. Needs `item`, `odd_node`'s `repeated`."""
    checks = []
    for field in SCALARS:
        checks.append((field, "not_a_scalar", "kind IN ('OBJECT', 'ARRAY')"))
    for field, column in DATETIMES.items():
        checks.append((field, "bad_timestamp", f"{column} IS NULL AND kind <> 'NULL' AND value <> '\"\"'"))
    for field in OBJECTS:
        checks.append((field, "not_an_object", "kind NOT IN ('OBJECT', 'NULL')"))
    selects = []
    for field, reason, condition in checks:
        calls = f"call IN ({', '.join(map(literal, FIELDS_OF[field]))})" if field in FIELDS_OF else "true"
        value = f"json_extract(text, '/{field}')"
        if field == "sentAt":
            own = "coalesce(json_type(text, '/sentAt'), 'NULL') <> 'NULL'"
            value = f"CASE WHEN {own} THEN {value} ELSE to_json(default_sent_at) END"
        selects.append(f"""
            SELECT {_TABLE}, id, {literal(field)}, value, {literal(reason)}, received_at, file_id, line, element
            FROM (SELECT *, json_type(value) AS kind
                FROM (SELECT *, ({value})::VARCHAR AS value FROM item WHERE odd AND {calls}))
            WHERE {condition}
        """)
    connection.execute(f"INSERT INTO discard {' UNION ALL '.join(selects)}")
    fields = ", ".join(map(literal, (*SCALARS, *DATETIMES, *OBJECTS)))
    not_of_call = " OR ".join(
        f"(k.key = {literal(f)} AND call NOT IN ({', '.join(map(literal, c))}))" for f, c in FIELDS_OF.items()
    )
    connection.execute(f"""
        INSERT INTO discard
        SELECT {_TABLE}, id, key, value, 'duplicate_key', received_at, file_id, line, element
        FROM (
            SELECT i.* EXCLUDE (k), k.key AS key, k.value::VARCHAR AS value,
                row_number() OVER same AS number, first_value(k.value::VARCHAR) OVER same AS first
            FROM (SELECT pos, call, id, received_at, file_id, line, element, unnest(members_of(text)) AS k
                FROM item WHERE odd) i
            WHERE k.key IN ({fields}) AND NOT ({not_of_call})
            WINDOW same AS (PARTITION BY i.pos, k.key ORDER BY k.id)
        )
        WHERE number > 1 AND value <> first AND value NOT IN ({_BLANK})
    """)


def of_table(connection: duckdb.DuckDBPyConnection, plan: TablePlan, short: Sequence[str]) -> None:
    """The values of a table's events that have no cell. short: columns with fewer cells than values."""
    target = plan.target
    mine = f"{rows_of(target)} AND NOT {odd_flag(target)}"
    rules = {c.name: c for c in rule_columns(target.call, target.event_table is not None, full_event=True)}
    types = {column.name: column for column in plan.columns}
    for leaf in target.leaves:
        misfit = leaf.fate == COLUMN and leaf.column in short
        if not leaf.common or (leaf.fate == COLUMN and not misfit) or (leaf.fate == RULE_COLUMN and _is_source(leaf)):
            continue
        values = Values([leaf], context.of_leaf("flat", leaf), mine)
        condition, reason = "true", leaf.fate
        if leaf.fate == RULE_COLUMN:
            condition = _unlike_rule(values.text(leaf), values.kind(leaf), rules[leaf.column])
        elif misfit:
            condition = f"{values.cell(leaf, cell_type(plan, types[leaf.column], leaf))} IS NULL"
            reason = "type_mismatch"
        connection.execute(f"""
            INSERT INTO discard
            SELECT {literal(target.table)}, id, {literal(leaf.column)},
                json_of({values.text(leaf)}, {values.kind(leaf)}), {literal(reason)}, {_WHERE_FROM}
            FROM {values.source} WHERE {values.class_of(leaf)} IS NOT NULL AND {condition}
        """)


def _is_source(leaf: Leaf) -> bool:
    """Whether the leaf is where its rule column comes from before any other place: then it cannot differ."""
    return leaf.part == CONTEXT and leaf.keys == ("ip",) and leaf.kind not in ("ARRAY", None)


def of_odd_cells(connection: duckdb.DuckDBPyConnection, plan: TablePlan, short: Sequence[str]) -> None:
    """The same for the odd events of a table, and name_collision: the losers of a cell that differ from its winner."""
    target = plan.target
    of_event = target.event_table is not None
    rules = {c.name: c for c in rule_columns(target.call, of_event, full_event=True)}
    mine = f"o.number = {target.event_table}" if of_event else f"NOT o.of_event AND o.call = {literal(target.call)}"
    source = f"odd_cell o JOIN flat f USING (pos) WHERE o.class IS NOT NULL AND {mine}"
    head = f"INSERT INTO discard SELECT {literal(target.table)}, f.id, o.name, o.json,"
    tail = ", ".join(f"f.{name}" for name in _WHERE_FROM.split(", "))
    connection.execute(f"""
        {head} 'name_collision', {tail} FROM {source}
        AND o.fate = '{COLUMN}' AND NOT o.winner AND o.json <> o.winner_json
    """)
    connection.execute(f"{head} o.fate, {tail} FROM {source} AND o.fate NOT IN ('{COLUMN}', '{RULE_COLUMN}')")
    dropped = sorted({leaf.column for leaf in target.leaves if leaf.fate == TOO_MANY})
    if dropped:
        connection.execute(
            f"{head} '{TOO_MANY}', {tail} FROM {source} AND o.winner AND list_contains($dropped, o.name)",
            {"dropped": dropped},
        )
    for name in sorted({leaf.column for leaf in target.leaves if leaf.fate == RULE_COLUMN}):
        unlike = _unlike_rule("o.text", "o.kind", rules[name], "f.")
        this = f"{source} AND o.name = $name AND o.fate = '{RULE_COLUMN}' AND {unlike}"
        connection.execute(f"{head} '{RULE_COLUMN}', {tail} FROM {this}", {"name": name})
    types = {column.name: column for column in plan.columns}
    for name in short:
        type_ = unkept_type(plan, types[name]).lower()
        if type_ not in ("varchar", "json"):
            misfit = f"o.winner AND (o.kept OR cell_{type_}(o.text, o.kind) IS NULL)"
            connection.execute(
                f"{head} 'type_mismatch', {tail} FROM {source} AND o.name = $name AND {misfit}", {"name": name}
            )


def _unlike_rule(text: str, kind: str, column: Column, table: str = "") -> str:
    """The condition that a user's value is another than the rule column's."""
    cell = table + quote(column.name)
    if column.type == "TIMESTAMPTZ":
        if column.name == "uuid_ts":
            return "true"
        return f"cell_timestamptz({text}, {kind}) IS DISTINCT FROM {cell}"
    return f"{text} IS DISTINCT FROM {cell}::VARCHAR"


def mismatches(connection: duckdb.DuckDBPyConnection) -> dict[str, dict[str, int]]:
    """By table and column, how many values did not fit."""
    rows = connection.execute("""
        SELECT table_name, column_name, count(*) FROM discard WHERE reason = 'type_mismatch' GROUP BY ALL
    """).fetchall()
    found: dict[str, dict[str, int]] = {}
    for table, column, count in rows:
        found.setdefault(table, {})[column] = count
    return found


def of_repeated_keys(connection: duckdb.DuckDBPyConnection, json_paths: Sequence[str]) -> None:
    """duplicate_key inside the parts of an event, but inside `json_paths`, whose text keeps both."""
    rows = connection.execute("SELECT DISTINCT i.call, json, fullkey FROM repeated JOIN item i USING (pos)").fetchall()
    names = []
    for call, json, fullkey in rows:
        field = {"context": "context", "user_props": "userProperties"}.get(json)
        field = field or ("traits" if call in TRAIT_CALLS else "properties")
        dotted = ".".join((field, *split_path(fullkey)))
        if not any(f"{call}.{dotted}".startswith(path + ".") for path in json_paths):
            names.append({"call": call, "json": json, "fullkey": fullkey, "name": dotted})
    if not names:
        return
    schema = pa.schema([(name, pa.string()) for name in ("call", "json", "fullkey", "name")])
    table = _TABLE.replace("call", "i.call", 1)
    connection.register("repeated_name", pa.Table.from_pylist(names, schema))
    connection.execute(f"""
        INSERT INTO discard
        SELECT {table}, i.id, n.name, r.value, 'duplicate_key', i.received_at, i.file_id, i.line, i.element
        FROM repeated r JOIN item i USING (pos)
        JOIN repeated_name n ON n.call = i.call AND n.json = r.json AND n.fullkey = r.fullkey
        WHERE r.value <> r.first_value AND r.value NOT IN ({_BLANK})
            AND NOT (r.json <> 'context' AND coalesce(i.event_table = {NO_TABLE}, false))
    """)
    connection.unregister("repeated_name")
