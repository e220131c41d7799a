"""Which tables a load writes, with which columns and types: known schema + shape -> `TablePlan`s (sections 2-6)."""

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from loader import naming
from loader.calls import CALL_TABLES, CONTEXT, CONTEXT_TRAITS, TRACK, Part, parts, rule_columns
from loader.records import COLUMN, RULE_COLUMN, TOO_MANY, UNNAMEABLE, Leaf, Measure, TablePlan, Target, Usage
from loader.schema import Column
from loader.settings import Settings

# Paths that are read for every event of a table. The rest, the rarest ones, are read only where they are.
MAX_COMMON_PATHS = 400

_INTEGERS = {"UBIGINT", "BIGINT"}
# The classes of values (values.sql, class_of) that an existing column takes; types that are not here take all.
_TAKES = {
    "BIGINT": {"BIGINT", "EXACT", "LONG"},
    "DOUBLE": {"BIGINT", "DOUBLE"},
    "BOOLEAN": {"BOOLEAN"},
    "TIMESTAMPTZ": {"TIMESTAMPTZ"},
}
_INDEX = re.compile(r"0|[1-9][0-9]*|-")  # a JSON pointer takes it for a place in an array


def lay_out(
    table: str,
    call: str,
    event_table: int | None,
    usages: Sequence[Usage],
    slow: frozenset[int],
    context_kinds: Mapping[int, str | None],
    settings: Settings,
    unnamed: bool = False,
) -> Target:
    """The leaves of a table: each path's column and fate by its name alone. slow: paths not to be read in common.
    context_kinds: the kinds of the paths of `context` over all tables."""
    rules = {column.name for column in rule_columns(call, event_table is not None, settings.store_full_event)}
    leaves: list[Leaf] = []
    for place, part in enumerate(parts(call, event_table is not None, settings.allow_users_context_traits)):
        kept = _kept(call, part, settings.json_paths)
        if part is CONTEXT_TRAITS and part.under in _kept(call, CONTEXT, settings.json_paths):
            continue
        for usage in usages:
            if usage.json != part.json or usage.keys[: len(part.under)] != part.under:
                continue
            keys = usage.keys[len(part.under) :]
            if not keys or (kept and any(keys[:end] in kept for end in range(1, len(keys)))):
                continue
            kinds = set(usage.kinds) if keys in kept else set(usage.kinds) - {"OBJECT"}
            if not kinds:
                continue
            joined = part.prefix + "_".join(keys)
            name = naming.column_name(joined, settings.underscore_divide_numbers)
            fate = UNNAMEABLE if name is None else RULE_COLUMN if name in rules else COLUMN
            leaves.append(
                Leaf(
                    path=usage.path,
                    part=part,
                    keys=usage.keys,
                    kind=context_kinds[usage.path] if part.json == "context" else _one_kind(set(usage.kinds)),
                    column=joined if name is None else name,
                    fate=fate,
                    order=(place, tuple(key.encode() for key in keys)),
                    kept=keys in kept,
                    common=usage.path not in slow,
                    first=usage.first,
                    events=sum(usage.kinds.values()),
                    member=usage.member,
                    beside=usage.beside,
                )
            )
    return Target(table, call, event_table, tuple(sorted(leaves, key=lambda leaf: leaf.order)), unnamed)


def slow_paths(usages: Iterable[Usage], limit: int = MAX_COMMON_PATHS) -> frozenset[int]:
    """The paths not to be read for every event: beyond the limit by number of events, and those whose pointer would
    also name an element of an array in another event."""
    events: dict[tuple[str, int], int] = defaultdict(int)
    keys: dict[int, tuple[str, ...]] = {}
    arrays: set[tuple[str, tuple[str, ...]]] = set()
    for usage in usages:
        events[usage.json, usage.path] += sum(count for kind, count in usage.kinds.items() if kind != "OBJECT")
        keys[usage.path] = usage.keys
        if "ARRAY" in usage.kinds:
            arrays.add((usage.json, usage.keys))
    slow: set[int] = set()
    taken: dict[str, int] = defaultdict(int)
    for (json, path), count in sorted(events.items(), key=lambda item: (-item[1], item[0])):
        way = keys[path]
        indexed = arrays and any(_INDEX.fullmatch(way[at]) and (json, way[:at]) in arrays for at in range(1, len(way)))
        taken[json] += bool(count)
        if indexed or taken[json] > limit:
            slow.add(path)
    return frozenset(slow)


def _kept(call: str, part: Part, json_paths: Sequence[str]) -> set[tuple[str, ...]]:
    """The paths below a part that `json_paths` names for the call, as keys from the part's root."""
    start = f"{call}.{part.field}."
    return {tuple(path.removeprefix(start).split(".")) for path in json_paths if path.startswith(start)}


def kinds_by_path(usages: Iterable[Usage]) -> dict[int, str | None]:
    """The kind of all values of each path (integers BIGINT, integers and others NUMBER), None where they differ."""
    return {usage.path: _one_kind(set(usage.kinds)) for usage in usages}


def _one_kind(kinds: set[str]) -> str | None:
    kinds = {"BIGINT" if kind in _INTEGERS else kind for kind in kinds}
    if len(kinds) > 1 and kinds <= {"BIGINT", "DOUBLE", "NUMBER"}:
        return "NUMBER"
    return kinds.pop() if len(kinds) == 1 else None


