"""`loader explain`: why ids are one person, or are not; decides how much of that is told.

A tie is a row of `identity.edges`, its `reason` filled in where that leaves it open, with `event`: the first one that
made it, and where that came from (`lineage`). Times are UTC.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import duckdb

from loader import doubts, lineage, ties
from loader.errors import LoaderError, UsageError
from loader.ties import Id

IDS, DEEP, ROWS = 50, 12, 10  # how many ids of a person are shown, how far from the first; how many of anything else

Tie = dict[str, Any]

_PERSON = """
    SELECT person_id, anchor_type, anchor_id, minted_at, retired_at, current_person_id FROM identity.persons
    WHERE person_id = $person_id
"""
_SEEN = "SELECT id_type, id, status, person_id, first_seen, last_seen, events FROM identity.map"
_TOTALS = """
    SELECT count(*) FILTER (id_type = 'user_id') AS user_ids,
        count(*) FILTER (id_type = 'anonymous_id') AS anonymous_ids,
        min(first_seen) AS first_seen, max(last_seen) AS last_seen
    FROM own
"""
_IDENTIFIERS = """
    SELECT id_type, id, status, first_seen, last_seen, events FROM own
    SEMI JOIN (SELECT unnest($types) AS id_type, unnest($ids) AS id) AS b USING (id_type, id)
"""
_STRETCHES = """
    SELECT i.anonymous_id, i.person_id, p.anchor_type, p.anchor_id, i.valid_from, i.valid_to, count(*) OVER () AS every
    FROM identity.device_intervals AS i LEFT JOIN identity.persons AS p ON p.person_id = i.person_id
    WHERE i.person_id = $person_id OR i.anonymous_id = $device
    ORDER BY i.anonymous_id, i.valid_from NULLS FIRST LIMIT $most
"""
_CHANGES = """
    SELECT load_id, kind, old_id, new_id, id_type_a, id_a, id_type_b, id_b, event_id, count(*) OVER () AS every
    FROM identity.person_changes WHERE list_contains($persons, old_id) OR list_contains($persons, new_id)
    ORDER BY load_id DESC, kind, old_id, new_id LIMIT $most
"""


@dataclass(frozen=True, slots=True)
class Asked:
    """What an ID on the command line is. status: as in `identity.map`; of a person living or retired. person_id: whose
    it is today; None: nobody's. row: what is known of it."""

    id: Id
    status: str
    person_id: str | None
    row: dict[str, Any]

    @property
    def is_person(self) -> bool:
        return self.id[0] == "person_id"

    @property
    def node(self) -> Id:
        """The id that stands for it: a person is its anchor."""
        return (self.row["anchor_type"], self.row["anchor_id"]) if self.is_person else self.id

    @property
    def vertex(self) -> Id:
        """What ties lead to: its person, or where that is nobody itself."""
        return ("person_id", self.person_id) if self.person_id else self.node


def find(connection: duckdb.DuckDBPyConnection, text: str) -> Asked:
    """The id that a person means: `user_id:A`, `anonymous_id:D`, bare where it is of one type only, or a `p_…`.

    LoaderError where it is not known, UsageError where a bare one is of both types, or none is given.
    """
    type_, id_ = doubts.named(text)
    for person in _rows(connection, _PERSON, person_id=id_) if not type_ and id_.startswith("p_") else ():
        return Asked(
            ("person_id", id_), "retired" if person["retired_at"] else "living", person["current_person_id"], person
        )
    where = " WHERE id_type = $type AND id = $id" if type_ else " WHERE id = $id ORDER BY id_type"
    found = _rows(connection, _SEEN + where, **({"type": type_} if type_ else {}), id=id_)
    if not found:
        raise LoaderError(
            f"{text}: no event up to the last `loader resolve` has this id. For loads since, run: loader resolve"
        )
    if len(found) > 1:
        raise UsageError(f"{text}: is a user_id and an anonymous_id. Say which: user_id:{text} or anonymous_id:{text}")
    (row,) = found
    return Asked((row["id_type"], row["id"]), row["status"], row["person_id"], row)


