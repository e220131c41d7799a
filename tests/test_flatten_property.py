"""The tables of the loader and of the slow reference are the same, for any events, many a load, several loads."""

import os
import tempfile
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import loader
from loader.errors import LoaderError
from tests import reference, strategies, warehouses

MODIFIED = datetime(2024, 5, 10, 12, tzinfo=UTC)
JSON_PATHS = (
    "track.properties.a",
    "track.properties.a.b",
    "identify.traits.a",
    "identify.context.traits.a",
    "page.properties.b",
    "track.context.a",
)

rules = st.fixed_dictionaries(
    {},
    optional={
        "skip_tracks_table": st.just(True),
        "store_full_event": st.just(True),
        "underscore_divide_numbers": st.just(True),
        "allow_users_context_traits": st.just(True),
        "json_paths": st.lists(st.sampled_from(JSON_PATHS), max_size=3, unique=True).map(tuple),
        "max_columns": st.sampled_from([20, 24]),
        "max_event_tables": st.sampled_from([1, 2]),
        "dedup_window_days": st.sampled_from([None, 1]),
        "on_type_conflict": st.sampled_from(["widen", "fail"]),
    },
)


# An example is up to three real loads, so a failing one is not shrunk: `reproduce_failure` repeats it.
@pytest.mark.filterwarnings("ignore:Generating overly large repr")
@settings(
    max_examples=int(os.environ.get("LOADER_EXAMPLES", "25")),
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    suppress_health_check=list(HealthCheck),
    deadline=None,
    print_blob=True,
)
@given(st.lists(st.lists(strategies.files, min_size=1, max_size=2), min_size=1, max_size=3), rules)
def test_same_tables_as_the_reference(loads: list[list[bytes]], rules: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as name:
        compare(Path(name), loads, rules)


def compare(folder: Path, loads: list[list[bytes]], rules: dict[str, Any]) -> None:
    expected = reference.Warehouse(**rules)
    number = 0
    for files in loads:
        given_files = []
        sources = []
        for data in files:
            number += 1
            path = folder / "in" / f"{number:03}.jsonl"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(data)
            os.utime(path, (MODIFIED.timestamp(), MODIFIED.timestamp()))
            sources.append(str(path))
            given_files.append(reference.InputFile(str(path), MODIFIED, data))
        started = datetime.now(UTC)
        given_settings = loader.Settings(warehouse=folder / "warehouse", sources=tuple(sources), threads=2, **rules)
        try:
            counts = expected.load(given_files, started)
        except reference.TypeConflict:
            with pytest.raises(LoaderError, match="on_type_conflict is fail"):
                loader.run(given_settings)
            continue
        report = loader.run(given_settings)
        assert report.duplicates == sum(count.duplicates for count in counts)
        assert report.loaded == sum(count.loaded for count in counts)
        assert report.lines == sum(count.lines for count in counts)
        assert report.items == sum(count.items for count in counts)
    same(folder, expected)


def same(folder: Path, expected: reference.Warehouse) -> None:
    found = warehouses.tables(folder)
    users = found.pop("users")
    rejects = warehouses.query(folder, "SELECT loader_file_id, loader_line, loader_element, reason FROM loader.rejects")
    assert sorted(rejects, key=str) == sorted(
        ((r["loader_file_id"], r["loader_line"], r["loader_element"], r["reason"]) for r in expected.rejects), key=str
    )
    assert found.keys() == expected.tables.keys()
    for name, table in expected.tables.items():
        assert found[name].columns == table.columns, (name, dict(found[name].columns.items() ^ table.columns.items()))
        wrong = differences(key_rows(found[name].rows), key_rows(table.rows))
        assert wrong == [], (name, wrong)
    names = (
        "table_name",
        "row_id",
        "column_name",
        "column_value",
        "reason",
        "received_at",
        "loader_file_id",
        "loader_line",
        "loader_element",
    )
    discards = warehouses.query(folder, f"SELECT {', '.join(names)} FROM loader.discards")
    ours = Counter(str(tuple(map(warehouses.plain, row))) for row in discards)
    theirs = Counter(str(tuple(warehouses.plain(row[key]) for key in names)) for row in expected.discards)
    assert (ours - theirs, theirs - ours) == (Counter(), Counter()), (ours - theirs, theirs - ours)
    wanted = expected.users()
    assert users.columns == wanted.columns, (users.columns, wanted.columns)
    wrong = differences(by_id(users.rows), by_id(wanted.rows))
    assert wrong == [], wrong


def key_rows(rows: list[dict[str, Any]]) -> dict[Any, Any]:
    """The rows by where they came from."""
    cells = warehouses.filled(rows, without=("uuid_ts",))
    keyed = {(row["loader_file_id"], row["loader_line"], row.get("loader_element")): row for row in cells}
    assert len(keyed) == len(cells)
    return keyed


def by_id(rows: list[dict[str, Any]]) -> dict[str, Any]:
    return {row["id"]: row for row in warehouses.filled(rows, without=("uuid_ts",))}


def differences(found: dict[Any, Any], expected: dict[Any, Any]) -> list[Any]:
    """(row, column, found, expected) of the cells that differ; a missing row is a difference of its own."""
    wrong: list[Any] = [(key, key in found, key in expected) for key in found.keys() ^ expected.keys()]
    for key in found.keys() & expected.keys():
        columns = found[key].keys() | expected[key].keys()
        wrong += [
            (key, column, found[key].get(column), expected[key].get(column))
            for column in sorted(columns)
            if found[key].get(column) != expected[key].get(column)
        ]
    return wrong
