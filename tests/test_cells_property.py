"""The cells taken out of any objects are those that the engine makes; of whole loads, too; and no other memory is
touched."""

import json
import os
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from loader.calls import PROPERTIES
from loader.cells import Paths
from loader.db import connect
from loader.leaf_sql import Values, cell_of, is_plain, taken_as
from loader.plan import kinds_by_path
from loader.records import COLUMN, Leaf, Usage
from tests import event_lines
from tests.test_cell_values import ARROW
from tests.test_cells import LEFT, array, is_json, take
from tests.test_scanner_property import needs_compiler, same_warehouses, sanitized

TYPES = ("BIGINT", "DOUBLE", "double_new", "BOOLEAN", "VARCHAR", "TIMESTAMPTZ", "JSON", "kept")
KEYS = ["a", "b", "c"] * 4 + ["A", "ab", "", "a.b", "é", "/~", "k" * 50]
ODD_KEYS = ['q"q', "b\\b", 'a":1,"b', "n\n"]


def decimal(whole: int, fraction: str) -> str:
    return f"{whole}.{fraction}"


texts = st.sampled_from(event_lines.TEXTS)
strings = st.one_of(
    texts.map(lambda text: json.dumps(text, ensure_ascii=False)),
    texts.map(json.dumps),
    st.sampled_from([f'"{text}"' for text in event_lines.ESCAPES]),
    st.text(max_size=14).map(lambda text: json.dumps(text, ensure_ascii=False)),
)
datetimes = st.builds(
    '"2024-{:02}-{:02}{}"'.format,
    *(st.integers(1, 12), st.integers(1, 31)),
    st.sampled_from(["", "T07:08:09.010Z", "T07:08:09+05:30", " 07:08", "T07:08:09.1234567Z", "T24:00", "x"]),
)
integers = st.one_of(st.integers(-99, 99), st.integers(-(2**53), 2**53), st.integers(-(10**18), 10**18)).map(str)
decimals = st.one_of(
    st.floats(-1e9, 1e9).map(lambda number: decimal(int(number), repr(number % 1).partition(".")[2] or "0")),
    st.builds(decimal, st.integers(-(10**17), 10**17), st.text("0123456789", min_size=1, max_size=19)),
).filter(is_json)
odd = st.sampled_from([number for number in (*event_lines.NUMBERS, *event_lines.ODD_NUMBERS) if is_json(number)])
booleans = st.sampled_from(["true", "false"])
scalars = st.one_of(strings, strings, integers, decimals, booleans, st.just("null"))
blanks = st.sampled_from(["", "", "", "", " ", "\t\r "])
Tree = dict[str, Any]


@st.composite
def lists(draw: st.DrawFn, values: st.SearchStrategy[str]) -> str:
    return "[" + f",{draw(blanks)}".join(draw(st.lists(values, max_size=3))) + draw(blanks) + "]"


def of_pairs(pairs: Iterable[tuple[str, str]], blank: str) -> str:
    inner = ",".join(f"{blank}{json.dumps(key, ensure_ascii=False)}:{blank}{value}{blank}" for key, value in pairs)
    return "{" + (inner or blank) + "}"


