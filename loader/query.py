"""`loader query`: runs SQL that only reads, and writes its rows as a table, CSV, JSON or Parquet."""

import errno
import os
import re
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, TypeVar

import duckdb

from loader import encode
from loader.errors import LoaderError, UsageError
from loader.text import columns_that_fit, number, table

Result = TypeVar("Result")

_READING = ("SELECT", "EXPLAIN", "PRAGMA", "CALL", "SET", "MULTI")  # MULTI: a PIVOT
_END = re.compile(r";(?:\s|--[^\n]*(?:\n|\Z)|/\*.*?\*/)*\Z", re.DOTALL)  # of a statement, with comments after it
_SHOWN = 40  # rows on a terminal
_COUNTED = 10_000  # rows that are counted to say how many there are
_CUT = 40  # width of a cell on a terminal
_BATCH = 10_000  # rows
_RESULT = "loader_result"


def result(connection: duckdb.DuckDBPyConnection, sql: str) -> duckdb.DuckDBPyRelation | None:
    """Runs all statements but the last, and gives that one's rows, not read yet; None if it has none (SET).

    Raises UsageError where a statement is not one that reads, LoaderError with DuckDB's words where one is wrong.
    """
    with told():
        statements = connection.extract_statements(sql)
        if not statements:
            raise UsageError("there is no SQL to run.")
        for statement in statements:
            if statement.type.name not in _READING:
                raise UsageError(
                    f"loader query only reads, and {statement.type.name} does not. "
                    "To keep a result, give -o FILE; to load events, use loader load."
                )
        *before, last = statements
        for statement in before:
            connection.execute(statement).fetchall()  # a result that is left open blocks the next statement
        if last.type.name == "SET":
            connection.execute(last)
            return None
        return connection.sql(_END.sub("", last.query))  # the relation becomes a subquery, where an end is an error


@contextmanager
def told() -> Iterator[None]:
    """Turns what DuckDB says about a statement into a LoaderError. Lack of memory or room passes through."""
    try:
        yield
    except (duckdb.InterruptException, duckdb.OutOfMemoryException, duckdb.IOException):
        raise
    except duckdb.Error as error:
        raise LoaderError(str(error).rstrip()) from error


def interruptible(connection: duckdb.DuckDBPyConnection, work: Callable[[], Result]) -> Result:
    """Does work on a connection in a thread, so that Ctrl-C stops it: a streaming engine does not look for it.

    Raises KeyboardInterrupt then. A second Ctrl-C ends the process, whatever it waits for.
    """
    asked = threading.Event()

    def ask(*_: object) -> None:
        asked.set()
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    before = signal.getsignal(signal.SIGINT)
    listening = before is not signal.SIG_IGN and threading.current_thread() is threading.main_thread()
    if listening:
        signal.signal(signal.SIGINT, ask)
    try:
        with ThreadPoolExecutor(1) as pool:
            doing = pool.submit(work)
            while not wait([doing], timeout=0.1).done:
                if asked.is_set():
                    connection.interrupt()  # again and again: it is forgotten where a query is just being started
            if asked.is_set() and doing.exception():  # of several classes, by where it was
                raise KeyboardInterrupt
            return doing.result()
    finally:
        if listening:
            signal.signal(signal.SIGINT, before)


def write(
    rows: duckdb.DuckDBPyRelation, form: str, path: Path | None, stream: BinaryIO, width: int | None = None
) -> str | None:
    """Writes the rows as table, csv, json or parquet to a file, or where there is none to a stream (not parquet).

    width: of the terminal that a table goes to; None: no terminal. Gives a remark if the terminal had no room for all.
    """
    if path is None:
        return _write_stream(rows, form, stream, width)
    with whole_file(path) as beside:
        if form == "parquet":
            with told():
                rows.write_parquet(str(beside), compression="zstd")
        else:
            with beside.open("wb") as file:
                _write_stream(rows, form, file, None)
    return None


