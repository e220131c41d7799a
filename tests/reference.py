"""The rules of the warehouse schema, one event at a time: the oracle that the loader is compared with.

Slow and plain on purpose, and independent of `loader`. "§" is a section of the schema's description. DuckDB is asked
for one thing only, the text of a number.
"""

import copy
import functools
import hashlib
import itertools
import json
import math
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, TypeAlias

import duckdb

# ---------------------------------------------------------------------------------------------------------------------
# JSON, as DuckDB reads and writes it
# ---------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Number:
    """A JSON number: its text as DuckDB gives it, and whether it was written without fraction and exponent."""

    text: str
    whole: bool


@dataclass(frozen=True)
class Object:
    """A JSON object with all its pairs in order, repeated keys too."""

    pairs: list[tuple[str, "JSON"]]

    def first(self) -> dict[str, "JSON"]:
        """Each key's value; of a key that comes twice the first (§1)."""
        values: dict[str, JSON] = {}
        for key, value in self.pairs:
            values.setdefault(key, value)
        return values

    def lost(self) -> list[tuple[str, "JSON"]]:
        """The later values of keys that come twice, but for blank ones and those equal to the first (§1)."""
        first = self.first()
        seen: set[str] = set()
        lost = []
        for key, value in self.pairs:
            if key in seen and not is_blank(value) and minified(value) != minified(first[key]):
                lost.append((key, value))
            seen.add(key)
        return lost


JSON: TypeAlias = "bool | str | Number | Object | list[JSON] | None"


@functools.cache
def number_text(number: str) -> str:
    """A number's text as DuckDB's JSON gives it: `1.10` is `1.1`, `1E2` `100.0`, `-0` `0`; big ones as they came."""
    row = duckdb.execute("SELECT json_extract_string(?, '$[0]')", [f"[{number}]"]).fetchone()
    assert row is not None
    return str(row[0])


def parse(text: str) -> JSON:
    """The value of an RFC 8259 text. ValueError if it is none; a lone surrogate makes it none, as in DuckDB."""

    def no_constant(name: str) -> JSON:
        raise ValueError(f"{name} is not JSON")

    value: JSON = json.loads(
        text,
        object_pairs_hook=Object,
        parse_int=lambda number: Number(number_text(number), whole=True),
        parse_float=lambda number: Number(number_text(number), whole=False),
        parse_constant=no_constant,
    )
    minified(value).encode("utf-8")  # a lone surrogate cannot be encoded: UnicodeEncodeError, a ValueError
    return value


