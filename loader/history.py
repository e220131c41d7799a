"""Which version of a Delta table each load left: decided by the transactions in the table's log.

Load ids only grow, also when a warehouse goes back to an earlier load: so they grow with the versions, too.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

COMPACTION = "compact"  # the transactions of versions that have the rows of the one before, in other files


def version_at(root: Path, load_id: int, app: str = "loader") -> int | None:
    """The version of a table as the load left it; None where the log tells of no load up to this one."""
    return next((version for version, load in _loads(root, app) if load <= load_id), None)


def loads(root: Path, app: str = "loader") -> list[int]:
    """The loads that the log tells of, oldest first."""
    return sorted(load for _, load in _loads(root, app))


def since(root: Path, instant: float) -> tuple[int, set[str]]:
    """The version that was the newest at an instant (seconds since 1970), else the first that the log tells of; and the
    paths, within the table's folder, of the files that later versions added."""
    added: set[str] = set()
    version = 0
    for path in _entries(root):
        version = int(path.stem)
        if path.stat().st_mtime <= instant:
            break
        added |= {unquote(entry["add"]["path"]) for entry in _read(path, '"add"')}
    return version, added


def _loads(root: Path, app: str) -> Iterator[tuple[int, int]]:
    """The versions that are a load's last, with the load, newest first. Compactions that came next changed no row: the
    last of them is the load's last version."""
    last = None
    for path in _entries(root):
        seen = {entry["txn"]["appId"]: entry["txn"]["version"] for entry in _read(path, '"txn"')}
        last = int(path.stem) if last is None else last
        if app in seen:
            yield last, seen[app]
        if COMPACTION not in seen:
            last = None


def _entries(root: Path) -> list[Path]:
    """The entries of a table's log, newest first. What is none is passed over."""
    return sorted((root / "_delta_log").glob("[0-9]*.json"), reverse=True)


def _read(path: Path, name: str) -> Iterator[dict[str, Any]]:
    """The actions of this name (in quotes) in an entry."""
    for line in path.read_text().splitlines():
        action = json.loads(line) if name in line else {}
        if name.strip('"') in action:
            yield action
