"""Contexts read as columns: which ones are whole, that these hold every value, and that all others stay JSON.

The first lines of each load here are contexts like `USUAL`; then come those that are to be told from them.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import cycle, islice
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from loader import context, split
from loader.context import Structure
from loader.db import connect
from loader.records import LINES, FileRead, SourceFile
from tests import reference

USUAL = (
    '{"app":{"name":"Shop","build":7},"ip":"192.0.2.1","page":{"url":"/","size":{"w":1.5}},"wifi":true,'
    '"tags":["a",{"b":null}],"traits":{},"locale":"en"}'
)
FILE = SourceFile("/events.jsonl", 1, datetime(2024, 5, 10, 12, tzinfo=UTC), None)
STARTED = datetime(2024, 5, 11, tzinfo=UTC)


@dataclass(frozen=True)
class Read:
    """A context as it was read. cells: by path (`page.url`) kind and text of its values; None if not whole."""

    json: str | None
    cells: dict[str, tuple[str, str]] | None
    ip: str | None


def batch(contexts: Sequence[str], start: int) -> pa.RecordBatch:
    """Lines of pages with these contexts, the first one's number being start + 1."""
    rows = [
        {
            "file_id": 1,
            "ordinal": start + at,
            "line": start + at + 1,
            "text": f'{{"type":"page","messageId":"m{start + at}","context":{text}}}\n',
            "fault": None,
        }
        for at, text in enumerate(contexts)
    ]
    return pa.RecordBatch.from_pylist(rows, LINES)


def split_contexts(
    connection: duckdb.DuckDBPyConnection, contexts: Sequence[str], first: Sequence[str] = (USUAL,)
) -> Structure:
    """Splits lines of which as many as are looked at have the first contexts, one after the other, again and again."""
    sample = list(islice(cycle(first), split.SAMPLE_LINES))
    batches = [batch(sample, 0), batch(contexts, len(sample))]
    return split.split(connection, iter(batches), [FileRead(FILE, 1)], STARTED)


def read(contexts: Sequence[str], first: Sequence[str] = (USUAL,)) -> list[Read]:
    """How these contexts are read after the first lines."""
    with connect(threads=1) as connection:
        structure = split_contexts(connection, contexts, first)
        result = connection.execute(f"SELECT * FROM item WHERE line > {split.SAMPLE_LINES} ORDER BY line")
        names = [column for column, *_ in result.description]
        rows = [dict(zip(names, row, strict=True)) for row in result.fetchall()]
    assert len(rows) == len(contexts)
    return [Read(row["context"], cells(structure, row), row["passed_ip"]) for row in rows]


def cells(structure: Structure, row: dict[str, Any]) -> dict[str, tuple[str, str]] | None:
    """The values of a whole context; the bits of the masks say the same as its columns."""
    if row.get("mask0") is None:
        assert not any(row[leaf.column] is not None for leaf in structure.leaves)
        return None
    assert row["context"] is None
    for mask, leaves in structure.masks.items():
        assert row[mask] == sum(1 << bit for bit, leaf in enumerate(leaves) if row[leaf.column] is not None)
    return {
        ".".join(leaf.keys): (leaf.kind, row[leaf.column]) for leaf in structure.leaves if row[leaf.column] is not None
    }


def kind_of(value: reference.JSON) -> str:
    if isinstance(value, reference.Object):
        return "OBJECT" if any(inner is not None for _, inner in value.pairs) else "EMPTY"
    kinds: dict[type, str] = {bool: "BOOLEAN", str: "VARCHAR", reference.Number: "NUMBER", list: "ARRAY"}
    return kinds[type(value)]


def expected(structure: Structure, text: str) -> dict[str, tuple[str, str]] | None:
    """The values of a context if it is whole: has nothing but known paths, none twice, each of its kind."""
    known = {each.keys: each.kind for each in structure.leaves + structure.empties}
    objects = {keys[:end] for keys in known for end in range(len(keys))}
    found: dict[str, tuple[str, str]] = {}

    def walk(path: tuple[str, ...], value: reference.JSON) -> bool:
        if path in objects:
            if not isinstance(value, reference.Object):
                return False
            keys = [key for key, _ in value.pairs]
            again = [inner for at, (key, inner) in enumerate(value.pairs) if key in keys[:at]]
            inside = {key: inner for key, inner in value.first().items() if inner is not None}
            return not any(inner is not None for inner in again) and all(
                walk((*path, key), inner) for key, inner in inside.items()
            )
        if known.get(path) != kind_of(value) or (isinstance(value, str) and value.startswith("{")):
            return False
        if known[path] != "EMPTY":
            found[".".join(path)] = (known[path], reference.text_of(value))
        return True

    value = reference.parse(text)
    assert isinstance(value, reference.Object)
    return found if value.pairs and walk((), value) else None


