"""The golden cases in `cases/`: a few events and all that comes of them, each loaded three times over.

A case says in `#` lines which rule it shows, then has its settings as JSON, its files, and after `--- expect` the
warehouse. `--- load TIME` begins a load and its first file, `--- file TIME` a further file of the same load; the time
is when the file was last modified. In what is expected, `== table: column TYPE, …` names the columns beyond the rule
columns, and a row has its file, line and element in front, then its filled cells but for `uuid_ts` and `received_date`.

`LOADER_UPDATE_CASES=1 pytest tests/test_cases.py` writes what is found into the cases, to be read line by line.
"""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

import loader
from loader import pipeline
from tests import warehouses

FOLDER = Path(__file__).parent / "cases"
EXPECT = "--- expect\n"

LINEAGE = ("loader_file_id", "loader_line", "loader_element")
RULE_COLUMNS = {
    **dict.fromkeys(("id", "anonymous_id", "user_id", "channel"), "VARCHAR"),
    **dict.fromkeys(("timestamp", "original_timestamp", "sent_at", "received_at"), "TIMESTAMPTZ"),
    "received_date": "DATE",
    **dict.fromkeys(("context_ip", "context_request_ip", "context_passed_ip"), "VARCHAR"),
    "uuid_ts": "TIMESTAMPTZ",
    **dict.fromkeys(LINEAGE, "BIGINT"),
}
RULE_COLUMNS_OF = {
    "identifies": (),
    "pages": ("name",),
    "screens": ("name",),
    "groups": ("group_id",),
    "aliases": ("previous_id",),
    "resets": (),
}


@dataclass(frozen=True)
class Case:
    """A case as its file has it. loads: of each load, the files' times and contents."""

    head: str
    settings: dict[str, Any]
    loads: list[list[tuple[datetime, bytes]]]
    expected: str

    @property
    def identifies(self) -> bool:
        """Whether it is about `users` as well, which resolving makes."""
        return any(b"identify" in content.lower() for files in self.loads for _, content in files)


def read(path: Path) -> Case:
    head, _, expected = path.read_text(encoding="utf-8").partition(EXPECT)
    before, *files = head.split("\n--- ")
    settings = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in json.loads(before.splitlines()[-1]).items()
    }
    loads: list[list[tuple[datetime, bytes]]] = []
    for file in files:
        marker, _, content = file.partition("\n")
        word, _, time = marker.partition(" ")
        if word == "load":
            loads.append([])
        else:
            assert word == "file", marker
        loads[-1].append((datetime.fromisoformat(time), (content.removesuffix("\n") + "\n").encode()))
    return Case(head, settings, loads, expected)


def write_file(path: Path, content: bytes, modified: datetime) -> str:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    os.utime(path, (modified.timestamp(), modified.timestamp()))
    return str(path)


def run(folder: Path, sources: Iterable[str], case: Case) -> loader.Report:
    settings = loader.Settings(warehouse=folder / "warehouse", sources=tuple(sources), threads=1, **case.settings)
    return loader.run(settings) if case.identifies else pipeline.load_only(settings)


def shown(value: Any) -> Any:
    """A cell as a JSON value: an instant with as much of its fraction as it has."""
    if isinstance(value, datetime):
        fraction = (
            "seconds" if not value.microsecond else "microseconds" if value.microsecond % 1000 else "milliseconds"
        )
        return value.astimezone(UTC).replace(tzinfo=None).isoformat(timespec=fraction) + "Z"
    return value


def line_of(row: Mapping[str, Any]) -> str:
    place = ":".join(str(row[name]) for name in LINEAGE if row.get(name) is not None)
    cells = [
        f"{json.dumps(name, ensure_ascii=False)}: {json.dumps(shown(value), ensure_ascii=False)}"
        for name, value in row.items()
        if value is not None and name not in (*LINEAGE, "uuid_ts", "received_date")
    ]
    return folded(f"{place} {{".lstrip(), cells, "}")


def folded(start: str, parts: Sequence[str], end: str = "") -> str:
    """The parts with commas between, in lines of 120 characters; those after the first begin with spaces."""
    lines = [start]
    for at, part in enumerate(parts):
        part += end if at == len(parts) - 1 else ", "
        if len(lines[-1] + part.rstrip()) > 120:
            lines.append("    ")
        lines[-1] += part
    return "\n".join(line.rstrip() for line in lines)


def rule_columns(table: str, settings: Mapping[str, Any]) -> dict[str, str]:
    """The columns that a table has by the rules alone."""
    own = dict.fromkeys(RULE_COLUMNS_OF.get(table, ("event", "event_text")), "VARCHAR")
    full = {"rudder_event": "JSON"} if settings.get("store_full_event") else {}
    match table:
        case "other_events":
            return {**RULE_COLUMNS, **own, "properties": "JSON"}
        case "users":
            return {
                name: type_ for name, type_ in {**RULE_COLUMNS, **full}.items() if name not in ("user_id", *LINEAGE)
            }
    return {**RULE_COLUMNS, **own, **(full if table in warehouses.CALL_TABLES else {})}


