"""What the steps of one load share: the engine and what is known (Job), and what they count and plan."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

import duckdb

from loader import ledger
from loader.db import literal
from loader.records import TablePlan
from loader.settings import Settings

Stage = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Rewritten:
    """All rows of before of a table of the ledger, changed. sql: a SELECT of them; rows: their number; cells: by column
    how many are not to be NULL, where that is to be checked."""

    sql: str
    rows: int
    cells: dict[str, int]


@dataclass(slots=True)
class Job:
    """What every step of a load needs: the engine with the staged events, and what is known.

    rows: the number of events by call, event table and date. rewritten: tables of the ledger of which the load replaces
    the rows of before.
    """

    sql: duckdb.DuckDBPyConnection
    settings: Settings
    known: ledger.State
    started: datetime
    rules: str  # JSON, as the ledger keeps it
    stage: Stage
    members: tuple[str, ...] = ()  # of the contexts, kept apart (loader.context)
    rows: list[tuple[str, int | None, str, int]] = field(default_factory=list)
    rewritten: dict[str, Rewritten] = field(default_factory=dict)

    @property
    def load_id(self) -> int:
        return self.known.last_load + 1

    @property
    def uuid_ts(self) -> str:
        return f"TIMESTAMPTZ {literal(self.started.isoformat())}"


@dataclass(frozen=True, slots=True)
class FileCounts:
    """What one file held."""

    lines: int
    blank: int
    items: int
    rejected: int
    duplicates: int


@dataclass(slots=True)
class Planned:
    """A table's plan with what must come of it. rows: to be written; dates: their partitions. values: by column, the
    number of values that are to be cells or discards. firsts: by column, the position of the first value.
    causes: by widened column, the position of the first value that caused it. misfits: by existing column, the classes
    of values that do not fit it."""

    plan: TablePlan
    rows: int
    dates: list[str]
    values: dict[str, int]
    firsts: dict[str, int]
    has_odd: bool
    causes: dict[str, int | None]
    misfits: dict[str, frozenset[str]]
