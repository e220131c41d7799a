"""`loader publish`: `warehouse.duckdb` made afresh, after a move or a loss."""

from loader import db, ledger, publish, store, users
from loader.errors import LoaderError
from loader.publish import View
from loader.settings import Settings


def republish(settings: Settings) -> tuple[int, int]:
    """Finishes what a run left, and publishes every table anew. The load that is seen then, and the number of tables.

    Raises LoaderError where nothing was ever loaded, LockedError while a run is at work.
    """
    warehouse = store.check_path(settings.warehouse)
    store.check_format(warehouse)
    with store.locked(warehouse):
        store.recover(warehouse)
        with db.connect(settings.engine_memory, settings.threads, store.spill_folder(warehouse)) as connection:
            state = ledger.read(connection, warehouse)
            if not state.last_load:
                raise LoaderError(f"{warehouse}: nothing is loaded yet, so there is nothing to publish.")
            if not settings.skip_users_table:
                users.rebuild(connection, warehouse, state.last_load)
            named = [
                table for table in (*state.tables, users.TABLE) if (warehouse / store.table_folder(table)).exists()
            ]
            views = [View("main", table, store.table_folder(table)) for table in named]
            views += [View("loader", table, ledger.folder(table)) for table in publish.LEDGER]
            publish.publish(connection, warehouse, views, load_id=state.last_load, afresh=True)
        store.forget(warehouse, state.last_load)
    return state.last_load, len(named)
