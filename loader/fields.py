"""The fields of an event as SQL: a row of `item` from its text, or from what the scanner made of it (section 1)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from json import dumps as to_json
from typing import Any

from loader import context
from loader.calls import CALL_TABLES, TRAIT_CALLS, USER_PROPERTY_CALLS
from loader.db import literal
from loader.leaf_sql import JSON_PARTS, OWN_PARTS
from loader.scanner import index

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
MAX_DEPTH = 1000  # of an event; RFC 8259 leaves it to the reader
# How deep a line may nest: less where it is long, as an object's text may be looked at once for each level.
DEPTH = f"least({MAX_DEPTH}, {1 << 29} // strlen(text))"
# A line with more brackets than that may nest deeper.
SUSPECT = f"""CASE WHEN strlen(text) > {2 * MAX_DEPTH}
    THEN strlen(text) - strlen(replace(replace(text, '[', ''), '{{', '')) > {DEPTH} ELSE false END"""
# Of a line's file. No join: the engine may take the lines as the side to keep in memory, and go on with one thread.
OF_FILE = """getvariable('modified')[file_id - getvariable('first_file') + 1] AS modified,
    getvariable('latest') AS latest"""
_SENT = "coalesce(s.sentAt, default_sent_at)"
_UNNAMED = """CASE WHEN message_id >= '!' THEN false
    ELSE nullif(trim(message_id, ' ' || chr(9) || chr(10) || chr(11) || chr(12) || chr(13)), '') IS NULL END"""
# Room for the position of an element in its batch, in `pos` (the order of events: by file, line, element).
ELEMENT_BITS = 26


@dataclass(frozen=True, slots=True)
class Lists:
    """Lists of keys that most events have, by their hash. clean: of events, without a key twice. whole: of contexts
    that are whole (loader.context)."""

    clean: Sequence[int] = ()
    whole: Sequence[int] = ()


def of_text(relation: str, full_event: bool, lists: Lists, members: Sequence[str]) -> str:
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
    times, bad_times = _times({field: f"s.{field}" for field in DATETIMES} | {"sentAt": _SENT})
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
    parts += "".join(f", {name}" for name in context.names(members))
    return f"""
    WITH listed AS (
        SELECT *, try(json_keys(text, ['', '/context'])) AS both_keys
        FROM (SELECT *, {SUSPECT} AS suspect FROM {relation})
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
                WHEN starts_with(s.properties, '{{') THEN s.properties END::VARCHAR AS props,
            CASE WHEN call IN {_calls(USER_PROPERTY_CALLS)} AND starts_with(s.userProperties, '{{')
                THEN s.userProperties END::VARCHAR AS user_props
        FROM named
    ), looked AS (
        SELECT *, coalesce(own_received_at > latest OR {bad_times}, false) OR coalesce({containers}, false)
            OR coalesce({bad_objects}, false) OR {twice} AS odd,
            {_UNNAMED} AS unnamed
        FROM typed
    )
    {_select(parts, passed_ip, full_event)} FROM looked
    """


def of_usual(full_event: bool, members: Sequence[str]) -> str:
    """The same from `usual`, what the scanner made of lines (loader.scanner)."""
    named = {**SCALARS, **DATETIMES}
    same = ", ".join(field for field, name in named.items() if field == name)
    given = ", ".join(_of_call(field, f'"{field}"') + f" AS {name}" for field, name in named.items())

    def own(column: str) -> str:
        return f"""CASE WHEN call IN {_calls(TRAIT_CALLS)} THEN traits{column} ELSE properties{column} END
            AS props{column}, CASE WHEN call IN {_calls(USER_PROPERTY_CALLS)} THEN "userProperties{column}" END
            AS user_props{column}"""

    parts = "NULL::VARCHAR AS context, NULL::UBIGINT AS context_shape, props, user_props, props_shape, user_props_shape"
    parts += ", props_plain, user_props_plain" + "".join(f", {index(at)}" for at in range(len(members)))
    return f"""
    WITH fields AS (
        SELECT *, "type" AS call, NULL::BIGINT AS element, false AS suspect, NULL::VARCHAR AS fault, true AS is_event,
            NULL::VARCHAR AS default_sent_at, {OF_FILE}
        FROM usual
    ), typed AS (
        SELECT * EXCLUDE ({same}), {given}, {own("")}, {own("_shape")}, {own("_plain")} FROM fields
    ), looked AS (
        SELECT *, coalesce(own_received_at > latest, false) AS odd, {_UNNAMED} AS unnamed FROM typed
    )
    {_select(parts, "ip", full_event)} FROM looked
    """


def _times(given: Mapping[str, str]) -> tuple[str, str]:
    """SQL of the datetimes of an event from their texts, and of whether there is one that is none."""
    times = ", ".join(f"instant({sql}) AS {DATETIMES[field]}" for field, sql in given.items())
    bad = " OR ".join(f"(nullif({sql}, '') IS NOT NULL AND {DATETIMES[field]} IS NULL)" for field, sql in given.items())
    return times, bad


def _select(parts: str, passed_ip: str, full_event: bool) -> str:
    """SELECT of an `item` row, but for FROM."""
    return f"""
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
        {passed_ip} AS passed_ip, {parts}"""


def _calls(names: Sequence[str]) -> str:
    return "(" + ", ".join(map(literal, names)) + ")"


def _of_call(field: str, sql: str) -> str:
    """The expression, for the calls that the field belongs to; NULL for the others."""
    return f"CASE WHEN call IN {_calls(FIELDS_OF[field])} THEN {sql} END" if field in FIELDS_OF else sql
