"""Readers and the loader do not wait for each other, and readers see whole loads: real processes, on one warehouse."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Self

import duckdb
import pytest

from tests import test_store, warehouses

ROOT = Path(__file__).parent.parent


class Reader:
    """A process of `tests.reader`: what it printed, by and by."""

    def __init__(self, folder: Path):
        command = [sys.executable, "-m", "tests.reader", str(folder / "warehouse" / "warehouse.duckdb")]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
        self.lines: list[str] = []
        self.errors: list[str] = []
        self._changed = threading.Condition()
        self._threads = [
            threading.Thread(target=self._follow, args=(stream, into))
            for stream, into in ((self.process.stdout, self.lines), (self.process.stderr, self.errors))
        ]
        for thread in self._threads:
            thread.start()

    def _follow(self, stream: IO[str], into: list[str]) -> None:
        for line in stream:
            with self._changed:
                into.append(line.strip())
                self._changed.notify()

    def wait_for_looks(self, more: int) -> None:
        """Waits for some more queries to have been answered."""
        with self._changed:
            wanted = self.lines.count("looked") + more
            assert self._changed.wait_for(lambda: self.lines.count("looked") >= wanted, 60), self.errors

    def end(self) -> int:
        """Ends it, and gives its exit code."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self.process.wait(60)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        for thread in self._threads:
            thread.join()
        self.process.__exit__(None, None, None)  # closes its pipes


@contextmanager
def readers(folder: Path, number: int = 3) -> Iterator[list[Reader]]:
    with ExitStack() as stack:
        found = [stack.enter_context(Reader(folder)) for _ in range(number)]
        for reader in found:
            reader.wait_for_looks(1)
        yield found
        for reader in found:
            assert (reader.end(), reader.errors) == (0, [])


def events(number: int) -> bytes:
    """A load's file: it grows all tables, and adds a column now and then."""
    return warehouses.lines(
        *(test_store.track(f"a{number}-{at}", "A", **{f"p{number // 3}": at}) for at in range(20)),
        *(test_store.track(f"b{number}-{at}", "B", n=at) for at in range(10)),
        test_store.reset(f"r{number}", v=number),
    )


def load(folder: Path, number: int) -> None:
    assert warehouses.load(folder, {str(number): events(number)}).loads == [number]


def meanwhile(folder: Path, loads: int) -> None:
    """Loads, with three readers at work all the time."""
    load(folder, 1)
    with readers(folder) as there:
        for number in range(2, loads + 1):
            load(folder, number)
        for reader in there:
            reader.wait_for_looks(7)  # two connections later
    for reader in there:
        seen = [int(line.split()[1]) for line in reader.lines if line.startswith("load")]
        assert seen[-1] == loads
        assert len(seen) > 1
        assert reader.lines.count("looked") > 3 * len(seen)


def test_readers_and_loads(tmp_path: Path) -> None:
    meanwhile(tmp_path, 5)


@pytest.mark.long
def test_readers_and_many_loads(tmp_path: Path) -> None:
    meanwhile(tmp_path, 21)


def test_no_reader_waits_for_the_loader(tmp_path: Path) -> None:
    """One that stands still in the middle of a load, holding the lock, keeps nobody from looking."""
    load(tmp_path, 1)
    (tmp_path / "in" / "2").write_bytes(events(2))
    halt = (
        "import os, signal, sys; from pathlib import Path; import loader; from loader import pipeline, store; "
        "commit = store.commit; "
        "store.commit = lambda *all: (os.kill(os.getpid(), signal.SIGSTOP), commit(*all)); "
        "pipeline.load_only(loader.Settings(warehouse=Path(sys.argv[1]), sources=(sys.argv[2],)))"
    )
    command = [sys.executable, "-c", halt, str(tmp_path / "warehouse"), str(tmp_path / "in" / "2")]
    with subprocess.Popen(command, cwd=ROOT) as stopped:
        try:
            _, status = os.waitpid(stopped.pid, os.WUNTRACED)
            assert os.WIFSTOPPED(status)
            with readers(tmp_path) as there:
                for reader in there:
                    reader.wait_for_looks(10)
                    assert [line for line in reader.lines if line.startswith("load")] == ["load 1"]
                stopped.send_signal(signal.SIGCONT)
                assert stopped.wait(60) == 0
                for reader in there:
                    reader.wait_for_looks(7)
                    assert [line for line in reader.lines if line.startswith("load")] == ["load 1", "load 2"]
        finally:
            stopped.kill()


def test_the_loader_waits_for_no_reader(tmp_path: Path) -> None:
    """Readers that stand still with the file open keep no load from being published."""
    load(tmp_path, 1)
    with readers(tmp_path) as there:
        for reader in there:
            reader.process.send_signal(signal.SIGSTOP)
        with warehouses.opened(tmp_path) as connection:
            rows = connection.execute("SELECT count(*) FROM tracks")
            load(tmp_path, 2)
            assert rows.fetchall() == [(30,)]
            assert connection.execute("SELECT count(*) FROM a").fetchall() == [(20,)]
        assert warehouses.query(tmp_path, "SELECT count(*) FROM tracks") == [(60,)]
        for reader in there:
            reader.process.send_signal(signal.SIGCONT)


def test_a_reader_would_notice_a_torn_load(tmp_path: Path) -> None:
    """What `tests.reader` asserts is not true of everything."""
    load(tmp_path, 1)
    file = tmp_path / "warehouse" / "warehouse.duckdb"
    with duckdb.connect(str(file)) as connection:
        [(sql,)] = connection.execute("SELECT sql FROM duckdb_views() WHERE view_name = 'a'").fetchall()
        connection.execute(sql.replace("CREATE VIEW a AS", "CREATE OR REPLACE VIEW a AS").rstrip(";") + " LIMIT 7")
    with Reader(tmp_path) as reader:
        assert reader.process.wait(60) == 1
