"""`loader run`, `resolve` and `identity`: what they say on which stream, with which exit code, to the character."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from loader import pipeline, settings, store
from tests import warehouses
from tests.conftest import Run
from tests.test_resolve import FIRST, SECOND, event, tamper

NOT_YET = "error: who is who was not worked out yet. Run: loader resolve\n"


@pytest.fixture(scope="module")
def resolved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a warehouse of one load, resolved: a and d, b, c and a device that a and c share, null."""
    folder = tmp_path_factory.mktemp("resolved")
    more = [event(8, "a", "kiosk"), event(9, "c", "kiosk"), event(10, "null", "d")]
    warehouses.run(folder, {"1": warehouses.lines(*FIRST, *more)})
    return folder


@pytest.fixture
def folder(resolved: Path, tmp_path: Path, nothing_from_elsewhere: None) -> Path:
    """The same in the current folder."""
    shutil.copytree(resolved, tmp_path, dirs_exist_ok=True)
    pipeline.republish(settings.Settings(warehouse=tmp_path / "warehouse"))
    return tmp_path


def said(result: Result) -> tuple[int, str, str]:
    return result.exit_code, result.stdout, result.stderr


# --- run and resolve --------------------------------------------------------------------------------------------------


def test_run(run: Run) -> None:
    Path("in").mkdir()
    Path("in/1").write_bytes(warehouses.lines(*FIRST))
    done = run("run", "in")
    assert (done.exit_code, done.stdout) == (0, "")
    assert done.stderr.startswith("loaded 4 events from 1 file in ")
    assert done.stderr.endswith("\nresolved 4 events (all there are): 2 persons (new 2)\n")
    assert said(run("run", "in")) == (0, "", "nothing new: 1 file was loaded before\n")
    Path("in/2").write_bytes(warehouses.lines(*SECOND))
    done = run("run", "in", "--json")
    assert (done.exit_code, done.stderr) == (0, "")
    assert json.loads(done.stdout)["resolved"] == {
        "load": 2,
        "complete": False,
        "events": 3,
        "persons": 2,
        "changes": {"merge": 1, "new": 1},
        "blocked": 0,
        "oversize": [],
        "differences": None,
    }
    assert said(run("run", "in", "--quiet")) == (0, "", "")
    assert json.loads(run("run", "in", "--json").stdout)["resolved"] is None
    assert run("query", "SELECT count(*) AS n FROM resolved.timeline", "--json").stdout == '[{"n":7}]\n'


def test_run_resolves_what_loads_left(run: Run) -> None:
    """Also where there is nothing new to load; not in a dry run."""
    Path("1").write_bytes(warehouses.lines(*FIRST))
    assert run("load", "1", "--quiet").exit_code == 0
    assert said(run("run", "1", "--dry-run"))[2] == "dry run: nothing was loaded. Files that were loaded before: 1\n"
    assert said(run("identity", "conflicts")) == (1, "", NOT_YET)
    assert said(run("run", "1")) == (
        0,
        "",
        "nothing new: 1 file was loaded before\nresolved 4 events (all there are): 2 persons (new 2)\n",
    )


def test_run_takes_the_settings_of_identity(run: Run) -> None:
    """From a flag or [identity] of loader.toml; `load` knows nothing of them."""
    Path("1").write_bytes(warehouses.lines(event(1, "a", "d"), event(2, "b", "d")))
    Path("loader.toml").write_text('[identity]\ndevices = "merge"\n')
    assert run("run", "1").stderr.endswith("1 person (new 1)\n")
    assert said(run("resolve", "--devices", "attach")) == (
        0,
        "",
        "resolved 2 events (all there are): 2 persons (split 1)\n",
    )
    done = run("run", "1", "--devices", "join")
    assert (done.exit_code, done.stderr) == (
        2,
        "error: --devices: 'join' is not usable. It takes one of attach, merge.\n",
    )
    assert run("load", "1", "--devices", "merge").exit_code == 2
    for wrong, message in (
        (
            "[identity]\nmax_alias_partners = 'x'",
            "max_alias_partners: 'x' is not usable. It takes a whole number from 1 on",
        ),
        (
            "[identity]\ndevics = 'merge'",
            "[identity] devics: there is no such setting. Is it devices under [identity]?",
        ),
        ("merge_on = ['email']", "merge_on: there is no such setting. Is it merge_on under [identity]?"),
    ):
        Path("loader.toml").write_text(wrong)
        for command in (["run", "1"], ["resolve"], ["identity", "rules"], ["identity", "block", "a"]):
            done = run(*command)
            assert (done.exit_code, done.stdout) == (2, ""), command
            assert done.stderr.startswith(f"error: loader.toml: {message}"), command


