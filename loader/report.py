"""Everything counted, for a person and for a machine."""

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(slots=True)
class Report:
    """What one command did. bytes: read, before decompression. rows: written, by table. rejects, discards: by reason.

    unread: files that could not be read, with why. refused: event names without a table of their own because of
    `max_event_tables`. changes: table.column with its type, for what the command created or added.
    """

    files: int = 0
    bytes: int = 0
    lines: int = 0
    items: int = 0
    loaded: int = 0
    duplicates: int = 0
    rows: dict[str, int] = field(default_factory=dict)
    rejects: dict[str, int] = field(default_factory=dict)
    discards: dict[str, int] = field(default_factory=dict)
    loads: list[int] = field(default_factory=list)
    known_files: int = 0
    unread: dict[str, str] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)
    new_tables: list[str] = field(default_factory=list)
    new_columns: int = 0
    seconds: float = 0.0
    recovered: list[int] = field(default_factory=list)

    @property
    def rejected(self) -> int:
        """Items that are no events."""
        return sum(self.rejects.values())

    def to_dict(self) -> dict[str, Any]:
        """The report as plain JSON values."""
        return asdict(self)


def add(into: dict[str, int], counts: dict[str, int]) -> None:
    """Adds counts to those there are."""
    for key, count in counts.items():
        into[key] = into.get(key, 0) + count
