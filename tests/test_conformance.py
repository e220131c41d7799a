"""The conformance data, end to end: each event loaded into an empty warehouse and read back by SQL."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests import warehouses

FOLDER = Path(__file__).parent / "conformance"
CASES = [json.loads(line) for line in (FOLDER / "events.jsonl").read_text().splitlines()]
NAMES = [json.loads(line) for line in (FOLDER / "names.jsonl").read_text().splitlines()]
DATETIMES = [json.loads(line) for line in (FOLDER / "datetimes.jsonl").read_text().splitlines()]


def comparable(value: Any, type_: str) -> Any:
    """As conformance says: instants cut to milliseconds, JSON parsed, numbers as numbers, the rest as text."""
    match type_:
        case "TIMESTAMPTZ":
            instant = value if isinstance(value, datetime) else datetime.fromisoformat(value)
            instant = instant.astimezone(UTC)
            return instant.replace(microsecond=instant.microsecond // 1000 * 1000)
        case "JSON":
            return json.loads(value) if isinstance(value, str) else value
        case "BIGINT" | "DOUBLE" | "BOOLEAN":
            return value
    return str(value)


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_event(case: dict[str, Any], tmp_path: Path) -> None:
    warehouses.load(tmp_path, {"event.jsonl": warehouses.lines(case["event"])}, **settings(case))
    tables = warehouses.tables(tmp_path)
    if "rejected" in case:
        reasons = warehouses.query(tmp_path, "SELECT reason FROM loader.rejects")
        assert reasons == [(case["rejected"],)]
        assert [name for name, table in tables.items() if table.rows] == []
        return
    free = ("timestamp", *warehouses.BOOKKEEPING)
    for expected in case["expected"]:
        table = tables[expected["table"]]
        assert len(table.rows) == 1
        row = table.rows[0]
        for column, value in expected["row"].items():
            type_ = expected["types"][column]
            assert table.columns[column] == type_, column
            assert comparable(row[column], type_) == comparable(value, type_), column
        others = {k for k, v in row.items() if v is not None} - expected["row"].keys() - set(free)
        assert others == set()
    wanted = {expected["table"] for expected in case["expected"]}
    rest = {name for name, table in tables.items() if table.rows} - {"other_events", "users"}
    assert rest == wanted


def settings(case: dict[str, Any]) -> dict[str, Any]:
    return {k: tuple(v) if isinstance(v, list) else v for k, v in case["settings"].items()}


def test_datetimes(tmp_path: Path) -> None:
    """One event a string, so that each column has one value: a datetime gives TIMESTAMPTZ, other text VARCHAR."""
    events = [
        {"type": "track", "event": f"e {at}", "messageId": f"m{at}", "properties": {"v": case["input"]}}
        for at, case in enumerate(DATETIMES)
    ]
    warehouses.load(tmp_path, {"events.jsonl": warehouses.lines(*events)})
    tables = warehouses.tables(tmp_path)
    for at, case in enumerate(DATETIMES):
        table = tables[f"e_{at}"]
        assert table.columns["v"] == ("TIMESTAMPTZ" if case["datetime"] else "VARCHAR"), case
        expected = comparable(case["value"], "TIMESTAMPTZ") if case["datetime"] else case["input"]
        assert comparable(table.rows[0]["v"], table.columns["v"]) == expected


@pytest.mark.parametrize("divide", [False, True])
def test_names(divide: bool, tmp_path: Path) -> None:
    """Each name as an event name, in `tracks.event` and as the name of its table."""
    events = [
        {"type": "track", "event": case["input"], "messageId": f"m{at}", "properties": {"v": 1}}
        for at, case in enumerate(NAMES)
    ]
    warehouses.load(tmp_path, {"events.jsonl": warehouses.lines(*events)}, underscore_divide_numbers=divide)
    found = dict(warehouses.query(tmp_path, "SELECT id, event FROM tracks"))
    names = {name for (name,) in warehouses.query(tmp_path, "SELECT view_name FROM duckdb_views() WHERE NOT internal")}
    for at, case in enumerate(NAMES):
        assert found[f"m{at}"] == case["name_divide_numbers" if divide else "name"]
        escaped = case["escaped"]
        if not divide:
            assert escaped in names, case