def test_resolve(run: Run, folder: Path) -> None:
    assert said(run("resolve")) == (0, "", "nothing new to resolve\n")
    assert said(run("resolve", "--json")) == (0, '{"resolved": null, "models": []}\n', "")
    assert said(run("resolve", "--quiet")) == (0, "", "")
    assert said(run("resolve", "--full")) == (
        0,
        "",
        "resolved 7 events (all there are): 3 persons, 1 id of events blocked\n",
    )
    Path("2").write_bytes(warehouses.lines(*SECOND))
    assert run("load", "2", "--quiet").exit_code == 0
    done = run("resolve", "--json")
    assert done.exit_code == 0
    assert json.loads(done.stdout)["resolved"] == {
        "load": 2,
        "complete": False,
        "events": 3,
        "persons": 3,
        "changes": {"merge": 1, "new": 1},
        "blocked": 0,
        "oversize": [],
        "differences": None,
    }


@pytest.mark.parametrize("command", ["resolve --full", "resolve --verify", "identity block a", "identity link a b"])
def test_what_the_engine_may_use(command: str, run: Run, folder: Path) -> None:
    """A flag, as with a load: with too little it says so, and nothing changes."""
    done = run(*command.split(), "--memory-limit", "1MB", "--threads", "1")
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.startswith("error: out of memory. Set memory_limit"), done.stderr
    assert run("identity", "rules").stdout == "there are no rules\n"
    assert run(*command.split(), "--memory-limit", "1GB", "--threads", "1").exit_code == 0


def test_verify(run: Run, folder: Path) -> None:
    assert said(run("resolve", "--verify")) == (
        0,
        "",
        "verified 7 events (all there are): 3 persons, 1 id of events blocked: 0 tables differ\n",
    )
    tamper(folder, "map")
    done = run("resolve", "--verify")
    assert (done.exit_code, done.stdout) == (3, "")
    assert re.search(r"^warning: map: \d+ rows? differs? from", done.stderr, re.MULTILINE)
    done = run("resolve", "--verify", "--json", "--quiet")
    assert (done.exit_code, json.loads(done.stdout)["differences"]["map"]) == (3, 1)
    assert run("resolve", "--full", "--quiet").exit_code == 0
    assert run("resolve", "--verify", "--quiet").exit_code == 0


