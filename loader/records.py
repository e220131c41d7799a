"""What the stages hand to each other. Data only."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Self

import pyarrow as pa

from loader.calls import Part
from loader.schema import Column

STDIN = "-"
# A line as read: its number in its file and among all lines of the load, its text with its line end, and the reason for
# which it can be no event (invalid_utf8, line_too_long), if there is one.
LINES = pa.schema(
    [
        ("file_id", pa.int32()),
        ("ordinal", pa.int64()),
        ("line", pa.int64()),
        ("text", pa.string()),
        ("fault", pa.string()),
    ]
)
GROWING, LATE = "growing", "late"  # a file that is still being written; one for which there was no time
NO_TABLE = -1  # event_table of a track whose name gives no table

COLUMN = "column"  # a leaf's fate: a cell of its column; the other fates are the reasons of a discard
RULE_COLUMN, UNNAMEABLE, TOO_MANY = "rule_column", "unnameable_key", "too_many_columns"


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file to read. uri: its absolute path, its address in a bucket, or `-`. size: bytes, None for a stream.
    modified: aware, UTC.

    source: where its events come from: the name given, else the source id in the path, else None. etag: of an object in
    a bucket, where it has one. fresh: it was written a moment before it was listed, and may still be.
    """

    uri: str
    size: int | None
    modified: datetime
    source: str | None
    etag: str | None = None
    fresh: bool = field(default=False, compare=False)

    @classmethod
    def of(cls, path: str, status: os.stat_result, source: str | None) -> Self:
        """A file on disk as it is."""
        return cls(path, status.st_size, datetime.fromtimestamp(status.st_mtime_ns // 1000 / 1e6, UTC), source)

    @property
    def version(self) -> str:
        """What tells two states of the file apart, as the ledger keeps it."""
        return self.etag or self.modified.isoformat(timespec="microseconds")


@dataclass(slots=True)
class FileRead:
    """What reading one file came to. bytes: before decompression. error: why it could not be read whole, else None.
    left: no fault, but why it is left for the next run (GROWING, LATE); then there is an error, too.

    text: bytes after decompression, of which `given` were given out in lines and `dropped` are not needed (a byte order
    mark, the end of a line that is too long).
    """

    file: SourceFile
    file_id: int
    lines: int = 0
    bytes: int = 0
    text: int = 0
    given: int = 0
    dropped: int = 0
    error: str | None = None
    left: str | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """One path in one table: `keys` from the root of the part, `kinds` (json_type's names, NULL left out) with their
    number of events, `first` the position of the first event that has it. member, beside: see `Leaf`."""

    path: int
    json: str
    keys: tuple[str, ...]
    kinds: dict[str, int]
    first: int
    member: int | None = None
    beside: bool = True


@dataclass(frozen=True, slots=True)
class EventName:
    """A text that tracks have as `event` ('' for none), with their number and the position of the first."""

    text: str
    rows: int
    first: int


@dataclass(frozen=True, slots=True, eq=False)  # many are keys of dicts: equal is the same
class Leaf:
    """A path of one table whose values become cells of `column`, or discards for the reason that `fate` gives.

    keys: from the root of the JSON part. kind: the kind of all its values (integers BIGINT, integers and
    others NUMBER), None where they differ.
    order: of a column's several leaves the greatest that is not blank wins. kept: `json_paths` names it.
    common: read for every event; else only where it is. first: position of the first event that has it, `events` their
    number. member: the one of the context that it is in (loader.context), None if it is in none. beside:
    whether it is also in JSON that is read event by event. plain: its values are what the kind says: no text is a
    datetime, and no number needs a closer look.
    """

    path: int
    part: Part
    keys: tuple[str, ...]
    kind: str | None
    column: str
    fate: str
    order: tuple[int, tuple[bytes, ...]]
    kept: bool
    common: bool
    first: int
    events: int
    member: int | None = None
    beside: bool = True
    plain: bool = False


@dataclass(frozen=True, slots=True)
class Target:
    """A table and the events that have a row in it: those of a call, or of one `event_table` of the tracks.

    unnamed: of the call's events only those without a table of their own (`skip_tracks_table`).
    """

    table: str
    call: str
    event_table: int | None
    leaves: tuple[Leaf, ...]
    unnamed: bool = False


@dataclass(frozen=True, slots=True)
class Measure:
    """What the values of one column are: number by class (values.sql, class_of); the first one's position, if any."""

    classes: Mapping[str, int]
    first: int | None


@dataclass(frozen=True, slots=True)
class Look:
    """What the values of a leaf are. texts: their number, blank ones included."""

    texts: int
    measure: Measure


@dataclass(frozen=True, slots=True)
class TablePlan:
    """A table as a load leaves it: its columns in order, and those (of them) that the load adds.

    widened: by name, the old types of the columns that the load widens.
    """

    target: Target
    columns: tuple[Column, ...]
    created: bool
    added: tuple[Column, ...]
    widened: dict[str, str] = field(default_factory=dict)

    def is_fresh(self, column: Column) -> bool:
        """Whether the load gives the column its type, knowing all values that come."""
        return column in self.added or column.name in self.widened
