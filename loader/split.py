"""Lines to events: is it an event, what are its fields, and what about it needs a second look (section 1).

Fills two tables of the engine. `item`: one row an event, its fields typed, the parts with free keys as JSON with
their shape; `text` is kept only where it is needed again. `reject`: one row a line or batch element that is no event.
"""

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from json import dumps as to_json
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from loader import context
from loader.calls import CALL_TABLES, TRAIT_CALLS, USER_PROPERTY_CALLS
from loader.db import literal
from loader.leaf_sql import JSON_PARTS, OWN_PARTS
from loader.records import LINES, FileRead

SCALARS = {
    "messageId": "message_id",
    "anonymousId": "anonymous_id",
    "userId": "user_id",
    "channel": "channel",
    "request_ip": "request_ip",
    "event": "event",
    "name": "name",
    "groupId": "group_id",
    "previousId": "previous_id",
}
DATETIMES = {
    "originalTimestamp": "original_timestamp",
    "sentAt": "sent_at",
    "receivedAt": "own_received_at",
    "timestamp": "own_timestamp",
}
OBJECTS = ("context", "properties", "traits", "userProperties")
# The fields that belong to one or two calls only; elsewhere they are "other top-level keys".
FIELDS_OF = {
    "event": ("track", "page", "screen"),
    "name": ("page", "screen"),
    "groupId": ("group",),
    "previousId": ("alias",),
    "properties": ("track", "page", "screen", "reset"),
    "traits": TRAIT_CALLS,
    "userProperties": USER_PROPERTY_CALLS,
}
SAMPLE_LINES, SAMPLE_BYTES = 2000, 16 << 20  # of the two what comes first, if there is so much
MAX_DEPTH = 1000  # of an event; RFC 8259 leaves it to the reader
# How deep a line may nest: less where it is long, as an object's text may be looked at once for each level.
_DEPTH = f"least({MAX_DEPTH}, {1 << 29} // strlen(text))"
# A line with more brackets than that may nest deeper.
_SUSPECT = f"""CASE WHEN strlen(text) > {2 * MAX_DEPTH}
    THEN strlen(text) - strlen(replace(replace(text, '[', ''), '{{', '')) > {_DEPTH} ELSE false END"""
# Of a line's file. No join: the engine may take the lines as the side to keep in memory, and go on with one thread.
_OF_FILE = """getvariable('modified')[file_id - getvariable('first_file') + 1] AS modified,
    getvariable('latest') AS latest"""
# What a batch envelope holds.
_ELEMENTS = "json_extract(text, '$.batch[*]')"
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
# Room for the position of an element in its batch, in `pos` (the order of events: by file, line, element).
ELEMENT_BITS = 26


def _calls(names: Sequence[str]) -> str:
    return "(" + ", ".join(map(literal, names)) + ")"


def _of_call(field: str, sql: str) -> str:
    """The expression, for the calls that the field belongs to; NULL for the others."""
    return f"CASE WHEN call IN {_calls(FIELDS_OF[field])} THEN {sql} END" if field in FIELDS_OF else sql


@dataclass(frozen=True, slots=True)
class _Lists:
    """Lists of keys that most events have, by their hash. clean: of events, without a key twice. whole: of contexts
    that are whole (loader.context)."""

    clean: Sequence[int] = ()
    whole: Sequence[int] = ()


