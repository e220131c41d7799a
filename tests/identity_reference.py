"""The rules of who is who, one event at a time: the oracle that identity resolution is compared with.

Slow and plain on purpose, and independent of `loader`. "R" is a rule of the description of identity. A person is
written as its label, the first of its members; which id it has is in `persons_reference`.
"""

from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple, TypeVar

Vertex = TypeVar("Vertex", bound=Hashable)

USER, DEVICE = "user_id", "anonymous_id"
WHITE = " \t\n\r\x0b\x0c\u00a0"
NOBODY = {
    "",
    *"null nil none undefined nan true false anonymous anon guest unknown not_authenticated".split(),
    *"id user userid user_id distinct_id email test 0 -1 n/a".split(),
    "[object object]",
}
SILENCE = timedelta(minutes=30)
INSTANT = timedelta(microseconds=1)


class Node(NamedTuple):
    """An identifier. type: `user_id`, `anonymous_id`, or the name of a trait of `merge_on`."""

    type: str
    id: str


def node(type_: str, text: str | None) -> Node | None:
    """The identifier in a field; None where there is none."""
    return Node(type_, text.strip(WHITE)) if text and text.strip(WHITE) else None


@dataclass(frozen=True)
class Event:
    """A loaded event, the only one of its id."""

    id: str
    call: str
    timestamp: datetime
    received_at: datetime
    user_id: str | None = None
    anonymous_id: str | None = None
    previous_id: str | None = None
    traits: Mapping[str, Any] = field(default_factory=dict)

    @property
    def user(self) -> Node | None:
        return node(USER, self.user_id)

    @property
    def device(self) -> Node | None:
        return node(DEVICE, self.anonymous_id)

    @property
    def order(self) -> tuple[datetime, datetime, str]:
        return self.timestamp, self.received_at, self.id


@dataclass(frozen=True)
class Rule:
    """An operator's rule. action: block (of a alone), link, unlink."""

    action: str
    a: Node
    b: Node | None = None


@dataclass(frozen=True)
class Options:
    devices: str = "attach"
    shared_device: str = "by_time"
    merge_on: tuple[str, ...] = ()
    max_alias_partners: int = 10


@dataclass
class Edge:
    """What two identifiers have to do with each other. events: none for a link."""

    kind: str
    a: Node
    b: Node
    events: list[Event] = field(default_factory=list)
    status: str = "used"

    @property
    def device(self) -> Node | None:
        return next((end for end in (self.a, self.b) if end.type == DEVICE), None)

    @property
    def first(self) -> Event | None:
        return min(self.events, key=lambda event: event.order, default=None)


class Stretch(NamedTuple):
    """A shared device's time with one person. start, end: None is since ever, for ever."""

    person: Node
    start: datetime | None
    end: datetime | None


class Session(NamedTuple):
    person: Node
    events: list[Event]


class Trait(NamedTuple):
    """previous: the text before; None: there was none."""

    value: Any
    set_at: datetime
    event_id: str
    previous: str | None


@dataclass
class User:
    """A row of `resolved.users`. traits: the latest value of each."""

    primary: str | None
    user_ids: list[str]
    anonymous_ids: list[str]
    first_seen: datetime
    last_seen: datetime
    events: int
    sessions: int
    traits: dict[str, Any]


@dataclass
class Resolved:
    """Who is who, after one resolve. nodes: each identifier's events, and those that have it as `previous_id`."""

    options: Options
    nodes: dict[Node, tuple[list[Event], list[Event]]]
    edges: list[Edge]
    status: dict[Node, str]
    person: dict[Node, Node]  # by identifier; of a shared or blocked one there is none
    stretches: dict[Node, list[Stretch]] = field(default_factory=dict)
    events: dict[str, tuple[Node | None, str]] = field(default_factory=dict)  # by id: person, resolved_by
    sessions: list[Session] = field(default_factory=list)
    traits: dict[tuple[Node, str], Trait] = field(default_factory=dict)
    users: dict[Node, User] = field(default_factory=dict)

    def seen(self, of: Node) -> list[datetime]:
        """The timestamps of an identifier, in order."""
        return sorted(event.timestamp for events in self.nodes[of] for event in events)

    def rank(self, of: Node) -> tuple[bool, datetime, str]:
        """The order in which identifiers become anchors (R10)."""
        return of.type == DEVICE, self.seen(of)[0], of.id

    def members(self) -> dict[Node, list[Node]]:
        """Each person's identifiers, in the order in which they become anchors."""
        found = defaultdict(list)
        for member in sorted(self.person, key=self.rank):
            found[self.person[member]].append(member)
        return found


def is_blocked(of: Node, rules: Iterable[Rule] = ()) -> bool:
    """R7"""
    bare = of.id.strip("'\"`").strip(WHITE).lower()
    listed = len(of.id) > 512 or not of.id.strip("0-") or bare in NOBODY
    return listed or any(rule.action == "block" and rule.a == of for rule in rules)


