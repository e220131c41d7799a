"""When who is who is worked out, what is seen meanwhile, and that it comes to the same however the events got there."""

import json
import re
import shutil
from collections import defaultdict
from pathlib import Path
from typing import Any

import duckdb
import pytest
from deltalake import DeltaTable, write_deltalake

import loader
from loader import identity, pipeline, resolve
from loader.errors import LoaderError
from tests import warehouses
from tests.conftest import Run

pytestmark = pytest.mark.usefixtures("nothing_from_elsewhere", "many_rejects")


def event(number: int, user: str | None = None, device: str | None = None, **more: Any) -> dict[str, Any]:
    """The event of a minute, each its own."""
    ids = {"userId": user, "anonymousId": device}
    time = f"2024-05-06T10:{number:02}:00Z"
    return {"type": "page", "messageId": f"m{number}", "timestamp": time, "receivedAt": time, **ids, **more}


def identify(number: int, user: str, **traits: Any) -> dict[str, Any]:
    return event(number, user, type="identify", traits=traits)


def alias(number: int, previous: str, user: str) -> dict[str, Any]:
    return event(number, user, type="alias", previousId=previous)


FIRST = [
    event(1, device="d"),
    identify(2, "a", plan="free"),
    event(3, "a", "d"),
    event(4, "b", type="track", event="Order Done"),
]
SECOND = [alias(5, "b", "a"), event(6, device="e", type="track", event="Order Done"), event(7, device="d")]


def settings(folder: Path, **more: Any) -> loader.Settings:
    return loader.Settings(warehouse=folder / "warehouse", **more)


def who(folder: Path, **more: Any) -> Any:
    """Who is who without ids of persons: whose each id and each event is, statuses, edges, the traits of persons."""
    query = "SELECT id_type, id, person_id, status, first_seen, last_seen, events FROM identity.map"
    rows = warehouses.query(folder, query)
    members = defaultdict(set)
    for id_type, id_, person, *_ in rows:
        members[person].add((id_type, id_))
    person = {each: None if each is None else frozenset(members[each]) for each in members}
    tables = "SELECT table_name FROM duckdb_columns() WHERE schema_name = 'resolved' AND column_name = 'resolved_by'"
    events = {
        (table, id_, person.get(of), by)
        for (table,) in warehouses.query(folder, tables)
        for id_, of, by in warehouses.query(folder, f'SELECT id, person_id, resolved_by FROM resolved."{table}"')
    }
    with warehouses.opened(folder) as connection:
        found = connection.execute("FROM resolved.users")
        names = [name for name, *_ in found.description]
        users = [dict(zip(names, map(str, row), strict=True)) for row in found.fetchall()]
    return {
        "map": {(*row[:2], person[row[2]], *row[3:]) for row in rows},
        "edges": set(warehouses.query(folder, "FROM identity.edges WHERE kind <> 'link'")),
        "events": events,
        "users": sorted(sorted(user.items()) for user in users if user.pop("person_id")),
        "ids of users": sorted(warehouses.query(folder, "SELECT id FROM users")),
    }


def afresh(folder: Path, *batches: list[dict[str, Any]], **more: Any) -> Any:
    """Who is who in a warehouse into which these were loaded at once."""
    warehouses.run(folder, {"all": warehouses.lines(*(each for batch in batches for each in batch))}, **more)
    return who(folder)


# --- what is seen -----------------------------------------------------------------------------------------------------

OF_PERSONS = "main.users", "identity.map", "identity.edges", "resolved.users", "resolved.timeline", "resolved.tracks"


def seen(folder: Path) -> dict[str, Any]:
    """The rows of the views that are made of persons."""
    return {view: sorted(warehouses.query(folder, f"FROM {view}"), key=str) for view in OF_PERSONS}


