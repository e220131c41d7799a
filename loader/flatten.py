"""How columns are made: compiles plans to SQL over the staged events.

All events are read once, in the order of the files that they go to, with their rule columns and the cells of every
common path of `context`, which most tables share, as `c<path>_<type>`. The paths of `props` and `user_props` differ by
table; they are read run by run. Events that need more than that (a key twice, two keys for one column, a rare path)
are `odd`: `loader.odd` reads them node by node, and they join the others here, in the same columns with the same types.
"""

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from json import dumps as to_json
from typing import Self

import duckdb
import numpy as np
import pyarrow as pa

from loader import books
from loader.calls import TRACK, rule_columns
from loader.cells import Paths
from loader.db import literal, quote
from loader.leaf_sql import Values, cell_of, cell_type, taken_as
from loader.records import COLUMN, NO_TABLE, Leaf, TablePlan, Target
from loader.scanner import index
from loader.schema import Column

# A batch of rows in order is held in memory, twice over; it becomes a row group of each file that it has rows of.
CELLS_A_BATCH = 16 << 20
BYTES_A_BATCH = 256 << 20

_RULES = """pos, call, event_table, odd_call, odd_event, id, anonymous_id, user_id, channel,
    original_timestamp, sent_at, received_at,
    coalesce(own_timestamp, device_time(own_received_at, sent_at, original_timestamp),
        original_timestamp, sent_at, received_at) AS "timestamp",
    (received_at AT TIME ZONE 'UTC')::DATE AS received_date,
    coalesce(passed_ip, request_ip) AS context_ip, request_ip AS context_request_ip,
    passed_ip AS context_passed_ip, event_name AS event, event AS event_text, name, group_id, previous_id,
    {full_event} AS rudder_event, file_id::BIGINT AS loader_file_id, line AS loader_line, element AS loader_element,
    props, user_props"""
_NAMES = f"""LEFT JOIN (SELECT event_key, event_name FROM event_name)
    ON call = '{TRACK}' AND coalesce(event, '') = event_key"""


@dataclass(frozen=True, slots=True)
class Entries:
    """The cells that the texts of a member of contexts give, by id. index: the column of `run` with the ids. codes: by
    id the number of the cell in the dictionary of `values`, -1 for none, with a -1 more at the end for events without
    an id; None where the cells are no texts."""

    index: str
    values: pa.Array
    codes: np.ndarray | None

    @classmethod
    def made(cls, index: str, cells: pa.Array) -> Self:
        if not pa.types.is_large_string(cells.type):
            return cls(index, cells, None)
        values = cells.dictionary_encode()
        return cls(index, values, np.append(values.indices.fill_null(-1).to_numpy(), np.int32(-1)))

    @property
    def type(self) -> pa.DataType:
        return self.values.type

    def places(self, rows: pa.RecordBatch) -> np.ndarray:
        """Where in `codes` these rows have theirs."""
        ids: np.ndarray = rows.column(self.index).fill_null(len(self.values)).to_numpy()
        return ids.astype(np.intp)

    def of(self, rows: pa.RecordBatch, places: np.ndarray) -> pa.Array:
        """The cells of these rows; texts as numbers in the dictionary of all that come."""
        if self.codes is None:
            return self.values.take(rows.column(self.index))
        codes = self.codes.take(places, mode="clip")  # ten times as fast as Arrow's `take`
        there = pa.py_buffer(np.packbits(codes >= 0, bitorder="little"))
        indices = pa.Array.from_buffers(pa.int32(), len(codes), [there, pa.py_buffer(codes)])
        return pa.DictionaryArray.from_arrays(indices, self.values.dictionary, safe=False)


def stage(connection: duckdb.DuckDBPyConnection) -> None:
    """Makes `flat`, a view of `item`: one row an event with its rule columns, but for the whole event, and its JSON."""
    rules = _RULES.format(full_event="NULL::VARCHAR")
    connection.execute(f"CREATE VIEW flat AS SELECT {rules}, context FROM item {_NAMES}")


def cells_of_members(
    connection: duckdb.DuckDBPyConnection, plans: Sequence[TablePlan], members: Sequence[str]
) -> dict[str, Entries]:
    """What the members of contexts (loader.context) give for the cells that tables share, by their name in `run`."""
    cells = _cells_of_contexts(plans)

    def entries(at: int) -> dict[str, Entries]:
        mine = {name: cell for name, cell in cells.items() if cell[0].member == at}
        with connection.cursor() as cursor:
            return _entries(cursor, members, at, mine) if mine else {}

    with ThreadPoolExecutor(2, thread_name_prefix="cells") as pool:  # to plan takes longer than to make few
        return {name: each for found in pool.map(entries, range(len(members))) for name, each in found.items()}


