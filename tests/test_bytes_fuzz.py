"""Lines with bytes changed, cut, doubled: a load of them always ends well, and its books balance."""

import os
import random
from pathlib import Path

import pytest

from tests import warehouses
from tests.test_hostile import NAMES, event
from tests.warehouses import lines

PIECES = [
    *(bytes([byte]) for byte in b'"\\{}[],:0-+.eE\n\r\x00\xff\xc3tfnu \x7f'),
    rb"\u0000",
    rb"\ud800",
    b"\xef\xbb\xbf",
    b"\xe2\x80\xae",
    b"1e999",
    b"NaN",
    b"-Infinity",
    b"9" * 30,
    b"null",
    b'"a":1,',
    b'"type":"track",',
    b'"receivedAt":"9999-12-31T23:59:59Z",',
    b'"sentAt":"0001-01-01",',
    b'"properties":{"a":{"b":1},"a_b":2},',
    b'"context":[],',
    b'{"batch":[',
    b"]}",
    b"[" * 40,
    b'{"":' * 5,
]
CALLS = [
    {
        "type": "identify",
        "userId": "u",
        "messageId": "i",
        "traits": {"a": 1, "b": "2024-01-01"},
        "context": {"ip": "1"},
    },
    {"type": "page", "name": "n", "messageId": "p", "properties": {"a": [1, {"b": 2}], "c": {"d": 1.5}}},
    {"type": "group", "groupId": "g", "messageId": "g", "traits": {"a": True}, "sentAt": "2024-05-01T00:00:00Z"},
    {"type": "alias", "userId": "u", "previousId": "v", "messageId": "a", "timestamp": "2024-05-01"},
    {"batch": [{"type": "reset", "messageId": "r"}, {"type": "track", "event": "e"}], "sentAt": "2024-05-01"},
]
SEEDS = [lines(each)[:-1] for each in (*CALLS, *(event(at, name) for at, name in enumerate(NAMES)))]


def mutated(chance: random.Random) -> bytes:
    line = bytearray(chance.choice(SEEDS))
    for _ in range(chance.choice([0, 1, 1, 1, 2, 3, 8])):
        at, end = sorted((chance.randrange(len(line) + 1), chance.randrange(len(line) + 1)))
        kind = chance.randrange(6)
        if kind == 0 and line:
            line[min(at, len(line) - 1)] = chance.randrange(256)
        elif kind == 1:
            line[at:at] = chance.choice(PIECES)
        elif kind == 2:
            line[at : at + chance.randrange(4)] = chance.choice(PIECES)
        elif kind == 3:
            del line[at : at + chance.randrange(1, 6)]
        elif kind == 4:
            line[at:at] = line[at:end]
        else:
            other = chance.choice(SEEDS)
            line[at:] = other[chance.randrange(len(other)) :]
    return bytes(line)


def load(folder: Path, seed: int, count: int = 300) -> None:
    """Two loads into one warehouse; the second meets what the first made."""
    chance = random.Random(seed)
    for number in (1, 2):
        data = b"".join(mutated(chance) + b"\n" for _ in range(count))
        conflict = chance.choice(["discard", "widen"])
        report = warehouses.load(folder, {f"{number}.json": data}, on_type_conflict=conflict)
        assert report.items == report.loaded + report.rejected + report.duplicates
        assert report.lines + data.split(b"\n").count(b"") >= count
    rows = warehouses.query(folder, "SELECT sum(loaded), sum(items), sum(rejected), sum(duplicates) FROM loader.files")
    assert rows[0][0] == rows[0][1] - rows[0][2] - rows[0][3]
    for table in warehouses.tables(folder).values():
        assert all(row["id"] for row in table.rows)


def test_changed_bytes(tmp_path: Path) -> None:
    seed = int(os.environ.get("LOADER_SEED", random.randrange(10**6)))
    print("seed", seed)
    load(tmp_path, seed)


@pytest.mark.long
def test_many_changed_bytes(tmp_path: Path) -> None:
    first = int(os.environ.get("LOADER_SEED", random.randrange(10**6)))
    for seed in range(first, first + 100):
        print("seed", seed)
        load(tmp_path / str(seed), seed)
