"""Rows that come in several batches, of several dates, call tables and event tables, and odd ones among them."""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pytest

from loader import delta, flatten, runs
from loader.records import TablePlan
from tests import warehouses

EVENTS = 6000  # more than two batches, of 2,048 at the least


def event(number: int) -> dict[str, Any]:
    """Two names and two dates of tracks, pages, and every fifth event with two keys for one column."""
    properties: dict[str, Any] = {"n": number, "of": {"even": number % 2 == 0}}
    if number % 5 == 0:
        properties |= {"a_b": number, "a": {"b": number + 1}}
    call = {"type": "page"} if number % 3 == 2 else {"type": "track", "event": "AB"[number % 2]}
    return {
        **call,
        "messageId": f"m{number}",
        "receivedAt": f"2024-05-{8 + number // 2 % 2:02}T10:00:00Z",
        "properties": properties,
        "context": {"number": number},
    }


def test_every_row_gets_its_own_cells_in_one_file_a_date(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flatten, "BYTES_A_BATCH", 0)
    report = warehouses.load(tmp_path, {"1.jsonl": warehouses.lines(*map(event, range(EVENTS)))})
    assert report.rows == {"tracks": 4000, "a": 2000, "b": 2000, "pages": 2000}
    assert report.written_files == 8
    for table in report.rows:
        files = delta.live_files(tmp_path / "warehouse" / "tables" / table)
        assert [file.partition["received_date"] for file in files] == ["2024-05-08", "2024-05-09"], table
    right = "id = 'm' || context_number AND received_date = DATE '2024-05-08' + (context_number // 2 % 2)::INTEGER"
    own = """n = context_number AND of_even = (n % 2 = 0)
        AND a_b IS NOT DISTINCT FROM CASE WHEN n % 5 = 0 THEN n END"""
    for table, condition in {"tracks": right, **dict.fromkeys(("a", "b", "pages"), f"{right} AND {own}")}.items():
        wrong = warehouses.query(tmp_path, f"FROM {table} WHERE NOT coalesce({condition}, false)")
        assert wrong == [], table
    assert warehouses.query(
        tmp_path, "SELECT count(DISTINCT id) FROM (SELECT id FROM tracks UNION SELECT id FROM pages)"
    ) == [(EVENTS,)]


def test_a_table_gets_its_batches_one_after_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where another thread is idle, and the first takes long."""
    begun: dict[str, list[int]] = {}
    at_work: set[str] = set()

    def add(table: runs.Table, engine: duckdb.DuckDBPyConnection, given: Sequence[runs.Run]) -> None:
        name = table.plan.target.table
        assert name not in at_work
        at_work.add(name)
        begun.setdefault(name, []).append(given[0].rows.column("pos")[0].as_py())
        time.sleep(0.3 if name == "tracks" and len(begun[name]) == 1 else 0)
        real(table, engine, given)
        at_work.remove(name)

    real = runs.Table.add
    monkeypatch.setattr(runs.Table, "add", add)
    monkeypatch.setattr(flatten, "BYTES_A_BATCH", 0)
    events = [
        {"type": "track", "messageId": f"m{at}", "event": "A", "receivedAt": "2024-05-06"} for at in range(EVENTS)
    ]
    report = warehouses.load(tmp_path, {"f": warehouses.lines(*events)})
    assert report.rows == {"tracks": EVENTS, "a": EVENTS}
    assert [len(each) for each in begun.values()] == [3, 3]
    assert all(each == sorted(each) for each in begun.values())


@pytest.mark.parametrize("order", ["pos", "-pos", "hash(pos)"])
def test_cells_that_are_made_go_to_their_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, order: str) -> None:
    """Rows of a call's table come event by event, so that neither places nor lines are in order; nor need be what the
    engine makes of them."""

    def common(plan: TablePlan) -> flatten.Cells:
        cells = real(plan)
        return replace(cells, made=cells.made and f"FROM ({cells.made}) ORDER BY {order}")

    real = flatten.common
    monkeypatch.setattr(flatten, "common", common)
    contexts = [{"x": {"y": f"v{at}"}} if at % 3 else {"x_y": f"w{at}"} for at in range(40)]
    events = [
        {"type": "track", "messageId": f"m{at}", "event": "AB"[at % 2], "receivedAt": "2024-05-06", "context": context}
        for at, context in enumerate(contexts)
    ]
    warehouses.load(tmp_path, {"f": warehouses.lines(*events)})
    rows = warehouses.query(tmp_path, "SELECT id, context_x_y FROM tracks ORDER BY loader_line")
    assert rows == [(f"m{at}", f"v{at}" if at % 3 else f"w{at}") for at in range(40)]
