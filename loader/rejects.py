"""`loader rejects list` and `export`: the open rejects by reason and file, and their lines to be mended."""

from dataclasses import dataclass
from typing import Any, BinaryIO

import duckdb
import pyarrow as pa

from loader.open_rejects import CUT, NAME, Chosen
from loader.text import many, number, table

_BATCH = 2_048  # rows, each of at most 1 MiB: Arrow's texts hold 2 GiB
_TABLES = ("loader.rejects", "loader.files")


def _one_line(text: str) -> str:
    return f"regexp_replace({text}, '[\\x00-\\x1f\\x7f]', ' ', 'g')"


def by_reason(connection: duckdb.DuckDBPyConnection, chosen: Chosen) -> list[dict[str, Any]]:
    """The open rejects by reason and file, most first: their number, and of the first its place and detail."""
    rows = connection.execute(
        f"""
        SELECT reason, uri AS file, count(*) AS rejects, min(loader_line) AS line,
            arg_min(loader_element, (loader_line, loader_element)) AS element,
            arg_min(detail, (loader_line, loader_element)) AS detail
        FROM ({chosen.sql(*_TABLES)}) GROUP BY reason, uri ORDER BY rejects DESC, reason, file
        """,
        chosen.parameters,
    )
    names = ("reason", "file", "rejects", "line", "element", "detail")
    return [dict(zip(names, row, strict=True)) for row in rows.fetchall()]


def write_list(found: list[dict[str, Any]]) -> str:
    """The same as a table."""
    rows = [
        [
            each["reason"],
            number(each["rejects"]),
            each["file"],
            str(each["line"]) + (f", element {each['element']}" if each["element"] is not None else ""),
            each["detail"],
        ]
        for each in found
    ]
    return table(["reason", "rejects", "file", "first line", "what"], rows, [1])


@dataclass(frozen=True, slots=True)
class Exported:
    """How many rejects an export has, and how many of them without their line, of which only the beginning is kept."""

    rejects: int
    cut: int


def count(connection: duckdb.DuckDBPyConnection, chosen: Chosen) -> Exported:
    """What an export would have."""
    sql = f"SELECT count(*), count(*) FILTER ({CUT}) FROM ({chosen.sql(*_TABLES)})"
    return Exported(*connection.execute(sql, chosen.parameters).fetchall()[0])


def export(connection: duckdb.DuckDBPyConnection, chosen: Chosen, there: Exported, to: BinaryIO, name: str) -> None:
    """Writes the lines of the open rejects, above each a line that names it. name: what the user calls the file."""
    to.write(
        f"# {many(there.rejects, 'reject')}. Mend the lines, leave the line '# reject ...' above each as it is, then: "
        f"loader rejects replay {name}\n"
        "# What is deleted or left as it is stays a reject. One line may become several, below each other.\n".encode()
    )
    place = "' line ' || loader_line || coalesce(' element ' || loader_element, '')"
    rows = connection.sql(
        f"""
        SELECT '# reject ' || {NAME} || ' ' || reason || ', ' || {_one_line("uri")} || {place} || ': '
            || {_one_line("detail")} || chr(10) || CASE WHEN {CUT}
                THEN '# Only its beginning is kept: put the whole line, mended, in place of this one.' ELSE raw END
            || chr(10) AS text
        FROM ({chosen.sql(*_TABLES)}) ORDER BY loader_file_id, loader_line, loader_element
        """,
        params=chosen.parameters,
    )
    for batch in rows.to_arrow_reader(_BATCH):
        to.write(_bytes(batch.column(0)))
    to.flush()


def _bytes(texts: pa.Array) -> memoryview:
    """Texts one after the other, as they lie in memory."""
    texts = texts.cast(pa.large_string())
    _, offsets, data = texts.buffers()
    ends = memoryview(offsets).cast("q")
    return memoryview(data)[ends[texts.offset] : ends[texts.offset + len(texts)]] if data else memoryview(b"")
