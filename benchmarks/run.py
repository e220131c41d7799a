"""What a load costs, as ratios to DuckDB's own conversion of the same file in the same run, and nothing that is lost.

Every figure is of a whole process, its start and its imports included: wall clock, CPU seconds of user and system, peak
of resident memory. The cases of one repetition follow each other, so that a busy machine is busy for all of them;
ratios are taken within a repetition. After each case its rows are counted: a case that lost one ends the benchmark.
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

import duckdb

from benchmarks import generate
from benchmarks.nights import nights
from loader.calls import CALL_TABLES
from tests import s3

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT / "benchmarks" / "data"

T = TypeVar("T")

FIGURES = ("wall_seconds", "cpu_seconds", "peak_bytes")
LOSSLESS = "DuckDB, lossless"
MEMORY_EVENTS = 1_600_000  # 2 GB
MEMORY_TARGET, RERUN_TARGET = 2.5, 1.5  # GB; seconds
OBJECT_EVENTS, BUCKET_TARGET = 28_000, 1.3  # events of 5 MB of gzip; times the wall clock of files on disk


@dataclass(frozen=True, slots=True)
class Run:
    """One process measured. events, input_bytes: what it was given. peak_bytes: resident memory."""

    case: str
    events: int
    input_bytes: int
    repetition: int
    wall_seconds: float
    cpu_seconds: float
    peak_bytes: int


@dataclass(frozen=True, slots=True)
class Bench:
    """What a benchmark is run with. work: a folder, removed in the end. runs: one a process measured."""

    work: Path
    sizes: Sequence[int]
    repetitions: int
    runs: list[Run]

    def measure(self, case: str, events: int, repetition: int, source: Path, arguments: Sequence[str | Path]) -> None:
        """Runs Python with these arguments, measures it and keeps the result. Ends the benchmark if it fails."""
        print(f"{case}, {events:,} events, {repetition} of {self.repetitions}", file=sys.stderr)
        size = sum(file.stat().st_size for file in (source.iterdir() if source.is_dir() else [source]))
        self.runs.append(Run(case, events, size, repetition, *process(arguments, self.work)))

    def load(
        self, case: str, events: int, repetition: int, source: Path, warehouse: Path, *options: str, before: int = 0
    ) -> int:
        """`loader load` of a file or folder; the number of tables. before: events loaded already. Ends the benchmark if
        something is missing."""
        command: list[str | Path] = ["-m", "loader", "load", source, "--warehouse", warehouse, *options]
        self.measure(case, events, repetition, source, command)
        return apart(check_warehouse, warehouse, before + events)

    def convert(self, case: str, events: int, repetition: int, source: Path, options: str = "") -> None:
        """DuckDB's own way from the file to Parquet. Ends the benchmark if rows are missing."""
        target = self.work / "peer.parquet"
        quoted, into = ("'" + str(path).replace("'", "''") + "'" for path in (source, target))
        select = f"SELECT * FROM read_json({quoted}, format = 'newline_delimited'{options})"
        sql = f"COPY ({select}) TO {into} (FORMAT parquet, COMPRESSION zstd)"
        self.measure(case, events, repetition, source, ("-c", "import sys, duckdb; duckdb.sql(sys.argv[1])", sql))
        apart(check_parquet, target, events)
        target.unlink()


