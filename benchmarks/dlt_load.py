"""Events to dlt's DuckDB destination: a script for the interpreter of dlt's own environment (see peers.py).

    python dlt_load.py EVENTS.jsonl FOLDER named|one|plain

Its settings are those that dlt's page on performance names for speed: orjson (which it takes by itself if it is there),
pages instead of rows, a process a core that normalizes, files small enough to keep these busy, not compressed between
the stages, Parquet to the destination by a thread a core; besides, no telemetry, and nothing restored from there.
`named`: a table for each name of an event, as a warehouse has it; `one`: one table for all, which is less work. `plain`
is `named` by an event at a time and with no setting made, as it is installed.
"""

import os
import sys
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any

import dlt  # type: ignore[import-not-found, unused-ignore]
import orjson

PAGE = 5000


def events(source: Path) -> Iterator[list[dict[str, Any]]]:
    """The events of a file, by pages."""
    with source.open("rb") as lines:
        while page := [orjson.loads(line) for line in islice(lines, PAGE)]:
            yield page


def table(event: dict[str, Any]) -> str:
    """The name of the table of an event."""
    return str(event.get("event") or event["type"]) if event["type"] == "track" else str(event["type"])


def main() -> None:
    source, folder, way = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    cores = os.cpu_count() or 1
    dlt.config["runtime.dlthub_telemetry"] = False
    dlt.config["runtime.log_level"] = "ERROR"
    if way != "plain":
        dlt.config["data_writer.buffer_max_items"] = PAGE
        dlt.config["data_writer.disable_compression"] = True
        # What is extracted comes in files: some for each process that normalizes.
        dlt.config["sources.data_writer.file_max_bytes"] = max(source.stat().st_size // (4 * cores), 1 << 20)
        dlt.config["normalize.workers"] = cores
        dlt.config["load.workers"] = cores
    pipeline = dlt.pipeline(
        "events",
        pipelines_dir=str(folder / "pipelines"),
        destination=dlt.destinations.duckdb(str(folder / "events.duckdb")),
        dataset_name="loaded",
    )
    pipeline.config.restore_from_destination = False
    rows = chain.from_iterable(events(source)) if way == "plain" else events(source)
    named = "events" if way == "one" else table
    resource = dlt.resource(rows, name="events", table_name=named, write_disposition="append")
    pipeline.run(resource, loader_file_format=None if way == "plain" else "parquet").raise_on_failed_jobs()


if __name__ == "__main__":
    main()
