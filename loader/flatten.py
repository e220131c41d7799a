"""How columns are made: compiles targets and plans to SQL over the staged events.

`stage` makes `flat`: one row an event with its rule columns typed and every common path of `context` as text `c<path>`
(and kind `k<path>` where kinds differ). The paths of `props` and `user_props` differ by table; they are read per table.
Events that need more than that (a key twice, two keys for one column, a rare path) are `odd`: `loader.odd` reads them
node by node into `odd_cell`, and they join the others here, in the same columns with the same types.
"""

from collections.abc import Iterable, Sequence

import duckdb

from loader.calls import TRACK, rule_columns
from loader.db import literal, quote
from loader.paths import pointer
from loader.records import COLUMN, NO_TABLE, Leaf, Measure, TablePlan, Tally, Target
from loader.schema import Column

SORT_TABLES = 64  # from this many event tables on, sorting by table saves more than it costs

# The classes that values of a kind can have, most common first.
_CLASSES = {
    "VARCHAR": ("VARCHAR", "TIMESTAMPTZ"),
    "BIGINT": ("BIGINT", "EXACT", "LONG", "NUMBER"),
    "DOUBLE": ("DOUBLE", "NUMBER"),
    "NUMBER": ("DOUBLE", "BIGINT", "EXACT", "LONG", "NUMBER"),
    "BOOLEAN": ("BOOLEAN",),
    "ARRAY": ("JSON",),
    None: ("VARCHAR", "TIMESTAMPTZ", "BIGINT", "EXACT", "LONG", "NUMBER", "DOUBLE", "BOOLEAN", "JSON"),
}
# Cells of plain values, by kind and type of the column: what the cell_ macros come to for these.
_PLAIN = {
    ("VARCHAR", "VARCHAR"): "nullif({}, '')",
    ("BIGINT", "BIGINT"): "CAST({} AS BIGINT)",
    ("BIGINT", "DOUBLE"): "CAST({} AS DOUBLE)",
    ("BIGINT", "double_new"): "CAST({} AS DOUBLE)",
    ("BIGINT", "VARCHAR"): "{}",
    ("DOUBLE", "DOUBLE"): "CAST({} AS DOUBLE)",
    ("DOUBLE", "double_new"): "CAST({} AS DOUBLE)",
    ("DOUBLE", "VARCHAR"): "{}",
    ("NUMBER", "DOUBLE"): "CAST({} AS DOUBLE)",
    ("NUMBER", "double_new"): "CAST({} AS DOUBLE)",
    ("NUMBER", "VARCHAR"): "{}",
    ("BOOLEAN", "BOOLEAN"): "{} = 'true'",
    ("BOOLEAN", "VARCHAR"): "{}",
}
# Per kind: which texts are blank, and which need a second look before their class is known.
_BLANK = {"VARCHAR": "{} = ''", "ARRAY": "{} IN ('[]', '[\"\"]', '[[]]')"}
_DOUBTFUL = {
    "VARCHAR": "{} LIKE '____-__-__%'",
    "BIGINT": "strlen({}) > 15",
    "DOUBLE": "NOT contains({0}, '.') OR contains({0}, 'e')",
    "NUMBER": "(strlen({0}) > 15 AND NOT contains({0}, '.')) OR contains({0}, 'e') OR {0} >= ':' OR {0} LIKE '-_n%'",
}


