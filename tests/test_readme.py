"""What README.md says to copy: the line for cron, the units of systemd, the Dockerfile. The commands in them load."""

import json
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from configparser import ConfigParser
from pathlib import Path

import pytest

from loader import settings
from tests.conftest import Run
from tests.test_bucket import ids, page

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
CONFIG = "/etc/loader.toml"


def blocks(language: str) -> list[str]:
    """The texts between the fences of that language, in README.md."""
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


def unit(text: str) -> ConfigParser:
    parser = ConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read_string(text)
    return parser


def dockerfile() -> dict[str, str]:
    """The rest of each line, by its instruction."""
    (text,) = blocks("dockerfile")
    return dict(line.split(" ", 1) for line in text.splitlines())


def cron() -> list[str]:
    (line,) = re.findall(r"^As a line for cron:\n\n    ((?:[0-9*]+ +){5})(.*)$", README, re.MULTILINE)
    assert line[0].split() == ["15", "2", "*", "*", "*"]
    return shlex.split(line[1])


def service() -> list[str]:
    return shlex.split(unit(blocks("ini")[0])["Service"]["ExecStart"])


def container() -> list[str]:
    return [*json.loads(dockerfile()["ENTRYPOINT"]), *json.loads(dockerfile()["CMD"])]


@pytest.mark.parametrize("command", [cron, service, container])
def test_commands(command: Callable[[], list[str]], run: Run, tmp_path: Path) -> None:
    """Each loads what the file of settings names, without a word on stdout."""
    (tmp_path / "a.json").write_bytes(page("a"))
    file = tmp_path / "loader.toml"
    file.write_text('sources = ["a.json"]\n')
    path, *arguments = command()
    assert Path(path).name == "loader"
    if command is container:
        variables = dict(each.split("=") for each in dockerfile()["ENV"].split())
        assert variables == {"LOADER_WAREHOUSE": "/warehouse", "LOADER_CONFIG": CONFIG}
        environment = {"LOADER_WAREHOUSE": str(tmp_path / "warehouse"), "LOADER_CONFIG": str(file)}
    else:
        assert CONFIG in arguments
        environment = {}
    done = run(*(str(file) if each == CONFIG else each for each in arguments), **environment)
    assert (done.exit_code, done.stdout, ids(tmp_path)) == (0, "", ["a"])
    assert ("--quiet" in arguments) is (done.stderr == "")


def test_units(tmp_path: Path) -> None:
    """systemd knows every line of them. The file of variables need not be there."""
    assert unit(blocks("ini")[0])["Service"]["EnvironmentFile"].startswith("-/")
    if not shutil.which("systemd-analyze"):
        pytest.skip("there is no systemd-analyze")
    for name, text in zip(("loader.service", "loader.timer"), blocks("ini"), strict=True):
        (tmp_path / name).write_text(text.replace(service()[0], sys.executable))
    command = ["systemd-analyze", "verify", str(tmp_path / "loader.service"), str(tmp_path / "loader.timer")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_dockerfile() -> None:
    """Its Python is one that the package is for, and what it copies and installs is here."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = dockerfile()
    assert list(lines) == ["FROM", "COPY", "RUN", "ENV", "ENTRYPOINT", "CMD"]
    (version,) = re.findall(r"^python:(3\.\d+)-slim$", lines["FROM"])
    assert f"Programming Language :: Python :: {version}" in project["classifiers"]
    source, folder = lines["COPY"].split()
    install = shlex.split(lines["RUN"].partition(" && ")[0])
    assert (source, install[:2], install[-1]) == (".", ["pip", "install"], folder)
    constraints = install[install.index("-c") + 1]
    assert (ROOT / Path(constraints).relative_to(folder)).is_file()
    assert json.loads(lines["ENTRYPOINT"]) == list(project["scripts"])


def test_settings_of_its_examples() -> None:
    """Every piece of TOML names settings that there are."""
    texts = blocks("toml")
    assert len(texts) >= 3
    known = {option.name for option in settings.OPTIONS if option.lasting} | {"storage", "notify", "identity"}
    for text in texts:
        assert set(tomllib.loads(text)) <= known
