"""Compiles loader/scanner.c while the package is built: with the system's C compiler, else with one from the index."""

import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SYSTEM = "cc"
FLAGS = ["-std=c11", "-O2", "-fPIC", "-shared", "-Wall", "-Wextra", "-Werror"]


class ScannerHook(BuildHookInterface):  # type: ignore[type-arg]
    """Makes loader/_scanner.so, a library without an interface to Python: it suits each version of Python 3."""

    def dependencies(self) -> list[str]:
        return [] if shutil.which(SYSTEM) else ["ziglang>=0.15,<1"]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        folder = Path(self.root) / "loader"
        compiler = [SYSTEM] if shutil.which(SYSTEM) else [sys.executable, "-m", "ziglang", "cc"]
        subprocess.run([*compiler, *FLAGS, "-o", folder / "_scanner.so", folder / "scanner.c"], check=True)
        platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{platform}"