def structure_of(*first: str) -> Structure:
    """What is learnt from these contexts."""
    with connect(threads=1) as connection:
        return split_contexts(connection, (), first)


def kinds(structure: Structure) -> dict[str, str]:
    return {".".join(each.keys): each.kind for each in structure.leaves + structure.empties}


def test_what_is_learnt() -> None:
    found = structure_of(USUAL)
    assert kinds(found) == {
        "app.name": "VARCHAR",
        "app.build": "NUMBER",
        "ip": "VARCHAR",
        "page.url": "VARCHAR",
        "page.size.w": "NUMBER",
        "wifi": "BOOLEAN",
        "tags": "ARRAY",
        "traits": "EMPTY",
        "locale": "VARCHAR",
    }
    assert [leaf.kind for leaf in found.leaves[:4]] == ["VARCHAR"] * 4
    assert [known.keys for known in found.empties] == [("traits",)]


def test_the_most_common_kind_of_a_path_is_learnt() -> None:
    found = structure_of('{"a":1,"o":{"b":"x"}}', '{"a":"","o":{"b":"y"}}', '{"a":2.5,"o":"text"}', '{"a":null,"o":{}}')
    assert kinds(found) == {"a": "NUMBER", "o.b": "VARCHAR"}


@pytest.mark.parametrize("first", ["null", '"x"', "[]", "{}", '{"a":null}', '{"traits":{}}', '{"":"x"}'])
def test_nothing_is_learnt(first: str) -> None:
    assert structure_of(first) == Structure()
    texts = [USUAL, '{"traits":{}}', '{"ip":7}']
    assert read(texts, (first,)) == [
        Read(USUAL, None, "192.0.2.1"),
        Read(texts[1], None, None),
        Read(texts[2], None, "7"),
    ]


def test_rare_paths_are_not_learnt() -> None:
    often = ['{"a":1}'] * (split.SAMPLE_LINES - 1)
    assert kinds(structure_of(*often, '{"rare":1}')) == {"a": "NUMBER", "rare": "NUMBER"}  # 1 of 2000 is not yet rare
    rare = int(split.SAMPLE_LINES * 2)
    assert rare * context.MIN_SHARE > 1
    batches = [batch(['{"a":1}'] * (rare - 1) + ['{"rare":1}'], 0)]
    with connect(threads=1) as connection:
        assert kinds(split.split(connection, iter(batches), [FileRead(FILE, 1)], STARTED)) == {"a": "NUMBER"}


# What would be taken for whole without one of the conditions of the proof, by that condition.
NOT_WHOLE = {
    "it has a node": ["{}", '{"x":5}'],
    "no other node": [
        '{"ip":"192.0.2.1","x":1}',
        '{"ip":"192.0.2.1","x":[]}',
        '{"page":{"size":{"h":true}}}',
        '{"IP":true}',
    ],
    "no key twice": [
        '{"wifi":true,"wifi":false}',
        '{"wifi":null,"wifi":true}',
        '{"app":{"build":1,"build":1}}',
        '{"app":{"build":1},"app":{"build":1}}',
        '{"tags":[1],"tags":[]}',
    ],
    "objects are objects": ['{"page":5}', '{"page":[]}', '{"page":{"size":true}}', '{"traits":1}', '{"traits":[]}'],
    "texts are texts": ['{"ip":5}', '{"ip":true,"locale":"x"}', '{"page":{"url":[]}}'],
    "a text is no object": [
        '{"page":"x","locale":{}}',
        '{"page":"x","locale":{"a":null}}',
        '{"page":"x","locale":{"a":null,"a":null}}',
        '{"page":{"size":"x","url":{}}}',
        '{"traits":"x","locale":{}}',
        '{"locale":"{}"}',
    ],
    "numbers are numbers": [
        '{"app":{"build":true}}',
        '{"ip":5,"app":{"build":"7"}}',
        '{"ip":[],"app":{"build":""}}',
        '{"app":{"build":[]}}',
        '{"page":5,"app":{"build":{}}}',
    ],
    "booleans are booleans": ['{"wifi":1}', '{"ip":5,"wifi":"true"}', '{"wifi":[]}', '{"page":5,"wifi":{}}'],
    "arrays are arrays": ['{"tags":1}', '{"ip":5,"tags":"[]"}', '{"page":5,"tags":{}}', '{"page":5,"tags":{"a":null}}'],
}


