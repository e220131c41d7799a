"""What the scanner makes of lines, and which texts of members it keeps."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from loader import compiled, scanner
from tests import event_lines
from tests.event_lines import Scan, event

END = '{"type":"track"}\n'


@pytest.fixture
def scan() -> Scan:
    return event_lines.new_scan()


def context(text: str) -> str:
    return event(f'"context":{text}')


def rows(scan: Scan, *lines: str) -> list[dict[str, Any]]:
    """What is made of lines that are all scan.scanner."""
    events, taken = scan(event_lines.batch(lines))
    assert all(taken)
    assert events.column("text").to_pylist() == list(lines)
    events.validate(full=True)
    return [{key: value for key, value in row.items() if value is not None} for row in events.to_pylist()]


def test_what_is_made_of_a_line(scan: Scan) -> None:
    line = (
        '{"messageId":"m","type":"identify","userId":7,"anonymousId":"","channel":null,"name":"exactly12byt",'
        r'"event":"exactly13byte","groupId":"\u00e9","sentAt":"2024-05-06 07:08","timestamp":"",'
        '"other":5,"request_ip":"日本語日本語",'
        '"context":{"wifi": [1 ,2] ,"ip":"192.0.2.1","app":null,"page":{ } },'
        r'"properties": { "a" : "\/" } ,"traits":{ },"userProperties":null}' + "\n"
    )
    (row,) = rows(scan, line)
    shape = row.pop("properties_shape"), row.pop("traits_shape")
    assert shape[0] != shape[1]
    assert row == {
        "file_id": 1,
        "ordinal": 0,
        "line": 1,
        "text": line,
        "type": "identify",
        "messageId": "m",
        "userId": "7",
        "name": "exactly12byt",
        "event": "exactly13byte",
        "groupId": "é",
        "sentAt": datetime(2024, 5, 6, 7, 8, tzinfo=UTC),
        "request_ip": "日本語日本語",
        "ip": "192.0.2.1",
        "properties": r'{ "a" : "\/" }',
        "traits": "{}",
        "properties_plain": False,
        "traits_plain": True,
        "userProperties_plain": False,
        "i1": 0,
        "i3": 0,
        "i5": 0,
    }
    assert scan.scanner.found == 3


def test_nothing_is_left_of_a_line_that_is_not_taken(scan: Scan) -> None:
    """Though its row was begun."""
    begun = (
        r'{"type":"page","userId":"\n","event":"x","sentAt":"2024-05-06","traits":{"a":1},"context":{"ip":"x","app":1},"new":1}'
        + "\n"
    )
    events, taken = scan(event_lines.batch([begun, END]))
    assert taken == [False, True]
    (row,) = events.to_pylist()
    plain = {name: row.pop(name) for name in [*row] if name.endswith("_plain")}
    assert len(plain) == 3
    assert {key: value for key, value in row.items() if value is not None} == {
        "file_id": 1,
        "ordinal": 1,
        "line": 2,
        "text": END,
        "type": "track",
    }
    assert scan.scanner.found == 0


@pytest.mark.parametrize(
    ("written", "text"),
    [
        (r"\"\\\/\b\f\n\r\t", '"\\/\b\f\n\r\t'),
        (r"A\u00e9\u20ac\uD83D\uDE00é", "Aé€😀é"),
        (r"\u0041 text that is longer than twelve bytes \u007f", "A text that is longer than twelve bytes \x7f"),
    ],
)
def test_texts_that_are_written_with_backslashes(scan: Scan, written: str, text: str) -> None:
    begun = event(f'"userId":"{written}","new":1')  # not usual
    other = event(rf'"context":{{"ip":"{written}, and then"}},"userId":"\t","groupId":"and then {written}"')
    events, taken = scan(event_lines.batch([begun, event(f'"userId":"{written}","sentAt":""'), other, begun]))
    assert taken == [False, True, True, False]
    events.validate(full=True)
    found = [{key: row[key] for key in ("userId", "ip", "groupId", "sentAt")} for row in events.to_pylist()]
    assert found == [
        {"userId": text, "ip": None, "groupId": None, "sentAt": None},
        {"userId": "\t", "ip": f"{text}, and then", "groupId": f"and then {text}", "sentAt": None},
    ]


@pytest.mark.parametrize(
    "value", ['" 2024-05-06"', '"tomorrow"', r'"2024-05-0\u0036"', "1714979289", "true", "{}", '"2024-13-01"']
)
def test_a_line_whose_datetime_is_none_for_certain_is_left(scan: Scan, value: str) -> None:
    assert not scan.takes(event(f'"timestamp":{value}'))


PLAIN = [
    '{"a":"x"}',
    '{"a":"2024"}',
    '{"a":"x2024-05-06"}',
    '{"a":"24-05-06xx"}',
    '{"a":"2024-5-6"}',
    '{"a":[1,"x",{}]}',
]
PLAIN += ['{"a":true,"b":null}', '{"a":99999999999999}', '{"a":-99999999999999}', '{"a":0.5}', '{"a":{"b":{}}}', "{}"]
NOT_PLAIN = [
    '{"a":""}',
    '{"a":"2024-05-06"}',
    '{"a":"2024-05-06T07:08:09Z"}',
    r'{"a":"\u0032024-05-06"}',
    '{"a":[]}',
    '{"a":[ ]}',
]
NOT_PLAIN += [
    '{"a":[[]]}',
    '{"a":[""]}',
    '{"a":100000000000000}',
    '{"a":-100000000000000}',
    '{"a":{"b":"","c":1}}',
    '{"a":"","b":1}',
]


@pytest.mark.parametrize(("text", "plain"), [*((text, True) for text in PLAIN), *((text, False) for text in NOT_PLAIN)])
def test_which_objects_are_plain(scan: Scan, text: str, plain: bool) -> None:
    first, other = rows(
        scan, event(f'"properties":{text},"traits":{{"a":1}}'), event('"properties":{"a":1},"traits":{"a":""}')
    )
    assert (first["properties_plain"], first["traits_plain"]) == (plain, True)
    assert (other["properties_plain"], other["traits_plain"]) == (True, False)


ALIKE = [
    ['{"a":1}', '{"a":2}', '{ "a" : 123 }'],
    ['{"a":-1}', '{"a":-20}'],
    ['{"a":1.5}', '{"a":-1.5}', '{"a":-0.0}'],
    ['{"a":true}', '{"a":false}'],
    ['{"a":"x"}', '{"a":""}', r'{"a":"\n"}'],
    ['{"a":null}'],
    ['{"a":[]}', '{"a":[1,{"b":[2]}]}', '{"a":["x"]}'],
    ["{}", "{ }"],
    ['{"a":{}}'],
    ['{"a":{"b":1}}'],
    ['{"a":{},"b":1}'],
    ['{"b":1}'],
    ['{"":1}'],
    ['{"a":1,"b":1}', '{"a":2 ,"b":3}'],
    ['{"b":1,"a":1}'],
    ['{"a":1,"a":1}'],
    [r'{"\u0061":1}'],
    ['{"a":{"b":1,"c":1}}'],
    ['{"a":{"b":1},"c":1}'],
    ['{"a":[{"b":1}],"c":1}', '{"a":[1],"c":1}'],
    ['{"asb":1}'],
    ['{"a":"x","b":1}'],
    [r'{"a\"i":1}'],
    ['{"a":"x","b":"x"}'],
]


def test_which_objects_have_the_same_shape(scan: Scan) -> None:
    """Whichever part they are, and as a member of a context."""
    texts = [text for group in ALIKE for text in group]
    expected = [at for at, group in enumerate(ALIKE) for _ in group]
    for part in event_lines.OBJECTS:
        found = [row[f"{part}_shape"] for row in rows(scan, *(event(f'"{part}":{text}') for text in texts))]
        assert [found.index(shape) for shape in found] == [expected.index(at) for at in expected]
    assert len({*found}) == len(ALIKE)


def members(tables: Sequence[pa.Table]) -> list[tuple[str, int, str]]:
    """By member, the texts that are kept and their ids."""
    found = [row for table in tables for row in table.to_pylist()]
    return [(event_lines.MEMBERS[row["member"]], row["id"], row["text"]) for row in found]


def test_each_text_is_kept_once(scan: Scan) -> None:
    texts = ["1", '"x"', "1", "1 ", '{"a":1}', '{"a":2}', '{"a": 1}', '{"a":"2"}', '"x"']
    found = rows(scan, *(context(f'{{"app":{text},"page":1}}') for text in texts), context('{"wifi":"x"}'))
    assert [row.get("i0") for row in found] == [0, 1, 0, 0, 2, 3, 4, 5, 1, None]
    assert [row.get("i3") for row in found] == [0] * 9 + [None]
    assert found[-1]["i5"] == 0
    assert (scan.scanner.given, scan.scanner.found, scan.kept) == ([6, 0, 0, 1, 0, 1], 19, [])
    scan.scanner.flush()
    assert sorted(members(scan.kept)) == [
        *(("app", at, text) for at, text in enumerate(["1", '"x"', '{"a":1}', '{"a":2}', '{"a": 1}', '{"a":"2"}'])),
        ("page", 0, "1"),
        ("wifi", 0, '"x"'),
    ]
    shapes = {(row["member"], row["text"]): row["shape"] for row in scan.kept[0].to_pylist()}
    assert shapes[0, '{"a":1}'] == shapes[0, '{"a":2}'] == shapes[0, '{"a": 1}']
    assert len({*shapes.values()}) == 6  # a number, a text, two kinds of object; those of other members
    scan.scanner.flush()
    assert len(scan.kept) == 1


def test_many_texts_are_found_again(scan: Scan) -> None:
    """Of all lengths, alike but for a byte somewhere."""
    texts = [f'"{"x" * before}{sign}{"x" * after}"' for before in range(40) for after in range(40) for sign in "ab"]
    for _ in range(2):
        found = [row["i0"] for row in rows(scan, *(context(f'{{"app":{text}}}') for text in texts))]
        assert found == [*range(len(texts))]
    scan.scanner.flush()
    assert members(scan.kept) == [("app", at, text) for at, text in enumerate(texts)]


def test_texts_that_are_hard_to_tell_apart_have_hashes_of_their_own(scan: Scan) -> None:
    """Else each is compared with all: here the words of 8 bytes that a text is made of differ in the same way."""
    words = [f"{at:07}" for at in range(3000)]
    scan(event_lines.batch([context(f'{{"app":"{word}z{word}"}}') for word in words]))
    slots = scan.scanner._texts.slots.view(np.uint64).reshape(-1, compiled._SLOT // 8)
    hashes = slots[slots[:, 3] != 0, 0]  # the id, and whether the place is used
    assert len(hashes) == len(set(hashes.tolist())) == 3000


def test_after_a_flush_ids_go_on(scan: Scan) -> None:
    lines = [context('{"app":1,"ip":"x"}'), context('{"app":2}')]
    assert [row["i0"] for row in rows(scan, *lines)] == [0, 1]
    scan.scanner.flush()
    assert [(row["i0"], row.get("i1")) for row in rows(scan, *reversed(lines))] == [(2, None), (3, 1)]
    scan.scanner.flush()
    assert [members([table]) for table in scan.kept] == [
        [("app", 0, "1"), ("ip", 0, '"x"'), ("app", 1, "2")],
        [("app", 2, "2"), ("app", 3, "1"), ("ip", 1, '"x"')],
    ]
    assert scan.scanner.given == [4, 2, 0, 0, 0, 0]


@pytest.mark.parametrize(("most", "bytes_"), [(100, 64 << 20), (1 << 20, 2000)])
def test_what_is_full_is_flushed(monkeypatch: pytest.MonkeyPatch, most: int, bytes_: int) -> None:
    """By the number of texts, and by their bytes. Each event still has its text."""
    monkeypatch.setattr(scanner, "_MOST", most)
    monkeypatch.setattr(scanner, "_BYTES", bytes_)
    scan = event_lines.new_scan()
    texts = [f'{{"k{at}":{at},"x":"{"y" * (at % 10)}"}}' for at in range(300)]
    ids, shapes = [], []
    for at in range(0, len(texts), 5):
        made = rows(scan, *(event(f'"context":{{"app":{text}}},"traits":{text}') for text in texts[at : at + 5]))
        ids += [row["i0"] for row in made]
        shapes += [row["traits_shape"] for row in made]
    scan.scanner.flush()
    assert len(scan.kept) > 3
    assert members(scan.kept) == [("app", id_, text) for id_, text in zip(ids, texts, strict=True)]
    assert ids == [*range(len(texts))]
    assert len({*shapes}) == len(texts)


def test_a_batch_that_is_too_big_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scanner, "_BYTES", 600)
    scan = event_lines.new_scan()
    line = context('{"app":"x"}')
    assert rows(scan, line)[0]["i0"] == 0
    events, taken = scan(event_lines.batch([line] * 20))
    assert (len(events), taken) == (0, [False] * 20)
    assert scan(event_lines.batch([line] * 3))[1] == [True] * 3


def test_whether_most_lines_are_usual(scan: Scan) -> None:
    other = "{}\n"
    assert scan.scanner.suits([event_lines.batch([context('{"app":1}'), other]), event_lines.batch([other, END])])
    assert scan.scanner.found == 0
    assert not scan.scanner.suits([event_lines.batch([END, other]), event_lines.batch([other])])
    assert scan.scanner.suits([])


def test_no_more_keys_than_the_limit() -> None:
    others = [f"k{at}" for at in range(100)]
    scan = event_lines.new_scan(others=others)
    taken = [bool(scan(event_lines.batch([event(f'"{key}":1')]))[1][0]) for key in others]
    assert taken == [True] * sum(taken) + [False] * (100 - sum(taken))
    assert sum(taken) == scanner.MAX_FIELDS - len(event_lines.FIELDS + event_lines.TIMES + event_lines.OBJECTS) - 2
    every = [f'"{key}":1' for key in others[: sum(taken)]]
    for at in (0, len(every) // 2, len(every) - 1):
        assert scan(event_lines.batch([event(",".join(every))]))[1][0]
        assert not scan(event_lines.batch([event(",".join([*every, every[at]]))]))[1][0]


def test_as_many_members_as_can_be() -> None:
    names = [f"m{at}" for at in range(100)]
    scan = event_lines.new_scan(members=names)
    every = [f'"{name}":{at}' for at, name in enumerate(names)]
    (row,) = rows(scan, context("{" + ",".join(every) + "}"))
    assert [row[scanner.index(at)] for at in range(100)] == [0] * 100
    for at in (0, 63, 64, 99):
        assert not scan(event_lines.batch([context("{" + ",".join([*every, every[at]]) + "}")]))[1][0]
    scan.scanner.flush()
    assert sorted((row["member"], row["text"]) for row in scan.kept[0].to_pylist()) == [
        (at, str(at)) for at in range(100)
    ]


def test_without_members() -> None:
    scan = event_lines.new_scan(members=())
    lines = [context("{}"), context("null"), context('{"ip":"x"}'), END]
    assert scan(event_lines.batch(lines))[1] == [True, True, False, True]
    scan.scanner.flush()
    assert (scan.scanner.given, scan.kept) == ([], [])
