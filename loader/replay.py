"""Mended rejects come in as events: which of them are taken, what their lines stand for, how the originals are marked.

A reject is replayed when nothing of its lines is a reject again; until then it stays as it is. So what is not right yet
can be mended on and replayed again: what is in already is left out.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from loader import delta, ledger, read, sources, split, store
from loader.db import connect, literal
from loader.errors import LoaderError, UsageError
from loader.job import Job, Rewritten
from loader.open_rejects import CUT, DIGEST, MARK, Chosen
from loader.publish import view_sql
from loader.records import LINES, FileRead, SourceFile
from loader.settings import Settings
from loader.text import plain

_TOLD = 10  # lines that are still rejects
_BATCH_ROWS, _BATCH_BYTES = 10_000, 64 << 20  # at most, but for a single row that is larger
_TRIES, _TAKEN = "tries.parquet", "taken.parquet"
_PARQUET = "(FORMAT parquet, ROW_GROUP_SIZE 2048)"  # small: lines may be long
# A line of a mended file belongs to the last mark above it. Lines that begin with # and blank ones are no events.
_GIVEN = r"""
    CREATE TABLE mark AS
    SELECT line, text, try_cast(m.file AS BIGINT) AS file_id, try_cast(m.line AS BIGINT) AS loader_line,
        try_cast(m.element AS BIGINT) AS element, m.digest
    FROM (SELECT line, text, regexp_extract(text, $mark, ['file', 'line', 'element', 'digest']) AS m
        FROM given WHERE starts_with(text, '# reject '))
"""
# Of lines and of rejects, in the order of these.
_NUMBERS = """row_number() OVER (ORDER BY file_id, loader_line, element, at_line) AS key,
    dense_rank() OVER (ORDER BY file_id, loader_line, element) AS reject"""


@dataclass(frozen=True, slots=True)
class Request:
    """What to replay: the mended lines of a file (`-`: stdin), or where that is None the chosen rejects as they are."""

    path: str | None
    chosen: Chosen = field(default_factory=Chosen)


@dataclass(slots=True)
class Replay:
    """The mended lines that are events now, by the files that their rejects are of. folder: where the lines lie.

    rejects: that are replayed; before: that were already. unchanged: lines of the file that are as they were. left_out:
    rejects that cannot be tried as they are, since their text is not whole. stay: those that are still no events, by
    reason; told: the first of them, in words. marked: rejects of the ledger that had a `replayed_by` before. longest:
    bytes of the longest line.
    """

    folder: Path
    rejects: int = 0
    before: int = 0
    unchanged: int = 0
    left_out: int = 0
    stay: dict[str, int] = field(default_factory=dict)
    told: list[str] = field(default_factory=list)
    files: list[SourceFile] = field(default_factory=list)
    lines_of: list[int] = field(default_factory=list)
    bytes_of: list[int] = field(default_factory=list)
    marked: int = 0
    longest: int = 0

    def to_dict(self) -> dict[str, Any]:
        """What was replayed and what not, as plain JSON values."""
        return {
            "rejects": self.rejects,
            "before": self.before,
            "unchanged": self.unchanged,
            "left_out": self.left_out,
            "stay": self.stay,
        }

    def lines(self, reads: Sequence[FileRead]) -> Iterator[pa.RecordBatch]:
        """The lines as batches of `LINES`, to be read as `reads` (one for each of `files`), whose counts it fills in.

        Their `line` is a number of their own, from 1, until `place`.
        """
        for each, lines, size in zip(reads, self.lines_of, self.bytes_of, strict=True):
            each.lines, each.bytes = lines, size
        return _lines(self.folder / _TAKEN, reads[0].file_id, self.longest)

    def place(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Gives the events in `item` the line and element of their reject.

        Where a line became several events these are its elements, in order.
        """
        connection.execute(f"""
            CREATE TEMP TABLE placed AS
            SELECT i.pos, t.loader_line AS line, CASE WHEN count(*) OVER whole = 1 AND i.element IS NULL THEN t.element
                ELSE row_number() OVER (whole ORDER BY i.pos) - 1 END AS element
            FROM item i JOIN {self._taken} t ON t.key = i.line WINDOW whole AS (PARTITION BY t.reject)
        """)
        connection.execute("UPDATE item SET line = p.line, element = p.element FROM placed p WHERE p.pos = item.pos")

    def rewritten(self, job: Job) -> Rewritten:
        """All rejects of before as they are to be: those replayed say by which load."""
        root = job.settings.warehouse / ledger.folder("rejects")
        rows = sum(file.rows for file in delta.snapshot(root).files)
        sql = f"""
            SELECT r.* REPLACE (CASE WHEN t.digest IS NULL THEN r.replayed_by ELSE {job.load_id} END AS replayed_by)
            FROM ({_ledger(job.settings.warehouse, "rejects")}) r
            LEFT JOIN (SELECT DISTINCT file_id, loader_line, element, digest FROM {self._taken}) t
                ON t.file_id = r.loader_file_id AND t.loader_line = r.loader_line
                AND t.element IS NOT DISTINCT FROM r.loader_element AND t.digest = {DIGEST}
        """
        return Rewritten(sql, rows, {"replayed_by": self.marked + self.rejects})

    @property
    def _taken(self) -> str:
        return f"read_parquet({literal(str(self.folder / _TAKEN))})"