def test_all_is_of_one_load(tmp_path: Path) -> None:
    for load, events in enumerate((FIRST, SECOND), 1):
        report = warehouses.run(tmp_path, {str(load): warehouses.lines(*events)})
        assert report.resolved is not None
        assert (report.loads, report.resolved["load"]) == ([load], load)
        assert warehouses.query(tmp_path, "SELECT load_id, resolved_load, resolve_id FROM loader.published") == [
            (load, load, load)
        ]
        for table in (*warehouses.CALL_TABLES, "order_done"):
            ids = [
                warehouses.query(tmp_path, f"SELECT id FROM {schema}.{table} ORDER BY 1")
                for schema in ("main", "resolved")
            ]
            assert ids[0] == ids[1], table
        sent = {event["messageId"] for batch in (FIRST, SECOND)[:load] for event in batch}
        assert {id_ for (id_,) in warehouses.query(tmp_path, "SELECT event_id FROM resolved.timeline")} == sent


def test_after_a_load_alone_persons_stay(tmp_path: Path) -> None:
    """With the rows of events that they were resolved with; until the next resolve."""
    warehouses.run(tmp_path, {"1": warehouses.lines(*FIRST)})
    before = seen(tmp_path)
    warehouses.load(tmp_path, {"2": warehouses.lines(*SECOND, identify(8, "c", city="Oslo"))})
    assert warehouses.query(tmp_path, "SELECT count(*) FROM tracks") == [(2,)]
    assert warehouses.query(tmp_path, "SELECT load_id, resolved_load FROM loader.published") == [(2, 1)]
    assert seen(tmp_path) == before
    assert [id_ for (id_,) in warehouses.query(tmp_path, "SELECT id FROM resolved.order_done")] == ["m4"]
    pipeline.resolve_only(settings(tmp_path))
    assert warehouses.query(tmp_path, "SELECT load_id, resolved_load FROM loader.published") == [(2, 2)]
    after = seen(tmp_path)
    assert {view for view in after if after[view] == before[view]} == set()
    assert who(tmp_path) == afresh(tmp_path / "fresh", FIRST, SECOND, [identify(8, "c", city="Oslo")])


def test_an_event_table_that_is_new_waits_for_its_persons(tmp_path: Path) -> None:
    warehouses.run(tmp_path, {"1": warehouses.lines(event(1, "a"))})
    warehouses.load(tmp_path, {"2": warehouses.lines(event(2, "a", type="track", event="Late"))})
    assert warehouses.query(tmp_path, "SELECT id FROM late") == [("m2",)]
    with pytest.raises(duckdb.CatalogException):
        warehouses.query(tmp_path, "FROM resolved.late")
    pipeline.resolve_only(settings(tmp_path))
    assert warehouses.query(tmp_path, "SELECT id, resolved_by FROM resolved.late") == [("m2", "user_id")]


def test_only_what_is_new_is_looked_at(tmp_path: Path) -> None:
    """Unless all must be: at first, when it is asked for, and with other options."""
    report = warehouses.run(tmp_path, {"1": warehouses.lines(*FIRST)})
    assert report.resolved == {
        "load": 1,
        "complete": True,
        "events": 4,
        "persons": 2,
        "changes": {"new": 2},
        "blocked": 0,
        "oversize": [],
        "differences": None,
    }
    report = warehouses.run(tmp_path, {"2": warehouses.lines(*SECOND)})
    assert report.resolved == {
        "load": 2,
        "complete": False,
        "events": 3,
        "persons": 2,
        "changes": {"merge": 1, "new": 1},
        "blocked": 0,
        "oversize": [],
        "differences": None,
    }
    assert pipeline.resolve_only(settings(tmp_path)).resolved is None
    changed = resolve.Resolved(2, True, 7, 2, {}, 0, []).to_dict()
    assert pipeline.resolve_only(settings(tmp_path), complete=True).resolved == changed
    assert pipeline.resolve_only(settings(tmp_path, max_alias_partners=9)).resolved == changed
    assert pipeline.resolve_only(settings(tmp_path, max_alias_partners=9)).resolved is None
    assert warehouses.query(tmp_path, "SELECT resolve_id, load_id FROM loader.published") == [(4, 2)]