def _parse(relation: str, full_event: bool, lists: _Lists, members: Sequence[str]) -> str:
    """SELECT of `item` rows from a relation of file_id, ordinal, line, element, text, fault, default_sent_at.

    members: of contexts that are read one by one.
    """
    top: dict[str, Any] = dict.fromkeys(("type", *SCALARS, *DATETIMES), "VARCHAR") | dict.fromkeys(OBJECTS, "JSON")
    top["context"] = context.type_of(members)
    # Not one of the tests below is needed for most events: those whose keys are all known and there.
    known = " + ".join(f"(s.{field} IS NOT NULL)::INTEGER" for field in top)
    twice = f"""CASE WHEN len(keys) = {known} OR {context.seen("keys", lists.clean)} THEN false
        ELSE list_unique(keys) < len(keys) END"""
    scalars = ", ".join(
        _of_call(field, f"scalar(s.{field}, text, '/{field}')") + f" AS {name}" for field, name in SCALARS.items()
    )
    containers = " OR ".join(f"starts_with(s.{field}, '{{') OR starts_with(s.{field}, '[')" for field in SCALARS)
    sent = "coalesce(s.sentAt, default_sent_at)"
    times = ", ".join(
        f"instant({sent}) AS {n}" if f == "sentAt" else f"instant(s.{f}) AS {n}" for f, n in DATETIMES.items()
    )
    bad_times = " OR ".join(
        f"(nullif({sent if field == 'sentAt' else f's.{field}'}, '') IS NOT NULL AND {name} IS NULL)"
        for field, name in DATETIMES.items()
    )
    objects = {field: f"s.{field}" for field in OBJECTS} | {"context": "context_json"}
    bad_objects = " OR ".join(f"NOT starts_with({json}, '{{')" for json in objects.values())
    passed_ip = "scalar(json_extract_string(context, '/ip'), context, '/ip')"
    whole, apart, found, other = "false", "false", "0", "s.context"
    if members:
        found = context.count("s.context", members)
        whole = f"NOT suspect AND {context.whole('context_keys', 'found', members, lists.whole)}"
        apart = f"CASE WHEN whole OR suspect THEN false ELSE {context.apart('context_keys')} END"
        all_of_it = "json_extract(text, '/context')"
        other = f"""CASE WHEN whole THEN NULL WHEN apart THEN {context.rest(all_of_it, members)}
            WHEN s.context IS NOT NULL THEN {all_of_it} END::VARCHAR"""
        ip = context.name_of("ip", members) or "NULL::VARCHAR"
        of_member = f"scalar(json_extract_string({ip}, '$'), {ip}, '$')"
        passed_ip = f"CASE WHEN {ip} IS NOT NULL THEN {of_member} WHEN context IS NOT NULL THEN {passed_ip} END"
    members_ = context.columns(members, "whole OR apart", "s.context", "found")
    parts = ", ".join(f"{part}, CASE WHEN NOT suspect THEN shape_of({part}) END AS {part}_shape" for part in JSON_PARTS)
    parts += "".join(f", CASE WHEN NOT suspect THEN all_plain({part}) END AS {part}_plain" for part in OWN_PARTS)
    return f"""
    WITH listed AS (
        SELECT *, try(json_keys(text, ['', '/context'])) AS both_keys
        FROM (SELECT *, {_SUSPECT} AS suspect FROM {relation})
    ), parsed AS (
        SELECT *, json_transform(json, {literal(to_json(top))}) AS s, both_keys[1] AS keys,
            both_keys[2] AS context_keys
        FROM (SELECT *, CASE WHEN both_keys IS NOT NULL THEN text END AS json FROM listed)
    ), fields AS (
        SELECT *, {apart} AS apart FROM (SELECT *, {whole} AS whole FROM (SELECT *, {found} AS found FROM parsed))
    ), named AS (
        SELECT *, lower(s.type) AS call, {other} AS context_json{members_}
        FROM fields
    ), typed AS (
        SELECT *, {scalars}, {times},
            fault IS NULL AND coalesce(call IN {_calls(list(CALL_TABLES))}, false) AS is_event,
            CASE WHEN starts_with(context_json, '{{') THEN context_json END AS context,
            CASE WHEN call IN {_calls(TRAIT_CALLS)} THEN CASE WHEN starts_with(s.traits, '{{') THEN s.traits END
                WHEN starts_with(s.properties, '{{') THEN s.properties END AS props,
            CASE WHEN call IN {_calls(USER_PROPERTY_CALLS)} AND starts_with(s.userProperties, '{{')
                THEN s.userProperties END AS user_props
        FROM named
    ), looked AS (
        SELECT *, coalesce(own_received_at > latest OR {bad_times}, false) OR coalesce({containers}, false)
            OR coalesce({bad_objects}, false) OR {twice} AS odd,
            CASE WHEN message_id >= '!' THEN false
                ELSE nullif(trim(message_id, ' ' || chr(9) || chr(10) || chr(11) || chr(12) || chr(13)), '') IS NULL
                END AS unnamed
        FROM typed
    )
    SELECT file_id, line, element, suspect,
        ordinal << {ELEMENT_BITS} | least(coalesce(element, 0), (1 << {ELEMENT_BITS}) - 1) AS pos,
        fault, is_event, odd, call,
        CASE WHEN odd OR suspect OR NOT is_event OR {full_event} THEN rtrim(text, chr(10) || chr(13)) END AS text,
        CASE WHEN unnamed AND is_event THEN 'auto-' || left(sha256(rtrim(text, chr(10) || chr(13))), 32)
            ELSE message_id END AS id,
        anonymous_id, user_id, channel, request_ip, event, group_id, previous_id,
        CASE WHEN call IN ('page', 'screen')
            THEN coalesce(name, scalar(json_extract_string(props, '/name'), props, '/name'), event) END AS name,
        original_timestamp, sent_at, CASE WHEN own_received_at <= latest THEN own_received_at END AS own_received_at,
        coalesce(CASE WHEN own_received_at <= latest THEN own_received_at END, modified) AS received_at, own_timestamp,
        default_sent_at, NULL::INTEGER AS event_table, false AS odd_call, false AS odd_event,
        {parts},
        {passed_ip} AS passed_ip{"".join(f", {name}" for name in context.names(members))}
    FROM looked
    """


