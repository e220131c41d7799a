"""The sample data loaded: every total that `sample_data/totals.json` promises, and the README's table."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

import loader
from sample_data import generate
from tests import warehouses

HERE = Path(generate.__file__).parent
EVENTS = HERE / "events"
TOTALS = json.loads((HERE / "totals.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, loader.Report]:
    """A folder with a warehouse of the sample data, and what the load reported."""
    folder = tmp_path_factory.mktemp("sample")
    return folder, loader.run(loader.Settings(warehouse=folder / "warehouse", sources=(str(EVENTS),)))


@pytest.fixture(scope="session")
def folder(sample: tuple[Path, loader.Report]) -> Path:
    return sample[0]


def test_report(sample: tuple[Path, loader.Report]) -> None:
    _, report = sample
    for name in ("files", "lines", "items", "loaded", "duplicates", "rejected", "rejects", "discards"):
        assert getattr(report, name) == TOTALS[name], name
    assert report.rows == {
        name: rows
        for name, rows in {**TOTALS["call_tables"], **TOTALS["event_tables"], "other_events": 3}.items()
        if rows
    }
    assert (report.loads, report.known_files, report.unread, report.refused) == ([1], 0, {}, [])


def test_rows_of_each_table(folder: Path) -> None:
    names = warehouses.query(folder, "SELECT view_name FROM duckdb_views() WHERE schema_name = 'main' AND NOT internal")
    counts = {name: warehouses.query(folder, f'SELECT count(*) FROM "{name}"')[0][0] for (name,) in names}
    assert counts == {
        **TOTALS["call_tables"],
        **TOTALS["event_tables"],
        "other_events": TOTALS["other_events"],
        "users": TOTALS["users"],
    }


def test_rows_of_each_date(folder: Path) -> None:
    calls = " UNION ALL ".join(f"SELECT received_at, received_date FROM {name}" for name in TOTALS["call_tables"])
    rows = warehouses.query(folder, f"SELECT received_date::VARCHAR, count(*) FROM ({calls}) GROUP BY 1 ORDER BY 1")
    assert dict(rows) == TOTALS["loaded_by_received_date"]
    assert warehouses.query(folder, f"SELECT count(*) FROM ({calls}) WHERE received_at::DATE <> received_date") == [
        (0,)
    ]


def test_what_each_file_held(folder: Path) -> None:
    names = ("lines", "blank", "items", "loaded", "duplicates", "rejected")
    rows = warehouses.query(folder, f"SELECT uri, {', '.join(names)} FROM loader.files")
    assert {
        Path(uri).relative_to(EVENTS).as_posix(): dict(zip(names, row, strict=True)) for uri, *row in rows
    } == TOTALS["by_file"]
    sums = {name: sum(file[name] for file in TOTALS["by_file"].values()) for name in names}
    assert sums == {name: TOTALS[name] for name in names}
    assert len(rows) == TOTALS["files"]


def test_rejects_and_discards(folder: Path) -> None:
    for table in ("rejects", "discards"):
        rows = warehouses.query(folder, f"SELECT reason, count(*) FROM loader.{table} GROUP BY 1")
        assert dict(rows) == TOTALS[table]


def test_sources(folder: Path) -> None:
    """The source of a file is that of RudderStack's folder; exports of others have none."""
    rows = warehouses.query(folder, "SELECT coalesce(source, 'none'), count(*) FROM loader.files GROUP BY 1 ORDER BY 1")
    files: dict[str, int] = {}
    for name in TOTALS["by_file"]:
        source = name.split("/")[1] if name.startswith("rudder-logs/") else "none"
        files[source] = files.get(source, 0) + 1
    assert dict(rows) == files
    assert files.keys() == {*(source for source, _ in generate.RUDDER_SOURCES.values()), "none"}


def test_ids_are_single(folder: Path) -> None:
    """One row a call and id; a track is in both its tables."""
    for name, rows in TOTALS["call_tables"].items():
        assert warehouses.query(folder, f"SELECT count(DISTINCT id) FROM {name}") == [(rows,)]
    events = " UNION ALL ".join(f'SELECT id FROM "{name}"' for name in (*TOTALS["event_tables"], "other_events"))
    assert warehouses.query(folder, f"SELECT count(*) FROM (({events}) EXCEPT ALL (SELECT id FROM tracks))") == [(0,)]
    assert sum(TOTALS["event_tables"].values()) + TOTALS["other_events"] == TOTALS["call_tables"]["tracks"]


