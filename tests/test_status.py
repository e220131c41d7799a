"""`loader status` and `loader schema`: what they print for a small warehouse."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import loader
from loader import pipeline
from loader.cli import main

EVENTS: list[dict[str, Any]] = [
    {"type": "track", "event": "Order Done", "userId": "u1", "properties": {"total": 9.5, "items": [1], "paid": True}},
    {"type": "track", "event": "Order Done", "userId": "u2", "properties": {"total": "none"}},
    {"type": "track", "event": "Город", "userId": "u1", "receivedAt": "2026-03-03T08:00:00Z"},
    {"type": "track", "event": "!!!", "userId": "u1", "properties": {"a": 1}},
    {"type": "identify", "userId": "u1", "traits": {"plan": 'pro, "gold"', "age": 7}},
    {"type": "walk"},
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A warehouse with two loads; the second has a line that is no JSON and a value that does not fit its column."""
    top = tmp_path_factory.mktemp("query")
    lines = [
        json.dumps({"messageId": f"m{at}", "receivedAt": "2026-03-02T10:00:02.5Z", **event})
        for at, event in enumerate(EVENTS)
    ]
    (top / "a.jsonl").write_text("\n".join(lines) + "\n")
    late = {"messageId": "m9", "type": "identify", "userId": "u2", "receivedAt": "2026-03-04T00:00:00Z"}
    (top / "b.jsonl").write_text(json.dumps(late | {"traits": {"age": "x", "city": "Oslo"}}) + "\n{broken\n")
    for name in ("a", "b"):
        loader.run(loader.Settings(warehouse=top / "wh", sources=(str(top / f"{name}.jsonl"),)))
    return top / "wh"


