"""A load (or another command) that dies as by kill -9, at a step that is chosen.

    python -m tests.dying STEP WAREHOUSE ARGUMENT...    runs `loader ARGUMENT...`

A step is a change of the warehouse's folder, as seen after each call that the loader makes to the system or an engine.
So each of them is one, whatever the code does and without a hook in it. STEP 0 lets it live, and prints the number of
steps to stdout.
"""

import builtins
import faulthandler
import json
import os
import pathlib
import re
import signal
import sys
import threading
import types
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any
from urllib import parse

import loader

HOME = str(Path(loader.__file__).parent)
# What touches no file: methods of these types, built-in functions but for `open`, functions of these modules (Python's
# dataclasses are made from a string), and what pathlib does with names.
BUILT_IN = (str, bytes, list, dict, set, tuple, int, float, bool, frozenset, type, re.Pattern, re.Match)
PURE = {
    "<string>",
    "<frozen abc>",
    "<frozen _collections_abc>",
    json.__file__,
    re.__file__,
    types.__file__,
    parse.__file__,
}


class Steps:
    """Counts the changes of a folder, and ends the process at one of them."""

    def __init__(self, folder: Path, last: int):
        self._folder, self._last = folder, last
        self._seen = self._listed()
        self._lock = threading.Lock()
        self.count = 0

    def _listed(self) -> list[tuple[str, int, int, int]]:
        found = []
        for root, folders, files in os.walk(self._folder):
            found += [(f"{root}/{name}", 0, 0, 0) for name in folders]
            for path in (f"{root}/{name}" for name in files):
                with suppress(FileNotFoundError):
                    status = os.lstat(path)
                    found.append((path, status.st_ino, status.st_size, status.st_mtime_ns))
        return sorted(found)

    def look(self, frame: FrameType, event: str, called: Any) -> None:
        """A profile function: looks for a change when a call is done that the loader made."""
        caller: FrameType | None = frame
        if event == "c_return":
            owner = getattr(called, "__self__", None)
            if isinstance(owner, BUILT_IN) or (owner is builtins and called is not open):
                return
        elif event == "return" and not frame.f_code.co_filename.startswith(HOME):
            code = frame.f_code
            if code.co_filename in PURE or (code.co_filename == pathlib.__file__ and code.co_name.startswith("__")):
                return
            caller = frame.f_back
        else:
            return
        if caller is None or not caller.f_code.co_filename.startswith(HOME):
            return
        with self._lock:
            now = self._listed()
            if now != self._seen:
                self._seen = now
                self.count += 1
                if self.count == self._last:
                    os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    step, warehouse, *arguments = sys.argv[1:]
    faulthandler.dump_traceback_later(240, exit=True)  # one that hangs tells where
    from loader import cli, pipeline, resolved  # noqa: F401 - imported before the steps are counted

    steps = Steps(Path(warehouse), int(step))
    threading.setprofile(steps.look)
    sys.setprofile(steps.look)
    try:
        cli.main(["--warehouse", warehouse, *arguments])
    finally:
        sys.setprofile(None)
        print(steps.count)


if __name__ == "__main__":
    main()
