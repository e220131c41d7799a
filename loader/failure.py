"""What a user is told when a command cannot go on: the message and the exit code of every exception."""

import errno
import os
import re
import shutil
import traceback
from importlib import metadata
from pathlib import Path

from loader.errors import Exit, LoaderError
from loader.text import plain, size

INTERRUPTED, STOPPED = 130, 143  # as a shell has it: 128 + SIGINT, 128 + SIGTERM
_TOLD = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EPERM, errno.EROFS)
_NAMED = re.compile(r'\\?"(/[^"]*?)\\?": ')


def version() -> str:
    """The version of the installed package."""
    try:
        return metadata.version("loader")
    except metadata.PackageNotFoundError:
        return "0 (not installed)"


def explain(error: BaseException, warehouse: Path) -> tuple[str, int]:
    """The message and exit code of an exception; never a traceback."""
    kinds = {kind.__name__ for kind in type(error).__mro__}  # by name: asking for the engine's would import it
    if isinstance(error, LoaderError):
        return str(error), error.exit
    if isinstance(error, KeyboardInterrupt) or "InterruptException" in kinds:
        return "interrupted; what was committed stays", INTERRUPTED
    if isinstance(error, MemoryError) or "OutOfMemoryException" in kinds:
        return (
            "out of memory. Set memory_limit to what the machine has; for a load, set a smaller max_load_bytes."
        ), Exit.FAILED
    number = _number(error)
    if isinstance(error, OSError) or number or kinds & {"IOException", "PermissionException", "DeltaError"}:
        return _explain_io(error, number, warehouse), Exit.FAILED
    return (
        f"this is a bug, please report it: {type(error).__name__}: {plain(str(error))} "
        f"(at {_place(error)}, loader {version()}). What was committed stays."
    ), Exit.FAILED


def _number(error: BaseException) -> int | None:
    """The system's number for what happened; engines tell its words only."""
    if isinstance(error, OSError) and error.errno:
        return error.errno
    return next((number for number in _TOLD if os.strerror(number) in str(error)), None)


def _explain_io(error: BaseException, number: int | None, warehouse: Path) -> str:
    message = str(error)
    name = os.fsdecode(error.filename) if isinstance(error, OSError) and error.filename else ""
    if not name and (found := _NAMED.search(message)):
        name = found.group(1)
    where = f"{plain(name)}: " if name else ""
    if number in (errno.ENOSPC, errno.EDQUOT):
        path = Path(name or warehouse).absolute()
        there = next(folder for folder in (path, *path.parents) if folder.is_dir())
        free = size(shutil.disk_usage(there).free)
        full = "disk full" if number == errno.ENOSPC else "disk quota reached"
        return f"{full}: {free} free at {there}. Make room and run this again; what was committed stays."
    if number == errno.EFBIG:
        return f"{where}the file would be larger than this user's limit (ulimit -f). What was committed stays."
    if number in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"{where}permission denied. Check who may read and write there."
    if isinstance(error, OSError) and error.strerror:
        return f"{where}{error.strerror}."
    return plain(message.splitlines()[0]) if message else type(error).__name__


def _place(error: BaseException) -> str:
    """The innermost place of this package that the error passed: file:line (function)."""
    own = Path(__file__).parent
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename).parent == own]
    return f"loader/{Path(frames[-1].filename).name}:{frames[-1].lineno} ({frames[-1].name})" if frames else "?"
