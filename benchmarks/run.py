"""`make bench`: the benchmarks that are asked for, by default all, and one table of what is found beside its target.

Progress and the cases of each benchmark go to stderr; all of it goes to benchmarks/data/last.json as JSON.
"""

import argparse
import json
import os
import platform
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks import report
from benchmarks.grown import history, query, rerun, start, tables
from benchmarks.identity import identity
from benchmarks.inputs import DATA, events_file
from benchmarks.loads import LOSSLESS, OBJECT_EVENTS, bucket, cores, load, memory
from benchmarks.measure import Bench, Run, cases_table, summary
from benchmarks.nights import nights
from benchmarks.peers import dlt


@dataclass(frozen=True, slots=True)
class Benchmark:
    """What measures, and yields remarks; with how many events and repetitions; the case that each is compared with."""

    measure: Callable[[Bench], Iterator[str]]
    sizes: Sequence[int]
    repetitions: int = 3
    peer: Callable[[str], str] = lambda case: case


BENCHMARKS = {
    "load": Benchmark(load, (500_000,), peer=lambda _: LOSSLESS),
    "cores": Benchmark(cores, (500_000,)),
    "memory": Benchmark(memory, (5_000_000,)),
    "dlt": Benchmark(dlt, (50_000,), peer=lambda _: "dlt, one table"),
    "history": Benchmark(history, (500_000,), peer=lambda _: "into nothing"),
    "tables": Benchmark(tables, (200_000,), peer=lambda case: case.replace("many names", "few names")),
    "start": Benchmark(start, (200_000,), peer=lambda _: "loader --version"),
    "query": Benchmark(query, (500_000,)),
    "nights": Benchmark(nights, (20_000,), peer=lambda case: case.replace("compacted", "as loaded")),
    "rerun": Benchmark(rerun, (20_000,), peer=lambda _: "imports alone"),
    "bucket": Benchmark(bucket, (20 * OBJECT_EVENTS,), peer=lambda _: "from disk"),
    "identity": Benchmark(identity, (1_000_000,), 1),
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("benchmarks", nargs="*", metavar="BENCHMARK", help=f"{', '.join(BENCHMARKS)} (default: all)")
    parser.add_argument("--events", help="how many, with commas for several sizes: 100000,500000")
    parser.add_argument("--runs", type=int, help="repetitions (default 3; identity 1)")
    parser.add_argument("--save", action="store_true", help="keep what is found in benchmarks/history/")
    args = parser.parse_args()
    if unknown := [name for name in args.benchmarks if name not in BENCHMARKS]:
        parser.error(f"there is no benchmark {unknown[0]!r}; there are {', '.join(BENCHMARKS)}")
    sizes = [int(size) if size.strip().isdigit() else 0 for size in args.events.split(",")] if args.events else [1]
    if min(*sizes, 1 if args.runs is None else args.runs) < 1:
        parser.error("--events and --runs take whole numbers from 1 on")
    DATA.mkdir(exist_ok=True)
    _warm_up()
    results = []
    for name in args.benchmarks or BENCHMARKS:
        results.append(_measure(name, sizes if args.events else BENCHMARKS[name].sizes, args.runs))
        _write(DATA / "last.json", results)
    found = [finding for result in results for finding in result["findings"]]
    print(report.table(found, report.last(report.kept())), end="")
    if args.save:
        for result in results:
            del result["runs"]
        path = report.file_for(datetime.now(UTC).date().isoformat())
        _write(path, results)
        print(f"kept: {path}; `make docs` takes it into docs/benchmarks.md", file=sys.stderr)


def _warm_up() -> None:
    """Has modules compiled and libraries read from disk."""
    with tempfile.TemporaryDirectory(prefix="work-", dir=DATA) as work:
        bench = Bench(Path(work), (1000,), 1)
        bench.load("warm-up, loader", 1000, 1, events_file(1000, 1), bench.work / "warm-up")
        bench.convert("warm-up, DuckDB", 1000, 1, events_file(1000, 1))


def _measure(name: str, sizes: Sequence[int], repetitions: int | None) -> dict[str, Any]:
    """Runs a benchmark and tells its cases on stderr."""
    benchmark = BENCHMARKS[name]
    with tempfile.TemporaryDirectory(prefix="work-", dir=DATA) as work:
        runs: list[Run] = []
        bench = Bench(Path(work), sizes, repetitions or benchmark.repetitions, runs)
        remarks = list(benchmark.measure(bench))
    rows = summary(runs, benchmark.peer)
    shown = [cases_table(rows)] if rows else []
    print(f"\n== {name}", *shown, *remarks, "", sep="\n", file=sys.stderr)
    return {"benchmark": name, "findings": bench.found, "cases": rows, "remarks": remarks, "runs": runs}


def _write(path: Path, results: Sequence[dict[str, Any]]) -> None:
    """Writes what was found, and with what, as JSON."""
    told = [{key: value for key, value in result.items() if key != "findings"} for result in results]
    content = {
        "finished_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {"system": platform.system(), "processor": platform.machine(), "cpus": os.cpu_count()},
        "versions": {"python": platform.python_version()}
        | {name: version(name) for name in ("loader", "duckdb", "deltalake", "pyarrow", "polars")},
        "findings": [finding for result in results for finding in result["findings"]],
        "benchmarks": told,
    }
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content, indent=2, default=asdict) + "\n")


if __name__ == "__main__":
    main()
