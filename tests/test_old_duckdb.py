"""An older DuckDB opens warehouse.duckdb, and counts in every view what the current one counts."""

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

# One event of each call, and values of every type, so that no view is empty for want of an event.
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
]

# Rows and, column by column, cells that are not NULL: so every column of every file is read.
COUNT = """
import duckdb, json, sys

connection = duckdb.connect(sys.argv[1], read_only=True)
views = "SELECT schema_name, view_name FROM duckdb_views() WHERE NOT internal ORDER BY ALL"
counts = {}
for schema, view in connection.execute(views).fetchall():
    name = ".".join('"' + part.replace('"', '""') + '"' for part in (schema, view))
    counts[f"{schema}.{view}"] = connection.execute(f"SELECT count(*), count(COLUMNS(*)) FROM {name}").fetchone()
json.dump({"version": duckdb.__version__, "counts": counts}, sys.stdout)
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


def counts_of(database: Path, pythonpath: Path = ROOT) -> tuple[str, dict[str, list[int]]]:
    """The version of the DuckDB found, and the counts of every view."""
    found = json.loads(run(sys.executable, "-c", COUNT, database, pythonpath=pythonpath))
    return found["version"], found["counts"]


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The warehouse.duckdb of a warehouse that holds `EVENTS`."""
    folder = tmp_path_factory.mktemp("old_duckdb")
    events = folder / "events.jsonl"
    events.write_text("".join(json.dumps(event) + "\n" for event in EVENTS), encoding="utf-8")
    run(sys.executable, "-m", "loader", "load", events, "--warehouse", folder / "warehouse")
    return folder / "warehouse" / "warehouse.duckdb"


def test_the_current_duckdb_finds_every_table(database: Path) -> None:
    _, counts = counts_of(database)
    calls = ["identifies", "pages", "screens", "groups", "aliases", "resets", "order_completed", "注文完了"]
    assert {call: counts[f"main.{call}"][0] for call in calls} == dict.fromkeys(calls, 1)
    assert counts["main.tracks"][0] == 2
    assert counts["loader.loads"][0] == 1
    assert counts["loader.files"][0] == 1


@pytest.mark.skipif(
    os.environ.get("LOADER_TEST_ALL") != "1", reason="installs from the package index: make check, or LOADER_TEST_ALL=1"
)
@pytest.mark.parametrize("version", OLD_VERSIONS)
def test_an_old_duckdb_counts_the_same(version: str, database: Path, tmp_path: Path) -> None:
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--only-binary=:all:"]
    run(*pip, "--target", tmp_path, f"duckdb=={version}")
    found, counts = counts_of(database, pythonpath=tmp_path)
    assert found == version
    assert counts == counts_of(database)[1]