def components(nodes: Iterable[Vertex], edges: Iterable[tuple[Vertex, Vertex]]) -> dict[Vertex, Vertex]:
    """Union-find: each node's root, the same for all that edges connect."""
    parent = {each: each for each in nodes}

    def root(of: Vertex) -> Vertex:
        while parent[of] != of:
            parent[of] = of = parent[parent[of]]
        return of

    for a, b in edges:
        parent[root(a)] = root(b)
    return {each: root(each) for each in parent}


def resolve(events: Sequence[Event], rules: Sequence[Rule] = (), options: Options = Options()) -> Resolved:
    """Who is who by these events alone, whatever their order."""
    nodes = nodes_of(events)
    edges = edges_of(events, nodes, rules, options)
    blocked = {each for edge in edges for each in (edge.a, edge.b) if is_blocked(each, rules)}
    blocked |= {each for each in nodes if is_blocked(each, rules)}
    unlinked = {frozenset((rule.a, rule.b)) for rule in rules if rule.action == "unlink"}
    for edge in edges:
        if edge.a in blocked or edge.b in blocked:
            edge.status = "blocked"
        elif frozenset((edge.a, edge.b)) in unlinked:
            edge.status = "unlinked"
    for kind in ("alias", *options.merge_on):
        cap([edge for edge in edges if edge.kind == kind and edge.status == "used"], options.max_alias_partners)

    status, person = partition(nodes, edges, blocked, options)
    for edge in edges:
        if edge.status == "used" and edge.device and status[edge.device] == "shared":
            edge.status = "shared"
    found = Resolved(options, nodes, edges, status, person)
    first = {members[0]: members for members in found.members().values()}
    found.person = {member: label for label, members in first.items() for member in members}
    if options.shared_device == "by_time":
        shared = [each for each in nodes if status[each] == "shared"]
        found.stretches = {each: stretches_of(found, each) for each in shared}
    found.events = {event.id: attributed(found, event) for event in events}
    found.sessions = sessions_of(found, events)
    found.traits = traits_of(found, events)
    found.users = users_of(found, events)
    return found


def previous(event: Event, events: Sequence[Event]) -> Node | None:
    """The previous id of an alias, user or device (R5). None where it states nothing: no alias, an id is missing."""
    device, user = node(DEVICE, event.previous_id), node(USER, event.previous_id)
    if event.call != "alias" or not device or not event.user:
        return None
    is_device = any(each.device == device for each in events) and not any(each.user == user for each in events)
    return device if is_device else user


def nodes_of(events: Sequence[Event]) -> dict[Node, tuple[list[Event], list[Event]]]:
    nodes: dict[Node, tuple[list[Event], list[Event]]] = defaultdict(lambda: ([], []))
    for event in events:
        for found in (event.user, event.device):
            if found:
                nodes[found][0].append(event)
        if before := previous(event, events):
            nodes[before][1].append(event)
    return dict(nodes)


def edges_of(events: Sequence[Event], nodes: Iterable[Node], rules: Iterable[Rule], options: Options) -> list[Edge]:
    found: dict[tuple[str, Node, Node], Edge] = {}
    known = set(nodes)

    def see(kind: str, a: Node | None, b: Node | None, event: Event) -> None:
        if a and b and a != b:
            found.setdefault((kind, a, b), Edge(kind, a, b)).events.append(event)

    for event in events:
        see("seen", event.user, event.device, event)
        see("alias", previous(event, events), event.user, event)
        for trait in options.merge_on if event.call == "identify" else ():
            see(trait, event.user, node(trait, text_of(event.traits.get(trait)).lower()), event)
    for rule in rules:
        if rule.action == "link" and rule.b and {rule.a, rule.b} <= known:
            a, b = sorted((rule.a, rule.b), key=lambda end: (end.type == DEVICE, end.id))
            found["link", a, b] = Edge("link", a, b)
    return list(found.values())


def cap(edges: Sequence[Edge], partners: int) -> None:
    """Sets aside the edges of one kind of those that have too many partners by them (R8). Devices are not counted."""
    edges = [edge for edge in edges if not edge.device]
    met = defaultdict(set)
    for edge in edges:
        met[edge.a].add(edge.b)
        met[edge.b].add(edge.a)
    for edge in edges:
        if len(met[edge.a]) > partners or len(met[edge.b]) > partners:
            edge.status = "capped"


