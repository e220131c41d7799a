"""Lines to events: is it an event, what are its fields, and what about it needs a second look (section 1).

Fills two tables of the engine. `item`: one row an event, its fields typed, the parts with free keys as JSON with
their shape; `text` is kept only where it is needed again. `reject`: one row a line or batch element that is no event.
"""

import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial

import duckdb
import numpy as np
import pyarrow as pa

from loader import compiled, context, fields, scanner
from loader.ahead import ahead
from loader.fields import DEPTH, ELEMENT_BITS, OF_FILE, SUSPECT
from loader.leaf_sql import JSON_PARTS
from loader.records import LINES, FileRead

SAMPLE_LINES, SAMPLE_BYTES = 2000, 16 << 20  # of the two what comes first, if there is so much
_TEXTS, _TIMES, _OBJECTS = tuple(fields.SCALARS), tuple(fields.DATETIMES), fields.OBJECTS[1:]  # all but the context
# What a batch envelope holds.
_ELEMENTS = "json_extract(text, '$.batch[*]')"
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_UNUSUAL_BYTES = 8 << 20  # of lines that the scanner leaves, collected before the engine gets them


@dataclass(frozen=True, slots=True)
class _Learnt:
    """What most events have, by the first lines: members of contexts, top-level keys, lists of keys."""

    members: tuple[str, ...]
    keys: Sequence[str]
    lists: fields.Lists


def split(
    connection: duckdb.DuckDBPyConnection,
    lines: Iterator[pa.RecordBatch],
    reads: Sequence[FileRead],
    started: datetime,
    full_event: bool = False,
) -> tuple[str, ...]:
    """Reads all lines (batches of `LINES`) into `item` and `reject`. started: of the load, aware.

    Returns the members of contexts whose texts `item` has the numbers of (loader.context).

    Lines of files that turned out unreadable (`FileRead.error`, set while the batches are read) leave no trace.
    """
    connection.execute("CREATE TABLE file (file_id INTEGER, modified TIMESTAMPTZ)")
    connection.executemany("INSERT INTO file VALUES (?, ?)", [(read.file_id, read.file.modified) for read in reads])
    connection.execute("SET VARIABLE modified = (SELECT list(modified ORDER BY file_id) FROM file)")
    connection.execute("SET VARIABLE first_file = (SELECT min(file_id) FROM file)")
    connection.execute("SET VARIABLE latest = ?::TIMESTAMPTZ + INTERVAL 1 DAY", [started])
    first = _first(lines)
    learnt = _learn(connection, pa.Table.from_batches(first, LINES))
    context.prepare(connection)
    rest, given = _scan(connection, first, lines, learnt, full_event)
    add = partial(_add, connection, full_event, learnt, given)
    if rest:
        add(f"SELECT *, NULL::BIGINT AS element, NULL::VARCHAR AS default_sent_at FROM {rest}")
    connection.execute("DROP TABLE IF EXISTS unusual")
    if failed := [read.file_id for read in reads if read.error]:
        connection.execute("DELETE FROM item WHERE list_contains(?, file_id)", [failed])
    _unpack(connection, add)
    context.balance_texts(connection, learnt.members, given)
    _refuse_deep(connection)
    _reject(connection)
    return learnt.members


def _first(lines: Iterator[pa.RecordBatch]) -> list[pa.RecordBatch]:
    """The first batches, enough to learn from."""
    first: list[pa.RecordBatch] = []
    count = size = 0
    while count < SAMPLE_LINES and size < SAMPLE_BYTES and (batch := next(lines, None)) is not None:
        first.append(batch)
        count, size = count + batch.num_rows, size + batch.nbytes
    return first


