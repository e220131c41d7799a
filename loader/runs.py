"""The rows of a load become the files of its tables, in one pass over all of them.

They come by call, date and event table, so that each file, of a call's table as of an event's, is a run of them. What
tables share is in the rows already; what is a table's own is made here, run by run.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa

from loader import books, compiled, file_names, flatten
from loader.calls import PARTITION, TRACK
from loader.cells import TEXT, Paths
from loader.compiled import INSTANT
from loader.delta import DeltaFile
from loader.parquet import ParquetFile
from loader.records import NO_TABLE, TablePlan
from loader.schema import Column
from loader.store import ROWS_TO_COMPRESS, Written, table_folder

_USED = 2  # rows for each different text, on average, at least: else a file gets a dictionary of its own
_TYPES = {
    "BIGINT": pa.int64(),
    "DOUBLE": pa.float64(),
    "BOOLEAN": pa.bool_(),
    "VARCHAR": pa.large_string(),
    "JSON": pa.large_string(),
    "TIMESTAMPTZ": INSTANT,
    "DATE": pa.date32(),
}


@dataclass(frozen=True, slots=True)
class Run:
    """Rows of a table of one date. ends: whether no others of this date come."""

    day: str
    rows: pa.RecordBatch
    ends: bool


Part = tuple[pa.RecordBatch, flatten.Cells]  # rows, and how their cells are made


@dataclass(slots=True)
class Table:
    """A table that gets rows. name: of its files. small: whether it gets few rows a date. entries: by name, the cells
    that members of contexts give. common, odd: how the cells of the two kinds of events are made; no odd: there are
    none; quick: of most common ones. open: the files that are being written, by date. written: the others, with their
    cells by column."""

    plan: TablePlan
    root: Path
    name: str
    loaded_at: datetime
    small: bool
    entries: Mapping[str, flatten.Entries]
    common: flatten.Cells
    quick: flatten.Cells | None
    odd: flatten.Cells | None
    open: dict[str, ParquetFile] = field(default_factory=dict)
    written: list[tuple[DeltaFile, dict[str, int]]] = field(default_factory=list)

    def add(self, engine: duckdb.DuckDBPyConnection, runs: Sequence[Run]) -> None:
        """Writes runs of rows, each of one date."""
        columns = [column for column in self.plan.columns if column.name != PARTITION]
        schema = pa.schema([(column.name, self._type(column)) for column in columns])
        parts = [[*self._parts(run.rows)] for run in runs]
        made = iter(self._made(engine, [part for of_run in parts for part in of_run]))
        for run, of_run in zip(runs, parts, strict=True):
            if run.day not in self.open:
                path = f"{PARTITION}={run.day}/{self.name}.parquet"
                self.open[run.day] = ParquetFile(self.root, path, schema, self.small)
            for rows, cells in of_run:
                arrays = self._columns(columns, rows, cells, next(made))
                self.open[run.day].write(pa.Table.from_arrays(arrays, schema=schema))
            if run.ends:
                self.close(run.day)

    def _type(self, column: Column) -> pa.DataType:
        """What the column's cells are handed over as: texts as they come, those of contexts as dictionaries."""
        entries = self.entries.get(self.common.taken.get(column.name, ""))
        if entries and pa.types.is_dictionary(entries.type):
            return entries.type
        is_viewed = self.quick and column.name in self.quick.taken and column.name not in self.common.taken
        return TEXT if is_viewed and _TYPES[column.type] == pa.large_string() else _TYPES[column.type]

    def close(self, day: str) -> None:
        """Ends the file of a date."""
        file = self.open.pop(day)
        self.written.append((file.close(), file.cells))

    def _parts(self, run: pa.RecordBatch) -> Iterator[Part]:
        """The odd rows and the others, each with how their cells are made."""
        if self.odd:
            flag = "odd_call" if self.plan.target.event_table is None else "odd_event"
            is_odd = run.column(flag)
            if is_odd.true_count:
                yield run.filter(is_odd), self.odd
                run = run.filter(pa.array(~is_odd.to_numpy(zero_copy_only=False)))
        if self.quick and run.num_rows:
            done, rows = _with_cells(run, self.quick.first)
            if not done.all():
                yield run.filter(pa.array(~done)), self.common
                run = run.filter(pa.array(done))
                _, rows = _with_cells(run, self.quick.first)
            if rows.num_rows:
                yield rows, self.quick
        elif run.num_rows:
            yield run, self.common

    def _made(self, engine: duckdb.DuckDBPyConnection, parts: Sequence[Part]) -> list[pa.Table | None]:
        """The cells that are a table's own, of each of these parts. The engine makes them for all parts at once, since
        to plan that takes longer than some thousand rows do."""
        found: dict[int, pa.Table] = {}
        for cells in (self.common, self.quick, self.odd):
            mine = [at for at, part in enumerate(parts) if part[1] is cells]
            if not mine or not cells or not cells.made:
                continue
            run = pa.Table.from_batches([parts[at][0].select(cells.needs) for at in mine])
            engine.register("run", run)
            result = engine.sql(cells.made).to_arrow_table()
            engine.unregister("run")
            result = self._in_order(result, run["pos"].to_numpy())
            ends = np.cumsum([parts[at][0].num_rows for at in mine])
            for at, end in zip(mine, ends.tolist(), strict=True):
                count = parts[at][0].num_rows
                found[at] = result.slice(end - count, count)
        return [found.get(at) for at in range(len(parts))]

    def _in_order(self, rows: pa.Table, wanted: np.ndarray) -> pa.Table:
        """The rows in the order of these places: the engine keeps that of its batches, but promises nothing."""
        found = rows["pos"].to_numpy()
        if np.array_equal(found, wanted):
            return rows
        there, order = np.argsort(found), np.argsort(wanted)
        same = np.array_equal(found[there], wanted[order])
        books.balance("order of rows", {self.plan.target.table: 1}, {self.plan.target.table: int(same)})
        at = np.empty_like(there)
        at[order] = there
        return rows.take(at)

    def _columns(
        self, columns: Sequence[Column], run: pa.RecordBatch, cells: flatten.Cells, made: pa.Table | None
    ) -> list[pa.Array]:
        """The columns of these rows. made: the cells that are the table's own; None: it has none."""
        arrays = []
        for column in columns:
            type_ = self._type(column)
            if column.name == "uuid_ts":
                array = pa.repeat(pa.scalar(self.loaded_at, INSTANT), run.num_rows)
            elif column.name in cells.taken:
                array = run.column(cells.taken[column.name])
            elif made is not None and column.name in cells.names:
                array = made[column.name]
            else:
                array = pa.nulls(run.num_rows, type_)
            arrays.append(_as(type_, array))
        return arrays

    def result(self) -> Written:
        """What was written, when all is."""
        cells: dict[str, int] = {PARTITION: 0}
        for file, found in self.written:
            for name, count in found.items():
                cells[name] = cells.get(name, 0) + count
            cells[PARTITION] += file.rows
        return Written(tuple(file for file, _ in self.written), cells[PARTITION], cells)