def partition(
    nodes: Iterable[Node], edges: Iterable[Edge], blocked: set[Node], options: Options
) -> tuple[dict[Node, str], dict[Node, Node]]:
    """The status of each identifier, and the person, by any name, of those that have one (R2, R3)."""
    used = [edge for edge in edges if edge.status == "used"]
    merging = [edge for edge in used if options.devices == "merge" or not edge.device]
    ends = {end for edge in used for end in (edge.a, edge.b)}
    root = components((ends | set(nodes)) - blocked, [(edge.a, edge.b) for edge in merging])
    with_user = {root[each] for each in root if each.type == USER}
    status, person = {}, {}
    for each in nodes:
        if each in blocked:
            status[each] = "blocked"
            continue
        if each.type == USER:
            persons = {root[each]}
        elif options.devices == "merge":
            persons = {root[each]} & with_user
        else:
            persons = {root[user] for edge in used if edge.device == each for user in (edge.a, edge.b) if user != each}
        if len(persons) > 1:
            status[each] = "shared"
            continue
        status[each] = "user" if each.type == USER else "attached" if persons else "anonymous"
        person[each] = persons.pop() if persons else root[each]
    return status, person


def stretches_of(found: Resolved, device: Node) -> list[Stretch]:
    """R4"""
    apart = {edge.a for edge in found.edges if edge.b == device and edge.kind == "seen" and edge.status == "unlinked"}

    def holder(event: Event) -> Node | None:
        counts = event.call != "reset" and event.user and event.user not in apart
        return found.person.get(event.user) if counts and event.user else None

    def rank(event: Event) -> tuple[datetime, int, datetime, str]:
        kind = 2 if event.call == "reset" else 0 if holder(event) else 1
        return event.timestamp, kind, event.received_at, event.id

    events = sorted(found.nodes[device][0], key=rank)
    holders = [person for person in map(holder, events) if person]
    if not holders:
        return []
    marks: list[tuple[datetime | None, Node | None]] = [(None, holders[0])]  # since when who holds; None: nobody
    for event in events:
        mark = (event.timestamp, holder(event)) if event.call != "reset" else (event.timestamp + INSTANT, None)
        if not mark[1] and event.call != "reset":
            continue
        if marks[-1][1] and marks[-1][0] == mark[0]:
            marks.pop()  # held for no time
        if marks[-1][1] != mark[1]:
            marks.append(mark)
    ends = [start for start, _ in marks[1:]] + [None]
    return [Stretch(person, start, end) for (start, person), end in zip(marks, ends, strict=True) if person]


def attributed(found: Resolved, event: Event) -> tuple[Node | None, str]:
    """An event's person, and by what (R1, R3, R4)."""
    if event.user and found.status[event.user] != "blocked":
        return found.person[event.user], "user_id"
    status = found.status[event.device] if event.device else "blocked"
    if event.device and status in ("attached", "anonymous"):
        return found.person[event.device], status
    if event.device and status == "shared":
        for person, start, end in found.stretches.get(event.device, []):
            if (start is None or start <= event.timestamp) and (end is None or event.timestamp < end):
                return person, "shared_by_time"
    return None, "unresolved"


def by_person(found: Resolved, events: Iterable[Event]) -> dict[Node, list[Event]]:
    """Each person's events, in order of time."""
    persons = defaultdict(list)
    for event in sorted(events, key=lambda event: event.order):
        person, _ = found.events[event.id]
        if person:
            persons[person].append(event)
    return persons


def sessions_of(found: Resolved, events: Iterable[Event]) -> list[Session]:
    sessions: list[Session] = []
    for person, theirs in by_person(found, events).items():
        for at, event in enumerate(theirs):
            if at == 0 or event.timestamp - theirs[at - 1].timestamp > SILENCE:
                sessions.append(Session(person, []))
            sessions[-1].events.append(event)
    return sessions


def traits_of(found: Resolved, events: Iterable[Event]) -> dict[tuple[Node, str], Trait]:
    traits: dict[tuple[Node, str], Trait] = {}
    for person, theirs in by_person(found, [event for event in events if event.call == "identify"]).items():
        for event in theirs:
            for name, value in event.traits.items():
                before = traits.get((person, name))
                if value is not None and (before is None or text_of(before.value) != text_of(value)):
                    last = None if before is None else text_of(before.value)
                    traits[person, name] = Trait(value, event.timestamp, event.id, last)
    return traits


def users_of(found: Resolved, events: Iterable[Event]) -> dict[Node, User]:
    """first_seen, last_seen: of the person's events; of a person without events, of its identifiers."""
    users = {}
    events_of = by_person(found, events)
    for person, members in found.members().items():
        user_ids = [each.id for each in members if each.type == USER]
        times = [event.timestamp for event in events_of[person]]
        seen = times or sorted(time for member in members for time in found.seen(member))
        users[person] = User(
            user_ids[0] if user_ids else None,
            sorted(user_ids),
            sorted(each.id for each in members if each.type == DEVICE),
            seen[0],
            seen[-1],
            len(times),
            sum(session.person == person for session in found.sessions),
            {name: trait.value for (whose, name), trait in found.traits.items() if whose == person},
        )
    return users


def text_of(value: Any) -> str:
    """A trait as text: `true`, `7`, or the string itself; of None there is none."""
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