def process(arguments: Sequence[str | Path], folder: Path) -> tuple[float, float, int]:
    """Wall seconds, CPU seconds, peak bytes of this Python run with these arguments in this folder."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LOADER_")}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), environment.get("PYTHONPATH")]))
    log = folder / "log.txt"
    os.sync()  # what others wrote is not this one's to wait for
    with log.open("wb") as output:
        began = time.perf_counter()
        command = [sys.executable, *map(str, arguments)]
        child = subprocess.Popen(command, cwd=folder, env=environment, stdout=output, stderr=output)
        _, status, usage = os.wait4(child.pid, 0)
        wall = time.perf_counter() - began
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode != 0:
        output_end = log.read_text(errors="replace")[-2000:]
        raise SystemExit(f"exit code {child.returncode}: {' '.join(command)}\n{output_end}")
    unit = {"darwin": 1}.get(sys.platform, 1024)  # of ru_maxrss
    return wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * unit


def apart(function: Callable[..., T], *arguments: object) -> T:
    """The result of a function called in a process of its own.

    Linux counts a parent's memory as a new child's first peak, so this process has to stay small.
    """
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


# --- input and rows ---------------------------------------------------------------------------------------------------


def events_file(events: int, seed: int, *, names: int = 30, days: int = 2, gzip: bool = False, files: int = 1) -> Path:
    """Made-up events, made once for each state of the generator, and in the page cache. With `files` a folder."""
    state = f"{zlib.crc32(Path(generate.__file__).read_bytes()):08x}"
    suffix = "" if files > 1 else ".jsonl.gz" if gzip else ".jsonl"
    path = DATA / f"generator-{state}" / f"{events}-seed{seed}-names{names}-days{days}-files{files}{suffix}"
    if not path.exists():
        print(f"making {path.name}", file=sys.stderr)
        part = path.with_name(path.name + ".part")
        put = partial(generate.write_files, files=files) if files > 1 else generate.write
        apart(partial(put, part, events, seed, names=names, days=days, gzip=gzip))
        part.rename(path)
    for file in path.iterdir() if files > 1 else [path]:
        with file.open("rb") as opened:
            while opened.read(1 << 20):
                pass
    return path


def check_warehouse(warehouse: Path, events: int) -> int:
    """Number of tables in the warehouse. Ends the benchmark unless each event is one row with all its values.

    A value that fits no type of an earlier load is a discard, which keeps it; there must be few of those.
    """
    with duckdb.connect(str(warehouse / "warehouse.duckdb"), read_only=True) as connection:
        connection.execute("SET TimeZone = 'UTC'")

        def number(sql: str) -> int:
            return int(connection.execute(sql).fetchall()[0][0])

        views = "SELECT view_name FROM duckdb_views() WHERE schema_name = 'main' AND NOT internal"
        tables = [name for (name,) in connection.execute(views).fetchall()]
        calls = [table for table in tables if table in CALL_TABLES.values()]
        rows = {table: number(f'SELECT count(*) FROM "{table}"') for table in tables if table != "users"}
        ids = " UNION ALL ".join(f'SELECT id FROM "{table}"' for table in calls)
        discards = "SELECT count(*) FROM loader.discards"
        found = {
            "rows of the call tables": (sum(rows[table] for table in calls), events),
            "different ids in them": (number(f"SELECT count(DISTINCT id) FROM ({ids})"), events),
            "rows of the event tables": (sum(rows[table] for table in rows if table not in calls), rows["tracks"]),
            "rejects": (number("SELECT count(*) FROM loader.rejects"), 0),
            "discards but for type_mismatch": (number(f"{discards} WHERE reason <> 'type_mismatch'"), 0),
            "type_mismatch beyond 1 ‰ of events": (max(number(discards) - events // 1000, 0), 0),
        }
    expect(warehouse, found)
    return len(tables)


def check_parquet(path: Path, events: int) -> None:
    """Ends the benchmark unless each event is one row."""
    sql = "SELECT count(*), count(DISTINCT messageId) FROM read_parquet($path)"
    rows, ids = duckdb.execute(sql, {"path": str(path)}).fetchall()[0]
    expect(path, {"rows": (rows, events), "different ids": (ids, events)})


def expect(path: Path, found: dict[str, tuple[int, int]]) -> None:
    """Ends the benchmark if a number is not the one it should be."""
    if wrong := [f"{what}: {number:,}, not {right:,}" for what, (number, right) in found.items() if number != right]:
        raise SystemExit(f"{path}: this is not what was put in. {'; '.join(wrong)}")


# --- the benchmarks: each measures, and yields the lines to print below its table -------------------------------------


def load(bench: Bench) -> Iterator[str]:
    """Cold and known loads, plain and gzip, against DuckDB's conversion of the same file."""
    for events in bench.sizes:
        first, other, packed = events_file(events, 1), events_file(events, 2), events_file(events, 1, gzip=True)
        for i in range(1, bench.repetitions + 1):
            warehouse, unpacked = bench.work / "plain", bench.work / "gzip"
            bench.load("load, cold", events, i, first, warehouse)
            bench.load("load, known schema", events, i, other, warehouse, before=events)
            bench.convert(LOSSLESS, events, i, first, ", sample_size = -1")
            bench.convert("DuckDB, sampled", events, i, first)
            bench.load("load, cold, gzip", events, i, packed, unpacked)
            shutil.rmtree(warehouse)
            shutil.rmtree(unpacked)
    yield "lossless: sample_size = -1, one Parquet file, no tables, no duplicates; sampled: for information"


