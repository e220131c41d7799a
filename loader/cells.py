"""Cells of columns, taken out of JSON objects by `scanner.c` at several times the engine's speed.

Which cell a value makes is said in values.sql. Here are those of which it is certain what the engine would make. An
object with any other of what is wanted in it is the engine's.
"""

import ctypes
from collections.abc import Mapping

import numpy as np
import pyarrow as pa

from loader.compiled import AHEAD, INSTANT, Texts, address, array, library, structure

TEXT = pa.string_view()  # of the cells that are texts
# What is wanted of a path, and the type of such cells. MIXED: text of whatever it is. JSON: as it is written.
_TYPES = {
    "BIGINT": pa.int64(),
    "DOUBLE": pa.float64(),
    "BOOLEAN": pa.bool_(),
    "TIMESTAMPTZ": INSTANT,
    "VARCHAR": TEXT,
    "MIXED": TEXT,
    "ARRAY": TEXT,
    "JSON": TEXT,
}
_CODES = {name: code for code, name in enumerate(_TYPES, 1)}
_VIEW = 16  # bytes of a place of a text

_PathsStruct = structure("paths", "keys first columns cells begins follows")
_CellsStruct = structure(
    "cells", "data size# offsets rows# taken values there unescaped room unescaped_size# row# begin end"
)


class Paths:
    """Different paths in JSON objects, by name: their keys from the root, and which cells are wanted."""

    def __init__(self, wanted: Mapping[str, tuple[tuple[str, ...], str]]):
        self._types = {name: type_ for name, (_, type_) in wanted.items()}
        columns = {keys: at for at, (keys, _) in enumerate(wanted.values())}
        inside: dict[tuple[str, ...], dict[str, None]] = {}
        for keys in columns:
            for depth, key in enumerate(keys):
                inside.setdefault(keys[:depth], {})[key] = None
        ways: list[tuple[str, ...]] = [()]
        first, groups = [], []
        for number, way in enumerate(ways):
            under = inside.get(way, {})
            first.append(len(ways) if under else 0)
            groups += [number] * len(under)
            ways += [(*way, key) for key in under]
        self._keys = Texts.of([way[-1] for way in ways[1:]], groups)
        self._arrays: list[np.ndarray] = [
            np.array(first, np.int32),
            np.array([columns.get(way, -1) for way in ways], np.int32),
            np.array([_CODES[type_] for type_ in self._types.values()], np.uint8),
            *(np.zeros(len(ways), np.int32) for _ in range(2)),
        ]
        self._struct = _PathsStruct(ctypes.addressof(self._keys.struct), *(address(each) for each in self._arrays))

    def take(self, objects: pa.Array) -> tuple[np.ndarray, dict[str, pa.Array]]:
        """The cells of these objects (large_string; NULL: none), by name; and of which of them they were taken: of the
        others there are none. No object has a key twice (else what is taken of it may not be what the engine takes)."""
        rows = len(objects)
        _, offsets, data = objects.buffers()
        data = data or pa.py_buffer(b"")
        bounds = np.frombuffer(offsets, np.int64)[objects.offset : objects.offset + rows + 1]
        size = int(bounds[-1] - bounds[0])
        there = objects.is_valid().to_numpy(zero_copy_only=False)
        taken = there.astype(np.uint8)
        bits = np.zeros((len(self._types), (rows + 7) // 8), np.uint8)
        values = [_room(_TYPES[type_], rows) for type_ in self._types.values()]
        unescaped, room = np.empty(size, np.uint8), np.empty(size + AHEAD, np.uint8)
        pointers = [np.array([address(each) for each in arrays], np.uintp) for arrays in (values, bits)]
        addresses = [address(each) for each in (taken, *pointers, unescaped, room)]
        struct = _CellsStruct(data.address, data.size, address(bounds), rows, *addresses)
        columns = ctypes.c_int64(len(values))
        library().loader_cells(ctypes.byref(struct), ctypes.byref(self._struct), columns)
        found = {}
        for (name, type_), valid, each in zip(self._types.items(), bits, values, strict=True):
            texts = [data, pa.py_buffer(unescaped)] if _TYPES[type_] == TEXT else []
            found[name] = array(_TYPES[type_], rows, valid, each, *texts)
        return taken.view(bool) | ~there, found


def _room(type_: pa.DataType, rows: int) -> np.ndarray:
    """Memory for so many values."""
    return np.zeros((rows * (8 * _VIEW if type_ == TEXT else type_.bit_width) + 7) // 8, np.uint8)