def test_kinds_that_differ(folder: Path) -> None:
    """The types of the columns that the README speaks of."""
    found: dict[tuple[str, str], str] = {
        (table, column): type_
        for table, column, type_ in warehouses.query(
            folder, "SELECT table_name, column_name, new_type FROM loader.schema_changes WHERE column_name IS NOT NULL"
        )
    }
    assert found["order_completed", "order_id"] == "VARCHAR"
    assert found["product_reviewed", "rating"] == "VARCHAR"
    assert found["order_completed", "shipping"] == "DOUBLE"
    assert found["identifies", "loyalty_points"] == "DOUBLE"
    assert found["identifies", "newsletter"] == "VARCHAR"
    assert warehouses.query(folder, "SELECT count(*) FROM product_reviewed WHERE rating = 'five stars'")[0][0] > 0


# --- who is who -------------------------------------------------------------------------------------------------------

EVENT_TABLES = [*TOTALS["call_tables"], *TOTALS["event_tables"], "other_events"]
EVERY_COLUMN = 'SELECT count(*), count(COLUMNS(*)) FROM {schema}."{name}"'  # reads each cell of each file


def test_every_view_of_persons_can_be_read(folder: Path) -> None:
    """Those of `resolved` that hold events have their rows and columns, and two more."""
    views = warehouses.query(
        folder, "SELECT schema_name, view_name FROM duckdb_views() WHERE schema_name IN ('identity', 'resolved')"
    )
    rows = {
        (schema, name): warehouses.query(folder, EVERY_COLUMN.format(schema=schema, name=name))[0]
        for schema, name in views
    }
    assert {name for schema, name in rows if schema == "identity"} == set(
        "edges map persons person_changes device_intervals conflicts rules".split()
    )
    assert {name for schema, name in rows if schema == "resolved"} == {
        *("users", "user_traits", "sessions", "timeline"),
        *EVENT_TABLES,
    }
    for name in EVENT_TABLES:
        plain = warehouses.query(folder, EVERY_COLUMN.format(schema="main", name=name))[0]
        count, *cells, persons, how = rows["resolved", name]
        assert ((count, *cells), how) == (plain, count), name
        assert persons <= count
    counts = {"map": 477, "edges": 161, "persons": 341, "person_changes": 341, "rules": 0}
    assert {name: rows["identity", name][0] for name in counts} == counts


def test_events_of_persons_add_up(folder: Path) -> None:
    """Of calls in whichever view: of the tables, of the timeline, of sessions, of persons."""
    calls = " UNION ALL ".join(
        f"SELECT id, person_id, resolved_by FROM resolved.{name}" for name in TOTALS["call_tables"]
    )
    [(events, found)] = warehouses.query(folder, f"SELECT count(*), count(person_id) FROM ({calls})")
    assert (events, found) == (TOTALS["loaded"], 4964)
    timeline = "SELECT count(*), count(DISTINCT person_id), count(DISTINCT session_id) FROM resolved.timeline"
    sessions = "SELECT sum(events), count(DISTINCT person_id), count(*) FROM resolved.sessions"
    users = "SELECT sum(events), count(*), sum(sessions) FROM resolved.users WHERE events > 0"
    for sums in (timeline, sessions, users):
        assert warehouses.query(folder, sums) == [(4964, 329, 598)], sums
    callers = "SELECT list_sort(list(primary_user_id)) FROM resolved.users WHERE events = 0"  # known by aliases only
    assert warehouses.query(folder, callers) == [([f"caller-{at:02}" for at in range(12)],)]
    assert warehouses.query(
        folder,
        f"""SELECT resolved_by, count(*), count(person_id) FROM ({calls}) GROUP BY 1
        HAVING resolved_by IN ('unresolved', 'shared_by_time') ORDER BY 1""",
    ) == [("shared_by_time", 33, 33), ("unresolved", 80, 0)]
    assert (
        warehouses.query(
            folder,
            """SELECT t.* FROM resolved.timeline AS t LEFT JOIN resolved.sessions AS s USING (person_id, session_id)
            WHERE s.session_id IS NULL OR t."timestamp" NOT BETWEEN s.started_at AND s.ended_at""",
        )
        == []
    )


