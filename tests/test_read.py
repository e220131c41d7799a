"""Files to lines: compression by content, line ends, encodings, limits. No byte is lost, whatever the blocks."""

import gzip
import hashlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

import loader
from loader import pipeline, read
from loader.records import FileRead, SourceFile
from tests import warehouses

MODIFIED = datetime(2024, 5, 10, 12, tzinfo=UTC)
MIB = 1 << 20


def file_read(path: Path | str, file_id: int = 1) -> FileRead:
    return FileRead(SourceFile(str(path), None, MODIFIED, None), file_id)


def lines_of(reads: Sequence[FileRead], max_line_bytes: int = 32 * MIB) -> list[dict[str, Any]]:
    """All lines, in order."""
    return [row for batch in read.lines(reads, max_line_bytes) for row in batch.to_pylist()]


def texts(path: Path, data: bytes, max_line_bytes: int = 32 * MIB) -> list[tuple[str, str | None]]:
    """The lines of a file with these bytes: text and fault. Checks their numbers and the file's."""
    path.write_bytes(data)
    one = file_read(path)
    rows = lines_of([one], max_line_bytes)
    assert one.error is None
    assert [row["line"] for row in rows] == list(range(1, len(rows) + 1))
    assert [row["ordinal"] for row in rows] == list(range(len(rows)))
    assert {row["file_id"] for row in rows} <= {1}
    assert (one.lines, one.bytes) == (len(rows), len(data))
    return [(row["text"], row["fault"]) for row in rows]


def good(*lines: str) -> list[tuple[str, str | None]]:
    return [(line, None) for line in lines]


def zstd(data: bytes) -> bytes:
    return bytes(pa.Codec("zstd").compress(data, asbytes=True))


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", []),
        (b"a", ["a"]),
        (b"a\n", ["a\n"]),
        (b"a\nb", ["a\n", "b"]),
        (b"a\r\nb\r\n", ["a\r\n", "b\r\n"]),
        (b"\n\n \na\n\n", ["\n", "\n", " \n", "a\n", "\n"]),
        (b"\xef\xbb\xbfa\nb", ["a\n", "b"]),
        (b"\xef\xbb\xbf", []),
        (b"a\n\xef\xbb\xbfb", ["a\n", "\ufeffb"]),
        (b"a\rb\n", ["a\rb\n"]),
        ("é\u2028\x85\x0b\n日".encode(), ["é\u2028\x85\x0b\n", "日"]),
        (b"a\x00b\n\x00", ["a\x00b\n", "\x00"]),
    ],
)
@pytest.mark.parametrize("pack", [bytes, gzip.compress, zstd], ids=["plain", "gzip", "zstd"])
def test_lines(data: bytes, expected: list[str], pack: Any, tmp_path: Path) -> None:
    """A line has its line end, as the engine reads past it. What the file is called does not matter."""
    name = "events.gz" if pack is bytes else "events.json"
    assert texts(tmp_path / name, pack(data)) == good(*expected)


@pytest.mark.parametrize("pack", [gzip.compress, zstd])
def test_several_members(pack: Any, tmp_path: Path) -> None:
    parts = [b"a\nb", b"", b"c\n", b"d"]
    assert texts(tmp_path / "f", b"".join(map(pack, parts))) == good("a\n", "bc\n", "d")


def test_a_member_a_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read, "BLOCK", 1000)
    line = "x" * 99 + "\n"
    for pack in (gzip.compress, zstd):
        data = b"".join(pack(line.encode() * count) for count in (10, 25, 1))
        assert texts(tmp_path / "f", data) == good(*[line] * 36)


def test_files_one_after_another(tmp_path: Path) -> None:
    for name, data in (("1", b"a\nb"), ("2", b""), ("3", b"c\n")):
        (tmp_path / name).write_bytes(data)
    reads = [file_read(tmp_path / name, int(name) + 6) for name in "123"]
    assert [tuple(row.values()) for row in lines_of(reads)] == [
        (7, 0, 1, "a\n", None),
        (7, 1, 2, "b", None),
        (9, 2, 1, "c\n", None),
    ]
    assert [(each.lines, each.bytes) for each in reads] == [(2, 3), (0, 0), (1, 2)]


def test_lines_of_small_files_come_together(tmp_path: Path) -> None:
    line = b"x" * 9_999 + b"\n"
    for number in range(250):
        (tmp_path / str(number)).write_bytes(line)
    reads = [file_read(tmp_path / str(number), number) for number in range(250)]
    batches = [*read.lines(reads, MIB)]
    assert [batch.num_rows for batch in batches] == [105, 105, 40]  # the fewest that have half a block
    assert [number for batch in batches for number in batch["file_id"].to_pylist()] == [*range(250)]


def test_progress(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(gzip.compress(os.urandom(3 * MIB).replace(b"\n", b"") + b"\n"))
    counts: list[int] = []
    one = file_read(tmp_path / "f")
    assert len([*read.lines([one], 32 * MIB, counts.append)]) == 1
    assert sum(counts) == one.bytes == (tmp_path / "f").stat().st_size
    assert len(counts) > 3


def test_stdin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "f").write_bytes(b"a\nb\n")
    descriptor = os.open(tmp_path / "f", os.O_RDONLY)
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(fileno=lambda: descriptor))
    assert [row["text"] for row in lines_of([file_read("-")])] == ["a\n", "b\n"]
    os.close(descriptor)  # it is the caller's, and still open