@pytest.mark.parametrize("condition", NOT_WHOLE)
def test_a_context_that_is_not_whole_stays_json(condition: str) -> None:
    texts = NOT_WHOLE[condition]
    assert [(each.json, each.cells) for each in read(texts)] == [(text, None) for text in texts]


WHOLE: dict[str, dict[str, tuple[str, str]]] = {
    '{"ip":null}': {},
    '{"x":null,"page":{"y":null},"app":{}}': {},
    '{"ip":"x","ip":null}': {"ip": ("VARCHAR", "x")},
    '{"locale":"","ip":"[]"}': {"locale": ("VARCHAR", ""), "ip": ("VARCHAR", "[]")},
    '{"traits":{"a":null},"wifi":false}': {"wifi": ("BOOLEAN", "false")},
    '{"tags":[ "x" , [],{}, {"a":{"b":"c"},"a":1},null,true]}': {
        "tags": ("ARRAY", '["x",[],{},{"a":{"b":"c"},"a":1},null,true]')
    },
    '{"tags":[]}': {"tags": ("ARRAY", "[]")},
    '{"locale":"\\u0000é\\ud83d\\ude00\\""}': {"locale": ("VARCHAR", '\x00é😀"')},
    **{
        f'{{"app":{{"build":{number}}}}}': {"app.build": ("NUMBER", text)}
        for number, text in {
            "-0": "0",
            "-1": "-1",
            "1E2": "100.0",
            "1.10": "1.1",
            "1e22": "1e22",
            "1e-7": "1e-7",
            "-1.5e300": "-1.5e300",
            "18446744073709551616": "18446744073709551616",
            "1e999": "1e999",
            "-1e999": "-1e999",
        }.items()
    },
}


def test_a_whole_context_is_columns() -> None:
    assert [each.cells for each in read(list(WHOLE))] == list(WHOLE.values())


@pytest.mark.parametrize("number", ["NaN", "-NaN", "nan", "Infinity", "-Infinity", "-inf"])
def test_what_is_no_number_is_not_read_as_one(number: str) -> None:
    assert read([f'{{"app":{{"build":{number}}}}}'])[0].cells is None


@pytest.mark.parametrize("text", ["null", '"x"', "5", "[1]", "true"])
def test_a_context_that_is_no_object_is_odd(text: str) -> None:
    with connect(threads=1) as connection:
        split_contexts(connection, [text, USUAL])
        rows = connection.execute(f"SELECT odd, context, mask0 IS NULL FROM item WHERE line > {split.SAMPLE_LINES}")
        assert rows.fetchall() == [(text != "null", None, True), (False, None, False)]


def test_the_first_of_two_contexts_is_read() -> None:
    event = '{{"type":"page","messageId":"m","context":{},"context":{}}}'
    pairs = [('{"ip":"a"}', '{"ip":"b"}'), ('{"ip":"a"}', "null"), ("null", '{"ip":"a"}'), ('{"ip":"a"}', '{"wifi":1}')]
    rows = batch([USUAL] * split.SAMPLE_LINES, 0).to_pylist()
    rows += [{**rows[0], "ordinal": 9999 + at, "text": event.format(*pair)} for at, pair in enumerate(pairs)]
    with connect(threads=1) as connection:
        lines = iter([pa.RecordBatch.from_pylist(rows, LINES)])
        structure = split.split(connection, lines, [FileRead(FILE, 1)], STARTED)
        column = next(leaf.column for leaf in structure.leaves if leaf.keys == ("ip",))
        found = connection.execute(f"SELECT {column}, odd FROM item WHERE id = 'm' ORDER BY pos").fetchall()
    assert found == [("a", True), ("a", True), (None, True), ("a", True)]


def test_elements_of_a_batch_stay_json() -> None:
    envelope = '{"batch":[{"type":"page","messageId":"e","context":{"ip":"x"}}]}'
    rows = [*batch([USUAL] * split.SAMPLE_LINES, 0).to_pylist()]
    rows.append({**rows[0], "ordinal": 9999, "text": envelope})
    with connect(threads=1) as connection:
        split.split(connection, iter([pa.RecordBatch.from_pylist(rows, LINES)]), [FileRead(FILE, 1)], STARTED)
        found = connection.execute("SELECT context, mask0, passed_ip FROM item WHERE id = 'e'").fetchall()
    assert found == [('{"ip":"x"}', None, "x")]


IPS = ['"x"', "5", "1.50", "true", '""', "null", "[]", '["x"]', "{}", '{"a":1}']