def test_traits_of_persons(folder: Path) -> None:
    """`resolved.user_traits` says of each trait of `resolved.users` where it came from: an identify of that person."""
    of_traits = warehouses.query(folder, "SELECT person_id, trait, value FROM resolved.user_traits")
    columns = sorted({trait for _, trait, _ in of_traits} - {"birthday", "created_at"})  # instants are text otherwise
    assert len(columns) == 10
    texts = ", ".join(f'"{name}"::VARCHAR AS "{name}"' for name in columns)
    listed = ", ".join(f'"{name}"' for name in columns)
    unpivoted = f"UNPIVOT (SELECT person_id, {texts} FROM resolved.users) ON {listed} INTO NAME trait VALUE value"
    of_users = set(warehouses.query(folder, f"SELECT person_id, trait, value FROM ({unpivoted})"))
    assert of_users == {row for row in of_traits if row[1] in columns}
    assert warehouses.query(
        folder,
        """SELECT count(*) FROM resolved.user_traits AS t
            ANTI JOIN resolved.identifies AS i
                ON i.id = t.event_id AND i.person_id = t.person_id AND i."timestamp" = t.set_at""",
    ) == [(0,)]


def person_of(folder: Path, user_id: str) -> tuple[Any, ...]:
    [row] = warehouses.query(
        folder,
        """SELECT user_ids, anonymous_ids FROM resolved.users WHERE person_id = (
            SELECT person_id FROM identity.map WHERE id_type = 'user_id' AND id = ?)""",
        user_id,
    )
    return row


def test_people_worth_a_look(folder: Path) -> None:
    """As the README has them."""
    laptop, phone, tablet = (
        "a1000000-1001-4000-a000-000000000001",
        "a1001b0000000002",
        "A1000000-1001-4000-A000-000000000003",
    )
    assert person_of(folder, "user-1001") == (["user-1001"], sorted([laptop, phone, tablet]))
    before = warehouses.query(
        folder,
        """SELECT DISTINCT resolved_by, person_id = (SELECT person_id FROM identity.map WHERE id = 'user-1001')
        FROM resolved.pages WHERE anonymous_id = ? AND user_id IS NULL""",
        laptop,
    )
    assert before == [("attached", True)]
    tomas = (["erp-55012", "temp-7f3a", "user-1002"], ["a1000000-1002-4000-a000-000000000001"])
    for name in tomas[0]:
        assert person_of(folder, name) == tomas
    assert person_of(folder, "callcentre") == (["callcentre"], [])
    assert person_of(folder, "user-2001")[0] == ["user-2001"]
    conflicts = "SELECT kind, id, persons FROM identity.conflicts ORDER BY ALL"
    assert warehouses.query(folder, conflicts) == [
        ("blocked_seen", "00000000-0000-0000-0000-000000000000", 0),
        ("blocked_seen", "null", 0),
        ("blocked_seen", "undefined", 0),
        ("hub", "callcentre", 12),
        ("shared_device", "a1008b0000000001", 2),
        ("shared_device", "kiosk-berlin-01", 5),
    ]
    family = """SELECT m.id, valid_from IS NULL, valid_to IS NULL FROM identity.device_intervals
        JOIN identity.map AS m USING (person_id)
        WHERE anonymous_id = 'a1008b0000000001' AND m.id_type = 'user_id' ORDER BY valid_from NULLS FIRST"""
    assert [name for name, *_ in warehouses.query(folder, family)] == ["user-1008", "user-1009", "user-1008"]
    kiosk = """SELECT resolved_by, count(*) FROM resolved.tracks WHERE anonymous_id = 'kiosk-berlin-01' GROUP BY 1"""
    assert {by for by, _ in warehouses.query(folder, kiosk)} == {"user_id", "shared_by_time", "unresolved"}


def test_a_second_run_loads_nothing(sample: tuple[Path, loader.Report]) -> None:
    folder, _ = sample
    report = loader.run(loader.Settings(warehouse=folder / "warehouse", sources=(str(EVENTS),)))
    assert (report.known_files, report.loads, report.items) == (TOTALS["files"], [], 0)


def content(folder: Path) -> dict[str, bytes]:
    """The files below a folder, unpacked."""
    return {
        path.relative_to(folder).as_posix(): gzip.decompress(path.read_bytes())
        if path.suffix == ".gz"
        else path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_written_anew_it_is_the_same(tmp_path: Path) -> None:
    readme = (HERE / "README.md").read_text(encoding="utf-8")
    before, _, rest = readme.partition("<!-- totals -->\n")
    (tmp_path / "README.md").write_text(f"{before}<!-- totals -->\n{rest[rest.index('<!-- end') :]}", encoding="utf-8")
    totals: Any = generate.write(tmp_path)
    assert totals == TOTALS
    assert content(tmp_path / "events") == content(EVENTS)
    for name in ("README.md", "totals.json"):
        assert (tmp_path / name).read_bytes() == (HERE / name).read_bytes(), name
