"""Back to an earlier load: decides what becomes of each table then. It is a load of its own, so ids only grow."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import duckdb

from loader import db, delta, history, ledger, store
from loader.calls import PARTITION
from loader.delta import Commit
from loader.errors import LoaderError


@dataclass(frozen=True, slots=True)
class Restored:
    """What going back came to. load: the load in force now. restored: the one whose state that is.

    undone: the loads that no longer count, oldest first. again: loads that had been undone, and count again. Neither:
    there was nothing to do. files: the number of files that no longer count as loaded.
    """

    load: int
    restored: int
    undone: tuple[int, ...]
    again: tuple[int, ...]
    files: int


def restore(warehouse: Path, wanted: int) -> Restored:
    """Puts the tables and the ledger back to what they were after a load, up to the commit of that.

    Raises LoaderError, and changes nothing, where there is no such load or a vacuum took what it needs.
    """
    started = datetime.now(UTC)
    with db.connect() as connection:
        known = ledger.read(connection, warehouse)
        _check_known(connection, warehouse, wanted)
        if wanted in (known.last_load, known.restored):
            return Restored(known.last_load, wanted, (), (), 0)
        for table in ledger.TABLES:
            _then(warehouse / ledger.folder(table), wanted)
        target = ledger.read(connection, warehouse, wanted)
        load_id = known.last_load + 1
        folders = {table: store.table_folder(table) for table in {**target.tables, **known.tables}}
        commits = []
        for table, folder in folders.items():
            if table in target.tables:
                commits += _back(warehouse, folder, table, wanted, (PARTITION,))
            else:
                commits += _emptied(warehouse, folder, table)
        for table in ledger.TABLES:
            if table != "loads":
                commits += _back(warehouse, ledger.folder(table), table, wanted, ())
        undone, again = _differences(connection, warehouse, "loads", "load_id", wanted)
        files, _ = _differences(connection, warehouse, "files", "file_id", wanted)
        commits.append(_loads(connection, warehouse, load_id, wanted, started, known.last_file))
        store.make_certain(warehouse, load_id, commits)
        store.commit(warehouse, load_id, commits)
        return Restored(load_id, wanted, undone, again, len(files))


def _check_known(connection: duckdb.DuckDBPyConnection, warehouse: Path, wanted: int) -> None:
    there = history.loads(warehouse / ledger.folder("loads"))
    if wanted in there:
        return
    rows = connection.execute(
        "SELECT load_id FROM read_parquet($files)", {"files": ledger.paths(warehouse, "loads")}
    ).fetchall()
    undone = [load for load in there if (load,) not in rows]
    more = f"; undone, but not gone: {_listed(undone)}" if undone else ""
    raise LoaderError(
        f"load {wanted}: there is no such load. There are: {_listed([load for load in there if load not in undone])}"
        f"{more}. See loader status, or loader.loads."
    )


def _listed(loads: list[int]) -> str:
    """Numbers with runs drawn together: `1-3, 5`."""
    runs: list[list[int]] = []
    for load in loads:
        if runs and runs[-1][-1] == load - 1:
            runs[-1][1:] = [load]
        else:
            runs.append([load])
    return ", ".join("-".join(map(str, run)) for run in runs)


def _back(warehouse: Path, folder: str, table: str, wanted: int, partition_by: tuple[str, ...]) -> list[Commit]:
    """The commit that puts a table back; none where it is as it was."""
    root = warehouse / folder
    then = _then(root, wanted)
    if then.version == delta.snapshot(root).version:
        return []
    return [Commit(folder, table, then.columns, partition_by, (), restore=then.version)]


def _then(root: Path, wanted: int) -> delta.Snapshot:
    """A table as a load left it. LoaderError where that is gone."""
    version = history.version_at(root, wanted)
    if version is None:
        raise LoaderError(f"{root}: its log no longer tells of load {wanted}, so that cannot be restored.")
    then = delta.snapshot(root, version)
    if gone := [file.path for file in then.files if not Path(file.path).exists()]:
        raise LoaderError(
            f"load {wanted} can no longer be restored: {len(gone)} of its files are gone, such as {gone[0]}. "
            "A vacuum takes what was replaced since, after some days. Nothing was changed."
        )
    return then


def _emptied(warehouse: Path, folder: str, table: str) -> list[Commit]:
    """The commit that leaves a table without files: a later load may make it anew, with other columns."""
    now = delta.snapshot(warehouse / folder)
    return [Commit(folder, table, now.columns, (PARTITION,), (), overwrite=True)] if now.files else []


def _differences(
    connection: duckdb.DuckDBPyConnection, warehouse: Path, table: str, key: str, wanted: int
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The keys of a table of the ledger that are there now and not after `wanted`, and the other way round."""
    now, then = (
        {
            number
            for (number,) in connection.execute(
                f"SELECT {key} FROM read_parquet($files)", {"files": ledger.paths(warehouse, table, at)}
            ).fetchall()
        }
        for at in (None, wanted)
    )
    return tuple(sorted(now - then)), tuple(sorted(then - now))


def _loads(
    connection: duckdb.DuckDBPyConnection, warehouse: Path, load_id: int, wanted: int, started: datetime, last_file: int
) -> Commit:
    """The commit of `loads`, last and at once: the loads up to the one that is restored, and this one."""
    columns = ledger.TABLES["loads"]
    connection.execute(
        "CREATE TEMP TABLE ledger_rows AS FROM read_parquet($files, union_by_name = true)",
        {"files": ledger.paths(warehouse, "loads", wanted)},
    )
    connection.execute(
        """
        INSERT INTO ledger_rows BY NAME
        SELECT $load_id AS load_id, $started AS started_at, $finished AS finished_at, 0 AS files, 0 AS bytes,
            0 AS items, 0 AS loaded, 0 AS duplicates, 0 AS rejected, 0 AS discarded, settings,
            $wanted AS restored, $last_file AS last_file_id
        FROM ledger_rows WHERE load_id = $wanted
        """,
        {
            "load_id": load_id,
            "started": started,
            "finished": datetime.now(UTC),
            "wanted": wanted,
            "last_file": last_file,
        },
    )
    written = store.write(connection, warehouse, ledger.folder("loads"), columns, "FROM ledger_rows", load_id)
    return Commit(ledger.folder("loads"), "loads", columns, (), written.files, overwrite=True)
