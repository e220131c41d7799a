"""Which lines the scanner takes, and which it leaves to the engine: an example for each rule."""

from collections.abc import Sequence

import pyarrow as pa
import pytest

from tests import event_lines
from tests.event_lines import event

END = '{"type":"track"}\n'


def each(before: str, after: str, texts: Sequence[str]) -> list[str]:
    """A line with each of these texts in its place."""
    return [f'{{"type":"track",{before}{text}{after}}}\n' for text in texts]


def users(texts: str | list[str]) -> list[str]:
    """As a field that is a text."""
    return each('"userId":', "", texts.split() if isinstance(texts, str) else texts)


def strings(texts: str | list[str]) -> list[str]:
    """The same within quotes."""
    return each('"userId":"', '"', texts.split() if isinstance(texts, str) else texts)


def values(texts: str | list[str]) -> list[str]:
    """Within the properties."""
    return each('"properties":{"a":', "}", texts.split() if isinstance(texts, str) else texts)


def objects(texts: str | list[str]) -> list[str]:
    """As the properties."""
    return each('"properties":', "", texts.split() if isinstance(texts, str) else texts)


def contexts(texts: str | list[str]) -> list[str]:
    return each('"context":', "", texts.split() if isinstance(texts, str) else texts)


def members(texts: str | list[str]) -> list[str]:
    """As a member of the context."""
    return each('"context":{"page":', "}", texts.split() if isinstance(texts, str) else texts)


def rests(texts: str | list[str]) -> list[str]:
    """Other keys and their values."""
    return each("", "", texts.split() if isinstance(texts, str) else texts)


