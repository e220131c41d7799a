"""Hostile input: names and values made to break out, lines made to overwhelm. Nothing lost, nothing outside."""

import gzip
import json
import os
import random
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tests import warehouses

MIB = 1 << 20
NAMES = [
    "'; DROP TABLE tracks; --",
    '"; DROP VIEW main."tracks"; --',
    "x') UNION SELECT 1 --",
    "$$ ; ATTACH 'outside.db' $$",
    "a;b\nc\r\nd\te",
    "../../outside",
    "..\\..\\outside",
    "/tmp/outside",
    "tables/../../outside",
    "CON",
    "nul.txt",
    "LPT1",
    "a\u202eb\u200fc",
    "__proto__",
    "constructor",
    "%2e%2e%2f",
    "{0} {x} %s ?1 $1 :a",
    "received_date=2024-01-01",
    "[a](b)*?",
    "a\x00b",
    "\x1b[31mred",
    "日本語/../город",
    "\\",
    '"',
    "''",
    "~",
    "~0/~1",
    "-- x",
    "/* x */",
    "x" * 300,
]


def event(at: int, name: str, **more: Any) -> dict[str, Any]:
    return {
        "type": "track",
        "event": name,
        "messageId": f"{at} {name}",
        "userId": f"{name} {at}",
        "receivedAt": "2024-05-01",
        "properties": {name: f"p {name} {at}", "same": f"{name} {at}"},
        "context": {name: {name: f"c {name} {at}"}},
        **more,
    }


def all_texts(folder: Path) -> set[str]:
    """Every text of every cell, of every value in other_events, and every discarded value."""
    texts = set()
    for name, table in warehouses.tables(folder).items():
        for row in table.rows:
            texts |= {value for value in row.values() if isinstance(value, str)}
            if name == "other_events" and row["properties"]:
                texts |= set(json.loads(row["properties"]).values())
    discarded = warehouses.query(folder, "SELECT column_value FROM loader.discards")
    return texts | {value for (text,) in discarded if isinstance(value := json.loads(text), str)}


def test_names_stay_inside(tmp_path: Path) -> None:
    """As event, key, id, file and source: every value comes back, and nothing is outside of the warehouse."""
    random.seed(seed := int(os.environ.get("LOADER_SEED", random.randrange(10**6))))
    print("seed", seed)
    names = NAMES + ["".join(random.choices("'\";$\n/\\.%[]{}*?-_ aZ0é\u202e\x00", k=12)) for _ in range(30)]
    home = tmp_path / "home"
    files = {}
    for at, name in enumerate(NAMES):
        safe = name.replace("/", "_").replace("\x00", "_")[:60]
        if not set(safe) & set("*?[") and safe.isprintable():
            files[f"{at}{safe}.json"] = warehouses.lines(event(1000 + at, name))
    files["all.json"] = warehouses.lines(*(event(at, name) for at, name in enumerate(names)))
    report = warehouses.load(home, files, source='\'; DROP TABLE "x" --')
    assert report.loaded == len(names) + len(files) - 1
    assert report.rejects == {}
    texts = all_texts(home)
    for at, name in enumerate(names):
        for text in (f"{at} {name}", f"{name} {at}", f"p {name} {at}", f"c {name} {at}", name):
            assert text in texts, text
    rows = warehouses.query(home, "SELECT event_text, id FROM tracks")
    assert {(name, f"{at} {name}") for at, name in enumerate(names)} <= set(rows)
    assert {path.name for path in tmp_path.iterdir()} == {"home"}
    assert {path.name for path in home.iterdir()} == {"in", "warehouse"}
    assert {path.name for path in (home / "warehouse").iterdir()} == {"loader", "tables", "warehouse.duckdb"}
    folders = {path.name for path in (home / "warehouse" / "tables").iterdir()}
    assert all(re.fullmatch("[a-z0-9_]+", name) for name in folders)
    uris = {Path(uri).name for (uri,) in warehouses.query(home, "SELECT uri FROM loader.files")}
    assert uris == files.keys()


VALUES: list[tuple[str, str | None]] = [
    # properties.v as written, the text of its cell; None: the line is a reject
    ("1e999", "1e999"),
    ("-0", "0"),
    ("1" + "0" * 400, "1" + "0" * 400),
    ('"0000-01-01"', "0000-01-01"),
    ('"99999-01-01T00:00:00Z"', "99999-01-01T00:00:00Z"),
    (r'"\ud800"', None),
    (r'"\udc00\ud800"', None),
    (r'"a\u0000b"', "a\0b"),
    (r'"\u202e\u0007"', "\u202e\x07"),
    ('"\x01"', None),
    ("[" * 998 + "]" * 998, "[" * 998 + "]" * 998),
    ("[" * 10000 + "]" * 10000, None),
    ('{"a":' * 10000 + "1" + "}" * 10000, None),
]


