"""The oracle of identity itself: each rule on a history small enough to be worked out by hand."""

import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.identity_reference import (
    DEVICE,
    USER,
    Event,
    Node,
    Options,
    Resolved,
    Rule,
    Session,
    Stretch,
    Trait,
    components,
    is_blocked,
    resolve,
)
from tests.persons_reference import Change, Persons, person_id, session_id

NINE = datetime(2024, 5, 6, 9, tzinfo=UTC)
JUST = timedelta(microseconds=1)


def at(minute: float) -> datetime:
    return NINE + timedelta(minutes=minute)


def event(
    id: str,
    minute: float,
    user: str | None = None,
    device: str | None = None,
    call: str = "track",
    *,
    previous: str | None = None,
    received: float = 60,
    **traits: Any,
) -> Event:
    return Event(id, call, at(minute), at(received), user, device, previous, traits)


def alias(id: str, minute: float, previous: str, user: str | None, device: str | None = None) -> Event:
    return event(id, minute, user, device, "alias", previous=previous)


def user(id: str) -> Node:
    return Node(USER, id)


def device(id: str) -> Node:
    return Node(DEVICE, id)


A, B, C, D, K = user("A"), user("B"), user("C"), device("D"), device("K")


def persons(found: Resolved) -> list[set[str]]:
    """The identifiers of each person: user ids as they are, devices with an @."""
    return [{"@" * (each.type == DEVICE) + each.id for each in members} for members in found.members().values()]


def edges(found: Resolved) -> dict[tuple[str, str, str], str]:
    return {(edge.kind, edge.a.id, edge.b.id): edge.status for edge in found.edges}


# --- who is who ------------------------------------------------------------------------------------------------------


def test_a_device_attaches_to_its_one_user() -> None:
    found = resolve([event("1", 0, None, "D"), event("2", 1, "A", "D"), event("3", 2, None, "D", "reset")])
    assert found.status == {A: "user", D: "attached"}
    assert found.events == {"1": (A, "attached"), "2": (A, "user_id"), "3": (A, "attached")}


def test_a_device_without_user_is_a_person() -> None:
    found = resolve([event("1", 0, None, "D"), event("2", 1), event("3", 2, "A")])
    assert found.status == {A: "user", D: "anonymous"}
    assert found.events == {"1": (D, "anonymous"), "2": (None, "unresolved"), "3": (A, "user_id")}


def test_devices_do_not_bridge() -> None:
    history = [event("1", 0, "A", "D"), event("2", 1, "B", "D"), event("3", 2, "B", "K")]
    found = resolve(history)
    assert found.status == {A: "user", B: "user", D: "shared", K: "attached"}
    assert persons(found) == [{"A"}, {"B", "@K"}]
    assert edges(found) == {("seen", "A", "D"): "shared", ("seen", "B", "D"): "shared", ("seen", "B", "K"): "used"}
    merged = resolve(history, options=Options(devices="merge"))
    assert persons(merged) == [{"A", "B", "@D", "@K"}]
    assert set(edges(merged).values()) == {"used"}


def test_a_user_and_a_device_of_one_name_are_two() -> None:
    assert resolve([event("1", 0, "7"), event("2", 0, None, "7")]).person == {
        user("7"): user("7"),
        device("7"): device("7"),
    }


@pytest.mark.parametrize("ids", ["AB BC", "AB BA", "AB BC CA", "CB BA"])
def test_aliases_merge_users_whatever_their_direction(ids: str) -> None:
    history = [alias(str(at), at, pair[0], pair[1]) for at, pair in enumerate(ids.split())]
    found = resolve(history)
    assert persons(found) == [set(ids) - {" "}]
    assert edges(found) == {("alias", pair[0], pair[1]): "used" for pair in ids.split()}


def test_what_an_alias_says_of_a_device() -> None:
    """R5: `previous_id` is a device if it occurs as one, and never as a user id."""
    found = resolve([alias("1", 0, "D", "A"), event("2", 1, None, "D")])
    assert (found.status, edges(found)) == ({A: "user", D: "attached"}, {("alias", "D", "A"): "used"})
    assert found.seen(D) == [at(0), at(1)]
    assert [each.id for each in found.nodes[D][0]] == ["2"]
    both = resolve([alias("1", 0, "D", "A"), event("2", 1, None, "D"), event("3", 2, "D")])
    assert both.status == {A: "user", user("D"): "user", D: "anonymous"}
    assert persons(both) == [{"D", "A"}, {"@D"}]


def test_an_alias_without_user_id_says_nothing() -> None:
    found = resolve([alias("1", 0, "B", None, "D"), alias("2", 1, "A", "A")])
    assert (found.status, edges(found)) == ({A: "user", D: "anonymous"}, {})


