"""The SQL of a leaf: its text, its kind, what its value is, and the cell it makes. The words are in values.sql."""

from collections.abc import Iterable, Mapping
from json import dumps as to_json
from typing import Any

from loader.db import literal, quote
from loader.paths import plant, pointer
from loader.records import NO_TABLE, Leaf, TablePlan, Target
from loader.schema import Column

OWN_PARTS = ("props", "user_props")  # of a table's own
JSON_PARTS = ("context", *OWN_PARTS)

# The classes that values of a kind can have, most common first.
CLASSES = {
    "VARCHAR": ("VARCHAR", "TIMESTAMPTZ"),
    "BIGINT": ("BIGINT", "EXACT", "LONG", "NUMBER"),
    "DOUBLE": ("DOUBLE", "NUMBER"),
    "NUMBER": ("DOUBLE", "BIGINT", "EXACT", "LONG", "NUMBER"),
    "BOOLEAN": ("BOOLEAN",),
    "ARRAY": ("JSON",),
    None: ("VARCHAR", "TIMESTAMPTZ", "BIGINT", "EXACT", "LONG", "NUMBER", "DOUBLE", "BOOLEAN", "JSON"),
}
# By kind, the class of a value of which `all_plain` (values.sql) says that it is what its kind says.
PLAIN_CLASS = {
    "VARCHAR": "VARCHAR",
    "UBIGINT": "BIGINT",
    "BIGINT": "BIGINT",
    "DOUBLE": "DOUBLE",
    "BOOLEAN": "BOOLEAN",
    "ARRAY": "JSON",
}
# Plain values come from json_transform in their type. By kind and type of the column: that type, and the cell of it.
_PLAIN = {
    ("VARCHAR", "VARCHAR"): ("VARCHAR", "nullif({}, '')"),
    ("BIGINT", "BIGINT"): ("BIGINT", "{}"),
    ("BIGINT", "DOUBLE"): ("DOUBLE", "{}"),
    ("BIGINT", "double_new"): ("DOUBLE", "{}"),
    ("BIGINT", "VARCHAR"): ("VARCHAR", "{}"),
    ("DOUBLE", "DOUBLE"): ("DOUBLE", "{}"),
    ("DOUBLE", "double_new"): ("DOUBLE", "{}"),
    ("NUMBER", "DOUBLE"): ("DOUBLE", "{}"),
    ("NUMBER", "double_new"): ("DOUBLE", "{}"),
    ("BOOLEAN", "BOOLEAN"): ("BOOLEAN", "{}"),
    ("BOOLEAN", "VARCHAR"): ("VARCHAR", "{}"),
}
# Others of which `cells` can take many as they are, and what it calls these.
_TAKEN = {
    ("VARCHAR", "TIMESTAMPTZ"): "TIMESTAMPTZ",
    ("ARRAY", "JSON"): "ARRAY",
    ("ARRAY", "VARCHAR"): "ARRAY",
    ("", "VARCHAR"): "MIXED",
}
# Per kind: the classes of plain values, which fit their column as they are.
_PLAIN_CLASSES = {"VARCHAR": {"VARCHAR"}, "BIGINT": {"BIGINT"}, "DOUBLE": {"DOUBLE"}, "NUMBER": {"BIGINT", "DOUBLE"}}


def rows_of(target: Target) -> str:
    """The condition for the events that have a row in the table."""
    if target.event_table is not None:
        return f"event_table = {target.event_table}"
    return f"call = {literal(target.call)}" + (f" AND event_table = {NO_TABLE}" if target.unnamed else "")


def odd_flag(target: Target) -> str:
    """The column that says which of these events are odd."""
    return "odd_call" if target.event_table is None else "odd_event"


def classes_of(leaf: Leaf) -> tuple[str, ...]:
    """The classes (values.sql, class_of) that the leaf's values can have, the one of plain values first."""
    return ("JSON",) if leaf.kept else CLASSES[leaf.kind]


def is_plain(leaf: Leaf, classes: Mapping[str, int]) -> bool:
    """Whether the leaf's values, so many of each class, are all plain."""
    plain = _PLAIN_CLASSES.get(leaf.kind or "")
    return leaf.kind is not None and (plain is None or plain.issuperset(name for name, n in classes.items() if n))


def cell_type(plan: TablePlan, column: Column, leaf: Leaf) -> str:
    """Which of the `cell_` macros makes the column's cells from a leaf."""
    if leaf.kept:
        return "kept" if column.type in ("JSON", "VARCHAR") else f"no_{column.type.lower()}"
    return unkept_type(plan, column)