ESCAPES = {'"': '\\"', "\\": "\\\\", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def minified(value: JSON) -> str:
    """The JSON text of a value as DuckDB's `json_extract` gives it: no spaces, only what must be is escaped."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Number):
        return value.text
    if isinstance(value, str):
        return '"' + re.sub(r'[\x00-\x1f"\\]', lambda c: ESCAPES.get(c[0], f"\\u{ord(c[0]):04X}"), value) + '"'
    if isinstance(value, Object):
        return "{" + ",".join(f"{minified(key)}:{minified(inner)}" for key, inner in value.pairs) + "}"
    return "[" + ",".join(minified(inner) for inner in value) + "]"


def text_of(value: JSON) -> str:
    """The text of a value as DuckDB's `json_extract_string` gives it: a string itself, else its JSON."""
    return value if isinstance(value, str) else minified(value)


def is_blank(value: JSON) -> bool:
    """§3: blank is absent. `false`, `0`, `" "`, `[null]` are not blank."""
    return value is None or value in ("", [], [""], [[]])


# ---------------------------------------------------------------------------------------------------------------------
# Names (§4)
# ---------------------------------------------------------------------------------------------------------------------

RESERVED_WORDS = frozenset((Path(__file__).parent / "conformance" / "reserved_words.txt").read_text().split())

WORDS = re.compile(
    "[A-Z]?[a-z]+[0-9]+|[A-Z]+[0-9]+|[0-9]+[A-Z]?[a-z]+|[0-9]+[A-Z]+"
    "|[A-Z]?[a-z]+|[A-Z]+(?=_|[A-Z][a-z]|$)|[A-Z]+|[0-9]+"
    "|[^_A-Za-z0-9]+"  # rule 7: what `separated` has left of other scripts
)
WORDS_DIVIDING_NUMBERS = re.compile(
    "[A-Z]?[a-z]+|[A-Z]+(?=_|[A-Z][a-z]|$)|[A-Z]+"
    "|[0-9]*(?:1ST|2ND|3RD|[04-9]TH)(?=[a-z_]|$)|[0-9]*(?:1st|2nd|3rd|[04-9]th)(?=[A-Z_]|$)|[0-9]+"
    "|[^_A-Za-z0-9]+"
)


def separated(text: str) -> str:
    """§4, rules 2 and 7: every separator as `_`. A run of letters, digits and marks (Unicode L, N, M) that has a letter
    but nothing of ASCII stays, as NFKC in lower case; in other runs only ASCII stays."""
    result = ""
    for in_run, characters in itertools.groupby(text, lambda c: unicodedata.category(c)[0] in "LNM"):
        run = "".join(characters)
        if in_run and not re.search("[A-Za-z0-9]", run) and any(unicodedata.category(c)[0] == "L" for c in run):
            result += unicodedata.normalize("NFKC", run).lower()
        else:
            result += re.sub("[^A-Za-z0-9]", "_", run)
    return result


def plain_name(text: str, divide_numbers: bool) -> str:
    """§4, rules 1 to 4, 7 and 8: "" where there is no name. Names are idempotent: where NFKC of other scripts brings
    ASCII or separators in, the rules are applied again until nothing changes."""
    underscores = "_" * (len(text) - len(text.lstrip("_")))
    words = (WORDS_DIVIDING_NUMBERS if divide_numbers else WORDS).findall(separated(text))
    name = underscores + "_".join(words).lower()
    if name != text:
        return plain_name(name, divide_numbers)
    return "_" + name if name[:1].isdigit() else name


def cut(name: str) -> str:
    """§4, rule 6: at most 127 bytes."""
    encoded = name.encode("utf-8")
    if len(encoded) <= 127:
        return name
    prefix = encoded[:118].decode("utf-8", errors="ignore")
    digits = hashlib.sha256(encoded).hexdigest()[:8]
    return prefix + "_" + "".join("abcdefghijklmnop"[int(digit, 16)] for digit in digits)


@functools.cache
def name_of(text: str, divide_numbers: bool = False, escape: bool = True) -> str:
    """§4: the identifier of an event name or a joined key; "" where it has none. `escape`: rule 5, reserved words."""
    name = plain_name(text, divide_numbers)
    return cut("_" + name if escape and name in RESERVED_WORDS else name)


# ---------------------------------------------------------------------------------------------------------------------
# Types (§5)
# ---------------------------------------------------------------------------------------------------------------------

DATETIME = re.compile(
    "([0-9]{4})-([0-9]{2})-([0-9]{2})"
    "(?:[T ]([0-9]{2}):([0-9]{2})(?::([0-9]{2})(?:[.]([0-9]+))?)?(?:[Zz]|([+-])([0-9]{2}):?([0-9]{2}))?)?"
)
EXACT_IN_DOUBLE = 2**53


def datetime_of(value: JSON) -> datetime | None:
    """§5: the instant that a string names, cut to microseconds, in UTC; None if it is no datetime."""
    match = DATETIME.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return None
    year, month, day, hour, minute, second, fraction, sign, zone_hours, zone_minutes = match.groups()
    if sign and (int(zone_hours) > 23 or int(zone_minutes) > 59):
        return None
    offset = timedelta(hours=int(zone_hours or 0), minutes=int(zone_minutes or 0))
    try:
        day_there = datetime(int(year), int(month), int(day), tzinfo=UTC)
        there = day_there.replace(hour=int(hour or 0), minute=int(minute or 0), second=int(second or 0))
        there = there.replace(microsecond=int((fraction or "")[:6].ljust(6, "0")))
        return there + offset if sign == "-" else there - offset
    except (ValueError, OverflowError):  # no day of the calendar, or outside of the years 1 to 9999
        return None


def datetime_text(instant: datetime) -> str:
    """§5: `YYYY-MM-DDTHH:MM:SS.ffffffZ`."""
    return instant.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


@dataclass(frozen=True)
class Leaf:
    """A value found by walking an event: its joined key, and whether `json_paths` keeps it as JSON text."""

    key: str
    value: JSON
    as_json: bool

    def kind(self) -> str:
        """§5: the type of the value, seen alone."""
        value = self.value
        if self.as_json or isinstance(value, list | Object):
            return "JSON"
        if isinstance(value, bool):
            return "BOOLEAN"
        if isinstance(value, Number) and value.whole:
            return "BIGINT" if len(value.text) <= 20 and -(2**63) <= int(value.text) < 2**63 else "VARCHAR"
        if isinstance(value, Number):
            return "VARCHAR" if math.isinf(float(value.text)) else "DOUBLE"
        return "VARCHAR" if datetime_of(value) is None else "TIMESTAMPTZ"

    def integer(self) -> int:
        assert isinstance(self.value, Number)
        return int(self.value.text)

    def text(self) -> str:
        """§5: what a VARCHAR column holds: a datetime normalised, a value of `json_paths` as JSON, else the text."""
        if self.as_json:
            return minified(self.value)
        instant = datetime_of(self.value)
        return text_of(self.value) if instant is None else datetime_text(instant)


def type_of_new_column(leaves: Sequence[Leaf]) -> str:
    """§5: the narrowest type that holds every value of a new column."""
    kinds = {leaf.kind() for leaf in leaves}
    if len(kinds) == 1:
        return kinds.pop()
    if "JSON" in kinds:
        return "JSON"
    if kinds == {"BIGINT", "DOUBLE"}:
        return "DOUBLE" if all(is_exact(leaf.integer()) for leaf in leaves if leaf.kind() == "BIGINT") else "VARCHAR"
    return "VARCHAR"


def cell_of(leaf: Leaf, column_type: str, is_new: bool) -> Any:
    """§6: what a column of this type holds of a value; None if the value does not fit."""
    kind = leaf.kind()
    if column_type == "VARCHAR":
        return leaf.text()
    if column_type == "JSON":
        return minified(leaf.value)
    if column_type == "DOUBLE" and kind == "BIGINT":
        return float(leaf.integer()) if is_new or abs(leaf.integer()) <= EXACT_IN_DOUBLE else None
    if column_type != kind:
        return None
    if kind == "BIGINT":
        return leaf.integer()
    if kind == "DOUBLE":
        return float(text_of(leaf.value))
    return datetime_of(leaf.value) if kind == "TIMESTAMPTZ" else leaf.value


def is_exact(integer: int) -> bool:
    """§5: whether a DOUBLE holds it."""
    return int(float(integer)) == integer


def type_of_old_column(old: str, cells: Sequence[Any], leaves: Sequence[Leaf], on_type_conflict: str) -> str:
    """§6: the type of a column that is there, and has these cells, after a load brings these values."""
    kinds = {leaf.kind() for leaf in leaves}
    integers = [leaf.integer() for leaf in leaves if leaf.kind() == "BIGINT"]
    type_ = old
    if old == "BIGINT" and "DOUBLE" in kinds and all(map(is_exact, [*cells, *integers])):
        type_ = "DOUBLE"
    misfits = [leaf for leaf in leaves if cell_of(leaf, type_, is_new=type_ != old) is None]
    if misfits and on_type_conflict == "fail":
        raise TypeConflict(misfits)
    return "VARCHAR" if misfits and on_type_conflict == "widen" else type_


def widened(cell: Any, new: str) -> Any:
    """§6: an old cell in a column that became DOUBLE or VARCHAR. A DOUBLE does not tell -0.0 from 0.0."""
    if new == "DOUBLE":
        return float(cell)
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if isinstance(cell, datetime):
        return datetime_text(cell)
    return number_text(repr(cell + 0.0)) if isinstance(cell, float) else str(cell)


class TypeConflict(Exception):
    """§6: `on_type_conflict = "fail"`: nothing is loaded."""


# ---------------------------------------------------------------------------------------------------------------------
# Events (§1)
# ---------------------------------------------------------------------------------------------------------------------

CALL_TABLES = {
    "track": "tracks",
    "identify": "identifies",
    "page": "pages",
    "screen": "screens",
    "group": "groups",
    "alias": "aliases",
    "reset": "resets",
}

# §1: the fields that a call uses; §3: its objects in order of precedence, later wins.
SCALARS = ["messageId", "userId", "anonymousId", "channel", "request_ip"]
SCALARS_OF_CALL = {
    "track": ["event"],
    "page": ["event", "name"],
    "screen": ["event", "name"],
    "group": ["groupId"],
    "alias": ["previousId"],
}
OBJECTS_OF_CALL = {
    "track": ["properties", "userProperties", "context"],
    "identify": ["userProperties", "traits", "context"],
    "page": ["properties", "context"],
    "screen": ["properties", "context"],
    "group": ["traits", "context"],
    "alias": ["traits", "context"],
    "reset": ["properties", "context"],
}
DATETIMES = ["originalTimestamp", "sentAt", "receivedAt", "timestamp"]

TAKEN_TABLE_NAMES = {*CALL_TABLES.values(), "users", "accounts", "sessions", "timeline", "user_traits", "other_events"}
WHITE_SPACE = " \t\r\n\v\f"
MAX_RAW_BYTES = 2**20


@dataclass(frozen=True)
class Settings:
    """The settings of a load that change what it gives. `dedup_window_days` None: all."""

    skip_tracks_table: bool = False
    store_full_event: bool = False
    underscore_divide_numbers: bool = False
    allow_users_context_traits: bool = False
    json_paths: Sequence[str] = ()
    max_columns: int = 1600
    max_event_tables: int = 1000
    dedup_window_days: int | None = 30
    on_type_conflict: str = "discard"  # or "widen", "fail"


@dataclass(frozen=True)
class InputFile:
    """A source file: plain NDJSON, and when it was last modified (aware, UTC)."""

    uri: str
    modified: datetime
    data: bytes


@dataclass
class FileCounts:
    """§8: what became of a file. items = loaded + duplicates + rejected."""

    lines: int = 0
    blank: int = 0
    items: int = 0
    loaded: int = 0
    duplicates: int = 0
    rejected: int = 0


Counts: TypeAlias = list[FileCounts]  # one a file, in the order given


@dataclass(frozen=True)
class Item:
    """A line or an element of a batch: where it is (`place`: file, line, element or None) and its text."""

    place: tuple[int, int, int | None]
    text: str
    value: JSON = None
    envelope_sent_at: JSON = None
    reject: str | None = None


@dataclass
class Event:
    """An item that is an event: its fields that are there, and what of it was lost as (where, value, reason)."""

    item: Item
    call: str
    id: str
    received_at: datetime
    scalars: dict[str, str]
    datetimes: dict[str, datetime]
    objects: dict[str, Object]
    lost: list[tuple[str, JSON, str]]
    table: str | None = None  # of a track: its own table

    @property
    def order(self) -> tuple[int, int, int]:
        """§7: by file, line, element."""
        file_id, line, element = self.item.place
        return file_id, line, -1 if element is None else element


def lines_of(data: bytes) -> list[bytes]:
    """§1: the lines of a file without line end (LF or CR LF) and byte order mark. The last one needs no LF."""
    *ended, rest = data.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    return [line.removesuffix(b"\r") for line in ended] + ([rest] if rest else [])


def items_of(line: bytes, file_id: int, number: int) -> Iterator[Item]:
    """§1: a line is one item, or a batch envelope with one item an element."""
    place = (file_id, number, None)
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError:
        yield Item(place, line.decode("utf-8", errors="replace"), reject="invalid_utf8")
        return
    try:
        value = parse(text)
    except ValueError:
        yield Item(place, text, reject="invalid_json")
        return
    keys = value.first() if isinstance(value, Object) else {}
    if "batch" not in keys or "type" in keys:
        yield Item(place, text, value)
        return
    batch = keys["batch"]
    if not isinstance(batch, list):
        yield Item(place, text, reject="bad_batch")
    elif not batch:
        yield Item(place, text, reject="empty_batch")
    else:
        for position, element in enumerate(batch):
            yield Item((file_id, number, position), minified(element), element, keys.get("sentAt"))


def reject_reason(item: Item) -> str | None:
    """§1 and §6: why an item is not an event; None if it is one."""
    if item.reject:
        return item.reject
    if not isinstance(item.value, Object):
        return "not_an_object"
    keys = item.value.first()
    if "type" not in keys:
        return "missing_type"
    call = keys["type"]
    return None if isinstance(call, str) and call.lower() in CALL_TABLES else "unknown_type"


def event_of(item: Item, modified: datetime, started: datetime) -> Event:
    """§1: the fields of an event; what they lose is noted in `lost`."""
    assert isinstance(item.value, Object)
    keys = item.value.first()
    call = text_of(keys["type"]).lower()
    names = SCALARS + SCALARS_OF_CALL.get(call, [])
    lost: list[tuple[str, JSON, str]] = [
        (key, value, "duplicate_key")
        for key, value in item.value.lost()
        if key in names + DATETIMES + OBJECTS_OF_CALL[call]
    ]
    if keys.get("sentAt") is None:
        keys["sentAt"] = item.envelope_sent_at

    scalars = {}
    for name in names:
        value = keys.get(name)
        if isinstance(value, list | Object):
            lost.append((name, value, "not_a_scalar"))
        elif value not in (None, ""):
            scalars[name] = text_of(value)

    datetimes = {}
    for name in DATETIMES:
        value = keys.get(name)
        instant = datetime_of(value)
        if instant is not None and not (name == "receivedAt" and instant > started + timedelta(days=1)):
            datetimes[name] = instant
        elif value not in (None, ""):
            lost.append((name, value, "bad_timestamp"))

    objects = {}
    for name in OBJECTS_OF_CALL[call]:
        value = keys.get(name)
        if isinstance(value, Object):
            objects[name] = value
        elif value is not None:
            lost.append((name, value, "not_an_object"))

    message_id = scalars.get("messageId", "")
    if not message_id.strip(WHITE_SPACE):
        message_id = "auto-" + hashlib.sha256(item.text.encode("utf-8")).hexdigest()[:32]
    received_at = datetimes.get("receivedAt", modified)
    return Event(item, call, message_id, received_at, scalars, datetimes, objects, lost)


def timestamp_of(event: Event) -> datetime:
    """§1: when the event happened: its own `timestamp`, else computed."""
    own = event.datetimes
    if "timestamp" in own:
        return own["timestamp"]
    if {"receivedAt", "sentAt", "originalTimestamp"} <= own.keys():
        try:
            return own["receivedAt"] - (own["sentAt"] - own["originalTimestamp"])
        except OverflowError:  # outside of the years 1 to 9999
            pass
    return own.get("originalTimestamp", own.get("sentAt", event.received_at))


# ---------------------------------------------------------------------------------------------------------------------
# Rows (§2, §3)
# ---------------------------------------------------------------------------------------------------------------------

RULE_COLUMNS = {
    **dict.fromkeys(["id", "anonymous_id", "user_id", "channel"], "VARCHAR"),
    **dict.fromkeys(["sent_at", "received_at", "original_timestamp", "timestamp"], "TIMESTAMPTZ"),
    "received_date": "DATE",
    **dict.fromkeys(["context_ip", "context_request_ip", "context_passed_ip"], "VARCHAR"),
    "uuid_ts": "TIMESTAMPTZ",
    **dict.fromkeys(["loader_file_id", "loader_line", "loader_element"], "BIGINT"),
}
RULE_COLUMNS_OF_CALL_TABLE = {
    "tracks": ["event_text", "event"],
    "pages": ["name"],
    "screens": ["name"],
    "groups": ["group_id"],
    "aliases": ["previous_id"],
}


@dataclass
class Table:
    """Columns with their types, and rows; a cell that is absent has no key, or None."""

    columns: dict[str, str]
    rows: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class Draft:
    """A row to be: its rule columns (every one of the table), the values that won the others, and what was lost of it
    as (column, value, reason)."""

    event: Event
    rule_cells: dict[str, Any]
    winners: dict[str, Leaf]
    lost: list[tuple[str, JSON, str]]


def first_of(*values: JSON) -> str | None:
    """§3: the text of the first value that is a scalar and not blank."""
    for value in values:
        if value not in (None, "") and not isinstance(value, list | Object):
            return text_of(value)
    return None


def equals_rule_column(value: JSON, column: str, rule_cell: Any) -> bool:
    """§3: whether a user's value says the same as the rule column that it landed on."""
    if rule_cell is None or column == "uuid_ts":
        return False
    if isinstance(rule_cell, datetime):
        return datetime_of(value) == rule_cell
    return text_of(value) == (rule_cell.isoformat() if isinstance(rule_cell, date) else str(rule_cell))


class Warehouse:
    """The tables after some loads."""

    def __init__(self, **settings: Any) -> None:
        self.settings = Settings(**settings)
        assert self.settings.on_type_conflict in ("discard", "widen", "fail")
        self.json_paths = {tuple(path.split(".")) for path in self.settings.json_paths}
        self.tables: dict[str, Table] = {}
        self.rejects: list[dict[str, Any]] = []
        self.discards: list[dict[str, Any]] = []
        self._event_tables: set[str] = set()
        self._files = 0
        self._received: dict[tuple[str, str], list[datetime]] = {}  # of the rows of a (call, id)

    def load(self, files: Sequence[InputFile], started: datetime) -> Counts:
        """One load of files, against the tables that are there. TypeConflict: nothing is loaded."""
        before = copy.deepcopy(self.__dict__)
        try:
            return self._load(files, started)
        except TypeConflict:
            self.__dict__ = before
            raise

    def _load(self, files: Sequence[InputFile], started: datetime) -> Counts:
        counts: Counts = []
        events: list[Event] = []
        files_before = self._files
        for file in files:
            self._files += 1
            counts.append(FileCounts())
            events += self._read(file, started, counts[-1])
        kept = self._without_duplicates(events)
        orders_kept = {event.order for event in kept}
        for event in events:
            count = counts[event.item.place[0] - files_before - 1]
            count.loaded += event.order in orders_kept
            count.duplicates += event.order not in orders_kept

        for name in CALL_TABLES.values():
            self.tables.setdefault(name, Table(self._rule_columns(name)))
        drafts: dict[str, list[Draft]] = {}
        for event in kept:
            self._assign_table(event)
            for table in self._tables_of(event):
                drafts.setdefault(table, []).append(self._draft(event, table, started))
            for where, value, reason in event.lost + self._duplicate_keys(event):
                self._discard(event, CALL_TABLES[event.call], where, value, reason)
        for table in drafts:
            self._write(table, drafts[table])
        return counts

    def users(self) -> Table:
        """§7: of every `user_id` each column's latest value that is there, and its latest `received_at`."""
        identifies = self.tables["identifies"]
        left_out = {"id", "user_id", "loader_file_id", "loader_line", "loader_element"}
        columns = {name: kind for name, kind in identifies.columns.items() if name not in left_out}
        users: dict[str, dict[str, Any]] = {}

        def lateness(row: dict[str, Any]) -> tuple[Any, ...]:
            element = row["loader_element"]
            return row["received_at"], row["loader_file_id"], row["loader_line"], -1 if element is None else element

        for row in sorted(identifies.rows, key=lateness):
            if row["user_id"] is not None:
                user = users.setdefault(row["user_id"], {"id": row["user_id"]})
                user.update({name: row[name] for name in columns if row.get(name) is not None})
        return Table({"id": "VARCHAR", **columns}, list(users.values()))

    def _read(self, file: InputFile, started: datetime, count: FileCounts) -> Iterator[Event]:
        """§1 and §8: the events of a file; what is none is a reject."""
        for number, line in enumerate(lines_of(file.data), start=1):
            count.lines += 1
            if not line.strip(b" \t\r"):
                count.blank += 1
                continue
            for item in items_of(line, self._files, number):
                count.items += 1
                reason = reject_reason(item)
                if reason is None:
                    yield event_of(item, file.modified, started)
                    continue
                count.rejected += 1
                raw = item.text.encode("utf-8")[:MAX_RAW_BYTES].decode("utf-8", errors="ignore")
                self.rejects.append({**lineage(item), "reason": reason, "raw": raw})

    def _without_duplicates(self, events: Sequence[Event]) -> list[Event]:
        """§7: one event a (call, id): none if the warehouse has it within the window, else the earliest received."""
        days = self.settings.dedup_window_days
        earliest: dict[tuple[str, str], Event] = {}
        for event in events:
            key = (event.call, event.id)
            distances = [abs(event.received_at - received) for received in self._received.get(key, [])]
            if any(days is None or distance <= timedelta(days=days) for distance in distances):
                continue
            best = earliest.setdefault(key, event)
            if (event.received_at, event.order) < (best.received_at, best.order):
                earliest[key] = event
        for key, event in earliest.items():
            self._received.setdefault(key, []).append(event.received_at)
        return sorted(earliest.values(), key=lambda event: event.order)

    def _assign_table(self, event: Event) -> None:
        """§2: a track's own table; none if it has no name, or is a new one past `max_event_tables`."""
        if event.call != "track":
            return
        name = name_of(event.scalars.get("event", ""), self.settings.underscore_divide_numbers)
        name = "_" + name if name in TAKEN_TABLE_NAMES else name
        if name in self._event_tables or (name and len(self._event_tables) < self.settings.max_event_tables):
            self._event_tables.add(name)
            event.table = name

    def _tables_of(self, event: Event) -> list[str]:
        """§2: the tables that an event has a row in."""
        if event.call != "track":
            return [CALL_TABLES[event.call]]
        if event.table is None:
            return ["tracks", "other_events"]
        return [event.table] if self.settings.skip_tracks_table else ["tracks", event.table]

    def _rule_columns(self, table: str) -> dict[str, str]:
        """§3: the rule columns of a table. `rudder_event` is on call tables only."""
        names = RULE_COLUMNS_OF_CALL_TABLE["tracks"]
        if table in CALL_TABLES.values():
            names = RULE_COLUMNS_OF_CALL_TABLE.get(table, [])
        columns = {**RULE_COLUMNS, **dict.fromkeys(names, "VARCHAR")}
        if table in CALL_TABLES.values() and self.settings.store_full_event:
            columns["rudder_event"] = "JSON"
        return columns

    def _rule_cells(self, event: Event, table: str, started: datetime) -> dict[str, Any]:
        """§3: the values of a table's rule columns, None where the event has none."""
        scalars, datetimes = event.scalars, event.datetimes
        context_ip = event.objects.get("context", Object([])).first().get("ip")
        properties_name = event.objects.get("properties", Object([])).first().get("name")
        cells = {
            "id": event.id,
            "anonymous_id": scalars.get("anonymousId"),
            "user_id": scalars.get("userId"),
            "channel": scalars.get("channel"),
            "sent_at": datetimes.get("sentAt"),
            "received_at": event.received_at,
            "original_timestamp": datetimes.get("originalTimestamp"),
            "timestamp": timestamp_of(event),
            "received_date": event.received_at.astimezone(UTC).date(),
            "context_ip": first_of(context_ip, scalars.get("request_ip")),
            "context_request_ip": scalars.get("request_ip"),
            "context_passed_ip": first_of(context_ip),
            "uuid_ts": started,
            **lineage(event.item),
            "event_text": scalars.get("event"),
            "event": name_of(scalars.get("event", ""), self.settings.underscore_divide_numbers, escape=False),
            "name": first_of(scalars.get("name"), properties_name, scalars.get("event")),
            "group_id": scalars.get("groupId"),
            "previous_id": scalars.get("previousId"),
            "rudder_event": minified(event.item.value),
        }
        return {name: cells[name] for name in self._rule_columns(table)}

    def _walk(self, event: Event, path: tuple[str, ...], value: Object, prefix: str) -> Iterator[Leaf]:
        """§3: the values under an object that are not blank: depth-first, keys in UTF-8 byte order, joined with `_`.
        `path` leads to it: ("properties",). What `json_paths` names is not walked."""
        for key, inner in sorted(value.first().items(), key=lambda pair: pair[0].encode("utf-8")):
            if (event.call, *path, key) in self.json_paths:
                if inner not in (None, ""):
                    yield Leaf(prefix + key, inner, as_json=True)
            elif isinstance(inner, Object):
                yield from self._walk(event, (*path, key), inner, prefix + key + "_")
            elif not is_blank(inner):
                yield Leaf(prefix + key, inner, as_json=False)

    def _leaves(self, event: Event, table: str) -> Iterator[Leaf]:
        """§3: the values of an event for a table, in order of precedence: later wins."""
        for name in OBJECTS_OF_CALL[event.call]:
            if name == "traits" and event.call == "identify" and self.settings.allow_users_context_traits:
                context_traits = event.objects.get("context", Object([])).first().get("traits")
                if isinstance(context_traits, Object) and ("identify", "context", "traits") not in self.json_paths:
                    yield from self._walk(event, ("context", "traits"), context_traits, "")
            if name == "context" or table != "tracks":
                prefix = "context_" if name == "context" else ""
                yield from self._walk(event, (name,), event.objects.get(name, Object([])), prefix)

    def _draft(self, event: Event, table: str, started: datetime) -> Draft:
        """§3: rule columns win over all; then the last of the values that give one column. `other_events` has only rule
        columns and `properties` (§2)."""
        draft = Draft(event, self._rule_cells(event, table, started), {}, [])
        if table == "other_events":
            properties = event.objects.get("properties", Object([]))
            if properties.pairs:
                draft.winners["properties"] = Leaf("properties", properties, as_json=True)
            return draft
        rivals: dict[str, list[Leaf]] = {}
        for leaf in self._leaves(event, table):
            column = name_of(leaf.key, self.settings.underscore_divide_numbers)
            if not column:
                draft.lost.append((leaf.key, leaf.value, "unnameable_key"))
            elif column in draft.rule_cells:
                if not equals_rule_column(leaf.value, column, draft.rule_cells[column]):
                    draft.lost.append((column, leaf.value, "rule_column"))
            else:
                rivals.setdefault(column, []).append(leaf)
        for column, (*losers, winner) in rivals.items():
            draft.winners[column] = winner
            for loser in losers:
                if minified(loser.value) != minified(winner.value):
                    draft.lost.append((column, loser.value, "name_collision"))
        return draft

    def _duplicate_keys(self, event: Event) -> list[tuple[str, JSON, str]]:
        """§1: keys that come twice in an object that is walked, with the path to them. What is kept as JSON text keeps
        both: arrays, `json_paths`, the properties of a track without own table."""
        lost: list[tuple[str, JSON, str]] = []

        def look(path: tuple[str, ...], value: Object) -> None:
            lost.extend((".".join((*path, key)), inner, "duplicate_key") for key, inner in value.lost())
            for key, inner in value.first().items():
                if isinstance(inner, Object) and (event.call, *path, key) not in self.json_paths:
                    look((*path, key), inner)

        for name, value in event.objects.items():
            if name == "context" or event.call != "track" or event.table is not None:
                look((name,), value)
        return lost

    def _write(self, table: str, drafts: Sequence[Draft]) -> None:
        """§5 and §6: new columns with their types, in order of name up to `max_columns`; then the rows."""
        target = self.tables.setdefault(table, Table(self._rule_columns(table)))
        if table == "other_events":
            target.columns["properties"] = "JSON"
        new = {column for draft in drafts for column in draft.winners} - target.columns.keys()
        room = max(0, self.settings.max_columns - len(target.columns))
        accepted = sorted(new, key=lambda column: column.encode("utf-8"))[:room]
        for column in accepted:
            values = [draft.winners[column] for draft in drafts if column in draft.winners]
            target.columns[column] = type_of_new_column(values)
        for column in target.columns.keys() - self._rule_columns(table).keys() - set(accepted):
            values = [draft.winners[column] for draft in drafts if column in draft.winners]
            cells = [row[column] for row in target.rows if row.get(column) is not None]
            old = target.columns[column]
            new_type = type_of_old_column(old, cells, values, self.settings.on_type_conflict)
            if new_type != old:
                target.columns[column] = new_type
                accepted.append(column)
                for row in target.rows:
                    if row.get(column) is not None:
                        row[column] = widened(row[column], new_type)
        for draft in drafts:
            row = dict(draft.rule_cells)
            for column, leaf in draft.winners.items():
                if column not in target.columns:
                    draft.lost.append((column, leaf.value, "too_many_columns"))
                    continue
                row[column] = cell_of(leaf, target.columns[column], is_new=column in accepted)
                if row[column] is None:
                    draft.lost.append((column, leaf.value, "type_mismatch"))
            target.rows.append(row)
            for where, value, reason in draft.lost:
                self._discard(draft.event, table, where, value, reason)

    def _discard(self, event: Event, table: str, where: str, value: JSON, reason: str) -> None:
        """§6: a value that was lost."""
        self.discards.append(
            {
                "table_name": table,
                "row_id": event.id,
                "column_name": where,
                "column_value": minified(value),
                "reason": reason,
                "received_at": event.received_at,
                **lineage(event.item),
            }
        )


def lineage(item: Item) -> dict[str, int | None]:
    """§3: where a row came from."""
    return dict(zip(["loader_file_id", "loader_line", "loader_element"], item.place, strict=True))
