"""The SQL of a leaf: its text, its kind, what its value is, and the cell it makes. The words are in values.sql."""

from collections.abc import Iterable

from loader.db import literal
from loader.paths import pointer
from loader.records import NO_TABLE, Leaf, TablePlan, Target
from loader.schema import Column

JSON_PARTS = ("context", "props", "user_props")

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
# Cells of plain values, by kind and type of the column: what the cell_ macros come to for these.
_PLAIN = {
    ("VARCHAR", "VARCHAR"): "nullif({}, '')",
    ("BIGINT", "BIGINT"): "CAST({} AS BIGINT)",
    ("BIGINT", "DOUBLE"): "CAST({} AS DOUBLE)",
    ("BIGINT", "double_new"): "CAST({} AS DOUBLE)",
    ("BIGINT", "VARCHAR"): "{}",
    ("DOUBLE", "DOUBLE"): "CAST({} AS DOUBLE)",
    ("DOUBLE", "double_new"): "CAST({} AS DOUBLE)",
    ("DOUBLE", "VARCHAR"): "{}",
    ("NUMBER", "DOUBLE"): "CAST({} AS DOUBLE)",
    ("NUMBER", "double_new"): "CAST({} AS DOUBLE)",
    ("NUMBER", "VARCHAR"): "{}",
    ("BOOLEAN", "BOOLEAN"): "{} = 'true'",
    ("BOOLEAN", "VARCHAR"): "{}",
}
# Per kind: which texts are blank, and which need a second look before their class is known.
BLANK = {"VARCHAR": "{} = ''", "ARRAY": "{} IN ('[]', '[\"\"]', '[[]]')"}
DOUBTFUL = {
    "VARCHAR": "{} LIKE '____-__-__%'",
    "BIGINT": "strlen({}) > 15",
    "DOUBLE": "NOT contains({0}, '.') OR contains({0}, 'e')",
    "NUMBER": "(strlen({0}) > 15 AND NOT contains({0}, '.')) OR contains({0}, 'e') OR {0} >= ':' OR {0} LIKE '-_n%'",
}


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


def cell_type(plan: TablePlan, column: Column, leaf: Leaf) -> str:
    """Which of the `cell_` macros makes the column's cells from a leaf."""
    if leaf.kept and column.type in ("JSON", "VARCHAR"):
        return "kept"
    if column.type == "DOUBLE" and column in plan.added:
        return "double_new"
    return column.type


class Values:
    """Leaves read from the JSON of a relation, all paths of a part at once. `source` is the relation with the texts."""

    def __init__(self, leaves: Iterable[Leaf], relation: str, condition: str = "true"):
        self._texts: dict[tuple[str, int], int] = {}
        self._kinds: dict[tuple[str, int], int] = {}
        lists = []
        leaves = list(leaves)
        for json in JSON_PARTS:
            mine = {leaf.path: leaf for leaf in leaves if leaf.part.json == json}
            mixed = [leaf for leaf in mine.values() if leaf.kind is None]
            self._texts |= {(json, path): at for at, path in enumerate(mine, 1)}
            self._kinds |= {(json, leaf.path): at for at, leaf in enumerate(mixed, 1)}
            if mine:
                lists.append(f", json_extract_string({json}, {_pointers(mine.values())}) AS {json}_text")
            if mixed:
                lists.append(f", json_type({json}, {_pointers(mixed)}) AS {json}_kind")
        self.source = f"(SELECT *{''.join(lists)} FROM {relation} WHERE {condition})"

    def text(self, leaf: Leaf) -> str:
        return f"{leaf.part.json}_text[{self._texts[leaf.part.json, leaf.path]}]"

    def kind(self, leaf: Leaf) -> str:
        if leaf.kind == "NUMBER":
            return f"kind_of_number({self.text(leaf)})"
        if leaf.kind is not None:
            return literal(leaf.kind)
        return f"{leaf.part.json}_kind[{self._kinds[leaf.part.json, leaf.path]}]"

    def class_of(self, leaf: Leaf) -> str:
        """The class of the leaf's value; NULL where there is none."""
        if leaf.kept:
            return f"CASE WHEN {self.cell(leaf, 'kept')} IS NOT NULL THEN 'JSON' END"
        if leaf.kind is not None:
            return f"class_{leaf.kind.lower()}({self.text(leaf)})"
        return f"class_of({self.text(leaf)}, {self.kind(leaf)})"

    def is_filled(self, leaf: Leaf) -> str:
        """The condition that there is a value, for a leaf without doubtful ones."""
        if leaf.kind in BLANK:
            return f"NOT ({BLANK[leaf.kind].format(self.text(leaf))})"
        return f"{self.text(leaf)} IS NOT NULL"

    def cell(self, leaf: Leaf, type_: str) -> str:
        """The leaf's value in a column of the type (or of what `cell_type` says); NULL where it does not fit."""
        if leaf.plain and leaf.kind and (simple := _PLAIN.get((leaf.kind, type_))):
            return simple.format(self.text(leaf))
        return f"cell_{type_.lower()}({self.text(leaf)}, {self.kind(leaf)})"


def _pointers(leaves: Iterable[Leaf]) -> str:
    return "[" + ", ".join(literal(pointer(leaf.keys)) for leaf in leaves) + "]"
