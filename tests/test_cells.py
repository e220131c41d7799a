"""Which objects cells are taken out of, with any keys, wherever they are in memory, and which are left."""

import json
import random
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from loader.cells import Paths

LEFT = object()  # in place of the cells of an object that is left
TYPES = ("BIGINT", "DOUBLE", "BOOLEAN", "VARCHAR", "JSON")
Wanted = Mapping[str, tuple[tuple[str, ...], str]]


def is_json(text: str) -> bool:
    try:
        json.loads(text, parse_constant=float.fromhex)  # which takes no NaN for a hexadecimal
    except ValueError:
        return False
    return True


def array(objects: Sequence[str | None], before: int = 0, behind: int = 0) -> pa.Array:
    """The objects in memory of just their size. before: rows of another text that are cut off in front; behind: bytes
    that the memory has after the last one."""
    texts = ['{"a":"of another row"}'] * before + [text or "" for text in objects]
    data = [text.encode() for text in texts]
    offsets = np.cumsum([0, *map(len, data)])
    there = np.array([True] * before + [text is not None for text in objects], bool)
    valid = np.packbits(there, bitorder="little")
    memory = np.frombuffer(b"".join(data) + b"}" * behind, np.uint8).copy()
    buffers = [pa.py_buffer(each) for each in (offsets, memory, valid)]
    return pa.LargeStringArray.from_buffers(len(texts), *buffers)[before:]


def take(paths: Paths, objects: pa.Array) -> list[Any]:
    """By object, its cells, where there are some; or LEFT. All arrays are good ones."""
    taken, cells = paths.take(objects)
    for each in cells.values():
        each.validate(full=True)
    columns = {name: each.to_pylist() for name, each in cells.items()}
    rows: list[Any] = []
    for at, done in enumerate(taken.tolist()):
        row = {name: column[at] for name, column in columns.items() if column[at] is not None}
        assert done or not row  # of those that are left there are none
        rows.append(row if done else LEFT)
    return rows


def taken(wanted: Wanted, *objects: str | None) -> list[Any]:
    return take(Paths(wanted), array(objects))


# --- an object --------------------------------------------------------------------------------------------------------

A = {"a": (("a",), "BIGINT")}


def test_what_is_no_object_is_left() -> None:
    assert taken(A, "[]", '""', "1", "null", "", "[1]", "{}") == [*[LEFT] * 6, {}]


def test_no_object_has_no_cells() -> None:
    assert taken(A, None, '{"a":1}', None) == [{}, {"a": 1}, {}]
    assert taken({"a": (("a",), "VARCHAR")}, None) == [{}]
    assert [len(each) for each in Paths(A).take(pa.array([], pa.large_string()))[1].values()] == [0]


def test_what_is_in_memory_of_no_object_makes_no_cells() -> None:
    rows = array(['{"a":1}'] * 3)
    valid = pa.py_buffer(b"\5")
    rows = pa.LargeStringArray.from_buffers(3, *rows.buffers()[1:], valid)
    assert take(Paths(A), rows) == [{"a": 1}, {}, {"a": 1}]


def test_cells_of_a_row_that_is_left_are_no_longer_there() -> None:
    wanted = {**A, **{type_: ((type_,), type_) for type_ in TYPES}}
    full = '"BIGINT":5,"DOUBLE":2.5,"BOOLEAN":true,"VARCHAR":"a text \\n that is long","JSON":[1, 2, 3, 4, 5, 6]'
    rows = taken(wanted, f'{{{full},"a":1}}', f'{{{full},"a":-0}}', f'{{{full},"a":1.5}}', f"{{{full}}}")
    cells = {"BIGINT": 5, "DOUBLE": 2.5, "BOOLEAN": True, "VARCHAR": "a text \n that is long"}
    cells["JSON"] = "[1, 2, 3, 4, 5, 6]"
    assert rows == [cells | {"a": 1}, LEFT, LEFT, cells]


@pytest.mark.parametrize("value", ['"\\u0000"', "1e5", "-0", "[1e5]", '{"a":"\\ud800"}', "[" * 61 + "]" * 61])
def test_an_object_with_anything_else_that_is_not_plain_is_left(value: str) -> None:
    assert taken(A, f'{{"a":1,"b":{value}}}', f'{{"b":{value},"a":1}}') == [LEFT, LEFT]


