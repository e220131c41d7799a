"""What the benchmarks are given: made-up events, and warehouses that have grown, each made once and kept.

Events are kept for each state of the generator; warehouses for that and each version of the loader. All of it is in
benchmarks/data/ and may be deleted.
"""

import os
import shutil
import sys
import zlib
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path

from benchmarks import generate
from benchmarks.measure import ROOT, apart, process
from loader.store import FORMAT

DATA = ROOT / "benchmarks" / "data"


def _folder() -> Path:
    """Where what this state of the generator makes is kept."""
    return DATA / f"generator-{zlib.crc32(Path(generate.__file__).read_bytes()):08x}"


def events_file(
    events: int,
    seed: int,
    *,
    names: int = 30,
    days: int = 2,
    first_day: int = 0,
    gzip: bool = False,
    files: int = 1,
) -> Path:
    """Made-up events, in the page cache. With `files` a folder, whose events start on the first day."""
    suffix = "" if files > 1 else ".jsonl.gz" if gzip else ".jsonl"
    start = f"-from{first_day}" if first_day else ""
    path = _folder() / f"{events}-seed{seed}-names{names}-days{days}{start}-files{files}{suffix}"
    if not path.exists():
        print(f"making {path.name}", file=sys.stderr)
        part = path.with_name(path.name + ".part")
        if files > 1:
            apart(partial(generate.write_files, part, events, seed, files, names=names, days=days, gzip=gzip))
        else:
            apart(partial(generate.write, part, events, seed, names=names, days=days, first_day=first_day, gzip=gzip))
        part.rename(path)
    for file in path.iterdir() if files > 1 else [path]:
        with file.open("rb") as opened:
            while opened.read(1 << 20):
                pass
    return path


def grown(name: str, make: Callable[[Path], object], into: Path) -> None:
    """A copy of a warehouse that `make` fills in an empty folder, the first time that it is asked for by this name."""
    path = _folder() / f"loader-{version('loader')}-format{FORMAT}-{name}"
    if not path.exists():
        print(f"making {path.name}", file=sys.stderr)
        part = path.with_name(path.name + ".part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        make(part)
        part.rename(path)
    shutil.copytree(path, into, copy_function=_copy)
    process(["-m", "loader", "publish", "--warehouse", into], into.parent)  # views name the files where they are


def _copy(source: str, target: str) -> None:
    """Copies a file; data files and the hashes of their ids, which are never changed, are only linked."""
    if source.endswith((".parquet", ".ids")):
        os.link(source, target)
    else:
        shutil.copy2(source, target)
