"""`kill -9` at every step of a command, and at random: the next run ends as if nothing had happened.

The short forms die at some of the steps, those of `make soak` at each.
"""

import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable

import loader
from loader import id_hashes, ledger, pipeline, resolve, rules, store
from loader.errors import LoaderError
from tests import test_store, warehouses

pytestmark = pytest.mark.usefixtures("many_rejects")

ROOT = Path(__file__).parent.parent
LOG = re.compile(r"\d{20}(\.checkpoint)?\.(json|parquet)|_last_checkpoint")

Finish = Callable[[Path], object]

# With ids that make the second load change who is who: a device that was nobody's, two users that are one.
FIRST = test_store.FIRST + warehouses.lines({"type": "page", "messageId": "p1", "anonymousId": "d"})
SECOND = test_store.SECOND + warehouses.lines(
    {"type": "page", "messageId": "p2", "anonymousId": "d", "userId": "u"},
    {"type": "alias", "messageId": "a1", "previousId": "v", "userId": "u"},
)


def settings(folder: Path, *names: str) -> loader.Settings:
    sources = tuple(str(folder / "in" / name) for name in names)
    return loader.Settings(warehouse=folder / "warehouse", sources=sources, threads=1)


def load(folder: Path, *names: str) -> loader.Report:
    return pipeline.load_only(settings(folder, *names))


def run(folder: Path, *names: str) -> loader.Report:
    return pipeline.run(settings(folder, *names))


def restore(folder: Path) -> None:
    pipeline.restore(settings(folder), 1)


def block(folder: Path) -> None:
    """Where the rule was certain already, it is there now, and that is said."""
    with suppress(LoaderError):
        pipeline.resolve_only(
            settings(folder), change=lambda known: rules.made(known, "block", [("user_id", "v")], None, undo=False)
        )


# What dies, after which loads, and what is done then.
THREADS = ("--quiet", "--threads", "1")
COMMANDS: dict[str, tuple[tuple[Finish, ...], tuple[str, ...], Finish]] = {
    "the first load": ((), ("load", "in/1", *THREADS), lambda folder: load(folder, "1")),
    "a load": ((lambda folder: load(folder, "1"),), ("load", "in/2", *THREADS), lambda folder: load(folder, "2")),
    "a restore": (
        (lambda folder: load(folder, "1"), lambda folder: load(folder, "2")),
        ("restore", "1", "--quiet"),
        restore,
    ),
    "the first run": ((), ("run", "in/1", *THREADS), lambda folder: run(folder, "1")),
    "a run": ((lambda folder: run(folder, "1"),), ("run", "in/2", *THREADS), lambda folder: run(folder, "2")),
    "a rule": ((lambda folder: run(folder, "1", "2"),), ("identity", "block", "user_id:v", "--quiet"), block),
}


def start(folder: Path, step: int, *arguments: str) -> "subprocess.Popen[bytes]":
    """A command that dies at a step (0: at none)."""
    names = [str(folder / name) if name.startswith("in/") else name for name in arguments]
    command = [sys.executable, "-m", "tests.dying", str(step), str(folder / "warehouse"), *names]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE)