def test_nothing_to_resolve(tmp_path: Path) -> None:
    """A dry run resolves nothing, nor does a run without events."""
    assert warehouses.run(tmp_path, {"1": warehouses.lines(*FIRST)}, dry_run=True).resolved is None
    assert not (tmp_path / "warehouse" / "identity").exists()
    assert loader.run(settings(tmp_path)).resolved is None


def test_no_users_table(tmp_path: Path) -> None:
    """`skip_users_table` takes it away; persons are there all the same."""
    warehouses.run(tmp_path, {"1": warehouses.lines(*FIRST)})
    assert warehouses.query(tmp_path, "SELECT id FROM users") == [("a",)]
    warehouses.run(tmp_path, {"2": warehouses.lines(*SECOND)}, skip_users_table=True)
    with pytest.raises(duckdb.CatalogException):
        warehouses.query(tmp_path, "FROM users")
    assert warehouses.query(tmp_path, "SELECT count(*) FROM resolved.users") == [(2,)]


# --- however the events got there -------------------------------------------------------------------------------------


def test_after_a_restore(tmp_path: Path) -> None:
    """Persons are those of the load that is restored; what is loaded then again is theirs again."""
    warehouses.run(tmp_path, {"1": warehouses.lines(*FIRST)})
    then, people = (
        who(tmp_path),
        warehouses.query(tmp_path, "SELECT person_id, user_ids FROM resolved.users ORDER BY 1"),
    )
    warehouses.run(tmp_path, {"2": warehouses.lines(*SECOND)})
    later = who(tmp_path)
    pipeline.restore(settings(tmp_path), 1)
    assert who(tmp_path) == later
    done = pipeline.resolve_only(settings(tmp_path)).resolved
    assert done is not None
    assert (done["load"], done["complete"], done["changes"]) == (3, True, {"restore": 1, "split": 1})
    assert who(tmp_path) == then
    assert warehouses.query(tmp_path, "SELECT person_id, user_ids FROM resolved.users ORDER BY 1") == people
    warehouses.run(tmp_path, {"2": warehouses.lines(*SECOND)})
    assert who(tmp_path) == later == afresh(tmp_path / "fresh", FIRST, SECOND)
    assert pipeline.verify(settings(tmp_path)).differences == dict.fromkeys(TABLES, 0)


def test_after_a_replay_of_discards(tmp_path: Path) -> None:
    """Traits that come back with it count: here they are what makes two user ids one person."""
    events = [
        identify(1, "a", mail=5),
        identify(2, "b", mail="x@y.org"),
        identify(3, "c", mail="X@y.org "),
        event(4, "c", "d"),
    ]
    options = {"merge_on": ("mail",)}
    for event_ in events:
        warehouses.run(tmp_path, {event_["messageId"]: warehouses.lines(event_)}, **options)
    before = who(tmp_path)
    pipeline.widen(settings(tmp_path, **options), "identifies.mail", "VARCHAR")
    pipeline.replay_discards(settings(tmp_path, **options), "identifies.mail")
    assert who(tmp_path) == before
    done = pipeline.resolve_only(settings(tmp_path, **options)).resolved
    assert done is not None
    assert (done["complete"], done["changes"]) == (True, {"merge": 1})
    assert who(tmp_path) == afresh(tmp_path / "fresh", events, **options)
    assert warehouses.query(tmp_path, "SELECT user_ids, mail FROM resolved.users ORDER BY 1") == [
        (["a"], "5"),
        (["b", "c"], "X@y.org "),
    ]
    assert warehouses.query(tmp_path, "SELECT id, mail FROM users ORDER BY 1") == [
        ("a", "5"),
        ("b", "x@y.org"),
        ("c", "X@y.org "),
    ]


