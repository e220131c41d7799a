"""One run of who-is-who in the engine: what the models of `sql/identity` start from, and what of theirs is written."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from loader import contract, delta, events, history, identity, keyed, ledger, models, store
from loader.calls import CALL_TABLES, TRACK
from loader.db import literal, quote
from loader.delta import Commit
from loader.keyed import Keyed
from loader.models import Model
from loader.publish import view_sql
from loader.schema import Column
from loader.settings import Settings

# What is there before the first model runs.
GIVEN = (
    *("event", "history", "identifies", "trait_said"),
    *("former_map", "every_map", "every_edge", "old_interval", "old_person"),
    *("rule", "rule_changed", "options"),
)

_HERE = Path(__file__)
# Made here, between the models: by a loop, or of columns that differ from warehouse to warehouse.
COMPONENT = Model(_HERE, "component", ("vertex", "pair"), "component", False, "one row per vertex", "")
TRAIT_ROW = Model(_HERE, "trait_row", ("attributed",), "trait_row", False, "one row per trait of an identify", "")
TRAIT_LAST = Model(_HERE, "trait_last", ("attributed",), "trait_last", False, "one row per person with traits", "")


@dataclass(frozen=True, slots=True)
class Since:
    """Up to where former results hold: a load, its last file; and whether no id up to there needs to be trimmed."""

    load_id: int
    file_id: int
    clean: bool


class Work:
    """One run. before: up to where former results hold; None: all is made anew but person ids.

    clean: whether no id of all events needs to be trimmed, once it has run.
    """

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        settings: Settings,
        state: ledger.State,
        before: Since | None,
    ) -> None:
        self.sql = connection
        self.settings = settings
        self.warehouse = settings.warehouse
        self.state = state
        self.before = before
        self.clean = False
        self.identifies = state.tables["identifies"]
        self.persons = identity.persons(self.identifies)
        self.users = identity.users(self.identifies)
        self.made: Mapping[str, Callable[[], None]] = {
            "component": lambda: contract.components(connection),
            "trait_row": self._trait_row,
            "trait_last": self._trait_last,
        }

    def run(self, at: datetime, old_rules: Sequence[Mapping[str, Any]], rules: Sequence[Mapping[str, Any]]) -> None:
        """Makes all relations. at: the time of the run. old_rules, rules: the operator's, before and from now on."""
        self._events()
        self._former()
        self._rules(old_rules, rules)
        settings = self.settings
        self._table(
            "options",
            f"""SELECT {settings.devices == "merge"} AS merge_devices,
            {settings.shared_device == "by_time"} AS shared_by_time,
            {settings.max_alias_partners} AS max_alias_partners, {self.before is None} AS everything,
            TIMESTAMPTZ {literal(at.isoformat())} AS run_at, {self.state.last_load}::BIGINT AS load_id""",
        )
        folder = models.folder()
        ours = [models.read(path) for path in sorted((folder / "identity").glob("*.sql"))]
        ours += [COMPONENT, TRAIT_ROW, TRAIT_LAST, models.read(folder / "users.sql")]
        for model in models.ordered(ours, GIVEN):
            if model.writes in self.made:
                self.made[model.writes]()
            else:
                models.run(self.sql, model)

    # --- what the models start from -----------------------------------------------------------------------------------

    def _events(self) -> None:
        every = self._parts(None)
        new = every if self.before is None else self._parts(self.before.load_id)
        after = -1 if self.before is None else self.before.file_id
        ((unclean,),) = self.sql.execute(events.unclean(new, after)).fetchall()
        self.clean = not unclean and (self.before is None or self.before.clean)
        self._view("history", events.sql(every, clean=self.clean))
        rows = view_sql(self.identifies, every["identifies"].files, partitioned=True)
        self._view("identifies_all", rows)
        if self.before is None:
            self._view("event", "FROM history")
            self._view("identifies_new", "FROM identifies_all")
            self._view("identifies", "FROM identifies_all")
        else:
            self._table("event", events.sql(new, after))
            rows = view_sql(self.identifies, new["identifies"].files, partitioned=True)
            self._view("identifies_new", f"FROM ({rows}) WHERE loader_file_id > {after}")
            self._table("user_key", "SELECT DISTINCT user_id AS id FROM identifies_new WHERE user_id IS NOT NULL")
            self._view("identifies", "FROM identifies_all SEMI JOIN user_key ON user_key.id = identifies_all.user_id")
        self._view("trait_said", self._trait_said())

    def _parts(self, since: int | None) -> dict[str, events.Part]:
        """The tables of events with their files; with `since` only files that this load had not."""
        calls = {table: call for call, table in CALL_TABLES.items()}
        singles = self.state.event_tables if self.state.skipped_tracks else []
        parts = {}
        for table in (*calls, *singles):
            root = self.warehouse / store.table_folder(table)
            now = {file.path for file in delta.snapshot(root).files} if delta.exists(root) else set()
            if since is not None and now and (version := history.version_at(root, since)) is not None:
                now -= {file.path for file in delta.snapshot(root, version).files}
            parts[table] = events.Part(calls.get(table, TRACK), self.state.tables.get(table, ()), sorted(now))
        return parts

    def _trait_said(self) -> str:
        """SELECT of the traits that are opted in, as identifies say them: between user ids only (R12)."""
        there = {column.name: column for column in self.identifies}
        selects = [
            f"""SELECT {literal(name)} AS trait, {events.trimmed("user_id")} AS user_id,
                lower({events.trimmed(text_of(there[name]))}) AS value, "timestamp", received_at, id
                FROM identifies_new"""
            for name in self.settings.merge_on
            if name in there
        ]
        times = 'now() AS "timestamp", now() AS received_at'
        none = f"SELECT '' AS trait, '' AS user_id, '' AS value, {times}, '' AS id LIMIT 0"
        found = " UNION ALL ".join(selects) or none
        return f"SELECT * FROM ({found}) WHERE user_id IS NOT NULL AND value IS NOT NULL"

    def _former(self) -> None:
        """The results of before, where they hold; else only whose each id was. The persons there were, always."""
        holds, afresh = (f"WHERE {self.before is not None}", f"WHERE {self.before is None}")
        ids = keyed.select(self.warehouse, identity.MAP)
        self._view("former_map", f"FROM ({ids}) {afresh}")
        self._view("every_map", f"FROM ({ids}) {holds}")
        self._view("old_person", keyed.select(self.warehouse, identity.PERSONS))
        self._view("old_interval", f"FROM ({keyed.select(self.warehouse, identity.INTERVALS)}) {holds}")
        first = "{'at': first_seen, 'received': first_received_at, 'id': first_event_id}"
        self._view(
            "every_edge",
            f"""SELECT *, CASE WHEN first_event_id IS NOT NULL THEN {first} END AS first_event
            FROM ({keyed.select(self.warehouse, identity.EDGES)}) {holds}""",
        )

    def _rules(self, old: Sequence[Mapping[str, Any]], new: Sequence[Mapping[str, Any]]) -> None:
        self.sql.register("rule", ledger.arrow_table(identity.RULES, new))
        changed = [rule for rule in (*old, *new) if (rule in old) != (rule in new)]
        ends = [(rule[f"type_{end}"], rule[f"id_{end}"]) for rule in changed for end in "ab" if rule[f"id_{end}"]]
        columns = {"type_a": [type_ for type_, _ in ends], "id_a": [id_ for _, id_ in ends]}
        self.sql.register("rule_changed", pa.table({name: pa.array(ids, pa.string()) for name, ids in columns.items()}))

    # --- traits: columns that differ from warehouse to warehouse -----------------------------------------------------

    def _identified(self, cells: str) -> str:
        return f"""SELECT {cells} FROM identifies_all AS i JOIN attributed AS a
            ON a.call = 'identify' AND a.id = i.id AND a.timestamp = i."timestamp" AND a.received_at = i.received_at"""

    def _trait_row(self) -> None:
        pairs = (
            ", ".join(
                f"{{'trait': {literal(name)}, 'value': {text_of(column, 'i.')}}}" for column, name in self._traits()
            )
            or "{'trait': '', 'value': NULL::VARCHAR}"
        )
        rows = self._identified(
            f'a.person_id, i."timestamp", i.received_at, i.id AS event_id, unnest([{pairs}]) AS said'
        )
        self._table(
            "trait_row",
            f"""SELECT person_id, "timestamp", received_at, event_id, said.trait AS trait, said.value AS value
            FROM ({rows}) WHERE said.value IS NOT NULL""",
        )

    def _trait_last(self) -> None:
        place = "{'at': i.\"timestamp\", 'received': i.received_at, 'id': i.id}"
        names = identity.trait_names(self.identifies)
        cells = [
            f"max_by(i.{quote(column.name)}, {place}) FILTER (WHERE i.{quote(column.name)} IS NOT NULL) "
            f"AS {quote(names[column.name])}"
            for column, _ in self._traits()
        ]
        self._table("trait_last", self._identified(", ".join(["a.person_id", *cells])) + " GROUP BY a.person_id")

    def _traits(self) -> list[tuple[Column, str]]:
        return [(column, column.name) for column in identity.traits(self.identifies)]

    # --- what is written ----------------------------------------------------------------------------------------------

    def tables(self) -> list[tuple[Keyed, str, str]]:
        """The tables that a run writes: each with SELECTs of its rows and of the keys whose rows these replace."""
        edge = ", ".join(identity.EDGES.key)
        traits = [f"t.{quote(column.name)}" for column in self.persons.columns[len(identity.PERSON) :]]
        people = f"SELECT {', '.join(['u.*', *traits])} FROM user_now AS u LEFT JOIN trait_last AS t USING (person_id)"
        touched = "FROM person_touched"
        found = [
            (
                identity.EDGES,
                "SELECT *, first_event.id AS first_event_id, first_event.received AS first_received_at FROM edge_out",
                f"SELECT {edge} FROM edge_out UNION SELECT {edge} FROM gone_edge",
            ),
            (
                identity.MAP,
                "FROM map_out",
                "SELECT id_type, id FROM map_out UNION SELECT id_type, id FROM map_gone",
            ),
            (identity.PERSONS, "FROM person_now", "SELECT person_id FROM person_now"),
            (identity.INTERVALS, "FROM interval_now", "SELECT anonymous_id FROM sliced"),
            (identity.SESSIONS, "FROM session_now", touched),
            (identity.USER_TRAITS, "FROM user_trait_now", touched),
            (self.persons, people, touched),
        ]
        if not self.settings.skip_users_table:
            found.append((self.users, "FROM users", "SELECT id FROM users"))
        return found

    def write(self, version: int) -> list[Commit]:
        """Writes the files of a run; returns what to commit."""
        commits = []
        for table, rows, keys in self.tables():
            self._table("keyed_rows", rows)
            self._table("keyed_keys", keys)
            afresh = self.before is None and table is not identity.PERSONS  # ids of persons are for ever
            if afresh or self._count("keyed_keys") or not delta.exists(self.warehouse / table.folder):
                commits += keyed.write(
                    self.sql, self.warehouse, table, "keyed_rows", "keyed_keys", version, afresh=afresh
                )
        commits.append(self.rows("person_changes", identity.CHANGES, "FROM change_now", version))
        return commits

    def rows(self, name: str, columns: tuple[Column, ...], sql: str, version: int, *, replace: bool = False) -> Commit:
        """Writes rows to add to a table of identity, or to replace all of it."""
        folder = identity.folder(name)
        written = store.write(self.sql, self.warehouse, folder, columns, sql, version)
        overwrite = replace and delta.exists(self.warehouse / folder)
        return Commit(folder, name, columns, (), written.files, overwrite=overwrite)

    def differences(self) -> dict[str, int]:
        """How many rows differ from those that are published, by table; only after a run over all events."""
        found = {}
        for table, rows, _ in self.tables():
            if table is identity.PERSONS:
                found[table.name] = self._count("person_now")
                continue
            columns = ", ".join(quote(column.name) for column in table.columns)
            self._table("keyed_rows", f"SELECT {columns} FROM ({rows})")
            there = f"SELECT {columns} FROM ({keyed.select(self.warehouse, table)})"
            found[table.name] = self._count(
                f"((FROM keyed_rows EXCEPT {there}) UNION ALL ({there} EXCEPT FROM keyed_rows))"
            )
        return found

    def counts(self) -> tuple[int, int, dict[str, int], int, list[str]]:
        """Events looked at, persons that live, what happened to persons by kind, how often an id was nobody's, and the
        persons with suspiciously many user ids."""
        events = self._count("event")
        living = self._count("old_person WHERE retired_at IS NULL") + self._count("person_now WHERE retired_at IS NULL")
        living -= self._count("old_person SEMI JOIN person_now USING (person_id) WHERE retired_at IS NULL")
        changes = self.sql.execute("SELECT kind, count(*) FROM change_now GROUP BY kind ORDER BY kind").fetchall()
        ((blocked,),) = self.sql.execute(
            """SELECT coalesce(sum(m.events), 0)::BIGINT FROM mention AS m
            JOIN map_now AS n ON n.id_type = m.id_type AND n.id = m.id WHERE n.status = 'blocked'"""
        ).fetchall()
        oversize = self.sql.execute(
            """SELECT person_id FROM own WHERE id_type = 'user_id' GROUP BY person_id
            HAVING count(*) > $most ORDER BY person_id""",
            {"most": identity.OVERSIZE},
        ).fetchall()
        return events, living, dict(changes), blocked, [person for (person,) in oversize]

    def _table(self, name: str, sql: str) -> None:
        self.sql.execute(f"CREATE OR REPLACE TEMP TABLE {name} AS {sql}")

    def _view(self, name: str, sql: str) -> None:
        self.sql.execute(f"CREATE OR REPLACE TEMP VIEW {name} AS {sql}")

    def _count(self, relation: str) -> int:
        ((count,),) = self.sql.execute(f"SELECT count(*) FROM {relation}").fetchall()
        return int(count)


def text_of(column: Column, of: str = "") -> str:
    """SQL of a cell as text: an instant as everywhere else in the warehouse, other values as the engine casts them."""
    cell = of + quote(column.name)
    return f"instant_text({cell})" if column.type == "TIMESTAMPTZ" else f"{cell}::VARCHAR"
