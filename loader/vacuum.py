"""What a vacuum takes: files that nothing needs any more, neither what is published nor any version of the last days.

That a version is of the last days is told by its entry in the table's log: the newest that was there when they began,
and all since. A file that is younger stays, too: so does what a run that died had written, until then.
"""

from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from loader import delta, history, id_hashes

_FOLDERS = ("tables", "identity", "models", "loader")  # that hold tables
_LOG = "_delta_log"
DAY = 86400  # seconds


@dataclass(frozen=True, slots=True)
class Vacuumed:
    """What was removed. days: of which all versions were kept."""

    files: int
    bytes: int
    days: int

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return asdict(self)


def vacuum(warehouse: Path, named: Collection[str], resolved: int | None, days: int, now: float) -> Vacuumed:
    """Removes the files of tables that are needed no more.

    named: the paths that published views name. resolved: the load up to which persons are resolved, whose versions are
    published, too; None: there is none. days: back from now (seconds since 1970). May be killed anywhere and repeated.
    """
    instant = now - days * DAY
    count = size = 0
    for root in _roots(warehouse):
        needed = _needed(root, instant, resolved)
        for path in root.rglob("*.parquet"):
            if path.relative_to(root).parts[0] == _LOG or str(path) in named or str(path) in needed:
                continue
            if (status := path.stat()).st_mtime < instant:
                path.unlink()
                count, size = count + 1, size + status.st_size
    id_hashes.forget(warehouse)
    return Vacuumed(count, size, days)


def _roots(warehouse: Path) -> Iterator[Path]:
    """The folders of tables, also of those that a first load had only begun."""
    for folder in _FOLDERS:
        if (warehouse / folder).is_dir():
            yield from sorted(path for path in (warehouse / folder).iterdir() if path.is_dir())


def _needed(root: Path, instant: float, resolved: int | None) -> set[str]:
    """The paths of the files of the versions since an instant, of the newest, and of the one that is resolved."""
    if not delta.exists(root):
        return set()
    version, added = history.since(root, instant)
    versions = {version, None}
    if resolved is not None and (then := history.version_at(root, resolved)) is not None:
        versions.add(then)
    live = {file.path for version in versions for file in delta.snapshot(root, version).files}
    return live | {f"{root}/{path}" for path in added}
