"""All events as one relation, in whichever tables they lie: decides which columns who-is-who looks at."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from loader.calls import CALL_TABLES, TRACK
from loader.db import literal, quote
from loader.schema import Column

WHITE = " \t\n\v\f\r\xa0"  # what ids are trimmed of; other white space is part of an id
_WHITE = " || ".join(f"chr({ord(character)})" for character in WHITE)
# What tells where a session came from: the cells of a struct, and the columns that hold them, the first that is there.
_LANDING = {"url": ("url", "context_page_url"), "referrer": ("referrer", "context_page_referrer")}
_UTM = {
    "source": ("context_campaign_source",),
    "medium": ("context_campaign_medium",),
    "campaign": ("context_campaign_name",),
    "term": ("context_campaign_term",),
    "content": ("context_campaign_content",),
}


@dataclass(frozen=True, slots=True)
class Part:
    """The rows of one table: its call, its columns, the Parquet files to read (absolute)."""

    call: str
    columns: Sequence[Column]
    files: Sequence[str]


def trimmed(name: str) -> str:
    """SQL of an id as it counts: trimmed; NULL where nothing is left.

    Nearly all begin and end with a letter or digit: to see that takes a quarter of the time that it takes to trim.
    """
    plain = f"ascii({name}) BETWEEN 33 AND 126 AND ascii(right({name}, 1)) BETWEEN 33 AND 126"
    return f"CASE WHEN {plain} THEN {name} ELSE nullif(trim({name}, {_WHITE}), '') END"


def unclean(parts: Mapping[str, Part], after: int = -1) -> str:
    """SELECT of one cell: whether an id in these tables needs to be trimmed."""
    names = {"user_id", "anonymous_id", "previous_id"}
    selects = []
    for part in parts.values():
        ids = sorted(names if part.call == "alias" else names - {"previous_id"})
        if part.files:
            differs = " OR ".join(f"{name} IS DISTINCT FROM {trimmed(name)}" for name in ids)
            selects.append(f"SELECT 1 FROM {_files(part.files)} WHERE loader_file_id > {after} AND ({differs})")
    return f"SELECT EXISTS ({' UNION ALL '.join(selects)})" if selects else "SELECT false"


def sql(parts: Mapping[str, Part], after: int = -1, *, clean: bool = False) -> str:
    """SELECT of the events in these tables, of files with a `loader_file_id` beyond `after`.

    clean: no id of theirs needs to be trimmed, so that a reader can seek ids in the files.

    Columns: call, event, id, user_id, anonymous_id, previous_id, timestamp, received_at; of a page `landing` (url,
    referrer); of an event that names a campaign `utm` (source, medium, campaign, term, content). Tables of single
    events give those that `tracks` lacks.
    """
    calls = set(CALL_TABLES.values())
    selects = []
    for table, part in parts.items():
        if part.files:
            apart = table not in calls and parts["tracks"].files
            selects.append(_select(part, after, parts["tracks"].files if apart else (), clean))
    return " UNION ALL ".join(selects) or _nothing()


def _select(part: Part, after: int, without: Sequence[str], clean: bool) -> str:
    spelt = (lambda name: name) if clean else trimmed
    there = {column.name for column in part.columns}
    cells = [
        f"{literal(part.call)} AS call",
        "event" if part.call == TRACK else "NULL::VARCHAR AS event",
        "id",
        f"{spelt('user_id')} AS user_id",
        f"{spelt('anonymous_id')} AS anonymous_id",
        f"{spelt('previous_id')} AS previous_id" if part.call == "alias" else "NULL::VARCHAR AS previous_id",
        '"timestamp"',
        "received_at",
    ]
    landing = _struct(_LANDING, there if part.call == "page" else set())
    utm = _struct(_UTM, there)
    named = [quote(source) for sources in _UTM.values() for source in sources if source in there]
    said = f"coalesce({', '.join(f'{name}::VARCHAR' for name in named)}) IS NOT NULL" if named else "false"
    cells.append(f"CASE WHEN {part.call == 'page'} THEN {landing} END AS landing")
    cells.append(f"CASE WHEN {said} THEN {utm} END AS utm")
    where = f" WHERE loader_file_id > {after}"
    if without:
        where += f" AND id NOT IN (SELECT id FROM {_files(without)} WHERE id IS NOT NULL)"
    return f"SELECT {', '.join(cells)} FROM {_files(part.files)}{where}"


def _struct(cells: Mapping[str, Sequence[str]], there: Collection[str]) -> str:
    texts = []
    for name, sources in cells.items():
        found = [f"{quote(source)}::VARCHAR" for source in sources if source in there]
        cell = f"coalesce({', '.join(found)})" if found else "NULL::VARCHAR"
        texts.append(f"{literal(name)}: {cell}")
    return "{" + ", ".join(texts) + "}"


def _files(files: Sequence[str]) -> str:
    listed = ", ".join(map(literal, files))
    return f"read_parquet([{listed}], union_by_name = true, hive_partitioning = false)"


def _nothing() -> str:
    """The same columns without a row."""
    texts = ", ".join(
        f"NULL::VARCHAR AS {name}" for name in ("call", "event", "id", "user_id", "anonymous_id", "previous_id")
    )
    times = ", ".join(f"NULL::TIMESTAMPTZ AS {name}" for name in ('"timestamp"', "received_at"))
    return f"SELECT {texts}, {times}, {_struct(_LANDING, ())} AS landing, {_struct(_UTM, ())} AS utm WHERE false"
