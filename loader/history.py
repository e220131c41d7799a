"""Which version of a Delta table each load left: decided by the transactions in the table's log.

Load ids only grow, also when a warehouse goes back to an earlier load: so they grow with the versions, too.
"""

import json
from collections.abc import Iterator
from pathlib import Path


def version_at(root: Path, load_id: int, app: str = "loader") -> int | None:
    """The version of a table as the load left it; None where the log tells of no load up to this one."""
    return next((version for version, load in _loads(root, app) if load <= load_id), None)


def loads(root: Path, app: str = "loader") -> list[int]:
    """The loads that the log tells of, oldest first."""
    return sorted(load for _, load in _loads(root, app))


def _loads(root: Path, app: str) -> Iterator[tuple[int, int]]:
    """The versions that are a load's last, with the load, newest first. What is no entry of a log is passed over."""
    for path in sorted((root / "_delta_log").glob("[0-9]*.json"), reverse=True):
        for line in path.read_text().splitlines():
            entry = json.loads(line) if '"txn"' in line else {}
            if "txn" in entry and entry["txn"]["appId"] == app:
                yield int(path.stem), entry["txn"]["version"]
