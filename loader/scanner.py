"""Lines that are usual events, taken apart by `scanner.c` at several times the engine's speed.

Usual is a line of which it is certain what the engine would make of it: valid JSON, a known call, top-level keys and
members of the context that the first lines have, none twice, texts where texts belong. All others are the engine's, so
no rule of what an event is stands only there. Of a usual line the engine gets the fields, the parts with free keys as
they are written, with their shape, and the number of each member's text (loader.context), which is kept once.
"""

import ctypes
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from loader.calls import CALL_TABLES
from loader.compiled import AHEAD, INSTANT, Texts, address, array, library, structure

MAX_FIELDS = 64
PLACE = (("file_id", pa.int32()), ("ordinal", pa.int64()), ("line", pa.int64()))  # taken over from the lines
_OTHER, _TEXT, _TIME, _CALL, _OBJECT, _CONTEXT = range(6)
_MOST, _BYTES = 1 << 20, 64 << 20  # texts that are kept at a time, and their bytes
_SHORTEST = 5  # bytes that a member, or an object, takes at least


def index(member: int) -> str:
    """The column that tells which text of a member an event has."""
    return f"i{member}"


_LayoutStruct = structure("layout", "fields members calls roles columns views# times# objects# ids# ip# ip_column#")
_BatchStruct = structure(
    "batch",
    """data size# offsets lines# taken views times shapes ids there has_time has_id plain unescaped sketch line
    rows# texts# unescaped_size# begin offset#""",
)


def schema(texts: Sequence[str], times: Sequence[str], objects: Sequence[str], members: Sequence[str]) -> pa.Schema:
    """Of what a scanner makes of lines. `_shape`, `_plain`: of an object; see values.sql, shape_of and all_plain."""
    return pa.schema(
        [
            *PLACE,
            ("text", pa.string()),
            *((name, pa.string_view()) for name in _views(texts, objects)),
            *((name, INSTANT) for name in times),
            *((f"{name}_shape", pa.uint64()) for name in objects),
            *((f"{name}_plain", pa.bool_()) for name in objects),
            *((index(at), pa.int32()) for at in range(len(members))),
        ]
    )


def _views(texts: Sequence[str], objects: Sequence[str]) -> tuple[str, ...]:
    return ("type", *texts, "ip", *objects)


@dataclass(slots=True)
class Scanned:
    """What a scanner made of a batch of lines: arrays by column and row, as scanner.c describes them. taken: of each
    line, whether it is a usual event. rows: how many are."""

    lines: pa.RecordBatch
    rows: int
    taken: np.ndarray
    views: np.ndarray
    times: np.ndarray
    shapes: np.ndarray
    ids: np.ndarray
    there: np.ndarray
    has_time: np.ndarray
    has_id: np.ndarray
    plain: np.ndarray
    unescaped: np.ndarray

    def events(self, schema: pa.Schema) -> pa.RecordBatch:
        """The usual events. schema: `schema` of the scanner's columns."""
        rows = self.rows
        usual = self.lines if rows == len(self.taken) else self.lines.filter(pa.array(self.taken))
        texts = self.lines.column("text").buffers()[2] or pa.py_buffer(b""), pa.py_buffer(self.unescaped)
        has_object = self.there[len(self.there) - len(self.shapes) :]
        columns = [
            *(usual.column(name) for name, _ in PLACE),
            usual.column("text"),
            *(array(pa.string_view(), rows, *each, *texts) for each in zip(self.there, self.views, strict=True)),
            *(array(INSTANT, rows, *each) for each in zip(self.has_time, self.times, strict=True)),
            *(array(pa.uint64(), rows, *each) for each in zip(has_object, self.shapes, strict=True)),
            *(array(pa.bool_(), rows, None, each) for each in self.plain),
            *(array(pa.int32(), rows, *each) for each in zip(self.has_id, self.ids, strict=True)),
        ]
        return pa.RecordBatch.from_arrays(columns, schema=schema)


