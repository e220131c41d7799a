"""The `context` of most events, member by member: each different text of a member is read once.

Contexts repeat themselves: a person's next event has the same device, library and campaign, and often the same page. So
of the members (`page`, `device`, ...) that the first lines of a load have, each different text is kept once, as a
context of its own with this one member; an event has the number of its text. What is in it, what its values are and
which cells they make is found out there. The numbers of usual lines are the scanner's (loader.scanner); those of the
others are given here (`encode`).

Such a context is *whole* if it has known members only, and none twice. One that has others, too, is *apart*: what is
left of it without the known ones is kept as JSON, and read path by path; so is one that has a member twice, with all it
has.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from json import dumps as to_json

import duckdb
import numpy as np
import pyarrow as pa

from loader import books
from loader.compiled import KEPT
from loader.db import literal, quote
from loader.paths import plant
from loader.records import Leaf
from loader.scanner import index

MAX_MEMBERS = 100
MIN_SHARE = 0.0003  # of the first contexts; rarer members are not worth a column
_SOME = 10_000  # events that tell how long members are
_PART = 64 << 20  # bytes of a member's texts, about, that are read at a time
_SEEN_LISTS = 100  # of keys that whole contexts have, known by their hash
_COUNT = "member_count"
_DENSE = 4  # where more pairs of an id and a number are possible, for each event, only those that come are counted
_USED = pa.schema([(name, pa.int64()) for name in ("member", "id", "number", "events", "first")])


def learn(connection: duckdb.DuckDBPyConnection, events: str) -> tuple[str, ...]:
    """The members that contexts of a relation of events (`context_keys`) have, most common first. Of names that differ
    in case only one is among them."""
    rows = connection.execute(f"""
        SELECT key, count(*) AS events FROM (SELECT unnest(list_distinct(context_keys)) AS key FROM {events})
        GROUP BY key HAVING events >= {MIN_SHARE} * (SELECT count(*) FROM {events} WHERE len(context_keys) > 0)
        ORDER BY events DESC, key LIMIT {MAX_MEMBERS}
    """).fetchall()
    known: dict[str, str] = {}
    return tuple(key for key, _ in rows if plant(known, (key,), "JSON"))


def whole_lists(connection: duckdb.DuckDBPyConnection, events: str, members: Sequence[str]) -> list[int]:
    """Of the lists of keys that contexts of these events have, the hashes of those that are whole."""
    if not members:
        return []
    rows = connection.execute(f"""
        WITH listed AS MATERIALIZED (SELECT context_keys AS keys, count(*) AS contexts FROM {events} GROUP BY ALL)
        SELECT hash(keys) FROM listed WHERE {_is_whole("keys", members)} ORDER BY contexts DESC LIMIT {_SEEN_LISTS}
    """).fetchall()
    return [found for (found,) in rows]


def seen(keys: str, lists: Sequence[int]) -> str:
    """SQL of whether a list of keys is one of these, by their hashes. (Of IN the engine makes a join of all events.)"""
    return f"coalesce(list_position({[*lists]}::UBIGINT[], hash({keys})) > 0, false)"


def whole(keys: str, found: str, members: Sequence[str], lists: Sequence[int]) -> str:
    """SQL of whether a context with these keys is whole. Never NULL. found: SQL of `count`. lists: `whole_lists`."""
    return f"""CASE WHEN len({keys}) = {found} THEN len({keys}) > 0 WHEN {seen(keys, lists)} THEN true
        ELSE coalesce({_is_whole(keys, members)}, false) END"""


def apart(keys: str) -> str:
    """SQL of whether a context with these keys that is not whole is apart."""
    return f"coalesce(len({keys}) > 0 AND list_unique({keys}) = len({keys}), false)"


def rest(context: str, members: Sequence[str]) -> str:
    """SQL of a context without the known members."""
    return f"json_merge_patch({context}, {literal(to_json(dict.fromkeys(members)))})"


def count(context: str, members: Sequence[str]) -> str:
    """SQL of how many members a context has."""
    return "(" + " + ".join(f"({context}.{quote(key)} IS NOT NULL)::INTEGER" for key in members) + ")"


def _is_whole(keys: str, members: Sequence[str]) -> str:
    names = ", ".join(map(literal, members))
    return f"(len({keys}) > 0 AND list_unique({keys}) = len({keys}) AND list_has_all([{names}]::VARCHAR[], {keys}))"


def type_of(members: Sequence[str]) -> dict[str, str] | str:
    """The type of `context` for json_transform."""
    return dict.fromkeys(members, "JSON") or "JSON"


def columns(members: Sequence[str], known: str, context: str, found: str) -> str:
    """SQL of the columns of `item` with the texts of the known members of contexts that are whole or apart (`known`),
    and of their number (`found`)."""
    if not members:
        return ""
    texts = [(f"{context}.{quote(key)}::VARCHAR", name) for key, name in _names(members)]
    made = [*texts, (found, _COUNT)]
    return "".join(f", CASE WHEN {known} THEN {sql} END AS {name}" for sql, name in made)


def names(members: Sequence[str]) -> list[str]:
    """The names of these columns."""
    return [*(name for _, name in _names(members)), _COUNT] if members else []


def name_of(key: str, members: Sequence[str]) -> str | None:
    """The one of a member, None if it is not among them."""
    return dict(_names(members)).get(key)


def prepare(connection: duckdb.DuckDBPyConnection) -> None:
    """Makes `member`: each different text of a member (by its number) as a context, with ids from 0, its shape and kind
    (compiled.KEPT)."""
    connection.execute("CREATE TABLE member (member INTEGER, id INTEGER, context VARCHAR, shape UBIGINT, kind UBIGINT)")


def keep(connection: duckdb.DuckDBPyConnection, members: Sequence[str], texts: pa.Table) -> None:
    """Adds texts (`compiled.KEPT`; shape NULL: not known) to `member`."""
    keys = ", ".join(literal("{" + to_json(key, ensure_ascii=False) + ":") for key in members)
    connection.register("kept", texts)
    connection.execute(f"""
        INSERT INTO member SELECT member, id, context, coalesce(shape, shape_of(context)), kind
        FROM (SELECT member, id, [{keys}][member + 1] || text || '}}' AS context, shape, kind FROM kept)
    """)
    connection.unregister("kept")


def encode(connection: duckdb.DuckDBPyConnection, members: Sequence[str], given: list[int]) -> None:
    """Makes `encoded`, the ids of the texts that the events in `parsed` have, and adds these to `member`; takes the
    texts out of `parsed`. given: by member, how many ids are given out; is kept up. BooksError if a text was lost.

    Of a large load a text is there several times: so its texts needn't be in memory all at once."""
    connection.execute("SET preserve_insertion_order = true")  # so that the columns, read one by one, fit together
    events = connection.sql("SELECT pos FROM parsed").to_arrow_table()
    if members:
        sizes = ", ".join(f"coalesce(sum(strlen({name})), 0)" for _, name in _names(members))
        (bytes_,) = connection.execute(f"SELECT {sizes} FROM (SELECT * FROM parsed LIMIT {_SOME})").fetchall()
        ((last,),) = connection.execute("SELECT max(rowid) FROM parsed").fetchall()

        def ids(at: int) -> tuple[int, pa.ChunkedArray]:
            rows = max(_PART * min(len(events), _SOME) // max(bytes_[at], 1), 1)
            parts = range(0, (last or 0) + 1, rows)
            with connection.cursor() as cursor:
                return at, _ids(cursor, members, at, events["pos"], parts, given)

        with ThreadPoolExecutor(2, thread_name_prefix="encode") as pool:
            longest_first = sorted(range(len(members)), key=lambda at: -bytes_[at])
            columns = [column for _, column in sorted(pool.map(ids, longest_first), key=lambda each: each[0])]
        _balance(connection, members, columns)
        for at, column in enumerate(columns):
            events = events.append_column(index(at), column)
        for name in names(members):
            connection.execute(f"ALTER TABLE parsed DROP COLUMN {name}")
    connection.execute("SET preserve_insertion_order = false")
    connection.register("ids", events)
    connection.execute("CREATE TABLE encoded AS SELECT * FROM ids")
    connection.unregister("ids")


def _ids(
    connection: duckdb.DuckDBPyConnection,
    members: Sequence[str],
    member: int,
    events: pa.ChunkedArray,
    parts: range,
    given: list[int],
) -> pa.ChunkedArray:
    """Keeps the different texts of a member in `member`. The ids of those that the events (their positions) have.

    parts: the first rows of the parts of `parsed` that are read at a time. A text is kept once for each that has it.
    """
    key, name = _names(members)[member]
    ids: list[pa.Array] = []
    done = 0
    for start in parts:
        part = f"rowid >= {start} AND rowid < {start + parts.step}"
        rows = connection.sql(f"SELECT pos, {name} FROM parsed WHERE {part}").to_arrow_table()
        same = rows["pos"].equals(events.slice(done, len(rows)))
        books.balance("order of events", {key: 1}, {key: int(same)})
        done += len(rows)
        found = rows[name].dictionary_encode()  # all chunks have the dictionary of the last one, which is whole
        if not found.num_chunks:
            continue
        texts = found.chunk(found.num_chunks - 1).dictionary
        ids += [_after(chunk.indices, given[member]) for chunk in found.chunks]
        numbers = np.arange(given[member], given[member] + len(texts), dtype=np.int32)
        unknown = pa.nulls(len(texts), pa.uint64())
        columns = [np.full(len(texts), member, np.int32), numbers, texts, unknown, unknown]
        keep(connection, members, pa.table(columns, schema=KEPT))
        given[member] += len(texts)
    books.balance("events of members", {key: len(events)}, {key: done})
    return pa.chunked_array(ids, pa.int32())


def _after(ids: pa.Array, kept: int) -> pa.Array:
    """Ids of texts that come after as many others."""
    if not kept:
        return ids
    numbers = ids.fill_null(-1).to_numpy()
    return pa.array(numbers + kept, pa.int32(), mask=numbers < 0)


def _balance(connection: duckdb.DuckDBPyConnection, members: Sequence[str], ids: Sequence[pa.ChunkedArray]) -> None:
    """BooksError unless the events have as many members as were counted, and as many ids."""
    counts = ", ".join(f"count({name})" for _, name in _names(members))
    ((all_, *given),) = connection.execute(f"SELECT coalesce(sum({_COUNT}), 0), {counts} FROM parsed").fetchall()
    told = [len(of_member) - of_member.null_count for of_member in ids]
    books.balance("members of contexts", {"all": int(all_)}, {"all": sum(given)})
    books.balance("members of contexts", dict(zip(members, given, strict=True)), dict(zip(members, told, strict=True)))


def balance(connection: duckdb.DuckDBPyConnection, members: Sequence[str], told: int) -> None:
    """BooksError unless the events in `item` have as many texts of members as were told."""
    counts = "".join(f" + count({index(at)})" for at in range(len(members)))
    ((there,),) = connection.execute(f"SELECT 0 * count(*){counts} FROM item").fetchall()
    books.balance("members of contexts", {"all": told}, {"all": there})


def balance_texts(connection: duckdb.DuckDBPyConnection, members: Sequence[str], given: Sequence[int]) -> None:
    """BooksError unless `member` has as many texts of each member as got an id."""
    kept = dict(connection.execute("SELECT member, count(*) FROM member GROUP BY member").fetchall())
    there = {key: kept.get(at, 0) for at, key in enumerate(members)}
    books.balance("texts of members", dict(zip(members, given, strict=True)), there)


def use(connection: duckdb.DuckDBPyConnection, members: Sequence[str]) -> None:
    """Makes `used`: by member, id, call and event table the number of events and the first one's position. Of the texts
    of a kind (compiled.KEPT) one stands for all. Texts that no event has are emptied."""
    connection.execute("""
        CREATE OR REPLACE TABLE used_by AS
        SELECT *, (row_number() OVER () - 1)::INTEGER AS number
        FROM (SELECT DISTINCT call, event_table, odd_call, odd_event FROM item)
    """)
    ((groups,),) = connection.execute("SELECT count(*) FROM used_by").fetchall()
    ids = "".join(f", coalesce({index(at)}, -1) AS {index(at)}" for at in range(len(members)))
    rows = connection.sql(f"""
        SELECT pos, number{ids} FROM item e JOIN used_by u ON e.call = u.call
            AND e.event_table IS NOT DISTINCT FROM u.event_table
            AND e.odd_call = u.odd_call AND e.odd_event = u.odd_event
    """).to_arrow_table()
    places, numbers = rows["pos"].to_numpy(), rows["number"].to_numpy()
    alike = connection.sql("""
        SELECT member, id, CASE WHEN kind IS NULL THEN id ELSE min(id) OVER (PARTITION BY member, kind) END AS first
        FROM member
    """).to_arrow_table()
    of_member, id_, first = (alike[name].to_numpy() for name in ("member", "id", "first"))

    def counted(at: int) -> tuple[pa.Table, pa.Table]:
        mine, own = of_member == at, rows[index(at)].to_numpy()
        stands = np.full(int(max(own.max(initial=-1), id_[mine].max(initial=-1))) + 2, -1, np.int32)
        stands[id_[mine]] = first[mine]
        used = np.zeros(len(stands), bool)
        used[own], used[stands[own]] = True, True
        empty = id_[mine][~used[id_[mine]]]
        unused = pa.table([np.full(len(empty), at, np.int32), empty], ["member", "id"])
        return _counted(at, stands[own], numbers, groups, places), unused

    with ThreadPoolExecutor(2, thread_name_prefix="use") as pool:
        found = [*pool.map(counted, range(len(members)))]
    connection.register("counted", pa.concat_tables([used for used, _ in found]) if found else _USED.empty_table())
    connection.execute("""
        CREATE OR REPLACE TABLE used AS
        SELECT member, id, call, event_table, odd_call, odd_event, events, first
        FROM counted JOIN used_by USING (number)
    """)
    connection.unregister("counted")
    if any(unused.num_rows for _, unused in found):  # only duplicates have it, or files that couldn't be read whole
        connection.register("unused", pa.concat_tables([unused for _, unused in found]))
        connection.execute("""
            UPDATE member SET context = NULL, shape = NULL, kind = NULL
            FROM unused WHERE unused.member = member.member AND unused.id = member.id
        """)
        connection.unregister("unused")


def _counted(member: int, ids: np.ndarray, numbers: np.ndarray, groups: int, places: np.ndarray) -> pa.Table:
    """How many events have which id (-1: none) and number, below `groups`, and the first place of each of these."""
    pairs = (ids.astype(np.int64) + 1) * groups + numbers
    possible = (int(ids.max(initial=-1)) + 2) * groups
    if possible > _DENSE * len(ids):
        there, pairs = np.unique(pairs, return_inverse=True)
    else:
        there = np.arange(possible)
    events = np.bincount(pairs, minlength=len(there))
    first = np.full(len(there), np.iinfo(np.int64).max)
    np.minimum.at(first, pairs, places)
    kept = (events > 0) & (there >= groups)
    id_, number = np.divmod(there[kept], groups)
    columns = [np.full(len(id_), member), id_ - 1, number, events[kept], first[kept]]
    return pa.Table.from_arrays([pa.array(column) for column in columns], schema=_USED)


def of_leaf(relation: str, leaf: Leaf) -> str:
    """A relation of events (`pos`, `context`), with the context of the leaf's member in place of theirs, where there is
    one."""
    if leaf.member is None:
        return relation
    return f"""(SELECT e.* REPLACE (coalesce(m.context, e.context) AS context) FROM {relation} e
        LEFT JOIN (SELECT pos, {index(leaf.member)} AS id FROM item) o USING (pos)
        LEFT JOIN (SELECT id, context FROM member WHERE member = {leaf.member}) m ON m.id = o.id)"""


def _names(members: Sequence[str]) -> list[tuple[str, str]]:
    return [(key, f"m{at}") for at, key in enumerate(members)]
