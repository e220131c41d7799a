"""What a warehouse costs that has grown: a long history, many tables, a run with nothing new, a query, a start."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter

import duckdb

from benchmarks import generate
from benchmarks.checks import check_warehouse, expect
from benchmarks.inputs import events_file, grown
from benchmarks.measure import Bench, apart, process
from benchmarks.report import ratio

HISTORY, NIGHTS, DAYS = 20, 10, 3  # times the events of a load; loads that brought them; days of each
NAMES, FEW, FILES = 1000, 30, 31  # event names; and of the warehouse compared with; files a table, of a date each
QUERY = "SELECT count(*), event FROM {rows} WHERE received_at >= $since GROUP BY event ORDER BY event"
QUERIES = 11  # of each kind a repetition


def history(bench: Bench) -> Iterator[str]:
    """A load on 20 times its events, of the 30 days before, against one into an empty warehouse."""
    for events in bench.sizes:
        warehouse, old = bench.work / "warehouse", HISTORY * events
        new = events_file(events, 1, first_day=NIGHTS * DAYS)
        for i in range(1, bench.repetitions + 1):
            bench.load("into nothing", events, i, new, warehouse)
            shutil.rmtree(warehouse)
            grown(f"history-{old}", partial(_history, bench.work, old), warehouse)
            bench.load("on a history", events, i, new, warehouse, before=old)
            shutil.rmtree(warehouse)
        bench.find(
            "history", events, ratio(bench.figures("on a history", events), bench.figures("into nothing", events))
        )
        yield f"on a history: {old:,} events of {NIGHTS * DAYS} days, loaded {NIGHTS} times"


def _history(work: Path, events: int, warehouse: Path) -> None:
    """Loads so many events, some days at a time."""
    source = work / "history.jsonl"
    for night in range(NIGHTS):
        made = partial(generate.write, source, events // NIGHTS, 100 + night, days=DAYS, first_day=DAYS * night)
        apart(made)
        process(["-m", "loader", "load", source, "--warehouse", warehouse], work)
    source.unlink()


def tables(bench: Bench) -> Iterator[str]:
    """What a table costs: as many events of a day under 30 and under 1,000 names, into nothing and on 31 files each."""
    warehouse = bench.work / "warehouse"
    for events in bench.sizes:
        found = {}
        names = _names(events)
        for i in range(1, bench.repetitions + 1):
            for each in (FEW, names):
                first = events_file(events, 1, names=each, days=1, first_day=_files(names))
                bench.load(f"{_label(each)}, cold", events, i, first, warehouse)
                shutil.rmtree(warehouse)
                before = _wide(bench, each, _files(names), warehouse)
                found[each] = bench.load(f"{_label(each)}, known", events, i, first, warehouse, before=before)
                shutil.rmtree(warehouse)
        further = found[names] - found[FEW]
        for state in ("cold", "known"):
            few, many = (bench.figures(f"{_label(each)}, {state}", events) for each in (FEW, names))
            each_table = median(b - a for a, b in zip(few, many, strict=True)) / further
            if state == "known":
                bench.find("tables", events, each_table * 1000)
            yield f"{state}: {found[names]:,} tables instead of {found[FEW]}: {each_table * 1000:.1f} ms a table"


def _label(names: int) -> str:
    return "few names" if names == FEW else "many names"


def _names(events: int) -> int:
    """1,000 names for 200,000 events; fewer for a try."""
    return min(max(events // 200, 2 * FEW), NAMES)


def _files(names: int) -> int:
    """31 files a table for 1,000 names; fewer for a try."""
    return max(names * FILES // NAMES, 2)


def _wide(bench: Bench, names: int, files: int, warehouse: Path) -> int:
    """Makes a warehouse of so many names, of so many files a table, each of a day: of some 60 events, then of one. The
    number of its events."""
    grown(f"names{names}-files{files}", partial(_nights, bench.work, names, files), warehouse)
    return names * (60 + files - 1)


def _nights(work: Path, names: int, files: int, warehouse: Path) -> None:
    source = work / "night.jsonl"
    for day in range(files):
        if day == 0:
            apart(partial(generate.write, source, 60 * names, 100, names=names, days=1))
        else:
            source.write_text(
                "".join(_thin(name, day, at) for at, name in enumerate(generate.event_catalogue(names)[0]))
            )
        process(["-m", "loader", "load", source, "--warehouse", warehouse], work)
    source.unlink()


def _thin(name: str, day: int, at: int) -> str:
    received = generate.iso(generate.START_MS + day * 86_400_000 + at)
    return (
        f'{{"type":"track","event":"{name}","messageId":"thin-{day}-{at}","anonymousId":"device-{at}",'
        f'"receivedAt":"{received}","originalTimestamp":"{received}","sentAt":"{received}"}}\n'
    )


def start(bench: Bench) -> Iterator[str]:
    """How long it takes to say the version, and the state of a warehouse of 1,000 tables."""
    for events in bench.sizes:
        warehouse = bench.work / f"{events}"
        names = _names(events)
        before = _wide(bench, names, _files(names), warehouse)
        count = apart(check_warehouse, warehouse, before)
        for i in range(1, bench.repetitions + 1):
            bench.measure("loader --version", events, i, None, ("-m", "loader", "--version"))
            bench.measure("loader status", events, i, None, ("-m", "loader", "status", "--warehouse", warehouse))
        for target in ("version", "status"):
            case = {"version": "loader --version", "status": "loader status"}[target]
            bench.find(target, events, median(bench.figures(case, events)))
        yield f"status: {count:,} tables of {_files(names)} files"


def rerun(bench: Bench) -> Iterator[str]:
    """A run that finds nothing new, against the imports alone."""
    for events in bench.sizes:
        source, warehouse = events_file(events, 1), bench.work / f"{events}"
        count = replace(bench, runs=[]).load("first load", events, 1, source, warehouse)
        for i in range(1, bench.repetitions + 1):
            bench.load("nothing new", events, i, source, warehouse)
            bench.measure("imports alone", events, i, source, ("-c", "import loader; loader.run"))
        bench.find("nothing_new", events, median(bench.figures("nothing new", events)))
        yield f"nothing new: {count} tables"


def query(bench: Bench) -> Iterator[str]:
    """Tracks counted by event on the published views, against the same rows in one Parquet file, sorted by time."""
    for events in bench.sizes:
        warehouse = bench.work / f"{events}"
        replace(bench, runs=[]).load("load", events, 1, events_file(events, 1), warehouse)
        pairs = [apart(_ask, warehouse) for _ in range(bench.repetitions)]
        bench.find("query", events, ratio([views for views, _ in pairs], [file for _, file in pairs]))
        views, file = (1000 * median(values) for values in zip(*pairs, strict=True))
        yield f"the query, {events:,} events, second day: views {views:.1f} ms, one file {file:.1f} ms"


def _ask(warehouse: Path) -> tuple[float, float]:
    """Seconds of the query, planning included, on the views and on one file: medians of some, in turn."""
    file = warehouse.with_suffix(".parquet")
    quoted = "'" + str(file).replace("'", "''") + "'"
    path = str(warehouse / "warehouse.duckdb")
    since = {"since": "2026-03-03 00:00:00+00"}
    with duckdb.connect(path, read_only=True) as connection:
        connection.execute("SET TimeZone = 'UTC'; SET enable_progress_bar = false")
        connection.execute(
            f"COPY (SELECT * FROM tracks ORDER BY received_at) TO {quoted} (FORMAT parquet, COMPRESSION zstd)"
        )
        taken: tuple[list[float], list[float]] = ([], [])
        answers = []
        for _ in range(QUERIES):
            for rows, seconds in zip(("tracks", f"read_parquet({quoted})"), taken, strict=True):
                began = perf_counter()
                answers.append(connection.execute(QUERY.format(rows=rows), since).fetchall())
                seconds.append(perf_counter() - began)
    expect(file, {"answers that differ": (sum(answer != answers[0] for answer in answers), 0)})
    expect(file, {"answers without rows": (sum(not answer for answer in answers), 0)})
    return median(taken[0]), median(taken[1])