def prepare(settings: Settings, request: Request, started: datetime) -> Replay:
    """Finds out which rejects are events now. LoaderError where a file cannot be what it says: mended rejects."""
    folder = store.spill_folder(settings.warehouse) / "replay"
    folder.mkdir(parents=True, exist_ok=True)
    replay = Replay(folder)
    with connect(settings.engine_memory, settings.threads, folder.parent) as connection:
        for name in ("rejects", "files"):
            connection.execute(f"CREATE TEMP VIEW ledger_{name} AS {_ledger(settings.warehouse, name)}")
        replay.marked = connection.execute("SELECT count(replayed_by) FROM ledger_rejects").fetchall()[0][0]
        if request.path is None:
            _as_they_are(connection, settings, request.chosen, replay)
        else:
            _mended(connection, settings, request.path, started, replay)
        _try(connection, started, replay)
        _take(connection, replay)
        _tell(connection, request.path, replay)
    return replay


def _ledger(warehouse: Path, table: str) -> str:
    root = warehouse / ledger.folder(table)
    if not delta.exists(root):
        raise LoaderError(f"{warehouse}: nothing is loaded yet, so there are no rejects.")
    snapshot = delta.snapshot(root)
    return view_sql(snapshot.columns, [file.path for file in snapshot.files], partitioned=False)


# --- what is to be tried: `tried`, a row a line, with numbers of these (`key`) and of their rejects (`reject`) --------


def _as_they_are(connection: duckdb.DuckDBPyConnection, settings: Settings, chosen: Chosen, replay: Replay) -> None:
    """The chosen rejects whose text is the line as it was."""
    whole = f"NOT {CUT} AND reason <> 'invalid_utf8'"
    connection.execute(
        f"""
        CREATE TABLE tried AS SELECT *, {_NUMBERS} FROM (
        SELECT loader_file_id AS file_id, loader_line, loader_element AS element, {DIGEST} AS digest,
            0::BIGINT AS at_line, raw AS text, CASE WHEN strlen(raw) > $most THEN 'line_too_long' END AS fault
        FROM ({chosen.sql("ledger_rejects", "ledger_files")}) WHERE {whole})
        """,
        {**chosen.parameters, "most": settings.max_line_bytes},
    )
    replay.left_out = connection.execute(
        f"SELECT count(*) FROM ({chosen.sql('ledger_rejects', 'ledger_files')}) WHERE NOT ({whole})", chosen.parameters
    ).fetchall()[0][0]


