"""All events as one relation, in whichever tables they lie: decides which columns who-is-who looks at."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from loader.calls import CALL_TABLES, TRACK
from loader.db import literal, quote
from loader.schema import Column

# White space that ids are trimmed of, as SQL.
SPACE = "' ' || chr(9) || chr(10) || chr(11) || chr(12) || chr(13) || chr(160)"
# What a session is told by: its columns, and those of the tables that hold it, the first that is there.
_MORE = {
    "url": ("url", "context_page_url"),
    "referrer": ("referrer", "context_page_referrer"),
    "utm_source": ("context_campaign_source",),
    "utm_medium": ("context_campaign_medium",),
    "utm_campaign": ("context_campaign_name",),
    "utm_term": ("context_campaign_term",),
    "utm_content": ("context_campaign_content",),
}


@dataclass(frozen=True, slots=True)
class Part:
    """The rows of one table: its call, its columns, the Parquet files to read (absolute)."""

    call: str
    columns: Sequence[Column]
    files: Sequence[str]


def trimmed(name: str) -> str:
    """SQL of an id as it counts: trimmed; NULL where nothing is left."""
    return f"nullif(trim({name}, {SPACE}), '')"


def sql(parts: Mapping[str, Part], after: int = -1) -> str:
    """SELECT of the events in these tables, of files with a `loader_file_id` beyond `after`.

    Columns: call, event, id, user_id, anonymous_id, previous_id, timestamp, received_at, and what sessions are told by.
    Tables of single events give the events that `tracks` lacks.
    """
    calls = set(CALL_TABLES.values())
    selects = []
    for table, part in parts.items():
        if part.files:
            apart = table not in calls and parts["tracks"].files
            selects.append(_select(part, after, parts["tracks"].files if apart else ()))
    return " UNION ALL ".join(selects) or _nothing()


def _select(part: Part, after: int, without: Sequence[str]) -> str:
    there = {column.name for column in part.columns}
    cells = [
        f"{literal(part.call)} AS call",
        "event" if part.call == TRACK else "NULL::VARCHAR AS event",
        "id",
        f"{trimmed('user_id')} AS user_id",
        f"{trimmed('anonymous_id')} AS anonymous_id",
        f"{trimmed('previous_id')} AS previous_id" if part.call == "alias" else "NULL::VARCHAR AS previous_id",
        '"timestamp"',
        "received_at",
    ]
    for name, sources in _MORE.items():
        found = [f"{quote(source)}::VARCHAR" for source in sources if source in there]
        cells.append((f"coalesce({', '.join(found)})" if found else "NULL::VARCHAR") + f" AS {name}")
    where = f" WHERE loader_file_id > {after}"
    if without:
        where += f" AND id NOT IN (SELECT id FROM {_files(without)} WHERE id IS NOT NULL)"
    return f"SELECT {', '.join(cells)} FROM {_files(part.files)}{where}"


def _files(files: Sequence[str]) -> str:
    listed = ", ".join(map(literal, files))
    return f"read_parquet([{listed}], union_by_name = true, hive_partitioning = false)"


def _nothing() -> str:
    texts = ("call", "event", "id", "user_id", "anonymous_id", "previous_id", *_MORE)
    cells = [f"NULL::VARCHAR AS {name}" for name in texts]
    cells[6:6] = ["NULL::TIMESTAMPTZ AS timestamp", "NULL::TIMESTAMPTZ AS received_at"]
    return f"SELECT {', '.join(cells)} WHERE false"