def test_after_a_widening(tmp_path: Path) -> None:
    warehouses.run(tmp_path, {"1": warehouses.lines(identify(1, "a", n=1), identify(2, "b", n=2))})
    pipeline.widen(settings(tmp_path), "identifies.n", "VARCHAR")
    assert warehouses.query(tmp_path, "SELECT id, n FROM users ORDER BY 1") == [("a", 1), ("b", 2)]
    pipeline.resolve_only(settings(tmp_path))
    assert warehouses.query(tmp_path, "SELECT id, n FROM users ORDER BY 1") == [("a", "1"), ("b", "2")]
    events = [identify(1, "a", n="1"), identify(2, "b", n="2")]
    assert who(tmp_path) == afresh(tmp_path / "fresh", events)


@pytest.mark.parametrize("in_force", [True, False])
def test_a_load_that_widens_a_table(tmp_path: Path, in_force: bool) -> None:
    """It writes old rows anew; no event counts twice, whether all are looked at or the new ones."""
    trait, place = ("traits", "identify") if in_force else ("properties", "page")
    first = [event(1, "a", "d", type=place, **{trait: {"n": 1}}), event(2, "b")]
    second = [event(3, "a", "e", type=place, **{trait: {"n": "x"}}), alias(4, "b", "a")]
    warehouses.run(tmp_path, {"1": warehouses.lines(*first)})
    report = warehouses.run(tmp_path, {"2": warehouses.lines(*second)}, on_type_conflict="widen")
    assert report.resolved is not None
    assert (len(report.rewritten), report.resolved["complete"]) == (1, in_force)
    assert who(tmp_path) == afresh(tmp_path / "fresh", first, second)


def test_after_a_replay_of_rejects(run: Run, tmp_path: Path) -> None:
    """What is mended counts as any other new event."""
    wrong = json.dumps(alias(5, "b", "a")).replace("alias", "aliass")
    warehouses.run(tmp_path, {"1": warehouses.lines(*FIRST, wrong)})
    (tmp_path / "mend.jsonl").write_text(run("rejects", "export").stdout.replace("aliass", "alias"))
    assert run("rejects", "replay", "mend.jsonl", "--quiet").output == ""
    done = pipeline.resolve_only(settings(tmp_path)).resolved
    assert done is not None
    assert (done["complete"], done["events"], done["changes"]) == (False, 1, {"merge": 1})
    assert who(tmp_path) == afresh(tmp_path / "fresh", FIRST, [alias(5, "b", "a")])


# --- verify -----------------------------------------------------------------------------------------------------------

TABLES = "edges map persons device_intervals sessions user_traits resolved_users users".split()


def tamper(folder: Path, table: str) -> int:
    """Takes a row from a table of identity. The version that had it."""
    delta = DeltaTable(folder / "warehouse" / identity.folder(table))
    rows, version = delta.to_pyarrow_table(), delta.version()
    assert rows.num_rows, table
    write_deltalake(delta, rows.slice(1), mode="overwrite")
    return version


def test_verify_finds_a_row_that_is_missing(tmp_path: Path) -> None:
    """In whichever table. It changes nothing; looking at all events anew puts it right."""
    shared = [event(8, "a", "kiosk"), event(9, "c", "kiosk")]
    warehouses.run(tmp_path, {"1": warehouses.lines(*FIRST, *shared)})
    for table in TABLES:
        before = tamper(tmp_path, table)
        differences = pipeline.verify(settings(tmp_path)).differences
        assert differences is not None
        assert differences[table] > 0, table
        DeltaTable(tmp_path / "warehouse" / identity.folder(table)).restore(before)
    assert pipeline.verify(settings(tmp_path)).differences == dict.fromkeys(TABLES, 0)
    tamper(tmp_path, "map")
    pipeline.resolve_only(settings(tmp_path), complete=True)
    assert pipeline.verify(settings(tmp_path)).differences == dict.fromkeys(TABLES, 0)