def write(
    connection: duckdb.DuckDBPyConnection,
    rows: pa.RecordBatchReader,
    entries: Mapping[str, flatten.Entries],
    plans: Sequence[tuple[TablePlan, int, int, bool]],
    warehouse: Path,
    load_id: int,
    loaded_at: datetime,
) -> dict[str, Written]:
    """Writes the files of all tables; no reader sees them until they are committed. By table, what was written.

    rows: of `flatten.in_order`. entries: of `flatten.cells_of_members`. plans: with the number of rows and dates to
    come, and whether some are odd.
    """
    tables = {}
    for plan, count, dates, has_odd in plans:
        target = plan.target
        number = NO_TABLE if target.unnamed else target.event_table
        root = warehouse / table_folder(target.table)
        small = count < dates * ROWS_TO_COMPRESS
        tables[target.call, number] = Table(
            plan,
            root,
            file_names.new(load_id, plan.columns),
            loaded_at,
            small,
            entries,
            flatten.common(plan),
            flatten.quick(plan) if compiled.is_there() else None,
            flatten.odd(plan) if has_odd else None,
        )

    def add(table: Table, runs: Sequence[Run], after: Future[None] | None) -> None:
        if after:
            after.result()
        with connection.cursor() as cursor:
            table.add(cursor, runs)

    try:
        with ThreadPoolExecutor(2, thread_name_prefix="write") as pool:
            before: dict[str, Future[None]] = {}  # by table, of the batch before
            for batch in rows:
                runs = _runs(_with_members(batch, entries), tables)
                jobs = {}
                for table, of_table in runs:
                    owner = table.plan.target.table
                    jobs[owner] = pool.submit(add, table, of_table, before.get(owner))
                _finish(before.values())  # no more than two batches at a time
                before = jobs
            _finish(before.values())
        for table in tables.values():
            for day in list(table.open):
                table.close(day)
    finally:
        for table in tables.values():
            for file in table.open.values():
                file.abandon()
    return {table.plan.target.table: table.result() for table in tables.values()}