def _mended(
    connection: duckdb.DuckDBPyConnection, settings: Settings, path: str, started: datetime, replay: Replay
) -> None:
    """The lines of a file of mended lines that are not as they were, each with the reject that it is to replace."""
    _read(connection, settings, path, started)
    shown = plain(path)
    connection.execute(_GIVEN, {"mark": MARK})
    if bad := connection.execute(
        "SELECT line, text[:80] FROM mark WHERE file_id IS NULL ORDER BY line LIMIT 1"
    ).fetchall():
        ((line, text),) = bad
        raise LoaderError(
            f"{shown}:{line}: this line is to name a reject and does not: {plain(text)}. Export it again."
        )
    connection.execute("""
        CREATE TABLE line AS
        SELECT g.line AS at_line, g.text, g.fault, m.line AS mark_line, m.file_id, m.loader_line,
            m.element, m.digest
        FROM (FROM given WHERE NOT starts_with(text, '#') AND trim(text, ' ' || chr(9) || chr(13)) <> '') g
        ASOF LEFT JOIN mark m ON g.line >= m.line
    """)
    first = connection.execute("SELECT min(at_line) FROM line WHERE mark_line IS NULL").fetchall()[0][0]
    if first is not None:
        raise LoaderError(
            f"{shown}:{first}: there is no line '# reject ...' above this one, so it mends nothing. Take a file that "
            "loader rejects export wrote; other events are loaded with loader load."
        )
    connection.execute(f"""
        CREATE TABLE known AS
        SELECT loader_file_id AS file_id, loader_line, loader_element AS element, {DIGEST} AS digest, raw, replayed_by
        FROM ledger_rejects SEMI JOIN (SELECT DISTINCT file_id AS loader_file_id FROM line) USING (loader_file_id)
    """)
    same = """l.file_id = k.file_id AND l.loader_line = k.loader_line AND l.element IS NOT DISTINCT FROM k.element
        AND l.digest = k.digest"""
    line = connection.execute(f"SELECT min(mark_line) FROM line l ANTI JOIN known k ON {same}").fetchall()[0][0]
    if line is not None:
        raise LoaderError(
            f"{shown}:{line}: {settings.warehouse} has no such reject. Is this file from another warehouse, or was the "
            "line changed? Export it again."
        )
    replay.before, replay.unchanged = connection.execute(f"""
        SELECT count(DISTINCT (l.file_id, l.loader_line, l.element)) FILTER (k.replayed_by IS NOT NULL),
            count(*) FILTER (k.replayed_by IS NULL AND l.text = k.raw)
        FROM line l JOIN known k ON {same}
    """).fetchall()[0]
    connection.execute(f"""
        CREATE TABLE tried AS SELECT *, {_NUMBERS}
        FROM (SELECT l.* EXCLUDE (mark_line) FROM line l JOIN known k ON {same}
            WHERE k.replayed_by IS NULL AND l.text <> k.raw)
    """)
    for table in ("given", "mark", "line", "known"):  # they hold all the text, too
        connection.execute(f"DROP TABLE {table}")


def _read(connection: duckdb.DuckDBPyConnection, settings: Settings, path: str, started: datetime) -> None:
    """The lines of the file, without their ends, as `given`."""
    empty: dict[str, str] = {}
    found = list(sources.find(replace(settings, sources=(path,), source=None, since=None), started, empty))
    sources.refuse_empty(empty, ())
    if len(found) != 1:
        raise UsageError(f"{plain(path)}: give one file of mended lines.")
    file = FileRead(found[0], 0)
    lines = read.lines([file], settings.max_line_bytes, buckets=settings.storage)
    connection.register("batch", pa.RecordBatchReader.from_batches(LINES, lines))
    connection.execute("CREATE TABLE given AS SELECT line, rtrim(text, chr(10) || chr(13)) AS text, fault FROM batch")
    connection.unregister("batch")
    if file.error is not None:
        raise LoaderError(f"{plain(path)}: {file.error}")


