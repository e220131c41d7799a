"""Which files a command reads and in which order, what makes a file new, and when it has settled."""

import os
import re
import stat
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime
from fnmatch import fnmatch, translate
from glob import glob, has_magic
from pathlib import Path

from loader import layout, storage
from loader.bucket import Bucket, Object
from loader.errors import LoaderError, UsageError
from loader.records import STDIN, SourceFile
from loader.settings import Settings

_GROWTH = 10  # of compressed events, when they are read
_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
_TOKEN = re.compile(r"\[!?\]?[^\]]*\]|.", re.DOTALL)  # of a glob
_LOOK = 0.05  # seconds between two looks at a file that may be growing
_QUIET = 1.0  # seconds after which a file that ends with a line has settled


def find(settings: Settings, started: datetime, empty: dict[str, str]) -> Iterator[SourceFile]:
    """The files of the sources: paths, folders, globs, `-` and places in buckets, each once, as they are listed.

    empty: gets, for those sources that hold no file, why. Raises LoaderError where a source cannot be listed.
    """
    seen: set[str] = set()
    for given in settings.sources:
        there = False
        for file in _files(given, settings, started):
            there = True
            if layout.is_before(file.uri, settings.since) or file.uri in seen:
                continue
            if len(settings.sources) > 1 or not storage.is_bucket(given):
                seen.add(file.uri)
            yield file
        if not there and (settings.since is None or _is_empty(given, settings, started)):
            empty[given] = _why_empty(given)


def _is_empty(given: str, settings: Settings, started: datetime) -> bool:
    return next(_files(given, replace(settings, since=None), started), None) is None


def in_order(files: Iterable[SourceFile]) -> list[SourceFile]:
    """By uri, streams last, stdin the last of all."""
    return sorted(files, key=lambda file: (file.size is None, file.uri == STDIN, os.fsencode(file.uri)))


def refuse_missing(settings: Settings, started: datetime) -> None:
    """LoaderError for the first source that holds no file at all: of each, only the first one is looked for."""
    for given in settings.sources:
        if _is_empty(given, settings, started):
            raise LoaderError(f"{given}: {_why_empty(given)}")


def refuse_empty(empty: Mapping[str, str], loaded: Iterable[str]) -> None:
    """LoaderError for the first source without files, unless files from there were loaded before (they may be cleaned
    up behind a load). loaded: the uris of all files that the ledger has."""
    known = list(loaded) if empty else []
    for given, reason in empty.items():
        path = given if storage.is_bucket(given) else str(Path(given).absolute())
        if not any(uri == path or uri.startswith(path.rstrip("/") + "/") or fnmatch(uri, path) for uri in known):
            raise LoaderError(f"{given}: {reason}")


def _files(given: str, settings: Settings, started: datetime) -> Iterator[SourceFile]:
    """The files of a source."""
    if given == STDIN:
        yield SourceFile(STDIN, None, started, settings.source)
    elif storage.is_bucket(given):
        address = storage.parse(given)
        for each in _objects(address.key, Bucket(address, settings.storage), settings.since):
            uri = address.uri(each.key)
            yield SourceFile(uri, each.size, each.modified, settings.source or layout.source(uri), each.etag)
    else:
        for path in _expand(given):
            if (status := _status(path)) is not None:
                uri = str(path.absolute())
                if not stat.S_ISREG(status.st_mode):
                    yield SourceFile(uri, None, started, settings.source)
                    continue
                fresh = 0 <= time.time() - status.st_mtime < settings.settle_seconds
                yield replace(SourceFile.of(uri, status, settings.source or layout.source(uri)), fresh=fresh)


def _why_empty(given: str) -> str:
    if storage.is_bucket(given):
        glob_ = has_magic(given)
        return (
            "no object matches this glob." if glob_ else "there is no such object, and none below. Check the address."
        )
    if Path(given).is_dir():
        return "this folder holds no file to read (hidden files do not count)."
    if has_magic(given):
        return "no file matches this glob."
    return "there is no such file or folder. Check the path, or quote it if it is a glob."


# --- in a bucket ------------------------------------------------------------------------------------------------------


