"""The warehouse folder: its lock, the files of a load, the manifest that makes a load certain, commits and recovery."""

import json
import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
from deltalake import DeltaTable
from filelock import FileLock, Timeout

from loader import delta, file_names
from loader.calls import PARTITION
from loader.db import literal, quote
from loader.delta import Commit, DeltaFile
from loader.errors import LoaderError, LockedError, UsageError
from loader.schema import Column, folder_of

LOADER = "loader"  # the transactions of loads in the tables' logs
FORMAT = 1  # of the warehouse folder
ROWS_A_COPY = 50  # a date with more rows (on average) is written by a COPY of its own
CELLS_A_GROUP = 16 << 20  # of a Parquet row group, which is built in memory, one a thread
ROWS_TO_COMPRESS = 2000  # below, to set zstd up for each column takes longer than all the rest
# What is written beside before it becomes a file of its name; `#` is deltalake's.
_UNFINISHED = ("*/*/_delta_log/*#*", "loader/**/*.part", "*.part", "*.part.wal")
_UNUSABLE = "%[]=?*\\"  # in a warehouse's path: file lists and partition folders would be misread


@dataclass(frozen=True, slots=True)
class Written:
    """What a COPY wrote: its files, rows, and the cells that are not NULL, by column."""

    files: tuple[DeltaFile, ...]
    rows: int
    cells: dict[str, int]


def check_path(warehouse: Path) -> Path:
    """The absolute path of a warehouse. UsageError where such a path would be misread by the engines."""
    path = Path(warehouse).absolute()
    if bad := [character for character in str(path) if character in _UNUSABLE or not character.isprintable()]:
        raise UsageError(f"{path}: a warehouse's path may not contain {bad[0]!r}. Choose another folder.")
    return path


def table_folder(table: str) -> str:
    """The folder of a table of events, relative to the warehouse."""
    return f"tables/{folder_of(table)}"


def spill_folder(warehouse: Path) -> Path:
    """Where the engine puts what does not fit into memory; empty between runs."""
    return warehouse / "loader" / "spill"


def was_begun(warehouse: Path) -> bool:
    """Whether a run has ever worked here, or is about to."""
    return (warehouse / "loader").exists()


def open_warehouse(warehouse: Path) -> None:
    """Makes the folders of a warehouse, or checks that this version can work on them."""
    marker = warehouse / "loader" / "format"
    try:
        if marker.exists():
            _check_format(warehouse, marker)
            return
        tables = warehouse / "tables"
        begun = {warehouse / "loader"} | ({tables} if tables.is_dir() and not any(tables.iterdir()) else set())
        if any(entry not in begun for entry in warehouse.iterdir()):
            raise LoaderError(
                f"{warehouse}: this folder holds other files and is no warehouse. Give an empty or new one."
            )
        (warehouse / "loader" / "manifests").mkdir(parents=True, exist_ok=True)
        (warehouse / "tables").mkdir(exist_ok=True)
        _write_certain(marker, f"{FORMAT}\n")
    except OSError as error:
        raise LoaderError(f"{error.filename or warehouse}: cannot write here: {error.strerror}.") from error


def check_format(warehouse: Path) -> None:
    """LoaderError unless this is a warehouse of a format that this version reads."""
    marker = warehouse / "loader" / "format"
    if not marker.exists():
        raise LoaderError(f"{warehouse}: there is no warehouse here. Load something first, or give --warehouse.")
    _check_format(warehouse, marker)


def _check_format(warehouse: Path, marker: Path) -> None:
    text = marker.read_text().strip()
    if not text.isdigit() or int(text) > FORMAT:
        raise LoaderError(
            f"{warehouse}: its format is {text!r}, this version reads up to {FORMAT}. "
            "Install a newer version of loader."
        )


