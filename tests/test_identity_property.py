"""Who is who of random histories, loaded batch by batch in any order, against the oracle; ids of persons, too.

The histories have few ids, so that much happens to each: devices of several users, aliases there and back, ids that are
both device and user, blocked ones, resets, equal timestamps, and the operator's second thoughts.
"""

import os
import random
import tempfile
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from loader.cli import main
from tests import identity_views, warehouses
from tests.identity_reference import DEVICE, USER, Node, Options
from tests.identity_views import time_of
from tests.persons_reference import Change, Warehouse
from tests.test_identity_cases import event_of, toml

pytestmark = [
    pytest.mark.usefixtures("nothing_from_elsewhere"),
]

USERS = ["A", "B", "C", "E", "F", "G", "H", "X", "Y", " A", "null", "0"]
DEVICES = ["D1", "D2", "D3", "D4", "K", "K", "X", "Y", "K\t", "none"]
CALLS = "track track track page screen identify identify group alias alias reset".split()
# Half an hour apart to the microsecond, at one time, and right after a reset.
TIMES = [0, 1, 1, 2, 5, 30, 31, 61, 90]
BASE = time_of("09:00")


def history(chance: random.Random, count: int) -> list[dict[str, Any]]:
    """Events as they are sent, in no order; a few of them twice."""
    users, devices = (chance.sample(ids, chance.randint(3, len(ids))) for ids in (USERS, DEVICES))
    events = []
    for number in range(count):
        time = BASE + timedelta(minutes=chance.choice(TIMES), microseconds=chance.choice([0, 0, 0, 1]))
        received = BASE + timedelta(minutes=chance.choice([95, 96]))
        call = chance.choice(CALLS)
        event: dict[str, Any] = {"type": call, "messageId": f"m{number}"}
        event |= {"timestamp": time.isoformat(), "receivedAt": received.isoformat()}
        if chance.random() < (0.9 if call == "alias" else 0.4):
            event["userId"] = chance.choice(users)
        if chance.random() < (0.2 if call == "alias" else 0.8):
            event["anonymousId"] = chance.choice(devices)
        if call == "alias":
            event["previousId"] = chance.choice([*users, *devices, "Z"])
        if call == "identify":
            event["traits"] = {
                name: value
                for name, value in (
                    ("plan", chance.choice(["free", "pro", None])),
                    ("age", chance.choice([7, 8, None])),
                    ("email", chance.choice(["a@x.org", " A@X.org", "b@x.org", "n/a", None])),
                )
                if chance.random() < 0.5
            }
        events.append(event)
    events += chance.sample(events, 3)
    chance.shuffle(events)
    return events


def some_options(chance: random.Random) -> dict[str, Any]:
    return {
        "devices": chance.choice(["attach", "attach", "attach", "merge"]),
        "shared_device": chance.choice(["by_time", "by_time", "by_time", "none"]),
        "merge_on": chance.choice([(), (), ("email",)]),
        "max_alias_partners": chance.choice([1, 2, 10]),
    }


class Both:
    """A warehouse, and what the oracle has of it. folder: where it is."""

    def __init__(self, folder: Path, options: dict[str, Any]) -> None:
        self.folder, self.options = folder, options
        self.oracle = Warehouse(Options(**options))
        self.known: Counter[Change] = Counter()
        (folder / "loader.toml").write_text(toml(options))

    def load(self, name: str, events: list[dict[str, Any]]) -> None:
        warehouses.run(self.folder, {f"{name}.jsonl": warehouses.lines(*events)}, **self.options)
        self.same(self.oracle.load(map(event_of, events)))

    def say(self, action: str, *ids: Node, undo: bool = False) -> None:
        words = ["--undo"] if undo else ["--reason", "a test"]
        self.command("identity", action, *(f"{type_}:{id_}" for type_, id_ in ids), *words)
        self.same(self.oracle.say(action, *ids, undo=undo))

    def command(self, *words: str) -> None:
        places = ("--config", str(self.folder / "loader.toml"), "--warehouse", str(self.folder / "warehouse"))
        result = CliRunner().invoke(main, [*words, *places], prog_name="loader")
        assert result.exit_code == 0, result.output

    def same(self, changes: list[Change]) -> None:
        """All that is published is as the oracle has it, and these changes are those since the last time."""
        published = identity_views.changes_of(self.folder)
        found = identity_views.of_product(self.folder)
        found["changes"] = identity_views.of_changes((published - self.known).elements())
        wanted = identity_views.of_oracle(self.oracle.found, self.oracle.persons)
        wanted["changes"] = identity_views.of_changes(changes)
        self.known = published
        for name in wanted:
            ours, theirs = Counter(found[name]), Counter(wanted[name])
            assert (ours - theirs, theirs - ours) == (Counter(), Counter()), name


def a_rule(chance: random.Random, oracle: Warehouse) -> tuple[str, list[Node]]:
    """What the operator may say of the ids that there are."""
    users, devices = (sorted(each for each in oracle.found.nodes if each.type == type_) for type_ in (USER, DEVICE))
    action = chance.choice(["block", "link", "unlink", "unlink"])
    edges = [edge for edge in oracle.found.edges if edge.kind in ("seen", "alias")]
    if action == "block" or not users:
        return "block", [chance.choice(users + devices)]
    if action == "unlink" and edges:
        edge = chance.choice(edges)
        return action, [edge.b, edge.a]
    user = chance.choice(users)
    return action, [user, chance.choice([each for each in users + devices if each != user] or [Node(USER, "other")])]


def same_as_the_oracle(seed: int) -> None:
    chance = random.Random(seed)
    options = some_options(chance)
    events = history(chance, chance.randint(30, 60))
    cuts = sorted(chance.sample(range(10, len(events)), 2))
    batches = [events[start:end] for start, end in zip([0, *cuts], [*cuts, None], strict=True)]
    with tempfile.TemporaryDirectory() as name:
        both = Both(Path(name), options)
        rules: list[tuple[str, list[Node]]] = []
        for number, batch in enumerate(batches):
            both.load(str(number), batch)
            action, ids = a_rule(chance, both.oracle)
            if chance.random() < 0.5 and (action, sorted(ids)) not in rules:  # to say it twice is an error
                both.say(action, *ids)
                rules.append((action, sorted(ids)))
        if rules and chance.random() < 0.5:
            both.say(rules[-1][0], *rules[-1][1], undo=True)
        both.command("resolve", "--verify")
        both.command("resolve", "--full")
        both.same([])


def examples(number: int) -> settings:
    """As many histories; the seed of one that fails is printed."""
    return settings(
        max_examples=int(os.environ.get("LOADER_EXAMPLES", number)),
        phases=(Phase.explicit, Phase.reuse, Phase.generate),
        suppress_health_check=list(HealthCheck),
        deadline=None,
    )


@examples(15)
@given(st.integers(0, 2**32))
def test_who_is_who(seed: int) -> None:
    same_as_the_oracle(seed)


@pytest.mark.long
@examples(600)
@given(st.integers(0, 2**32))
def test_who_is_who_many_times(seed: int) -> None:
    same_as_the_oracle(seed)