def test_blocked_values() -> None:
    nobody = ["null", " NULL ", '"null"', "' Nil'", "[object Object]", "0", "-1", "000-00", "-", "N/A", "x" * 513, '""']
    assert [text for text in nobody if not is_blocked(Node(USER, text.strip()))] == []
    assert [text for text in ["nulls", "x" * 512, "01", "o", "no", "a b"] if is_blocked(Node(USER, text))] == []
    found = resolve([event("1", 0, "null", "D"), event("2", 1, " ", "D"), event("3", 2, "A", "0")])
    assert found.status == {user("null"): "blocked", D: "anonymous", A: "user", device("0"): "blocked"}
    assert edges(found) == {("seen", "null", "D"): "blocked", ("seen", "A", "0"): "blocked"}
    assert found.events == {"1": (D, "anonymous"), "2": (D, "anonymous"), "3": (A, "user_id")}


def test_ids_are_trimmed_and_otherwise_exact() -> None:
    found = resolve([event("1", 0, "\u00a0A\t"), event("2", 1, "A"), event("3", 2, "a")])
    assert {each.id: len(carried) for each, (carried, _) in found.nodes.items()} == {"A": 2, "a": 1}


def test_a_hub_s_aliases_are_set_aside() -> None:
    history = [alias("1", 1, "B", "A"), alias("2", 2, "A", "C"), alias("3", 3, "C", "E"), alias("4", 4, "D", "A")]
    history += [event("5", 5, None, "D"), alias("6", 6, "B", "A")]
    options = Options(max_alias_partners=1)
    assert persons(resolve(history, options=Options(max_alias_partners=2))) == [{"A", "B", "C", "E", "@D"}]
    found = resolve(history, options=options)  # A and C have two partners each; D is a device
    assert edges(found) == {
        ("alias", "B", "A"): "capped",
        ("alias", "A", "C"): "capped",
        ("alias", "C", "E"): "capped",
        ("alias", "D", "A"): "used",
    }
    assert persons(resolve(history, [Rule("unlink", A, C)], options)) == [{"A", "B", "@D"}, {"C", "E"}]
    assert persons(resolve(history, [Rule("link", A, C)], options)) == [{"A", "C", "@D"}, {"B"}, {"E"}]


def test_the_operator_s_rules() -> None:
    history = [event("1", 0, "A", "D"), event("2", 1, "B"), alias("3", 2, "B", "C"), event("4", 3, None, "D")]
    assert persons(resolve(history, [Rule("link", B, A)])) == [{"A", "B", "C", "@D"}]
    assert persons(resolve(history, [Rule("link", D, B)])) == [{"A"}, {"B", "C"}]
    assert persons(resolve(history, [Rule("link", A, user("unheard of"))])) == [{"A", "@D"}, {"B", "C"}]
    assert persons(resolve(history, [Rule("block", B)])) == [{"A", "@D"}, {"C"}]
    apart = resolve(history, [Rule("unlink", D, A), Rule("unlink", C, B)])
    assert persons(apart) == [{"A"}, {"B"}, {"C"}, {"@D"}]
    assert apart.events == {"1": (A, "user_id"), "2": (B, "user_id"), "3": (C, "user_id"), "4": (D, "anonymous")}
    assert set(edges(apart).values()) == {"unlinked"}


def test_traits_that_merge() -> None:
    history = [
        event("1", 0, "A", call="identify", email=" X@y "),
        event("2", 1, "B", call="identify", email="x@Y"),
        event("3", 2, "C", call="identify", email="n/a"),
        event("4", 3, None, "D", call="identify", email="x@y"),
    ]
    assert persons(resolve(history)) == [{"A"}, {"B"}, {"C"}, {"@D"}]
    found = resolve(history, options=Options(merge_on=("email",)))
    assert persons(found) == [{"A", "B"}, {"C"}, {"@D"}]
    assert edges(found) == {
        ("email", "A", "x@y"): "used",
        ("email", "B", "x@y"): "used",
        ("email", "C", "n/a"): "blocked",
    }
    capped = resolve(history, options=Options(merge_on=("email",), max_alias_partners=1))
    assert persons(capped) == [{"A"}, {"B"}, {"C"}, {"@D"}]


# --- shared devices --------------------------------------------------------------------------------------------------


