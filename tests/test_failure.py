"""Every failure ends as a message and an exit code, and no traceback reaches a user."""

import errno
import os
import re
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest

from loader import pipeline, store
from loader.errors import LoaderError, LockedError, UsageError
from tests.conftest import Run

pytestmark = pytest.mark.usefixtures("nothing_from_elsewhere")


def fails(error: BaseException) -> Callable[..., Any]:
    """A function that raises."""

    def fail(*_: Any) -> None:
        raise error

    return fail


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (LoaderError("a: b."), 1, "a: b."),
        (UsageError("a: b."), 2, "a: b."),
        (LockedError("a: b."), 4, "a: b."),
        (KeyboardInterrupt(), 130, "interrupted; what was committed stays"),
        (duckdb.InterruptException("x"), 130, "interrupted; what was committed stays"),
        (
            MemoryError(),
            1,
            "out of memory. Set memory_limit to what the machine has; for a load, set a smaller max_load_bytes.",
        ),
        (
            duckdb.OutOfMemoryException("x"),
            1,
            "out of memory. Set memory_limit to what the machine has; for a load, set a smaller max_load_bytes.",
        ),
        (
            PermissionError(errno.EACCES, "Permission denied", "/data/x"),
            1,
            "/data/x: permission denied. Check who may read and write there.",
        ),
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "a\nb"), 1, "a\\nb: No such file or directory."),
        (duckdb.IOException("IO Error: cannot read"), 1, "IO Error: cannot read"),
    ],
)
def test_every_failure_has_its_message_and_code(
    run: Run, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, message: str
) -> None:
    monkeypatch.setattr(pipeline, "load_only", fails(error))
    done = run("load", "x")
    assert (done.exit_code, done.stdout, done.stderr) == (code, "", f"error: {message}\n")


@pytest.mark.parametrize(
    "error",
    [OSError(errno.ENOSPC, "No space left on device"), duckdb.IOException("IO Error: x: No space left on device")],
)
def test_a_full_disk(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: Exception) -> None:
    monkeypatch.setattr(pipeline, "load_only", fails(error))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(9, 8, 4096))
    done = run("load", "x", "--warehouse", str(tmp_path / "no/wh"))
    assert (done.exit_code, done.stderr) == (
        1,
        f"error: disk full: 4.1 kB free at {tmp_path}. Make room and run this again; what was committed stays.\n",
    )


def test_a_bug_is_told_with_its_place_and_without_a_traceback(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "events.jsonl").touch()
    monkeypatch.setattr(store, "recover", fails(ValueError("odd\x1b")))
    done = run("load", "events.jsonl")
    assert done.exit_code == 1
    assert re.fullmatch(
        r"error: this is a bug, please report it: ValueError: odd\\x1b \(at loader/pipeline\.py:\d+ \(_recover\), "
        r"loader [^)]+\)?\)\. What was committed stays\.\n",
        done.stderr,
    )


def test_ctrl_c_while_the_engine_is_at_work(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def work(*_: Any) -> None:
        try:
            os.kill(os.getpid(), signal.SIGINT)
        except KeyboardInterrupt:
            raise RuntimeError("Query interrupted") from None

    before = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(pipeline, "load_only", work)
    done = run("load", "x")
    assert (done.exit_code, done.stderr) == (130, "error: interrupted; what was committed stays\n")
    assert signal.getsignal(signal.SIGINT) is before
