"""What the names of files tell: the source and the day, by RudderStack's layout and Segment's. Pure."""

import re
from datetime import UTC, date, datetime, time

# rudder-logs/<source>/YYYY-MM-DD/… and segment-logs/<source>/<midnight UTC in milliseconds>/…
_SOURCE = re.compile(r"(?:^|/)(?:rudder-logs|segment-logs)/([^/]+)/")
_DAY = re.compile(r"(?:^|/)(?:rudder-logs/[^/]+/(\d{4}-\d\d-\d\d)|segment-logs/[^/]+/(\d{13}))(?:/|$)")


def source(path: str) -> str | None:
    """The id of the source whose events a file holds; None where its path does not tell."""
    return match.group(1) if (match := _SOURCE.search(path)) else None


def day(path: str) -> date | None:
    """The day in UTC on which the events of a file, or of a folder of files, came in; None where its path does not
    tell."""
    if not (match := _DAY.search(path)):
        return None
    written, milliseconds = match.groups()
    try:
        return date.fromisoformat(written) if written else datetime.fromtimestamp(int(milliseconds) / 1000, UTC).date()
    except ValueError:  # 2026-02-31
        return None


def is_before(path: str, since: date | None) -> bool:
    """Whether a file or folder is of a day before that; without a day, or `since`, it is not."""
    found = day(path) if since else None
    return found is not None and since is not None and found < since


def ahead(path: str, since: date) -> str | None:
    """Of a file of a day before `since`: a name that comes after all those days of the same source, and before the
    others. None: the file is not of a day before, or its path does not tell."""
    match = _DAY.search(path)
    if match is None or not is_before(path, since):
        return None
    if match.group(1):
        return path[: match.start(1)] + since.isoformat()
    midnight = datetime.combine(since, time(), UTC)
    return path[: match.start(2)] + str(int(midnight.timestamp() * 1000))
