"""The wheel alone is enough: it holds the models, and a bare environment with it loads and queries events."""

import json
import os
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
ENVIRONMENT = {k: v for k, v in os.environ.items() if not k.startswith("LOADER_") and k != "PYTHONPATH"}

needs_package_index = pytest.mark.skipif(
    os.environ.get("LOADER_TEST_ALL") != "1", reason="installs from the package index: make check, or LOADER_TEST_ALL=1"
)

EVENTS = [
    {
        "messageId": "m-1",
        "type": "track",
        "event": "Order Completed",
        "userId": "u-1",
        "originalTimestamp": "2026-03-02T10:00:00.000Z",
        "sentAt": "2026-03-02T10:00:01.000Z",
        "receivedAt": "2026-03-02T10:00:02.000Z",
        "properties": {"total": 12.5, "shipTo": {"city": "Łódź"}},
        "context": {"library": {"name": "web"}},
    },
    {
        "messageId": "m-2",
        "type": "identify",
        "userId": "u-1",
        "anonymousId": "a-1",
        "originalTimestamp": "2026-03-02T10:00:03.000Z",
        "sentAt": "2026-03-02T10:00:04.000Z",
        "receivedAt": "2026-03-02T10:00:05.000Z",
        "traits": {"plan": "pro"},
    },
]


def run(*command: str | Path, cwd: Path | None = None) -> str:
    """Runs a command that must succeed and gives its stdout."""
    done = subprocess.run(
        command, cwd=cwd, env=ENVIRONMENT, stdin=subprocess.DEVNULL, capture_output=True, encoding="utf-8", timeout=900
    )
    assert done.returncode == 0, f"{command} gave {done.returncode}:\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", folder, cwd=ROOT)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def bin_folder(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of a fresh environment with the wheel and what it declares to need, at the versions of make."""
    environment = tmp_path_factory.mktemp("bare") / "venv"
    run(sys.executable, "-m", "venv", "--without-pip", environment)
    pip: list[str | Path] = [sys.executable, "-m", "pip", "--python", environment]
    run(*pip, "install", "--quiet", "-c", ROOT / "constraints.txt", wheel)
    run(*pip, "check")
    return environment / "bin"


def test_the_wheel_holds_every_sql_file(wheel: Path) -> None:
    models = {f"loader/{path.relative_to(ROOT).as_posix()}" for path in (ROOT / "sql").rglob("*.sql")}
    others = {path.relative_to(ROOT).as_posix() for path in (ROOT / "loader").rglob("*.sql")}
    assert models
    with zipfile.ZipFile(wheel) as archive:
        assert {name for name in archive.namelist() if name.endswith(".sql")} == models | others


def test_the_wheel_holds_only_the_package_and_its_metadata(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        assert {name.split("/")[0] for name in archive.namelist()} == {"loader", f"loader-{VERSION}.dist-info"}


def test_the_wheel_holds_the_compiled_scanner(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        assert archive.read("loader/_scanner.so")[:4] in (b"\x7fELF", b"\xcf\xfa\xed\xfe")  # of Linux, of macOS
    assert wheel.name.startswith(f"loader-{VERSION}-py3-none-")
    assert not wheel.name.endswith("-any.whl")


@pytest.mark.parametrize(("there", "wanted"), [(True, []), (False, ["ziglang>=0.15,<1"])])
def test_the_build_gets_a_compiler_where_there_is_none(tmp_path: Path, there: bool, wanted: list[str]) -> None:
    if there:
        (tmp_path / "cc").touch(mode=0o755)
    code = "from build_scanner import ScannerHook as h; print(h('', {}, None, None, '', '').dependencies())"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env={"PATH": str(tmp_path)}, capture_output=True, encoding="utf-8"
    )
    assert (done.stdout, done.stderr) == (f"{wanted}\n", "")


@needs_package_index
def test_the_command_tells_its_version_and_its_commands(bin_folder: Path, tmp_path: Path) -> None:
    assert VERSION in run(bin_folder / "loader", "--version", cwd=tmp_path)
    commands = {
        line.split()[0] for line in run(bin_folder / "loader", "--help", cwd=tmp_path).splitlines() if line.strip()
    }
    assert {"load", "query"} <= commands


@needs_package_index
def test_the_library_comes_from_the_wheel(bin_folder: Path, tmp_path: Path) -> None:
    imported = run(bin_folder / "python", "-c", "import loader; print(loader.__file__)", cwd=tmp_path)
    assert Path(imported.strip()).is_relative_to(bin_folder.parent)


@needs_package_index
def test_the_command_loads_and_queries_away_from_the_checkout(bin_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in EVENTS), encoding="utf-8")
    run(bin_folder / "loader", "load", "events.jsonl", "--warehouse", "wh", cwd=tmp_path)

    def query(sql: str) -> object:
        return json.loads(
            run(bin_folder / "loader", "query", sql, "--format", "json", "--warehouse", "wh", cwd=tmp_path)
        )

    assert query("SELECT id, user_id, event_text, total, ship_to_city, context_library_name FROM order_completed") == [
        {
            "id": "m-1",
            "user_id": "u-1",
            "event_text": "Order Completed",
            "total": 12.5,
            "ship_to_city": "Łódź",
            "context_library_name": "web",
        }
    ]
    assert query("SELECT id, anonymous_id, plan FROM identifies") == [
        {"id": "m-2", "anonymous_id": "a-1", "plan": "pro"}
    ]
    assert query("SELECT count(*) AS n FROM tracks") == [{"n": 1}]