def stage(connection: duckdb.DuckDBPyConnection, targets: Sequence[Target], full_event: bool) -> None:
    """Makes `flat` from `item`, `event_name` and `odd`."""
    leaves = {leaf.path: leaf for target in targets for leaf in _common(target, "context")}
    paths = sorted(leaves)
    mixed = [path for path in paths if any(_kind_column(t, path) for t in targets)]
    texts = "".join(f", c[{at}] AS c{path}" for at, path in enumerate(paths, 1))
    kinds = "".join(f", k[{at}] AS k{path}" for at, path in enumerate(mixed, 1))
    pointers = _pointers(leaves[path] for path in paths)
    kind_pointers = _pointers(leaves[path] for path in mixed)
    many = sum(target.event_table is not None for target in targets) >= SORT_TABLES
    connection.execute(f"""
        CREATE TABLE flat AS
        SELECT pos, call, event_table, odd_call, odd_event, id, anonymous_id, user_id, channel,
            original_timestamp, sent_at, received_at,
            coalesce(own_timestamp, device_time(own_received_at, sent_at, original_timestamp),
                original_timestamp, sent_at, received_at) AS "timestamp",
            (received_at AT TIME ZONE 'UTC')::DATE AS received_date,
            coalesce(passed_ip, request_ip) AS context_ip, request_ip AS context_request_ip,
            passed_ip AS context_passed_ip, event_name AS event, event AS event_text, name, group_id, previous_id,
            {"json(text)::VARCHAR" if full_event else "NULL::VARCHAR"} AS rudder_event,
            file_id::BIGINT AS loader_file_id, line AS loader_line, element AS loader_element,
            props, user_props{texts}{kinds}
        FROM (
            SELECT i.*, o.odd_call IS NOT NULL AND o.odd_call AS odd_call, o.odd_event IS NOT NULL AND o.odd_event AS odd_event,
                scalar(json_extract_string(context, '/ip'), context, '/ip') AS passed_ip
                {f", json_extract_string(context, {pointers}) AS c" if paths else ""}
                {f", json_type(context, {kind_pointers}) AS k" if mixed else ""}
            FROM named_item i LEFT JOIN odd o USING (pos)
        )
        {"ORDER BY event_table" if many else ""}
    """)


def _common(target: Target, json: str) -> list[Leaf]:
    return [leaf for leaf in target.leaves if leaf.common and leaf.part.json == json]


def _kind_column(target: Target, path: int) -> bool:
    return any(leaf.path == path and leaf.kind is None for leaf in target.leaves)


def _pointers(leaves: Iterable[Leaf]) -> str:
    return "[" + ", ".join(literal(pointer(leaf.keys)) for leaf in leaves) + "]"


def rows_of(target: Target) -> str:
    """The condition for the events that have a row in the table."""
    if target.event_table is not None:
        return f"event_table = {target.event_table}"
    return f"call = {literal(target.call)}" + (f" AND event_table = {NO_TABLE}" if target.unnamed else "")


def _odd(target: Target) -> str:
    return "odd_call" if target.event_table is None else "odd_event"


class Values:
    """The SQL of each common leaf's text and kind, over `source`: the events of a target that are not odd."""

    def __init__(self, target: Target):
        self._at: dict[tuple[str, int], int] = {}
        self._kinds: dict[tuple[str, int], int] = {}
        lists = []
        for json in ("props", "user_props"):
            leaves = {leaf.path: leaf for leaf in _common(target, json)}
            mixed = [leaf for leaf in leaves.values() if leaf.kind is None]
            self._at |= {(json, path): at for at, path in enumerate(leaves, 1)}
            self._kinds |= {(json, leaf.path): at for at, leaf in enumerate(mixed, 1)}
            if leaves:
                lists.append(f", json_extract_string({json}, {_pointers(leaves.values())}) AS {json}_text")
            if mixed:
                lists.append(f", json_type({json}, {_pointers(mixed)}) AS {json}_kind")
        self.source = f"(SELECT *{''.join(lists)} FROM flat WHERE {rows_of(target)} AND NOT {_odd(target)})"

    def text(self, leaf: Leaf) -> str:
        if leaf.part.json == "context":
            return f"c{leaf.path}"
        return f"{leaf.part.json}_text[{self._at[leaf.part.json, leaf.path]}]"

    def kind(self, leaf: Leaf) -> str:
        if leaf.kind == "NUMBER":
            return f"kind_of_number({self.text(leaf)})"
        if leaf.kind is not None:
            return literal(leaf.kind)
        if leaf.part.json == "context":
            return f"k{leaf.path}"
        return f"{leaf.part.json}_kind[{self._kinds[leaf.part.json, leaf.path]}]"

    def class_of(self, leaf: Leaf) -> str:
        """The class of the leaf's value; NULL where there is none."""
        if leaf.kept:
            return f"CASE WHEN {self.cell(leaf, 'kept')} IS NOT NULL THEN 'JSON' END"
        if leaf.kind is not None:
            return f"class_{leaf.kind.lower()}({self.text(leaf)})"
        return f"class_of({self.text(leaf)}, {self.kind(leaf)})"

    def cell(self, leaf: Leaf, type_: str) -> str:
        """The leaf's value in a column of the type (or of what `cell_type` says); NULL where it does not fit."""
        if leaf.plain and (simple := _PLAIN.get((leaf.kind, type_))):
            return simple.format(self.text(leaf))
        return f"cell_{type_.lower()}({self.text(leaf)}, {self.kind(leaf)})"


