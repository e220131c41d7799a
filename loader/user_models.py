"""A user's own models: a folder of `*.sql` that run on what is about to be published, and are published with it.

Decides which of them run: those whose text, or what they read, is not that of their last result. One that cannot be
used, or fails, loses none of the others; what it made last stays.
"""

import hashlib
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
from deltalake.exceptions import DeltaError

from loader import materialise, models
from loader.db import literal, quote
from loader.errors import LoaderError, UsageError
from loader.models import ModelError
from loader.naming import MAX_NAME_BYTES, RESERVED_WORDS
from loader.publish import NAME, table_sql

SCHEMA = "models"
TABLE = "loader.models"  # the view that says what they have come to
_COLUMNS = dict.fromkeys(("name", "file", "grain", "error", "fingerprint"), "VARCHAR") | {"seconds": "DOUBLE"}
_COLUMNS |= dict.fromkeys(("rows", "load_id", "resolve_id", "version"), "BIGINT")
_RESULT = quote("result of a model")  # no table is called so
_LINE = re.compile(r"\n\nLINE (\d+): ")


@dataclass(frozen=True, slots=True)
class Own:
    """A file of the folder. grain: of its header, if it has one. needs: the models that it reads, unqualified: those of
    them without `models.` in front. fingerprint: of its text and those of its needs. error: why it cannot run."""

    path: Path
    name: str
    sql: str = ""
    grain: str | None = None
    needs: tuple[str, ...] = ()
    unqualified: tuple[str, ...] = ()
    fingerprint: str = ""
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Made:
    """What a model has come to. rows to version: of its last result, which shows that load and that run of who-is-who;
    None before the first. version: of its Delta table. error: why there is no newer one."""

    name: str
    file: str
    grain: str | None
    rows: int | None
    seconds: float | None
    load_id: int | None
    resolve_id: int | None
    error: str | None
    version: int | None
    fingerprint: str


# --- the folder -------------------------------------------------------------------------------------------------------


def read(folder: Path | None) -> list[Own]:
    """The models of a folder, each after those that it reads; none of None. What is wrong with one is its `error`.

    Raises UsageError where there is no such folder.
    """
    if folder is None:
        return []
    try:
        paths = sorted(path for path in folder.iterdir() if path.suffix == ".sql" and not path.name.startswith("."))
    except OSError as error:
        raise UsageError(f"{folder}: cannot read this folder of models: {error.strerror}.") from None
    with duckdb.connect() as connection:
        found = [_read(connection, path) for path in paths]
    return _in_order(found)


def _read(connection: duckdb.DuckDBPyConnection, path: Path) -> Own:
    """One file, but for what others have to do with it; `needs` is all that it reads."""
    own = Own(path, path.stem)
    try:
        sql = models.text(path)
        header = models.header(sql)
        own = replace(own, name=header.get("name") or own.name, sql=sql, grain=header.get("grain") or None)
        _check_names(own, header)
        _check_select(connection, own)
        found = models.tables(path, sql)
        if "reads" in header:
            models.declared(path, header["reads"], found)
        return replace(own, needs=tuple(sorted({name.lower() for name in found})))
    except ModelError as error:
        return replace(own, error=str(error))


def _check_names(own: Own, header: Mapping[str, str]) -> None:
    if not re.fullmatch("[a-z_][a-z0-9_]*", own.name) or len(own.name) > MAX_NAME_BYTES:
        raise ModelError(
            f"{own.path}: {own.name!r} is no name for a table: it takes a-z, 0-9 and _, and no digit first. "
            "Rename the file, or give it a header with `-- name:`."
        )
    if own.name in RESERVED_WORDS:
        raise ModelError(f"{own.path}: {own.name} is a word of SQL. Rename the file, or give a `-- name:`.")
    if header.get("writes", own.name) not in (own.name, f"{SCHEMA}.{own.name}"):
        raise ModelError(f"{own.path}: its header says that it writes {header['writes']}; it is {SCHEMA}.{own.name}.")


def _check_select(connection: duckdb.DuckDBPyConnection, own: Own) -> None:
    """The engine knows its own SQL best, and the line."""
    try:
        statements = connection.extract_statements(own.sql)
    except duckdb.Error as error:
        raise ModelError(_told(own.path, error)) from None
    if len(statements) != 1:
        raise ModelError(f"{own.path}: holds {len(statements)} statements. A model is one SELECT.")
    if statements[0].type.name != "SELECT":
        raise ModelError(f"{own.path}: holds no SELECT, but {statements[0].type.name}. A model is one SELECT.")


