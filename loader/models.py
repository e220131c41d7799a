"""The models of `sql/`: one SELECT a file under a header; decides what a header must say, and the order of a folder.

A header is lines `-- name:`, `-- reads:`, `-- writes:`, `-- grain:`; then comments that say why. What a model reads is
checked against the tables that its SELECT names, so that a header can be trusted.
"""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import duckdb

from loader.db import quote
from loader.errors import LoaderError

_FIELD = re.compile(r"--\s*(name|reads|writes|grain):\s*(.*?)\s*$")
_FIELDS = ("name", "reads", "writes", "grain")


class ModelError(LoaderError):
    """A model that cannot be used as it is written. The message names its file."""


@dataclass(frozen=True, slots=True)
class Model:
    """One file of `sql/`. reads: relations, as the SELECT names them. writes: the relation it makes; with `view`, each
    time that is asked for. grain: one row per what."""

    path: Path
    name: str
    reads: tuple[str, ...]
    writes: str
    view: bool
    grain: str
    sql: str


def folder() -> Path:
    """Where the models are: `loader/sql` in an installed package, `sql` beside `loader` in a checkout."""
    packaged = Path(__file__).parent / "sql"
    return packaged if packaged.is_dir() else Path(__file__).parent.parent / "sql"


def read(path: Path) -> Model:
    """One model. ModelError where its header and its SELECT don't agree, or it is no single SELECT."""
    sql = text(path)
    fields = header(sql)
    if missing := [name for name in _FIELDS if not fields.get(name) and name != "reads"]:
        raise ModelError(f"{path}: its header has no `-- {missing[0]}:`. It needs {', '.join(_FIELDS)}.")
    found = tables(path, sql)
    reads = declared(path, fields.get("reads", ""), found)
    writes, _, kind = fields["writes"].partition(" ")
    return Model(path, fields["name"], reads, writes, kind == "(view)", fields["grain"], sql)


def text(path: Path) -> str:
    """What a file holds. ModelError where it cannot be read, or is no UTF-8."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: cannot read this file: {getattr(error, 'strerror', None) or error}.") from None


def header(sql: str) -> dict[str, str]:
    """The fields of a header, those that are there."""
    return {match[1]: match[2] for line in sql.splitlines() if (match := _FIELD.match(line))}


def declared(path: Path, reads: str, found: Collection[str]) -> tuple[str, ...]:
    """The relations of a header's `reads`. ModelError where they are others than those found in the SELECT."""
    names = tuple(name.strip() for name in reads.split(",") if name.strip())
    if undeclared := sorted(set(found) - set(names)):
        raise ModelError(f"{path}: reads {undeclared[0]}, and its header doesn't say so. Add it to `-- reads:`.")
    if unread := sorted(set(names) - set(found)):
        raise ModelError(f"{path}: its header reads {unread[0]}, and its SELECT doesn't. Take that out of `-- reads:`.")
    return names


@cache
def tables(path: Path, sql: str) -> frozenset[str]:
    """The relations that a SELECT reads, `schema.name` where it says the schema. ModelError for anything else."""
    import sqlglot  # takes a while, and a load needs no models
    from sqlglot import exp
    from sqlglot.errors import SqlglotError
    from sqlglot.optimizer.scope import traverse_scope

    try:
        parsed = sqlglot.parse(sql, read="duckdb")
        scopes = [scope for each in parsed if isinstance(each, exp.Query) for scope in traverse_scope(each)]
    except SqlglotError as error:
        first = getattr(error, "errors", None) or [{}]  # of a text that ends in the middle of a word, there is no line
        at = f":{first[0]['line']}" if "line" in first[0] else ""
        raise ModelError(f"{path}{at}: is not SQL: {str(error).splitlines()[0]}") from None
    statements = [statement for statement in parsed if statement and not isinstance(statement, exp.Semicolon)]
    if len(statements) != 1:
        raise ModelError(f"{path}: holds {len(statements)} statements. A model is one SELECT.")
    (query,) = statements
    if not isinstance(query, exp.Query):
        raise ModelError(f"{path}: holds no SELECT, but {query.key.upper()}. A model is one SELECT.")
    named = {cte.alias for cte in query.find_all(exp.CTE)}
    found = [table for table in query.find_all(exp.Table) if table.db or table.name not in named]
    for scope in scopes:  # a CTE may be called as the table that it reads
        found += [source for source in scope.sources.values() if isinstance(source, exp.Table)]
    return frozenset(f"{table.db}.{table.name}" if table.db else table.name for table in found if table.name)


def load(folder: Path, given: Collection[str]) -> list[Model]:
    """The models of a folder, each after those that it reads. given: the relations that are there without a model.

    ModelError for two models of one name or that write one relation, for a relation that nothing makes, for a circle.
    """
    return ordered([read(path) for path in sorted(folder.glob("*.sql"))], given)


def ordered(models: Sequence[Model], given: Collection[str]) -> list[Model]:
    """The models in order of what they read; the errors of `load`."""
    by_name: dict[str, Model] = {}
    by_relation: dict[str, Model] = {}
    for model in models:
        for known, name in ((by_name, model.name), (by_relation, model.writes)):
            if name in known:
                raise ModelError(f"{model.path}: {known[name].path} is called {name}, too. Rename one of them.")
            known[name] = model
        if model.writes in given:
            raise ModelError(f"{model.path}: writes {model.writes}, which is there without it. Rename it.")
    for model in models:
        for name in model.reads:
            if name not in by_relation and name not in given:
                raise ModelError(f"{model.path}: reads {name}, and there is no such table and no model that writes it.")
    graph = {model.writes: [name for name in model.reads if name in by_relation] for model in models}
    try:
        return [by_relation[name] for name in TopologicalSorter(graph).static_order()]
    except CycleError as error:
        circle = error.args[1]
        files = ", ".join(str(by_relation[name].path) for name in circle[:-1])
        raise ModelError(f"{files}: read each other in a circle: {' → '.join(circle)}. Break it.") from None


def run(connection: duckdb.DuckDBPyConnection, model: Model) -> None:
    """Makes the relation of a model in the engine. What it reads must be there."""
    kind = "VIEW" if model.view else "TABLE"
    connection.execute(f"CREATE OR REPLACE TEMP {kind} {quote(model.writes)} AS {model.sql}")
