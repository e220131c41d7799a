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
