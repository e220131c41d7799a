"""What a nightly run needs: files that settle, an end in time, a word to whom it concerns, a question for a monitor."""

import gzip
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import deltalake
import polars as pl
import pytest

import loader
from loader import given, notify, sources, status
from tests import warehouses
from tests.conftest import Run
from tests.test_bucket import ids, load, page

TRACK = warehouses.lines({"type": "track", "event": "Order Done", "messageId": "t1"})


# --- files that settle ------------------------------------------------------------------------------------------------


@contextmanager
def growing(path: Path, pieces: Callable[[int], bytes], pause: float = 0.1) -> Iterator[None]:
    """Somebody writes a file, piece by piece."""
    stop = threading.Event()

    def write() -> None:
        with path.open("ab", buffering=0) as file:
            for at in range(10**6):
                file.write(pieces(at))
                if stop.wait(pause):
                    return

    thread = threading.Thread(target=write)
    thread.start()
    try:
        time.sleep(2 * pause)
        yield
    finally:
        stop.set()
        thread.join()


@pytest.mark.parametrize("pieces", [lambda at: page(at), lambda at: page(at) + b'{"type": "pa', lambda at: b"["])
def test_a_file_that_is_still_written_is_left(pieces: Callable[[int], bytes], tmp_path: Path) -> None:
    """Whole lines or parts of some; the others are loaded, and it is the next time."""
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.json").write_bytes(page("a"))
    with growing(folder / "b.json", pieces):
        report = load(tmp_path, str(folder), settle_seconds=5)
        assert (report.growing, report.files, report.unread) == ([str(folder / "b.json")], 1, {})
        assert load(tmp_path, str(folder), settle_seconds=5).growing == [str(folder / "b.json")]
    assert ids(tmp_path) == ["a"]
    assert load(tmp_path, str(folder), settle_seconds=5).files == 1