def split(
    connection: duckdb.DuckDBPyConnection,
    lines: Iterator[pa.RecordBatch],
    reads: Sequence[FileRead],
    started: datetime,
    full_event: bool = False,
) -> tuple[str, ...]:
    """Reads all lines (batches of `LINES`) into `item` and `reject`. started: of the load, aware.

    Returns the members of contexts that are columns of `item` (loader.context).

    Lines of files that turned out unreadable (`FileRead.error`, set while the batches are read) leave no trace.
    """
    connection.execute("CREATE TABLE file (file_id INTEGER, modified TIMESTAMPTZ)")
    connection.executemany("INSERT INTO file VALUES (?, ?)", [(read.file_id, read.file.modified) for read in reads])
    connection.execute("SET VARIABLE modified = (SELECT list(modified ORDER BY file_id) FROM file)")
    connection.execute("SET VARIABLE first_file = (SELECT min(file_id) FROM file)")
    connection.execute("SET VARIABLE latest = ?::TIMESTAMPTZ + INTERVAL 1 DAY", [started])
    first = _first(lines)
    members, lists = _learn(connection, pa.Table.from_batches(first, LINES))
    connection.register("batch", pa.RecordBatchReader.from_batches(LINES, itertools.chain(first, lines)))
    relation = f"(SELECT *, NULL::BIGINT AS element, NULL::VARCHAR AS default_sent_at, {_OF_FILE} FROM batch)"
    connection.execute(f"CREATE TABLE item AS {_parse(relation, full_event, lists, members)}")
    connection.unregister("batch")
    if failed := [read.file_id for read in reads if read.error]:
        connection.execute("DELETE FROM item WHERE list_contains(?, file_id)", [failed])
    _unpack(connection, full_event, lists, members)
    _refuse_deep(connection)
    _reject(connection)
    return members


def _first(lines: Iterator[pa.RecordBatch]) -> list[pa.RecordBatch]:
    """The first batches, enough to learn from."""
    first: list[pa.RecordBatch] = []
    count = size = 0
    while count < SAMPLE_LINES and size < SAMPLE_BYTES and (batch := next(lines, None)) is not None:
        first.append(batch)
        count, size = count + batch.num_rows, size + batch.nbytes
    return first


def _learn(connection: duckdb.DuckDBPyConnection, sample: pa.Table) -> tuple[tuple[str, ...], _Lists]:
    """What most events have, from some lines: members of contexts, and lists of keys."""
    connection.register("sample", sample)
    connection.execute(f"""
        CREATE TEMP TABLE known AS SELECT lists[1] AS keys, lists[2] AS context_keys FROM (
            SELECT try(json_keys(text, ['', '/context'])) AS lists FROM (
                SELECT text FROM sample WHERE fault IS NULL
                UNION ALL
                (SELECT unnest(try({_ELEMENTS}))::VARCHAR FROM sample WHERE fault IS NULL LIMIT {SAMPLE_LINES})
            ) WHERE NOT ({_SUSPECT}))
    """)
    connection.unregister("sample")
    members = context.learn(connection, "known")
    lists = _Lists(_clean_keys(connection), context.whole_lists(connection, "known", members))
    connection.execute("DROP TABLE known")
    return members, lists


def _clean_keys(connection: duckdb.DuckDBPyConnection) -> list[int]:
    """Of the lists of top-level keys in `known`, the hashes of those without a key twice: most events have one of
    them, and are then spared the search for repeated keys."""
    rows = connection.execute("""
        SELECT hash(keys) FROM known
        WHERE keys IS NOT NULL GROUP BY keys HAVING list_unique(keys) = len(keys) ORDER BY count(*) DESC LIMIT 100
    """).fetchall()
    return [key for (key,) in rows]


def _refuse_deep(connection: duckdb.DuckDBPyConnection) -> None:
    """Lines that nest deeper than `_DEPTH` get a fault: to walk them takes time and memory in its square. Of the
    others that were suspected of it, because they have that many brackets, the shapes are made up for."""
    rows = connection.execute(f"SELECT pos, text, {_DEPTH} FROM item WHERE suspect").fetchall()
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


def _unpack(connection: duckdb.DuckDBPyConnection, full_event: bool, lists: _Lists, members: Sequence[str]) -> None:
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
    elements = f"""(SELECT file_id, pos >> {ELEMENT_BITS} AS ordinal, line, unnest(range(len(elements))) AS element,
        unnest(elements)::VARCHAR AS text, NULL::VARCHAR AS fault, default_sent_at, {_OF_FILE}
        FROM (SELECT *, json_extract_string(text, '/sentAt') AS default_sent_at, {_ELEMENTS} AS elements
            FROM ({parts})))"""
    connection.execute(f"INSERT INTO item BY NAME {_parse(elements, full_event, lists, members)}")


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
                WHEN 'too_deep' THEN 'nested deeper than ' || {_DEPTH} || ' levels'
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
