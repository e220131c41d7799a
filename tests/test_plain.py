"""Objects whose values are all what their kind says, so that their shape tells of each what it is."""

import random
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from loader.db import connect
from loader.leaf_sql import PLAIN_CLASS
from tests import warehouses

PLAIN = [
    "{}",
    '{"a":"x","b":7,"c":-1.5,"d":true,"e":null,"f":["x",{"y":1}],"g":{"h":"7","i":{}}}',
    '{"a":12345678901234,"b":-12345678901234,"c":0.1,"d":-0}',
    '{"a":" 2024-05-06","b":"24-05-06","c":"x2024-05-06","d":"2024-5-6","e":"2024"}',
    '{"a":"1e22","b":"123456789012345","c":"NaN"}',
]
NOT_PLAIN = [
    '{"a":""}',
    '{"b":7,"a":{"b":""}}',
    '{"a":[]}',
    '{"a":[""]}',
    '{"a":[[]]}',
    '{"a":"2024-05-06"}',
    '{"a":"2024-05-06 07:08"}',
    r'{"a":"\u0032024-05-06T07:08:09Z"}',
    '{"a":123456789012345}',
    '{"x":"y","a":-1234567890123456789}',
    '{"a":9007199254740993}',
    '{"a":123456789012345678901234567890}',
    '{"a":1e22}',
    '{"a":{"b":-1.5e-7}}',
    '{"a":1E400}',
    '{"a":NaN}',
    '{"a":{"b":-Infinity}}',
    '{"a":nan}',
    '{"a":inf}',
]
SCALARS = (
    "null",
    "true",
    '""',
    '"x"',
    '"\\u0030001-01-01"',
    '"2024-02-29"',
    '"2024-02-30"',
    '"2024-02-29T1:2"',
    '"[]"',
)
NUMBERS = ("0", "-7", "1.50", "1e2", "1E-9", "-2.5e+20", "1e309", "NaN", "-inf", "4503599627370496.5")
ARRAYS = ("[]", '[""]', "[[]]", "[0]", '["x"]', "[null]", "[{}]", '[ "" ]', "[1e22]")


def written(connection: duckdb.DuckDBPyConnection, docs: list[str]) -> None:
    """Makes `doc` of these objects, as the engine writes the parts of an event."""
    connection.register("given", pa.table({"text": [f'{{"p":{doc}}}' for doc in docs]}))
    connection.execute("""
        CREATE TABLE doc AS SELECT json_transform(text, '{"p":"JSON"}').p::VARCHAR AS doc FROM given
    """)


@pytest.mark.parametrize(("docs", "plain"), [(PLAIN, True), (NOT_PLAIN, False)])
def test_what_is_plain(docs: list[str], plain: bool) -> None:
    with connect() as connection:
        written(connection, docs)
        wrong = connection.execute("SELECT doc FROM doc WHERE all_plain(doc) IS DISTINCT FROM $plain", {"plain": plain})
        assert wrong.fetchall() == []


def value(chance: random.Random, depth: int = 0) -> str:
    digits = "".join(chance.choice("0123456789") for _ in range(chance.randint(1, 20)))
    kinds = [chance.choice(SCALARS), chance.choice(NUMBERS), chance.choice(ARRAYS), digits.lstrip("0") or "0"]
    if depth < 3:
        members = [f'"{chance.choice("abcdef")}{at}":{value(chance, depth + 1)}' for at in range(chance.randint(0, 3))]
        kinds.append("{" + ",".join(members) + "}")
    return chance.choice(kinds)


@pytest.mark.parametrize("seed", range(3))
def test_their_kinds_tell_their_classes(seed: int) -> None:
    chance = random.Random(seed)
    docs = [f'{{"k":{value(chance)}}}' if at % 2 else f'{{"k":{{"l":{value(chance)}}}}}' for at in range(10_000)]
    with connect() as connection:
        written(connection, docs)
        rows = connection.execute("""
            SELECT doc, n.kind, class_of(json_extract_string(doc, n.fullkey), n.kind)
            FROM (SELECT doc, unnest(nodes_of(doc)) AS n FROM doc WHERE all_plain(doc))
            WHERE n.kind NOT IN ('NULL', 'OBJECT')
        """).fetchall()
    assert [row for row in rows if row[2] != PLAIN_CLASS[row[1]]] == []
    assert {kind for _, kind, _ in rows} == {*PLAIN_CLASS}
    assert len(rows) > 1_000


@pytest.mark.parametrize("value", ['{"x":1}', '"x"', "7", "[1]"])
def test_what_is_kept_as_json_is_told_by_no_kind(tmp_path: Path, value: str) -> None:
    lines = [
        f'{{"type":"track","event":"A","messageId":"m{at}","properties":{{"kept":{value},"n":{at}}}}}\n'
        for at in (1, 2)
    ]
    warehouses.load(tmp_path, {"f": "".join(lines).encode()}, json_paths=("track.properties.kept",))
    assert warehouses.query(tmp_path, "SELECT id, kept::VARCHAR, n FROM a ORDER BY id") == [
        ("m1", value, 1),
        ("m2", value, 2),
    ]