def _learn(connection: duckdb.DuckDBPyConnection, sample: pa.Table) -> _Learnt:
    """What most events have, from some lines."""
    connection.register("sample", sample)
    connection.execute(f"""
        CREATE TEMP TABLE known AS SELECT lists[1] AS keys, lists[2] AS context_keys FROM (
            SELECT try(json_keys(text, ['', '/context'])) AS lists FROM (
                SELECT text FROM sample WHERE fault IS NULL
                UNION ALL
                (SELECT unnest(try({_ELEMENTS}))::VARCHAR FROM sample WHERE fault IS NULL LIMIT {SAMPLE_LINES})
            ) WHERE NOT ({SUSPECT}))
    """)
    connection.unregister("sample")
    members = context.learn(connection, "known")
    lists = fields.Lists(_clean_keys(connection), context.whole_lists(connection, "known", members))
    keys = connection.execute("""
        SELECT key FROM (SELECT unnest(list_distinct(keys)) AS key FROM known) GROUP BY ALL ORDER BY count(*) DESC, key
    """).fetchall()
    connection.execute("DROP TABLE known")
    return _Learnt(members, [key for (key,) in keys], lists)


def _clean_keys(connection: duckdb.DuckDBPyConnection) -> list[int]:
    """Of the lists of top-level keys in `known`, the hashes of those without a key twice: most events have one of
    them, and are then spared the search for repeated keys."""
    rows = connection.execute("""
        SELECT hash(keys) FROM known
        WHERE keys IS NOT NULL GROUP BY keys HAVING list_unique(keys) = len(keys) ORDER BY count(*) DESC LIMIT 100
    """).fetchall()
    return [key for (key,) in rows]


def _scan(
    connection: duckdb.DuckDBPyConnection,
    first: Sequence[pa.RecordBatch],
    lines: Iterator[pa.RecordBatch],
    learnt: _Learnt,
    full_event: bool,
) -> tuple[str | None, list[int]]:
    """Makes `item` of the lines that are usual events. A relation of the others, to be read once, None if there are
    none; and by member, how many ids its texts have got."""
    members, schema = learnt.members, scanner.schema(_TEXTS, _TIMES, _OBJECTS, learnt.members)
    every = itertools.chain(first, lines)
    usual: Iterator[pa.RecordBatch] = iter(())
    scan = None
    if compiled.is_there():
        keep = partial(context.keep, connection.cursor(), members)
        scan = scanner.Scanner(_TEXTS, _TIMES, _OBJECTS, learnt.keys, members, keep)
    if scan and scan.suits(first):
        connection.register("waiting", LINES.empty_table())
        connection.execute("CREATE TABLE unusual AS FROM waiting")
        connection.unregister("waiting")
        scanned = ahead(_scanned(connection.cursor(), scan, every), 2)
        usual = (each.events(schema) for each in scanned)
    else:
        scan = None
        connection.execute("DELETE FROM member")  # of the first lines, if so many were kept
        connection.register("every", pa.RecordBatchReader.from_batches(LINES, every))
    connection.register("usual", pa.RecordBatchReader.from_batches(schema, usual))
    connection.execute(f"CREATE TABLE item AS {fields.of_usual(full_event, members)}")
    connection.unregister("usual")
    if not scan:
        return "every", [0] * len(members)
    context.balance(connection, members, scan.found)
    ((others,),) = connection.execute("SELECT count(*) FROM unusual").fetchall()
    return "unusual" if others else None, scan.given


def _scanned(
    connection: duckdb.DuckDBPyConnection, scan: scanner.Scanner, lines: Iterator[pa.RecordBatch]
) -> Iterator[scanner.Scanned]:
    """What the scanner makes of the lines; those that it leaves go to `unusual`."""
    waiting: list[pa.RecordBatch] = []

    def collect() -> None:
        connection.register("waiting", pa.Table.from_batches(waiting, LINES))
        connection.execute("INSERT INTO unusual FROM waiting")
        connection.unregister("waiting")
        waiting.clear()

    for batch in lines:
        found = scan.scan(batch)
        if found.rows < batch.num_rows:
            waiting.append(batch.filter(pa.array(~found.taken)))
            if sum(each.nbytes for each in waiting) > _UNUSUAL_BYTES:
                collect()
        yield found
    collect()
    scan.flush()