def test_stdin_that_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program may hand over a pipe that says "nothing yet" in place of waiting: that is not its end."""
    ours, theirs = os.pipe()
    os.set_blocking(ours, False)
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(fileno=lambda: ours))

    def write() -> None:
        time.sleep(0.2)
        os.write(theirs, b"a\nb\n")
        os.close(theirs)

    with ThreadPoolExecutor(1) as pool:
        pool.submit(write)
        assert [row["text"] for row in lines_of([file_read("-")])] == ["a\n", "b\n"]
    os.close(ours)


# --- any bytes, any blocks ------------------------------------------------------------------------------------------

CHARACTERS = [b"\n", b"\r\n", b"a", b"bc", b" ", b"\x00", "é".encode(), "日".encode(), "🎉".encode(), b"\xef\xbb\xbf"]
NO_CHARACTERS = [b"\xc3", b"\xa9", b"\xf0\x9f\x8e", b"\xff", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xc0\x80"]
pieces = st.sampled_from([*CHARACTERS, *NO_CHARACTERS])
contents = st.one_of(st.lists(pieces, max_size=30).map(b"".join), st.binary(max_size=40))


def split(data: bytes) -> list[bytes]:
    """The lines as Python splits them, with their ends."""
    *ended, last = data.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    return [line + b"\n" for line in ended] + ([last] if last else [])


def fault_of(line: bytes) -> str | None:
    try:
        line.decode()
    except UnicodeDecodeError:
        return "invalid_utf8"
    return None


@given(contents, st.integers(3, 9), st.sampled_from([bytes, gzip.compress, zstd]))
@example(b"\xc3\xa9\xc3\n\xa9", 3, bytes)
@example(b"\xef\xbb\xbf\xef\xbb\xbfa", 3, bytes)
def test_any_bytes_in_any_blocks(data: bytes, block: int, pack: Any) -> None:
    assume(not data.startswith((b"\x1f\x8b", b"\x28\xb5\x2f\xfd")))
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        patch.setattr(read, "BLOCK", block)
        found = texts(Path(folder) / "f", pack(data))
    assert found == [(line.decode("utf-8", "replace"), fault_of(line)) for line in split(data)]


@given(contents, st.integers(3, 9), st.integers(1, 12), st.integers(13, 20))
def test_any_limit_of_a_line(data: bytes, block: int, limit: int, raw_bytes: int) -> None:
    """No line is lost or joined to another; one that is too long is cut if need be, the others are whole."""
    assume(not data.startswith((b"\x1f\x8b", b"\x28\xb5\x2f\xfd")))
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        patch.setattr(read, "BLOCK", block)
        patch.setattr(read, "RAW_BYTES", raw_bytes)
        found = texts(Path(folder) / "f", data, limit)
    for (text, fault), line in zip(found, split(data), strict=True):
        whole = line.decode("utf-8", "replace")
        if len(line.removesuffix(b"\n")) <= limit:
            assert (text, fault) == (whole, fault_of(line))
        elif len(whole.encode()) <= raw_bytes:
            assert (text, fault) == (whole, "line_too_long")
        else:
            assert fault == "line_too_long"
            assert whole.startswith((text, text.removesuffix("\ufffd")))  # cut inside a character
            assert raw_bytes - 3 <= len(text.encode()) <= raw_bytes


# --- end to end -----------------------------------------------------------------------------------------------------


def reset(message_id: str, **fields: Any) -> dict[str, Any]:
    return {"type": "reset", "messageId": message_id, **fields}


def ids(folder: Path) -> list[str]:
    return [name for (name,) in warehouses.query(folder, "SELECT id FROM resets ORDER BY loader_file_id, loader_line")]


def test_lines_that_are_no_text_or_too_long(tmp_path: Path) -> None:
    """The neighbours load, and what can be shown of the line is kept: its first MiB."""
    long = json.dumps(reset("long", properties={"text": "x" * 3 * MIB})).encode()
    data = warehouses.lines(
        reset("a"), b'{"type": "reset", "messageId": "\xff\xc3"}', reset("b"), long, reset("c"), "", reset("d")
    )
    report = warehouses.load(tmp_path, {"f": data + long}, max_line_bytes=2 * MIB)
    assert (report.lines, report.items, report.loaded) == (8, 7, 4)
    assert report.rejects == {"invalid_utf8": 1, "line_too_long": 2}
    assert ids(tmp_path) == ["a", "b", "c", "d"]
    assert warehouses.query(tmp_path, "SELECT loader_line, reason, raw FROM loader.rejects ORDER BY ALL") == [
        (2, "invalid_utf8", '{"type": "reset", "messageId": "\ufffd\ufffd"}'),
        (4, "line_too_long", long[:MIB].decode()),
        (8, "line_too_long", long[:MIB].decode()),
    ]


def test_what_is_kept_of_a_long_reject(tmp_path: Path) -> None:
    """The first MiB of ASCII; of other text as many characters as surely fit into one."""
    letters, accents = "x" * 3 * MIB, "é" * MIB
    report = warehouses.load(tmp_path, {"f": warehouses.lines(letters, accents, b"\xff" + accents.encode())})
    assert report.rejects == {"invalid_utf8": 1, "invalid_json": 2}
    assert [raw for (raw,) in warehouses.query(tmp_path, "SELECT raw FROM loader.rejects ORDER BY loader_line")] == [
        letters[:MIB],
        accents[: MIB // 4],
        ("\ufffd" + accents)[: MIB // 4],
    ]


def test_crlf_and_bom(tmp_path: Path) -> None:
    """A line's end is no part of it: the made-up id is that of the line without."""
    text = '{"type":"reset","properties":{"a":"x"}}'
    data = b"\xef\xbb\xbf" + f"{text}\r\n\r\n \t\r\n{{\r\n{text}".encode()
    report = warehouses.load(tmp_path, {"f": data})
    assert (report.lines, report.items, report.loaded, report.duplicates) == (5, 3, 1, 1)
    assert ids(tmp_path) == ["auto-" + hashlib.sha256(text.encode()).hexdigest()[:32]]
    assert warehouses.query(tmp_path, "SELECT blank FROM loader.files") == [(2,)]
    assert warehouses.query(tmp_path, "SELECT loader_line, reason, raw FROM loader.rejects") == [
        (4, "invalid_json", "{")
    ]


