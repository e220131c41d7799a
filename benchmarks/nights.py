"""A year of nights: what queries take over the files that nightly loads leave, and over those that compacting makes.

365 loads would take an hour, and what a query meets are files: so three loads spread over all days, as if each day's
events had come in three nights (that day's, and late ones). What is not like that is the ledger, of three loads.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import duckdb

from benchmarks import generate
from benchmarks.measure import Bench

DAYS, NIGHTS_A_DAY, NAMES = 365, 3, 33  # 33 events and 7 calls: 40 tables
AS_LOADED, COMPACTED = "as loaded", "compacted"
QUERIES = {
    "a year": "SELECT count(*), event FROM tracks GROUP BY event",
    "30 days": "SELECT count(*), event FROM tracks WHERE received_date >= DATE '2026-02-01' GROUP BY event",
    "a table": "SELECT date_trunc('month', \"timestamp\"), count(DISTINCT anonymous_id) FROM {event} GROUP BY ALL",
    "all tables": "SELECT {counts}",
}
_RUN = "import sys, duckdb; [duckdb.connect(sys.argv[1], read_only=True).execute(sys.argv[2]).fetchall()]"


def nights(bench: Bench) -> Iterator[str]:
    """Queries over a year of small files, and over what `loader compact` makes of them. events: of a load."""
    for events in bench.sizes:
        warehouse = bench.work / f"nights-{events}"
        for night in range(NIGHTS_A_DAY):
            source = bench.work / "night.jsonl"
            print(f"night {night + 1} of {NIGHTS_A_DAY}, {events:,} events", file=sys.stderr)
            generate.write(source, events, night + 1, names=NAMES, days=DAYS, first_day=-DAYS)
            bench.load("load", events, night + 1, source, warehouse, before=night * events)
        queries = _queries(warehouse)
        before = _measure(bench, warehouse, events, queries, AS_LOADED)
        bench.measure("compact", events, 1, source, ["-m", "loader", "compact", "--warehouse", warehouse])
        after = _measure(bench, warehouse, events, queries, COMPACTED)
        for name in queries:
            old, new = (median(bench.figures(f"{name}, {state}", events)) for state in (AS_LOADED, COMPACTED))
            yield f"{name}: {new / old:.2f} x the time, over {after} files instead of {before}"


def _queries(warehouse: Path) -> dict[str, str]:
    with duckdb.connect(str(warehouse / "warehouse.duckdb"), read_only=True) as connection:
        tables = connection.execute("SELECT DISTINCT event FROM tracks ORDER BY event").fetchall()
    names = [f'"{name}"' for (name,) in tables if name]
    counts = ", ".join(f"(SELECT count(*) FROM {name})" for name in names)
    return {name: sql.format(event=names[0], counts=counts) for name, sql in QUERIES.items()}


def _measure(bench: Bench, warehouse: Path, events: int, queries: dict[str, str], state: str) -> int:
    """Measures the queries, each in a process of its own. The number of files that the views name."""
    file = warehouse / "warehouse.duckdb"
    for name, sql in queries.items():
        for i in range(1, bench.repetitions + 1):
            bench.measure(f"{name}, {state}", events, i, file, ("-c", _RUN, file, sql))
    with duckdb.connect(str(file), read_only=True) as connection:
        views = "SELECT sql FROM duckdb_views() WHERE schema_name = 'main' AND NOT internal"
        return sum(sql.count(".parquet'") for (sql,) in connection.execute(views).fetchall())
