"""What a load into an empty or a young warehouse costs: against DuckDB, in gzip, in memory, from a bucket."""

import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from statistics import median

from benchmarks.checks import check_warehouse
from benchmarks.inputs import events_file
from benchmarks.measure import Bench, apart
from benchmarks.report import ratio
from tests import s3

LOSSLESS, SAMPLED = "DuckDB, lossless", "DuckDB, sampled"
FILES = 8
OBJECT_EVENTS = 28_000  # 5 MB of gzip


def load(bench: Bench) -> Iterator[str]:
    """Cold and known loads, plain and gzip, against DuckDB's conversion of the same file."""
    for events in bench.sizes:
        first, other, packed = events_file(events, 1), events_file(events, 2), events_file(events, 1, gzip=True)
        for i in range(1, bench.repetitions + 1):
            warehouse, unpacked = bench.work / "plain", bench.work / "gzip"
            bench.load("load, cold", events, i, first, warehouse)
            bench.load("load, known schema", events, i, other, warehouse, before=events)
            bench.convert(LOSSLESS, events, i, first, ", sample_size = -1")
            bench.convert(SAMPLED, events, i, first)
            bench.load("load, cold, gzip", events, i, packed, unpacked)
            shutil.rmtree(warehouse)
            shutil.rmtree(unpacked)
        cold = bench.figures("load, cold", events)
        bench.find("cold", events, ratio(cold, bench.figures(LOSSLESS, events)))
        bench.find("cold_sampled", events, ratio(cold, bench.figures(SAMPLED, events)))
        bench.find("known", events, ratio(bench.figures("load, known schema", events), cold))
        bench.find("gzip", events, ratio(bench.figures("load, cold, gzip", events), cold))
    yield "lossless: sample_size = -1; both write one Parquet file, no tables, and seek no duplicates"


def cores(bench: Bench) -> Iterator[str]:
    """How busy a load of eight files keeps the cores."""
    count = os.cpu_count() or 1
    case = f"{FILES} files"
    for events in bench.sizes:
        source, warehouse = events_file(events, 1, files=FILES), bench.work / "warehouse"
        for i in range(1, bench.repetitions + 1):
            bench.load(case, events, i, source, warehouse)
            shutil.rmtree(warehouse)
        busy = ratio(bench.figures(case, events, "cpu_seconds"), bench.figures(case, events))
        bench.find("cores", events, 100 * busy / count)
    yield f"CPU seconds of the process, start and publishing included, to {count} cores for its wall time"


def memory(bench: Bench) -> Iterator[str]:
    """Peak memory with a limit of 2 GB, and what an event costs then, against a tenth of the events without a limit."""
    warehouse = bench.work / "warehouse"
    for events in bench.sizes:
        few = max(events // 10, 1)
        for i in range(1, bench.repetitions + 1):
            for case, count, options in (("no limit", few, ()), ("2 GB", events, ("--memory-limit", "2GB"))):
                bench.load(case, count, i, events_file(count, 1), warehouse, *options)
                shutil.rmtree(warehouse)
        peak = max(bench.figures("2 GB", events, "peak_bytes")) / 1e9
        bench.find("memory", events, peak)
        bench.find("memory_time", events, ratio(bench.an_event("2 GB", events), bench.an_event("no limit", few)))
        yield f"{events:,} events in one file: the worst peak of the runs is {peak:.2f} GB"


def bucket(bench: Bench) -> Iterator[str]:
    """Gzip objects of 5 MB from OpenStack Swift on this machine, against the same files on disk."""
    if sys.platform != "linux":
        yield "left out: Swift runs on Linux only"
        return
    for events in bench.sizes:
        source = events_file(events, 1, gzip=True, files=max(events // OBJECT_EVENTS, 2))
        folder, on_disk, there = (bench.work / name for name in ("swift", "disk", "bucket"))
        folder.mkdir()
        with s3.swift(folder) as server:
            os.environ |= server.environment()
            uri = apart(_upload, replace(server, process=None), source)
            for i in range(1, bench.repetitions + 1):
                bench.load("from disk", events, i, source, on_disk)
                command = ("-m", "loader", "load", uri, "--warehouse", there)
                bench.measure("from the bucket", events, i, source, command)
                apart(check_warehouse, there, events)
                shutil.rmtree(on_disk)
                shutil.rmtree(there)
        shutil.rmtree(folder)
        bench.find(
            "bucket", events, ratio(bench.figures("from the bucket", events), bench.figures("from disk", events))
        )
        files = len([*source.iterdir()])
        size = median(run.input_bytes for run in bench.runs if run.events == events) / files / 1e6
        yield f"{files} objects of {size:.1f} MB; the server's own CPU seconds are not counted"


def _upload(server: s3.Server, folder: Path) -> str:
    """Puts the files into a new bucket; its address."""
    made = server.bucket()
    for file in sorted(folder.iterdir()):
        made.put({file.name: file.read_bytes()})
    return made.uri
