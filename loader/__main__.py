"""The process: `loader`, and `python -m loader`."""

import gc
import os
import sys
from typing import NoReturn

from loader.cli import main


def run() -> NoReturn:
    """Runs the command line and ends the process at once: to take apart all that was imported and loaded, as Python
    does in the end, takes longer than many a query."""
    gc.set_threshold(100_000, 50)  # most objects are of modules, and stay: to look for others so often is idle
    try:
        sys.exit(main(prog_name="loader"))
    except SystemExit as end:
        if isinstance(end.code, int) and _flushed():
            os._exit(end.code)
        raise


def _flushed() -> bool:
    """Whether all that was written is out. If it is not, Python says why."""
    try:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
    except (OSError, ValueError):
        return False
    return True


if __name__ == "__main__":
    run()
