"""Contexts read member by member: which are whole or apart, that each text is kept once, and that the rest is JSON.

The first lines of each load here are contexts like `USUAL`; then come those that are to be told from them.
"""

import tracemalloc
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import cycle, islice
from json import dumps as to_json
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from loader import compiled, context, scanner, shape, split
from loader.db import connect
from loader.records import LINES, FileRead, SourceFile
from tests import reference

USUAL = (
    '{"app":{"name":"Shop","build":7},"ip":"192.0.2.1","page":{"url":"/","size":{"w":1.5}},"wifi":true,'
    '"tags":["a",{"b":null}],"traits":{},"locale":"en"}'
)
FILE = SourceFile("/events.jsonl", 1, datetime(2024, 5, 10, 12, tzinfo=UTC), None)
STARTED = datetime(2024, 5, 11, tzinfo=UTC)


@dataclass(frozen=True)
class Read:
    """A context as it was read. json: what is not in columns. texts: of its members, by key."""

    json: str | None
    texts: dict[str, str]
    ip: str | None


def batch(contexts: Sequence[str], start: int) -> pa.RecordBatch:
    """Lines of pages with these contexts, the first one's number being start + 1."""
    rows = [
        {
            "file_id": 1,
            "ordinal": start + at,
            "line": start + at + 1,
            "text": f'{{"type":"page","messageId":"m{start + at}","context":{text}}}\n',
            "fault": None,
        }
        for at, text in enumerate(contexts)
    ]
    return of_rows(rows)


def of_rows(rows: list[dict[str, Any]]) -> pa.RecordBatch:
    """The rows as lines, with more behind them: a line at the very end of its data is left to the engine."""
    return pa.RecordBatch.from_pylist([*rows, rows[0]], LINES).slice(0, len(rows))


def split_contexts(
    connection: duckdb.DuckDBPyConnection, contexts: Sequence[str], first: Sequence[str] = (USUAL,)
) -> tuple[str, ...]:
    """Splits lines of which as many as are looked at have the first contexts, one after the other, again and again."""
    sample = list(islice(cycle(first), split.SAMPLE_LINES))
    batches = [batch(sample, 0), *([batch(contexts, len(sample))] if contexts else [])]
    return split.split(connection, iter(batches), [FileRead(FILE, 1)], STARTED)