def one(connection: duckdb.DuckDBPyConnection, text: str) -> dict[str, Any]:
    """The person of an id with its ids and the ties between them, as plain JSON values.

    asked: the id itself. person: None where the id is nobody's: shared, blocked. identifiers: nearest first, with the
    ties to those before. aside: ties that do not count. stretches: on shared devices. changes: of the person, newest
    first. `more_…`: how many of each are left out.
    """
    doubts.check(connection)
    asked = find(connection, text)
    if asked.person_id:
        found = ties.of_person(connection, asked.person_id)
        branches = found.tree(_node(connection, asked), IDS, DEEP)
    else:
        found, branches = ties.of_id(connection, asked.node), []
    person = _person(connection, asked.person_id) if asked.person_id else None
    aside = found.first_aside(ROWS)
    _complete(connection, [*(tie for branch in branches for tie in branch.ties), *aside])
    of = {"person_id": asked.person_id, "device": None if person else asked.node[1], "most": ROWS}
    stretches, more_stretches = _counted(_rows(connection, _STRETCHES, **of) if found.shared else [])
    persons = sorted({id_ for id_ in (asked.person_id, asked.id[1] if asked.is_person else None) if id_})
    changes, more_changes = _counted(_rows(connection, _CHANGES, persons=persons, most=ROWS) if persons else [])
    identifiers = _identifiers(connection, branches)
    ids = person["user_ids"] + person["anonymous_ids"] if person else 0
    result: dict[str, Any] = _plain(
        {
            "asked": _shown(asked),
            "reason": _blocked(connection, asked, aside),
            "person": person,
            "identifiers": identifiers,
            "more_identifiers": max(ids - sum(each["id_type"] in doubts.TYPES for each in identifiers), 0),
            "aside": aside,
            "more_aside": found.aside - len(aside),
            "stretches": stretches,
            "more_stretches": more_stretches,
            "changes": changes,
            "more_changes": more_changes,
        }
    )
    return result


def two(connection: duckdb.DuckDBPyConnection, first: str, second: str) -> dict[str, Any]:
    """Whether two ids are one person, and the shortest way of ties from one to the other, as plain JSON values.

    a, b: the ids. same: whether they are one person; person_id: which. steps: ties with the ids `from` and `to`; among
    them, where they are not one person, some that do not count. reason: the status of the first of those, or of an id
    that is nobody's, or no_path; why: the same in words.
    """
    doubts.check(connection)
    a, b = find(connection, first), find(connection, second)
    if a.id == b.id:
        raise UsageError(f"{first}: is one id, not two.")
    same = a.person_id is not None and a.person_id == b.person_id
    certain = True
    if same:
        steps = _steps(connection, a.person_id or "", _node(connection, a), _node(connection, b))
    elif a.vertex == b.vertex:
        steps = []
    else:
        steps, certain = _across(connection, a, b)
    _complete(connection, steps)
    reason, why = (None, None) if same else _why(a, b, steps, certain)
    result: dict[str, Any] = _plain(
        {
            "a": _shown(a),
            "b": _shown(b),
            "same": same,
            "person_id": a.person_id if same else None,
            "reason": reason,
            "why": why,
            "steps": steps,
        }
    )
    return result


# --- ways from one to another -----------------------------------------------------------------------------------------


def _steps(connection: duckdb.DuckDBPyConnection, person_id: str, start: Id, goal: Id) -> list[Tie]:
    """The ties of a person that lead from one of its ids to another."""
    if start == goal:
        return []
    steps = []
    for tie in ties.of_person(connection, person_id).path(start, goal) or []:
        ends = (tie["type_a"], tie["id_a"]), (tie["type_b"], tie["id_b"])
        near, far = ends if ends[0] == start else ends[::-1]
        steps.append(_step(near, far, tie))
        start = far
    return steps


def _across(connection: duckdb.DuckDBPyConnection, a: Asked, b: Asked) -> tuple[list[Tie], bool]:
    """The ties from one to the other, some of which do not count; where there are none, whether that is certain.

    Where a person is asked for, the way begins at whichever of its ids is nearest.
    """
    hops, certain = ties.across(connection, a.vertex, b.vertex)
    steps: list[Tie] = []
    at = None if a.is_person else a.id
    for hop in hops:
        if at and at != hop.near:
            steps += _steps(connection, hop.source[1], at, hop.near)
        steps.append(_step(hop.near, hop.far, hop.tie))
        at = hop.far
    if at and hops and not b.is_person and at != b.id:
        steps += _steps(connection, b.vertex[1], at, b.id)
    return steps, certain


def _step(near: Id, far: Id, tie: Tie) -> Tie:
    return {"from": _id(near), "to": _id(far), **tie}


def _why(a: Asked, b: Asked, steps: Sequence[Tie], certain: bool) -> tuple[str, str]:
    """Why two are not one person: in a word, and in words."""
    for tie in steps:
        if tie["status"] != "used":
            return tie["status"], tie["reason"]
    for asked in (a, b):
        if what := {"shared": "a shared device", "blocked": "nobody's"}.get(asked.status):
            return asked.status, f"{ties.shown(asked.id)} is {what}"
        if asked.person_id is None:
            return "retired", f"{asked.id[1]} was retired, and is nobody today"
    return "no_path", "nothing ties them" if certain else f"nothing that is near ties them ({ties.STEPS} ties)"


