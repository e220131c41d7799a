"""Compiles loader/scanner.c while the package is built: with the system's C compiler, else with one from the index."""

import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SYSTEM = "cc"
OTHER = "ziglang>=0.15,<1"  # a compiler for those that have none; only the build needs it
FLAGS = ["-std=c11", "-O2", "-fPIC", "-shared", "-Wall", "-Wextra"]


class ScannerHook(BuildHookInterface):  # type: ignore[type-arg]
    """Makes loader/_scanner.so. It has no interface to Python, so that it suits each version."""

    def dependencies(self) -> list[str]:
        return [] if shutil.which(SYSTEM) else [OTHER]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        folder = Path(self.root) / "loader"
        compiler = [SYSTEM] if shutil.which(SYSTEM) else [sys.executable, "-m", "ziglang", "cc"]
        made = folder / "_scanner.so.new"  # a process that has the old one open keeps it
        subprocess.run([*compiler, *FLAGS, "-o", made, folder / "scanner.c"], check=True)
        made.replace(folder / "_scanner.so")
        platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{platform}"