@dataclass(frozen=True)
class Found:
    """What is published. text: as a case has it. schema: the changes of the schema, and the discards."""

    text: str
    tables: dict[str, warehouses.Table]
    schema: list[Any]


def look(folder: Path, settings: Mapping[str, Any]) -> Found:
    with warehouses.opened(folder) as connection:
        tables = warehouses.tables_of(connection)
        schema = connection.execute("FROM loader.schema_changes UNION ALL BY NAME FROM loader.discards ORDER BY ALL")
        return Found(text_of(connection, settings, tables), tables, schema.fetchall())


def text_of(
    connection: duckdb.DuckDBPyConnection, settings: Mapping[str, Any], tables: Mapping[str, warehouses.Table]
) -> str:
    """The warehouse as a case has it. Call tables without rows are left out: they have their rule columns, no more."""
    lines = []
    for name, table in sorted(tables.items(), key=lambda item: (item[0] not in warehouses.CALL_TABLES, item[0])):
        rules = rule_columns(name, settings)
        assert rules.items() <= table.columns.items()
        others = [f"{column} {type_}" for column, type_ in table.columns.items() if column not in rules]
        for row in table.rows:
            assert row["received_date"] == row["received_at"].astimezone(UTC).date()
        if table.rows or others:
            lines += [folded(f"== {name}: ", others) if others else f"== {name}"]
            lines += [line_of(row) for row in table.rows]
    for name, columns in (
        ("files", "file_id AS loader_file_id, lines, blank, items, loaded, duplicates, rejected"),
        ("rejects", "loader_file_id, loader_line, loader_element, reason, detail, raw"),
        ("discards", "* EXCLUDE (load_id, uuid_ts, replayed_by)"),
    ):
        result = connection.execute(f"SELECT {columns} FROM loader.{name} ORDER BY ALL")
        names = [column for column, *_ in result.description]
        rows = [dict(zip(names, row, strict=True)) for row in result.fetchall()]
        rows.sort(key=lambda row: [row.get(place) or 0 for place in LINEAGE])
        lines += [f"== {name}"] * bool(rows) + [line_of(row) for row in rows]
    return "".join(line + "\n" for line in lines)


def published_file(folder: Path) -> tuple[int, int]:
    """Which file it is, and since when it is as it is."""
    status = (folder / "warehouse" / "warehouse.duckdb").stat()
    return status.st_ino, status.st_mtime_ns


@pytest.mark.parametrize(
    "path",
    sorted(FOLDER.glob("*.case")),
    ids=lambda path: path.stem,
)
def test_case(path: Path, tmp_path: Path) -> None:
    case = read(path)
    began = datetime.now(UTC)
    sources: list[tuple[str, datetime]] = []
    for files in case.loads:
        new = [
            (write_file(tmp_path / "in" / f"{len(sources) + at}.jsonl", content, modified), modified)
            for at, (modified, content) in enumerate(files)
        ]
        report = run(tmp_path, [source for source, _ in new], case)
        assert (report.files, report.known_files, len(report.loads)) == (len(new), 0, 1)
        sources += new
    first = look(tmp_path, case.settings)
    if os.environ.get("LOADER_UPDATE_CASES"):
        path.write_text(case.head + EXPECT + first.text, encoding="utf-8")
    else:
        assert first.text == case.expected
    assert first.tables.keys() >= {*warehouses.CALL_TABLES}
    assert ("users" in first.tables) == (case.identifies and not case.settings.get("skip_users_table"))
    for table in first.tables.values():
        assert all(began <= row["uuid_ts"] <= datetime.now(UTC) for row in table.rows)

    # The same files: there is nothing to load, nor to publish.
    before = published_file(tmp_path)
    report = run(tmp_path, [source for source, _ in sources], case)
    assert (report.known_files, report.files, report.loads, report.items) == (len(sources), 0, [], 0)
    assert published_file(tmp_path) == before

    # The same lines in files that look new: all events are duplicates, and no table changes.
    for source, modified in sources:
        later = (modified + timedelta(seconds=1)).timestamp()
        os.utime(source, (later, later))
    report = run(tmp_path, [source for source, _ in sources], case)
    assert (report.known_files, report.files, report.loaded, report.rows) == (0, len(sources), 0, {})
    assert report.items == report.duplicates + report.rejected
    last = look(tmp_path, case.settings)
    assert (last.tables, last.schema) == (first.tables, first.schema)