@pytest.mark.parametrize(("value", "expected"), VALUES, ids=[value[:20] for value, _ in VALUES])
def test_values(value: str, expected: str | None, tmp_path: Path) -> None:
    line = '{"type": "reset", "messageId": "a", "properties": {"v": ' + value + ', "w": "x"}}'
    report = warehouses.load(tmp_path, {"f": warehouses.lines(line)})
    if expected is None:
        assert report.rejects == {"invalid_json": 1}
        assert warehouses.query(tmp_path, "SELECT raw FROM loader.rejects") == [(line,)]
    else:
        assert warehouses.query(tmp_path, "SELECT v::VARCHAR, w FROM resets") == [(expected, "x")]


def test_bytes(tmp_path: Path) -> None:
    """Bytes that are no text, or no line, hurt only the line that they are in."""
    good = b'{"type": "reset", "messageId": "%d"}'
    bad = [b"\xff\xfe", b"\x00", b"\xef\xbb\xbf{}", b'{"type": "reset\xc3"}', b"\xed\xa0\x80", b'"', b"{" * 5000]
    data = b"".join(good % at + b"\n" + line + b"\n" for at, line in enumerate(bad))
    report = warehouses.load(tmp_path, {"f": data, "cr": good % 100 + b"\r" + good % 101})
    assert report.loaded == len(bad)
    assert report.rejected == len(bad) + 1
    assert len(warehouses.query(tmp_path, "SELECT id FROM resets")) == len(bad)


def test_times_that_overflow(tmp_path: Path) -> None:
    """A corrected time beyond the calendar is none."""
    far = {"sentAt": "0001-01-01T00:00:00Z", "originalTimestamp": "9999-12-31T23:59:59Z", "receivedAt": "2024-05-01"}
    back = {"sentAt": "9999-12-31T23:59:59Z", "originalTimestamp": "0001-01-01T00:00:00Z", "receivedAt": "2024-05-01"}
    events = [{"type": "reset", "messageId": name, **times} for name, times in (("far", far), ("back", back))]
    warehouses.load(tmp_path, {"f": warehouses.lines(*events)})
    rows = warehouses.query(tmp_path, 'SELECT id, "timestamp"::VARCHAR FROM resets ORDER BY id')
    assert rows == [("back", "0001-01-01 00:00:00+00"), ("far", "9999-12-31 23:59:59+00")]


def test_long_keys(tmp_path: Path) -> None:
    keys = ["k" * 100_000, "é" * 50_000, "k" * 99_999]
    properties = {key: at for at, key in enumerate(keys)}
    line = {"type": "reset", "messageId": "a", "properties": properties, "context": {keys[0]: {keys[1]: "deep"}}}
    warehouses.load(tmp_path, {"f": warehouses.lines(line)})
    (row,) = warehouses.tables(tmp_path)["resets"].rows
    assert {0, 1, 2, "deep"} <= set(row.values())


def peak(folder: Path, *arguments: str) -> tuple[int, int, str]:
    """A load in a process of its own: its exit code, the most memory (bytes) that it had, and stderr.

    VmHWM, since ru_maxrss of a child starts at what its parent had when it forked: the whole test run.
    """
    program = (
        "from pathlib import Path\nfrom loader.cli import main\n"
        "try:\n    main()\nfinally:\n    status = Path('/proc/self/status').read_text()\n"
        "    print(int(status.partition('VmHWM:')[2].split()[0]) << 10)\n"
    )
    command = [sys.executable, "-c", program, "load", *arguments, "--warehouse", str(folder / "warehouse")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
    return done.returncode, int(done.stdout.splitlines()[-1]), done.stderr


def bomb(kind: str, size: int) -> bytes:
    """A line of so many bytes, and a good one after it, compressed."""
    head, tail = b'{"type": "reset", "messageId": "', b'"}\n{"type": "reset", "messageId": "good"}\n'
    if kind == "gzip":
        return gzip.compress(head) + gzip.compress(b"x" * MIB) * (size // MIB) + gzip.compress(tail)
    codec = pa.Codec("zstd")
    parts = [head, *[b"x" * MIB] * (size // MIB), tail]
    return b"".join(bytes(codec.compress(part, asbytes=True)) for part in parts)


@pytest.mark.parametrize("kind", ["gzip", "zstd"])
def test_bomb(kind: str, tmp_path: Path) -> None:
    """A line of 2 GB, packed into some kB, stops at the limit of a line."""
    (tmp_path / "f").write_bytes(bomb(kind, 2048 * MIB))
    code, memory, _ = peak(tmp_path, str(tmp_path / "f"), "--max-reject-share", "1")
    assert code == 0
    assert memory < 700 * MIB
    assert warehouses.query(tmp_path, "SELECT id FROM resets") == [("good",)]
    assert warehouses.query(tmp_path, "SELECT reason, strlen(raw) FROM loader.rejects") == [("line_too_long", MIB)]