def test_a_shared_device_is_sliced_by_time() -> None:
    history = [
        event("early", 0, None, "K"),
        event("a", 5, "A", "K"),
        event("between", 7, None, "K"),
        event("b", 10, "B", "K"),
        event("at b", 10, None, "K"),
        event("reset", 20, None, "K", "reset"),
        event("at reset", 20, None, "K"),
        event("nobody", 25, None, "K"),
        event("b again", 30, "B", "K"),
        event("late", 40, None, "K"),
    ]
    found = resolve(history)
    assert found.stretches == {
        K: [Stretch(A, None, at(10)), Stretch(B, at(10), at(20) + JUST), Stretch(B, at(30), None)]
    }
    assert {id: person and person.id for id, (person, by) in found.events.items() if by != "user_id"} == {
        "early": "A",
        "between": "A",
        "at b": "B",
        "reset": "B",
        "at reset": "B",
        "nobody": None,
        "late": "B",
    }
    assert found.events["nobody"] == (None, "unresolved")
    assert found.events["late"] == (B, "shared_by_time")
    none = resolve(history, options=Options(shared_device="none"))
    assert (none.stretches, none.events["late"], none.events["b"]) == ({}, (None, "unresolved"), (B, "user_id"))


def stretches(*history: Event) -> list[Stretch]:
    return resolve(history).stretches[K]


def test_at_one_timestamp_the_last_user_holds() -> None:
    first, last = event("2", 5, "A", "K", received=1), event("1", 5, "B", "K", received=2)
    assert stretches(last, first) == [Stretch(A, None, at(5)), Stretch(B, at(5), None)]
    # a third who held for no time at all leaves no mark
    assert stretches(event("0", 1, "B", "K"), first, last) == [Stretch(B, None, None)]


def test_a_reset_does_not_begin_a_stretch() -> None:
    history = [event("1", 0, None, "K"), event("2", 1, "A", "K", "reset"), event("3", 2, "B", "K")]
    assert stretches(*history) == [Stretch(B, None, at(1) + JUST), Stretch(B, at(2), None)]
    assert stretches(event("1", 0, "A", "K", "reset"), event("2", 1, "B", "K", "reset")) == []


def test_a_user_right_after_a_reset_begins_another_stretch() -> None:
    history = [event("1", 0, "A", "K"), event("2", 1, None, "K", "reset"), event("4", 2, "B", "K")]
    again = Event("3", "track", at(1) + JUST, at(60), "A", "K")
    assert stretches(*history, again) == [
        Stretch(A, None, at(1) + JUST),
        Stretch(A, at(1) + JUST, at(2)),
        Stretch(B, at(2), None),
    ]


def test_an_unlinked_user_holds_no_stretch() -> None:
    history = [event("1", 0, "A", "K"), event("2", 1, "B", "K"), event("3", 2, "C", "K"), event("4", 3, None, "K")]
    found = resolve(history, [Rule("unlink", B, K)])
    assert found.stretches == {K: [Stretch(A, None, at(2)), Stretch(C, at(2), None)]}
    assert found.events["2"] == (B, "user_id")


def test_a_device_shared_by_aliases_alone_has_no_stretches() -> None:
    found = resolve([event("1", 0, None, "K"), alias("2", 1, "K", "A"), alias("3", 2, "K", "B")])
    assert (found.status[K], found.stretches, found.events["1"]) == ("shared", {K: []}, (None, "unresolved"))


# --- what comes of it ------------------------------------------------------------------------------------------------


def test_sessions_end_after_half_an_hour() -> None:
    history = [event("1", 0, "A"), event("2", 30, "A"), event("3", 60 + 1 / 60, "A"), event("4", 31, "B")]
    one, two, three, four = history
    assert resolve(history).sessions == [Session(A, [one, two]), Session(A, [three]), Session(B, [four])]


def test_traits_and_where_they_came_from() -> None:
    history = [
        event("1", 0, "A", call="identify", plan="free", age=7),
        event("2", 1, "A", call="identify", plan="pro", age=None),
        event("3", 2, "A", call="identify", plan="pro"),
        event("4", 1, "A", call="group", plan="no trait of a person"),
    ]
    found = resolve(history)
    assert found.traits == {(A, "plan"): Trait("pro", at(1), "2", "free"), (A, "age"): Trait(7, at(0), "1", None)}
    assert found.users[A].traits == {"plan": "pro", "age": 7}


def test_users() -> None:
    history = [alias("1", 5, "B", "A"), event("2", 50, None, "D"), event("3", 7, "A", "D")]
    row = resolve(history).users[A]
    assert (row.primary, row.user_ids, row.anonymous_ids) == ("A", ["A", "B"], ["D"])
    assert (row.first_seen, row.last_seen, row.events, row.sessions) == (at(5), at(50), 3, 2)


def test_a_user_without_events() -> None:
    found = resolve([alias("1", 5, "B", "null"), event("2", 6, "A")])
    assert (found.users[B].first_seen, found.users[B].last_seen, found.users[B].events) == (at(5), at(5), 0)


