"""Who is who, run by run: decides whether new events are enough or all must be looked at, and commits what came of it.

The rules are the models of `sql/identity`. Only ids that something new touches are judged anew, and only their persons'
rows are written (identity.md, "Algorithm").
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb

from loader import delta, history, identity, ledger, publish, store, who
from loader.errors import LoaderError
from loader.publish import view_sql
from loader.schema import Column
from loader.settings import Settings

APP = "resolve"  # the transactions of these tables, apart from the loads'
MODELS = 2  # raised when the models change: what older ones made is made anew

Rule = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Last:
    """The last run: its number, the load up to which it resolved, the last file of that, what it was run with.

    clean: no id up to there needs to be trimmed.
    """

    resolve_id: int
    load_id: int
    file_id: int
    clean: bool
    options: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Resolved:
    """What a run came to. load: up to which. complete: all events were looked at, not the new ones only.

    persons: those that live. changes: what happened to persons, by kind. blocked: how often these events had an id
    that is nobody's. oversize: persons of more than 50 user ids, of those touched. differences: rows by table, where
    they were asked for.
    """

    load: int
    complete: bool
    events: int
    persons: int
    changes: dict[str, int]
    blocked: int
    oversize: list[str]
    differences: dict[str, int] | None = None

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return asdict(self)


def last(warehouse: Path) -> Last | None:
    """The last run that was committed; None before the first."""
    with duckdb.connect() as connection:
        rows = connection.execute(
            "SELECT resolve_id, load_id, file_id, clean, options "
            f"FROM ({_table(warehouse, 'resolves', identity.RESOLVES)}) ORDER BY resolve_id DESC LIMIT 1"
        ).fetchall()
    if not rows:
        return None
    resolve_id, load_id, file_id, clean, options = rows[0]
    return Last(resolve_id, load_id, file_id, clean, json.loads(options))


def rules(warehouse: Path) -> list[Rule]:
    """The operator's rules in force, oldest first."""
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        found = connection.sql(
            f"FROM ({_table(warehouse, 'rules', identity.RULES)}) ORDER BY added_at, type_a, id_a, type_b, id_b"
        )
        rows: list[Rule] = found.to_arrow_table().to_pylist()
    return rows


def _table(warehouse: Path, name: str, columns: tuple[Column, ...]) -> str:
    root = warehouse / identity.folder(name)
    files = [file.path for file in delta.snapshot(root).files] if delta.exists(root) else []
    _check_files(root, files)
    return view_sql(columns, files, partitioned=False)


def run(
    connection: duckdb.DuckDBPyConnection,
    settings: Settings,
    state: ledger.State,
    *,
    complete: bool = False,
    wanted: Sequence[Rule] | None = None,
) -> Resolved | None:
    """Resolves up to the last load, and commits that. None where there was nothing to do.

    complete: look at all events, not only the new ones. wanted: the operator's rules from now on; None leaves them.
    """
    started, damaged = datetime.now(UTC), _is_damaged(settings.warehouse)
    before, old_rules = last(settings.warehouse), rules(settings.warehouse)
    new_rules = old_rules if wanted is None else list(wanted)
    options = _options(settings, state)
    complete = (
        complete
        or damaged
        or before is None
        or _unlike(before.options, options)
        or _amended(connection, settings.warehouse, before)
    )
    if before and not complete and new_rules == old_rules and before.load_id == state.last_load:
        return None
    since = who.Since(before.load_id, before.file_id, before.clean) if before and not complete else None
    work = who.Work(connection, settings, state, since)
    work.run(started, old_rules, new_rules)
    resolve_id = (before.resolve_id if before else _former_id(settings.warehouse)) + 1
    commits = work.write(resolve_id)
    if new_rules != old_rules:
        commits.append(work.rows("rules", identity.RULES, "FROM rule", resolve_id, replace=True))
    found = Resolved(state.last_load, complete, *work.counts())
    entry = {
        "resolve_id": resolve_id,
        "load_id": state.last_load,
        "file_id": state.last_file,
        "started_at": started,
        "finished_at": datetime.now(UTC),
        "complete": complete,
        "clean": work.clean,
        "events": found.events,
        "options": json.dumps(options),
    }
    connection.register("resolve_entry", ledger.arrow_table(identity.RESOLVES, [entry]))
    commits.append(work.rows("resolves", identity.RESOLVES, "FROM resolve_entry", resolve_id))
    store.make_certain(settings.warehouse, resolve_id, commits, APP)
    store.commit(settings.warehouse, resolve_id, commits, APP)
    store.forget(settings.warehouse, resolve_id, APP)
    return found