def _with_members(batch: pa.RecordBatch, entries: Mapping[str, flatten.Entries]) -> pa.RecordBatch:
    """The rows with what the members of their contexts give for the cells that tables share."""
    columns = dict(zip(batch.schema.names, batch.columns, strict=True))
    of_members = {each.index: each for each in entries.values()}
    places = {index: each.places(batch) for index, each in of_members.items()}
    for name, each in entries.items():
        there = each.of(batch, places[each.index])
        if name in columns:  # of what else contexts have
            there = columns[name].fill_null(_plain(there))
        columns[name] = there
    return pa.RecordBatch.from_arrays([*columns.values()], [*columns])


def _with_cells(rows: pa.RecordBatch, wanted: Mapping[str, Paths]) -> tuple[np.ndarray, pa.RecordBatch]:
    """The rows with these cells of theirs, and of which of them they could be taken."""
    done = np.ones(rows.num_rows, bool)
    columns = dict(zip(rows.schema.names, rows.columns, strict=True))
    for json, paths in wanted.items():
        taken, found = paths.take(rows.column(json))
        done &= taken
        columns |= found
    return done, pa.RecordBatch.from_arrays([*columns.values()], [*columns])


def _plain(cells: pa.Array) -> pa.Array:
    return cells.dictionary_decode() if isinstance(cells, pa.DictionaryArray) else cells


def _as(type_: pa.DataType, cells: pa.Array) -> pa.Array:
    """The cells in the type that a column of a file has. A dictionary of which few rows use much is made smaller."""
    if not pa.types.is_dictionary(type_):
        return cells if cells.type == type_ else cells.cast(type_)
    if not isinstance(cells, pa.DictionaryArray):
        return cells.dictionary_encode()
    if len(cells.dictionary) * _USED <= len(cells):
        return cells
    used = cells.indices.dictionary_encode()
    return pa.DictionaryArray.from_arrays(used.indices, cells.dictionary.take(used.dictionary))


def _finish(jobs: Iterable[Future[None]]) -> None:
    for job in jobs:
        job.result()


def _runs(batch: pa.RecordBatch, tables: Mapping[tuple[str, int | None], Table]) -> list[tuple[Table, Sequence[Run]]]:
    """The runs of a batch, by table."""
    found: dict[tuple[str, int | None], list[Run]] = {}
    calls = batch.column("call").to_numpy(zero_copy_only=False)
    days = batch.column(PARTITION).view(pa.int32()).to_numpy()
    numbers = np.nan_to_num(batch.column("event_table").to_numpy(zero_copy_only=False), nan=NO_TABLE)
    files = np.flatnonzero((calls[1:] != calls[:-1]) | (np.diff(days) != 0)) + 1
    events = np.union1d(files, np.flatnonzero(np.diff(numbers)) + 1)
    for of_event, cuts in ((False, files), (True, events)):
        for start, end in zip([0, *cuts], [*cuts, batch.num_rows], strict=True):
            call = calls[start]
            number = int(numbers[start]) if of_event else None
            if of_event and call != TRACK:
                continue
            if (call, number) in tables:
                day: date = batch.column(PARTITION)[start].as_py()
                run = Run(day.isoformat(), batch.slice(start, end - start), end < batch.num_rows)
                found.setdefault((call, number), []).append(run)
    return [(tables[key], runs) for key, runs in found.items()]
