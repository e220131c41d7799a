"""One command from files to published tables: the order of the stages, and nothing else."""

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime

import duckdb

from loader import amend, db, history, ledger, load, publish, replay, sources, store, users
from loader import restore as restores
from loader.errors import LoaderError
from loader.report import Report
from loader.settings import Settings

Progress = Callable[[str, int, int, int], None]  # stage, bytes read of the command's files, bytes there are, load or 0


def run(settings: Settings, progress: Progress = lambda *_: None) -> Report:
    """Loads what is new in the sources and publishes it; each load happens exactly once, whatever dies on the way.

    Raises LoaderError where it cannot go on. Loads of this command that were committed before that stay, and are
    published by this run or the next.
    """
    began = time.monotonic()
    started = datetime.now(UTC)
    settings = replace(settings, warehouse=store.check_path(settings.warehouse))
    if not store.was_begun(settings.warehouse):  # a mistyped source makes no folder
        sources.refuse_missing(settings, started)
    report = Report()
    with _writing(settings, report, progress):
        _load_all(settings, began, started, report, progress)
    report.seconds = time.monotonic() - began
    return report


@contextmanager
def _writing(settings: Settings, report: Report, progress: Progress) -> Iterator[None]:
    """The time in which a command may load: it is the only one, what an earlier one left is finished, and whatever
    happens, what was committed is published."""
    warehouse = settings.warehouse
    with store.locked(warehouse):
        store.open_warehouse(warehouse)
        shutil.rmtree(store.spill_folder(warehouse), ignore_errors=True)
        report.recovered = store.recover(warehouse)
        try:
            yield
            if not settings.dry_run:
                progress("publish", 0, 0, 0)  # not after a failure: that is told with the stage it happened in
        finally:
            shutil.rmtree(store.spill_folder(warehouse), ignore_errors=True)
            if not settings.dry_run:
                _publish(settings)


def _load_all(settings: Settings, began: float, started: datetime, report: Report, progress: Progress) -> None:
    progress("sources", 0, 0, 0)
    empty: dict[str, str] = {}
    with db.connect() as connection:
        ledger.rules(settings, ledger.read(connection, settings.warehouse).settings)
        listed = sources.find(settings, started, empty)
        found, report.known_files = ledger.new(connection, settings.warehouse, listed, every=settings.reload)
        sources.refuse_empty(empty, ledger.uris(connection, settings.warehouse) if empty else ())
    rest, report.growing = sources.settled(sources.in_order(found), settings.settle_seconds)
    total = sum(file.size or 0 for file in rest)
    until = None if settings.max_runtime is None else began + settings.max_runtime
    while rest and (until is None or time.monotonic() < until):
        # a dry run shows what all files together would come to
        taken, rest = (rest, []) if settings.dry_run else sources.take(rest, settings.load_bytes)
        load.load(
            settings,
            taken,
            report,
            lambda stage, load_id: progress(stage, report.bytes, total, load_id),
            until=until,
        )
    report.late += len(rest)


def replay_rejects(
    settings: Settings, request: replay.Request, progress: Progress = lambda *_: None
) -> tuple[Report, replay.Replay]:
    """Loads rejects that are mended, or events by now, as one load, and marks them; then publishes it.

    Raises LoaderError where there is no warehouse, or lines that are no mended rejects of it.
    """
    began = time.monotonic()
    settings = replace(settings, warehouse=store.check_path(settings.warehouse))
    store.check_format(settings.warehouse)
    report = Report()
    with _writing(settings, report, progress):
        progress("read", 0, 0, 0)
        again = replay.prepare(settings, request, datetime.now(UTC))
        if again.files:
            report.bytes = sum(again.bytes_of)
            load.load(
                settings,
                again.files,
                report,
                lambda stage, load_id: progress(stage, report.bytes, report.bytes, load_id),
                again,
            )
    report.seconds = time.monotonic() - began
    return report, again