def memory(bench: Bench) -> Iterator[str]:
    """Peak memory with a limit of 1 GB, of one file of 2 GB and of eight that hold the same."""
    warehouse = bench.work / "warehouse"
    for events in bench.sizes:
        for i in range(1, bench.repetitions + 1):
            for case, files in (("one file", 1), ("eight files", 8)):
                bench.load(case, events, i, events_file(events, 1, files=files), warehouse, "--memory-limit", "1GB")
                shutil.rmtree(warehouse)
        for case in ("one file", "eight files"):
            worst = max(select(bench.runs, case, events), key=lambda run: run.peak_bytes)
            size, peak = worst.input_bytes / 1e9, worst.peak_bytes / 1e9
            yield f"{case}, {size:.2f} GB: peak {peak:.2f} GB with a limit of 1 GB (target {MEMORY_TARGET} GB)"


def rerun(bench: Bench) -> Iterator[str]:
    """A run that finds nothing new, against the imports alone."""
    for events in bench.sizes:
        source, warehouse = events_file(events, 1), bench.work / f"{events}"
        tables = replace(bench, runs=[]).load("first load", events, 1, source, warehouse)
        for i in range(1, bench.repetitions + 1):
            bench.load("nothing new", events, i, source, warehouse)
            bench.measure("imports alone", events, i, source, ("-c", "import loader; loader.run"))
        wall = median(run.wall_seconds for run in select(bench.runs, "nothing new", events))
        yield f"{tables} tables, nothing new: {wall:.2f} s (target {RERUN_TARGET} s)"


def tables(bench: Bench) -> Iterator[str]:
    """What a table costs: the same number of events, of one day, under 30 and under 1,000 names."""
    warehouse = bench.work / "warehouse"
    for events in bench.sizes:
        found = {}
        for i in range(1, bench.repetitions + 1):
            for names in (30, 1000):
                first, other = (events_file(events, seed, names=names, days=1) for seed in (1, 2))
                found[names] = bench.load(f"{names} names, cold", events, i, first, warehouse)
                bench.load(f"{names} names, known", events, i, other, warehouse, before=events)
                shutil.rmtree(warehouse)
        for state in ("cold", "known"):
            few, many = (select(bench.runs, f"{names} names, {state}", events) for names in (30, 1000))
            of_events = median(run.cpu_seconds for run in few)
            more = median(b.cpu_seconds - a.cpu_seconds for a, b in zip(few, many, strict=True))
            each = more / (found[1000] - found[30])
            yield (
                f"{state}, {found[1000]} tables instead of {found[30]}: {more / of_events:.2f} x the CPU of the events "
                f"on top; a table costs {each * 1000:.1f} ms, as much as {each / of_events * events:.0f} events"
            )