def _entries(
    connection: duckdb.DuckDBPyConnection, members: Sequence[str], member: int, cells: Mapping[str, tuple[Leaf, str]]
) -> dict[str, Entries]:
    values = Values((), "member", f"member = {member}", cells.values())
    made = "".join(f", {values.cell(leaf, type_)} AS {name}" for name, (leaf, type_) in cells.items())
    table = connection.sql(f"SELECT id{made} FROM {values.source} ORDER BY id").to_arrow_table()
    ids = table["id"].to_numpy()
    whole = int(np.sum(ids == np.arange(len(ids))))
    books.balance("texts of members", {members[member]: len(ids)}, {members[member]: whole})
    found = {}
    for name in cells:
        found[name] = Entries.made(index(member), table[name].combine_chunks())
    return found


def _cells_of_contexts(plans: Sequence[TablePlan]) -> dict[str, tuple[Leaf, str]]:
    """The cells that are made of contexts, for all tables: the leaf and the type of cell."""
    cells: dict[str, tuple[Leaf, str]] = {}
    for plan in plans:
        types = {column.name: column for column in plan.columns}
        for leaf in plan.target.leaves:
            if leaf.common and leaf.fate == COLUMN and leaf.part.json == "context" and leaf.column in types:
                type_ = cell_type(plan, types[leaf.column], leaf)
                cells[_staged(leaf, type_)] = (leaf, type_)
    return cells