# --- what is told of each ---------------------------------------------------------------------------------------------


def _node(connection: duckdb.DuckDBPyConnection, asked: Asked) -> Id:
    """The id of its person that stands for it; of a retired person whose anchor is elsewhere, that of who took over."""
    if not asked.is_person or asked.status == "living":
        return asked.node
    (there,) = _rows(
        connection, _SEEN + " WHERE id_type = $type AND id = $id", type=asked.node[0], id=asked.node[1]
    ) or [{}]
    if there.get("person_id") == asked.person_id:
        return asked.node
    (now,) = _rows(connection, _PERSON, person_id=asked.person_id)
    return now["anchor_type"], now["anchor_id"]


def _person(connection: duckdb.DuckDBPyConnection, person_id: str) -> dict[str, Any]:
    """The person whose ids are `own`."""
    (person,) = _rows(connection, _PERSON, person_id=person_id)
    (totals,) = _rows(connection, _TOTALS)
    names = ("person_id", "anchor_type", "anchor_id", "minted_at")
    return {**{name: person[name] for name in names}, **totals}


def _identifiers(connection: duckdb.DuckDBPyConnection, branches: Sequence[ties.Branch]) -> list[dict[str, Any]]:
    if not branches:
        return []
    known = _rows(
        connection,
        _IDENTIFIERS,
        types=[branch.id[0] for branch in branches],
        ids=[branch.id[1] for branch in branches],
    )
    seen = {(row["id_type"], row["id"]): row for row in known}
    nothing = dict.fromkeys(("status", "first_seen", "last_seen", "events"))
    return [
        {
            **_id(branch.id),
            **{name: seen.get(branch.id, nothing)[name] for name in nothing},
            "above": _id(branch.above) if branch.above else None,
            "ties": branch.ties,
        }
        for branch in branches
    ]


def _complete(connection: duckdb.DuckDBPyConnection, found: Sequence[Tie]) -> None:
    """Adds to each tie the event that made it, and its reason where `identity.edges` leaves that open."""
    for tie, event in zip(found, lineage.first_events(connection, found), strict=True):
        tie["event"] = event
        del tie["first_event_id"]
    said: dict[Any, str | None] = {}
    if any(tie["status"] == "unlinked" or tie["kind"] == "link" for tie in found):
        for rule in doubts.rules(connection):
            ends = frozenset([(rule["type_a"], rule["id_a"]), (rule["type_b"], rule["id_b"])])
            said[rule["action"], ends] = rule["reason"]
    for tie in found:
        ends = frozenset([(tie["type_a"], tie["id_a"]), (tie["type_b"], tie["id_b"])])
        if tie["status"] == "shared":
            device = "a" if tie["type_a"] == "anonymous_id" else "b"
            tie["reason"] = f"{ties.shown((tie[f'type_{device}'], tie[f'id_{device}']))} is a shared device"
        elif tie["status"] == "unlinked":
            because = said.get(("unlink", ends))
            tie["reason"] = "unlinked by a rule" + (f": {because}" if because else "")
        elif tie["kind"] == "link" and tie["status"] == "used":
            tie["reason"] = said.get(("link", ends))


def _blocked(connection: duckdb.DuckDBPyConnection, asked: Asked, aside: Iterable[Tie]) -> str | None:
    """Why an id is nobody's, as far as that is known; None where it is not blocked."""
    if asked.status != "blocked":
        return None
    for rule in doubts.rules(connection):
        if rule["action"] == "block" and (rule["type_a"], rule["id_a"]) == asked.id:
            return "blocked by a rule" + (f": {rule['reason']}" if rule["reason"] else "")
    start = " ".join(asked.id) + ": "
    reasons = (tie["reason"] for tie in aside if tie["status"] == "blocked")
    return next(
        (reason.removeprefix(start) for reason in reasons if reason.startswith(start)), "such a value names nobody"
    )


def _shown(asked: Asked) -> dict[str, Any]:
    return {**_id(asked.id), "status": asked.status, **asked.row, "person_id": asked.person_id}


def _id(id_: Id) -> dict[str, str]:
    return {"id_type": id_[0], "id": id_[1]}


def _counted(rows: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], int]:
    """The rows without their number, and how many there are beside them."""
    every = [row.pop("every") for row in rows]
    return rows, every[0] - len(rows) if rows else 0


def _rows(connection: duckdb.DuckDBPyConnection, sql: str, **given: Any) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = connection.sql(sql, params=given).to_arrow_table().to_pylist()
    return rows


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, Mapping):
        return {name: _plain(each) for name, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, list) else value