@contextmanager
def locked(warehouse: Path) -> Iterator[None]:
    """Only one run at a time writes to a warehouse. LockedError if another holds the lock: who, and since when.

    The lock of a run that died is free. What that had begun to write is removed, but for what a vacuum takes.
    """
    folder = warehouse / "loader"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / "lock", timeout=0)
        lock.acquire()
    except Timeout:
        raise LockedError(
            f"{warehouse}: another run is at work: {_holder(folder)}. Try again when it is done."
        ) from None
    except OSError as error:
        raise LoaderError(f"{folder}: cannot write here: {error.strerror}.") from error
    try:
        if (folder / "holder").exists():
            _clear_up(warehouse)
        since = datetime.now(UTC).isoformat(timespec="seconds")
        (folder / "holder").write_text(f"process {os.getpid()} on {socket.gethostname()}, since {since}")
        yield
    finally:
        (folder / "holder").unlink(missing_ok=True)
        lock.release()


def _clear_up(warehouse: Path) -> None:
    for pattern in _UNFINISHED:
        for path in warehouse.glob(pattern):
            path.unlink(missing_ok=True)


def _holder(folder: Path) -> str:
    try:
        return (folder / "holder").read_text()
    except OSError:
        return "it has just started"


def write(
    connection: duckdb.DuckDBPyConnection,
    warehouse: Path,
    folder: str,
    columns: Sequence[Column],
    sql: str,
    load_id: int,
    expected: int = 0,
    dates: Sequence[str] = (),
    order: str = "",
) -> Written:
    """Writes a SELECT as Parquet into a table's folder; no reader sees the files until they are committed.

    columns: what becomes of the SELECT, which has them all: in these types, and no other. expected: about how many rows
    there are. dates: the values of `received_date` that the rows have; none for a table without partitions. order: SQL
    of what the rows of a date, or of the table without partitions, are sorted by.
    """
    root = warehouse / folder
    name = file_names.new(load_id, columns)
    sql = columns_sql(columns, f"({sql})")
    rows: list[Any] = []
    small = bool(dates) and expected < len(dates) * ROWS_TO_COMPRESS
    if len(dates) > 1 and expected < len(dates) * ROWS_A_COPY:
        parted = f", PARTITION_BY ({PARTITION}), OVERWRITE_OR_IGNORE, FILENAME_PATTERN '{name}-{{i}}'"
        rows += _copy(connection, sql, root, len(columns), small, parted)
    elif dates:  # where there are many rows this is several times as fast as PARTITION_BY
        for date in dates:
            of_date = f"SELECT * EXCLUDE ({PARTITION}) FROM ({sql}) WHERE {PARTITION} = DATE {literal(date)}"
            of_date += f" ORDER BY {order}" if order else ""
            rows += _copy(connection, of_date, root / f"{PARTITION}={date}" / f"{name}.parquet", len(columns), small)
    else:
        sql += f" ORDER BY {order}" if order else ""
        rows += _copy(connection, sql, root / f"{name}.parquet", len(columns), small)
    files = [delta.copy_stats(row, root) for row in rows]
    cells: dict[str, int] = {}
    for row in rows:
        for column, statistics in row[4].items():
            column = column[1:-1].replace('""', '"')
            cells[column] = cells.get(column, 0) + row[1] - int(statistics["null_count"])
    for file in files:
        if not file.rows:
            (root / file.path).unlink()
    count = sum(file.rows for file in files)
    if dates:
        cells[PARTITION] = count
    return Written(tuple(file for file in files if file.rows), count, cells)


