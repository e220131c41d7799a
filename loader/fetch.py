"""Objects of buckets as streams: which blocks are asked for ahead, and that no more than these are in memory."""

import io
import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self

from loader import storage
from loader.bucket import Bucket, Object
from loader.records import SourceFile

BLOCK = 8 << 20
REQUESTS = 8  # at work, or done and not yet read


class Fetch:
    """The objects among these files, each to be opened once, in this order. Only within `with`.

    settings: of `[storage]`. stop: set, it ends all waiting.
    """

    def __init__(self, files: Sequence[SourceFile], settings: Mapping[str, str], stop: threading.Event) -> None:
        self._stop = stop
        self._settings = settings
        self._buckets: dict[str, Bucket] = {}
        self._files = deque(file for file in files if storage.is_bucket(file.uri) and file.size)
        self._asked = 0  # bytes of the first of these
        self._ahead: deque[tuple[str, Future[memoryview]]] = deque()

    def __enter__(self) -> Self:
        self._pool = ThreadPoolExecutor(REQUESTS, thread_name_prefix="fetch")
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._stop.set()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def open(self, file: SourceFile) -> io.RawIOBase | io.BytesIO:
        """The bytes of an object, as they are stored. Reading them raises BucketError."""
        if not file.size:
            return io.BytesIO()
        while self._ahead and self._ahead[0][0] != file.uri:  # the rest of one before that was not read to its end
            self._ahead.popleft()[1].cancel()
        while not self._ahead and self._files and self._files[0].uri != file.uri:
            self._files.popleft()
            self._asked = 0
        return _Stream(self._blocks(file.uri))

    def _blocks(self, uri: str) -> Iterator[memoryview]:
        self._ask_ahead()
        while self._ahead and self._ahead[0][0] == uri:
            yield self._ahead.popleft()[1].result()
            self._ask_ahead()

    def _ask_ahead(self) -> None:
        while len(self._ahead) < REQUESTS and self._files:
            file, start = self._files[0], self._asked
            self._asked = min(start + BLOCK, file.size or 0)
            self._ahead.append((file.uri, self._ask(file, start, self._asked)))
            if self._asked >= (file.size or 0):
                self._files.popleft()
                self._asked = 0

    def _ask(self, file: SourceFile, start: int, end: int) -> "Future[memoryview]":
        address = storage.parse(file.uri)
        if address.root not in self._buckets:
            self._buckets[address.root] = Bucket(address, self._settings, self._stop)
        wanted = Object(address.key, file.size or 0, file.modified, file.etag)
        return self._pool.submit(self._buckets[address.root].block, wanted, start, end)


class _Stream(io.RawIOBase):
    """Blocks as one file."""

    def __init__(self, blocks: Iterator[memoryview]) -> None:
        self._blocks, self._rest = blocks, memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:  # type: ignore[no-untyped-def]
        if not self._rest:
            self._rest = next(self._blocks, memoryview(b""))
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count