@pytest.fixture
def run(folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Result]:
    """Runs a command on the warehouse, with no setting from elsewhere."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("LOADER_")]:
        monkeypatch.delenv(name)

    def run(*args: str, input: str | None = None) -> Result:
        return CliRunner().invoke(main, [*args, "--warehouse", str(folder)], input=input)

    return run


def test_status_as_json(run: Callable[..., Result], folder: Path) -> None:
    found = json.loads(run("status", "--json").stdout)
    loads = found.pop("loads")
    first, second, third = "2026-03-02", "2026-03-03", "2026-03-04"
    assert found == {
        "warehouse": str(folder),
        "load": 2,
        "pending": [],
        "persons": {"load": 2, "behind": 0, "living": 2, "conflicts": {}},
        "days": [first, second, third],
        "tables": [
            {"table": "identifies", "rows": {first: 1, third: 1}},
            {"table": "tracks", "rows": {first: 3, second: 1}},
            {"table": "other_events", "rows": {first: 1}},
            {"table": "order_done", "rows": {first: 2}},
            {"table": "город", "rows": {second: 1}},
        ],
        "more_tables": 0,
        "rejects": {"invalid_json": 1, "unknown_type": 1},
        "discards": {"type_mismatch": 1},
        "events_without_table": [{"event": "!!!", "rows": 1}],
        "models": [],
    }
    assert [(load["load_id"], load["files"], load["items"], load["loaded"], load["rejected"]) for load in loads] == [
        (2, 1, 2, 1, 1),
        (1, 1, 6, 5, 1),
    ]
    assert loads[0]["started_at"].endswith("Z")


def test_status_in_words(run: Callable[..., Result], folder: Path) -> None:
    lines = run("status").stdout.splitlines()
    assert lines[0] == f"{folder}: load 2 is published"
    assert lines[2].split() == "load started (UTC) seconds files read events duplicates rejects discards".split()
    assert lines[7:] == [
        "rows received on  2026-03-02  2026-03-03  2026-03-04",
        "----------------  ----------  ----------  ----------",
        "identifies                 1                       1",
        "tracks                     3           1",
        "other_events               1",
        "order_done                 2",
        "город                                  1",
        "",
        "rejects: 2 (invalid_json 1, unknown_type 1); see loader rejects list",
        "",
        "discards: 1 (type_mismatch 1); see loader.discards",
        "",
        "persons: 2, resolved up to load 2",
        "",
        "event without a table (see other_events)  rows",
        "----------------------------------------  ----",
        "!!!                                          1",
    ]


def test_schema_lists_tables(run: Callable[..., Result]) -> None:
    found = json.loads(run("schema", "--json").stdout)
    assert [each["table"] for each in found] == [
        *"identifies tracks pages screens groups aliases resets users other_events order_done город".split(),
        *(f"identity.{name}" for name in "map edges persons person_changes device_intervals conflicts rules".split()),
        *(f"resolved.{name}" for name in "users user_traits sessions timeline identifies tracks pages screens".split()),
        *(f"resolved.{name}" for name in "groups aliases resets other_events order_done город".split()),
        *(f"loader.{name}" for name in "discards files loads published rejects schema_changes".split()),
    ]
    assert found[0] == {"table": "identifies", "columns": 19, "created": 1, "changed": 2, "what": "every identify"}
    assert found[9] == {"table": "order_done", "columns": 21, "created": 1, "changed": 1, "what": "one event"}
    by_name = {each["table"]: each for each in found}
    assert by_name["resolved.order_done"]["what"] == "one event, with its person"
    assert by_name["resolved.order_done"]["columns"] == 23
    assert run("schema").stdout.splitlines()[:3] == [
        "table                      columns  created by load  changed by load  holds",
        "-------------------------  -------  ---------------  ---------------  " + "-" * 40,
        "identifies                      19                1                2  every identify",
    ]


def test_schema_of_a_table(run: Callable[..., Result]) -> None:
    assert run("schema", "order_done").stdout.splitlines()[-4:] == [
        "loader_element      BIGINT                   1",
        "items               JSON                     1",
        "paid                BOOLEAN                  1",
        "total               VARCHAR                  1",
    ]
    columns = {each["column"]: each for each in json.loads(run("schema", "identifies", "--json").stdout)}
    assert columns["city"] == {"column": "city", "type": "VARCHAR", "load": 2}
    assert columns["received_at"] == {"column": "received_at", "type": "TIMESTAMPTZ", "load": 1}
    users = {each["column"]: each for each in json.loads(run("schema", "main.USERS", "--json").stdout)}
    assert users["age"] == {"column": "age", "type": "BIGINT", "load": 1}
    assert "loader_line" not in users
    resolved = {each["column"]: each for each in json.loads(run("schema", "resolved.order_done", "--json").stdout)}
    assert resolved["items"] == {"column": "items", "type": "JSON", "load": None}
    assert list(resolved)[-2:] == ["person_id", "resolved_by"]
    discards = {each["column"]: each for each in json.loads(run("schema", "loader.discards", "--json").stdout)}
    assert discards["column_value"] == {"column": "column_value", "type": "JSON", "load": None}


def test_schema_of_no_table(run: Callable[..., Result]) -> None:
    found = run("schema", "order_doen")
    assert (found.exit_code, found.stdout) == (1, "")
    assert found.stderr == "error: order_doen: there is no such table. Close: order_done, resolved.order_done.\n"
    assert run("schema", "resolved.order_doen").stderr.endswith("Close: resolved.order_done.\n")
    assert run("schema", "edgs").stderr.endswith("Close: identity.edges.\n")
    assert run("schema", "xyz").stderr == "error: xyz: there is no such table. `loader schema` lists the tables.\n"


def test_more_event_tables_than_status_counts(tmp_path: Path) -> None:
    events = [{"type": "track", "event": f"e{at}", "messageId": str(at), "userId": "u" * at} for at in range(23)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    args = ["--warehouse", str(tmp_path / "it's")]
    assert CliRunner().invoke(main, ["load", str(tmp_path / "a.jsonl"), *args, "--quiet"]).exit_code == 0
    found = json.loads(CliRunner().invoke(main, ["status", "--json", *args]).stdout)
    assert (len(found["tables"]), found["more_tables"]) == (21, 3)
    assert (
        CliRunner().invoke(main, ["status", *args]).stdout.count("and 3 smaller event tables: loader status --all") == 1
    )
    found = json.loads(CliRunner().invoke(main, ["status", "--json", "--all", *args]).stdout)
    assert {each["table"] for each in found["tables"]} == {"tracks", *(f"e{at}" for at in range(23))}
    assert (found["more_tables"], sum(sum(each["rows"].values()) for each in found["tables"])) == (0, 46)


def test_how_far_persons_are_resolved(run: Callable[..., Result], tmp_path: Path) -> None:
    """Not at all, up to the last load, or behind it; and the findings that want a look."""
    folder = tmp_path / "wh"

    def load(name: str, *events: dict[str, Any]) -> None:
        (tmp_path / name).write_text("".join(json.dumps({"type": "page", **event}) + "\n" for event in events))
        pipeline.load_only(loader.Settings(warehouse=folder, sources=(str(tmp_path / name),)))

    def status() -> tuple[Any, list[str]]:
        found = json.loads(CliRunner().invoke(main, ["status", "--json", "--warehouse", str(folder)]).stdout)
        lines = CliRunner().invoke(main, ["status", "--warehouse", str(folder)]).stdout.splitlines()
        return found["persons"], lines[lines.index("discards: none") + 2 :]

    load("1", {"messageId": "1", "userId": "u"}, {"messageId": "2", "userId": "v", "anonymousId": "d"})
    assert status() == (
        {"load": None, "behind": 1, "living": 0, "conflicts": {}},
        ["persons: not worked out yet. Run: loader resolve"],
    )
    pipeline.resolve_only(loader.Settings(warehouse=folder))
    assert status() == (
        {"load": 1, "behind": 0, "living": 2, "conflicts": {}},
        ["persons: 2, resolved up to load 1"],
    )
    load("2", {"messageId": "3", "userId": "u", "anonymousId": "d"}, {"messageId": "4", "userId": "null"})
    load("3", {"messageId": "5", "userId": "w"})
    assert status() == (
        {"load": 1, "behind": 2, "living": 2, "conflicts": {}},
        ["persons: 2, resolved up to load 1, 2 loads behind. Run: loader resolve"],
    )
    pipeline.resolve_only(loader.Settings(warehouse=folder))
    assert status() == (
        {"load": 3, "behind": 0, "living": 3, "conflicts": {"blocked_seen": 1, "shared_device": 1}},
        [
            "persons: 3, resolved up to load 3",
            "in doubt: 2 (blocked_seen 1, shared_device 1); see loader identity conflicts",
        ],
    )