def inner_objects(values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.builds(of_pairs, st.dictionaries(st.sampled_from(KEYS), values, max_size=3).map(dict.items), blanks)


values = st.recursive(scalars, lambda inner: st.one_of(inner_objects(inner), lists(inner)), max_leaves=5)
# By a path, mostly of this kind, and wanted in this type.
KINDS = [
    *((strings, "VARCHAR"), (integers, "BIGINT"), (integers, "VARCHAR"), (decimals, "DOUBLE")),
    *((st.one_of(integers, decimals), "double_new"), (booleans, "BOOLEAN"), (booleans, "VARCHAR")),
    *((datetimes, "TIMESTAMPTZ"), (datetimes, "VARCHAR"), (lists(scalars), "JSON"), (lists(scalars), "VARCHAR")),
    *((values, "VARCHAR"), (values, "kept")),
]
ways = st.lists(st.sampled_from(KEYS), min_size=1, max_size=3).map(tuple)


@st.composite
def objects(draw: st.DrawFn, kinds: Mapping[tuple[str, ...], int]) -> str:
    """JSON text, in which no key is twice, with values at most of these paths."""
    tree: Tree = {}
    for keys in draw(st.permutations([*kinds])):
        what = draw(st.sampled_from([KINDS[kinds[keys]][0]] * 20 + [values, st.just("null"), odd]))
        plant(tree, keys, draw(what))
    if draw(st.integers(0, 9)) == 9:
        tree[draw(st.sampled_from(KEYS + ODD_KEYS))] = draw(values)
    return written(tree, draw(blanks))


def plant(tree: Tree, keys: Sequence[str], value: str) -> None:
    for key in keys[:-1]:
        if not isinstance(tree.setdefault(key, {}), dict):
            return
        tree = tree[key]
    tree[keys[-1]] = value


def written(tree: Tree, blank: str) -> str:
    return of_pairs([(key, written(at, blank) if isinstance(at, dict) else at) for key, at in tree.items()], blank)


@st.composite
def examples(draw: st.DrawFn) -> tuple[list[str | None], dict[tuple[str, ...], str]]:
    """Objects, and which paths of theirs are wanted in which type."""
    kinds = draw(st.dictionaries(ways, st.integers(0, len(KINDS) - 1), min_size=1, max_size=5))
    rows = draw(st.lists(st.one_of(objects(kinds), objects(kinds), objects(kinds), st.none()), min_size=1, max_size=9))
    types = {keys: draw(st.sampled_from([KINDS[kind][1]] * 9 + [*TYPES])) for keys, kind in kinds.items()}
    return rows, {draw(ways): draw(st.sampled_from(TYPES)), **types}


@pytest.fixture(scope="module")
def engine() -> Iterator[duckdb.DuckDBPyConnection]:
    with connect(threads=1) as connection:
        yield connection


def leaves_of(engine: duckdb.DuckDBPyConnection, paths: Sequence[tuple[str, ...]]) -> list[Leaf]:
    """The leaves of `run` at these paths as a load has them: with the kind of all values, and whether all are plain."""
    leaves = [Leaf(at, PROPERTIES, keys, None, "", COLUMN, (0, ()), False, True, 0, 1) for at, keys in enumerate(paths)]
    values = Values(leaves, "run")
    found = []
    for leaf in leaves:
        counts = engine.execute(f"""
            SELECT {values.kind(leaf)} AS kind, {values.class_of(leaf)} AS class, count(*)
            FROM {values.source} GROUP BY ALL
        """).fetchall()
        kinds = {kind: 1 for kind, _, _ in counts if kind not in (None, "NULL")}
        kind = kinds_by_path([Usage(leaf.path, "props", leaf.keys, kinds, 0)])[leaf.path]
        classes = {name: count for _, name, count in counts if name}
        found.append(replace(leaf, kind=kind, plain=is_plain(replace(leaf, kind=kind), classes)))
    return found


def cells_of(engine: duckdb.DuckDBPyConnection, table: pa.Table, cells: Sequence[str], source: str) -> list[list[str]]:
    """By row, the cells that the engine makes, as they are written in Python: 0.0 is not -0.0."""
    engine.register("run", table)
    found = engine.execute(f"SELECT [{', '.join(f'({cell})::VARCHAR' for cell in cells)}] FROM {source} ORDER BY pos")
    return [row for (row,) in found.fetchall()]


@settings(
    max_examples=int(os.environ.get("LOADER_EXAMPLES", "100")),
    suppress_health_check=list(HealthCheck),
    deadline=None,
    print_blob=True,
)
@given(examples(), st.integers(0, 9), st.integers(0, 20))
def test_cells_are_those_of_the_engine(
    engine: duckdb.DuckDBPyConnection,
    example: tuple[list[str | None], dict[tuple[str, ...], str]],
    before: int,
    behind: int,
) -> None:
    rows, wanted = example
    objects = array(rows, before, behind)
    run = pa.table({"pos": range(len(rows)), "props": objects})
    engine.register("run", run)
    cells = [*zip(leaves_of(engine, [*wanted]), wanted.values(), strict=True)]
    values = Values((), "run", cells=cells)
    theirs = cells_of(engine, run, [values.cell(*cell) for cell in cells], values.source)
    paths, made = {}, []
    for leaf, type_ in cells:
        what, name = taken_as(leaf, type_), f"c{leaf.path}"
        paths[name] = leaf.keys, what or "JSON"
        made.append(name if what else cell_of(name, leaf, type_))
    taken, found = Paths(paths).take(objects)
    ours = cells_of(engine, pa.table({"pos": range(len(rows)), **found}), made, "run")
    for row, done, mine, other in zip(rows, taken.tolist(), ours, theirs, strict=True):
        assert mine == other if done else not any(mine), row


# --- whole loads ------------------------------------------------------------------------------------------------------

KEPT = ("track.properties.kept", "track.properties.of.kept", "track.userProperties.kept", "identify.traits.kept")


class Events:
    """Makes lines of events whose properties have the same keys with values of the same kind, but for a few."""

    def __init__(self, seed: int):
        self.chance = random.Random(seed)

    def one_of(self, *texts: str, odd: Sequence[str] = ("null",)) -> str:
        return self.chance.choice(odd if self.chance.random() < 0.02 else texts)

    def values(self) -> dict[str, str]:
        number, chance = self.chance.randrange(10**6), self.chance
        text = "x" * chance.randint(1, 20)
        anything = self.one_of("1", "-2.50", "true", '"x"', '""', "[]", "[1, 2]", "{}", '{"x" : 1}', '{"x":[{}]}')
        of = [
            ("n", self.one_of(str(number), odd=["-0", "1e3"])),
            ("kept", anything),
            ("text", self.one_of(f'"{text}"')),
        ]
        return {
            "n": self.one_of(str(number), str(-number), odd=["null", str(2**60), str(2**70)]),
            "price": self.one_of(f"{number / 100}", f"-0.{number:017}", "7", odd=["1e5", "-0.0", "0." + "1" * 30]),
            "cents": self.one_of("0", str(number), odd=["1E2", "-0"]),
            "title": self.one_of(f'"{text}"', f'"{text}é日本"', rf'"{text}\n"', rf'"\u00e9\ud83d\ude00{text}"', '""'),
            "odd": self.one_of(f'"{text}"', odd=[r'"\u0000"', r'"a\u0000b"']),
            "at": self.one_of('"2024-05-06T07:08:09.010Z"', '"2024-05-06"', odd=['"soon"']),
            "when": self.one_of('"2024-05-06T07:08:09.010Z"', '"2024-05-06T07:08:09+02:00"', "null"),
            "flag": self.one_of("true", "false", "null"),
            "either": self.one_of("true", "false", "null", odd=['"no"']),
            "list": self.one_of("[]", "[ ]", "[1 , 2.50]", r'["\u00e9", {"x" : null}]', '[""]', odd=["[1e5]"]),
            "mixed": anything,
            "kept": self.one_of('{"x" : [1, 2.50]}', r'"\u00e9"', '""', "[ ]", anything, odd=['{"x":1e5}']),
            "of": of_pairs(of, self.one_of("", " ")),
            "n_2": self.one_of("1", "2"),
            "": self.one_of("1"),
            chance.choice(["rare", "Rare", 'q\\"q', "b\\\\b", "é"]): self.one_of("1", '"x"'),
        }

    def object(self) -> str:
        values = self.values()
        keys = self.chance.sample([*values], len(values)) if self.chance.random() < 0.1 else [*values]
        keys = [key for key in keys if self.chance.random() < 0.8]
        blank = self.one_of("", "", "", " ", "\t")
        return "{" + ",".join(f'{blank}"{key}"{blank}:{blank}{values[key]}{blank}' for key in keys) + "}"

    def line(self, number: int) -> str:
        type_ = self.chance.choice(["track", "track", "track", "identify", "page", "group"])
        fields = {"type": f'"{type_}"', "messageId": f'"m{number}"', "event": f'"{self.chance.choice("ABC")}"'}
        for name in ("properties", "traits", "userProperties"):
            fields[name] = self.one_of(*[self.object()] * 5, "{}", "null")
        fields["context"] = '{"app":{"name":"Shop"},"ip":"192.0.2.1"}'
        return of_pairs(fields.items(), "") + "\n"


def test_a_load_of_plain_events_is_the_same_with_the_library_and_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Part of the rows of a table is taken, and part is left."""
    seed = int(os.environ.get("LOADER_SEED", random.randrange(10**6)))
    print("seed", seed)
    events = Events(seed)
    deep = '{"deep":' * 70 + "1" + "}" * 70
    lines = [*map(events.line, range(1500)), f'{{"type":"track","event":"A","messageId":"deep","properties":{deep}}}\n']
    source = tmp_path / "events.jsonl"
    source.write_text("".join(lines), encoding="utf-8")
    rows: list[Any] = []

    def take(paths: Paths, objects: pa.Array) -> tuple[np.ndarray, dict[str, pa.Array]]:
        found = real(paths, objects)
        rows.extend(found[0].tolist())
        return found

    real = Paths.take
    monkeypatch.setattr(Paths, "take", take)
    same_warehouses(tmp_path, source, json_paths=KEPT)
    assert rows.count(False) > 100
    assert rows.count(True) > 1000


# --- memory -----------------------------------------------------------------------------------------------------------

CHILD = """
import sys
from pathlib import Path
from loader import compiled
compiled.LIBRARY = Path(sys.argv[1])
from tests import test_cell_values, test_cells_property
first = int(sys.argv[2])
print(test_cells_property.take_all(range(first, first + 5)))
test_cell_values.test_a_double_is_the_nearest_one()
test_cell_values.test_a_double_next_to_the_middle_of_two_is_the_nearer_one()
"""


def take_all(seeds: Iterable[int], many: int = 100) -> int:
    """Takes cells out of objects that are the last thing in their memory, each time; how many were not left."""
    usual = 0
    for seed in seeds:
        lines = event_lines.Lines(seed)
        chance = lines.chance
        for _ in range(many):
            lines.odd, lines.spaced = chance.choice([0, 0, 0.05]), chance.random() < 0.3
            ways = {tuple(chance.choices(event_lines.KEYS, k=chance.randint(1, 3))) for _ in range(6)}
            paths = Paths({str(at): (keys, chance.choice([*ARROW])) for at, keys in enumerate(sorted(ways))})
            objects = [text for text in (lines.object() for _ in range(chance.randint(1, 12))) if is_json(text)]
            for behind in (0, chance.randint(0, 20)):
                rows = array(objects, chance.randint(0, 9), behind)
                usual += sum(row is not LEFT for row in take(paths, rows))
    return usual


@needs_compiler
def test_only_its_own_memory_is_touched_and_all_builds_take_the_same_objects(tmp_path: Path) -> None:
    seed = os.environ.get("LOADER_SEED", str(random.randrange(10**6)))
    print("seed", seed)
    found = [sanitized(tmp_path, seed, *flags, child=CHILD) for flags in ((), ("-U__SSE2__",))]
    assert found[0] == found[1]
    assert found[0][0] > 1000