def _add(
    connection: duckdb.DuckDBPyConnection, full_event: bool, learnt: _Learnt, given: list[int], relation: str
) -> None:
    """Adds lines, or elements of batches, to `item`. given: by member, how many ids were given out; is kept up."""
    rows = f"(SELECT *, {OF_FILE} FROM ({relation}))"
    connection.execute(f"CREATE TABLE parsed AS {fields.of_text(rows, full_event, learnt.lists, learnt.members)}")
    context.encode(connection, learnt.members, given)
    connection.execute("INSERT INTO item BY NAME SELECT * FROM parsed JOIN encoded USING (pos)")
    connection.execute("DROP TABLE parsed; DROP TABLE encoded")


def _refuse_deep(connection: duckdb.DuckDBPyConnection) -> None:
    """Lines that nest deeper than `DEPTH` get a fault: to walk them takes time and memory in its square. Of the
    others that were suspected of it, because they have that many brackets, the shapes are made up for."""
    rows = connection.execute(f"SELECT pos, text, {DEPTH} FROM item WHERE suspect").fetchall()
    if not rows:
        return
    deep = [pos for pos, text, most in rows if _depth(text) > most]
    connection.execute(
        "UPDATE item SET fault = 'too_deep', is_event = false WHERE suspect AND list_contains($deep, pos)",
        {"deep": deep},
    )
    shapes = ", ".join(f"{part}_shape = shape_of({part})" for part in JSON_PARTS)
    connection.execute(f"UPDATE item SET {shapes} WHERE suspect AND is_event")


def _depth(text: str) -> int:
    """How deep the arrays and objects of a JSON text nest; 0 for text that is no JSON."""
    marks = np.frombuffer(_STRING.sub("", text).encode(), np.uint8)
    steps = np.isin(marks, (0x5B, 0x7B)).astype(np.int64) - np.isin(marks, (0x5D, 0x7D))
    return int(np.cumsum(steps).max(initial=0))


def _unpack(connection: duckdb.DuckDBPyConnection, add: Callable[[str], None]) -> None:
    """Batch envelopes become their elements. An envelope: an object with an array `batch`, not empty, and no `type`."""
    envelope = """NOT is_event AND fault IS NULL AND try(json_type(text, '/batch')) = 'ARRAY'
        AND NOT list_contains(try(json_keys(text)), 'type') AND try(json_array_length(text, '/batch')) > 0"""
    connection.execute(f"CREATE TEMP TABLE envelope AS SELECT file_id, line, pos, text FROM item WHERE {envelope}")
    count = connection.execute("SELECT count(*) FROM envelope").fetchall()[0][0]
    if not count:
        return
    connection.execute("DELETE FROM item WHERE pos IN (SELECT pos FROM envelope)")
    # In parts, since a scan of few rows keeps but one thread busy, however long they are.
    parts = " UNION ALL ".join(f"SELECT * FROM envelope WHERE hash(pos) % 8 = {part}" for part in range(8))
    add(f"""
        SELECT file_id, pos >> {ELEMENT_BITS} AS ordinal, line, unnest(range(len(elements))) AS element,
            unnest(elements)::VARCHAR AS text, NULL::VARCHAR AS fault, default_sent_at
        FROM (SELECT *, json_extract_string(text, '/sentAt') AS default_sent_at, {_ELEMENTS} AS elements
            FROM ({parts}))
    """)