def bucket(bench: Bench) -> Iterator[str]:
    """Gzip objects of 5 MB from OpenStack Swift on this machine, against the same files on disk."""
    for events in bench.sizes:
        source = events_file(events, 1, gzip=True, files=max(events // OBJECT_EVENTS, 2))
        folder, on_disk, there = (bench.work / name for name in ("swift", "disk", "bucket"))
        folder.mkdir()
        with s3.swift(folder) as server:
            os.environ |= server.environment()
            uri = apart(upload, replace(server, process=None), source)
            for i in range(1, bench.repetitions + 1):
                bench.load("from disk", events, i, source, on_disk)
                command = ("-m", "loader", "load", uri, "--warehouse", there)
                bench.measure("from the bucket", events, i, source, command)
                apart(check_warehouse, there, events)
                shutil.rmtree(on_disk)
                shutil.rmtree(there)
        shutil.rmtree(folder)
        disk, bucket = (select(bench.runs, case, events) for case in ("from disk", "from the bucket"))
        ratio = median(b.wall_seconds / a.wall_seconds for a, b in zip(disk, bucket, strict=True))
        files = len([*source.iterdir()])
        size = disk[0].input_bytes / files / 1e6
        yield f"{files} objects of {size:.1f} MB: {ratio:.2f} x the wall time of the files (target {BUCKET_TARGET} x)"


def upload(server: s3.Server, folder: Path) -> str:
    """Puts the files into a new bucket; its address."""
    made = server.bucket()
    for file in sorted(folder.iterdir()):
        made.put({file.name: file.read_bytes()})
    return made.uri


# name -> the benchmark, its sizes, its repetitions, the case that the others are compared with
BENCHMARKS: dict[str, tuple[Callable[[Bench], Iterator[str]], Sequence[int], int, Callable[[str], str]]] = {
    "load": (load, (100_000, 500_000), 3, lambda _: LOSSLESS),
    "memory": (memory, (MEMORY_EVENTS,), 1, lambda _: "one file"),
    "rerun": (rerun, (20_000,), 3, lambda _: "imports alone"),
    "bucket": (bucket, (200 * OBJECT_EVENTS,), 1, lambda _: "from disk"),
    "tables": (tables, (200_000,), 3, lambda case: case.replace("1000 names", "30 names")),
    "nights": (nights, (20_000,), 3, lambda case: case.replace("compacted", "as loaded")),
}


# --- results ----------------------------------------------------------------------------------------------------------


def select(runs: Sequence[Run], case: str, events: int) -> list[Run]:
    """The runs of one case, in the order of their repetitions."""
    return [run for run in runs if (run.case, run.events) == (case, events)]


def summary(runs: Sequence[Run], peer: Callable[[str], str]) -> list[dict[str, Any]]:
    """A row for each case and number of events: medians, and the medians of the ratios within a repetition."""
    rows = []
    for case, events in dict.fromkeys((run.case, run.events) for run in runs):
        own, others = select(runs, case, events), select(runs, peer(case), events)
        row: dict[str, Any] = {"case": case, "events": events, "compared_with": peer(case)}
        for name in FIGURES:
            row[name] = median(getattr(run, name) for run in own)
            row[f"{name}_ratio"] = median(getattr(a, name) / getattr(b, name) for a, b in zip(own, others, strict=True))
        rows.append(row | {"events_per_second": events / row["wall_seconds"]})
    return rows


def show(rows: Sequence[dict[str, Any]]) -> None:
    """Prints the rows as one table; the last three columns are ratios."""
    heads = "".join(f"{head:>9}" for head in "wall_s CPU_s peak_MB events/s wall CPU peak".split())
    print(f"{'events':>9}  {'case':20}{heads}")
    for row in rows:
        ratios = "".join(f"{row[name + '_ratio']:>8.2f}x" for name in FIGURES)
        print(
            f"{row['events']:>9,}  {row['case']:20}{row['wall_seconds']:>9.2f}{row['cpu_seconds']:>9.2f}"
            f"{row['peak_bytes'] / 1e6:>9,.0f}{row['events_per_second']:>9,.0f}{ratios}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run", description=__doc__.splitlines()[0])
    parser.add_argument("benchmark", nargs="?", choices=list(BENCHMARKS), default="load", help="which (default load)")
    parser.add_argument("--events", help="how many, with commas for several sizes: 100000,500000")
    parser.add_argument("--runs", type=int, help="repetitions (default 3; memory 1)")
    parser.add_argument("--save", type=Path, help="write the results as JSON to this file too")
    args = parser.parse_args()
    function, sizes, repetitions, peer = BENCHMARKS[args.benchmark]
    if args.events:
        sizes = [int(size) if size.strip().isdigit() else 0 for size in args.events.split(",")]
    repetitions = repetitions if args.runs is None else args.runs
    if min(*sizes, repetitions) < 1:
        parser.error("--events and --runs take whole numbers from 1 on")
    DATA.mkdir(exist_ok=True)
    runs: list[Run] = []
    with tempfile.TemporaryDirectory(prefix="work-", dir=DATA) as work:
        bench = Bench(Path(work), sizes, repetitions, runs)
        warm_up = replace(bench, repetitions=1, runs=[])  # modules compiled, libraries read from disk
        warm_up.load("warm-up, loader", 1000, 1, events_file(1000, 1), bench.work / "warm-up")
        warm_up.convert("warm-up, DuckDB", 1000, 1, events_file(1000, 1))
        remarks = list(function(bench))
    rows = summary(runs, peer)
    show(rows)
    print(*remarks, sep="\n")
    result = {
        "benchmark": args.benchmark,
        "finished_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {"system": platform.system(), "processor": platform.machine(), "cpus": os.cpu_count()},
        "versions": {"python": platform.python_version()}
        | {name: version(name) for name in ("duckdb", "deltalake", "pyarrow", "polars")},
        "summary": rows,
        "remarks": remarks,
        "runs": [asdict(run) for run in runs],
    }
    for path in filter(None, (DATA / "last.json", args.save)):
        path.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
