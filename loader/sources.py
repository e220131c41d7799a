"""Which files a command reads and in which order, and what makes a file new."""

import os
import re
import stat
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from fnmatch import fnmatch
from glob import glob, has_magic
from pathlib import Path

from loader.errors import LoaderError
from loader.records import STDIN, SourceFile

_BUCKETS = ("s3://", "gs://", "az://")
_GROWTH = 10  # of compressed events, when they are read
_RUDDER_SOURCE = re.compile(r"(?:^|/)rudder-logs/([^/]+)/")


def find(sources: Sequence[str], source_name: str | None, started: datetime) -> tuple[list[SourceFile], dict[str, str]]:
    """The files of these paths, folders, globs and `-`, each once, in the order of their uri (streams last); and, for
    those sources that hold no file, why."""
    regular: dict[str, os.stat_result] = {}
    streams: set[str] = set()
    empty: dict[str, str] = {}
    for given in sources:
        if given == STDIN:
            streams.add(STDIN)
            continue
        files = _expand(given)
        if isinstance(files, str):
            empty[given] = files
            continue
        for path in files:
            if (status := _status(path)) is not None:
                uri = str(path.absolute())
                if stat.S_ISREG(status.st_mode):
                    regular[uri] = status
                else:
                    streams.add(uri)
    found = [_describe(uri, regular[uri], source_name) for uri in sorted(regular, key=os.fsencode)]
    found += [
        SourceFile(uri, None, started, source_name) for uri in sorted(streams, key=lambda uri: (uri == STDIN, uri))
    ]
    return found, empty


def refuse_empty(empty: Mapping[str, str], loaded: Iterable[str]) -> None:
    """LoaderError for the first source without files, unless files from there were loaded before (they may be cleaned
    up behind a load). loaded: the uris of all files that the ledger has."""
    known = list(loaded) if empty else []
    for given, reason in empty.items():
        path = str(Path(given).absolute())
        if not any(uri == path or uri.startswith(path.rstrip("/") + "/") or fnmatch(uri, path) for uri in known):
            raise LoaderError(f"{given}: {reason}")


def _expand(given: str) -> list[Path] | str:
    """The files of a source, or why there are none."""
    if given.startswith(_BUCKETS):
        raise LoaderError(f"{given}: this version reads files on disk, no buckets. Copy the files, then load those.")
    path = Path(given)
    if not path.exists():
        if not has_magic(given):
            return "there is no such file or folder. Check the path, or quote it if it is a glob."
        matches = [Path(match) for match in glob(given, recursive=True)]
        files = [file for match in matches for file in (_walk(match) if match.is_dir() else [match])]
        return files or "no file matches this glob."
    if path.is_dir():
        return _walk(path) or "this folder holds no file to read (hidden files do not count)."
    return [path]


def _walk(folder: Path) -> list[Path]:
    """All files below a folder but hidden ones (`.x`) and markers such as `_SUCCESS`."""

    def unreadable(error: OSError) -> None:
        raise LoaderError(f"{error.filename}: cannot list this folder: {error.strerror}. Check its permissions.")

    files = []
    for root, folders, names in os.walk(folder, onerror=unreadable):
        folders[:] = [name for name in folders if not name.startswith((".", "_"))]
        files += [Path(root, name) for name in names if not name.startswith((".", "_"))]
    return [file for file in files if file.is_file()]


def _status(path: Path) -> os.stat_result | None:
    """What the file is; None if it went while the files were listed."""
    try:
        return path.stat()
    except FileNotFoundError:
        return None


def _describe(uri: str, status: os.stat_result, source_name: str | None) -> SourceFile:
    if source_name is None and (match := _RUDDER_SOURCE.search(uri)):
        source_name = match.group(1)
    return SourceFile.of(uri, status, source_name)


def new(files: Iterable[SourceFile], loaded: set[tuple[str, int | None, str]]) -> list[SourceFile]:
    """Those of the files that the ledger does not hold in this state: `loaded` has (uri, size, version)."""
    return [file for file in files if file.size is None or (file.uri, file.size, file.version) not in loaded]


def take(files: Sequence[SourceFile], limit: int) -> tuple[list[SourceFile], list[SourceFile]]:
    """The first files, as many as a load of `limit` bytes of text has room for (at least one), and the rest."""
    taken = 0
    for at, file in enumerate(files):
        taken += (file.size or 0) * (_GROWTH if _is_compressed(file) else 1)
        if taken > limit and at:
            return list(files[:at]), list(files[at:])
    return list(files), []


def _is_compressed(file: SourceFile) -> bool:
    """By name, which will do for an estimate."""
    return file.uri.endswith((".gz", ".zst", ".zstd"))