def unkept_type(plan: TablePlan, column: Column) -> str:
    """The same for leaves that are not under `json_paths`."""
    return "double_new" if column.type == "DOUBLE" and plan.is_fresh(column) else column.type


def direct_type(leaf: Leaf, type_: str) -> tuple[str, str] | None:
    """The type in which values of a leaf can be had where cells are wanted of the type (or of what `cell_type` says),
    and SQL of the cell of one, if they are all plain."""
    return _PLAIN.get((leaf.kind or "", type_)) if leaf.plain and not leaf.kept else None


def taken_as(leaf: Leaf, type_: str) -> str | None:
    """What `cells` calls such cells; None: it has none."""
    direct = direct_type(leaf, type_)
    return direct[0] if direct else None if leaf.kept else _TAKEN.get((leaf.kind or "", type_))


def cell_of(json: str, leaf: Leaf, type_: str) -> str:
    """SQL of the cell that the leaf's value makes, from the value's own JSON."""
    text = f"json_extract_string({json}, '$')"
    kind = f"json_type({json})" if leaf.kind is None else literal(leaf.kind)
    return f"cell_{type_.lower()}({text}, {f'kind_of_number({text})' if leaf.kind == 'NUMBER' else kind})"


class Values:
    """Leaves read from the JSON of a relation, all paths of a part at once. `source` is the relation with the texts.

    cells: (leaf, type of cell) that are to be made; those of plain values are read typed. leaves: others to be read.
    """

    def __init__(
        self,
        leaves: Iterable[Leaf],
        relation: str,
        condition: str = "true",
        cells: Iterable[tuple[Leaf, str]] = (),
    ):
        self._texts: dict[tuple[str, int], int] = {}
        self._kinds: dict[tuple[str, int], int] = {}
        self._typed: dict[tuple[str, int, str], str] = {}
        lists = []
        leaves, cells = list(leaves), list(cells)
        for json in JSON_PARTS:
            tree: dict[str, Any] = {}
            rest = [leaf for leaf in leaves if leaf.part.json == json]
            for leaf, type_ in cells:
                if leaf.part.json != json or (json, leaf.path, type_) in self._typed:
                    continue
                direct = direct_type(leaf, type_)
                if direct and plant(tree, leaf.keys, direct[0]):
                    field = ".".join(map(quote, (f"{json}_typed", *leaf.keys)))
                    self._typed[json, leaf.path, type_] = direct[1].format(field)
                else:
                    rest.append(leaf)
            mine = {leaf.path: leaf for leaf in rest}
            mixed = [leaf for leaf in mine.values() if leaf.kind is None]
            self._texts |= {(json, path): at for at, path in enumerate(mine, 1)}
            self._kinds |= {(json, leaf.path): at for at, leaf in enumerate(mixed, 1)}
            if tree:
                lists.append(f", json_transform({json}, {literal(to_json(tree))}) AS {json}_typed")
            if mine:
                lists.append(f", json_extract_string({json}, {pointers_of(mine.values())}) AS {json}_text")
            if mixed:
                lists.append(f", json_type({json}, {pointers_of(mixed)}) AS {json}_kind")
        self.source = f"(SELECT *{''.join(lists)} FROM {relation} WHERE {condition})"

    def text(self, leaf: Leaf) -> str:
        return f"{leaf.part.json}_text[{self._texts[leaf.part.json, leaf.path]}]"

    def kind(self, leaf: Leaf) -> str:
        if leaf.kind is not None:  # of a number its text tells
            return f"kind_of_number({self.text(leaf)})" if leaf.kind == "NUMBER" else literal(leaf.kind)
        return f"{leaf.part.json}_kind[{self._kinds[leaf.part.json, leaf.path]}]"

    def class_of(self, leaf: Leaf) -> str:
        """The class of the leaf's value; NULL where there is none."""
        if leaf.kept:
            return f"CASE WHEN {self.cell(leaf, 'kept')} IS NOT NULL THEN 'JSON' END"
        if leaf.kind is not None:
            return f"class_{leaf.kind.lower()}({self.text(leaf)})"
        return f"class_of({self.text(leaf)}, {self.kind(leaf)})"

    def cell(self, leaf: Leaf, type_: str) -> str:
        """The leaf's value in a column of the type (or of what `cell_type` says); NULL where it does not fit."""
        if typed := self._typed.get((leaf.part.json, leaf.path, type_)):
            return typed
        return f"cell_{type_.lower()}({self.text(leaf)}, {self.kind(leaf)})"


def pointers_of(leaves: Iterable[Leaf]) -> str:
    """SQL of the list of the paths of these leaves."""
    return "[" + ", ".join(literal(pointer(leaf.keys)) for leaf in leaves) + "]"
