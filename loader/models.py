"""The models of `sql/`: one SELECT a file under a header; decides what a header must say, and the order of a folder.

A header is lines `-- name:`, `-- reads:`, `-- writes:`, `-- grain:`; then comments that say why. What a model reads is
checked against the tables that its SELECT names, so that a header can be trusted.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import duckdb
import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

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
    try:
        sql = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: cannot read this file: {error}") from None
    fields = {match[1]: match[2] for line in sql.splitlines() if (match := _FIELD.match(line))}
    if missing := [name for name in _FIELDS if not fields.get(name) and name != "reads"]:
        raise ModelError(f"{path}: its header has no `-- {missing[0]}:`. It needs {', '.join(_FIELDS)}.")
    reads = tuple(name.strip() for name in fields.get("reads", "").split(",") if name.strip())
    found = tables(path, sql)
    if undeclared := sorted(found - set(reads)):
        raise ModelError(f"{path}: reads {undeclared[0]}, and its header doesn't say so. Add it to `-- reads:`.")
    if unread := sorted(set(reads) - found):
        raise ModelError(f"{path}: its header reads {unread[0]}, and its SELECT doesn't. Take that out of `-- reads:`.")
    writes, _, kind = fields["writes"].partition(" ")
    return Model(path, fields["name"], reads, writes, kind == "(view)", fields["grain"], sql)


def tables(path: Path, sql: str) -> set[str]:
    """The relations that a SELECT reads, `schema.name` where it says the schema. ModelError for anything else."""
    try:
        statements = [statement for statement in sqlglot.parse(sql, read="duckdb") if statement is not None]
    except SqlglotError as error:
        raise ModelError(f"{path}: is not SQL: {str(error).splitlines()[0]}") from None
    if len(statements) != 1 or not isinstance(statements[0], exp.Query):
        raise ModelError(f"{path}: holds {len(statements)} statements. A model is one SELECT.")
    (query,) = statements
    named = {cte.alias for cte in query.find_all(exp.CTE)}
    return {
        f"{table.db}.{table.name}" if table.db else table.name
        for table in query.find_all(exp.Table)
        if table.name and (table.db or table.name not in named)
    }


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


def all_of(models: Sequence[Model]) -> Mapping[str, Model]:
    """The models by what they write."""
    return {model.writes: model for model in models}
