"""An older DuckDB opens warehouse.duckdb, and finds in every view the rows that the current one finds."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
OLD_VERSIONS = [
    line.removeprefix("duckdb==")
    for line in (ROOT / "tests" / "old_duckdb.txt").read_text().splitlines()
    if not line.startswith("#")
]

# One event of each call, and values of every type, so that no view is empty for want of an event; then ids that make
# each finding of `identity.conflicts`.
COMMON = {
    "userId": "u-1",
    "anonymousId": "a-1",
    "originalTimestamp": "2026-03-02T10:00:00.000Z",
    "sentAt": "2026-03-02T10:00:01.000Z",
    "receivedAt": "2026-03-02T10:00:02.000Z",
    "context": {"ip": "192.0.2.7", "library": {"name": "web", "version": "1.2.3"}},
}
VALUES = {
    "count": 3,
    "total": 12.5,
    "paid": True,
    "at": "2026-03-02T10:00:00Z",
    "tags": ["a", {"b": 1}],
    "city": "Łódź",
}
EVENTS: list[dict[str, Any]] = [
    COMMON | {"messageId": "m-1", "type": "track", "event": "Order Completed", "properties": VALUES},
    COMMON | {"messageId": "m-2", "type": "track", "event": "注文完了", "properties": VALUES},
    COMMON | {"messageId": "m-3", "type": "identify", "traits": VALUES},
    COMMON | {"messageId": "m-4", "type": "page", "name": "Home", "properties": VALUES},
    COMMON | {"messageId": "m-5", "type": "screen", "name": "Home", "properties": VALUES},
    COMMON | {"messageId": "m-6", "type": "group", "groupId": "g-1", "traits": VALUES},
    COMMON | {"messageId": "m-7", "type": "alias", "previousId": "a-1", "traits": VALUES},
    COMMON | {"messageId": "m-8", "type": "reset", "properties": VALUES},
    *(
        COMMON | {"messageId": f"s-{at}", "type": "page", "userId": user, "timestamp": f"2026-03-02T1{at}:00:00Z"}
        for at, user in enumerate(["u-1", None, "u-2", "null", "u-1"])
    ),
    *(
        COMMON | {"messageId": f"a-{previous}", "type": "alias", "previousId": previous, "userId": user}
        for previous, user in [
            ("v-1", "v-2"),
            ("v-2", "v-3"),
            ("v-3", "v-1"),
            *((f"w-{at}", "hub") for at in range(11)),
        ]
    ),
    *(
        COMMON | {"messageId": f"o-{at}", "type": "alias", "previousId": f"x-{at}", "userId": f"x-{at + 1}"}
        for at in range(50)
    ),
]

READ = """
import duckdb, json, sys

connection = duckdb.connect(sys.argv[1], read_only=True)
connection.execute("SET TimeZone = 'UTC'")
views = "SELECT schema_name, view_name FROM duckdb_views() WHERE NOT internal ORDER BY ALL"
rows = {}
for schema, view in connection.execute(views).fetchall():
    name = ".".join('"' + part.replace('"', '""') + '"' for part in (schema, view))
    rows[f"{schema}.{view}"] = sorted(map(repr, connection.execute(f"SELECT * FROM {name}").fetchall()))
json.dump({"version": duckdb.__version__, "rows": rows}, sys.stdout)
"""


def run(*command: str | Path, pythonpath: Path = ROOT) -> str:
    """Runs a command that must succeed, with one folder to import from first, and gives its stdout."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("LOADER_")}
    done = subprocess.run(
        command,
        env=environment | {"PYTHONPATH": str(pythonpath)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        timeout=600,
    )
    assert done.returncode == 0, f"{command} gave {done.returncode}:\n{done.stdout}\n{done.stderr}"
    return done.stdout


def rows_of(database: Path, pythonpath: Path = ROOT) -> tuple[str, dict[str, list[str]]]:
    """The version of the DuckDB found, and the rows of every view."""
    found = json.loads(run(sys.executable, "-c", READ, database, pythonpath=pythonpath))
    return found["version"], found["rows"]


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The warehouse.duckdb of a warehouse that holds `EVENTS`, and five loads of a track; two bring columns."""
    folder = tmp_path_factory.mktemp("old_duckdb")
    (folder / "in").mkdir()
    news: list[dict[str, Any]] = [{}, {"new": "a"}, {"new": "b"}, {"newer": True}, {}]
    more = [[EVENTS[0] | {"messageId": f"n-{at}", "properties": VALUES | new}] for at, new in enumerate(news)]
    for at, events in enumerate([EVENTS, *more]):
        lines = "".join(json.dumps(event) + "\n" for event in events)
        (folder / "in" / f"{at}.jsonl").write_text(lines, encoding="utf-8")
    run(
        *(sys.executable, "-m", "loader", "run", folder / "in", "--warehouse", folder / "warehouse"),
        *("--max-load-bytes", "1B"),
    )
    return folder / "warehouse" / "warehouse.duckdb"


def test_the_current_duckdb_finds_every_table(database: Path) -> None:
    _, rows = rows_of(database)
    counts = {name: len(found) for name, found in rows.items()}
    calls = ["identifies", "screens", "groups", "resets", "注文完了"]
    for schema in ("main", "resolved"):
        assert {call: counts[f"{schema}.{call}"] for call in calls} == dict.fromkeys(calls, 1)
        assert (counts[f"{schema}.tracks"], counts[f"{schema}.order_completed"]) == (7, 6)
    assert (counts["loader.loads"], counts["loader.files"], counts["main.users"]) == (6, 6, 1)
    assert counts["identity.rules"] == 0
    assert {name for name, count in counts.items() if not count} == {
        "identity.rules",
        "loader.discards",
        "loader.rejects",
    }
    found = {row.split("'")[1] for row in rows["identity.conflicts"]}
    assert found == {"shared_device", "hub", "oversize", "blocked_seen", "alias_cycle"}


@pytest.mark.skipif(
    os.environ.get("LOADER_TEST_ALL") != "1", reason="installs from the package index: make check, or LOADER_TEST_ALL=1"
)
@pytest.mark.parametrize("version", OLD_VERSIONS)
def test_an_old_duckdb_finds_the_same(version: str, database: Path, tmp_path: Path) -> None:
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--only-binary=:all:"]
    run(*pip, "--target", tmp_path, f"duckdb=={version}")
    found, rows = rows_of(database, pythonpath=tmp_path)
    assert found == version
    assert rows == rows_of(database)[1]
