"""The `context` of most events, read as columns together with the event, and proven to be whole.

The contexts of a load are nearly all made of the same paths. These are learnt from its first lines, and then read by
the one json_transform that takes an event apart. A context is *whole* if there is nothing else in it, by this proof:

- json_type with `..*` lists as many nodes as known leaves and objects were found, nulls apart: there is no other key
  and none twice (of a key twice the first is found);
- values of numbers, booleans and arrays are read as JSON, whose text shows what they are;
- no text begins like an object, and as many nodes are objects as were found where these belong: json_transform takes
  any other value there for an object without keys, so there would be one too few;
- as many nodes are strings as were found where texts belong: none of these is a number, a boolean or an array.

Contexts that are not whole are kept as JSON, and read path by path.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import duckdb

from loader import books
from loader.db import quote
from loader.paths import plant, split_path

MAX_NODES = 300  # that are read as columns: leaves, and the objects above them
MIN_SHARE = 0.0003  # of the first contexts; rarer paths are not worth a column
SAMPLE_SHAPES = 2000  # of the first contexts, so many different ones are looked at
BITS = 60  # leaves whose presence one integer of `item` tells

_TEXT = "VARCHAR"
_EMPTY = "EMPTY"  # an object that never has a key
# What the JSON of a value looks like if it is of the kind. -Infinity and -NaN are no numbers here.
_LOOKS = {
    "NUMBER": "({0} BETWEEN '-' AND ':' AND NOT {0} BETWEEN '-A' AND '.')",
    "BOOLEAN": "{0} IN ('true', 'false')",
    "ARRAY": "starts_with({0}, '[')",
}


@dataclass(frozen=True, slots=True)
class Known:
    """A path of the contexts, and the kind that its values have in whole ones.

    kind: VARCHAR, NUMBER, BOOLEAN, ARRAY or EMPTY. column: the one of `item` that has the values' text.
    """

    fullkey: str
    keys: tuple[str, ...]
    kind: str
    column: str


@dataclass(frozen=True, slots=True)
class Structure:
    """What is known of the contexts. tree: the type for json_transform, None if nothing is known."""

    leaves: tuple[Known, ...] = ()
    empties: tuple[Known, ...] = ()
    tree: dict[str, Any] | None = None

    @property
    def masks(self) -> dict[str, tuple[Known, ...]]:
        """The columns of `item` whose bits tell which leaves a whole context has (else NULL), with these leaves."""
        starts = range(0, len(self.leaves), BITS)
        return {f"mask{at}": self.leaves[start : start + BITS] for at, start in enumerate(starts)}

    @property
    def type(self) -> Any:
        """The type of `context` for json_transform."""
        return self.tree or "JSON"


def learn(connection: duckdb.DuckDBPyConnection, lines: str) -> Structure:
    """The structure that most contexts of a relation of lines (`text`) have. Of paths with values of several kinds it
    has the most common one."""
    rows = connection.execute(
        f"""
        SELECT fullkey, kind, sum(events) FROM (
            SELECT events, n.fullkey AS fullkey,
                CASE WHEN n.kind IN ('UBIGINT', 'BIGINT', 'DOUBLE') THEN 'NUMBER' ELSE n.kind END AS kind
            FROM (
                SELECT events,
                    unnest(list_prepend({{'id': -1, 'fullkey': '$', 'kind': 'OBJECT'}}, paths_of(doc))) AS n
                FROM (
                    SELECT any_value(context) AS doc, count(*) AS events
                    FROM (SELECT try(json_extract(text, '/context'))::VARCHAR AS context FROM {lines})
                    WHERE starts_with(context, '{{') GROUP BY shape_of(context)
                    ORDER BY events DESC LIMIT {SAMPLE_SHAPES}
                ))
            WHERE n.kind <> 'NULL'
        ) GROUP BY fullkey, kind ORDER BY sum(events) DESC, fullkey, kind
        """
    ).fetchall()
    contexts = next((events for fullkey, _, events in rows if fullkey == "$"), 0)
    parents = {split_path(fullkey)[:-1] for fullkey, *_ in rows if fullkey != "$"}
    tree: dict[str, Any] = {}
    found: list[Known] = []
    objects: set[tuple[str, ...]] = set()
    seen: set[tuple[str, ...]] = {()}
    for fullkey, kind, events in rows:
        keys = split_path(fullkey)
        around = objects | _above(keys)
        if keys in seen or events < MIN_SHARE * contexts or len(found) + len(around) >= MAX_NODES:
            continue
        seen.add(keys)
        if kind == "OBJECT":
            if keys in parents:
                continue
            kind = _EMPTY
        if plant(tree, keys, _TEXT if kind == _TEXT else "JSON"):
            found.append(Known(fullkey, keys, kind, f"c{len(found)}"))
            objects = around
    leaves = tuple(sorted((known for known in found if known.kind != _EMPTY), key=lambda leaf: leaf.kind != _TEXT))
    empties = tuple(known for known in found if known.kind == _EMPTY)
    return Structure(leaves, empties, tree) if leaves else Structure()


def fields(structure: Structure) -> str:
    """SQL of the columns that `whole` needs, from the event taken apart, `s`."""
    known = structure.leaves + structure.empties
    objects = sorted({above for each in known for above in _above(each.keys)})
    made = [f"s.context.{_path(each.keys)}::VARCHAR AS {_raw(each)}" for each in known]
    made += [f"json_type({_raw(each)}, '$..*') AS {each.column}_inside" for each in known if each.kind == "ARRAY"]
    made.append(f"{_sum(f's.context.{_path(keys)}' for keys in objects)} AS objects_found")
    for mask, leaves in structure.masks.items():
        bits = " | ".join(f"(({_raw(leaf)} IS NOT NULL)::BIGINT << {bit})" for bit, leaf in enumerate(leaves))
        made.append(f"{bits} AS {mask}_read")
    return ", ".join(made)


def whole(structure: Structure) -> str:
    """SQL of the proof, from `fields` and `nodes`, the kinds of all nodes of the context. Never NULL."""
    texts = [_raw(leaf) for leaf in structure.leaves if leaf.kind == _TEXT]
    others = [leaf for leaf in structure.leaves if leaf.kind != _TEXT]
    inside = [f"{each.column}_inside" for each in others if each.kind == "ARRAY"]
    filled = "".join(f" + coalesce(count_filled({nodes}), 0)" for nodes in inside)
    strings = "".join(f" + coalesce(count_kind({nodes}, 'VARCHAR'), 0)" for nodes in inside)
    objects = "".join(f" + coalesce(count_kind({nodes}, 'OBJECT'), 0)" for nodes in inside)
    empties = _sum(map(_raw, structure.empties))
    masks = structure.masks.items()
    of_texts = [(mask, (1 << sum(leaf.kind == _TEXT for leaf in leaves)) - 1) for mask, leaves in masks]
    conditions = [
        "len(nodes) > 0",
        f"count_filled(nodes) = objects_found + {_bits((mask, -1) for mask, _ in masks)} + {empties}{filled}",
        f"count_kind(nodes, 'OBJECT') = objects_found + {empties}{objects}",
        f"count_kind(nodes, 'VARCHAR') = {_bits(of_texts)}{strings}",
        *(f"coalesce({_LOOKS[each.kind].format(_raw(each))}, true)" for each in others),
    ]
    if texts:
        like_objects = " OR ".join(f"{text} LIKE '{{%'" for text in texts)
        conditions.append(f"NOT coalesce({like_objects}, false)")
    return f"coalesce({' AND '.join(conditions)}, false)"


def columns(structure: Structure) -> str:
    """SQL of the columns of `item` that hold a whole context: its values, and which are there."""
    made = [f"CASE WHEN whole THEN {_raw(leaf)} END AS {leaf.column}" for leaf in structure.leaves]
    made += [f"CASE WHEN whole THEN {mask}_read END AS {mask}" for mask in structure.masks]
    return "".join(f", {column}" for column in made)


def shape(structure: Structure) -> str:
    """SQL of the shape of a whole context: equal where the same leaves are there."""
    return f"hash({', '.join(structure.masks)})"


def describe(connection: duckdb.DuckDBPyConnection, structure: Structure) -> None:
    """Makes `known_leaf`: the leaves with their columns and kinds, and `known_node`: those of each shape in `item`.
    BooksError unless the shapes tell of as many values as the columns hold."""
    connection.execute("CREATE TABLE known_leaf (number INTEGER, fullkey VARCHAR, kind VARCHAR, staged VARCHAR)")
    connection.execute("CREATE TABLE known_node (shape UBIGINT, fullkey VARCHAR, kind VARCHAR)")
    if not structure.leaves:
        return
    counts = ", ".join(f"count({leaf.column}), {_count_doubles(leaf)}" for leaf in structure.leaves)
    numbers = connection.execute(f"SELECT {counts} FROM item").fetchall()[0]
    found = dict(zip(structure.leaves, zip(numbers[::2], numbers[1::2], strict=True), strict=True))
    rows = [
        (at, leaf.fullkey, _kind_of_numbers(*found[leaf]) if leaf.kind == "NUMBER" else leaf.kind, leaf.column)
        for at, leaf in enumerate(structure.leaves)
    ]
    connection.executemany("INSERT INTO known_leaf VALUES (?, ?, ?, ?)", rows)
    masks = ", ".join(structure.masks)
    connection.execute(f"""
        INSERT INTO known_node
        SELECT {shape(structure)}, fullkey, kind
        FROM (SELECT DISTINCT {masks} FROM item WHERE mask0 IS NOT NULL), known_leaf
        WHERE ([{masks}][number // {BITS} + 1] >> (number % {BITS})) & 1 = 1
    """)
    told = connection.execute("""
        SELECT fullkey, sum(events) FROM known_node JOIN (
            SELECT context_shape AS shape, count(*) AS events FROM item WHERE mask0 IS NOT NULL GROUP BY ALL
        ) USING (shape) GROUP BY ALL
    """).fetchall()
    books.balance("values of contexts", {leaf.fullkey: count for leaf, (count, _) in found.items()}, dict(told))


def values(structure: Structure) -> str:
    """SQL of the values of a whole context, a list of `number` (known_leaf) and `text`."""
    return (
        "[" + ", ".join(f"{{'number': {at}, 'text': {leaf.column}}}" for at, leaf in enumerate(structure.leaves)) + "]"
    )


def _count_doubles(leaf: Known) -> str:
    return f"count_if(kind_of_number({leaf.column}) = 'DOUBLE')" if leaf.kind == "NUMBER" else "0"


def _kind_of_numbers(count: int, doubles: int) -> str:
    return "BIGINT" if not doubles else "DOUBLE" if doubles == count else "NUMBER"


def _raw(known: Known) -> str:
    """The value as read, before it is known whether the context is whole."""
    return known.column + "_read"


def _above(keys: tuple[str, ...]) -> set[tuple[str, ...]]:
    """The keys of the objects that a path goes through."""
    return {keys[:end] for end in range(1, len(keys))}


def _path(keys: tuple[str, ...]) -> str:
    return ".".join(map(quote, keys))


def _bits(masks: Iterable[tuple[str, int]]) -> str:
    """How many of these bits of these masks are set."""
    return "(" + " + ".join(f"bit_count({mask}_read & {bits})::INTEGER" for mask, bits in masks) + ")"


def _sum(expressions: Iterable[str]) -> str:
    return "(" + " + ".join(["0", *(f"({sql} IS NOT NULL)::INTEGER" for sql in expressions)]) + ")"
