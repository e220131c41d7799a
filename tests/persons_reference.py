"""Which person has which id, over several resolves (R10, R11): the oracle for ids. `identity_reference` has the rest.

A person is written as its anchor, which it keeps for ever.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from tests.identity_reference import Event, Node, Options, Resolved, Rule, resolve


def person_id(anchor: Node) -> str:
    return "p_" + hashlib.sha256(f"{anchor.type}:{anchor.id}".encode()).hexdigest()[:20]


def session_id(person: str, started: datetime) -> str:
    text = f"{person}:{started.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f}"
    return "s_" + hashlib.sha256(text.encode()).hexdigest()[:20]


@dataclass
class Person:
    minted_at: datetime
    retired_at: datetime | None = None
    successor: Node | None = None  # who took over, last


class Change(NamedTuple):
    """kind: new, merge, split, restore. old, new: persons."""

    kind: str
    old: Node | None
    new: Node | None


class Persons:
    """All persons ever minted, by anchor. of: the person of each identifier that has one, after the last resolve."""

    def __init__(self) -> None:
        self.all: dict[Node, Person] = {}
        self.of: dict[Node, Node] = {}

    def resolve(self, found: Resolved, at: datetime) -> list[Change]:
        """Gives every person that was found its anchor; returns what changed."""
        changes: list[Change] = []
        before = self.of
        living = {anchor for anchor, person in self.all.items() if person.retired_at is None}
        anchors: dict[Node, Node] = {}  # by label
        merged: list[tuple[Node, Node]] = []
        for label, members in found.members().items():
            held = [each for each in members if each in self.all]
            claims = sorted((each for each in held if each in living), key=self._age)
            former = next((before[each] for each in members if each in before), None)
            if claims:
                anchors[label] = claims[0]
                merged += [(each, claims[0]) for each in claims[1:]]
            elif held:
                anchors[label] = min(held, key=self._age)
                self.all[anchors[label]].retired_at = None
                changes.append(Change("restore", former, anchors[label]))
            else:
                anchors[label] = members[0]
                self.all[members[0]] = Person(at)
                changes.append(Change("split" if former else "new", former, members[0]))
        self.of = {each: anchors[label] for each, label in found.person.items()}

        retired: list[tuple[Node, Node | None]] = [*merged]
        for anchor in living - self.of.keys():
            left = [each for each, person in before.items() if person == anchor and each in self.of]
            successor = self.of[min(left, key=found.rank)] if left else None
            if not left and found.stretches.get(anchor):
                successor = anchors[found.stretches[anchor][0].person]
            retired.append((anchor, successor))
        for anchor, successor in retired:
            self.all[anchor].retired_at, self.all[anchor].successor = at, successor
            changes.append(Change("merge" if successor else "split", anchor, successor))
        took_over: dict[Node | None, Node | None] = dict(retired)
        for anchor, person in self.all.items():
            if person.retired_at is not None and anchor not in took_over:
                person.successor = self.of.get(anchor) or took_over.get(person.successor, person.successor)
        return changes

    def _age(self, anchor: Node) -> tuple[datetime, str]:
        return self.all[anchor].minted_at, person_id(anchor)

    def current(self, anchor: Node | None) -> Node | None:
        """The living person that a person is today."""
        if anchor is None or self.all[anchor].retired_at is None:
            return anchor
        return self.of.get(anchor) or self.all[anchor].successor


class Warehouse:
    """What was loaded and what the operator says, resolved after each. found: who is who now."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.events: dict[tuple[str, str], Event] = {}
        self.rules: dict[tuple[bool, frozenset[Node]], Rule] = {}  # the last word on two ids, or blocking one
        self.persons = Persons()
        self.found = resolve([])
        self.now = datetime(2024, 6, 1, tzinfo=UTC)

    def load(self, events: Iterable[Event]) -> list[Change]:
        """Adds events, but for copies; returns what changed."""
        for event in events:
            self.events.setdefault((event.call, event.id), event)
        return self._resolve()

    def say(self, action: str, *ids: Node, undo: bool = False) -> list[Change]:
        """Adds a rule, or takes it back; returns what changed."""
        key = action == "block", frozenset(ids)
        self.rules[key] = Rule(action, *ids)
        if undo:
            del self.rules[key]
        return self._resolve()

    def _resolve(self) -> list[Change]:
        self.now += timedelta(days=1)
        self.found = resolve([*self.events.values()], [*self.rules.values()], self.options)
        return self.persons.resolve(self.found, self.now)
