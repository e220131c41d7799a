"""Many small files become few: decides which files of a table are small, and writes their rows anew, sorted by time.

No row changes, and no file goes: readers of older versions keep theirs until a vacuum. A table is one manifest and one
entry in its log, by a transaction of its own, so that whatever dies, the next run finishes it.

An event lies in the partition of its day, so a day is what is compacted: a past one, to which only late events come.
The ledger's tables have no days, and grow by a file a load.
"""

import difflib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any

import duckdb

from loader import books, delta, identity, ledger, store, widen
from loader.calls import LINEAGE, PARTITION
from loader.db import literal
from loader.delta import Commit, LiveFile
from loader.errors import LoaderError
from loader.history import COMPACTION
from loader.schema import Column
from loader.store import Written

LARGE = 128 << 20  # bytes of a file that is left as it is
SHARE = 16  # a run writes a file anew only with others of its day that come to so much of it: then each row is written
# a few times, however often a few late ones come to its day
_BY_TIME = ", ".join(('"timestamp"', *LINEAGE))


@dataclass(frozen=True, slots=True)
class Target:
    """A table that can be compacted. name: as analysts know it. folder: relative to the warehouse. number: of a table
    without partitions, the column that numbers the loads: rows stay in the order in which they came."""

    name: str
    folder: str
    number: str | None = None


@dataclass(frozen=True, slots=True)
class Compacted:
    """What became of a table. files: that were small; into: so many; bytes: of these."""

    table: str
    rows: int
    files: int
    into: int
    bytes: int

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return asdict(self)


def targets(tables: Iterable[str]) -> list[Target]:
    """All that can be compacted: these tables of events, and those that grow by a file a load. (A run writes the other
    tables of identity as one file each.)"""
    found = [Target(table, store.table_folder(table)) for table in tables]
    found += [Target(f"loader.{table}", ledger.folder(table), "load_id") for table in ledger.TABLES]
    grown = {"person_changes": "load_id", "resolves": "resolve_id"}
    return found + [Target(f"identity.{name}", identity.folder(name), number) for name, number in grown.items()]


def named(known: Sequence[Target], names: Sequence[str]) -> list[Target]:
    """Those of these names; all, where there are none. LoaderError where there is no such table."""
    by_name = {target.name: target for target in known}
    wanted = [name.removeprefix("main.") for name in names]
    for name in wanted:
        if name not in by_name:
            close = difflib.get_close_matches(name, list(by_name), 3)
            hint = f" Close: {', '.join(close)}." if close else ""
            raise LoaderError(f"{name}: there is no such table to compact.{hint} See: loader schema")
    return [by_name[name] for name in dict.fromkeys(wanted)] if names else list(known)


def compact(
    connection: duckdb.DuckDBPyConnection,
    warehouse: Path,
    wanted: Sequence[Target],
    today: date,
    more_than: int | None = None,
) -> list[Compacted]:
    """Compacts the tables in turn, and commits each. The days before `today` count.

    more_than: only tables that have more small files, and of a day only those that are worth it; None: all small files
    of a day become one. Raises BooksError, and commits nothing of that table, unless rows and cells are as before.
    """
    done = []
    number = max((number for number, _ in store.manifests(warehouse, COMPACTION)), default=0)
    for target in wanted:
        root = warehouse / target.folder
        if more_than and sum(1 for _ in root.rglob("*.parquet")) <= more_than:
            continue  # to read its log takes 2 ms, of each of a thousand tables
        if not delta.exists(root):
            continue
        now = delta.snapshot(root)
        groups = _groups(now.files, today, thrifty=more_than is not None)
        if not groups or sum(map(len, groups.values())) <= (more_than or 0):
            continue
        number = max(number, delta.transaction_version(root, COMPACTION) or 0) + 1
        commit = _write(connection, warehouse, target, now.columns, groups, number)
        store.make_certain(warehouse, number, [commit], COMPACTION)
        store.commit(warehouse, number, [commit], COMPACTION)
        rows, size = sum(file.rows for file in commit.files), sum(file.size for file in commit.files)
        done.append(Compacted(target.name, rows, len(commit.replaced), len(commit.files), size))
    return done


def _groups(files: Sequence[LiveFile], today: date, *, thrifty: bool) -> dict[str, list[LiveFile]]:
    """By day ("" in a table without partitions), the files that are to be one. thrifty: see SHARE."""
    days: dict[str, list[LiveFile]] = defaultdict(list)
    for file in files:
        day = file.partition.get(PARTITION, "")
        if file.size < LARGE and not (day and date.fromisoformat(day) >= today):
            days[day].append(file)
    chosen = {day: _worth(of_day) if thrifty else of_day for day, of_day in days.items()}
    return {day: of_day for day, of_day in sorted(chosen.items()) if len(of_day) > 1}


def _worth(files: Sequence[LiveFile]) -> list[LiveFile]:
    """The smallest files, as many that the largest of them is no more than SHARE times the others."""
    ordered = sorted(files, key=lambda file: (file.size, file.path))
    total, end = 0, 0
    for at, file in enumerate(ordered):
        if file.size <= SHARE * total:
            end = at + 1
        total += file.size
    return ordered[:end]


def _write(
    connection: duckdb.DuckDBPyConnection,
    warehouse: Path,
    target: Target,
    columns: Sequence[Column],
    groups: Mapping[str, Sequence[LiveFile]],
    number: int,
) -> Commit:
    """Writes a file for each group. No reader sees them yet."""

    def one(day: str) -> Written:
        with connection.cursor() as cursor:
            return _write_one(cursor, warehouse, target, columns, day, groups[day], number)

    with ThreadPoolExecutor(2, thread_name_prefix="compact") as pool:
        written = list(pool.map(one, groups))
    root = (warehouse / target.folder).absolute()
    return Commit(
        target.folder,
        target.name,
        tuple(columns),
        () if target.number else (PARTITION,),
        tuple(file for each in written for file in each.files),
        replaced=tuple(str(Path(file.path).relative_to(root)) for files in groups.values() for file in files),
    )


def _write_one(
    connection: duckdb.DuckDBPyConnection,
    warehouse: Path,
    target: Target,
    columns: Sequence[Column],
    day: str,
    files: Sequence[LiveFile],
    number: int,
) -> Written:
    if target.number:
        listed = ", ".join(literal(file.path) for file in files)
        options = "union_by_name = true, hive_partitioning = false, file_row_number = true"
        sql, order = f"FROM read_parquet([{listed}], {options})", f"{target.number}, file_row_number"
    else:
        sql, order = f"FROM {widen.rows_sql(columns, files)}", _BY_TIME if day else ""
    rows = sum(file.rows for file in files)
    dates = [day] if day else []
    written = store.write(connection, warehouse, target.folder, columns, sql, number, rows, dates, order)
    found = {name: count for name, count in written.cells.items() if name != PARTITION}
    what = f"{target.name}{f' of {day}' if day else ''}"
    books.balance(f"rows of {what}, compacted", {what: rows}, {what: written.rows})
    books.balance(f"cells of {what}, compacted", widen.filled(connection, files), found)
    return written