def _copy(
    connection: duckdb.DuckDBPyConnection, sql: str, target: Path, columns: int, small: bool, options: str = ""
) -> list[Any]:
    (target if options else target.parent).mkdir(parents=True, exist_ok=True)
    compression = "snappy" if small else "zstd, COMPRESSION_LEVEL 1"
    group = min(max(CELLS_A_GROUP // columns, 2048), 122_880)
    return connection.execute(
        f"COPY ({sql}) TO {literal(str(target))} (FORMAT parquet, COMPRESSION {compression}, ROW_GROUP_SIZE {group}, "
        f"RETURN_STATS{options})"
    ).fetchall()


def remove(warehouse: Path, commits: Sequence[Commit]) -> None:
    """Removes the files of a load that will not be: they were written and are in no manifest."""
    for commit in commits:
        for file in commit.files:
            (warehouse / commit.folder / file.path).unlink()


def _manifests(warehouse: Path, app: str) -> Path:
    folder = warehouse / "loader" / "manifests"
    return folder if app == LOADER else folder / app


def make_certain(
    warehouse: Path, load_id: int, commits: Sequence[Commit], app: str = LOADER
) -> dict[str, DeltaTable | None]:
    """Writes the manifest of a load: from here on it will happen, whatever dies. LoaderError where it could not.

    The tables by folder, for `commit` if that comes next; None: it is not there yet.
    """
    with ThreadPoolExecutor(8, thread_name_prefix="sync") as pool:  # most of it is waiting for the disk
        found = pool.map(lambda commit: delta.check(warehouse, commit), commits)
        opened = {commit.folder: table for commit, table in zip(commits, found, strict=True)}
        for _ in pool.map(
            _sync, [warehouse / commit.folder / file.path for commit in commits for file in commit.files]
        ):
            pass
    content = {"format": FORMAT, "load_id": load_id, "commits": [commit.to_dict() for commit in commits]}
    folder = _manifests(warehouse, app)
    folder.mkdir(exist_ok=True)
    _write_certain(folder / f"{load_id:012d}.json", json.dumps(content))
    return opened


def manifests(warehouse: Path, app: str = LOADER) -> list[tuple[int, list[Commit]]]:
    """The loads that are certain and not yet published, oldest first; or the runs of another app."""
    found = []
    for path in sorted(_manifests(warehouse, app).glob("*.json")):
        content = json.loads(path.read_text())
        found.append((content["load_id"], [Commit.from_dict(commit) for commit in content["commits"]]))
    return found


def recover(warehouse: Path, app: str = LOADER) -> list[int]:
    """Finishes the loads that were certain when a run died, without reading their input again. Their ids."""
    pending = manifests(warehouse, app)
    for load_id, commits in pending:
        commit(warehouse, load_id, commits, app)
    return [load_id for load_id, _ in pending]


def commit(
    warehouse: Path,
    load_id: int,
    commits: Sequence[Commit],
    app: str = LOADER,
    opened: Mapping[str, DeltaTable | None] | None = None,
) -> None:
    """Commits a load table by table, the last one when all others have it; those that have it already are left alone.
    The commits outlive a power cut: deltalake would take the empty file that it can leave for a commit of nothing.
    opened: what `make_certain` gave, just now."""
    known = opened or {}

    def one(each: Commit) -> None:
        delta.commit(warehouse, each, load_id, app, known.get(each.folder))
        settle(warehouse / each.folder)

    with ThreadPoolExecutor(4, thread_name_prefix="commit") as pool:  # much of it is waiting for the disk
        for _ in pool.map(one, commits[:-1]):
            pass
    for each in commits[-1:]:
        one(each)


def settle(root: Path, files: Sequence[Path] = ()) -> None:
    """Lets the last commit of a table outlive a power cut, and these files."""
    log = root / "_delta_log"
    for path in (*files, max(log.glob("[0-9]*.json")), log):
        _sync(path)


def forget(warehouse: Path, load_id: int, app: str = LOADER) -> None:
    """Removes the manifests of the loads up to this one: they are published."""
    for path in _manifests(warehouse, app).glob("*.json"):
        if int(path.stem) <= load_id:
            path.unlink()


def columns_sql(columns: Sequence[Column], relation: str) -> str:
    """SELECT of these columns, each in its type, from a relation that has them."""
    return f"SELECT {', '.join(f'{quote(c.name)}::{c.sql_type} AS {quote(c.name)}' for c in columns)} FROM {relation}"


def _write_certain(path: Path, text: str) -> None:
    """Writes a file so that it is there whole or not at all, also after a power cut."""
    beside = path.with_name(path.name + ".part")
    with beside.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
    _sync(path.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