@pytest.mark.parametrize(
    "first", ['{"ip":"192.0.2.1"}', '{"ip":5,"a":1}', '{"ip":true}', '{"ip":["x"],"a":1}', '{"ip":{"a":1}}']
)
def test_the_ip_is_the_same_whole_or_not(first: str) -> None:
    ips = [each.ip for each in read([f'{{"ip":{ip}}}' for ip in IPS], (first,))]
    assert ips == ["x", "5", "1.5", "true", None, None, None, None, None, None]


def test_strange_keys() -> None:
    text = (
        '{"q\\"u":"a","b\\\\s":{"a.b":1,"s/l":"b","t~d":"c"},"[0]":"d","*":"e","0":"f","x\\ny":"g","$":"h","é":true,'
        '"\\u0000":"i","type":"j","c0":"k","mask0":"l","whole":"m","Ab":"n"}'
    )
    structure = structure_of(text)
    found, other = read([text, '{"ab":"n"}'], (text,))
    assert found.cells == expected(structure, text)
    assert len(found.cells or ()) == 16
    assert other.cells is None


def test_keys_that_differ_in_case_are_not_both_known() -> None:
    text = '{"ab":"x","aB":"y"}'
    assert len(structure_of(text).leaves) == 1
    assert [each.cells is None for each in read([text, '{"ab":"x"}', '{"aB":"y"}'], (text,))].count(False) == 1


@pytest.mark.parametrize(("depth", "known"), [(31, 1), (32, 1), (33, 0), (400, 0)])
def test_deep_paths(depth: int, known: int) -> None:
    text = '{"a":' * depth + '"x"' + "}" * depth
    assert len(structure_of(text).leaves) == known
    assert [each.cells is None for each in read([text], (text,))] == [not known]


@pytest.mark.parametrize(
    ("depth", "known"), [(0, context.MAX_NODES), (7, context.MAX_NODES // 8), (30, context.MAX_NODES // 31)]
)
def test_no_more_nodes_than_the_limit(depth: int, known: int) -> None:
    """Many different contexts: together they have more nodes than one event may have, and than one query may name."""
    texts = [f'{{"k{at}":' + '{"a":' * depth + '"x"' + "}" * (depth + 1) for at in range(400)]
    structure = structure_of(*texts)
    assert len(structure.leaves) == known
    found = read(texts, texts)
    assert sum(each.cells is not None for each in found) == known
    assert all(each.cells == expected(structure, text) for each, text in zip(found, texts, strict=True))


def test_shapes_tell_what_is_there() -> None:
    """Also where there are more leaves than one mask has bits, and numbers of two kinds."""
    values = ['"x"', "1", "true", "[1]", "2.5"]
    texts = [
        "{" + ",".join(f'"k{key}":{values[key % 5 if key % 3 else 1]}' for key in range(at % 7, 130, 1 + at % 4)) + "}"
        for at in range(40)
    ]
    with connect(threads=1) as connection:
        structure = split_contexts(connection, texts, texts)
        context.describe(connection, structure)
        shapes = connection.execute(f"""
            SELECT list_sort(list(substr(fullkey, 3))) FROM item JOIN known_node ON shape = context_shape
            WHERE line > {split.SAMPLE_LINES} GROUP BY pos ORDER BY pos
        """).fetchall()
        kinds_ = dict(connection.execute("SELECT fullkey, kind FROM known_leaf").fetchall())
    assert len(structure.masks) == 3
    assert [keys for (keys,) in shapes] == [sorted(json.loads(text)) for text in texts]
    assert {kinds_[f"$.k{key}"] for key in (0, 3, 6)} == {"BIGINT"}
    assert [kinds_[f"$.k{key}"] for key in (5, 1, 2, 4, 8)] == ["VARCHAR", "BIGINT", "BOOLEAN", "DOUBLE", "ARRAY"]


def test_numbers_of_two_kinds() -> None:
    with connect(threads=1) as connection:
        structure = split_contexts(
            connection, ['{"a":1,"b":1,"c":1.5}', '{"a":2,"b":1e3,"c":2.5}'], ['{"a":1,"b":2,"c":null}', '{"c":0.5}']
        )
        context.describe(connection, structure)
        found = connection.execute("SELECT fullkey, kind FROM known_leaf").fetchall()
        assert dict(found) == {"$.a": "BIGINT", "$.b": "NUMBER", "$.c": "DOUBLE"}
        assert connection.execute("SELECT DISTINCT kind FROM known_node WHERE fullkey = '$.b'").fetchall() == [
            ("NUMBER",)
        ]
