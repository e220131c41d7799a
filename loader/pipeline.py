"""One command from files to published tables: the order of the stages, and nothing else."""

import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb

from loader import amend, db, history, ledger, load, publish, replay, resolve, resolved, sources, store, user_models
from loader import compact as compaction
from loader import restore as restores
from loader import vacuum as vacuums
from loader.errors import LoaderError
from loader.report import Report
from loader.settings import Settings

Progress = Callable[[str, int, int, int], None]  # stage, bytes read of the command's files, bytes there are, load or 0


def run(settings: Settings, progress: Progress = lambda *_: None) -> Report:
    """Loads what is new in the sources, resolves who is who, and publishes both together.

    Raises LoaderError where it cannot go on. What was committed before that stays, and is published by this run or the
    next; each load happens exactly once, whatever dies on the way.
    """
    return _run(settings, progress, resolving=True)


def load_only(settings: Settings, progress: Progress = lambda *_: None) -> Report:
    """The same without resolving: persons stay those of the last time."""
    return _run(settings, progress, resolving=False)


def _run(settings: Settings, progress: Progress, resolving: bool) -> Report:
    began = time.monotonic()
    started = datetime.now(UTC)
    settings = replace(settings, warehouse=store.check_path(settings.warehouse))
    if not store.was_begun(settings.warehouse):  # a mistyped source makes no folder
        sources.refuse_missing(settings, started)
    own = user_models.read(settings.models) if resolving else None
    report = Report()
    with _writing(settings, report, progress, own):
        _load_all(settings, began, started, report, progress)
        if resolving and not settings.dry_run:
            progress("resolve", 0, 0, 0)
            found = _resolve(settings)
            report.resolved = found.to_dict() if found else None
            progress("compact", 0, 0, 0)
            report.compacted = [each.to_dict() for each in _compact_grown(settings, started)]
    report.seconds = time.monotonic() - began
    return report


@contextmanager
def _writing(
    settings: Settings, report: Report, progress: Progress, own: Sequence[user_models.Own] | None = None
) -> Iterator[None]:
    """The time in which a command may load: it is the only one, what an earlier one left is finished, and whatever
    happens, what was committed is published. own: the user's models, to run then; None leaves them."""
    warehouse = settings.warehouse
    with store.locked(warehouse):
        store.open_warehouse(warehouse)
        shutil.rmtree(store.spill_folder(warehouse), ignore_errors=True)
        report.recovered = _recover(warehouse)
        try:
            yield
            if not settings.dry_run:
                progress("publish", 0, 0, 0)  # not after a failure: that is told with the stage it happened in
        except BaseException:
            own = None  # who is who is not that of the last load
            raise
        finally:
            shutil.rmtree(store.spill_folder(warehouse), ignore_errors=True)
            if not settings.dry_run:
                _, _, report.models = _publish(settings, own=own)


def _recover(warehouse: Path) -> list[int]:
    """Finishes what an earlier command had made certain: loads, a run of who is who, compactions. The loads."""
    loads = store.recover(warehouse)
    store.recover(warehouse, resolve.APP)
    store.recover(warehouse, history.COMPACTION)
    store.forget(warehouse, sys.maxsize, resolve.APP)
    return loads


def _load_all(settings: Settings, began: float, started: datetime, report: Report, progress: Progress) -> None:
    progress("sources", 0, 0, 0)
    empty: dict[str, str] = {}
    with db.connect(events=False) as connection:
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


def resolve_only(
    settings: Settings,
    *,
    complete: bool = False,
    change: Callable[[list[resolve.Rule]], list[resolve.Rule]] | None = None,
) -> Report:
    """Resolves who is who up to the last load, by the operator's rules as `change` leaves them, and publishes that.

    The report has `resolved` and `models` only. complete: all events are looked at, not only the new ones.

    Raises LoaderError where there is no warehouse, LockedError while a run is at work.
    """
    settings = replace(settings, warehouse=store.check_path(settings.warehouse))
    store.check_format(settings.warehouse)
    report = Report()
    with _writing(settings, report, lambda *_: None, user_models.read(settings.models)):
        wanted = change(resolve.rules(settings.warehouse)) if change else None
        found = _resolve(settings, complete=complete, wanted=wanted)
        report.resolved = found.to_dict() if found else None
    return report


def verify(settings: Settings) -> resolve.Resolved:
    """Resolves all events beside what there is, and counts the rows that differ; changes nothing.

    Raises LoaderError where the last run did not resolve just that.
    """
    settings = replace(settings, warehouse=store.check_path(settings.warehouse))
    store.check_format(settings.warehouse)
    with store.locked(settings.warehouse), _engine(settings) as connection:
        _recover(settings.warehouse)
        return resolve.verify(connection, settings, ledger.read(connection, settings.warehouse))


def _resolve(
    settings: Settings, *, complete: bool = False, wanted: Sequence[resolve.Rule] | None = None
) -> resolve.Resolved | None:
    with _engine(settings) as connection:
        state = ledger.read(connection, settings.warehouse)
        if not state.last_load:
            return None
        return resolve.run(connection, settings, state, complete=complete, wanted=wanted)


def _engine(settings: Settings, *, events: bool = True) -> duckdb.DuckDBPyConnection:
    spill = store.spill_folder(settings.warehouse)
    return db.connect(settings.engine_memory, settings.threads, spill, events=events)


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
    with _writing(settings, Report(), lambda *_: None), _engine(settings) as connection:
        return change(connection, settings, ledger.read(connection, warehouse))