def _write_stream(rows: duckdb.DuckDBPyRelation, form: str, to: BinaryIO, width: int | None) -> str | None:
    remark = None
    if form == "csv":
        write_csv(rows, to)
    elif form == "json":
        write_json(rows, to)
    else:
        shown, remark = as_table(rows, width)
        to.write(shown.encode())
    to.flush()
    return remark


def write_csv(rows: duckdb.DuckDBPyRelation, to: BinaryIO) -> None:
    """Writes the rows as CSV, names first, batch by batch."""
    to.write(encode.csv_header(rows.columns).encode() + b"\n")
    for (lines,) in _batches(rows, encode.csv_line(rows.types)):
        to.write("".join(f"{line}\n" for line in lines).encode())
        to.flush()


def write_json(rows: duckdb.DuckDBPyRelation, to: BinaryIO) -> None:
    """Writes the rows as one JSON array, an object a line, batch by batch. A name that comes twice gets a number."""
    names = _on(rows, f"FROM {_RESULT}").columns
    between = b"["
    for (lines,) in _batches(rows, encode.json_line(names, rows.types)):
        to.write(between + ",\n".join(lines).encode())
        to.flush()
        between = b",\n"
    to.write(b"[]\n" if between == b"[" else b"]\n")


def _batches(rows: duckdb.DuckDBPyRelation, expressions: str) -> Iterator[list[list[str]]]:
    """The columns that text expressions make of the rows, whose columns they call `c0`, `c1`, …; never empty ones."""
    columns = ", ".join(f"c{at}" for at in range(len(rows.columns)))
    with told():
        for batch in _on(rows, f"SELECT {expressions} FROM {_RESULT} AS result({columns})").to_arrow_reader(_BATCH):
            if batch.num_rows:
                yield [column.to_pylist() for column in batch.columns]


def _on(rows: duckdb.DuckDBPyRelation, sql: str) -> duckdb.DuckDBPyRelation:
    """A query on the rows, which it calls `loader_result`."""
    made = rows.query(_RESULT, sql)
    assert made is not None  # noqa: S101 - a SELECT has rows
    return made


def as_table(rows: duckdb.DuckDBPyRelation, width: int | None) -> tuple[str, str | None]:
    """The rows as aligned columns, and a remark if some are left out.

    width: of the terminal, which gets the first 40 rows, and of these what fits; None: everything.
    """
    if rows.columns == ["explain_key", "explain_value"]:
        return "".join(f"{value}\n" for _, value in rows.fetchall()), None
    texts = ", ".join(f"coalesce(c{at}::VARCHAR, 'NULL')" for at in range(len(rows.columns)))
    found: list[tuple[str, ...]] = []
    count = 0
    for columns in _batches(rows, texts):
        count += len(columns[0])
        found += list(zip(*columns, strict=True))[: None if width is None else _SHOWN - len(found)]
        if width is not None and count >= _COUNTED:
            break
    names = rows.columns
    right = [at for at, type_ in enumerate(rows.types) if type_.id in encode.NUMBERS]
    if width is None:
        return table(names, found, right), None
    fit = columns_that_fit(names, found, width, _CUT)
    shown = table(names[:fit], [row[:fit] for row in found], right, _CUT)
    total = f"{number(_COUNTED)} or more" if count >= _COUNTED else number(count)
    left_out = [f"{len(found)} of {total} rows"] if count > len(found) else []
    left_out += [f"{fit} of {len(names)} columns"] if fit < len(names) else []
    return shown, f"{' and '.join(left_out)} shown; --format csv shows all" if left_out else None


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A path to write to, which becomes `path` at the end if nothing went wrong. A pipe or device is itself."""
    if path.exists() and not path.is_file():
        yield path
        return
    if not path.parent.is_dir():
        raise LoaderError(f"{path}: there is no folder {path.parent}.")
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield beside
        beside.replace(path)
    except OSError as error:
        if error.filename in (None, str(beside)):
            error.filename = str(path)
        raise
    except duckdb.IOException as error:
        if os.strerror(errno.ENOSPC) in str(error):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error
        raise
    finally:
        beside.unlink(missing_ok=True)