def widen(settings: Settings, name: str, type_: str) -> amend.Amended:
    """Gives the column TABLE.COLUMN a wider type, old rows included, as a load of its own, and publishes it."""
    return _amend(settings, lambda sql, given, known: amend.widen(sql, given, known, name, type_))


def replay_discards(settings: Settings, name: str) -> amend.Amended:
    """Puts the discarded values that fit the column TABLE.COLUMN now into their rows, as a load of its own."""
    return _amend(settings, lambda sql, given, known: amend.replay(sql, given, known, name))


def _amend(
    settings: Settings, change: Callable[[duckdb.DuckDBPyConnection, Settings, ledger.State], amend.Amended]
) -> amend.Amended:
    """Changes rows that are loaded. Raises LoaderError where that cannot be, LockedError while a run is at work."""
    settings = replace(settings, warehouse=store.check_path(settings.warehouse))
    warehouse = settings.warehouse
    store.check_format(warehouse)
    with (
        _writing(settings, Report(), lambda *_: None),
        db.connect(settings.engine_memory, settings.threads, store.spill_folder(warehouse)) as connection,
    ):
        return change(connection, settings, ledger.read(connection, warehouse))


def republish(settings: Settings) -> tuple[int, int]:
    """Makes `warehouse.duckdb` afresh, after a move or a loss. The load that is seen then, and the number of tables.

    Raises LoaderError where nothing was ever loaded, LockedError while a run is at work.
    """
    settings = replace(settings, warehouse=store.check_path(settings.warehouse))
    store.check_format(settings.warehouse)
    with store.locked(settings.warehouse):
        store.recover(settings.warehouse)
        load_id, tables = _publish(settings, afresh=True)
    if not load_id:
        raise LoaderError(f"{settings.warehouse}: nothing is loaded yet, so there is nothing to publish.")
    return load_id, tables


def restore(settings: Settings, load_id: int) -> restores.Restored:
    """Puts the warehouse back to what it was after a load, and publishes that.

    Raises LoaderError, and changes nothing, where that cannot be done; LockedError while a run is at work.
    """
    settings = replace(settings, warehouse=store.check_path(settings.warehouse))
    store.check_format(settings.warehouse)
    with store.locked(settings.warehouse):
        store.recover(settings.warehouse)
        done = restores.restore(settings.warehouse, load_id)
        _publish(settings)
    return done


def _publish(settings: Settings, afresh: bool = False) -> tuple[int, int]:
    """Brings `users` and `warehouse.duckdb` up to the last load, if they are behind, or anew. That load (0: there is
    none), and the number of tables."""
    warehouse = settings.warehouse
    with db.connect(settings.engine_memory, settings.threads, store.spill_folder(warehouse)) as connection:
        state = ledger.read(connection, warehouse)
        if not state.last_load:
            return 0, 0
        pending = store.manifests(warehouse)
        at = None  # the versions to publish: the newest, unless a later load got stuck on its way into the tables
        if any(load_id > state.last_load for load_id, _ in pending):
            at = state.last_load
            state = ledger.read(connection, warehouse, at)

        def view(schema: str, name: str, folder: str) -> publish.View:
            version = None if at is None else history.version_at(warehouse / folder, at)
            return publish.View(schema, name, folder, version)

        tables = [view("main", table, store.table_folder(table)) for table in state.tables]
        if not settings.skip_users_table:
            identifies = next(table.version for table in tables if table.name == "identifies")
            users.rebuild(connection, warehouse, state.last_load, identifies)
        tables.append(publish.View("main", users.TABLE, store.table_folder(users.TABLE)))
        tables = [table for table in tables if (warehouse / table.folder).exists()]
        views = tables + [view("loader", table, ledger.folder(table)) for table in ledger.TABLES]
        changed = {commit.name for _, commits in pending for commit in commits} | {users.TABLE}
        publish.up_to(connection, warehouse, state.last_load, views, changed, afresh)
    store.forget(warehouse, state.last_load)
    return state.last_load, len(tables)
