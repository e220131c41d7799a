"""The entry of a load in the ledger: its files, rejects, discards and schema changes, counted and balanced."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb

from loader import books, flatten, ledger, split, store
from loader.calls import OTHER_EVENTS, TRACK
from loader.delta import Commit
from loader.job import FileCounts, Job, Planned, Rewritten
from loader.records import NO_TABLE, FileRead, Target
from loader.report import Report, add
from loader.schema import Column


def write(
    job: Job,
    planned: Sequence[Planned],
    reads: Sequence[FileRead],
    counts: Mapping[int, FileCounts],
    report: Report,
) -> list[Commit]:
    """Writes what the load did into the ledger's tables, `loads` last."""
    job.stage("ledger")
    loaded = dict(job.sql.execute("SELECT loader_file_id, count(*) FROM flat GROUP BY ALL").fetchall())
    books.balance(
        "items of a file",
        {file_id: count.items for file_id, count in counts.items()},
        {file_id: loaded.get(file_id, 0) + c.duplicates + c.rejected for file_id, c in counts.items()},
    )
    rejects = dict(job.sql.execute("SELECT reason, count(*) FROM reject GROUP BY ALL").fetchall())
    lost = dict(job.sql.execute("SELECT reason, count(*) FROM discard GROUP BY ALL").fetchall())
    changes = schema_changes(job, planned)
    rows = {
        "files": ledger.file_rows(
            job.sql, job.load_id, [each for each in reads if each.file_id in counts], counts, loaded
        ),
        "schema_changes": changes,
        "loads": [
            {
                "load_id": job.load_id,
                "started_at": job.started,
                "finished_at": datetime.now(UTC),
                "files": len(counts),
                "bytes": sum(each.bytes for each in reads if each.file_id in counts),
                "items": sum(count.items for count in counts.values()),
                "loaded": sum(loaded.values()),
                "duplicates": sum(count.duplicates for count in counts.values()),
                "rejected": sum(rejects.values()),
                "discarded": sum(lost.values()),
                "settings": job.rules,
            }
        ],
    }
    _add_to_report(report, counts, rejects, lost, changes, sum(loaded.values()))
    queries = {"rejects": ledger.rejects_sql(job.load_id), "discards": ledger.discards_sql(job.load_id, job.uuid_ts)}
    expected = {name: len(made) for name, made in rows.items()}
    expected |= {"rejects": sum(rejects.values()), "discards": sum(lost.values())}
    queries |= {name: of_rows(job.sql, name, made) for name, made in rows.items()}
    commits = [
        commit(
            job.sql,
            job.settings.warehouse,
            job.load_id,
            table,
            queries[table],
            expected[table],
            job.rewritten.get(table),
        )
        for table in ledger.TABLES
    ]
    return [each for each in commits if each.files or not job.known.last_load]


def of_rows(connection: duckdb.DuckDBPyConnection, table: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """SELECT of rows of a table of the ledger that were made in Python."""
    name = f"ledger_{table}"
    connection.register(name, ledger.arrow_table(ledger.TABLES[table], rows))
    return store.columns_sql(ledger.TABLES[table], name)


def commit(
    connection: duckdb.DuckDBPyConnection,
    warehouse: Path,
    load_id: int,
    table: str,
    sql: str,
    rows: int,
    rewritten: Rewritten | None = None,
) -> Commit:
    """Writes a SELECT into a table of the ledger, to be committed. rows: as many as it must have.

    rewritten: the rows of before, where these are replaced too.
    """
    if rewritten:
        sql, rows = f"{sql} UNION ALL BY NAME {rewritten.sql}", rows + rewritten.rows
    written = store.write(connection, warehouse, ledger.folder(table), ledger.TABLES[table], sql, load_id)
    books.balance(f"rows of loader.{table}", {table: rows}, {table: written.rows})
    if rewritten:
        found = {column: written.cells.get(column, 0) for column in rewritten.cells}
        books.balance(f"cells of loader.{table}", rewritten.cells, found)
    return Commit(ledger.folder(table), table, ledger.TABLES[table], (), written.files, rewritten is not None)


def preview(
    job: Job,
    planned: Sequence[Planned],
    reads: Sequence[FileRead],
    counts: Mapping[int, FileCounts],
    report: Report,
) -> None:
    """Adds to the report what a load would change and what the files hold: all that a dry run does."""
    report.planned_changes += [
        {name: row[name] for name in ("table_name", "column_name", "change", "old_type", "new_type")}
        for row in schema_changes(job, planned)
    ]
    for each in reads:
        if count := counts.get(each.file_id):
            report.files += 1
            report.lines += count.lines
            report.items += count.items
            report.duplicates += count.duplicates
            report.planned_files.append(
                {
                    "uri": each.file.uri,
                    "lines": count.lines,
                    "items": count.items,
                    "rejected": count.rejected,
                    "duplicates": count.duplicates,
                }
            )


def schema_changes(job: Job, planned: Sequence[Planned]) -> list[dict[str, Any]]:
    """What the load changes in the schema, with the place of the first value that caused it (None for rule columns)."""
    rows: list[dict[str, Any]] = []
    created = [each.plan.target for each in planned if each.plan.created]
    if OTHER_EVENTS not in job.known.tables:
        created.append(Target(OTHER_EVENTS, TRACK, NO_TABLE, ()))
    creations = flatten.first_rows(job.sql, created)
    firsts = {first for each in planned for first in (*each.firsts.values(), *each.causes.values())}
    positions = firsts | set(creations.values())
    places = split.places(job.sql, sorted(first for first in positions if first is not None))

    def change(table: str, column: Column | None, kind: str, first: int | None, old: str | None = None) -> None:
        file_id, line, element = places.get(first, (None, None, None)) if first is not None else (None, None, None)
        rows.append(
            {
                "load_id": job.load_id,
                "table_name": table,
                "column_name": column.name if column else None,
                "change": kind,
                "old_type": old,
                "new_type": column.type if column else None,
                "loader_file_id": file_id,
                "loader_line": line,
                "loader_element": element,
            }
        )

    for each in planned:
        table = each.plan.target.table
        if each.plan.created:
            change(table, None, "created", creations[table])
        for column in each.plan.added:
            change(table, column, "added", each.firsts.get(column.name))
        for column in each.plan.columns:
            if column.name in each.plan.widened:
                change(table, column, "widened", each.causes[column.name], each.plan.widened[column.name])
    if (first := creations.get(OTHER_EVENTS)) is not None:
        change(OTHER_EVENTS, None, "created", first)
        for column in flatten.OTHER_EVENTS_COLUMNS:
            change(OTHER_EVENTS, column, "added", None)
    return rows


def _add_to_report(
    report: Report,
    counts: Mapping[int, FileCounts],
    rejects: dict[str, int],
    lost: dict[str, int],
    changes: Sequence[Mapping[str, Any]],
    loaded: int,
) -> None:
    report.files += len(counts)
    report.lines += sum(count.lines for count in counts.values())
    report.items += sum(count.items for count in counts.values())
    report.loaded += loaded
    report.duplicates += sum(count.duplicates for count in counts.values())
    add(report.rejects, rejects)
    add(report.discards, lost)
    report.new_tables += [row["table_name"] for row in changes if row["change"] == "created"]
    report.new_columns += sum(row["change"] == "added" for row in changes)