def test_blanks() -> None:
    wanted = {**A, "b": (("b", "c"), "VARCHAR"), "d": (("d",), "JSON")}
    tight = '{"a":1,"b":{"c":"x"},"d":[1]}'
    spaced = tight.replace("[1]", "[ 1 ]")
    for token in ("{", "}", ":", ","):
        spaced = spaced.replace(token, f" \t\r{token}\r\t ")
    rows = [{"a": 1, "b": "x", "d": "[1]"}, {"a": 1, "b": "x", "d": "[ 1 ]"}]
    assert taken(wanted, tight, spaced, tight) == [rows[0], rows[1], rows[0]]
    assert taken(wanted, "{}", "{ }", "  {}", "{}  ", '{"b":{ }}') == [{}] * 5


# --- keys -------------------------------------------------------------------------------------------------------------


def test_a_key_that_is_written_with_backslashes_leaves_the_object() -> None:
    keys = ["a", 'q"q', "b\\b", "n\nn"]
    wanted = {key: ((key,), "BIGINT") for key in keys}
    assert taken(wanted, r'{"\u0061":1}', r'{"q\"q":1}', r'{"b\\b":1}', r'{"n\nn":1}', r'{"x\n":1}') == [LEFT] * 5


def test_a_wanted_key_that_looks_like_more_than_one() -> None:
    """It is never taken for what comes after another, or for the text as it is written."""
    wanted = {
        "both": (('a":1,"b',), "BIGINT"),
        "a": (("a",), "BIGINT"),
        "b": (("b",), "BIGINT"),
        "x": (("x",), "BIGINT"),
    }
    rows = taken(wanted, r'{"x":1,"a\":1,\"b":2}', '{"x":1,"a":1,"b":2}', r'{"a\":1,\"b":2}', '{"a":1,"b":2}')
    assert rows == [LEFT, {"x": 1, "a": 1, "b": 2}, LEFT, {"a": 1, "b": 2}]


def test_keys_of_all_sorts() -> None:
    keys = ["", "a", "A", "ab", "a.b", "/", "~", "$", "[0]", "0", "é", "日本語", "k" * 300, "k" * 301, " a", "a "]
    wanted = {f"c{at}": ((key,), "BIGINT") for at, key in enumerate(keys)}
    one = "{" + ",".join(f'"{key}":{at}' for at, key in enumerate(keys)) + "}"
    expected = {f"c{at}": at for at in range(len(keys))}
    assert taken(wanted, one, one) == [expected, expected]
    assert taken(wanted, *(f'{{"{key}":1}}' for key in keys)) == [{name: 1} for name in wanted]


def test_keys_in_any_order_and_others_among_them() -> None:
    """Whatever came after a key in the object before."""
    chance = random.Random(2)
    keys = ["a", "ab", "abc", "b", "", "x", "c"]
    wanted = {f"c_{key}": ((key,), "BIGINT") for key in keys if key != "x"}
    objects, expected = [], []
    for _ in range(300):
        mine = {key: chance.randrange(100) for key in chance.sample(keys, chance.randint(0, len(keys)))}
        objects.append("{" + ",".join(f'"{key}":{value}' for key, value in mine.items()) + "}")
        expected.append({f"c_{key}": value for key, value in mine.items() if key != "x"})
    assert taken(wanted, *objects) == expected


def test_many_keys() -> None:
    wanted = {f"{outer}_{key}": ((f"o{outer}", f"k{key}"), "BIGINT") for outer in range(3) for key in range(500)}
    inner = ",".join(f'"k{key}":{key}' for key in range(499, -1, -1))
    full = "{" + ",".join(f'"o{outer}":{{{inner}}}' for outer in range(3)) + "}"
    assert taken(wanted, full, '{"o1":{"k7":1}}') == [{name: int(name[2:]) for name in wanted}, {"1_7": 1}]


def test_the_same_key_in_other_objects() -> None:
    wanted = {"_".join(keys): (keys, "BIGINT") for keys in [("a",), ("b", "a"), ("c", "a", "a"), ("b", "c", "a")]}
    full = '{"b":{"a":2,"x":{"a":9},"c":{"a":4}},"c":{"a":{"a":3},"c":{"a":9}},"x":{"a":9},"a":1}'
    expected = {"b_a": 2, "b_c_a": 4, "c_a_a": 3, "a": 1}
    assert taken(wanted, full, '{"b":{"c":{}}}', full) == [expected, {}, expected]