def _in_order(found: Sequence[Own]) -> list[Own]:
    """Each after those that it needs, with the errors of several: two of one name, and circles."""
    by_name: dict[str, Own] = {}
    for own in found:
        if twin := by_name.get(own.name):
            error = f"{own.path}: {twin.path} is called {own.name}, too. Rename one of them."
            by_name[own.name] = replace(twin, error=error)
        else:
            by_name[own.name] = own
    for name, own in by_name.items():  # its own name without the schema is that of another table
        reads = {each: each.removeprefix(f"{SCHEMA}.") for each in own.needs if each != name}
        needs = tuple(sorted({to for to in reads.values() if to in by_name}))
        bare = tuple(each for each, to in reads.items() if each == to and to in by_name)
        by_name[name] = replace(own, needs=needs, unqualified=bare)
    graph = {name: own.needs if not own.error else () for name, own in by_name.items()}
    while True:
        try:
            order = list(TopologicalSorter(graph).static_order())
            break
        except CycleError as error:
            circle = error.args[1]
            for name in circle:
                graph[name] = ()
                words = f"{by_name[name].path}: models read each other in a circle: {' → '.join(circle)}. Break it."
                by_name[name] = replace(by_name[name], error=words)
    for name in order:
        own = by_name[name]
        parts = [own.sql, *(by_name[need].fingerprint for need in own.needs)]
        by_name[name] = replace(own, fingerprint=hashlib.sha256("\0".join(parts).encode()).hexdigest())
    return [by_name[name] for name in order]


# --- what is published ------------------------------------------------------------------------------------------------


def published(warehouse: Path) -> list[Made]:
    """What the models have come to, as `warehouse.duckdb` says; none where it says nothing."""
    path = warehouse / NAME
    if not path.exists():
        return []
    columns = ", ".join(field.name for field in fields(Made))
    try:
        with duckdb.connect(str(path), read_only=True) as connection:
            return [Made(*row) for row in connection.execute(f"SELECT {columns} FROM {TABLE}").fetchall()]
    except duckdb.Error:  # published before there were models, or not readable: then they are made anew
        return []


def due(own: Sequence[Own], before: Sequence[Made], load_id: int, resolve_id: int) -> bool:
    """Whether one of the models is to run on this load and run of who-is-who, or is no longer to be seen."""
    known = {made.name: made for made in before}
    return known.keys() != {each.name for each in own} or not all(
        _holds(known[each.name], each, load_id, resolve_id) for each in own
    )


def _holds(made: Made, own: Own, load_id: int, resolve_id: int) -> bool:
    same = (made.fingerprint, made.load_id, made.resolve_id) == (own.fingerprint, load_id, resolve_id)
    return same and not made.error


def keep(connection: duckdb.DuckDBPyConnection, warehouse: Path, before: Sequence[Made]) -> list[Made]:
    """Sees to it that the schema `models` of the current database shows just these: what they have come to then. One
    whose files are gone has no result any more."""
    views = _views(connection, SCHEMA)
    found = []
    for made in before:
        if made.version is not None and made.name not in views:
            try:
                _show(connection, warehouse, made)
            except (LoaderError, DeltaError, duckdb.IOException) as error:
                why = _told(warehouse / _folder(made.name), error)
                made = replace(made, rows=None, seconds=None, load_id=None, resolve_id=None, version=None, error=why)
        found.append(made)
    for name in views - {made.name for made in before}:
        connection.execute(f"DROP VIEW {SCHEMA}.{quote(name)}")
    _tell(connection, found)
    return found


def run(
    connection: duckdb.DuckDBPyConnection,
    warehouse: Path,
    own: Sequence[Own],
    before: Sequence[Made],
    load_id: int,
    resolve_id: int,
) -> list[dict[str, Any]]:
    """Runs the models that are to run on the views of the current database, and shows them there. before: what they had
    come to.

    What was done, for a report: name, file, rows, seconds of each that ran or could not, and its error.
    """
    names = {each.name for each in own}
    known = {made.name: made for made in keep(connection, warehouse, [made for made in before if made.name in names])}
    ((database,),) = connection.execute("SELECT current_database()").fetchall()
    connection.execute(f"SET search_path = {literal(f'{database}.main,{database}.{SCHEMA}')}")
    done: dict[str, Made] = {}
    report = []
    for each in own:
        last = known.get(each.name)
        if last and _holds(last, each, load_id, resolve_id):
            done[each.name] = last
            continue
        nothing = Made(each.name, "", None, None, None, None, None, None, None, "")
        made = replace(last or nothing, file=str(each.path), grain=each.grain, fingerprint=each.fingerprint)
        try:
            _check(connection, each, done)
            made = _make(connection, warehouse, each, replace(made, load_id=load_id, resolve_id=resolve_id, error=None))
        except ModelError as error:
            stays = f"; its result of load {made.load_id} stays." if made.version is not None else "."
            made = replace(made, error=str(error).rstrip(".") + stays)
        done[each.name] = made
        now = (made.rows, made.seconds) if not made.error else (None, None)
        report.append({"name": made.name, "file": made.file, "rows": now[0], "seconds": now[1], "error": made.error})
    _tell(connection, list(done.values()))
    return report


