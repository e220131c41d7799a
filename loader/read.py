"""Files to lines: compression (told by content), line ends, UTF-8, the limit of a line. No line is lost."""

import errno
import io
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import BinaryIO, cast

import numpy as np
import pyarrow as pa
from isal import igzip, isal_zlib

from loader import compiled, storage
from loader.ahead import ahead
from loader.bucket import BucketError
from loader.fetch import Fetch
from loader.records import GROWING, LATE, LINES, STDIN, FileRead, SourceFile

BLOCK = 2 << 20
RAW_BYTES = 1 << 20  # of a rejected line, this much is kept
_GIVE_UP = 3  # objects one after the other that could not be had: then the others are not tried
_GZIP, _ZSTD, _BOM = b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"\xef\xbb\xbf"
_READ_ERRORS: tuple[type[Exception], ...] = (
    OSError,
    EOFError,
    cast(type[Exception], isal_zlib.error),
    pa.ArrowException,
)


def lines(
    reads: Sequence[FileRead],
    max_line_bytes: int,
    progress: Callable[[int], None] = lambda _: None,
    *,
    buckets: Mapping[str, str] | None = None,
    until: float | None = None,
) -> Iterator[pa.RecordBatch]:
    """The lines of the files in order, as batches of `LINES`; fills in lines, bytes and error of each FileRead.

    ordinal: number of the line among all lines of all files. text: with its line end. fault: None, or the reason for
    which the line is a reject (invalid_utf8, line_too_long), with what can be shown of it as text. A file that cannot
    be read to its end keeps its error; its lines so far have been given out. progress: is called with bytes read.
    buckets: the settings of `[storage]`. until: no file is begun at or after that time.monotonic().
    """
    stop = threading.Event()
    batches = _batches(reads, max_line_bytes, progress, Fetch([r.file for r in reads], buckets or {}, stop), until)
    return ahead(_gathered(batches), 3, stop)


def _batches(
    reads: Sequence[FileRead],
    max_line_bytes: int,
    progress: Callable[[int], None],
    fetch: Fetch,
    until: float | None,
) -> Iterator[pa.RecordBatch]:
    ordinal = 0
    down: list[str] = []  # one after the other, why objects could not be had
    with fetch:
        for read in reads:
            if until is not None and time.monotonic() >= until:
                read.left, read.error = LATE, "there was no time to read it. The next run does."
                continue
            if storage.is_bucket(read.file.uri) and len(down) >= _GIVE_UP:
                read.error = f"not tried, since others could not be had: {down[0]}"
                continue
            try:
                with _open_raw(read.file, fetch) as raw:
                    for lines in _lines(_Counted(raw, read, progress), read, max_line_bytes):
                        yield _batch(lines, read, ordinal)
                        read.given += lines.size
                        read.lines += len(lines)
                        ordinal += len(lines)
                    _look_again(raw, read)
                    down.clear()
            except BucketError as error:
                read.error = error.why
                down = [*down, str(error)] if error.down else []
            except _READ_ERRORS as error:
                read.error = _why(error)
                if isinstance(error, EOFError) and read.file.fresh:
                    read.left = GROWING


def _open_raw(file: SourceFile, fetch: Fetch) -> BinaryIO:
    """The bytes of a file as they are stored: of a bucket, of stdin (which stays open), or on disk."""
    if storage.is_bucket(file.uri):
        return cast(BinaryIO, fetch.open(file))
    stream = _stream_of(file.uri)
    if isinstance(stream, int):
        os.set_blocking(stream, True)  # else "nothing yet" would be taken for its end
    return open(stream, "rb", buffering=0, closefd=file.uri != STDIN)


def _look_again(raw: BinaryIO, read: FileRead) -> None:
    """Notes a file that is another than when it was listed: what was read may be a part of it. A stream never is, and
    the blocks of an object are all of the same."""
    file = read.file
    if file.size is None or storage.is_bucket(file.uri):
        return
    now = SourceFile.of(file.uri, os.fstat(raw.fileno()), None)
    if (now.size, now.version) != (file.size, file.version):
        read.error = "it was changed while it was read. The next run tries again."
        read.left = GROWING if file.fresh else None


def _why(error: Exception) -> str:
    if isinstance(error, EOFError):
        return (
            "the compressed data ends too early: the file is cut off or still being written. The next run tries again."
        )
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}. The next run tries again."
    return f"the data cannot be decompressed ({error}). Copy the file again; the next run tries again."