def test_components() -> None:
    nodes = [user(id) for id in "abcdef"]
    root = components(nodes, [(user(a), user(b)) for a, b in ("ab", "cb", "de")])
    same = {(a.id, b.id) for a in nodes for b in nodes if a < b and root[a] == root[b]}
    assert same == {("a", "b"), ("a", "c"), ("b", "c"), ("d", "e")}


# --- ids -------------------------------------------------------------------------------------------------------------


def changes(persons: Persons, history: list[Event], *rules: Rule, day: int) -> set[Change]:
    return set(persons.resolve(resolve(history, rules), NINE + timedelta(days=day)))


def test_ids() -> None:
    assert person_id(A) == "p_" + hashlib.sha256(b"user_id:A").hexdigest()[:20] == "p_4b93cd6f250d92cfdc8f"
    text = b"p_4b93cd6f250d92cfdc8f:2024-05-06 09:00:00.000000"
    assert session_id("p_4b93cd6f250d92cfdc8f", NINE) == "s_" + hashlib.sha256(text).hexdigest()[:20]


def test_a_visitor_keeps_the_id_as_a_user() -> None:
    persons, history = Persons(), [event("1", 0, None, "D")]
    assert changes(persons, history, day=1) == {Change("new", None, D)}
    history.append(event("2", 1, "A", "D"))
    assert changes(persons, history, day=2) == set()
    assert persons.of == {A: D, D: D}
    history.append(event("3", -9, "B", "E"))
    history.append(alias("4", 3, "B", "A"))  # an earlier identifier does not change the id
    assert changes(persons, history, day=3) == set()
    assert set(persons.of.values()) == {D}


def test_merge_split_restore() -> None:
    persons, history = Persons(), [event("1", 0, "B")]
    assert changes(persons, history, day=1) == {Change("new", None, B)}
    history.append(event("2", -1, "A"))
    assert changes(persons, history, day=2) == {Change("new", None, A)}
    history.append(alias("3", 2, "A", "B"))
    assert changes(persons, history, day=3) == {Change("merge", A, B)}  # B was minted first
    assert (persons.current(A), persons.all[A].retired_at) == (B, NINE + timedelta(days=3))
    history.append(alias("4", 3, "B", "C"))
    assert changes(persons, history, day=4) == set()
    assert changes(persons, history, Rule("unlink", A, B), day=5) == {Change("restore", B, A)}
    assert changes(persons, history, Rule("unlink", A, B), Rule("unlink", B, C), day=6) == {Change("split", B, C)}
    assert changes(persons, history, day=7) == {Change("merge", A, B), Change("merge", C, B)}


def test_of_one_day_the_smaller_id_wins() -> None:
    persons, history = Persons(), [event("1", 0, "A"), event("2", 1, "B"), event("3", 2, "C")]
    changes(persons, history, day=1)
    order = sorted([A, B, C], key=person_id)
    history += [alias("4", 3, "A", "B"), alias("5", 4, "B", "C")]
    assert changes(persons, history, day=2) == {Change("merge", each, order[0]) for each in order[1:]}


def test_a_device_that_turns_shared_ends_its_person() -> None:
    persons, history = Persons(), [event("1", 0, None, "D")]
    changes(persons, history, day=1)
    history.append(event("2", 1, "A", "D"))
    changes(persons, history, day=2)
    history.append(event("3", 2, "B", "D"))
    assert changes(persons, history, day=3) == {
        Change("split", D, A),
        Change("new", None, B),
        Change("merge", D, A),
    }
    assert persons.current(D) == A


def test_an_anonymous_device_that_turns_shared_at_once() -> None:
    persons, history = Persons(), [event("1", 0, None, "D")]
    changes(persons, history, day=1)
    history += [event("2", 1, "B", "D"), event("3", 2, "A", "D")]
    assert changes(persons, history, day=2) == {
        Change("new", None, A),
        Change("new", None, B),
        Change("merge", D, B),  # the first stretch is B's
    }


def test_a_blocked_person_is_gone() -> None:
    persons, history = Persons(), [event("1", 0, "A", "D")]
    changes(persons, history, day=1)
    assert changes(persons, history, Rule("block", A), day=2) == {Change("split", A, D), Change("merge", A, D)}
    assert persons.current(A) == D
    assert changes(persons, history, Rule("block", A), Rule("block", D), day=3) == {Change("split", D, None)}
    assert persons.current(A) is None
    # both are there again, in one component: it gets the older one back
    assert changes(persons, history, day=4) == {Change("restore", None, A)}
    assert (persons.current(A), persons.current(D)) == (A, A)
