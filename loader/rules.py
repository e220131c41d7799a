"""The operator's rules on who is who: decides what may be said of which ids, and how to take it back (R13)."""

from collections.abc import Sequence
from datetime import UTC, datetime

import duckdb

from loader import doubts
from loader.errors import LoaderError, UsageError
from loader.resolve import Rule

Id = tuple[str, str]  # its type, and the id


def find(connection: duckdb.DuckDBPyConnection, text: str) -> Id:
    """The id that a person means: `user_id:A`, `anonymous_id:D`, or bare where it is of one type only.

    connection: of the published warehouse. UsageError where a bare id is not known, or of both types, or none;
    LoaderError where nothing was resolved yet, so that it cannot be known.
    """
    type_, id_ = doubts.named(text)
    if type_:
        return type_, id_
    doubts.check(connection)
    rows = connection.execute("SELECT id_type FROM identity.map WHERE id = $id ORDER BY id_type", {"id": id_})
    types = [type_ for (type_,) in rows.fetchall()]
    if len(types) == 1:
        return types[0], id_
    if types:
        raise UsageError(f"{text}: is a user_id and an anonymous_id. Say which: user_id:{text} or anonymous_id:{text}")
    raise UsageError(
        f"{text}: no event has this id. To name one all the same, give user_id:{text} or anonymous_id:{text}"
    )


def made(rules: Sequence[Rule], action: str, ids: Sequence[Id], reason: str | None, *, undo: bool) -> list[Rule]:
    """The rules, with one more, or with `undo` without it. A rule on two ids replaces an opposite one on the same two.

    LoaderError where there is no such rule to take back, or it is there already; UsageError for a link of two devices.
    """
    if len(set(ids)) < len(ids):
        raise UsageError(f"{shown(ids[0])}: is one id, not two.")
    if action == "link" and all(type_ == "anonymous_id" for type_, _ in ids):
        raise UsageError("a link needs a user id: devices attach to a person, they don't make two one.")
    ids = sorted(ids, key=lambda each: (each[0] != "user_id", each[1]))
    same = [rule for rule in rules if rule["action"] == action and _ids(rule) == ids]
    words = f"{action} {' '.join(map(shown, ids))}"
    if undo:
        if not same:
            raise LoaderError(f"{words}: there is no such rule. See: loader identity rules")
        return [rule for rule in rules if rule not in same]
    if same:
        raise LoaderError(f"{words}: is a rule already, since {same[0]['added_at']:%Y-%m-%d}. Nothing was changed.")
    (type_a, id_a), (type_b, id_b) = (*ids, (None, None))[:2]
    rule: Rule = {"action": action, "type_a": type_a, "id_a": id_a, "type_b": type_b, "id_b": id_b}
    rule |= {"reason": reason, "added_at": datetime.now(UTC)}
    return [*(other for other in rules if len(ids) == 1 or _ids(other) != ids), rule]


def shown(id_: Id) -> str:
    """An id as a person may type it."""
    return f"{id_[0]}:{id_[1]}"


def _ids(rule: Rule) -> list[Id]:
    return [(rule[f"type_{end}"], rule[f"id_{end}"]) for end in "ab" if rule[f"id_{end}"] is not None]
