"""`loader discards list`: the values that found no cell, by table, column and reason, each with an example."""

from typing import Any

import duckdb

from loader.text import number, table

_EXAMPLE = 40  # columns of a terminal that an example may take
_GROUPS = """
    SELECT table_name, column_name, reason, count(*) AS count,
        arg_min(struct_pack(value := column_value, file := uri, line := loader_line, element := loader_element),
            (d.load_id, loader_file_id, loader_line, coalesce(loader_element, -1))) AS example
    FROM loader.discards d LEFT JOIN (SELECT file_id, uri FROM loader.files) ON file_id = loader_file_id
    WHERE replayed_by IS NULL GROUP BY ALL ORDER BY count(*) DESC, table_name, column_name, reason
"""


def gather(connection: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
    """The discards that were not replayed: table, column, reason, values (their number), and of the first one its value
    as JSON text, file (uri), line, element. Most first."""
    return [
        {"table": name, "column": column, "reason": reason, "values": count, **example}
        for name, column, reason, count, example in connection.execute(_GROUPS).fetchall()
    ]


def write(found: list[dict[str, Any]]) -> str:
    """The groups as aligned columns."""
    if not found:
        return "no discards\n"
    rows = [[e["table"], e["column"], e["reason"], number(e["values"]), e["value"] or ""] for e in found]
    return table(["table", "column", "reason", "values", "first value"], rows, [3], _EXAMPLE)