def deep(levels: int) -> list[str]:
    """Values that nest this many levels, which is even."""
    made = [("[", "]", levels), ('{"a":', "}", levels), ('[{"a":', "}]", levels // 2)]
    return [opening * count + "1" + closing * count for opening, closing, count in made]


def deeper(levels: int) -> list[str]:
    """The same and one more."""
    return [f"[{text}]" for text in deep(levels)]


NINES, ONES = "9" * 18, "1" * 40
TAKEN = [
    *(f'{{"type":"{call}"}}\n' for call in "identify track page screen group alias reset".split()),
    *('{"messageId":"m","type":"track"}\n', '{"type":"track"}\r\n', '{"type":"track"} \t\n'),
    ' \t\r{ \t\r"type" \t\r: \t\r"track" \t\r, \t\r"userId" \t\r: \t\r"u" \t\r} \t\r\n',
    *rests('"other":1 "other":[1,"x",{"a":null,"a":true}] "traits":{},"userProperties":{"a":[]}'),
    *rests('"messageId":null,"context":null,"properties":null,"other":null "messageId":"type","other":"type"'),
    *users('"" "x" 0 7 123456789012345678'),
    *strings(
        r"é 😀 \"\\\/\b\f\n\r\t \u0001 \u00e9 \uD83D\uDE00 \ud83d\ude00x \ud7ff \ue000 \uABCD \udbff\udfff \ud83d\udc00"
    ),
    *strings(["\x7f", "\u2028", " ", *(f"{'x' * at}\\n{'y' * at}" for at in range(20))]),
    *contexts(["{}", "{ \t\r}", '{"ip":null}', '{"app":1,"wifi":null}', '{"ip":7}', '{"ip":""}', '{ "app" : 1 }']),
    *members(["true", "-1.5", '""', "[ ]", '{"a":{}}', '{"x":1,"x":2}', *deep(60)]),
    *objects(["{}", "{ \t\r}", '{"a":1,"a":2}', '{"a":[],"b":[{},[1 , 2]]}', '{"":{"":""}}', r'{"\u00e9":1}']),
    *values(["true", "false", "null", "0", "-1", "0.5", "-0.5", "-0.0", "10.01", '"1e5"', *deeper(58)]),
    *values([NINES, f"-{NINES}", f"{NINES}.5", f"0.{ONES[:38]}", f"-0.{ONES[:37]}"]),
]
LEFT = [
    # no event, or not at once clear whether it is one
    *(
        "\n",
        "  \n",
        "null\n",
        '"type"\n',
        "[]\n",
        "{}\n",
        "{\n",
        '{"type"\n',
        '{"type":\n',
        '{"type":"track"\n',
    ),
    *(
        '{"type":"track"} x\n',
        '{"type":"track"}}\n',
        '{"type":"track",}\n',
        '{,"type":"track"}\n',
        '{"type":"track";"other":1}\n',
    ),
    *('{"type" "track"}\n', "{type:1}\n", '{"type":"track"]\n', '\ufeff{"type":"track"}\n', '\f{"type":"track"}\n'),
    *('{"other":1}\n', '{"type":null,"userId":"track"}\n', '{"batch":[{"type":"track"}]}\n', '["type":"track"}\n'),
    *(f'{{"type":{type_}}}\n' for type_ in r'null "" "Track" "tracks" "trac" 5 true ["track"] "trac\u006b" {}'.split()),
    # keys
    *rests(r'"new":1 "Type":1 "us\u0065rId":"u" "x\n":1 "x\\n":1 other:1 "":1 "othe":1 "type":"track" "type":null'),
    *rests('"userId":"u","userId":"u" "userId":null,"userId":"u" "other":1,"other":1 "other":1,"event":"a","other":1'),
    *rests('"context":{},"context":{} "properties":null,"properties":{} "userId":"u","userId":null'),
    # texts
    *users('-1 -0 1.0 1e5 01 00 1111111111111111111 true false [] {} nul x nulll NULL 7x "x x" \'x\' +1 .5 "a"b"'),
    *users(["", " ", "1 2"]),
    *strings(
        r"\u0000 \ud800 \udc00 \ud800x \ud800\n \ud800\u0041 \udfff\udc00 \ud83d\ud83d \ud83d\ue000 \ud83d\udc0 \u12"
    ),
    *strings(r"\udfff \udfffx \udc00\udc00 \ud83dxude00 \ud83d\nde00 \ud83d\udbff \udbff"),
    *strings(r"\u123g \u123: \u123@ \u123/ \u123` \x \U0041 \' \0 \a \u004"),
    *strings(["\\", "\x00", "\x1f", "a\tb", "seven b\r", "sixteen bytes it\x01", r"\u 123"]),
    *rests('"sentAt":true "timestamp":{}'),
    # contexts
    *contexts(
        ["[]", '""', "5", "true", "{", '{"app"}', '{"app":}', '{"app":1', '{"app":1,}', "{,}", '{"app":1 "ip":""}']
    ),
    *contexts(r'{"new":1} {"App":1} {"app":1,"new":null} {"new":null} {"\u0061pp":1} {"":1} {"s\n":1} {"s\\n":1}'),
    *contexts(
        '{"app":1,"app":1} {"app":null,"app":1} {"app":1,"app":null} {"app":1,"ip":"","app":2} {"app":1] {"app":1}}'
    ),
    *contexts(r'{"ip":true} {"ip":1.5} {"ip":-1} {"ip":[]} {"ip":{}} {"ip":"\u0000"} {"ip":nul}'),
    *members(["nul", "tru", "-0", "1e5", "[1,]", r'"\ud800"', '{"a" 1}', *deeper(60)]),
    # objects
    *objects(
        '[] "" 5 true "{}" { {"a"} {"a":} {"a":1 {"a":1,} {"a":[} {"a":]} {1:2} {"a":1] {"a":{"b":1},} {"a"=1} {]'
    ),
    *objects([r'{"\u0000":1}', '{"\x01":1}', r'{"\ud800":1}', '{"a":1 "b":2}', '{"a" 1}', "{'a':1}"]),
    *rests('"traits":[] "userProperties":"x" "other":[nul] "other":{"a":01}'),
    # values
    *values(
        "-0 01 -01 00.5 -00.5 1e5 1E5 1.5e5 1.5E+5 1. - -.5 .5 -x NaN Infinity -inf nan True tru fals nulL falsX truX"
    ),
    *values([ONES[:19], f"-{ONES[:19]}", f"{ONES[:19]}.5", f"0.{ONES[:39]}", f"-0.{ONES[:38]}", "1 2", "", " "]),
    *values(
        ["[1,]", "[,1]", "[1 2]", "[1}", "[", "[1,", '["\x00"]', r'"\u0000"', r'"\uD83D"', '"\t"', "[}", *deep(60)]
    ),
]


@pytest.mark.parametrize(("lines", "taken"), [(TAKEN, True), (LEFT, False)])
def test_which_lines_are_taken(lines: Sequence[str], taken: bool) -> None:
    """Each for itself, and all of them among others that are taken."""
    scan = event_lines.new_scan()
    assert [line for line in lines if scan.takes(line) != taken] == []
    among = [text for line in lines for text in (line, END)]
    assert scan(event_lines.batch(among))[1] == [taken, True] * (len(among) // 2)


def test_a_line_with_a_fault_is_left() -> None:
    lines = event_lines.batch([END, END, END])
    faults = pa.array([None, "line_too_long", None], pa.string())
    events, taken = event_lines.new_scan()(lines.set_column(4, lines.schema.field(4), faults))
    assert taken == [True, False, True]
    assert events.column("line").to_pylist() == [1, 3]


@pytest.mark.parametrize("behind", [0, 1, 7, 8, 15, 16, 100])
def test_a_line_near_the_end_of_its_data(behind: int) -> None:
    scan = event_lines.new_scan()
    long = event(f'"userId":"a text that is long","properties":{{"a":"{"x" * 100}"}}')
    for line in (END, long, long.replace("\n", "\r\n"), "  " + END):
        events, taken = scan(event_lines.batch([END, line], behind=behind))
        assert taken == [True, True]
        assert events.column("text").to_pylist() == [END, line]
        assert events.column("userId").to_pylist()[1] == (None if line.endswith(END) else "a text that is long")
    for line in LEFT:
        assert scan(event_lines.batch([END, line], behind=behind))[1] == [True, False]


@pytest.mark.parametrize("behind", [0, 3, 100])
def test_a_line_without_its_line_end(behind: int) -> None:
    """What is behind it is not taken for a part of it."""
    scan = event_lines.new_scan()
    for line in (END[:-1], END[:-1] + "  ", event('"userId":"a text that is long"')[:-1]):
        events, taken = scan(event_lines.batch([END, line], behind=behind))
        assert taken == [True, True]
        assert events.column("text").to_pylist() == [END, line]
    for at in range(1, len(END) - 1):
        assert scan(event_lines.batch([END, END[:at]], behind=behind))[1] == [True, False]


def test_lines_amid_others() -> None:
    lines = event_lines.batch([event(f'"userId":{at},"event":"a name of {at} things"') for at in range(20)], 100)
    events, taken = event_lines.new_scan()(lines.slice(7, 5))
    assert taken == [True] * 5
    assert events.column("userId").to_pylist() == [str(at) for at in range(7, 12)]
    assert events.column("event").to_pylist() == [f"a name of {at} things" for at in range(7, 12)]
    assert events.column("line").to_pylist() == [*range(108, 113)]
    assert events.column("ordinal").to_pylist() == [*range(107, 112)]
    assert events.column("file_id").to_pylist() == [1] * 5


@pytest.mark.parametrize("size", [9_500_000, 20_000_000])
def test_a_long_line_may_nest_less(size: int) -> None:
    """The longer it is, the fewer levels the engine allows: see fields.DEPTH."""
    most = (1 << 29) // size
    nested = "[" * (most - 1) + "]" * (most - 1)  # and the event and its properties
    taken = event_lines.new_scan().takes(event(f'"properties":{{"a":{nested},"b":"{"x" * size}"}}'))
    assert not taken
