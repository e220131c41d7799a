"""What analysts see of who is who: the views of the schemas `identity` and `resolved`, and `users`.

The views of `resolved` read events as the last run resolved them, and look their persons up in `identity`.
"""

from collections.abc import Collection, Sequence
from pathlib import Path

from loader import delta, events, history, identity, keyed, ledger, models, store
from loader.calls import CALL_TABLES, TRACK
from loader.db import quote
from loader.keyed import Keyed
from loader.publish import View, table_sql, view_sql
from loader.schema import Column

KEYED = (identity.EDGES, identity.MAP, identity.PERSONS, identity.INTERVALS)
ADDED = ("person_id", "resolved_by")  # what a table of events gets in `resolved`


def names(state: ledger.State) -> set[str]:
    """The views of the schema `resolved`."""
    return {*state.tables, "users", "user_traits", "sessions", "timeline"}


def views(
    warehouse: Path, state: ledger.State, load_id: int, since: int, users: bool, compacted: Collection[str]
) -> list[View]:
    """The views of a run up to a load, but for tables that are as they were at the load `since` (0: all views).

    state: the ledger's at that load. users: whether there is to be that table. compacted: folders of tables that have
    other files since.
    """
    found = [View("identity", table.name, sql=_seen(warehouse, table)) for table in KEYED]
    for name, columns in (("person_changes", identity.CHANGES), ("rules", identity.RULES)):
        there = delta.exists(warehouse / identity.folder(name))
        sql = table_sql(warehouse / identity.folder(name)) if there else view_sql(columns, [], partitioned=False)
        found.append(View("identity", name, sql=sql))
    found.append(View("identity", "conflicts", sql=models.read(models.folder() / "views" / "conflicts.sql").sql))
    identifies = state.tables["identifies"]
    if users:
        found.append(View("main", "users", sql=keyed.select(warehouse, identity.users(identifies))))
    found.append(View("resolved", "users", sql=_persons(warehouse, identity.persons(identifies))))
    found.append(View("resolved", "user_traits", sql=keyed.select(warehouse, identity.USER_TRAITS)))
    found.append(View("resolved", "sessions", sql=keyed.select(warehouse, identity.SESSIONS)))
    calls = {table: call for call, table in CALL_TABLES.items()}
    parts = {}
    for table, columns in state.tables.items():
        root = warehouse / store.table_folder(table)
        version = history.version_at(root, load_id)
        files = [file.path for file in delta.snapshot(root, version).files]
        if not since or store.table_folder(table) in compacted or version != history.version_at(root, since):
            found.append(View("resolved", table, sql=_table(columns, files)))
        if table in calls or (state.skipped_tracks and table in state.event_tables):
            parts[table] = events.Part(calls.get(table, TRACK), columns, files)
    found.append(View("resolved", "timeline", sql=_timeline(events.sql(parts))))
    return found


def _seen(warehouse: Path, table: Keyed) -> str:
    """A table of identity without what only later runs need."""
    hidden = identity.HIDDEN.get(table.name, ())
    columns = ", ".join(quote(column.name) for column in table.columns if column.name not in hidden)
    return f"SELECT {columns} FROM ({keyed.select(warehouse, table)})"


def _persons(warehouse: Path, table: Keyed) -> str:
    """`resolved.users`; the lists of ids are text on disk."""
    columns = [
        f"from_json({quote(column.name)}, '[\"VARCHAR\"]') AS {quote(column.name)}"
        if column.name in identity.LISTS
        else quote(column.name)
        for column in table.columns
    ]
    return f"SELECT {', '.join(columns)} FROM ({keyed.select(warehouse, table)})"


def _table(columns: Sequence[Column], files: Sequence[str]) -> str:
    """A table of events with each one's person, and how that was found."""
    names = [column.name for column in columns]
    own = [
        f"e.{quote(name)}" + (f" AS {quote(identity.free(name, [*ADDED, *names]))}" if name in ADDED else "")
        for name in names
    ]
    return _found(", ".join(own), view_sql(columns, files, partitioned=True))


def _found(cells: str, rows: str) -> str:
    """SELECT of cells of events (`e`) and of their persons: a valid user id decides (R1), else the device (R3, R4)."""
    return f"""SELECT {cells},
        coalesce(u.person_id, CASE WHEN d.status = 'shared' THEN i.person_id ELSE d.person_id END) AS person_id,
        CASE WHEN u.person_id IS NOT NULL THEN 'user_id'
            WHEN d.status = 'shared' AND i.person_id IS NOT NULL THEN 'shared_by_time'
            WHEN d.status IN ('attached', 'anonymous') THEN d.status ELSE 'unresolved' END AS resolved_by
    FROM ({rows}) AS e
    LEFT JOIN identity.map AS u ON u.id_type = 'user_id' AND u.id = {events.trimmed("e.user_id")}
    LEFT JOIN identity.map AS d ON d.id_type = 'anonymous_id' AND d.id = {events.trimmed("e.anonymous_id")}
    LEFT JOIN identity.device_intervals AS i ON d.status = 'shared' AND i.anonymous_id = d.id
        AND (i.valid_from IS NULL OR e."timestamp" >= i.valid_from)
        AND (i.valid_to IS NULL OR e."timestamp" < i.valid_to)"""


def _timeline(rows: str) -> str:
    """Every event of a person, with the session that it is in."""
    found = _found('e."timestamp", e.call, e.event, e.id AS event_id', rows)
    return f"""SELECT t.person_id, t."timestamp", t.call, t.event, t.event_id, s.session_id
    FROM (SELECT * FROM ({found}) WHERE person_id IS NOT NULL) AS t
    ASOF LEFT JOIN resolved.sessions AS s ON s.person_id = t.person_id AND t."timestamp" >= s.started_at"""
