"""Fixtures of several modules."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from loader.cli import main
from tests import s3

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


@pytest.fixture(scope="session")
def moto() -> Iterator[s3.Server]:
    """moto, for all tests of a session."""
    with s3.moto() as server:
        yield server


@pytest.fixture(scope="session")
def swift(tmp_path_factory: pytest.TempPathFactory) -> Iterator[s3.Server]:
    """OpenStack Swift, for all tests of a session."""
    folder = tmp_path_factory.mktemp("swift")
    if why := s3.without_swift(folder):
        s3.missing(why)
    with s3.swift(folder) as server:
        yield server


@pytest.fixture
def no_keys(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No variables and no files of a cloud's, and no machine to ask for keys: tests set what they need."""
    for name in [name for name in os.environ if name.startswith(("AWS_", "GOOGLE_", "AZURE_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", "http://127.0.0.1:1")