@pytest.mark.parametrize(
    ("age", "content", "waits"),
    [
        (0.5, b"{}\n", True),
        (1.5, b"{}\n", False),
        (1.5, b"{}", True),
        (5.5, b"{}", False),
        (1.5, gzip.compress(b"{}", mtime=0), False),
        (1.5, b"", False),
        (-60, b"{}", False),  # a clock that is wrong
    ],
)
def test_when_a_file_has_settled(
    age: float, content: bytes, waits: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that ends inside a line has to be left alone for the time that was set, others for a second."""
    path = tmp_path / "a.json"
    path.write_bytes(content)
    then = time.time() - age
    os.utime(path, (then, then))
    settings = loader.Settings(sources=(str(path),), settle_seconds=5)
    files = list(sources.find(settings, datetime.now(UTC), {}))
    looks: list[float] = []

    def pause(seconds: float) -> None:
        looks.append(seconds)
        os.utime(path, (then - 100, then - 100))  # somebody is at it

    monkeypatch.setattr(time, "sleep", pause)
    assert sources.settled(files, 5) == (([], [str(path)]) if waits else (files, []))
    assert bool(looks) is waits


def test_a_file_that_settles_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.json").write_bytes(page("whole") + page("cut").rstrip())
    assert load(tmp_path, str(tmp_path / "in"), settle_seconds=1).files == 1
    assert ids(tmp_path) == ["cut", "whole"]


def test_a_compressed_file_that_is_cut_is_still_written_if_it_is_fresh(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    path = tmp_path / "in/a.json.gz"
    path.write_bytes(gzip.compress(page(*range(1000)))[:-20])
    report = load(tmp_path, str(path), settle_seconds=1.5)
    assert (report.growing, report.unread) == ([str(path)], {})
    os.utime(path, (time.time() - 60, time.time() - 60))
    assert list(load(tmp_path, str(path), settle_seconds=1.5).unread) == [str(path)]


def test_what_is_left_is_said(run: Run, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    with growing(tmp_path / "in/b.json", page):
        done = run("load", "in", LOADER_SETTLE_SECONDS="5")
    assert (done.exit_code, done.stderr) == (0, f"left for the next run: {tmp_path}/in/b.json, still being written\n")


# --- an end in time ---------------------------------------------------------------------------------------------------


def test_no_time_for_more_files(tmp_path: Path) -> None:
    """What was begun is loaded; the next run goes on."""
    folder = tmp_path / "in"
    folder.mkdir()
    for at in range(5):
        (folder / f"{at}.json").write_bytes(page(at))
    settings = loader.Settings(
        warehouse=tmp_path / "warehouse", sources=(str(folder),), max_load_bytes=1, settle_seconds=0, max_runtime=60.0
    )
    real = time.monotonic

    def slow(stage: str, *_: int) -> None:
        if stage == "ledger":
            time.monotonic = lambda: real() + 61  # a minute has gone by

    try:
        report = loader.run(settings, slow)
    finally:
        time.monotonic = real
    assert (report.loads, report.files, report.late) == ([1], 1, 4)
    assert (ids(tmp_path), loader.run(settings).files) == (["0"], 4)


def test_no_time_for_the_files_of_one_load(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "in").mkdir()
    for at in range(3):
        (tmp_path / f"in/{at}.json").write_bytes(page(at))
    settings = loader.Settings(sources=("in",), settle_seconds=0, max_runtime=0.0)
    report = loader.run(settings)
    assert (report.loads, report.late, report.unread) == ([], 3, {})
    done = run("load", "in", "--max-runtime", "1h")
    assert done.stderr.startswith("loaded 3 events from 3 files in ")
    (tmp_path / "in/3.json").write_bytes(page(3))
    monkeypatch.setattr(given, "_SECONDS", {"s": 0})
    done = run("load", "in", "--max-runtime", "1s")
    assert (done.exit_code, done.stderr) == (0, "left for the next run: 1 file, since max_runtime is over\n")


@pytest.mark.parametrize("stage", ["read", "write", "commit"])
def test_sigterm(stage: str, tmp_path: Path) -> None:
    """Wherever it comes, the run ends in time with a message, and the next one makes up for it."""
    (tmp_path / "in").mkdir()
    for at in range(2):
        (tmp_path / f"in/{at}.json").write_bytes(page(*(f"{at}-{n}" for n in range(20_000))) + TRACK)
    command = [sys.executable, "-m", "loader", "load", "in", "--max-load-bytes", "1", "--log-format", "json"]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        next(line for line in process.stderr if json.loads(line)["stage"] == stage)
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=60)
    assert time.monotonic() - began < 10
    last = json.loads(said.splitlines()[-1])
    assert (process.returncode, last["level"]) == (143, "error")
    assert last["event"] == "stopped by SIGTERM; what was committed stays, and the next run goes on from there"
    assert last["stage"]
    load(tmp_path, str(tmp_path / "in"))
    assert len(ids(tmp_path)) == 40_000
    assert warehouses.query(tmp_path, "SELECT count(*) FROM order_done") == [(1,)]


# --- a word to whom it concerns ---------------------------------------------------------------------------------------


class _Hook(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        hook: Any = self.server
        hook.told.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response_only(hook.answers.pop(0) if hook.answers else 200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@pytest.fixture
def hook(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A webhook. told: what it got. answers: what it says first, before it says 200."""
    monkeypatch.setattr(notify, "PAUSES", (0.01, 0.01))
    with ThreadingHTTPServer(("127.0.0.1", 0), _Hook) as server:
        server.told, server.answers = [], []  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def test_the_webhook_is_told(run: Run, tmp_path: Path, hook: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of changes of the schema, of too many rejects, of files that could not be read, of failures; of nothing else."""
    monkeypatch.setenv("LOADER_NOTIFY_WEBHOOK", f"http://127.0.0.1:{hook.server_address[1]}/x")
    path = tmp_path / "a.json"

    def told(content: bytes, *more: str) -> list[str]:
        path.write_bytes(content)
        hook.told.clear()
        run("load", "a.json", *more)
        assert len(hook.told) <= 1
        return [reason for each in hook.told for reason in each["reasons"]]

    first = told(TRACK)
    assert first[0].startswith("new tables: ")
    assert first[1] == "new columns: 136."
    assert hook.told[0] == {
        "text": f"loader load: {' '.join(first)}",
        "command": "load",
        "warehouse": str(tmp_path / "warehouse"),
        "exit": 0,
        "reasons": first,
        "report": hook.told[0]["report"],
    }
    assert hook.told[0]["report"]["loaded"] == 1
    assert told(TRACK + b"\n") == []
    (rejects,) = told(TRACK + b"x\n")
    assert rejects.startswith("1 reject of 2 items, 50.0%: more than max_reject_share (0.05): invalid_json 1.")
    assert (hook.told[0]["exit"], hook.told[0]["report"]["rejects"]) == (3, {"invalid_json": 1})
    (rules,) = told(TRACK, "--store-full-event")
    assert rules.startswith(f"{tmp_path / 'warehouse'}: was loaded with store_full_event = false. ")
    assert (hook.told[0]["exit"], hook.told[0]["report"]) == (2, None)
    (unread,) = told(b"\x1f\x8b\x08")
    assert unread.startswith(f"{path}: the compressed data ends too early")
    path.unlink()
    (tmp_path / "b.json").mkdir()
    hook.told.clear()
    assert run("load", "b.json").exit_code == 1
    assert [(each["exit"], each["report"]) for each in hook.told] == [(1, None)]
    assert hook.told[0]["reasons"] == ["b.json: this folder holds no file to read (hidden files do not count)."]


def test_a_webhook_that_fails_fails_no_load(run: Run, tmp_path: Path, hook: Any) -> None:
    """It is tried again, then said, without its address."""
    (tmp_path / "a.json").write_bytes(TRACK)
    address = f"http://127.0.0.1:{hook.server_address[1]}/secret"
    for answers, tries, why in (([500, 503], 3, ""), ([500] * 9, 3, "it answered 500"), ([404], 1, "it answered 404")):
        hook.told.clear()
        hook.answers[:] = answers
        done = run("load", "a.json", "--warehouse", f"w{len(answers)}", LOADER_NOTIFY_WEBHOOK=address)
        assert (done.exit_code, len(hook.told)) == (0, tries)
        warning = f"warning: the webhook was not told: {why}. Check [notify] in loader.toml.\n"
        assert done.stderr.endswith(warning) if why else "webhook" not in done.stderr
    done = run("load", "a.json", "--warehouse", "w", LOADER_NOTIFY_WEBHOOK="http://127.0.0.1:1/secret")
    assert done.exit_code == 0
    assert "warning: the webhook was not told: Connection refused. Check" in done.stderr
    assert "secret" not in done.output


@pytest.mark.parametrize(
    "address", ["http://127.0.0.1:1/a secret", "http://127.0.0.1:secret/", "http://[secret", "http:///secret"]
)
def test_an_address_that_is_none_fails_no_load(address: str, run: Run, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(TRACK)
    done = run("load", "a.json", LOADER_NOTIFY_WEBHOOK=address)
    assert done.exit_code == 0
    assert done.stderr.endswith(
        "warning: the webhook was not told: its address is not usable. Check [notify] in loader.toml.\n"
    )
    assert "secret" not in done.output


def test_a_webhook_that_is_no_web_server(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What answers is something else."""
    monkeypatch.setattr(notify, "PAUSES", (0.01, 0.01))
    (tmp_path / "a.json").write_bytes(TRACK)
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            for _ in range(3):
                connection, _ = server.accept()
                with connection:
                    connection.recv(1 << 16)
                    connection.sendall(b"220 mail\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        done = run("load", "a.json", LOADER_NOTIFY_WEBHOOK=f"http://127.0.0.1:{server.getsockname()[1]}/secret")
        thread.join()
    assert done.exit_code == 0
    assert "warning: the webhook was not told: its answer is not HTTP. Check" in done.stderr


# --- a question for a monitor -----------------------------------------------------------------------------------------


def test_how_old_the_last_load_is(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.json").write_bytes(page(1))
    load(tmp_path, str(tmp_path / "in"))
    finished = datetime(2026, 3, 1, 2, 30, tzinfo=UTC)
    table = deltalake.DeltaTable(str(tmp_path / "warehouse/loader/loads"))
    (real,) = pl.scan_parquet(table.file_uris()).collect()["finished_at"]
    with warehouses.opened(tmp_path) as connection:
        for hours, good in ((0, True), (26, True), (26.001, False)):
            age = status.age(connection, real + timedelta(hours=hours))
            assert (age.load, age.is_good(26 * 3600)) == (1, good)
        shown = status.Age(1, finished, 93_784.2)
        assert shown.text(given.duration("26h")) == (
            "stale: load 1 ended 2026-03-01 02:30:00 UTC, 1 day, 2:03:04 ago; the limit is 26h"
        )


def test_the_monitors_question(run: Run, tmp_path: Path) -> None:
    assert (run("status", "--check").exit_code, "warehouse" in run("status", "--check").stderr) == (1, True)
    (tmp_path / "a.json").write_bytes(page(1))
    run("load", "a.json")
    done = run("status", "--check")
    assert (done.exit_code, done.stdout[:19]) == (0, "good: load 1 ended ")
    found = json.loads(run("status", "--check", "--max-age", "2d", "--json").stdout)
    assert (found["good"], found["load"], found["max_age_seconds"]) == (True, 1, 172_800)
    time.sleep(1.1)
    done = run("status", "--check", "--max-age", "1s")
    assert (done.exit_code, done.stdout[:20]) == (1, "stale: load 1 ended ")
    assert run("status", "--check", "--max-age", "soon").exit_code == 2
    (tmp_path / "b.json").write_bytes(page(2))
    run("load", "b.json")
    run("restore", "1")  # a load of nothing new
    assert json.loads(run("status", "--check", "--json").stdout)["load"] == 1