def in_order(
    connection: duckdb.DuckDBPyConnection,
    plans: Sequence[TablePlan],
    members: Sequence[str],
    full_event: bool,
    has_odd: bool,
    size: int,
) -> pa.RecordBatchReader:
    """All events by call, date and event table: their rule columns, which texts of members of contexts they have, the
    cells of what else contexts have, and those of odd events as `call_cells` and `event_cells` (`loader.odd`). To
    be read to its end. size: bytes of an event, on average."""
    cells = {name: cell for name, cell in _cells_of_contexts(plans).items() if cell[0].beside}
    values = Values((), "item", cells=cells.values())
    more = "".join(f", {values.cell(leaf, type_)} AS {name}" for name, (leaf, type_) in cells.items())
    more += "".join(f", {index(at)}" for at in range(len(members)))
    joins = ""
    if has_odd:
        more += ", o_call.cells AS call_cells, o_event.cells AS event_cells"
        joins += """ LEFT JOIN (FROM odd_row WHERE NOT of_event) o_call USING (pos)
            LEFT JOIN (FROM odd_row WHERE of_event) o_event USING (pos)"""
    rules = _RULES.format(full_event="json(text)::VARCHAR" if full_event else "NULL::VARCHAR")
    rows = max(min(CELLS_A_BATCH // (25 + len(cells) + len(members)), BYTES_A_BATCH // max(size, 1), 122_880), 2048)
    return connection.sql(f"""
        SELECT {rules}{more} FROM {values.source} {_NAMES} {joins} ORDER BY call, received_date, event_table, pos
    """).to_arrow_reader(rows)


def _staged(leaf: Leaf, type_: str) -> str:
    """The column of rows in order with a path's cells of a type."""
    return f"c{leaf.path}_{type_.lower()}"


def rows(connection: duckdb.DuckDBPyConnection) -> list[tuple[str, int | None, str, int]]:
    """The number of staged events by call, event table and received_date."""
    return connection.execute("""
        SELECT call, event_table, date::VARCHAR, events FROM (
            SELECT call, event_table, (received_at AT TIME ZONE 'UTC')::DATE AS date, count(*) AS events
            FROM item GROUP BY ALL
        ) ORDER BY ALL
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


@dataclass(frozen=True, slots=True)
class Cells:
    """How a table's columns are made of `run`, rows of `in_order`. Columns that are neither taken nor made are NULL.

    taken: by column, the one of `run`. made: a SELECT of `pos` and others, called `names`, from the columns of `run`
    that it needs; None: there are no others. first: by column with JSON, the paths whose cells become columns of `run`
    before.
    """

    taken: dict[str, str]
    made: str | None
    names: tuple[str, ...]
    needs: tuple[str, ...]
    first: Mapping[str, Paths] = field(default_factory=dict)


def common(plan: TablePlan) -> Cells:
    """How the columns are made for events that are not odd."""
    taken, _ = _rule_cells(plan)
    shared = _common_cells(plan)
    values = Values((), "run", cells=[cell for cells in shared.values() for cell in cells if not _is_staged(cell[0])])
    made, needs = {}, set()
    for column, cells in shared.items():
        if len(cells) == 1 and _is_staged(cells[0][0]):
            taken[column] = _staged(*cells[0])
        else:
            each = [_staged(*cell) if _is_staged(cell[0]) else values.cell(*cell) for cell in cells]
            made[column] = each[0] if len(each) == 1 else f"coalesce({', '.join(each)})"
            needs |= {_staged(*cell) if _is_staged(cell[0]) else cell[0].part.json for cell in cells}
    return _cells(taken, made, values.source, sorted(needs))


def quick(plan: TablePlan) -> Cells | None:
    """The same for those of which `cells` takes what is a table's own out of its JSON. None: nothing is."""
    taken, _ = _rule_cells(plan)
    wanted: dict[str, dict[str, tuple[tuple[str, ...], str]]] = {}
    made, needs = {}, set()
    for column, cells in _common_cells(plan).items():
        names, each = [_staged(*cell) for cell in cells], []
        for name, (leaf, type_) in zip(names, cells, strict=True):
            what = taken_as(leaf, type_)
            if not _is_staged(leaf):
                wanted.setdefault(leaf.part.json, {})[name] = leaf.keys, what or "JSON"
            each.append(name if what or _is_staged(leaf) else cell_of(name, leaf, type_))
        if len(each) == 1 and each == names:
            taken[column] = names[0]
        else:
            made[column] = each[0] if len(each) == 1 else f"coalesce({', '.join(each)})"
            needs |= {*names}
    if not wanted:
        return None
    paths = {json: Paths(of_json) for json, of_json in wanted.items()}
    return replace(_cells(taken, made, "run", sorted(needs)), first=paths)


def _common_cells(plan: TablePlan) -> dict[str, list[tuple[Leaf, str]]]:
    """By column, its common leaves and the type of their cells."""
    _, by_column = _rule_cells(plan)
    there = {column.name: column for column in plan.columns}
    found: dict[str, list[tuple[Leaf, str]]] = {}
    for column, leaves in by_column.items():
        if cells := [(leaf, cell_type(plan, there[column], leaf)) for leaf in leaves if leaf.common]:
            found[column] = cells
    return found


def odd(plan: TablePlan) -> Cells:
    """The same for odd events."""
    taken, by_column = _rule_cells(plan)
    made, read = {}, {}
    for at, column in enumerate(plan.columns):
        if column.name in by_column:
            made[column.name], read[f"c{at}"] = f"cell.c{at}::{column.sql_type}", "VARCHAR"
    cells = "call_cells" if plan.target.event_table is None else "event_cells"
    return _cells(
        taken, made, f"(SELECT *, json_transform({cells}, {literal(to_json(read))}) AS cell FROM run)", [cells]
    )


def _rule_cells(plan: TablePlan) -> tuple[dict[str, str], dict[str, list[Leaf]]]:
    """The rule columns, which are taken as they are, and the leaves of the others."""
    target = plan.target
    rules = {column.name for column in rule_columns(target.call, target.event_table is not None, full_event=True)}
    there = {column.name for column in plan.columns}
    by_column: dict[str, list[Leaf]] = {}
    for leaf in target.leaves:
        if leaf.fate == COLUMN and leaf.column in there:
            by_column.setdefault(leaf.column, []).append(leaf)
    return {name: name for name in (rules & there) - {"uuid_ts"}}, by_column


def _cells(taken: dict[str, str], made: dict[str, str], source: str, needs: Sequence[str]) -> Cells:
    columns = "".join(f", {sql} AS {quote(name)}" for name, sql in made.items())
    return Cells(taken, f"SELECT pos{columns} FROM {source}" if made else None, tuple(made), ("pos", *needs))


def _is_staged(leaf: Leaf) -> bool:
    return leaf.part.json == "context"


def other_events_sql(uuid_ts: str) -> str:
    """SELECT of the rows of `other_events`: tracks without a table of their own, properties as JSON text."""
    names = ", ".join(
        f"{uuid_ts} AS uuid_ts"
        if c.name == "uuid_ts"
        else "nullif(json(props), '{}')::VARCHAR AS properties"
        if c.name == "properties"
        else quote(c.name)
        for c in OTHER_EVENTS_COLUMNS
    )
    return f"SELECT {names} FROM flat WHERE event_table = {NO_TABLE}"


OTHER_EVENTS_COLUMNS = (*rule_columns(TRACK, event_table=True), Column("properties", "JSON"))
