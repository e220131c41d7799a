"""Too many names: of events, of properties, of dates. Bounded time and memory, a plain message, nothing lost.

The short forms have a tenth of the names; `make soak` runs the long ones.
"""

import json
from collections.abc import Iterable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests import warehouses
from tests.test_hostile import MIB, peak

sizes = pytest.mark.parametrize("share", [10, pytest.param(1, marks=pytest.mark.long)], ids=["short", "long"])


def loaded(folder: Path, events: Iterable[dict[str, Any]], most: int = 2000 * MIB) -> str:
    """What is said about a load of these, which stays below so many bytes at the default settings."""
    with (folder / "f.json").open("w") as file:
        file.writelines(json.dumps(event) + "\n" for event in events)
    code, memory, said = peak(folder, str(folder / "f.json"), "--max-reject-share", "1")
    assert code == 0, said
    assert memory < most
    return said


def track(at: int, **more: Any) -> dict[str, Any]:
    return {"type": "track", "event": "Wide Thing", "messageId": str(at), "receivedAt": "2024-05-01", **more}


@sizes
def test_event_names(share: int, tmp_path: Path) -> None:
    """Past max_event_tables they get no table, and are told."""
    count = 20_000 // share
    said = loaded(tmp_path, (track(at, event=f"Event {at}", properties={"n": at}) for at in range(count)))
    assert f"max_event_tables is reached: {count - 1000:,} event names got no table (Event 1000, " in said
    assert warehouses.query(tmp_path, "SELECT count(DISTINCT event_text) FROM tracks") == [(count,)]
    with warehouses.opened(tmp_path) as connection:
        tables = connection.execute("SELECT count(*) FROM duckdb_views() WHERE view_name LIKE 'event_%'").fetchall()
        others = connection.execute("SELECT sum((properties->>'n')::BIGINT) FROM other_events").fetchall()
        assert connection.execute("SELECT n FROM event_999").fetchall() == [(999,)]
    assert tables == [(1000,)]
    assert others == [(sum(range(1000, count)),)]


@sizes
def test_keys_of_one_event(share: int, tmp_path: Path) -> None:
    """Past max_columns they are discards; each event has all of the keys."""
    keys, events = 5000, 200 // share
    said = loaded(
        tmp_path, (track(n, properties={f"k {key:04}": key * n for key in range(keys)}) for n in range(events))
    )
    with warehouses.opened(tmp_path) as connection:
        cursor = connection.execute("SELECT * FROM wide_thing ORDER BY id::BIGINT")
        names = [column[0] for column in cursor.description]
        rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
        kept = [name for name in names if name.startswith("k_")]
        rest = connection.execute("""
            SELECT row_id, count(*), sum(column_value::BIGINT) FROM loader.discards
            WHERE table_name = 'wide_thing' AND reason = 'too_many_columns' GROUP BY 1 ORDER BY row_id::BIGINT
        """).fetchall()
    assert kept == [f"k_{key:04}" for key in range(len(kept))]
    assert len(names) == 1600
    assert [[row[name] for name in kept] for row in rows] == [
        [key * n for key in range(len(kept))] for n in range(events)
    ]
    assert rest == [(str(n), keys - len(kept), n * sum(range(len(kept), keys))) for n in range(events)]
    assert f"too_many_columns {(keys - len(kept)) * events:,}" in said


@sizes
def test_few_of_many_keys(share: int, tmp_path: Path) -> None:
    """Each event has five of 5,000 keys: nearly all are rare, and nearly all cells empty."""
    events = 50_000 // share
    given = [{f"k {(n * 7 + at * 997) % 5000:04}": f"v{n}" for at in range(5)} for n in range(events)]
    loaded(tmp_path, (track(n, properties=properties) for n, properties in enumerate(given)))
    with warehouses.opened(tmp_path) as connection:
        cells = connection.execute("""
            SELECT count(*), count(DISTINCT id) FROM (UNPIVOT wide_thing ON COLUMNS('^k_') INTO NAME k VALUE v)
            WHERE v = 'v' || id
        """).fetchall()
        lost = connection.execute("""
            SELECT count(*) FROM loader.discards WHERE column_value = '"v' || row_id || '"'
        """).fetchall()
    assert cells[0][0] + lost[0][0] == 5 * events
    assert cells[0][1] > events // 2


@sizes
def test_dates(share: int, tmp_path: Path) -> None:
    """Each is a folder and a file of its own in every table, which takes its time, and is told."""
    count = 10_000 // share
    first = date(1990, 1, 1)
    said = loaded(tmp_path, (track(n, receivedAt=str(first + timedelta(n)), properties={"n": n}) for n in range(count)))
    assert f"{2 * count:,} files were written, for {count:,} dates" in said
    rows = warehouses.query(
        tmp_path, "SELECT count(DISTINCT received_date), sum(n), min(received_date) FROM wide_thing"
    )
    assert rows == [(count, sum(range(count)), first)]


def test_a_wide_event_takes_memory_once(tmp_path: Path) -> None:
    """Ten events of 20,000 keys, in a line and in a batch, odd ones: memory in their size, not in its square."""
    properties = {"a_b": 1, "a": {"b": 2}} | {f"k{key}": "x" * 100 for key in range(20_000)}
    events = [track(at, properties=properties) for at in range(5)]
    loaded(tmp_path, [*events, {"batch": [track(5 + at, properties=properties) for at in range(5)]}])
    assert warehouses.query(tmp_path, "SELECT count(*), count(DISTINCT id), sum(a_b) FROM wide_thing") == [(10, 10, 10)]


@pytest.mark.parametrize("odd", [False, True])
def test_a_long_value_deep_down(odd: bool, tmp_path: Path) -> None:
    """May be looked at once for each object that it is in, so a long line may not nest as deep as a short one."""
    text = "x" * (5 * MIB)
    events = []
    for depth in (90, 500):
        properties: dict[str, Any] = {"a": text, "b": 1} | ({"a ": 2} if odd else {})
        for _ in range(depth):
            properties = {"a": properties}
        events.append(track(depth, properties=properties))
    loaded(tmp_path, events, 3500 * MIB if odd else 2000 * MIB)  # 1/2 GB a copy, and of odd events there are six
    (row,) = warehouses.tables(tmp_path)["wide_thing"].rows
    assert {1, 2 if odd else text} <= set(row.values())
    lost = warehouses.query(
        tmp_path, "SELECT reason, column_value FROM loader.discards WHERE table_name = 'wide_thing'"
    )
    assert lost == ([("name_collision", f'"{text}"')] if odd else [])
    rejects = warehouses.query(tmp_path, "SELECT loader_line, reason, detail FROM loader.rejects")
    assert rejects == [(2, "invalid_json", "nested deeper than 102 levels")]
