"""The golden cases of who is who in `identity_cases/`: events and the operator's rules in, persons out.

A case says in `#` lines which rule it shows, then has its settings as JSON, then steps, each begun by `---`:

- `--- events`: a file that is loaded and resolved. A line is `TIME ID CALL WHO… JSON`; who is `A` (user id), `@D`
  (device), `B>A` (`previousId`, user id); the JSON, if any, holds further fields. Received when it happened, unless it
  says otherwise.
- `--- block ID`, `--- link ID ID`, `--- unlink ID ID`, with `--undo` perhaps: what the operator says.
- `--- expect`: all that is known then, in sections `== name`, lines as `identity_views` has them, in any order. `map`,
  `events` and `intervals` are compared always, the others where they are named: `edges`, `persons`, `users`,
  `user_traits`, `sessions`, `timeline`, `changes` (since the last `--- expect`). `== SELECT …` is SQL for the published
  file alone; its rows are JSON.

In a step, lines that begin with `#` explain. Every case is held against the oracle, too, and at its end against all
events resolved anew.
"""

import dataclasses
import json
import shlex
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests import identity_views, warehouses
from tests.conftest import Run
from tests.identity_reference import Event, Node, Options, text_of
from tests.identity_views import Views, time_of
from tests.persons_reference import Change, Warehouse

CASES = sorted((Path(__file__).parent / "identity_cases").glob("*.case"))
ALWAYS = ("map", "events", "intervals")
OPTIONS = [field.name for field in dataclasses.fields(Options)]


@dataclass(frozen=True)
class Step:
    """word: `events`, `expect`, or a rule's action. arguments: of the rule. lines: without comments."""

    word: str
    arguments: list[str]
    lines: list[str]


@dataclass(frozen=True)
class Case:
    settings: dict[str, Any]
    steps: list[Step]


def read(path: Path) -> Case:
    head, *steps = path.read_text(encoding="utf-8").split("\n--- ")
    settings = json.loads(head.splitlines()[-1])
    return Case({name: tuple(v) if isinstance(v, list) else v for name, v in settings.items()}, [*map(step_of, steps)])


def step_of(text: str) -> Step:
    marker, *lines = text.splitlines()
    word, *arguments = shlex.split(marker)
    return Step(word, arguments, [line for line in lines if line and not line.startswith("#")])


def raw(line: str) -> dict[str, Any]:
    """The event as it is sent."""
    words, brace, rest = line.partition("{")
    time, id_, call, *who = words.split()
    event: dict[str, Any] = {"type": call, "messageId": id_, "timestamp": time, "receivedAt": time}
    for word in who:
        before, sign, user = word.rpartition(">")
        event |= {"anonymousId": word[1:]} if word[0] == "@" else {"userId": user}
        event |= {"previousId": before} if sign else {}
    event |= {"event": "Clicked"} if call == "track" else {}
    event |= json.loads(brace + rest or "{}")
    return event | {field: f"{time_of(event[field]):%Y-%m-%dT%H:%M:%S.%fZ}" for field in ("timestamp", "receivedAt")}


def event_of(raw: dict[str, Any]) -> Event:
    """The event as the oracle has it."""
    times = [datetime.fromisoformat(raw[field]) for field in ("timestamp", "receivedAt")]
    user, device, previous = (text_of(raw.get(field)) for field in ("userId", "anonymousId", "previousId"))
    return Event(raw["messageId"], raw["type"], times[0], times[1], user, device, previous, raw.get("traits") or {})


def expected(step: Step) -> Views:
    """The lines of each section, words with one space between."""
    sections: Views = {}
    for line in step.lines:
        if line.startswith("== "):
            sections[line.removeprefix("== ")] = lines = []
        else:
            lines.append(" ".join(line.split()))
    return {name: [] for name in ALWAYS} | sections


def compared(found: Views, wanted: Views) -> None:
    for name in wanted:
        if not name.startswith("SELECT "):
            assert sorted(found[name]) == sorted(wanted[name]), name


def node_of(text: str) -> Node:
    return Node(*text.split(":", 1))


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_by_the_oracle(path: Path) -> None:
    case = read(path)
    warehouse = Warehouse(Options(**{name: value for name, value in case.settings.items() if name in OPTIONS}))
    changes: list[Change] = []
    for step in case.steps:
        if step.word == "expect":
            views = identity_views.of_oracle(warehouse.found, warehouse.persons)
            compared(views | {"changes": identity_views.of_changes(changes)}, expected(step))
            changes = []
        elif step.word == "events":
            changes += warehouse.load(event_of(raw(line)) for line in step.lines)
        else:
            ids = [node_of(argument) for argument in step.arguments if argument != "--undo"]
            changes += warehouse.say(step.word, *ids, undo="--undo" in step.arguments)


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_by_the_loader(path: Path, tmp_path: Path, run: Run) -> None:
    case = read(path)
    known: Counter[Change] = Counter()
    numbers: Iterator[int] = iter(range(len(case.steps)))
    (tmp_path / "loader.toml").write_text(toml({name: v for name, v in case.settings.items() if name in OPTIONS}))
    for step in case.steps:
        if step.word == "expect":
            changes = identity_views.changes_of(tmp_path)
            views = identity_views.of_product(tmp_path)
            views["changes"] = identity_views.of_changes((changes - known).elements())
            known = changes
            wanted = expected(step)
            compared(views, wanted)
            for sql in wanted:
                if sql.startswith("SELECT "):
                    rows = warehouses.query(tmp_path, sql)
                    assert [identity_views.line([*row]) for row in rows] == wanted[sql]
        elif step.word == "events":
            file = f"{next(numbers)}.jsonl"
            warehouses.run(tmp_path, {file: warehouses.lines(*map(raw, step.lines))}, **case.settings)
        else:
            reason = [] if "--undo" in step.arguments else ["--reason", "a test"]
            result = run("identity", step.word, *step.arguments, *reason, "--warehouse", "warehouse")
            assert result.exit_code == 0, result.output
    result = run("resolve", "--verify", "--warehouse", "warehouse")
    assert result.exit_code == 0, result.output


def toml(options: dict[str, Any]) -> str:
    """The options as a loader.toml has them."""
    lines = [f"{name} = {json.dumps(value)}\n" for name, value in options.items()]
    return "".join(["[identity]\n"] * bool(lines) + lines)
