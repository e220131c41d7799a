"""Connected components by contraction: those that a union-find gives, and one recursive statement, on any graph."""

import random
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from itertools import pairwise

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loader import contract
from tests import identity_reference

Edges = Sequence[tuple[int, int]]

# Who points to whom is kept for each vertex, and improved by what the neighbours' targets point to (FastSV), until
# nothing is. A root is the smallest vertex then.
RECURSIVE = """
    WITH RECURSIVE tie AS (
        SELECT a, b FROM pair UNION SELECT b, a FROM pair
    ), found (vertex, root) USING KEY (vertex) AS (
        SELECT vertex, vertex FROM vertex
        UNION ALL
        SELECT old.vertex, min(better.root) AS root
        FROM (
            SELECT mine.root AS vertex, next.root FROM tie
            JOIN recurring.found AS mine ON mine.vertex = tie.a JOIN recurring.found AS other ON other.vertex = tie.b
            JOIN recurring.found AS next ON next.vertex = other.root
            UNION ALL
            SELECT tie.a, next.root FROM tie JOIN recurring.found AS other ON other.vertex = tie.b
            JOIN recurring.found AS next ON next.vertex = other.root
            UNION ALL
            SELECT mine.vertex, next.root FROM recurring.found AS mine
            JOIN recurring.found AS next ON next.vertex = mine.root
        ) AS better JOIN recurring.found AS old ON old.vertex = better.vertex
        GROUP BY old.vertex, old.root HAVING min(better.root) < old.root
    )
    SELECT vertex, root FROM found
"""


def connection_with(vertices: Iterable[int], edges: Edges) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    connection.register("vertex", pa.table({"vertex": pa.array(list(vertices), pa.int64())}))
    ends = {name: pa.array([edge[at] for edge in edges], pa.int64()) for at, name in enumerate("ab")}
    connection.register("pair", pa.table(ends))
    return connection


def contracted(vertices: Iterable[int], edges: Edges) -> dict[int, int]:
    with connection_with(vertices, edges) as connection:
        contract.components(connection)
        rows = connection.execute("SELECT vertex, root FROM component").fetchall()
    assert len(dict(rows)) == len(rows)
    return dict(rows)


def groups(roots: Mapping[int, Hashable]) -> set[frozenset[int]]:
    """The vertices that have one root, whatever that is."""
    found = defaultdict(set)
    for vertex, root in roots.items():
        found[root].add(vertex)
    return {frozenset(group) for group in found.values()}


def same_as_the_union_find(vertices: Sequence[int], edges: Edges) -> None:
    found = contracted(vertices, edges)
    assert found.keys() == set(vertices)
    assert all(found[root] == root for root in found.values())
    assert groups(found) == groups(identity_reference.components(vertices, edges))


some_vertices = st.integers(-3, 25)
graphs = st.tuples(
    st.sets(some_vertices, max_size=10), st.lists(st.tuples(some_vertices, some_vertices), max_size=40)
).map(lambda graph: (sorted(graph[0].union(*graph[1])), graph[1]))


@settings(max_examples=60, deadline=None)
@given(graphs)
def test_any_graph(graph: tuple[list[int], list[tuple[int, int]]]) -> None:
    """Loops, edges there and back, edges twice, vertices without any."""
    same_as_the_union_find(*graph)


@settings(max_examples=20, deadline=None)
@given(graphs)
def test_one_statement_says_the_same(graph: tuple[list[int], list[tuple[int, int]]]) -> None:
    vertices, edges = graph
    with connection_with(vertices, edges) as connection:
        roots = dict(connection.execute(RECURSIVE).fetchall())
    assert groups(roots) == groups(contracted(vertices, edges))
    assert all(root == min(group) for group in groups(roots) for root in {roots[vertex] for vertex in group})


@pytest.mark.parametrize("how", ["in order", "backwards", "shuffled"])
@pytest.mark.parametrize("count", [2, 3, 1000, 100_000])
def test_chains(how: str, count: int) -> None:
    """As long as it likes: label propagation would need a round for each of its edges."""
    names = list(range(count))
    if how == "shuffled":
        random.Random(count).shuffle(names)
    elif how == "backwards":
        names.reverse()
    edges = list(pairwise(names))
    found = contracted(names, edges)
    assert (len(found), len(set(found.values()))) == (count, 1)


def test_a_chain_that_is_cut() -> None:
    names = random.Random(7).sample(range(30_000), 30_000)
    edges = [edge for at, edge in enumerate(pairwise(names)) if at % 1000]
    same_as_the_union_find(names, edges)


@pytest.mark.parametrize("middle", [0, 50_000, 99_999])
def test_stars(middle: int) -> None:
    edges = [(middle, each) if each % 2 else (each, middle) for each in range(100_000) if each != middle]
    found = contracted(range(100_000), edges)
    assert (len(found), len(set(found.values()))) == (100_000, 1)


def test_circles_and_stars_beside_each_other() -> None:
    circles = [(first + at, first + (at + 1) % 7) for first in range(0, 700, 7) for at in range(7)]
    stars = [(700, at) for at in range(701, 900)] + [(900, at) for at in range(901, 1100)]
    same_as_the_union_find(range(1200), circles + stars)


def test_nothing_to_put_together() -> None:
    assert contracted([], []) == {}
    assert contracted([4, 2], []) == {4: 4, 2: 2}


def test_nothing_but_the_components_is_left() -> None:
    with connection_with([1, 2], [(1, 2)]) as connection:
        contract.components(connection)
        tables = connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()
        assert tables == [("component",)]
