"""The ties between ids, as `identity.edges` has them: those of a person, those that do not count, and where they lead.

A tie that counts is `used`. All others are set aside: blocked, unlinked, capped, shared.
"""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

Id = tuple[str, str]  # its type, and the id: user_id, anonymous_id, or a trait that is opted in

STEPS, MOST = 6, 10_000  # how far ties that don't count are followed: ties, and persons reached by one more of them

_COLUMNS = "kind, type_a, id_a, type_b, id_b, status, reason, events, first_seen, last_seen, first_event_id"
_ORDER = "ORDER BY first_seen, type_a, id_a, type_b, id_b, kind"
_OF_PERSON = f"""
    WITH own AS (SELECT id_type, id FROM identity.map WHERE person_id = $person_id)
    SELECT {_COLUMNS} FROM identity.edges AS e
    WHERE EXISTS (FROM own AS o WHERE o.id_type = e.type_a AND o.id = e.id_a)
        OR EXISTS (FROM own AS o WHERE o.id_type = e.type_b AND o.id = e.id_b) {_ORDER}
"""
_OF_ID = f"""
    SELECT {_COLUMNS} FROM identity.edges
    WHERE (type_a = $id_type AND id_a = $id) OR (type_b = $id_type AND id_b = $id) {_ORDER}
"""
# The ties that don't count of some persons and of ids without one; of those to one target the first. A trait is no id
# of the map: what counts between it and a person is followed, too.
_ASIDE = f"""
    WITH own AS (
        SELECT id_type, id, 'person_id' AS from_type, person_id AS from_id FROM identity.map
        WHERE person_id IN (SELECT unnest($persons))
        UNION ALL SELECT unnest($types), unnest($ids), unnest($types), unnest($ids)
    ), tie AS (
        SELECT {_COLUMNS} FROM identity.edges WHERE status <> 'used' OR type_b NOT IN ('user_id', 'anonymous_id')
    ), reached AS (
        SELECT o.*, t.type_b AS far_type, t.id_b AS far_id, t.*
        FROM tie AS t JOIN own AS o ON o.id_type = t.type_a AND o.id = t.id_a
        UNION ALL
        SELECT o.*, t.type_a, t.id_a, t.* FROM tie AS t JOIN own AS o ON o.id_type = t.type_b AND o.id = t.id_b
    ), placed AS (
        SELECT r.*, CASE WHEN m.person_id IS NULL THEN far_type ELSE 'person_id' END AS to_type,
            coalesce(m.person_id, far_id) AS to_id
        FROM reached AS r LEFT JOIN identity.map AS m ON m.id_type = r.far_type AND m.id = r.far_id
    )
    SELECT from_type, from_id, to_type, to_id, id_type, id, far_type, far_id, {_COLUMNS}
    FROM placed WHERE to_type <> from_type OR to_id <> from_id
    QUALIFY row_number() OVER (PARTITION BY to_type, to_id {_ORDER}) = 1
    {_ORDER} LIMIT $most
"""


@dataclass(frozen=True, slots=True)
class Hop:
    """A tie from one person, or id without a person, to another: from the id `near` to the id `far`."""

    source: Id
    target: Id
    near: Id
    far: Id
    tie: dict[str, Any]

    @property
    def back(self) -> "Hop":
        """The same from the other end."""
        return Hop(self.target, self.source, self.far, self.near, self.tie)


@dataclass(frozen=True, slots=True)
class Branch:
    """An id in a tree: the id above it (None: it is the root), and its ties to that one and others before it."""

    id: Id
    above: Id | None
    ties: list[dict[str, Any]]


class Ties:
    """Ties in the order of the events that made them; rows with the columns of `identity.edges`."""

    def __init__(self, rows: pa.Table) -> None:
        self._rows = rows
        counts = pc.equal(rows["status"], "used").to_numpy()
        self._used = np.flatnonzero(counts)
        self._aside = np.flatnonzero(~counts)

    @property
    def aside(self) -> int:
        """How many do not count."""
        return len(self._aside)

    def first_aside(self, most: int) -> list[dict[str, Any]]:
        """Those that do not count, `most` of them."""
        return self._taken(self._aside[:most])

    def tree(self, root: Id, most: int, deep: int) -> list[Branch]:
        """The ids nearest to the root by ties that count, `most` of them, at most `deep` away; those above before those
        below. Every tie between them is at the later of its two ends."""
        start = self._graph.number(root)
        if start is None:
            return [Branch(root, None, [])]
        above: dict[int, tuple[int, int]] = {start: (start, -1)}
        depth = {start: 0}
        for vertex, (before, tie) in self._graph.walk(start):
            if len(above) == most or depth[before] == deep:
                break
            above[vertex], depth[vertex] = (before, tie), depth[before] + 1
        branches = []
        earlier: set[int] = set()
        for vertex, (before, _) in above.items():
            ties = sorted(
                {tie for other, tie in self._graph.neighbours(vertex) if other in earlier} if earlier else set()
            )
            earlier.add(vertex)
            name = self._graph.name
            branches.append(
                Branch(name(vertex), name(before) if before != vertex else None, self._taken(self._used[ties]))
            )
        return branches

    def path(self, start: Id, goal: Id) -> list[dict[str, Any]] | None:
        """The fewest ties that count from one id to another, in order; None where there is no way."""
        a, b = self._graph.number(start), self._graph.number(goal)
        if start == goal or a is None or b is None:
            return [] if start == goal else None
        above: dict[int, tuple[int, int]] = {}
        for vertex, came in self._graph.walk(a):
            above[vertex] = came
            if vertex == b:
                break
        ties: list[int] = []
        while b != a:
            if b not in above:
                return None
            b, tie = above[b]
            ties.append(tie)
        return self._taken(self._used[ties[::-1]])

    @cached_property
    def _graph(self) -> "_Graph":
        return _Graph(self._rows.take(pa.array(self._used)))

    def _taken(self, rows: Any) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._rows.take(pa.array(rows, pa.int64())).to_pylist()
        return found