def rows(connection: duckdb.DuckDBPyConnection) -> list[tuple[str, int | None, str, int]]:
    """The number of staged events by call, event table and received_date."""
    return connection.execute("""
        SELECT call, event_table, received_date::VARCHAR, count(*) FROM flat GROUP BY ALL ORDER BY ALL
    """).fetchall()


def rows_and_dates(target: Target, rows: Iterable[tuple[str, int | None, str, int]]) -> tuple[int, list[str]]:
    """Of these numbers, a target's: how many rows it gets and which dates they have."""
    wanted = NO_TABLE if target.unnamed else target.event_table
    mine = [
        (date, count)
        for call, event_table, date, count in rows
        if call == target.call and (event_table == wanted if wanted is not None else True)
    ]
    return sum(count for _, count in mine), sorted({date for date, _ in mine})


def first_row(connection: duckdb.DuckDBPyConnection, target: Target) -> int | None:
    """The position of a target's first event, None if it has none."""
    first: int | None = connection.execute(f"SELECT min(pos) FROM flat WHERE {rows_of(target)}").fetchall()[0][0]
    return first


def tally(connection: duckdb.DuckDBPyConnection, targets: Sequence[Target]) -> dict[tuple[str, Leaf], Tally]:
    """A first look at all common leaves of all tables, by table and leaf; the odd events are left out."""
    found: dict[tuple[str, Leaf], Tally] = {}
    kinds: dict[int, set[str | None]] = {}
    for target in targets:
        for leaf in _common(target, "context"):
            kinds.setdefault(leaf.path, set()).add(None if leaf.kept else leaf.kind)
    paths = sorted(kinds)
    looks = [_look(f"c{path}", kinds[path].pop() if len(kinds[path]) == 1 else None) for path in paths]
    groups = connection.execute(
        f"SELECT call, event_table, odd_call, odd_event{''.join(looks)} FROM flat GROUP BY ALL"
    ).fetchall()
    for target in targets:
        wanted = NO_TABLE if target.unnamed else target.event_table
        mine = [
            numbers
            for call, event_table, odd_call, odd_event, *numbers in groups
            if call == target.call and (wanted is None or event_table == wanted)
            and not (odd_call if target.event_table is None else odd_event)
        ]
        sums = [sum(numbers) for numbers in zip(*mine, strict=True)]
        for leaf in _common(target, "context") if mine else ():
            at = 3 * paths.index(leaf.path)
            found[target.table, leaf] = Tally(*sums[at : at + 3])
        leaves = [leaf for leaf in target.leaves if leaf.common and leaf.part.json != "context"]
        if leaves and mine:
            values = Values(target)
            look = "".join(_look(values.text(leaf), None if leaf.kept else leaf.kind) for leaf in leaves)
            numbers = connection.execute(f"SELECT 0{look} FROM {values.source}").fetchall()[0][1:]
            for at, leaf in enumerate(leaves):
                found[target.table, leaf] = Tally(*numbers[3 * at : 3 * at + 3])
    return found


def _look(text: str, kind: str | None) -> str:
    """The aggregates of a Tally. kind: None where it differs: then every value needs a second look."""
    blank = f"count(*) FILTER ({_BLANK[kind].format(text)})" if kind in _BLANK else "0"
    doubtful = f"count(*) FILTER ({_DOUBTFUL[kind].format(text)})" if kind in _DOUBTFUL else "0"
    return f", count({text}), {blank}, {doubtful if kind else f'count({text})'}"


def measure(connection: duckdb.DuckDBPyConnection, target: Target, leaves: Sequence[Leaf]) -> dict[Leaf, Measure]:
    """What the values of some common leaves of a target are, exactly; the odd events are left out."""
    values = Values(target)
    classes, sums = "", ""
    for at, leaf in enumerate(leaves):
        classes += f", {values.class_of(leaf)} AS x{at}"
        sums += f", min(CASE WHEN x{at} IS NOT NULL THEN pos END)"
        sums += "".join(f", count(*) FILTER (x{at} = '{name}')" for name in classes_of(leaf))
    row = connection.execute(f"SELECT 0{sums} FROM (SELECT pos{classes} FROM {values.source})").fetchall()[0]
    found: dict[Leaf, Measure] = {}
    at = 1
    for leaf in leaves:
        names = classes_of(leaf)
        found[leaf] = Measure(dict(zip(names, row[at + 1 : at + 1 + len(names)], strict=True)), row[at])
        at += 1 + len(names)
    return found


