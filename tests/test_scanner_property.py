"""The scanner and the engine make the same of a line: of any lines, all that a load knows of them is equal."""

import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest import mock

import duckdb
import pyarrow as pa
import pytest

import loader
from loader import compiled, pipeline, scanner, split
from loader.db import connect
from loader.leaf_sql import OWN_PARTS, PLAIN_CLASS
from loader.records import FileRead, SourceFile
from tests import event_lines, warehouses

ROOT = Path(__file__).parent.parent
FILE = SourceFile("/events.jsonl", 1, datetime(2024, 5, 10, 12, tzinfo=UTC), None)
STARTED = datetime(2024, 5, 11, tzinfo=UTC)
SAMPLE = 300  # lines that are learnt from
# All columns of an event that say the same, however it was read.
SAME = """pos file_id line element suspect fault is_event call id anonymous_id user_id channel request_ip event group_id
    previous_id name original_timestamp sent_at own_received_at received_at own_timestamp default_sent_at event_table
    odd_call odd_event passed_ip""".split()
OTHERS = "text odd context context_shape props props_shape props_plain user_props user_props_shape user_props_plain"


def batches(lines: Sequence[str | bytes], chance: random.Random) -> Iterator[pa.RecordBatch]:
    """The first lines, and then these."""
    yield event_lines.batch([line + "\n" for line in event_lines.FIRST] * (SAMPLE // len(event_lines.FIRST)))
    at = 0
    while at < len(lines):
        some = lines[at : at + chance.choice([1, 2, 50, 600])]
        yield event_lines.batch(some, SAMPLE + at, chance.choice([0, 1, 7, 8, 9]))
        at += len(some)


class Found:
    """What a load made of lines. context: all that a context says, wherever it is. text, odd: of the event."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, lines: Sequence[str | bytes], scanned: bool):
        given = batches(lines, random.Random(len(lines)))
        real = scanner.Scanner.scan
        self.usual = 0

        def scan(taken: scanner.Scanner, some: pa.RecordBatch) -> scanner.Scanned:
            found = real(taken, some)
            self.usual += found.rows
            return found

        with (
            mock.patch.object(compiled, "is_there", return_value=scanned),
            mock.patch.object(scanner.Scanner, "scan", scan),
            mock.patch.object(split, "SAMPLE_LINES", SAMPLE),
        ):
            self.members = split.split(connection, given, [FileRead(FILE, 1)], STARTED)
        self.rows = connection.execute(
            f"SELECT {', '.join(SAME)}, json(props), json(user_props) FROM item ORDER BY pos"
        ).fetchall()
        self.rejects = connection.execute("FROM reject ORDER BY ALL").fetchall()
        self.counts = split.count(connection)
        self.looked = connection.execute("SELECT text, odd FROM item ORDER BY pos").fetchall()
        self.contexts = self._contexts(connection)
        columns = [name for name, *_ in connection.execute("DESCRIBE item").fetchall()]
        ids = [scanner.index(at) for at in range(len(self.members))]
        assert sorted(columns) == sorted([*SAME, *OTHERS.split(), *ids])

    def _contexts(self, connection: duckdb.DuckDBPyConnection) -> list[Any]:
        rows = connection.execute("SELECT member, id, members_of(context) FROM member").fetchall()
        texts = {(member, id_): said for member, id_, said in rows}
        ids = "".join(f", {scanner.index(at)}" for at in range(len(self.members)))
        found = []
        for rest, *mine in connection.execute(f"SELECT members_of(context){ids} FROM item ORDER BY pos").fetchall():
            known = [texts[at, id_] for at, id_ in enumerate(mine) if id_ is not None]
            found.append(sorted((each["key"], each["value"]) for said in [rest, *known] for each in said or ()))
        return found


def same_shape_same_paths(connection: duckdb.DuckDBPyConnection) -> None:
    parts = " UNION ALL ".join(f"SELECT {part}_shape AS shape, {part} AS doc FROM item" for part in OWN_PARTS)
    contexts = "SELECT context_shape AS shape, context AS doc FROM item UNION ALL SELECT shape, context FROM member"
    for docs in (parts, contexts):
        rows = connection.execute(f"""
            SELECT shape, count(DISTINCT paths), any_value(doc), min(paths), max(paths) FROM (
                SELECT shape, doc, coalesce([(n.fullkey, n.kind) for n in paths_of(doc)]::VARCHAR, '') AS paths
                FROM (SELECT DISTINCT shape, doc FROM ({docs}) WHERE doc IS NOT NULL)
            ) GROUP BY shape HAVING count(DISTINCT paths) > 1 OR shape IS NULL
        """)
        assert rows.fetchall() == []


# The class of a node's value (values.sql).
CLASS = (
    """class_of(CASE n.kind WHEN 'VARCHAR' THEN json_extract_string(n.value, '$') ELSE n.value::VARCHAR END, n.kind)"""
)


def same_kind_same_classes(connection: duckdb.DuckDBPyConnection) -> None:
    """Of texts of members."""
    rows = connection.execute(f"""
        SELECT member, kind, min(context), max(context) FROM (
            SELECT member, kind, context, [(n.fullkey, {CLASS}) for n in nodes_of(context)]::VARCHAR AS classes
            FROM member WHERE kind IS NOT NULL
        ) GROUP BY ALL HAVING count(DISTINCT classes) > 1
    """)
    assert rows.fetchall() == []


def plain_is_what_its_kind_says(connection: duckdb.DuckDBPyConnection) -> None:
    plain = " UNION ALL ".join(f"SELECT DISTINCT {part} AS doc FROM item WHERE {part}_plain" for part in OWN_PARTS)
    rows = connection.execute(f"""
        SELECT doc, n.kind, {CLASS}
        FROM (SELECT doc, unnest(nodes_of(doc)) AS n FROM ({plain})) WHERE n.kind NOT IN ('NULL', 'OBJECT')
    """).fetchall()
    assert [row for row in rows if row[2] != PLAIN_CLASS[row[1]]] == []


def same(lines: Sequence[str | bytes]) -> None:
    with connect(threads=2) as connection:
        ours = Found(connection, lines, True)
        same_shape_same_paths(connection)
        same_kind_same_classes(connection)
        plain_is_what_its_kind_says(connection)
    with connect(threads=2) as connection:
        theirs = Found(connection, lines, False)
    assert ours.members == theirs.members == event_lines.MEMBERS
    assert ours.usual > SAMPLE + len(lines) / 3
    by_pos = {row[0]: row for row in theirs.rows}
    assert [(row, by_pos.get(row[0])) for row in ours.rows if row != by_pos.get(row[0])] == []
    assert len(ours.rows) == len(theirs.rows)
    assert ours.rejects == theirs.rejects
    assert ours.counts == theirs.counts
    pairs = zip(ours.rows, ours.contexts, theirs.contexts, strict=True)
    assert [(row[0] >> 26, mine, other) for row, mine, other in pairs if mine != other] == []
    for (text, odd), (other, other_odd) in zip(ours.looked, theirs.looked, strict=True):
        assert (text, odd) in ((other, other_odd), (None, False))


@pytest.mark.parametrize("number", range(6))
def test_lines_are_the_same_scanned_or_not(number: int) -> None:
    seed = int(os.environ.get("LOADER_SEED", random.randrange(10**6))) + number
    print("seed", seed)
    lines = event_lines.Lines(seed)
    texts = [lines.line() for _ in range(1500)]
    same([*texts, texts[0].rstrip("\n")])


@pytest.mark.long
def test_many_lines_are_the_same_scanned_or_not() -> None:
    first = int(os.environ.get("LOADER_SEED", random.randrange(10**6)))
    for seed in range(first, first + 200):
        print("seed", seed)
        lines = event_lines.Lines(seed)
        same([lines.line() for _ in range(2000)])


def test_most_lines_are_usual_and_many_are_not() -> None:
    """So the tests here are of both."""
    lines = event_lines.Lines(1)
    taken = event_lines.new_scan()(event_lines.batch([lines.line() for _ in range(2000)]))[1]
    assert 1000 < taken.count(True) < 1800


# --- whole loads ------------------------------------------------------------------------------------------------------

LEDGER = {"rejects": "*", "discards": "* EXCLUDE (uuid_ts)", "schema_changes": "*", "files": "*"}


def loaded(folder: Path, source: Path, scanned: bool, **settings: Any) -> dict[str, Any]:
    """All that a load of these files leaves, but for the times of the load."""
    given = {"warehouse": folder / "warehouse", "sources": (str(source),), "threads": 2, **settings}
    with (
        mock.patch.object(compiled, "is_there", return_value=scanned),
        mock.patch.object(split, "SAMPLE_LINES", SAMPLE),
    ):
        report = pipeline.load_only(loader.Settings(**given))
    found: dict[str, Any] = {"report": (report.loaded, report.rejects, report.discards, report.duplicates, report.rows)}
    for name, table in warehouses.tables(folder).items():
        found[name] = list(table.columns.items()), warehouses.filled(table.rows, without=("uuid_ts",))
    for name, columns in LEDGER.items():
        found[f"loader.{name}"] = warehouses.query(folder, f"SELECT {columns} FROM loader.{name} ORDER BY ALL")
    return found


def same_warehouses(folder: Path, source: Path, **settings: Any) -> None:
    ours = loaded(folder / "ours", source, True, **settings)
    theirs = loaded(folder / "theirs", source, False, **settings)
    assert ours.keys() == theirs.keys()
    for name, expected in theirs.items():
        assert ours[name] == expected, name


def test_the_sample_data_is_the_same_with_the_library_and_without(tmp_path: Path) -> None:
    same_warehouses(tmp_path, ROOT / "sample_data" / "events")


def test_a_load_of_any_lines_is_the_same_with_the_library_and_without(tmp_path: Path) -> None:
    seed = int(os.environ.get("LOADER_SEED", random.randrange(10**6)))
    print("seed", seed)
    source = tmp_path / "events.jsonl"
    lines = event_lines.Lines(seed)
    first = [line + "\n" for line in event_lines.FIRST] * (SAMPLE // len(event_lines.FIRST))
    source.write_text("".join([*first, *(lines.line() for _ in range(1500))]), encoding="utf-8")
    same_warehouses(tmp_path, source)


# --- memory -----------------------------------------------------------------------------------------------------------

SANITIZED = [
    "cc",
    "-std=c11",
    "-g",
    "-O1",
    "-fPIC",
    "-shared",
    "-fsanitize=address,undefined",
    "-fno-sanitize-recover=all",
]
# Each array of the scanner's, and each line's data, is then a piece of memory of its own, with a guard at both ends.
CHILD = """
import sys
from pathlib import Path
from loader import compiled, scanner
from tests import event_lines
compiled.LIBRARY = Path(sys.argv[1])
first = int(sys.argv[2])
for scanner._MOST, scanner._BYTES in ((1 << 20, 64 << 20), (400, 64 << 20), (1 << 20, 20_000)):
    print(event_lines.scan_all(range(first, first + 4)))
print(event_lines.scan_full())
"""

needs_compiler = pytest.mark.skipif(
    shutil.which("cc") is None and os.environ.get("LOADER_TEST_ALL") != "1",
    reason="compiles with cc: install it, or make check, or LOADER_TEST_ALL=1",
)


@needs_compiler
def test_only_its_own_memory_is_touched_and_all_builds_take_the_same_lines(tmp_path: Path) -> None:
    seed = os.environ.get("LOADER_SEED", str(random.randrange(10**6)))
    print("seed", seed)
    found = [sanitized(tmp_path, seed, *flags) for flags in ((), ("-U__SSE2__",))]  # without vectors of 16 bytes
    assert found[0] == found[1]
    *usual, full = found[0]
    assert [count > 500 for count in usual] == [True] * 3
    assert full == 20


def sanitized(tmp_path: Path, seed: str, *flags: str, child: str = CHILD) -> list[int]:
    """How many lines a build that watches its memory takes. child: a script that prints these numbers."""
    library = tmp_path / "sanitized.so"
    subprocess.run([*SANITIZED, *flags, "-o", library, ROOT / "loader" / "scanner.c"], check=True)
    runtime = subprocess.run(["cc", "-print-file-name=libasan.so"], check=True, capture_output=True, text=True).stdout
    done = subprocess.run(
        [sys.executable, "-c", child, library, seed],
        cwd=ROOT,
        env={
            **os.environ,
            "LD_PRELOAD": runtime.strip(),
            "ASAN_OPTIONS": "detect_leaks=0",
            "PYTHONMALLOC": "malloc",
            "ARROW_DEFAULT_MEMORY_POOL": "system",
        },
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return [*map(int, done.stdout.split())]