def test_verify_changes_nothing(tmp_path: Path) -> None:
    warehouses.run(tmp_path, {"1": warehouses.lines(*FIRST)})
    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "warehouse").rglob("*") if path.is_file()}
    assert pipeline.verify(settings(tmp_path)).differences == dict.fromkeys(TABLES, 0)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "warehouse").rglob("*") if path.is_file()} == files


def test_verify_wants_what_is_resolved(tmp_path: Path) -> None:
    message = rf"^{re.escape(str(tmp_path))}/warehouse: is not resolved up to its last load\. Run: loader resolve$"
    warehouses.load(tmp_path, {"1": warehouses.lines(*FIRST)})
    with pytest.raises(LoaderError, match=message):
        pipeline.verify(settings(tmp_path))
    pipeline.resolve_only(settings(tmp_path))
    pipeline.verify(settings(tmp_path))
    warehouses.load(tmp_path, {"2": warehouses.lines(*SECOND)})
    with pytest.raises(LoaderError, match=message):
        pipeline.verify(settings(tmp_path))


def test_verify_wants_the_settings_that_it_was_resolved_with(tmp_path: Path) -> None:
    warehouses.run(tmp_path, {"1": warehouses.lines(*FIRST)}, devices="merge")
    with pytest.raises(
        LoaderError, match=r": was resolved with other settings under \[identity\]\. Run: loader resolve$"
    ):
        pipeline.verify(settings(tmp_path))
    assert pipeline.verify(settings(tmp_path, devices="merge")).differences == dict.fromkeys(TABLES, 0)


# --- tables that are gone ---------------------------------------------------------------------------------------------


def whole(folder: Path) -> None:
    """Asserts that what is published is what the tables have, and that is what the events say."""
    assert pipeline.verify(settings(folder)).differences == dict.fromkeys(TABLES, 0)
    for view in ("identity.map", "identity.edges", "identity.persons", "resolved.users", "resolved.timeline"):
        assert warehouses.query(folder, f"SELECT count(*) > 0 FROM {view}") == [(True,)], view


@pytest.mark.parametrize("table", ["map", "persons", "map_recent", "resolves", "."])
def test_a_table_that_is_gone_is_made_anew(table: str, tmp_path: Path) -> None:
    """Also where that was made good for readers in between."""
    many = [event(at, f"u{at}") for at in range(10, 50)]
    warehouses.run(tmp_path, {"1": warehouses.lines(*FIRST, *many)})
    warehouses.run(tmp_path, {"2": warehouses.lines(*SECOND)})
    lost = tmp_path / "warehouse/identity" / table
    for published_anew in (False, False, True) if table != "map_recent" else (False,):
        shutil.rmtree(lost)
        if published_anew:
            pipeline.republish(settings(tmp_path))
        pipeline.resolve_only(settings(tmp_path))
        whole(tmp_path)
    assert pipeline.resolve_only(settings(tmp_path)).resolved is None


@pytest.mark.parametrize("table", ["map", "resolves"])
def test_files_of_a_table_that_are_gone(table: str, tmp_path: Path) -> None:
    """It is said which, and what to do; nothing is resolved from the rest."""
    warehouses.run(tmp_path, {"1": warehouses.lines(*FIRST)})
    root = tmp_path / "warehouse/identity" / table
    for path in root.glob("*.parquet"):
        path.unlink()
    for complete in (False, True):
        message = (
            rf"^{re.escape(str(root))}/\S+: this file is gone\. Remove the folder that it was in, and run: loader res"
        )
        with pytest.raises(LoaderError, match=message):
            pipeline.resolve_only(settings(tmp_path), complete=complete)
    shutil.rmtree(root)
    pipeline.resolve_only(settings(tmp_path))
    whole(tmp_path)