def decide(
    target: Target,
    known: tuple[Column, ...] | None,
    measures: Mapping[str, Measure],
    settings: Settings,
    inexact: Collection[str] = (),
) -> TablePlan:
    """The plan of a table. known: its columns so far, None if there is no table. measures: by column, winners only.
    inexact: of `needing_doubles`, the columns with rows whose values no DOUBLE holds.

    New columns come in order of name, as many as `max_columns` leaves room for; leaves of the others become discards.
    """
    rules = rule_columns(target.call, target.event_table is not None, settings.store_full_event)
    columns, widened = [], {}
    for column in known or ():
        classes = measures[column.name].classes if column.name in measures else {}
        type_ = _widened(column.type, classes, column.name in inexact, settings.on_type_conflict)
        if type_ != column.type:
            widened[column.name] = column.type
        columns.append(Column(column.name, type_))
    have = {column.name for column in columns}
    missing = tuple(column for column in rules if column.name not in have)
    columns += missing
    have |= {column.name for column in missing}
    fresh = sorted(name for name, measure in measures.items() if name not in have and any(measure.classes.values()))
    room = max(settings.max_columns - len(columns), 0)
    added = tuple(Column(name, narrowest(measures[name].classes)) for name in fresh[:room])
    dropped = set(fresh[room:])
    leaves = tuple(
        replace(leaf, fate=TOO_MANY) if leaf.column in dropped and leaf.fate == COLUMN else leaf
        for leaf in target.leaves
    )
    return TablePlan(
        target=replace(target, leaves=leaves),
        columns=(*columns, *added),
        created=known is None,
        added=(*missing, *added),
        widened=widened,
    )


def needing_doubles(known: Iterable[Column], measures: Mapping[str, Measure]) -> list[str]:
    """The BIGINT columns that become DOUBLE, if the values of their rows allow it."""
    return [
        column.name
        for column in known
        if column.type == "BIGINT"
        and column.name in measures
        and _widened("BIGINT", measures[column.name].classes, False, "discard") == "DOUBLE"
    ]


def _widened(type_: str, classes: Mapping[str, int], inexact: bool, on_conflict: str) -> str:
    """The type of an existing column after values of these classes (section 6)."""
    wide = "DOUBLE" if type_ == "BIGINT" and classes.get("DOUBLE") and not (inexact or classes.get("LONG")) else type_
    return "VARCHAR" if on_conflict == "widen" and misfits(wide, classes, wide != type_) else wide


def causes(old: str, new: str, classes: Mapping[str, int], inexact: bool) -> frozenset[str]:
    """The classes of the values because of which a column was widened."""
    if new == "DOUBLE":
        return frozenset({"DOUBLE"})
    harmless = {"DOUBLE"} if _widened(old, classes, inexact, "discard") == "DOUBLE" else set()
    return misfits(old, classes) - harmless


def misfits(type_: str, classes: Mapping[str, int], fresh: bool = False) -> frozenset[str]:
    """The classes of these values that a column of the type does not take. fresh: the load gives it that type; then
    integers beyond 2^53 that a DOUBLE holds are taken, too."""
    there = {name for name, count in classes.items() if count}
    taken = _TAKES.get(type_, there) | ({"EXACT"} if fresh else set())
    return frozenset(there - taken)


def together(one: Measure | None, other: Measure) -> Measure:
    """Two measures of one column as one."""
    if one is None:
        return other
    classes = {name: one.classes.get(name, 0) + other.classes.get(name, 0) for name in {**one.classes, **other.classes}}
    firsts = [first for first in (one.first, other.first) if first is not None]
    return Measure(classes, min(firsts, default=None))


def narrowest(classes: Mapping[str, int]) -> str:
    """The narrowest type that holds values of these classes (section 5, last paragraph)."""
    there = {name for name, count in classes.items() if count}
    integers = {"BIGINT", "EXACT", "LONG"}
    if "JSON" in there:
        return "JSON"
    if there <= integers:
        return "BIGINT"
    if there <= integers | {"DOUBLE"} and "LONG" not in there:
        return "DOUBLE"
    if there in ({"BOOLEAN"}, {"TIMESTAMPTZ"}):
        return there.pop()
    return "VARCHAR"


@dataclass(frozen=True, slots=True)
class EventTables:
    """Which table each event name gets. names: text -> (name for `event`, number of its table or NO_TABLE).

    tables: the tables, by number. refused: texts that got none because of `max_event_tables`.
    """

    names: dict[str, tuple[str, int]]
    tables: tuple[str, ...]
    refused: tuple[str, ...]


def event_tables(texts: Iterable[str], known: Iterable[str], settings: Settings) -> EventTables:
    """Gives each event name, in order of first appearance, its table (section 2). known: event tables there are."""
    numbers: dict[str, int] = {}
    taken = set(known)
    names: dict[str, tuple[str, int]] = {}
    refused: list[str] = []
    for text in texts:
        name = naming.identifier(text, settings.underscore_divide_numbers) or ""
        table = naming.table_name(text, settings.underscore_divide_numbers)
        if table is None:
            names[text] = (name, -1)
        elif table in taken or len(taken) < settings.max_event_tables:
            taken.add(table)
            names[text] = (name, numbers.setdefault(table, len(numbers)))
        else:
            names[text] = (name, -1)
            refused.append(text)
    return EventTables(names, tuple(numbers), tuple(refused))


def call_of(table: str) -> str:
    """The call whose events a table holds: its own for a call table, else track."""
    return next((call for call, name in CALL_TABLES.items() if name == table), TRACK)
