"""Names of data files: a number (of the load, or of what else wrote it) and a mark of its columns, so that many can be
read without a look into each for what columns it has. Pure, but for chance."""

import hashlib
import json
import re
import uuid
from collections import Counter
from collections.abc import Iterable, Sequence

from loader.calls import PARTITION
from loader.schema import Column

_MARK = re.compile(r"/\d+-([0-9a-f]{16})-[^/]*$")  # files of earlier versions have none
_MOST = 8  # groups of alike files: each makes a query over them a little longer to plan


def new(number: int, columns: Iterable[Column]) -> str:
    """A name that no other file has, without `.parquet`. columns: which the files of this name have, exactly, but for
    the partition."""
    pairs = sorted((column.name, column.sql_type) for column in columns if column.name != PARTITION)
    mark = hashlib.sha256(json.dumps(pairs).encode()).hexdigest()[:16]
    return f"{number}-{mark}-{uuid.uuid4().hex[:12]}"


def groups(paths: Sequence[str]) -> list[tuple[bool, list[str]]]:
    """The files, each once: groups of files that have the same columns of the same types, and then, with False, those
    that are not known to."""
    marks = [match.group(1) if (match := _MARK.search(path)) else None for path in paths]
    often = [mark for mark, count in Counter(marks).most_common() if mark and count > 1][:_MOST]
    alike = [(True, [path for path, its in zip(paths, marks, strict=True) if its == mark]) for mark in often]
    others = [path for path, its in zip(paths, marks, strict=True) if its not in often]
    return [*alike, (False, others)] if others else alike
