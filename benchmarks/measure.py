"""How a case is measured: a whole process, its start and its imports included, and only what was checked counts.

Wall clock, CPU seconds of user and system, and the peak of resident memory are the operating system's. The cases of one
repetition follow each other, so that a busy machine is busy for all of them; ratios are taken within a repetition.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

from benchmarks.checks import check_parquet, check_warehouse
from benchmarks.report import TARGETS, Finding, ratio

ROOT = Path(__file__).resolve().parent.parent
FIGURES = ("wall_seconds", "cpu_seconds", "peak_bytes")

T = TypeVar("T")


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
    """What a benchmark is run with. work: a folder, removed in the end. runs: one a process measured. found: for the
    targets."""

    work: Path
    sizes: Sequence[int]
    repetitions: int
    runs: list[Run] = field(default_factory=list)
    found: list[Finding] = field(default_factory=list)

    def measure(
        self,
        case: str,
        events: int,
        repetition: int,
        source: Path | None,
        arguments: Sequence[str | Path],
        python: str | Path = sys.executable,
    ) -> None:
        """Runs Python with these arguments, measures it and keeps the result. Ends the benchmark if it fails."""
        print(f"{case}, {events:,} events, {repetition} of {self.repetitions}", file=sys.stderr)
        files = [] if source is None else source.iterdir() if source.is_dir() else [source]
        size = sum(file.stat().st_size for file in files)
        self.runs.append(Run(case, events, size, repetition, *process(arguments, self.work, python)))

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

    def figures(self, case: str, events: int, figure: str = "wall_seconds") -> list[float]:
        """A figure of each repetition of a case."""
        return [getattr(run, figure) for run in select(self.runs, case, events)]

    def an_event(self, case: str, events: int) -> list[float]:
        """Wall seconds an event of each repetition of a case."""
        return [wall / events for wall in self.figures(case, events)]

    def find(self, target: str, events: int, value: float) -> None:
        """Notes what was measured for a target. KeyError where there is none of that name."""
        self.found.append(Finding(TARGETS[target].name, events, value))


def process(
    arguments: Sequence[str | Path], folder: Path, python: str | Path = sys.executable
) -> tuple[float, float, int]:
    """Wall seconds, CPU seconds, peak bytes of this Python run with these arguments in this folder."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LOADER_")}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), environment.get("PYTHONPATH")]))
    log = folder / "log.txt"
    os.sync()  # what others wrote is not this one's to wait for
    with log.open("wb") as output:
        began = time.perf_counter()
        command = [str(python), *map(str, arguments)]
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


def select(runs: Sequence[Run], case: str, events: int) -> list[Run]:
    """The runs of one case, in the order of their repetitions."""
    return [run for run in runs if (run.case, run.events) == (case, events)]


def summary(runs: Sequence[Run], peer: Callable[[str], str]) -> list[dict[str, Any]]:
    """A row for each case and number of events: medians, and the medians of the ratios within a repetition, where the
    case compared with was run with as many events."""
    rows = []
    for case, events in dict.fromkeys((run.case, run.events) for run in runs):
        own, others = select(runs, case, events), select(runs, peer(case), events)
        row: dict[str, Any] = {"case": case, "events": events, "compared_with": peer(case)}
        for name in FIGURES:
            values = [getattr(run, name) for run in own]
            row[name] = median(values)
            row[f"{name}_ratio"] = ratio(values, [getattr(run, name) for run in others]) if others else None
        rows.append(row)
    return rows


def cases_table(rows: Sequence[dict[str, Any]]) -> str:
    """The rows of a summary as one table; the last three columns are ratios."""
    heads = "".join(f"{head:>9}" for head in "wall_s CPU_s peak_MB wall CPU peak".split())
    lines = [f"{'events':>10}  {'case':28}{heads}"]
    for row in rows:
        ratios = [row[name + "_ratio"] for name in FIGURES]
        shown = "".join(" " * 9 if value is None else f"{value:>8.2f}x" for value in ratios)
        lines.append(
            f"{row['events']:>10,}  {row['case']:28}{row['wall_seconds']:>9.2f}{row['cpu_seconds']:>9.2f}"
            f"{row['peak_bytes'] / 1e6:>9,.0f}{shown}".rstrip()
        )
    return "\n".join(lines)