class Scanner:
    """Takes batches of lines apart.

    texts, times, objects: the top-level keys whose values become columns, as texts or instants, and those in which free
    keys are. others: other ones that events have. members: of contexts. keep: gets the texts of members, as tables of
    `KEPT`.

    found: how many texts of members the events so far have.
    """

    def __init__(
        self,
        texts: Sequence[str],
        times: Sequence[str],
        objects: Sequence[str],
        others: Sequence[str],
        members: Sequence[str],
        keep: Callable[[pa.Table], None],
    ):
        views = _views(texts, objects)
        self._views, self._times, self._objects, self._members = map(len, (views, times, objects, members))
        self._keep = keep
        roles = {"type": _CALL, "context": _CONTEXT} | dict.fromkeys(texts, _TEXT) | dict.fromkeys(times, _TIME)
        roles |= dict.fromkeys(objects, _OBJECT)
        fields = roles | dict.fromkeys([key for key in others if key not in roles], _OTHER)
        known = [*fields][:MAX_FIELDS]
        columns = {key: at for keys in (views, times) for at, key in enumerate(keys)}
        self._known = [Texts.of(keys) for keys in (known, members, [*CALL_TABLES])]
        self._roles = np.array([fields[key] for key in known], np.uint8)
        self._columns = np.array([columns.get(key, -1) for key in known], np.int32)
        self._layout = _LayoutStruct(
            *(ctypes.addressof(each.struct) for each in self._known),
            address(self._roles),
            address(self._columns),
            self._views,
            self._times,
            self._objects,
            self._members,
            members.index("ip") if "ip" in members else -1,
            columns["ip"],
        )
        self._texts = Texts(self._members, _MOST, _BYTES)
        self._shapes = Texts(1, _MOST, _BYTES)
        self.found = 0

    @property
    def given(self) -> list[int]:
        """By member, the number of ids that were given out."""
        return [int(count) for count in self._texts.counts[: self._members]]

    def suits(self, first: Sequence[pa.RecordBatch]) -> bool:
        """Whether half of the lines, by the first ones, are usual events."""
        usual = sum(self.scan(lines).rows for lines in first)
        self.found = 0
        return 2 * usual >= sum(int(lines.num_rows) for lines in first)

    def scan(self, lines: pa.RecordBatch) -> Scanned:
        """The usual events among these lines (`records.LINES`)."""
        count, text = lines.num_rows, lines.column("text")
        _, offsets, data = text.buffers()
        data = data or pa.py_buffer(b"")
        bounds = np.frombuffer(offsets, np.int32)[text.offset : text.offset + count + 1]
        size = int(bounds[-1] - bounds[0])
        taken = lines.column("fault").is_null().to_numpy(zero_copy_only=False).copy()
        if not self._make_room(count, size):
            taken[:] = False
        numbers = self._views, self._times, self._members, self._objects
        there, has_time, has_id, plain = (np.zeros((columns, (count + 7) // 8), np.uint8) for columns in numbers)
        views, times = np.empty((self._views, count, 4), np.int32), np.empty((self._times, count), np.int64)
        shapes, ids = np.empty((self._objects, count), np.uint64), np.empty((self._members, count), np.int32)
        unescaped = np.empty(size, np.uint8)
        arrays = (taken, views, times, shapes, ids, there, has_time, has_id, plain, unescaped)
        room = np.empty(size, np.uint8), np.empty(size + AHEAD, np.uint8)
        addresses = [address(each) for each in (*arrays, *room)]
        batch = _BatchStruct(data.address, data.size, address(bounds), count, *addresses)
        kept = self._texts.pointer, self._shapes.pointer
        library().loader_scan(ctypes.byref(batch), ctypes.byref(self._layout), *kept)
        self.found += batch.texts
        return Scanned(lines, batch.rows, *arrays)

    def _make_room(self, lines: int, size: int) -> bool:
        """Makes room for all that lines of so many bytes can bring; whether there is that much."""
        most = min(lines * (self._members + self._objects), size // _SHORTEST)
        of_shapes = 2 * most, 2 * (most + size)  # a member's text has a shape and a kind
        if not self._texts.make_room(most, size):
            self.flush()
        if not self._shapes.make_room(*of_shapes):
            self._shapes.clear()
        return self._texts.make_room(most, size) and self._shapes.make_room(*of_shapes)

    def flush(self) -> None:
        """Hands over the texts of members that are kept."""
        if self._texts.struct.kept:
            self._keep(self._texts.all())
            self._texts.clear()