@pytest.fixture(params=["scanned", "by the engine"], autouse=True)
def scanned(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Each rule holds both for lines that the scanner takes apart and for those that the engine does."""
    if request.param != "scanned":
        monkeypatch.setattr(compiled, "is_there", lambda: False)
    return bool(request.param == "scanned")


def kept(connection: duckdb.DuckDBPyConnection, members: Sequence[str]) -> dict[tuple[int, int], str]:
    """The texts of members, by the member's number and theirs. Each is there as a context that has nothing else."""
    found = {}
    for member, id_, text in connection.execute("SELECT member, id, context FROM member").fetchall():
        before = "{" + to_json(members[member], ensure_ascii=False) + ":"
        assert text.startswith(before)
        assert text.endswith("}")
        assert (member, id_) not in found
        found[member, id_] = text[len(before) : -1]
    return found


def rows_of(
    connection: duckdb.DuckDBPyConnection, members: Sequence[str], columns: str, condition: str
) -> list[tuple[tuple[Any, ...], dict[str, str]]]:
    """These columns of the events of which the condition holds, in order, and the texts of their contexts' members."""
    ids = "".join(f", {scanner.index(at)}" for at in range(len(members)))
    texts = kept(connection, members)
    rows = connection.execute(f"SELECT {columns}{ids} FROM item WHERE {condition} ORDER BY pos").fetchall()
    many = len(rows[0]) - len(members) if rows else 0
    return [
        (row[:many], {key: texts[at, row[many + at]] for at, key in enumerate(members) if row[many + at] is not None})
        for row in rows
    ]


def read(contexts: Sequence[str], first: Sequence[str] = (USUAL,)) -> list[Read]:
    """How these contexts are read after the first lines."""
    with connect(threads=1) as connection:
        members = split_contexts(connection, contexts, first)
        rows = rows_of(connection, members, "context, passed_ip", f"line > {split.SAMPLE_LINES}")
    assert len(rows) == len(contexts)
    return [Read(json, texts, ip) for (json, ip), texts in rows]


def expected(members: Sequence[str], text: str) -> tuple[str | None, dict[str, str]]:
    """What stays JSON of a context, and the texts of its known members: none if it has a member twice."""
    value = reference.parse(text)
    assert isinstance(value, reference.Object)
    keys = {key for key, _ in value.pairs}
    if len(keys) < len(value.pairs) or not keys & {*members}:
        return text, {}
    rest = reference.Object([(key, inner) for key, inner in value.pairs if key not in members])
    texts = {key: reference.minified(inner) for key, inner in value.pairs if key in members and inner is not None}
    return reference.minified(rest) if rest.pairs else None, texts


def members_of(*first: str) -> tuple[str, ...]:
    """What is learnt from these contexts."""
    with connect(threads=1) as connection:
        return split_contexts(connection, (), first)


def test_what_is_learnt() -> None:
    assert members_of(USUAL) == ("app", "ip", "locale", "page", "tags", "traits", "wifi")
    assert members_of('{"b":1}', '{"b":null,"a":[]}', '{"b":{}}') == ("b", "a")


@pytest.mark.parametrize("first", ["null", '"x"', "[]", "{}", '{"":"x"}'])
def test_nothing_is_learnt(first: str) -> None:
    assert members_of(first) == ()
    texts = [USUAL, '{"traits":{}}', '{"ip":7}']
    assert read(texts, (first,)) == [
        Read(USUAL, {}, "192.0.2.1"),
        Read(texts[1], {}, None),
        Read(texts[2], {}, "7"),
    ]


def test_rare_members_are_not_learnt() -> None:
    often = ['{"a":1}'] * (split.SAMPLE_LINES - 1)
    assert members_of(*often, '{"rare":1}') == ("a", "rare")  # 1 of 2000 is not yet rare
    rare = int(split.SAMPLE_LINES * 2)
    assert rare * context.MIN_SHARE > 1
    batches = [batch(['{"a":1}'] * (rare - 1) + ['{"rare":1}'], 0)]
    with connect(threads=1) as connection:
        assert split.split(connection, iter(batches), [FileRead(FILE, 1)], STARTED) == ("a",)


STAY = [
    "{}",
    '{"x":5}',
    '{"IP":true}',
    '{"ip":"192.0.2.1","x":1,"x":2}',
    '{"wifi":true,"wifi":false}',
    '{"wifi":true,"wifi":true}',
    '{"wifi":null,"wifi":true}',
    '{"wifi":true,"wifi":null}',
    '{"app":{"build":1},"app":{"build":1}}',
    '{"":1}',
]


def test_a_context_without_a_known_member_or_with_one_twice_stays_json(scanned: bool) -> None:
    """One without any member is as good as none."""
    wanted: list[tuple[str | None, dict[str, str]]] = [(text, {}) for text in STAY]
    if scanned:
        wanted[STAY.index("{}")] = (None, {})
    assert [(each.json, each.texts) for each in read(STAY)] == wanted


# What is not known of the others is left of them, as it is.
APART = [
    ('{"ip":"192.0.2.1","x":1}', '{"x":1}', {"ip": '"192.0.2.1"'}),
    ('{"x":null,"ip":"192.0.2.1"}', '{"x":null}', {"ip": '"192.0.2.1"'}),
    ('{"x":[{"a":null}],"wifi":null,"":{"b":1e999}}', '{"x":[{"a":null}],"":{"b":1e999}}', {}),
    (
        '{"page":{"y":1,"y":2},"Page":{"y":3},"a/~b":"\\u0000é"}',
        '{"Page":{"y":3},"a/~b":"\\u0000é"}',
        {"page": '{"y":1,"y":2}'},
    ),
    ('{"app":5,"x":{"y":1,"y":2},"tags":{}}', '{"x":{"y":1,"y":2}}', {"app": "5", "tags": "{}"}),
]


def test_a_context_that_has_others_too_is_taken_apart() -> None:
    found = read([text for text, *_ in APART])
    assert [(each.json, each.texts) for each in found] == [(rest, texts) for _, rest, texts in APART]
    assert [each.ip for each in found] == ["192.0.2.1", "192.0.2.1", None, None, None]


# Whatever a known member is, its text holds it.
WHOLE = [
    '{"ip":null}',
    '{"ip":null,"wifi":true}',
    '{"page":{"y":null,"y":1},"app":{}}',
    '{"page":5,"app":[],"traits":"x","tags":{"a":[{}]},"wifi":"true"}',
    '{"locale":"","ip":"[]"}',
    '{"locale":"{}"}',
    '{"tags":["x",[],{},{"a":{"b":"c"},"a":1},null,true]}',
    '{"locale":"\\u0000é😀\\""}',
    '{"app":{"build":18446744073709551616}}',
    '{"app":{"build":1e999}}',
    '{"app":-1.5e300}',
]


def test_a_whole_context_is_texts_of_its_members() -> None:
    members = members_of(USUAL)
    wanted = [expected(members, text) for text in WHOLE]
    assert [(each.json, each.texts) for each in read(WHOLE)] == wanted
    assert {json for json, _ in wanted} == {None}


def test_whole_contexts_of_more_kinds_than_are_known_by_their_keys() -> None:
    """And of each a null, so that the number of values does not tell."""
    members = [f"k{at}" for at in range(12)]
    texts = [
        "{"
        + ",".join(f'"{key}":null' if key == members[at % 12] else f'"{key}":{at}' for key in members[: 2 + at % 11])
        + "}"
        for at in range(200)
    ]
    found = read(texts, ["{" + ",".join(f'"{key}":1' for key in members) + "}"])
    assert [(each.json, each.texts) for each in found] == [expected(members, text) for text in texts]


@pytest.mark.parametrize("text", ["null", '"x"', "5", "[1]", "true"])
def test_a_context_that_is_no_object_is_odd(text: str) -> None:
    many = split.SAMPLE_LINES
    with connect(threads=1) as connection:
        split_contexts(connection, [text, USUAL])
        rows = connection.execute(f"SELECT odd, context, i0 IS NULL FROM item WHERE line > {many} ORDER BY pos")
        assert rows.fetchall() == [(text != "null", None, True), (False, None, False)]


def test_the_first_of_two_contexts_is_read() -> None:
    event = '{{"type":"page","messageId":"m","context":{},"context":{}}}'
    pairs = [('{"ip":"a"}', '{"ip":"b"}'), ('{"ip":"a"}', "null"), ("null", '{"ip":"a"}'), ('{"ip":"a"}', '{"wifi":1}')]
    rows = batch([USUAL] * split.SAMPLE_LINES, 0).to_pylist()
    rows += [{**rows[0], "ordinal": 9999 + at, "text": event.format(*pair)} for at, pair in enumerate(pairs)]
    with connect(threads=1) as connection:
        lines = iter([of_rows(rows)])
        members = split.split(connection, lines, [FileRead(FILE, 1)], STARTED)
        found = rows_of(connection, members, "odd, context", "id = 'm'")
    assert found == [((True, None), texts) for texts in ({"ip": '"a"'}, {"ip": '"a"'}, {}, {"ip": '"a"'})]


def test_elements_of_a_batch_are_read_like_lines() -> None:
    envelope = '{"batch":[{"type":"page","context":{"ip":"x","b":{}}},{"type":"page","context":{"y":1,"y":2}}]}'
    rows = [{**batch([USUAL], 0).to_pylist()[0], "text": envelope}]  # members are learned from elements, too
    with connect(threads=1) as connection:
        members = split.split(connection, iter([pa.RecordBatch.from_pylist(rows, LINES)]), [FileRead(FILE, 1)], STARTED)
        found = rows_of(connection, members, "context, passed_ip", "element >= 0")
    assert members == ("b", "ip", "y")
    assert found == [((None, "x"), {"b": "{}", "ip": '"x"'}), (('{"y":1,"y":2}', None), {})]


IPS = ['"x"', "5", "1.50", "true", '""', "null", "[]", '["x"]', "{}", '{"a":1}']


@pytest.mark.parametrize(
    "first", ['{"a":1}', '{"ip":"192.0.2.1"}', '{"ip":5,"a":1}', '{"ip":true}', '{"ip":["x"],"a":1}', '{"ip":{"a":1}}']
)
def test_the_ip_is_the_same_whole_or_not(first: str) -> None:
    ips = [each.ip for each in read([f'{{"ip":{ip}}}' for ip in IPS], (first,))]
    assert ips == ["x", "5", "1.5", "true", None, None, None, None, None, None]


def test_strange_keys() -> None:
    text = (
        '{"q\\"u":"a","b\\\\s":{"a.b":1,"s/l":"b","t~d":"c"},"[0]":"d","*":"e","0":"f","x\\ny":"g","$":"h","é":true,'
        '"\\u0000":"i","type":"j","c0":"k","m0":"l","whole":"m","Ab":"n"}'
    )
    found, other = read([text, '{"ab":"n"}'], (text,))
    assert (found.json, found.texts) == expected(members_of(text), text)
    assert len(found.texts) == 14
    assert (other.json, other.texts) == ('{"ab":"n"}', {})
    with connect(threads=1) as connection:
        shape.scan(connection, split_contexts(connection, [text], [text]))
        paths = connection.execute("SELECT fullkey FROM path WHERE of_member AND NOT beside").fetchall()
        made = connection.execute("SELECT fullkey, context FROM path, member WHERE fullkey = '$.Ab'").fetchall()
    assert len(paths) == 17
    assert ("$.Ab", '{"Ab":"n"}') in made


def test_keys_that_differ_in_case_are_not_both_known() -> None:
    text = '{"ab":"x","aB":"y"}'
    assert members_of(text) == ("aB",)
    found = [(each.json, each.texts) for each in read([text, '{"ab":"x"}', '{"aB":"y"}'], (text,))]
    assert found == [('{"ab":"x"}', {"aB": '"y"'}), ('{"ab":"x"}', {}), (None, {"aB": '"y"'})]


def test_no_more_members_than_the_limit() -> None:
    texts = [f'{{"k{at}":"x"}}' for at in range(context.MAX_MEMBERS + 20)]
    assert len(members_of(*texts)) == context.MAX_MEMBERS
    assert sum(each.json is None for each in read(texts, texts)) == context.MAX_MEMBERS


def test_many_texts_in_many_tables_take_no_memory_by_both() -> None:
    """Pairs of a text and a table are counted by what comes, where most of them cannot come."""
    events = 300
    with connect(threads=1) as connection:
        connection.execute(f"""
            CREATE TABLE item AS
            SELECT range AS pos, 'track' AS call, range::INTEGER AS event_table, false AS odd_call, false AS odd_event,
                range::INTEGER AS i0
            FROM range({events})
        """)
        context.prepare(connection)
        connection.execute(f"""
            INSERT INTO member BY NAME SELECT 0 AS member, range::INTEGER AS id, '{{}}' AS context FROM range({events})
        """)
        tracemalloc.start()
        context.use(connection, ["trace"])
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        used = connection.execute("SELECT id, event_table, events, first FROM used ORDER BY id").fetchall()
    assert used == [(at, at, 1, at) for at in range(events)]
    assert peak < events * events * 8 / 4


@pytest.mark.parametrize("different", [500, 40_000])
def test_texts_that_are_not_read_all_at_once(monkeypatch: pytest.MonkeyPatch, scanned: bool, different: int) -> None:
    """Each has ids of its own in each part; an event gets its text back, and none where it has none."""
    monkeypatch.setattr(context, "_PART", 10_000)
    texts = ["{}" if at % 7 == 0 else f'{{"a":"{at % different}","b":{at % 3}}}' for at in range(40_000)]
    with connect(threads=2) as connection:
        members = split_contexts(connection, texts, ['{"a":"x","b":0}'])
        assert members == ("a", "b")
        found = [each for _, each in rows_of(connection, members, "pos", f"line > {split.SAMPLE_LINES}")]
        ids = connection.execute(
            "SELECT member, count(*), count(DISTINCT id), min(id), max(id) + 1 FROM member GROUP BY ALL ORDER BY ALL"
        ).fetchall()
    assert found == [{} if at % 7 == 0 else {"a": f'"{at % different}"', "b": f"{at % 3}"} for at in range(40_000)]
    assert [(count, count, 0, count) for _, count, *_ in ids] == [tuple(rest) for _, *rest in ids]
    assert ids[1][1] > 3 or scanned  # several parts


def test_ids_go_on_from_those_of_the_scanner(scanned: bool) -> None:
    """Where the scanner leaves a line, the engine gives the ids of its texts; none is given twice."""
    texts = [
        f'{{"a":{at % 5},"b":"{at % 3}"{",".join(["", *(f""" "x":{at}""" for _ in range(at % 2))])}}}'
        for at in range(60)
    ]
    with connect(threads=2) as connection:
        members = split_contexts(connection, texts, ['{"a":0,"b":"0"}'])
        found = [each for _, each in rows_of(connection, members, "pos", f"line > {split.SAMPLE_LINES}")]
        ids = connection.execute("SELECT id FROM member WHERE member = 0 ORDER BY id").fetchall()
    assert found == [{"a": f"{at % 5}", "b": f'"{at % 3}"'} for at in range(60)]
    assert ids == [(at,) for at in range(10 if scanned else 5)]


def test_each_text_is_kept_once(scanned: bool) -> None:
    texts = ['{"a":1,"b":"x"}', '{"a":1}', '{"a":{"c":[2]},"b":"x"}', '{"c":1}', '{"a":1.0,"b":null}']
    with connect(threads=1) as connection:
        members = split_contexts(connection, [*texts, texts[0]], [texts[0]])
        context.use(connection, members)
        made = kept(connection, members)
        of = connection.execute(f"SELECT i0, i1 FROM item ORDER BY pos LIMIT 5 OFFSET {split.SAMPLE_LINES}").fetchall()
        used = connection.execute(
            "SELECT member, context, events, first >> 26 FROM used JOIN member USING (member, id)"
        ).fetchall()
        left = [name for name, *_ in connection.execute("DESCRIBE item").fetchall()]
    assert members == ("a", "b")
    ids = {(member, text): id_ for (member, id_), text in made.items()}
    assert {*ids} == {(0, "1"), (0, '{"c":[2]}'), (0, "1.0"), (1, '"x"')}
    assert len(ids) == len(made)
    assert sorted(id_ for (member, _), id_ in ids.items() if member == 0) == [0, 1, 2]
    one, x = ids[0, "1"], ids[1, '"x"']
    assert of == [(one, x), (one, None), (ids[0, '{"c":[2]}'], x), (None, None), (ids[0, "1.0"], None)]
    many = split.SAMPLE_LINES
    assert sorted(used) == [
        (0, '{"a":1.0}', 1, many + 4),
        (0, '{"a":1}', many + 3, 0),
        (0, '{"a":{"c":[2]}}', 1, many + 2),
        (1, '{"b":"x"}', many + 3, 0),
    ]
    assert "m0" not in left
    assert "member_count" not in left


def test_texts_that_no_event_has_are_not_looked_at() -> None:
    """They keep their places."""
    with connect(threads=1) as connection:
        members = split_contexts(connection, ['{"a":2}', '{"a":3}'], ['{"a":1}'])
        connection.execute(f"DELETE FROM item WHERE line = {split.SAMPLE_LINES + 1}")
        context.use(connection, members)
        found = connection.execute("SELECT context, shape IS NULL FROM member WHERE member = 0 ORDER BY id").fetchall()
    assert found == [('{"a":1}', False), (None, True), ('{"a":3}', False)]
