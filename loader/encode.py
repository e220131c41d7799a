"""Rows as text, made by the engine: the SQL expression of a line of CSV or JSON, by the columns' types.

JSON: instants as `2026-03-01T10:00:00.000000Z`, timestamps without a zone alike but for the Z, NaN and infinities as
null, lists, structs and maps as they are, values of type JSON as JSON. CSV (RFC 4180): NULL is nothing and an empty
text `""`; instants as in JSON; lists, structs and maps as JSON.
"""

from collections.abc import Sequence

from duckdb.sqltypes import DuckDBPyType

from loader.db import literal, quote

_INSTANT = "timestamp with time zone"
_TIMESTAMPS = ("timestamp", "timestamp_s", "timestamp_ms", "timestamp_ns")
_NESTED = ("list", "array", "struct", "tuple", "map")
_BARE = "boolean tinyint smallint integer bigint hugeint utinyint usmallint uinteger ubigint uhugeint float double \
decimal date uuid".split()  # their text holds nothing that CSV must quote
NUMBERS = tuple(name for name in _BARE if name not in ("boolean", "date", "uuid"))


def json_line(names: Sequence[str], types: Sequence[DuckDBPyType]) -> str:
    """An expression that gives a row as a JSON object. The columns are `c0`, `c1`, … in the query around it."""
    members = []
    for at, (name, type_) in enumerate(zip(names, types, strict=True)):
        key = f"to_json({literal(name)})::VARCHAR || ':'"
        members.append(f"{key}, coalesce(to_json({_value(f'c{at}', type_)})::VARCHAR, 'null')")
    return "concat('{', " + ", ',', ".join(members) + ", '}')"


def csv_line(types: Sequence[DuckDBPyType]) -> str:
    """An expression that gives a row as a line of CSV. The columns are `c0`, `c1`, … in the query around it."""
    return "concat(" + ", ',', ".join(_field(f"c{at}", type_) for at, type_ in enumerate(types)) + ")"


def csv_header(names: Sequence[str]) -> str:
    """The first line of CSV."""
    special = ('"', ",", "\n", "\r")
    quoted = ('"' + name.replace('"', '""') + '"' if any(c in name for c in special) else name for name in names)
    return ",".join(quoted)


def _field(value: str, type_: DuckDBPyType) -> str:
    if type_.id in _BARE:
        return f"{value}::VARCHAR"
    if type_.id == _INSTANT or type_.id in _TIMESTAMPS:
        return _value(value, type_)
    text = f"to_json({_value(value, type_)})::VARCHAR" if type_.id in _NESTED else f"{value}::VARCHAR"
    return f"""CASE WHEN {text} = '' OR regexp_matches({text}, '[",\\r\\n]')
        THEN '"' || replace({text}, '"', '""') || '"' ELSE {text} END"""


def _value(value: str, type_: DuckDBPyType, depth: int = 0) -> str:
    """An expression whose `to_json` is what a value is to be; the value itself where nothing in it needs a change."""
    kind = type_.id
    if kind == _INSTANT:
        return f"CASE WHEN isfinite({value}) THEN strftime({value}, '%Y-%m-%dT%H:%M:%S.%fZ') ELSE {value}::VARCHAR END"
    if kind in _TIMESTAMPS:
        return f"CASE WHEN isfinite({value}) THEN strftime({value}, '%Y-%m-%dT%H:%M:%S.%f') ELSE {value}::VARCHAR END"
    if kind in ("float", "double"):
        return f"CASE WHEN isfinite({value}) THEN {value} END"
    if kind in ("union", "variant"):
        return f"{value}::VARCHAR"
    each = f"v{depth}"
    if kind in ("list", "array"):
        inner = _children(type_)[0][1]
        made = _value(each, inner, depth + 1)
        source = f"{value}::{inner}[]" if kind == "array" else value
        return value if made == each else f"list_transform({source}, lambda {each}: {made})"
    if kind == "map":
        made = _value(f"{each}.value", _children(type_)[1][1], depth + 1)
        pair = f"{{'key': {each}.key::VARCHAR, 'value': {made}}}"
        changed = f"map_from_entries(list_transform(map_entries({value}), lambda {each}: {pair}))"
        return value if made == f"{each}.value" else f"CASE WHEN {value} IS NOT NULL THEN {changed} END"
    if kind in ("struct", "tuple"):
        return _struct(value, type_, depth)
    return value


def _children(type_: DuckDBPyType) -> list[tuple[str, DuckDBPyType]]:
    return [(name, inner) for name, inner in type_.children if isinstance(inner, DuckDBPyType)]


def _struct(value: str, type_: DuckDBPyType, depth: int) -> str:
    children = _children(type_)
    if not all(name for name, _ in children):  # row(1, 2)
        parts = [f"struct_extract({value}, {at})" for at in range(1, len(children) + 1)]
        made = [_value(part, inner, depth) for part, (_, inner) in zip(parts, children, strict=True)]
        return f"CASE WHEN {value} IS NOT NULL THEN json_array({', '.join(made)}) END"
    parts = [f"struct_extract({value}, {literal(name)})" for name, _ in children]
    made = [_value(part, inner, depth) for part, (_, inner) in zip(parts, children, strict=True)]
    if made == parts:
        return value
    members = ", ".join(f"{quote(name)} := {part}" for (name, _), part in zip(children, made, strict=True))
    return f"CASE WHEN {value} IS NOT NULL THEN struct_pack({members}) END"