def _gathered(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The same lines, those of small files together: a batch of one line takes the engine about as long as 2,000."""
    waiting: list[pa.RecordBatch] = []
    size = 0
    for batch in batches:
        waiting.append(batch)
        size += batch.nbytes
        if size >= BLOCK // 2:
            yield pa.concat_batches(waiting) if len(waiting) > 1 else batch
            waiting, size = [], 0
    if waiting:
        yield pa.concat_batches(waiting)


class _Counted(io.RawIOBase):
    """A file that counts the bytes read from it."""

    def __init__(self, raw: BinaryIO, read: FileRead, progress: Callable[[int], None]):
        self._raw, self._read, self._progress = raw, read, progress

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:  # type: ignore[no-untyped-def]
        count = cast(io.RawIOBase, self._raw).readinto(buffer) or 0
        self._read.bytes += count
        self._progress(count)
        return count


def _open(raw: io.RawIOBase) -> io.BufferedIOBase:
    """The uncompressed bytes of a file, whatever it is called."""
    buffered = io.BufferedReader(raw, 1 << 18)
    magic = buffered.peek(4)[:4]
    if magic.startswith(_GZIP):
        return cast(io.BufferedIOBase, igzip.IGzipFile(fileobj=buffered))
    if magic == _ZSTD:
        return cast(io.BufferedIOBase, pa.CompressedInputStream(pa.PythonFile(buffered, "r"), "zstd"))
    return buffered


@dataclass(slots=True)
class _Lines:
    """A run of lines in one buffer. offsets: where each begins, and where the last ends, its line end included. long:
    indexes of cut lines."""

    data: pa.Buffer
    offsets: np.ndarray
    long: list[int]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def size(self) -> int:
        return int(self.offsets[-1] - self.offsets[0])


def _lines(raw: io.RawIOBase, read: FileRead, max_line_bytes: int) -> Iterator[_Lines]:
    stream = _open(raw)
    rest = b""  # a line's beginning
    skipping = False  # the line is longer than the limit
    while True:
        begun = b"" if skipping else rest
        data = pa.allocate_buffer(len(begun) + BLOCK)
        view = memoryview(data).cast("B")
        view[: len(begun)] = begun
        count = stream.readinto(view[len(begun) :])
        if not count:
            break
        start, end = 0, len(begun) + count
        if count < BLOCK // 2:  # lines of small files wait for each other
            data = pa.py_buffer(bytes(view[:end]))
        if not read.text and view[: min(end, len(_BOM))] == _BOM:
            start = len(_BOM)
            read.dropped += start
        read.text += count
        if skipping:
            block = bytes(view[:end])
            start = block.find(b"\n") + 1
            room = max(RAW_BYTES - len(rest), 0)
            rest += block[: min(start or end, room)]
            read.dropped += max((start or end) - room, 0)
            if not start:
                continue
            yield _line(rest, cut=True)
            skipping = False
        ends = compiled.line_ends(np.frombuffer(view[start:end], np.uint8)) + start
        if len(ends):
            yield _split(data, np.insert(ends, 0, start), max_line_bytes)
            start = int(ends[-1])
        rest = bytes(view[start:end])
        if len(rest) > max_line_bytes:
            read.dropped += max(len(rest) - RAW_BYTES, 0)
            rest, skipping = rest[:RAW_BYTES], True
    if rest:
        yield _line(rest, skipping)


def _line(data: bytes, cut: bool) -> _Lines:
    return _Lines(pa.py_buffer(data), np.array([0, len(data)]), [0] if cut else [])


def _split(data: pa.Buffer, offsets: np.ndarray, max_line_bytes: int) -> _Lines:
    lines = _Lines(data, offsets, [])
    if lines.size > max_line_bytes + 1:
        lines.long = np.flatnonzero(np.diff(offsets) > max_line_bytes + 1).tolist()
    return lines


def _batch(lines: _Lines, read: FileRead, ordinal: int) -> pa.RecordBatch:
    count = len(lines)
    text = pa.StringArray.from_buffers(count, pa.py_buffer(lines.offsets.astype(np.int32)), lines.data)
    fault = pa.nulls(count, pa.string())
    try:
        text.validate(full=True)
    except pa.ArrowInvalid:
        text, fault = _repair(text)
    if lines.long:
        text, fault = _cut_long(text, fault, lines.long)
    return pa.record_batch(
        [
            pa.array(np.full(count, read.file_id, np.int32)),
            pa.array(np.arange(ordinal, ordinal + count, dtype=np.int64)),
            pa.array(np.arange(read.lines + 1, read.lines + count + 1, dtype=np.int64)),
            text,
            fault,
        ],
        schema=LINES,
    )


def _repair(text: pa.StringArray) -> tuple[pa.StringArray, pa.StringArray]:
    """The lines with bad bytes replaced, and which lines had some. A newline is never part of a bad sequence."""
    _, offsets, data = text.buffers()
    bounds = np.frombuffer(offsets, np.int32)
    repaired = data[bounds[0] : bounds[len(text)]].to_pybytes().decode("utf-8", "replace").encode()
    ends = np.flatnonzero(np.frombuffer(repaired, np.uint8) == 10) + 1
    if len(ends) < len(text):  # the file's last line, without a line end
        ends = np.append(ends, len(repaired))
    mended_offsets = np.zeros(len(ends) + 1, np.int32)
    mended_offsets[1:] = ends
    mended = pa.StringArray.from_buffers(len(ends), pa.py_buffer(mended_offsets), pa.py_buffer(repaired))
    binary = pa.BinaryArray.from_buffers(pa.binary(), len(text), [None, offsets, data])
    import pyarrow.compute as pc  # takes a while, and most files don't need it

    bad = pc.not_equal(binary, mended.cast(pa.binary()))
    return mended, pc.if_else(bad, "invalid_utf8", pa.scalar(None, pa.string()))


def _cut_long(text: pa.StringArray, fault: pa.StringArray, long: list[int]) -> tuple[pa.StringArray, pa.StringArray]:
    texts = {at: text[at].as_py().encode()[:RAW_BYTES].decode("utf-8", "ignore") for at in long}
    mask = np.zeros(len(text), bool)
    mask[long] = True
    shown = pa.array([texts[at] for at in long], pa.string())
    import pyarrow.compute as pc

    return pc.replace_with_mask(text, pa.array(mask), shown), pc.if_else(mask, "line_too_long", fault)


def _stream_of(uri: str) -> int | str:
    """What to open for a uri: the descriptor of stdin for `-`, else the path."""
    if uri != STDIN:
        return uri
    if sys.stdin is None:
        raise OSError(errno.EBADF, "stdin is closed")
    return sys.stdin.fileno()
