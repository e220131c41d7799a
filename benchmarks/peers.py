"""What another tool takes for the same events: dlt, in an environment of its own."""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks.checks import check_dlt
from benchmarks.inputs import DATA, events_file
from benchmarks.measure import Bench, apart, process
from benchmarks.report import ratio

SCALE = 10  # as many times its events are loaded by this package: a load of few is mostly fixed costs
PINNED = ("dlt[duckdb,parquet]==1.31.0", "duckdb==2.0.0", "orjson==3.13.0", "pyarrow==26.0.1")
SCRIPT = Path(__file__).with_name("dlt_load.py")
WAYS = {"dlt, tables by name": "named", "dlt, one table": "one", "dlt as installed, tables by name": "plain"}


def dlt(bench: Bench) -> Iterator[str]:
    """dlt to DuckDB, with its settings for speed and without, against a cold load of ten times its events, by event."""
    python = _environment()
    folder, warehouse = bench.work / "dlt", bench.work / "warehouse"
    for events in bench.sizes:
        source, more = events_file(events, 1), events_file(SCALE * events, 1)
        for i in range(1, bench.repetitions + 1):
            for case, way in WAYS.items():
                folder.mkdir()
                bench.measure(case, events, i, source, (SCRIPT, source, folder, way), python)
                apart(check_dlt, folder / "events.duckdb", events)
                shutil.rmtree(folder)
            bench.load("load, cold", SCALE * events, i, more, warehouse)
            shutil.rmtree(warehouse)
        own = bench.an_event("load, cold", SCALE * events)
        for target, case in zip(("dlt", "dlt_one_table", "dlt_plain"), WAYS, strict=True):
            bench.find(target, events, ratio(bench.an_event(case, events), own))
    yield f"{PINNED[0]}; its settings are in {SCRIPT.name}; it seeks no duplicates"


def _environment() -> Path:
    """The interpreter of an environment that has dlt, made once."""
    folder = DATA / PINNED[0].replace("[duckdb,parquet]==", "-")
    ready = folder / "ready"
    python = folder / "bin" / "python"
    if not ready.exists() or ready.read_text() != "\n".join(PINNED):
        print(f"making {folder.name}", file=sys.stderr)
        process(("-m", "venv", "--clear", folder), DATA)
        process(("-m", "pip", "install", "--quiet", "--disable-pip-version-check", *PINNED), DATA, python)
        ready.write_text("\n".join(PINNED))
    return python