def _check(connection: duckdb.DuckDBPyConnection, own: Own, done: Mapping[str, Made]) -> None:
    """ModelError where a model cannot run: by itself, for a model that it reads, or as a name of its may be either."""
    if own.error:
        raise ModelError(own.error)
    for need in own.needs:
        if done[need].error:
            raise ModelError(f"{own.path}: did not run: it reads {need}, which failed.")
    for name in own.unqualified:
        if name in _views(connection, "main"):
            raise ModelError(f"{own.path}: {name} is a table and a model. Say which: main.{name} or {SCHEMA}.{name}.")


def _make(connection: duckdb.DuckDBPyConnection, warehouse: Path, own: Own, made: Made) -> Made:
    """Runs a model, replaces the rows of its Delta table, and shows these: `made` with what came of it."""
    began = time.monotonic()
    try:  # by way of a table, which may be larger than memory: so an error is the engine's own, and nothing is written
        connection.execute(f"CREATE OR REPLACE TEMP TABLE {_RESULT} AS {own.sql}")
        ((rows,),) = connection.execute(f"SELECT count(*) FROM {_RESULT}").fetchall()
        version = materialise.replace(connection, _RESULT, warehouse / _folder(own.name))
        made = replace(made, rows=rows, seconds=time.monotonic() - began, version=version)
        _show(connection, warehouse, made)
    except duckdb.InterruptException:
        raise
    except (duckdb.Error, DeltaError, pa.ArrowException, OSError, LoaderError) as error:
        raise ModelError(_told(own.path, error)) from None
    finally:
        connection.execute(f"DROP TABLE IF EXISTS {_RESULT}")
    return made


def _views(connection: duckdb.DuckDBPyConnection, schema: str) -> set[str]:
    sql = "SELECT view_name FROM duckdb_views() WHERE database_name = current_database() AND schema_name = $schema"
    return {name for (name,) in connection.execute(sql, {"schema": schema}).fetchall()}


def _folder(name: str) -> str:
    return f"{SCHEMA}/{name}"


def _show(connection: duckdb.DuckDBPyConnection, warehouse: Path, made: Made) -> None:
    view = f"{SCHEMA}.{quote(made.name)}"
    select = table_sql(warehouse / _folder(made.name), made.version)
    connection.execute(f"CREATE OR REPLACE VIEW {view} AS {select}")
    if made.grain:
        connection.execute(f"COMMENT ON VIEW {view} IS {literal(made.grain)}")


def _tell(connection: duckdb.DuckDBPyConnection, found: Sequence[Made]) -> None:
    """Makes the view `loader.models`."""
    columns = [field.name for field in fields(Made)]
    rows = [
        "(" + ", ".join(f"{_sql(getattr(made, name))}::{_COLUMNS[name]}" for name in columns) + ")"
        for made in sorted(found, key=lambda made: made.name)
    ]
    names = ", ".join(columns)
    nothing = "SELECT " + ", ".join(f"NULL::{_COLUMNS[name]} AS {name}" for name in columns) + " WHERE false"
    select = f"SELECT {names} FROM (VALUES {', '.join(rows)}) AS made({names})" if rows else nothing
    connection.execute(f"CREATE OR REPLACE VIEW {TABLE} AS {select}")


def _sql(value: str | float | None) -> str:
    return "NULL" if value is None else literal(value) if isinstance(value, str) else repr(value)


def _told(path: Path, error: Exception) -> str:
    """What an engine says of a model, with its file, and the line where that is known."""
    text = str(error)
    found = _LINE.findall(text)
    return f"{path}{f':{found[-1]}' if found else ''}: {' '.join(text.partition(chr(10) * 2)[0].split())}"