COMMANDS: list[list[str]] = [
    ["resolve"],
    ["resolve", "--verify"],
    ["identity", "rules"],
    ["identity", "conflicts"],
    ["identity", "block", "user_id:a"],
    ["identity", "link", "user_id:a", "user_id:b"],
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_no_warehouse(command: list[str], run: Run, tmp_path: Path) -> None:
    message = f"error: {tmp_path}/warehouse: there is no warehouse here. Load something first, or give --warehouse.\n"
    assert said(run(*command)) == (1, "", message)
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize("command", [COMMANDS[0], COMMANDS[1], COMMANDS[4]], ids=" ".join)
def test_another_run_is_at_work(command: list[str], run: Run, folder: Path) -> None:
    with store.locked(folder / "warehouse"):
        done = run(*command)
        assert (done.exit_code, done.stdout) == (4, "")
        assert done.stderr.startswith(f"error: {folder}/warehouse: another run is at work: ")
        assert run("identity", "rules").exit_code == 0


def test_not_resolved_yet(run: Run, tmp_path: Path) -> None:
    """Lists have nothing to show; an id must be named with its type; a rule works all out."""
    Path("1").write_bytes(warehouses.lines(*FIRST))
    assert run("load", "1", "--quiet").exit_code == 0
    for command in (["rules"], ["conflicts"], ["block", "a"], ["link", "user_id:a", "b"]):
        assert said(run("identity", *command)) == (1, "", NOT_YET), command
    assert said(run("resolve", "--verify")) == (
        1,
        "",
        f"error: {tmp_path}/warehouse: is not resolved up to its last load. Run: loader resolve\n",
    )
    assert said(run("identity", "link", "user_id:a", "user_id:b")) == (
        0,
        "",
        "link user_id:a user_id:b: resolved 4 events (all there are): 1 person (new 1)\n",
    )


# --- the operator's rules ---------------------------------------------------------------------------------------------


def test_rules(run: Run, folder: Path) -> None:
    """Applied at once, listed, taken back."""
    assert said(run("identity", "rules")) == (0, "there are no rules\n", "")
    assert said(run("identity", "rules", "--json")) == (0, "[]\n", "")
    done = run("identity", "link", "b", "c", "--reason", "one\nfamily")
    assert said(done) == (0, "", "link user_id:b user_id:c: resolved 0 events: 2 persons (merge 1)\n")
    done = run("identity", "block", "anonymous_id:kiosk", "--json", "--quiet")
    assert (done.exit_code, json.loads(done.stdout)["resolved"]["events"], done.stderr) == (0, 0, "")
    lines = run("identity", "rules").stdout.splitlines()
    assert [re.sub(r" +20\d\d-\d\d-\d\d \d\d:\d\d$", "", line) for line in lines] == [
        "rule   id                  and        reason       since (UTC)",
        "-----  ------------------  ---------  -----------  ----------------",
        r"link   user_id:b           user_id:c  one\nfamily",
        "block  anonymous_id:kiosk",
    ]
    found = json.loads(run("identity", "rules", "--json").stdout)
    assert found[0].pop("added_at") < found[1].pop("added_at")
    assert found == [
        rule("link", ("user_id", "b"), ("user_id", "c"), "one\nfamily"),
        rule("block", ("anonymous_id", "kiosk"), (None, None), None),
    ]
    assert said(run("identity", "link", "c", "b")) == (
        1,
        "",
        f"error: link user_id:b user_id:c: is a rule already, since {today(run)}. Nothing was changed.\n",
    )
    assert said(run("identity", "link", "c", "b", "--undo")) == (
        0,
        "",
        "link user_id:c user_id:b --undo: resolved 0 events: 3 persons (restore 1)\n",
    )
    assert said(run("identity", "unlink", "a", "b", "--undo")) == (
        1,
        "",
        "error: unlink user_id:a user_id:b: there is no such rule. See: loader identity rules\n",
    )
    assert [each["action"] for each in json.loads(run("identity", "rules", "--json").stdout)] == ["block"]


def rule(action: str, a: tuple[str, str], b: tuple[str | None, str | None], reason: str | None) -> dict[str, Any]:
    return {"action": action, "type_a": a[0], "id_a": a[1], "type_b": b[0], "id_b": b[1], "reason": reason}


def today(run: Run) -> str:
    """The day of the oldest rule."""
    return str(json.loads(run("identity", "rules", "--json").stdout)[0]["added_at"][:10])


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["block", "z"], "z: no event has this id. To name one all the same, give user_id:z or anonymous_id:z"),
        (["block", "user_id:"], "user_id:: names no id. Give for example user_id:4711."),
        (["link", "d", "kiosk"], "a link needs a user id: devices attach to a person, they don't make two one."),
        (["unlink", "a", "user_id:a"], "user_id:a: is one id, not two."),
    ],
)
def test_what_is_no_rule(command: list[str], message: str, run: Run, resolved: Path) -> None:
    done = run("identity", *command, "--warehouse", str(resolved / "warehouse"))
    assert said(done) == (2, "", f"error: {message}\n")


@pytest.mark.parametrize(
    "command", [["block"], ["block", "a", "b"], ["link", "a"], ["unlink", "a", "b", "c"], ["join"]]
)
def test_words_that_are_missing_or_too_many(command: list[str], run: Run) -> None:
    done = run("identity", *command)
    assert (done.exit_code, done.stdout) == (2, "")
    assert "Error: " in done.stderr


def test_conflicts(run: Run, resolved: Path) -> None:
    at = ("--warehouse", str(resolved / "warehouse"))
    assert run("identity", "conflicts", *at).stdout.splitlines() == [
        "finding        id                  persons  events  events such as",
        "-------------  ------------------  -------  ------  --------------",
        "blocked_seen   user_id:null              0       1  m10",
        "shared_device  anonymous_id:kiosk        2       2  m8, m9",
    ]
    assert json.loads(run("identity", "conflicts", "--json", *at).stdout) == [
        finding("blocked_seen", "user_id", "null", 0, 1, "m10"),
        finding("shared_device", "anonymous_id", "kiosk", 2, 2, "m8", "m9"),
    ]


def finding(kind: str, id_type: str, id_: str, persons: int, events: int, *examples: str) -> dict[str, Any]:
    counts = {"persons": persons, "events": events, "example_event_ids": [*examples]}
    return {"kind": kind, "id_type": id_type, "id": id_, **counts}


def test_no_conflicts(run: Run) -> None:
    Path("1").write_bytes(warehouses.lines(*FIRST))
    assert run("run", "1", "--quiet").exit_code == 0
    assert said(run("identity", "conflicts")) == (0, "nothing is in doubt\n", "")
    assert said(run("identity", "conflicts", "--json")) == (0, "[]\n", "")