def test_a_key_with_a_value_twice_leaves_the_object() -> None:
    wanted = {**A, "c": (("b", "c"), "JSON")}
    objects = ['{"a":1,"a":2}', '{"a":1,"x":1,"a":1}', '{"b":{"c":1,"c":2}}', '{"x":1,"x":2,"b":{"x":1,"x":2}}']
    assert taken(wanted, *objects) == [LEFT, LEFT, LEFT, {}]


# --- objects in objects -----------------------------------------------------------------------------------------------


def test_a_path_with_paths_below_it() -> None:
    wanted = {"a": (("a",), "JSON"), "b": (("a", "b"), "BIGINT"), "c": (("a", "b", "c"), "VARCHAR")}
    objects = ['{"a":{"b":1}}', '{"a":"x"}', '{"a":[{"b":1}]}', '{"a":{"b":null},"b":5}', '{"a":{"b":{"c":"x"}}}']
    assert taken(wanted, *objects) == [
        {"a": '{"b":1}', "b": 1},
        {"a": '"x"'},
        {"a": '[{"b":1}]'},
        {"a": '{"b":null}'},
        LEFT,  # `b` is an object, and no integer
    ]


@pytest.mark.parametrize("levels", [1, 30, 59, 60, 61, 62, 63, 100])
def test_a_path_of_many_keys(levels: int) -> None:
    """It is found, or the object is left."""
    wanted = {"deep": (("a",) * levels, "BIGINT")}
    found = taken(wanted, '{"a":' * levels + "1" + "}" * levels)
    assert found == [{"deep": 1} if levels <= 61 else LEFT]


@pytest.mark.parametrize("levels", [60, 61, 3000])
def test_a_value_that_nests_deeply_is_left(levels: int) -> None:
    found = [LEFT if levels > 60 else {"b": 1}] * 2
    nested = "[" * levels + "]" * levels, '{"a":' * levels + "1" + "}" * levels
    assert taken({"b": (("b",), "BIGINT")}, *(f'{{"x":{text},"b":1}}' for text in nested)) == found


# --- where the objects are --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("before", [0, 1, 7, 8, 9])
@pytest.mark.parametrize("behind", [0, 1, 15, 16, 17, 100])
def test_rows_amid_others(before: int, behind: int) -> None:
    texts = ["", "short", "exactly12byt", "exactly13byte", "longer than a view\n", *map(str, range(20))]
    objects = [None if at % 5 == 4 else f'{{"a":"{text}"}}'.replace("\n", "\\n") for at, text in enumerate(texts)]
    expected = [{"a": text} if text and at % 5 < 4 else {} for at, text in enumerate(texts)]
    paths = Paths({"a": (("a",), "VARCHAR")})
    rows = array(objects, before, behind)
    assert take(paths, rows) == expected
    for start, size in ((1, 3), (3, 9), (4, 1), (24, 1), (25, 0)):
        assert take(paths, rows[start : start + size]) == expected[start : start + size]


def test_each_object_ends_where_it_ends() -> None:
    """Also where the next begins like more of it."""
    assert taken(A, '{"a":1}', " ", '{"a":2} ', ' {"a":3}') == [{"a": 1}, LEFT, {"a": 2}, {"a": 3}]
    assert taken({"a": (("a",), "JSON")}, '{"a":"a long text, inside"}', "{}") == [{"a": '"a long text, inside"'}, {}]


def test_texts_far_away_are_left() -> None:
    """A view has 31 bits for a place."""
    text = b'{"a":"a text that is long","b":"short"}'
    data = np.zeros(2**31 + 1000, np.uint8)  # of which nearly nothing is touched
    last = 2**31 - 1 - text.index(b"a text")
    paths = Paths({"a": (("a",), "VARCHAR"), "b": (("b",), "VARCHAR")})
    both = {"a": "a text that is long", "b": "short"}
    for start, expected in ((last, both), (last + 1, LEFT), (2**31 + 100, LEFT)):
        data[start : start + len(text)] = np.frombuffer(text, np.uint8)
        offsets = pa.py_buffer(np.array([start, start + len(text)]))
        rows = pa.LargeStringArray.from_buffers(1, offsets, pa.py_buffer(data))
        assert take(paths, rows) == [expected]
    assert take(Paths({"b": (("b",), "VARCHAR")}), rows) == [{"b": "short"}]
