"""Which ids are one person: connected components, put together by contraction (identity.md, "Algorithm").

Every vertex points at its smallest neighbour, pointers are followed until they are flat, edges are drawn between the
roots, and so on: at most log2(n) rounds of log2(n) steps, in linear space, whatever the graph looks like.
"""

import duckdb

from loader import models

FOLDER = "identity/contract"


def components(connection: duckdb.DuckDBPyConnection) -> None:
    """Makes `component` (vertex, root) of `vertex` (vertex) and `pair` (a, b): one row a vertex.

    Two vertices have one root if edges lead from one to the other.
    """
    steps = {path.stem: models.read(path) for path in (models.folder() / FOLDER).glob("*.sql")}
    connection.execute("CREATE OR REPLACE TEMP TABLE component AS SELECT vertex, vertex AS root FROM vertex")
    connection.execute("CREATE OR REPLACE TEMP TABLE edge AS SELECT a, b FROM pair")
    while _any(connection, "edge"):
        models.run(connection, steps["point"])
        moved = True
        while moved:
            models.run(connection, steps["jump"])
            moved = _any(connection, "pointer_next WHERE moved")
            connection.execute("CREATE OR REPLACE TEMP TABLE pointer AS SELECT vertex, root FROM pointer_next")
        models.run(connection, steps["follow"])
        connection.execute("CREATE OR REPLACE TEMP TABLE component AS FROM component_next")
        models.run(connection, steps["shrink"])
        connection.execute("CREATE OR REPLACE TEMP TABLE edge AS FROM edge_next")
    for name in ("pointer", "pointer_next", "edge_next", "component_next", "edge"):
        connection.execute(f"DROP TABLE IF EXISTS {name}")


def _any(connection: duckdb.DuckDBPyConnection, rows: str) -> bool:
    return bool(connection.execute(f"SELECT 1 FROM {rows} LIMIT 1").fetchall())