class _Graph:
    """Ties as neighbours of numbered ids."""

    def __init__(self, rows: pa.Table) -> None:
        ends = [pc.binary_join_element_wise(rows[f"type_{end}"], rows[f"id_{end}"], ":") for end in "ab"]
        coded = pa.chunked_array([*ends[0].chunks, *ends[1].chunks], pa.string()).combine_chunks().dictionary_encode()
        self._names = coded.dictionary
        vertices = coded.indices.to_numpy()
        ties = rows.num_rows
        order = np.argsort(vertices, kind="stable")
        self._ties = (order % ties if ties else order).tolist()
        self._others = np.concatenate([vertices[ties:], vertices[:ties]])[order].tolist()
        self._starts = np.searchsorted(vertices[order], np.arange(len(self._names) + 1)).tolist()

    def number(self, id_: Id) -> int | None:
        """The number of an id; None where no tie has it."""
        at: int = pc.index(self._names, ":".join(id_)).as_py()
        return at if at >= 0 else None

    def name(self, vertex: int) -> Id:
        type_, _, id_ = self._names[vertex].as_py().partition(":")
        return type_, id_

    def neighbours(self, vertex: int) -> Iterator[tuple[int, int]]:
        """The others that ties lead to, and these, as rows."""
        for at in range(self._starts[vertex], self._starts[vertex + 1]):
            yield self._others[at], self._ties[at]

    def walk(self, start: int) -> Iterator[tuple[int, tuple[int, int]]]:
        """Every other id that can be reached, nearest first, with the one before it and the tie between."""
        seen = {start}
        queue = deque([start])
        while queue:
            before = queue.popleft()
            for vertex, tie in self.neighbours(before):
                if vertex not in seen:
                    seen.add(vertex)
                    queue.append(vertex)
                    yield vertex, (before, tie)


def shown(id_: Id) -> str:
    """An id as a person may type it."""
    return ":".join(id_)


def of_person(connection: duckdb.DuckDBPyConnection, person_id: str) -> Ties:
    """All ties with an end at an id of a person."""
    return Ties(connection.sql(_OF_PERSON, params={"person_id": person_id}).to_arrow_table())


def of_id(connection: duckdb.DuckDBPyConnection, id_: Id) -> Ties:
    """All ties of one id."""
    return Ties(connection.sql(_OF_ID, params={"id_type": id_[0], "id": id_[1]}).to_arrow_table())


def across(connection: duckdb.DuckDBPyConnection, start: Id, goal: Id) -> tuple[list[Hop], bool]:
    """The fewest ties from one person (type `person_id`), or id without one, to another, all but those that count.

    None found: whether it is certain that there are none. They are followed from both ends, `STEPS` ties in all, but
    not on from more than `MOST` persons.
    """
    came: tuple[dict[Id, Hop | None], ...] = ({start: None}, {goal: None})
    ends, steps, going = [[start], [goal]], [0, 0], {0, 1}
    while going and sum(steps) < STEPS:
        side = min(going, key=lambda each: (len(ends[each]), steps[each]))
        hops = _aside(connection, ends[side])
        steps[side] += 1
        if len(hops) > MOST:
            going.remove(side)
            continue
        new = {hop.target: hop for hop in hops if hop.target not in came[side]}
        came[side].update(new)
        if met := next((target for target in new if target in came[1 - side]), None):
            return _way(came[0], met)[::-1] + [hop.back for hop in _way(came[1], met)], True
        if not new:
            return [], True
        ends[side] = list(new)
    return [], False


def _way(came: Mapping[Id, Hop | None], end: Id) -> list[Hop]:
    """The hops back from where one came to."""
    way = []
    while hop := came[end]:
        way.append(hop)
        end = hop.source
    return way


def _aside(connection: duckdb.DuckDBPyConnection, ends: Sequence[Id]) -> list[Hop]:
    others = [end for end in ends if end[0] != "person_id"]
    given = {
        "persons": [id_ for type_, id_ in ends if type_ == "person_id"],
        "types": [type_ for type_, _ in others],
        "ids": [id_ for _, id_ in others],
        "most": MOST + 1,
    }
    rows: list[dict[str, Any]] = connection.sql(_ASIDE, params=given).to_arrow_table().to_pylist()
    pairs = (("from_type", "from_id"), ("to_type", "to_id"), ("id_type", "id"), ("far_type", "far_id"))
    hops = []
    for row in rows:
        source, target, near, far = ((row.pop(type_), row.pop(id_)) for type_, id_ in pairs)
        hops.append(Hop(source, target, near, far, row))
    return hops