# --- what of it is taken ---------------------------------------------------------------------------------------------


def _try(connection: duckdb.DuckDBPyConnection, started: datetime, replay: Replay) -> None:
    """Splits the lines as a load does. `stays`: the lines for which their reject stays, with why."""
    tries = replay.folder / _TRIES
    ((replay.longest,),) = connection.execute("SELECT coalesce(max(strlen(text)), 0) FROM tried").fetchall()
    connection.execute(f"COPY (SELECT key, text, fault, 1 AS file FROM tried) TO {literal(str(tries))} {_PARQUET}")
    unnamed = FileRead(SourceFile("", None, started, None), 1)
    split.split(connection, _lines(tries, 1, replay.longest), [unnamed], started)
    connection.execute("""
        CREATE TABLE stays AS
        SELECT n.reject, n.at_line, r.reason, r.detail FROM reject r JOIN tried n ON n.key = r.line
        UNION ALL
        SELECT n.reject, min(n.at_line), 'bad_batch', 'an element of a batch is one event, these are ' || count(*)
        FROM item i JOIN tried n ON n.key = i.line WHERE n.element IS NOT NULL
        GROUP BY n.reject HAVING count(*) > 1
    """)


def _take(connection: duckdb.DuckDBPyConnection, replay: Replay) -> None:
    connection.execute(f"""
        COPY (SELECT *, dense_rank() OVER (ORDER BY file_id) AS file FROM tried ANTI JOIN stays USING (reject))
        TO {literal(str(replay.folder / _TAKEN))} {_PARQUET}
    """)
    (replay.folder / _TRIES).unlink()
    rows = connection.execute(f"""
        SELECT f.uri, f.modified, f.source, count(*), sum(strlen(t.text) + 1)::BIGINT, count(DISTINCT t.reject)
        FROM {replay._taken} t JOIN ledger_files f ON f.file_id = t.file_id
        GROUP BY t.file, f.uri, f.modified, f.source ORDER BY t.file
    """).fetchall()
    for uri, modified, source, lines, size, rejects in rows:
        replay.files.append(SourceFile(uri, None, modified, source))
        replay.lines_of.append(lines)
        replay.bytes_of.append(size)
        replay.rejects += rejects


def _tell(connection: duckdb.DuckDBPyConnection, path: str | None, replay: Replay) -> None:
    """What is still no event; of a mended file, in which lines."""
    reasons = "SELECT arg_min(reason, at_line) AS reason FROM stays GROUP BY reject"
    replay.stay = dict(connection.execute(f"SELECT reason, count(*) FROM ({reasons}) GROUP BY reason").fetchall())
    if path is None:
        return
    rows = connection.execute(f"SELECT at_line, reason, detail FROM stays ORDER BY ALL LIMIT {_TOLD}").fetchall()
    replay.told = [f"{plain(path)}:{line}: {reason}: {plain(detail)}" for line, reason, detail in rows]


def _lines(path: Path, first_file: int, longest: int) -> Iterator[pa.RecordBatch]:
    """The lines in a Parquet file as batches of `LINES`, without their ends; `file` counts on from the first file."""
    import pyarrow.compute as pc  # both take a while, and every load would wait for them
    import pyarrow.parquet as pq

    rows = max(min(_BATCH_ROWS, _BATCH_BYTES // max(longest, 1)), 1)
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(rows, columns=["file", "key", "text", "fault"]):
            number, key, text, fault = (batch.column(name) for name in ("file", "key", "text", "fault"))
            columns = [pc.add(number, first_file - 1), pc.subtract(key, 1), key, text, fault]
            yield pa.record_batch(
                [column.cast(field.type) for column, field in zip(columns, LINES, strict=True)], schema=LINES
            )