def verify(connection: duckdb.DuckDBPyConnection, settings: Settings, state: ledger.State) -> Resolved:
    """Resolves all events beside what there is, keeping the persons' ids, and counts the rows that differ.

    LoaderError where that is not what the last run resolved: later loads, other settings, tables that are gone.
    """
    before = last(settings.warehouse)
    if before is None or before.load_id != state.last_load or _is_damaged(settings.warehouse):
        raise LoaderError(f"{settings.warehouse}: is not resolved up to its last load. Run: loader resolve")
    if _unlike(before.options, _options(settings, state)):
        raise LoaderError(
            f"{settings.warehouse}: was resolved with other settings under [identity]. Run: loader resolve"
        )
    in_force = rules(settings.warehouse)
    work = who.Work(connection, settings, state, None)
    work.run(datetime.now(UTC), in_force, in_force)
    return Resolved(state.last_load, True, *work.counts(), work.differences())


def _is_damaged(warehouse: Path) -> bool:
    """Whether a table of former runs is gone, by hand. LoaderError where it is there, and files of it are not."""
    gone = publish.gone(warehouse, identity.FOLDER)
    for path in gone:
        _check_files(path.parent, [str(path)])
    return bool(gone) or not all(delta.exists(warehouse / table.folder) for table in identity.KEYED)


def _check_files(root: Path, files: Sequence[str]) -> None:
    if delta.exists(root) and (gone := [file for file in files if not Path(file).exists()]):
        raise LoaderError(f"{gone[0]}: this file is gone. Remove the folder that it was in, and run: loader resolve")


def _former_id(warehouse: Path) -> int:
    """The number of the last run, where the table that says it is gone: no number is used again. 0: there was none."""
    ids = [id_ for log in (warehouse / identity.FOLDER).glob("*/_delta_log") for id_ in history.loads(log.parent, APP)]
    shown = publish.published(warehouse)
    return max(ids + ([shown.resolve_id] if shown else []), default=0)


def _options(settings: Settings, state: ledger.State) -> dict[str, Any]:
    """What rows depend on beside events: with other options, or columns of other types, all are made anew."""
    return {
        "models": MODELS,
        "devices": settings.devices,
        "shared_device": settings.shared_device,
        "merge_on": sorted(settings.merge_on),
        "max_alias_partners": settings.max_alias_partners,
        "types": {column.name: column.type for column in state.tables["identifies"]},
    }


def _unlike(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    types = old["types"]
    return {**old, "types": {}} != {**new, "types": {}} or any(new["types"].get(name) != types[name] for name in types)


def _amended(connection: duckdb.DuckDBPyConnection, warehouse: Path, before: Last) -> bool:
    """Whether rows that were resolved have changed since: by going back to an earlier load, or by hand."""
    ((amended, there),) = connection.execute(
        """SELECT count(*) FILTER (load_id > $before AND (restored IS NOT NULL OR files = 0)),
            count(*) FILTER (load_id = $before) FROM read_parquet($files, union_by_name = true)""",
        {"files": ledger.paths(warehouse, "loads"), "before": before.load_id},
    ).fetchall()
    return bool(amended or not there)