def _reject(connection: duckdb.DuckDBPyConnection) -> None:
    """What is no event goes to `reject` with its reason; blank lines are counted in `blank`."""
    connection.execute("""
        CREATE TABLE blank AS SELECT file_id, count(*) AS blank FROM item
        WHERE NOT is_event AND fault IS NULL AND trim(text, ' ' || chr(9) || chr(13)) = '' GROUP BY file_id
    """)
    connection.execute(f"""
        CREATE TABLE reject AS
        WITH bad AS (
            SELECT file_id, line, element, fault, text, try(json_type(text)) AS kind, try(json_keys(text)) AS keys,
                try(json_type(text, '/batch')) AS batch_kind, try(json_extract(text, '/type')) AS type
            FROM item WHERE NOT is_event AND (fault IS NOT NULL OR trim(text, ' ' || chr(9) || chr(13)) <> '')
        )
        SELECT file_id, line, element, CASE
                WHEN fault = 'too_deep' THEN 'invalid_json'
                WHEN fault IS NOT NULL THEN fault
                WHEN kind IS NULL THEN 'invalid_json'
                WHEN kind <> 'OBJECT' THEN 'not_an_object'
                WHEN list_contains(keys, 'type') THEN 'unknown_type'
                WHEN element IS NOT NULL OR NOT list_contains(keys, 'batch') THEN 'missing_type'
                WHEN batch_kind = 'ARRAY' THEN 'empty_batch'
                ELSE 'bad_batch' END AS reason,
            CASE coalesce(nullif(fault, 'invalid_json'), reason)
                WHEN 'too_deep' THEN 'nested deeper than ' || {DEPTH} || ' levels'
                WHEN 'invalid_json' THEN 'the line is not valid JSON'
                WHEN 'not_an_object' THEN 'an event is a JSON object, this is: ' || json_word(kind)
                WHEN 'unknown_type' THEN 'type is ' || left(type, 100)
                WHEN 'missing_type' THEN 'the event has no key "type"'
                WHEN 'empty_batch' THEN 'the batch holds no event'
                WHEN 'bad_batch' THEN 'batch is no array but: ' || json_word(batch_kind)
                WHEN 'invalid_utf8' THEN 'bytes that are not UTF-8 are shown as U+FFFD'
                WHEN 'line_too_long' THEN 'the line is longer than max_line_bytes; its beginning is kept' END AS detail,
            CASE WHEN strlen(text) <= 1048576 THEN text
                WHEN strlen(text) = length(text) THEN left(text, 1048576) ELSE left(text, 262144) END AS raw
        FROM bad
    """)
    connection.execute("DELETE FROM item WHERE NOT is_event")


@dataclass(frozen=True, slots=True)
class Count:
    """What a file held. lines: not blank. items: events and rejects, each batch element one."""

    lines: int
    blank: int
    items: int
    rejected: int


def count(connection: duckdb.DuckDBPyConnection) -> dict[int, Count]:
    """By file_id, what is in `item`, `reject` and `blank`."""
    rows = connection.execute("""
        SELECT file_id, coalesce(lines, 0), coalesce(blank, 0), coalesce(items, 0), coalesce(rejected, 0)
        FROM file LEFT JOIN blank USING (file_id) LEFT JOIN (
            SELECT file_id, count(*) AS items, count(*) FILTER (bad) AS rejected,
                count(*) FILTER (element IS NULL) + count(DISTINCT line) FILTER (element IS NOT NULL) AS lines
            FROM (SELECT file_id, line, element, false AS bad FROM item
                UNION ALL SELECT file_id, line, element, true FROM reject)
            GROUP BY file_id
        ) USING (file_id)
    """).fetchall()
    return {file_id: Count(*numbers) for file_id, *numbers in rows}


def places(connection: duckdb.DuckDBPyConnection, positions: Sequence[int]) -> dict[int, tuple[int, int, int | None]]:
    """File, line and element of the events at these positions."""
    rows = connection.execute(
        "SELECT pos, file_id, line, min(element) FROM item JOIN (SELECT unnest($at) AS pos) USING (pos) GROUP BY ALL",
        {"at": list(positions)},
    ).fetchall()
    return {pos: tuple(place) for pos, *place in rows}
