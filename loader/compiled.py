"""What `scanner.c` is called with: its library, and memory as it wants it. It is built while the package is."""

import ctypes
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa

LIBRARY = Path(__file__).with_name("_scanner.so")  # made of scanner.c when the package is built
# Texts of members of contexts. kind: only texts of a member whose values are of the same classes have the same; NULL:
# not told.
KEPT = pa.schema(
    [
        ("member", pa.int32()),
        ("id", pa.int32()),
        ("text", pa.string()),
        ("shape", pa.uint64()),
        ("kind", pa.uint64()),
    ]
)
INSTANT = pa.timestamp("us", "Etc/UTC")  # as the engine calls UTC
AHEAD = 32  # more bytes than are read behind a text
_NO_KIND = (1 << 64) - 1
_SLOT = 32  # bytes of a place for a hash
_KEYS = 256  # such places at first; enough for known keys
_FULL = 0.5  # of the places
_AT_A_TIME = 1 << 14  # texts that the engine gets as one batch: several keep several threads busy


def is_there() -> bool:
    """Whether the package was built with `scanner.c`; without it the engine does all."""
    return LIBRARY.exists()


@cache
def library() -> ctypes.CDLL:
    """The functions of scanner.c. OSError where there are none."""
    loaded = ctypes.CDLL(str(LIBRARY))
    loaded.loader_ends.restype = ctypes.c_int64
    return loaded


def line_ends(data: np.ndarray) -> np.ndarray:
    """The places behind newlines in some bytes."""
    if not is_there():
        return np.flatnonzero(data == 10) + 1
    ends = np.empty(len(data), np.int64)
    size, found = ctypes.c_int64(len(data)), ctypes.c_void_p(address(ends))
    return ends[: library().loader_ends(ctypes.c_void_p(address(data)), size, found)].copy()


def structure(name: str, fields: str) -> type[ctypes.Structure]:
    """A struct of scanner.c: pointers, and numbers (marked `#`)."""
    types = [(f.strip("#"), ctypes.c_int64 if f.endswith("#") else ctypes.c_void_p) for f in fields.split()]
    return type(name, (ctypes.Structure,), {"_fields_": types})


def address(array: np.ndarray) -> int:
    """Where an array's memory begins."""
    return int(array.ctypes.data)


def array(type_: pa.DataType, rows: int, valid: np.ndarray | None, values: np.ndarray, *data: pa.Buffer) -> pa.Array:
    """An array of so many values, which are not copied. valid: bits; None: all are."""
    bits = None if valid is None else pa.py_buffer(valid)
    return pa.Array.from_buffers(type_, rows, [bits, pa.py_buffer(values), *data])


_Struct = structure("texts", "slots mask# bytes ends groups ids shapes kinds counts kept# size#")


class Texts:
    """Different texts of some groups, each kept once, with ids from 0 by group."""

    def __init__(self, groups: int, most: int, bytes_: int):
        """most: texts, and bytes_ their bytes, that are kept at a time."""
        self.bytes = np.empty(bytes_, np.uint8)
        self.ends, self.groups, self.ids = (np.empty(most, np.int32) for _ in range(3))
        self.shapes, self.kinds = np.empty(most, np.uint64), np.empty(most, np.uint64)
        self.counts = np.zeros(max(groups, 1), np.int32)
        arrays = (self.bytes, self.ends, self.groups, self.ids, self.shapes, self.kinds, self.counts)
        self.struct = _Struct(None, 0, *(address(each) for each in arrays), 0, 0)
        self.slots = self._slots(_KEYS)

    def _slots(self, count: int) -> np.ndarray:
        """New places for hashes, a power of two: memory that is not used yet costs more to touch than to move."""
        slots = np.zeros(count * _SLOT, np.uint8)
        self.struct.slots, self.struct.mask = address(slots), count - 1
        return slots

    @classmethod
    def of(cls, known: Sequence[str], groups: Sequence[int] = ()) -> Self:
        """These texts, each of a group (by default all of the first), their ids being their places in it."""
        data = [text.encode() for text in known]
        texts = cls(max(groups, default=0) + 1, max(len(data), 1), sum(map(len, data)))
        for text, group in zip(data, groups or [0] * len(data), strict=True):
            texts.make_room(1, len(text))
            library().loader_keep(texts.pointer, text, ctypes.c_int64(len(text)), ctypes.c_int64(group))
        return texts

    @property
    def pointer(self) -> Any:
        return ctypes.byref(self.struct)

    def make_room(self, texts: int, size: int) -> bool:
        """Makes room for so many more texts of so many bytes; False where there cannot be that much."""
        wanted = self.struct.kept + texts
        if wanted > len(self.groups) or self.struct.size + size > len(self.bytes):
            return False
        count = len(self.slots) // _SLOT
        if wanted > _FULL * count:
            old, self.slots = self.slots, self._slots(1 << int(wanted / _FULL).bit_length())
            library().loader_move(self.pointer, ctypes.c_void_p(address(old)), ctypes.c_int64(count))
        return True

    def all(self) -> pa.Table:
        """What is kept. The texts are not copied."""
        kept, size = self.struct.kept, self.struct.size
        ends = pa.py_buffer(np.append(np.int32(0), self.ends[:kept]))
        text = pa.StringArray.from_buffers(kept, ends, pa.py_buffer(self.bytes[:size]))
        kinds = self.kinds[:kept].copy()
        columns = [
            *(each[:kept].copy() for each in (self.groups, self.ids)),
            text,
            self.shapes[:kept].copy(),
            pa.array(kinds, mask=kinds == _NO_KIND),
        ]
        batches = pa.table(columns, schema=KEPT).to_batches(_AT_A_TIME)
        return pa.Table.from_batches(batches, KEPT)

    def clear(self) -> None:
        """Forgets them. The next ids come after theirs."""
        self.bytes = np.empty_like(self.bytes)  # that of before is whose who has `all`
        self.struct.bytes = address(self.bytes)
        self.slots = self._slots(_KEYS)
        self.struct.kept = self.struct.size = 0
