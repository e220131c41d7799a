"""Fixtures of several modules."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from loader.cli import main

Run = Callable[..., Result]

os.environ["LOADER_SETTLE_SECONDS"] = "0"  # nobody else writes the files of a test


@pytest.fixture(scope="session", autouse=True)
def _interruptions_are_heard() -> None:
    """Where the tests run in the background, Ctrl-C is ignored: by the commands too, which then never stop."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def nothing_from_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty folder to work in, and no LOADER_ variables."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("LOADER_") and name != "LOADER_SETTLE_SECONDS"]:
        monkeypatch.delenv(name)


@pytest.fixture
def run(nothing_from_elsewhere: None) -> Run:
    """Runs a command in this process, in an empty folder."""

    def run(*args: str, input: str | bytes | None = None, **environment: str) -> Result:
        return CliRunner().invoke(main, args, prog_name="loader", env=environment, input=input)

    return run


@pytest.fixture
def many_rejects(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests whose few lines hold a reject, which is not what they are about: no share of rejects is too large."""
    monkeypatch.setenv("LOADER_MAX_REJECT_SHARE", "100%")
