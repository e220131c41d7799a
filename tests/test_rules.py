"""The operator's rules: which id is meant, what may be said of it, what replaces what; and every message."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime

import duckdb
import pytest

from loader import rules
from loader.errors import LoaderError, UsageError
from loader.resolve import Rule
from loader.rules import Id

A, B, D, E = ("user_id", "a"), ("user_id", "b"), ("anonymous_id", "d"), ("anonymous_id", "e")
THEN = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    """A published file that knows some ids."""
    with duckdb.connect() as connection:
        connection.execute("CREATE SCHEMA identity; CREATE TABLE known (id_type VARCHAR, id VARCHAR)")
        connection.execute("CREATE VIEW identity.map AS FROM known")
        known = [A, D, ("user_id", "both"), ("anonymous_id", "both"), ("user_id", "x:y")]
        connection.executemany("INSERT INTO known VALUES (?, ?)", known)
        yield connection


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("a", A),
        (" d ", D),
        ("user_id:both", ("user_id", "both")),
        ("anonymous_id:both", ("anonymous_id", "both")),
        ("x:y", ("user_id", "x:y")),
        ("user_id:never seen", ("user_id", "never seen")),
        ("user_id: a ", A),
        ("user_id:\xa0a\t", A),
        ("user_id:\u3000a", ("user_id", "\u3000a")),  # other white space is part of an id
        ("user_id:user_id:a", ("user_id", "user_id:a")),
    ],
)
def test_which_id_is_meant(text: str, meant: Id, connection: duckdb.DuckDBPyConnection) -> None:
    assert rules.find(connection, text) == meant


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("user_id:", "user_id:: names no id. Give for example user_id:4711."),
        ("anonymous_id:  ", "anonymous_id:  : names no id. Give for example user_id:4711."),
        ("", "'': names no id. Give for example user_id:4711."),
        (" ", "' ': names no id. Give for example user_id:4711."),
        ("both", "both: is a user_id and an anonymous_id. Say which: user_id:both or anonymous_id:both"),
        ("z", "z: no event has this id. To name one all the same, give user_id:z or anonymous_id:z"),
    ],
)
def test_no_id_is_meant(text: str, message: str, connection: duckdb.DuckDBPyConnection) -> None:
    with pytest.raises(UsageError, match=f"^{re.escape(message)}$"):
        rules.find(connection, text)


def test_a_bare_id_before_persons_are_known() -> None:
    with duckdb.connect() as connection:
        assert rules.find(connection, "user_id:a") == A
        with pytest.raises(LoaderError, match=r"^who is who was not worked out yet\. Run: loader resolve$"):
            rules.find(connection, "a")


def rule(action: str, a: Id, b: tuple[str | None, str | None] = (None, None), reason: str | None = None) -> Rule:
    ends = {"type_a": a[0], "id_a": a[1], "type_b": b[0], "id_b": b[1]}
    return {"action": action, **ends, "reason": reason, "added_at": THEN}


def made(known: list[Rule], action: str, *ids: Id, reason: str | None = None, undo: bool = False) -> list[Rule]:
    """What the rules are then; a new one is of `THEN`."""
    began = datetime.now(UTC)
    found = rules.made(known, action, ids, reason, undo=undo)
    assert all(each in known or began <= each["added_at"] <= datetime.now(UTC) for each in found)
    return [each if each in known else {**each, "added_at": THEN} for each in found]


def test_rules_are_added() -> None:
    """User ids before devices, then by id, whichever was named first."""
    assert made([], "block", D, reason="a kiosk") == [rule("block", D, reason="a kiosk")]
    assert made([], "link", B, A) == [rule("link", A, B)]
    assert made([], "link", D, B) == [rule("link", B, D)]
    assert made([], "unlink", E, D) == [rule("unlink", D, E)]
    known = [rule("block", A), rule("link", A, B)]
    assert made(known, "unlink", A, D) == [*known, rule("unlink", A, D)]


def test_the_opposite_replaces_a_rule() -> None:
    """On the same two ids, in whatever order they are named; a block of one of them is another matter."""
    known = [rule("link", A, B), rule("link", A, D), rule("block", A)]
    assert made(known, "unlink", B, A) == [rule("link", A, D), rule("block", A), rule("unlink", A, B)]
    assert made([rule("unlink", A, B)], "link", A, B) == [rule("link", A, B)]
    assert made([rule("link", A, B)], "block", A) == [rule("link", A, B), rule("block", A)]


def test_a_rule_is_taken_back() -> None:
    known = [rule("link", A, B), rule("block", A), rule("block", B)]
    assert made(known, "link", B, A, undo=True) == [rule("block", A), rule("block", B)]
    assert made(known, "block", B, undo=True) == [rule("link", A, B), rule("block", A)]


@pytest.mark.parametrize(
    ("action", "ids", "undo", "error", "message"),
    [
        ("link", (A, A), False, UsageError, "user_id:a: is one id, not two."),
        ("unlink", (D, D), False, UsageError, "anonymous_id:d: is one id, not two."),
        (
            "link",
            (D, E),
            False,
            UsageError,
            "a link needs a user id: devices attach to a person, they don't make two one.",
        ),
        (
            "link",
            (B, A),
            False,
            LoaderError,
            "link user_id:a user_id:b: is a rule already, since 2026-03-01. Nothing was changed.",
        ),
        ("block", (D,), True, LoaderError, "block anonymous_id:d: there is no such rule. See: loader identity rules"),
        (
            "unlink",
            (A, B),
            True,
            LoaderError,
            "unlink user_id:a user_id:b: there is no such rule. See: loader identity rules",
        ),
    ],
)
def test_what_may_not_be_said(
    action: str, ids: tuple[Id, ...], undo: bool, error: type[LoaderError], message: str
) -> None:
    with pytest.raises(LoaderError) as raised:
        made([rule("link", A, B)], action, *ids, undo=undo)
    assert (type(raised.value), str(raised.value)) == (error, message)


def test_how_an_id_is_shown() -> None:
    assert rules.shown(("anonymous_id", "x:y")) == "anonymous_id:x:y"