BROKEN = {
    "cut gzip": gzip.compress(warehouses.lines(*map(reset, map(str, range(1000)))))[:-1],
    "cut second member": gzip.compress(warehouses.lines(reset("x"))) + gzip.compress(b"y\n" * 100)[:15],
    "more after gzip": gzip.compress(warehouses.lines(reset("x"))) + b"more",
    "cut zstd": zstd(warehouses.lines(*map(reset, map(str, range(1000)))))[:-1],
    "more after zstd": zstd(warehouses.lines(reset("x"))) + b"more",
}


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN)
def test_a_broken_file_keeps_its_error(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "1").write_bytes(data)
    (tmp_path / "2").write_bytes(b"a\n")
    reads = [file_read(tmp_path / name, int(name)) for name in "12"]
    assert [row["text"] for row in lines_of(reads) if row["file_id"] == 2] == ["a\n"]
    assert [each.error is None for each in reads] == [False, True]


def test_a_broken_file_does_not_stop_the_others(tmp_path: Path) -> None:
    """It is named, leaves no trace, not even of what could be read of it, and is read again next time."""
    one = gzip.compress(warehouses.lines(*(reset(str(at), properties={"x": at}) for at in range(50_000))))
    files = {"1.gz": one[: len(one) // 2], "2.gz": gzip.compress(warehouses.lines(reset("good"), "{"))}
    report = warehouses.load(tmp_path, files)
    uri = str(tmp_path / "in" / "1.gz")
    assert report.unread.keys() == {uri}
    assert "ends too early: the file is cut off" in report.unread[uri]
    assert (report.files, report.lines, report.items, report.loaded, report.rejected) == (1, 2, 2, 1, 1)
    assert warehouses.query(tmp_path, "SELECT uri, lines, items FROM loader.files") == [
        (str(tmp_path / "in" / "2.gz"), 2, 2)
    ]
    assert warehouses.query(tmp_path, "SELECT count(*) FROM loader.rejects") == [(1,)]
    assert ids(tmp_path) == ["good"]
    assert "x" not in warehouses.tables(tmp_path)["resets"].columns

    again = warehouses.load(tmp_path, files)  # "2.gz" is written anew, and so looks new
    assert (list(again.unread), again.loaded, again.duplicates) == ([uri], 0, 1)
    whole = warehouses.load(tmp_path, {"1.gz": one})
    assert (whole.unread, whole.loaded) == ({}, 50_000)


def test_no_file_can_be_read(tmp_path: Path) -> None:
    """Then there is no load, and no warehouse to see; the next run is the first."""
    report = warehouses.load(tmp_path, {"1": b"\x1f\x8b"})
    assert (report.files, report.loads, len(report.unread)) == (0, [], 1)
    assert not (tmp_path / "warehouse" / "warehouse.duckdb").exists()
    report = warehouses.load(tmp_path, {"1": warehouses.lines(reset("a"))})
    assert (report.loads, report.loaded, report.unread) == ([1], 1, {})


def test_an_empty_file_is_loaded(tmp_path: Path) -> None:
    """With no lines; it is known from then on."""
    report = warehouses.load(tmp_path, {"1": b""})
    assert (report.files, report.lines, report.loads) == (1, 0, [1])
    assert warehouses.query(tmp_path, "SELECT lines, items, first_received_at FROM loader.files") == [(0, 0, None)]
    report = pipeline.load_only(
        loader.Settings(warehouse=tmp_path / "warehouse", sources=(str(tmp_path / "in" / "1"),))
    )
    assert (report.known_files, report.loads) == (1, [])