def deaths(folder: Path, command: str, most: int) -> Iterator[int]:
    """The steps of a command; after it was whole (0), and after each death at one, from the same warehouse.

    most: how many of them there may be, about.
    """
    warehouse = folder / "warehouse"
    shutil.copytree(warehouse, folder / "beginning")
    with start(folder, 0, command, "--quiet") as process:
        assert process.stdout is not None
        count = int(process.stdout.read())
    assert process.returncode == 0
    yield 0
    assert count > 20
    for step in range(1, count + 1, max(count // most, 1)):
        shutil.rmtree(warehouse)
        shutil.copytree(folder / "beginning", warehouse)
        with start(folder, step, command, "--quiet") as process:
            assert process.wait(300) in (-signal.SIGKILL, 0), step
        yield step


def seen(folder: Path) -> list[Any]:
    """What a reader finds, but for when it was made."""
    if not (folder / "warehouse" / "warehouse.duckdb").exists():
        return []
    found = test_store.content(folder)
    views = (
        "SELECT schema_name, view_name FROM duckdb_views() WHERE schema_name IN ('identity', 'resolved') ORDER BY ALL"
    )
    for schema, view in [*warehouses.query(folder, views), ("loader", "published")]:
        columns = "COLUMNS(lambda c: c NOT IN ('minted_at', 'retired_at', 'added_at', 'uuid_ts', 'warehouse'))"
        rows = warehouses.query(folder, f'SELECT {columns} FROM {schema}."{view}"')
        found.append((schema, view, sorted(map(str, rows))))
    return found


def strays(warehouse: Path) -> set[str]:
    """All files that belong to nothing, and that no vacuum takes."""
    known = {"warehouse.duckdb", "loader/format", "loader/lock"}
    data = {str(path.relative_to(warehouse)) for path in warehouse.glob("tables/**/*.parquet")}
    known |= {f"{id_hashes.FOLDER}/{path}.ids" for path in data}
    tables = [*warehouse.glob("tables/*"), *warehouse.glob("identity/*")]
    tables += [warehouse / ledger.folder(table) for table in ledger.TABLES]
    for root in tables:
        if (root / "_delta_log").exists():
            table = DeltaTable(root)
            taken = table.vacuum(0, dry_run=True, enforce_retention_duration=False, full=True)
            known |= {str((root / path).relative_to(warehouse)) for path in taken}
            known |= {str(Path(uri).relative_to(warehouse)) for uri in table.file_uris()}
        known |= {str(path.relative_to(warehouse)) for path in root.glob("_delta_log/*") if LOG.fullmatch(path.name)}
    return {str(path.relative_to(warehouse)) for path in warehouse.rglob("*") if path.is_file()} - known


def die_at(folder: Path, steps: Callable[[int], Iterable[int]], name: str) -> None:
    """Lets a command die at some of its steps, each time on the same warehouse, and checks what is left, and what the
    next run makes of it."""
    loads, arguments, finish = COMMANDS[name]
    warehouse = folder / "warehouse"
    (folder / "in").mkdir()
    for name_, events in (("1", FIRST), ("2", SECOND)):
        (folder / "in" / name_).write_bytes(events)
    for each in loads:
        each(folder)
    before = seen(folder)
    beginning = folder / "beginning"
    warehouse.mkdir(exist_ok=True)
    shutil.copytree(warehouse, beginning)
    with start(folder, 0, *arguments) as process:
        assert process.stdout is not None
        count = int(process.stdout.read())
    assert process.returncode == 0
    after = seen(folder)
    assert before != after
    assert count > 20  # steps were found
    for step in steps(count):
        shutil.rmtree(warehouse)
        shutil.copytree(beginning, warehouse)
        with start(folder, step, *arguments) as process:
            assert process.wait(300) in (-signal.SIGKILL, 0), step
        assert seen(folder) in (before, after), step
        finish(folder)
        assert seen(folder) == after, step
        assert (store.manifests(warehouse), store.manifests(warehouse, resolve.APP)) == ([], []), step
        assert strays(warehouse) == set(), step
        for log in folder.glob("warehouse/*/*/_delta_log"):
            assert len(found := test_store.loads_of(log)) == len(set(found)), (step, log)


DEATHS = 5


@pytest.mark.parametrize("name", COMMANDS)
def test_some_steps(name: str, tmp_path: Path) -> None:
    first = random.SystemRandom().random()
    print("first step:", first)
    die_at(tmp_path, lambda count: range(1 + int(first * count / DEATHS), count + 1, count // DEATHS), name)


@pytest.mark.long
@pytest.mark.parametrize("name", COMMANDS)
def test_every_step(name: str, tmp_path: Path) -> None:
    die_at(tmp_path, lambda count: range(1, count + 1), name)


UNFINISHED = (
    "warehouse.duckdb.part",
    "warehouse.duckdb.part.wal",
    "loader/manifests/000000000002.json.part",
    "tables/tracks/_delta_log/00000000000000000001.json#1",
    "loader/loads/_delta_log/_last_checkpoint#1",
    "loader/spill/duckdb_temp_storage_DEFAULT-0.tmp",
)


def test_what_a_dead_run_had_begun_to_write_goes(tmp_path: Path) -> None:
    """Also where it died inside a call of an engine, which the steps do not show."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "1").write_bytes(test_store.FIRST)
    load(tmp_path, "1")
    (tmp_path / "warehouse/loader/spill").mkdir()
    for name in (*UNFINISHED, "loader/holder"):
        (tmp_path / "warehouse" / name).write_bytes(b"WAL or other")
    before = seen(tmp_path)
    assert strays(tmp_path / "warehouse") == {*UNFINISHED, "loader/holder"}
    load(tmp_path, "1")
    assert strays(tmp_path / "warehouse") == set()
    assert seen(tmp_path) == before


def die_at_random(folder: Path, files: int, kills: int, seed: int) -> None:
    """Kills a run of several loads again and again until one gets through: all is there once."""
    print("seed:", seed)
    chance = random.Random(seed)
    events = {
        f"{file:02}.jsonl": warehouses.lines(
            *(
                {
                    "type": "track",
                    "event": f"E{chance.randrange(4)}",
                    "messageId": f"{chance.randrange(files * 30)}",
                    "receivedAt": f"2024-05-{chance.randrange(1, 9):02}T10:00:00Z",
                    "properties": {f"p{chance.randrange(6)}": chance.choice([1, 1.5, "text", True])},
                }
                for _ in range(40)
            ),
            "no event",
        )
        for file in range(files)
    }
    (folder / "in").mkdir()
    for name, data in events.items():
        (folder / "in" / name).write_bytes(data)
    command = [sys.executable, "-m", "loader", "--warehouse", "warehouse", "load", "in"]
    command += ["--quiet", "--max-load-bytes", "5kB", "--threads", "1"]
    done = folder / "done"
    shutil.copytree(folder / "in", done / "in", copy_function=shutil.copy2)
    began = time.monotonic()
    assert subprocess.run(command, cwd=done).returncode == 0
    took = time.monotonic() - began
    for _ in range(kills):
        with subprocess.Popen(command, cwd=folder) as process:
            try:
                process.wait(chance.uniform(0.2, took))
            except subprocess.TimeoutExpired:
                process.kill()
        if (folder / "warehouse" / "warehouse.duckdb").exists():
            whole(folder)
    assert subprocess.run(command, cwd=folder).returncode == 0
    assert seen(folder) == seen(done)
    assert strays(folder / "warehouse") == set()


def whole(folder: Path) -> None:
    """Asserts that what a reader finds are whole loads: rows and their counts agree."""
    with warehouses.opened(folder) as connection:
        assert connection.execute("""
            SELECT (SELECT count(*) FROM tracks) - (SELECT sum(loaded) FROM loader.loads),
                (SELECT count(*) FROM loader.rejects) - (SELECT sum(rejected) FROM loader.loads),
                (SELECT max(load_id) FROM loader.loads) - (SELECT load_id FROM loader.published)
        """).fetchall() == [(0, 0, 0)]


def test_some_random_kills(tmp_path: Path) -> None:
    die_at_random(tmp_path, files=4, kills=4, seed=random.SystemRandom().randrange(10**6))


@pytest.mark.long
@pytest.mark.parametrize("seed", range(4))
def test_random_kills(seed: int, tmp_path: Path) -> None:
    die_at_random(tmp_path, files=12, kills=40, seed=seed)