def _objects(key: str, bucket: Bucket, since: date | None) -> Iterator[Object]:
    """The object of that key, or all below it, or those that match it as a glob. As on disk, hidden ones (`.x`, `_x`)
    below a folder don't count. One without bytes counts if it is named: below a folder it may be the folder's mark."""
    parts = key.split("/") if key else []
    fixed = next((at for at, part in enumerate(parts) if has_magic(part)), len(parts))
    matches = re.compile("".join(_pattern(part) for part in parts) + r"(?P<below>.*)", re.DOTALL)
    found = bucket.head(key) if key and fixed == len(parts) else None
    if found and found.size:
        yield found
        return
    for each in _since(bucket, "/".join(parts[:fixed]), since):
        match = matches.fullmatch(each.key + "/")
        if match and not any(part.startswith((".", "_")) for part in match["below"].split("/")):
            found = None
            yield each
    if found:
        yield found


def _pattern(part: str) -> str:
    """A regular expression for one part of a glob and the / after it, as `glob` takes it: `**` is any number of parts,
    and what begins with a wildcard matches no dot there."""
    if part == "**":
        return r"(?:(?!\.)[^/]+/)*"
    if not has_magic(part):
        return re.escape(part) + "/"

    def token(match: re.Match[str]) -> str:
        one = match.group()
        if len(one) > 1:
            return translate(one)[4:-3]  # [a-z], in the form that `re` has
        return {"*": "[^/]*", "?": "[^/]"}.get(one, re.escape(one))

    return (r"(?!\.)" if part[0] in "*?[" else "") + _TOKEN.sub(token, part) + "/"


def _since(bucket: Bucket, folder: str, since: date | None) -> Iterator[Object]:
    """The objects below a folder; at the first of a day before, the listing goes on where the later days begin."""
    after: str | None = None
    while True:
        for each in bucket.objects(folder, after):
            after = layout.ahead(each.key, since) if since else None
            if after:
                break
            yield each
        else:
            return


# --- on disk ----------------------------------------------------------------------------------------------------------


def _expand(given: str) -> list[Path]:
    path = Path(given)
    if path.is_dir():
        return _walk(path)
    if path.exists():
        return [path]
    scheme, address, _ = given.partition("://")
    if address:  # not repeated: it may hold a secret
        raise UsageError(f"{scheme}://: is no source. In buckets these are s3://, gs:// and az://BUCKET/FOLDER.")
    matches = [Path(match) for match in glob(given, recursive=True)] if has_magic(given) else []
    return [file for match in matches for file in (_walk(match) if match.is_dir() else [match])]


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


def settled(files: Sequence[SourceFile], seconds: float) -> tuple[list[SourceFile], list[str]]:
    """The files without those that are growing, and the uris of these.

    Only fresh files are looked at again: one that ends inside a line until it was left alone for that many seconds, the
    others for one. (What goes unnoticed so costs nothing: the next run reads the file again, and rows stay single.)
    """
    waiting = {
        file.uri: (file, seconds if _ends_inside_a_line(file) else min(_QUIET, seconds)) for file in files if file.fresh
    }
    growing = set()
    while waiting:
        for uri, (file, quiet) in list(waiting.items()):
            status = _status(Path(uri))
            now = SourceFile.of(uri, status, None) if status else None
            if now and (now.size, now.modified) != (file.size, file.modified):
                growing.add(uri)
            elif now and time.time() - now.modified.timestamp() < quiet:
                continue
            del waiting[uri]
        if waiting:
            time.sleep(_LOOK)
    return [file for file in files if file.uri not in growing], sorted(growing)


def _ends_inside_a_line(file: SourceFile) -> bool:
    """Whether a file of text has no line end as yet. Of compressed data that can't be told: reading it does."""
    try:
        with Path(file.uri).open("rb") as raw:
            first = raw.read(4)
            if not first or first.startswith(_GZIP) or first == _ZSTD:
                return False
            raw.seek(-1, os.SEEK_END)
            return raw.read(1) != b"\n"
    except OSError:  # that is for the one who reads it to say
        return False


# --- a load -----------------------------------------------------------------------------------------------------------


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