def republish(settings: Settings) -> tuple[int, int]:
    """Makes `warehouse.duckdb` afresh, after a move or a loss. The load that is seen then, and the number of tables.

    Raises LoaderError where nothing was ever loaded, LockedError while a run is at work.
    """
    settings = replace(settings, warehouse=store.check_path(settings.warehouse))
    store.check_format(settings.warehouse)
    with store.locked(settings.warehouse):
        _recover(settings.warehouse)
        load_id, tables, _ = _publish(settings, afresh=True)
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
        _recover(settings.warehouse)
        done = restores.restore(settings.warehouse, load_id)
        _publish(settings)
    return done


def compact(settings: Settings, names: Sequence[str]) -> list[compaction.Compacted]:
    """Makes one file of the small ones of each past day in these tables (none: in all), and publishes that.

    Raises LoaderError where there is no such table or warehouse, LockedError while a run is at work.
    """
    settings = replace(settings, warehouse=store.check_path(settings.warehouse))
    warehouse = settings.warehouse
    store.check_format(warehouse)
    with _writing(settings, Report(), lambda *_: None), _engine(settings) as connection:
        known = compaction.targets(ledger.read(connection, warehouse).tables)
        return compaction.compact(connection, warehouse, compaction.named(known, names), datetime.now(UTC).date())


def _compact_grown(settings: Settings, started: datetime) -> list[compaction.Compacted]:
    """Compacts the tables that have more small files than they should, of those that this run's loads added to."""
    added_to = {commit.folder for _, commits in store.manifests(settings.warehouse) for commit in commits}
    if not added_to:
        return []
    with _engine(settings) as connection:
        known = compaction.targets(ledger.read(connection, settings.warehouse).tables)
        grown = [target for target in known if target.folder in added_to or target.folder.startswith("identity/")]
        return compaction.compact(connection, settings.warehouse, grown, started.date(), settings.compact_files)


def vacuum(settings: Settings, days: int) -> vacuums.Vacuumed:
    """Removes the files that neither what is published nor a version of the last days needs.

    Raises LoaderError where there is no warehouse, LockedError while a run is at work.
    """
    settings = replace(settings, warehouse=store.check_path(settings.warehouse))
    warehouse = settings.warehouse
    store.check_format(warehouse)
    with _writing(settings, Report(), lambda *_: None):
        run = resolve.last(warehouse)
        named = publish.files(warehouse)  # if it is behind, a reader may have open what is replaced now
        return vacuums.vacuum(warehouse, named, run.load_id if run else None, days, time.time())


def _publish(
    settings: Settings, afresh: bool = False, own: Sequence[user_models.Own] | None = None
) -> tuple[int, int, list[dict[str, Any]]]:
    """Brings `warehouse.duckdb` up to the last load and the last run of who-is-who, if it is behind, or anew, with what
    the user's `own` models make of that. That load (0: there is none), the number of tables, what the models did."""
    warehouse = settings.warehouse
    with _engine(settings, events=False) as connection:
        state = ledger.read(connection, warehouse)
        if not state.last_load:
            return 0, 0, []
        pending = store.manifests(warehouse)
        at = None  # the versions to publish: the newest, unless a later load got stuck on its way into the tables
        if any(load_id > state.last_load for load_id, _ in pending):
            at = state.last_load
            state = ledger.read(connection, warehouse, at)
        shown = publish.published(warehouse)
        afresh = afresh or shown is None or shown.warehouse != str(warehouse)
        loaded = {commit.name for _, commits in pending for commit in commits}
        compacted = {each.folder for _, commits in store.manifests(warehouse, history.COMPACTION) for each in commits}

        def view(schema: str, name: str, folder: str) -> publish.View:
            version = None if at is None else history.version_at(warehouse / folder, at)
            return publish.View(schema, name, folder, version)

        tables = [view("main", table, store.table_folder(table)) for table in state.tables]
        views = [table for table in tables if afresh or table.name in loaded or table.folder in compacted]
        views += [view("loader", table, ledger.folder(table)) for table in ledger.TABLES]
        names = {"main": {table.name for table in tables} | (set() if settings.skip_users_table else {"users"})}
        now = publish.Shown(state.last_load, str(warehouse))
        stuck = bool(store.manifests(warehouse, resolve.APP))
        if stuck:  # a run got stuck on its way: persons stay as they are shown
            now = replace(now, resolved_load=shown.resolved_load, resolve_id=shown.resolve_id) if shown else now
        elif run := resolve.last(warehouse):
            now = replace(now, resolved_load=run.load_id, resolve_id=run.resolve_id)
            if afresh or compacted or not shown or shown.resolve_id != run.resolve_id:
                then = ledger.read(connection, warehouse, run.load_id)
                since = shown.resolved_load if shown and not afresh else 0
                views += resolved.views(warehouse, then, run.load_id, since, not settings.skip_users_table, compacted)
                names["resolved"] = resolved.names(then)
        made = user_models.published(warehouse)
        at_work: list[dict[str, Any]] = []

        def model(sql: duckdb.DuckDBPyConnection) -> None:
            if own is not None and (own or made):
                at_work.extend(user_models.run(sql, warehouse, own, made, now.load_id, now.resolve_id))
            elif made:
                user_models.keep(sql, warehouse, made)

        if (
            afresh
            or compacted
            or shown != now
            or (own is not None and user_models.due(own, made, now.load_id, now.resolve_id))
        ):
            publish.publish(connection, warehouse, views, shown=now, names=names, afresh=afresh, then=model)
    store.forget(warehouse, state.last_load)
    if not stuck:  # else views of persons name older files still
        store.forget(warehouse, sys.maxsize, history.COMPACTION)
    return state.last_load, len(tables), at_work
