"""Lines of events for tests of the scanner: most are usual, many nearly so, and some are no JSON at all."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from loader import compiled, scanner
from loader.records import LINES

# What the first lines have. Of two names the last sign but one is a backslash, which JSON writes twice.
FIRST = (
    '{"type":"track","messageId":"m","userId":"u","anonymousId":"a","event":"A","receivedAt":"2024-05-06T07:08:09.010Z",'
    '"sentAt":"2024-05-06","context":{"app":{"name":"Shop"},"ip":"192.0.2.1","locale":"en","page":{"url":"/"},"wifi":true},'
    '"properties":{"a":1},"other":[1]}',
    '{"type":"identify","traits":{"a":1},"userProperties":{"b":2},"ip":2}',
    '{"type":"page","x\\\\n":1,"context":{"s\\\\n":1}}',
)
MEMBERS = ("app", "ip", "locale", "page", "s\\n", "wifi")
OTHERS = ("type", "context", "other", "ip", "x\\n")  # and the fields
TYPES = ["track", "track", "track", "identify", "page", "screen", "group", "alias", "reset"]
ODD_TYPES = ['"Track"', '"trac\\u006b"', '""', "null", "5", '"x"', '["track"]', '"batch"', '"track "']
TEXTS = [
    *(
        "",
        "x",
        "7",
        " ",
        "exactly12byt",
        "exactly13byte",
        "a text that is longer than a view",
        "日本語",
        "\u2028",
        "{x",
        "[]",
    ),
    *("true", "1e22", "1e+22", "NaN", "2024-05-06", "2024-05-06T07:08:09.010Z", "2024-05-06 07:08", "2024-02-31", "-"),
    *("2099-01-01T00:00:00Z", "0001-01-01T00:00:00+05:00", "x2024-05-06", "a\x7fb", "'", "👩‍👩‍👧", "auto", '{"a":1}'),
]
ESCAPES = [
    r"\u00e9",
    r"\ud83d\ude00",
    r"\uD83D\uDE00",
    r"\/",
    r"\"",
    r"\\",
    r"\n",
    r"\b\f\r\t",
    r"\u0032",
    r"\u001f",
    r"\uFFFF",
]
BAD_ESCAPES = [
    r"\ud800",
    r"\udc00",
    r"\ud83dx",
    r"\ud83d\u0041",
    r"\ud83d\n",
    r"\u0000",
    r"\u12g4",
    r"\x",
    r"\u12",
    "\\",
]
NUMBERS = [
    "0",
    "1",
    "7",
    "-1",
    "5",
    "1.5",
    "-0.5",
    "0.25",
    "1.50",
    "100.0",
    "99999999999999",
    "-99999999999999",
    "-0.0",
]
ODD_NUMBERS = [
    *(
        "-0",
        "01",
        "-01",
        "00",
        "00.5",
        "1e5",
        "1E5",
        "1.5e-7",
        "1e400",
        "1.",
        ".5",
        "-",
        "+1",
        "1e",
        "0x1",
        "NaN",
        "inf",
    ),
    *(
        "100000000000000",
        "9007199254740993",
        "999999999999999999",
        "1234567890123456789",
        "18446744073709551616",
        "9" * 30,
    ),
    *(
        "0.0000001",
        "123456789012345.5",
        "0." + "1" * 38,
        "0." + "1" * 39,
        "-0." + "0" * 37 + "1",
        "123456789012345678.5",
    ),
]
WORDS = ["true", "false", "null"]
ODD_WORDS = ["True", "nul", "tru", "falsE", "nulll", "undefined", ""]
KEYS = ["a", "b", "c", "a.b", "é", "", "x y", "[0]", "type", "order", "日本語" * 5]
ODD_KEYS = [r"\u00e9", r"a\n", r"\u0061", r"a\"b", r"\u0000", r"a\\n", "2024-05-06x"]
STRANGERS = ["IP", "App", r"s\n", r"s\\n", "", r"\u0069p", "new", r"wif\u0069"]  # in contexts
FIELDS = ["messageId", "anonymousId", "userId", "channel", "request_ip", "event", "name", "groupId", "previousId"]
TIMES = ["originalTimestamp", "sentAt", "receivedAt", "timestamp"]
OBJECTS = ["properties", "traits", "userProperties"]
ODD_FIELDS = ["Type", "userid", "batch", "CONTEXT", r"typ\u0065", r"user\u0049d", r"x\n", "extra"]


class Lines:
    """Makes lines. odd: how likely it is that a token is not as most are."""

    def __init__(self, seed: int):
        self.chance = random.Random(seed)
        self.odd = 0.0
        self.spaced = False

    def line(self) -> str:
        """A line, mostly an event, with its line end."""
        self.odd = self.chance.choice([0, 0, 0, 0.01, 0.03, 0.1])
        self.spaced = self.chance.random() < 0.2
        text = self.event()
        if self.chance.random() < self.odd:
            text = self.broken(text)
        return text + self.chance.choice(["\n"] * 20 + ["\r\n", " \n", "\t\r\n"])

    def is_odd(self) -> bool:
        return self.chance.random() < self.odd

    def blank(self) -> str:
        return self.chance.choice(["", "", " ", "\t", "\r", "  \t "]) if self.spaced else ""

    def string(self) -> str:
        chance = self.chance.random()
        text = self.chance.choice(TEXTS) if chance < 0.8 else "y" * self.chance.randint(0, 40)
        text = text.replace('"', '\\"')
        if chance < 0.1 or chance > 0.98:
            text += self.chance.choice(BAD_ESCAPES if self.is_odd() else ESCAPES) + self.chance.choice(["", "z", text])
        if self.is_odd():
            text += self.chance.choice(["\x00", "\x1f", "\t", '"'])
        return f'"{text}"'

    def value(self, depth: int = 0) -> str:
        kind = self.chance.randint(0, 11 if depth < 3 else 8)
        if kind < 5:
            return self.string()
        if kind < 7:
            return self.chance.choice(ODD_NUMBERS if self.chance.random() < 0.02 + self.odd else NUMBERS)
        if kind < 9:
            return self.chance.choice(ODD_WORDS if self.is_odd() else WORDS)
        if self.is_odd():
            return self.nested()
        return self.object(depth) if kind < 11 else self.array(depth)

    def nested(self) -> str:
        levels = self.chance.choice([5, 30, 58, 59, 60, 61, 62, 70])
        opening = [self.chance.choice(["[", '{"a":', '{"b":[]    ,"c":']) for _ in range(levels)]
        closing = ["]" if each == "[" else "}" for each in reversed(opening)]
        return "".join(opening) + self.chance.choice(["1", '"x"', "{}", "[]"]) + "".join(closing)

    def array(self, depth: int = 0) -> str:
        values = [self.blank() + self.value(depth + 1) + self.blank() for _ in range(self.chance.randint(0, 3))]
        return "[" + (",".join(values) or self.blank()) + "]"

    def object(self, depth: int = 0) -> str:
        keys = [self.chance.choice(ODD_KEYS if self.is_odd() else KEYS) for _ in range(self.chance.randint(0, 3))]
        if self.chance.random() > self.odd:
            keys = list(dict.fromkeys(keys))
        return self.of_pairs([(key, self.value(depth + 1)) for key in keys])

    def of_pairs(self, pairs: Sequence[tuple[str, str]]) -> str:
        b = self.blank
        return "{" + (",".join(f'{b()}"{key}"{b()}:{b()}{value}{b()}' for key, value in pairs) or b()) + "}"

    def context(self) -> str:
        if self.is_odd():
            return self.value()
        members = [key for key in MEMBERS if "\\" not in key]
        keys = self.chance.sample(members, self.chance.randint(0, len(members)))
        if self.chance.random() < 4 * self.odd:
            keys.insert(self.chance.randint(0, len(keys)), self.chance.choice([*STRANGERS, *STRANGERS, *members]))
        return self.of_pairs([(key, self.text() if key == "ip" else self.value(1)) for key in keys])

    def text(self) -> str:
        return self.value() if self.is_odd() else self.chance.choice([self.string(), self.string(), "null", "7", "0"])

    def time(self) -> str:
        if self.chance.random() < 0.1 + self.odd:
            return self.text()
        day, milliseconds = self.chance.randint(1, 9), self.chance.randint(0, 999)
        return f'"2024-05-0{day}T07:08:09.{milliseconds:03}Z"'

    def event(self) -> str:
        type_ = self.chance.choice(ODD_TYPES) if self.is_odd() else f'"{self.chance.choice(TYPES)}"'
        pairs = [("type", type_)]
        pairs += [(key, self.text()) for key in FIELDS if self.chance.random() < 0.4]
        pairs += [(key, self.time()) for key in TIMES if self.chance.random() < 0.4]
        pairs += [
            (key, self.value() if self.is_odd() else self.chance.choice([self.object(), self.object(), "null"]))
            for key in OBJECTS
            if self.chance.random() < 0.5
        ]
        pairs += [("context", self.context())] if self.chance.random() < 0.8 else []
        pairs += [("other", self.value())] if self.chance.random() < 0.2 else []
        self.chance.shuffle(pairs)
        if self.is_odd():
            pairs.append((self.chance.choice([*ODD_FIELDS, *FIELDS, *OBJECTS, "context", "type"]), self.value()))
        if self.is_odd():
            pairs.pop(self.chance.randrange(len(pairs)))
        event = self.blank() + self.of_pairs(pairs) + self.blank()
        return f'{{"batch":[{event}],"sentAt":"2024-05-07"}}' if self.is_odd() else event

    def broken(self, text: str) -> str:
        at = self.chance.randrange(len(text) + 1)
        kind = self.chance.randrange(4)
        if kind == 0:
            return text[:at]
        if kind == 1:
            return text[:at] + text[at + 1 :]
        piece: str = self.chance.choice([*'"\\{}[],:0-e\x00', "null", '"a":1,', text[at : at + 9], "{}", " "])
        return text[:at] + piece + text[at:] if kind == 2 else text + piece


def event(rest: str) -> str:
    """A line of a track with these keys, too."""
    return f'{{"type":"track",{rest}}}\n'


def batch(lines: Sequence[str | bytes], start: int = 0, behind: int = 8) -> pa.RecordBatch:
    """Lines of a file from number start + 1 on. behind: bytes that the data has after them, and no more."""
    texts = [line if isinstance(line, bytes) else line.encode() for line in lines]
    offsets = np.cumsum([0, *map(len, texts)]).astype(np.int32)
    data = np.frombuffer(b"".join(texts) + b"}" * behind, np.uint8).copy()
    numbers = np.arange(start, start + len(texts))
    columns = [
        pa.array(np.ones(len(texts), np.int32)),
        pa.array(numbers),
        pa.array(numbers + 1),
        pa.StringArray.from_buffers(len(texts), pa.py_buffer(offsets), pa.py_buffer(data)),
        pa.nulls(len(texts), pa.string()),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=LINES)


@dataclass(frozen=True)
class Scan:
    """A scanner that knows what `FIRST` has, and what it is given."""

    scanner: scanner.Scanner
    schema: pa.Schema
    kept: list[pa.Table]

    def __call__(self, lines: pa.RecordBatch) -> tuple[pa.RecordBatch, list[bool]]:
        """The events that it makes of lines, and of each line whether it is one."""
        found = self.scanner.scan(lines)
        taken = found.taken.tolist()
        events = found.events(self.schema)
        assert (len(taken), taken.count(True)) == (lines.num_rows, len(events))
        return events, taken

    def takes(self, line: str | bytes) -> bool:
        return self(batch([line]))[1] == [True]


def new_scan(members: Sequence[str] = MEMBERS, others: Sequence[str] = OTHERS) -> Scan:
    kept = list[pa.Table]()

    def keep(table: pa.Table) -> None:
        assert table.schema == compiled.KEPT
        table.validate(full=True)
        kept.append(table)

    schema = scanner.schema(FIELDS, TIMES, OBJECTS, members)
    return Scan(scanner.Scanner(FIELDS, TIMES, OBJECTS, others, members, keep), schema, kept)


def scan_all(seeds: Sequence[int], many: int = 1000) -> int:
    """Scans lines, and what other bytes make of them; how many were usual."""
    usual = 0
    for seed in seeds:
        lines, scan = Lines(seed), new_scan()
        chance, left = lines.chance, many
        while left > 0:
            texts = [lines.line().encode() for _ in range(chance.randint(1, 40))]
            left -= len(texts)
            if chance.random() < 0.3:
                texts[-1] = texts[-1][: -chance.randint(1, 3)]
            if chance.random() < 0.3:
                damaged = bytearray(texts[0])
                for at in [at for at, byte in enumerate(damaged) if byte < 128 and chance.random() < 0.02]:
                    damaged[at] = chance.randrange(128)
                texts[0] = bytes(damaged)
            usual += len(scan(batch(texts, behind=chance.randint(0, 20)))[0])
        scan.scanner.flush()
    return usual


def scan_full(many: int = 20) -> int:
    """Scans lines that bring as many texts and shapes as they can, with as little room as the scanner takes them with;
    how many were usual."""
    members = [f"m{at}" for at in range(9)]
    different = (f'{{"{at:040}":""}}' for at in range(1000))
    lines = []
    for _ in range(many):
        context = ",".join(f'"{name}":{next(different)}' for name in members)
        rest = ",".join(f'"{name}":{next(different)}' for name in OBJECTS)
        lines.append(event(f'"context":{{{context}}},{rest}'))
    for room in range(100, 500, 10):
        scanner._MOST = many * (len(members) + len(OBJECTS)) * room // 100
        scanner._BYTES = sum(map(len, lines)) * room // 100
        if usual := new_scan(members=members)(batch(lines))[1].count(True):
            return usual
    return 0