def first_filled(connection: duckdb.DuckDBPyConnection, target: Target, leaves: Sequence[Leaf]) -> dict[Leaf, int | None]:
    """For leaves without doubtful values, the position of the first event whose value is not blank, if any."""
    values = Values(target)
    conditions = [f"NOT ({_BLANK[leaf.kind].format(values.text(leaf))})" if leaf.kind in _BLANK else f"{values.text(leaf)} IS NOT NULL" for leaf in leaves]
    looks = ", ".join(f"min(CASE WHEN {condition} THEN pos END)" for condition in conditions)
    return dict(zip(leaves, connection.execute(f"SELECT {looks} FROM {values.source}").fetchall()[0], strict=True))


def classes_of(leaf: Leaf) -> tuple[str, ...]:
    """The classes (values.sql, class_of) that the leaf's values can have, the one of plain values first."""
    return ("JSON",) if leaf.kept else _CLASSES[leaf.kind]


def rows_sql(plan: TablePlan, uuid_ts: str, has_odd: bool) -> str:
    """SELECT of the table's rows, all columns of the plan in order. uuid_ts: SQL of the time of the load. has_odd:
    whether some of its events are odd."""
    target = plan.target
    rules = {column.name for column in rule_columns(target.call, target.event_table is not None, full_event=True)}
    values = Values(target)
    by_column: dict[str, list[Leaf]] = {}
    for leaf in target.leaves:
        if leaf.fate == COLUMN:
            by_column.setdefault(leaf.column, []).append(leaf)
    common, odd = [], []
    for column in plan.columns:
        name = quote(column.name)
        if column.name == "uuid_ts":
            common.append(f"{uuid_ts} AS {name}")
            odd.append(f"{uuid_ts} AS {name}")
        elif column.name in rules:
            common.append(name)
            odd.append(name)
        else:
            leaves = by_column.get(column.name, [])
            cells = [values.cell(leaf, cell_type(plan, column, leaf)) for leaf in leaves if leaf.common]
            common.append(f"coalesce({', '.join(cells)}) AS {name}" if cells else f"NULL::{column.sql_type} AS {name}")
            if leaves:
                cell = f"cells[{literal(column.name)}]"
                kept = any(leaf.kept for leaf in leaves)
                type_ = cell_type(plan, column, leaves[0])
                typed = f"cell_{type_.lower()}({cell}.text, {cell}.kind)"
                if kept and type_ != "kept":
                    typed = f"CASE WHEN {cell}.kept THEN {cell}.text ELSE {typed} END"
                odd.append(f"{typed} AS {name}")
            else:
                odd.append(f"NULL::{column.sql_type} AS {name}")
    select = f"SELECT {', '.join(common)} FROM {values.source}"
    if not has_odd:
        return select
    return f"""{select} UNION ALL SELECT {", ".join(odd)} FROM flat JOIN odd_row o USING (pos)
        WHERE {rows_of(target)} AND {_odd(target)} AND o.of_event = {target.event_table is not None}"""


def cell_type(plan: TablePlan, column: Column, leaf: Leaf) -> str:
    """Which of the `cell_` macros makes the column's cells from a leaf."""
    if leaf.kept and column.type in ("JSON", "VARCHAR"):
        return "kept"
    if column.type == "DOUBLE" and column in plan.added:
        return "double_new"
    return column.type


def other_events_sql(uuid_ts: str) -> str:
    """SELECT of the rows of `other_events`: tracks without a table of their own, properties as JSON text."""
    names = ", ".join(
        f"{uuid_ts} AS uuid_ts" if c.name == "uuid_ts" else "nullif(props, '{}')::VARCHAR AS properties" if c.name == "properties" else quote(c.name)
        for c in OTHER_EVENTS_COLUMNS
    )
    return f"SELECT {names} FROM flat WHERE event_table = {NO_TABLE}"


OTHER_EVENTS_COLUMNS = (*rule_columns(TRACK, event_table=True), Column("properties", "JSON"))
