"""One Delta table: decides how it is created, committed to and read.

A load is one entry in the table's log: its files together with the transaction (app, load id), so that a repetition is
recognised. A table's first entry creates it, too. Only new columns need an entry of their own, before the files: an
append of wider files leaves the schema as it was. Tables keep to reader version 1 and writer version 2.
"""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any, Self
from urllib.parse import unquote

from deltalake import CommitProperties, DeltaTable, Field, Schema, Transaction
from deltalake.exceptions import DeltaError, TableNotFoundError
from deltalake.schema import PrimitiveType
from deltalake.transaction import AddAction, RemoveAction, create_table_with_add_actions

from loader.bounds import bounds_of
from loader.errors import LoaderError
from loader.schema import Column

# The columns whose smallest and largest values help a reader to skip files. More of them makes every open slower.
STATS_COLUMNS = (Column("id", "VARCHAR"), Column("received_at", "TIMESTAMPTZ"), Column("timestamp", "TIMESTAMPTZ"))

# A checkpoint every 10 commits keeps opening fast. The log is kept whole and removed files stay known for 30 days: the
# clean-up that deltalake would run can take away the version that was live 30 days ago, if a table is loaded rarely.
PROPERTIES = {
    "delta.checkpointInterval": "10",
    "delta.enableExpiredLogCleanup": "false",
    "delta.deletedFileRetentionDuration": "interval 30 days",
}

DELTA_TYPES = {
    "BIGINT": "long",
    "DOUBLE": "double",
    "BOOLEAN": "boolean",
    "VARCHAR": "string",
    "JSON": "string",
    "TIMESTAMPTZ": "timestamp",
    "DATE": "date",
}
OUR_TYPES = {delta: ours for ours, delta in DELTA_TYPES.items() if ours != "JSON"}
TYPE_KEY = "loader.type"  # in a field's metadata: our type, where Delta's doesn't tell

NULL_PARTITION = "__HIVE_DEFAULT_PARTITION__"  # as DuckDB names the folder


class TableError(LoaderError):
    """A table and what is to be committed to it don't fit. Nothing was committed."""


@dataclass(frozen=True, slots=True)
class DeltaFile:
    """One Parquet file of a table, as the manifest keeps it."""

    path: str  # relative to the table's folder
    partition: dict[str, str]  # {} in a table without partitions
    size: int  # bytes
    rows: int
    stats: str  # Delta's statistics, JSON

    def to_dict(self) -> dict[str, Any]:
        """The file as plain JSON values; `from_dict` takes them back."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        return cls(**values)


@dataclass(frozen=True, slots=True)
class Commit:
    """All that one load does to one table. With `overwrite` the files replace all live ones, and types may change.

    restore: the version whose files and columns are to be live again, and nothing else; None: no going back.
    replaced: paths of live files whose rows are in `files` now, and nothing but these rows is.
    """

    folder: str  # relative to the warehouse, e.g. "tables/tracks"
    name: str
    columns: tuple[Column, ...]  # all of them, after the commit
    partition_by: tuple[str, ...]
    files: tuple[DeltaFile, ...]
    overwrite: bool = False
    restore: int | None = None
    replaced: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The commit as plain JSON values; `from_dict` takes them back."""
        columns = [{"name": column.name, "type": column.type} for column in self.columns]  # there are many
        return {**asdict(replace(self, columns=())), "columns": columns}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        return cls(
            folder=values["folder"],
            name=values["name"],
            columns=tuple(Column(**column) for column in values["columns"]),
            partition_by=tuple(values["partition_by"]),
            files=tuple(DeltaFile.from_dict(file) for file in values["files"]),
            overwrite=values["overwrite"],
            restore=values.get("restore"),
            replaced=tuple(values.get("replaced", ())),
        )


@dataclass(frozen=True, slots=True)
class LiveFile:
    """One Parquet file of a version. `path` is absolute; partition values are text as in the folder's name."""

    path: str
    partition: dict[str, str]
    rows: int
    size: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One version of a table, with its columns in order and its files by path."""

    version: int
    columns: tuple[Column, ...]
    files: tuple[LiveFile, ...]


# --- committing -----------------------------------------------------------------------------------------------------


def commit(
    warehouse: Path, commit: Commit, version: int, app: str = "loader", opened: DeltaTable | None = None
) -> bool:
    """Make a commit's files live, its new columns and the table itself included; True if that was to be done.

    False and nothing done if the table has seen `version`, or a later one, from `app`. May be killed anywhere and
    repeated. The files must be in the table's folder already: TableError if one isn't, or if the table doesn't fit.
    opened: the table as `check` found it, if nothing was committed since.
    """
    root = warehouse / commit.folder
    table = opened or _open(root)
    if table is not None:
        seen = table.transaction_version(app)
        if seen is not None and seen >= version:
            return False
    _check(root, table, commit)
    actions = [_add_action(file, not commit.replaced) for file in commit.files]
    properties = CommitProperties(app_transactions=[Transaction(app, version)])
    if table is not None and commit.restore is not None:
        table.restore(commit.restore, commit_properties=properties)
        return True
    partition_by = list(commit.partition_by)
    if table is None:
        create_table_with_add_actions(
            str(root),
            _schema(commit.columns),
            actions,
            partition_by=partition_by,
            name=commit.name,
            configuration=_properties(commit.columns),
            commit_properties=properties,
        )
        return True
    if not commit.overwrite:
        _add_columns(table, commit.columns)
    table.create_write_transaction(
        [*actions, *_removals(table, commit.replaced)],
        "overwrite" if commit.overwrite else "append",
        _schema(commit.columns),
        partition_by,
        commit_properties=properties,
    )
    return True


def check(warehouse: Path, commit: Commit) -> DeltaTable | None:
    """TableError where the commit could not be made: a file of it is not there, or the table is damaged or unlike. The
    table, for `commit`, as to open it takes most of both; None: it is not there yet."""
    root = warehouse / commit.folder
    table = _open(root)
    _check(root, table, commit)
    return table


def _check(root: Path, table: DeltaTable | None, commit: Commit) -> None:
    _check_files(root, commit)
    if table is not None and commit.restore is None:
        _check_table(table, commit)


def _add_columns(table: DeltaTable, columns: Sequence[Column]) -> None:
    known = {column.name for column in _columns(table)}
    new = [_field(column) for column in columns if column.name not in known]
    if new:  # adding a column that is there makes an entry all the same
        table.alter.add_columns(new)


def _check_files(root: Path, commit: Commit) -> None:
    for file in commit.files:
        path = root / file.path
        # A NULL or unparsable partition value would be taken, and the table could not be opened again.
        if set(file.partition) != set(commit.partition_by) or NULL_PARTITION in file.partition.values():
            raise TableError(f"{path}: partition {file.partition} where {commit.name} has {list(commit.partition_by)}")
        size = path.stat().st_size if path.exists() else None
        if size != file.size:
            raise TableError(f"{path}: {file.size} bytes when it was written, now {size or 'gone'}")


def _check_table(table: DeltaTable, commit: Commit) -> None:
    partition_by = table.metadata().partition_columns
    if partition_by != list(commit.partition_by):
        raise TableError(f"{commit.name}: partitioned by {partition_by}, not by {list(commit.partition_by)}")
    if commit.overwrite:
        live = {file["path"] for file in _live(table)}
        if again := live & {file.path for file in commit.files}:  # deltalake would both add and remove it
            raise TableError(f"{commit.name}: {min(again)} is live already; an overwrite takes new files only")
        return
    if commit.replaced and (gone := set(commit.replaced) - {file["path"] for file in _live(table)}):
        raise TableError(f"{commit.name}: {min(gone)} is to be replaced, and is not live")
    types = {column.name: column.type for column in commit.columns}
    for column in _columns(table):
        if types.get(column.name) != column.type:
            wanted = types.get(column.name, "no column")
            raise TableError(f"{commit.name}.{column.name}: to make {wanted} of {column.type} takes an overwrite")


def _add_action(file: DeltaFile, new_rows: bool = True) -> AddAction:
    return AddAction(file.path, file.size, file.partition, int(time.time() * 1000), new_rows, file.stats)


def _removals(table: DeltaTable, paths: Sequence[str]) -> list[RemoveAction]:
    now = int(time.time() * 1000)
    live = {file["path"]: file for file in _live(table)} if paths else {}
    removals = []
    for path in paths:
        partition: dict[str, str | None] = {name: str(day) for name, day in live[path].get("partition", {}).items()}
        removals.append(RemoveAction(path, False, now, live[path]["size_bytes"], partition))
    return removals


def _properties(columns: Sequence[Column]) -> dict[str, str | None]:
    names = [column.name for column in STATS_COLUMNS if column in columns]
    if names:
        return {**PROPERTIES, "delta.dataSkippingStatsColumns": ",".join(names)}
    return {**PROPERTIES, "delta.dataSkippingNumIndexedCols": "0"}


def _schema(columns: Sequence[Column]) -> Schema:
    return Schema([_field(column) for column in columns])


def _field(column: Column) -> Field:
    metadata = {TYPE_KEY: "JSON"} if column.type == "JSON" else None
    return Field(column.name, PrimitiveType(DELTA_TYPES[column.type]), nullable=True, metadata=metadata)


# --- statistics -----------------------------------------------------------------------------------------------------


def copy_stats(row: Sequence[Any], root: Path, stats_columns: Sequence[Column] = STATS_COLUMNS) -> DeltaFile:
    """The file that a row of DuckDB's `COPY … TO … (FORMAT parquet, RETURN_STATS)` tells of, as a table's file.

    The COPY wrote below `root`, spelt alike. Folders `name=value` on the way give the partition. Null counts are kept
    for those of `stats_columns` that are in the file; bounds are kept if all of them are certain. `rows` may be 0.
    """
    filename, rows, size, _footer, statistics = row[:5]
    path = Path(filename).relative_to(root)
    folders = [unquote(folder).partition("=") for folder in path.parts[:-1]]
    stats: dict[str, Any] = {"numRecords": rows, "minValues": {}, "maxValues": {}, "nullCount": {}}
    certain = True
    for column in stats_columns:
        found = statistics.get('"' + column.name.replace('"', '""') + '"')
        if found is None:
            continue
        nulls = stats["nullCount"][column.name] = int(found["null_count"])
        bounds = bounds_of(column.type, found["min"], found["max"]) if "max" in found and "min" in found else None
        if bounds:
            stats["minValues"][column.name], stats["maxValues"][column.name] = bounds
        elif nulls < rows:
            certain = False
    if not certain:  # of all columns: deltalake's dataset takes a single missing bound as "no row can match"
        del stats["minValues"], stats["maxValues"]
    return DeltaFile(
        path=path.as_posix(),
        partition={name: value for name, equals, value in folders if equals},
        size=size,
        rows=rows,
        # as it is, not as \u escapes: deltalake reads a pair of them wrong from U+20000 on
        stats=json.dumps(stats, ensure_ascii=False, separators=(",", ":")),
    )


# --- reading --------------------------------------------------------------------------------------------------------


def exists(root: Path) -> bool:
    """Whether there is a table; files in its folder alone are none."""
    return DeltaTable.is_deltatable(str(root))


def transaction_version(root: Path, app: str = "loader") -> int | None:
    """The last load that the table has seen from `app`; None if none, or if there is no table."""
    table = _open(root)
    return None if table is None else table.transaction_version(app)


def snapshot(root: Path, version: int | None = None) -> Snapshot:
    """The columns and files of a version, by default the newest.

    Raises deltalake's TableNotFoundError if there is no table, TableError if its log cannot be read.
    """
    with _legible(root):
        table = DeltaTable(root, version=version)
        live = _live(table)
    folder = root.absolute()
    files = [
        LiveFile(
            path=f"{folder}/{file['path']}",
            partition={name: str(value) for name, value in file.get("partition", {}).items()},
            rows=file["num_records"],
            size=file["size_bytes"],
        )
        for file in live
    ]
    return Snapshot(table.version(), _columns(table), tuple(sorted(files, key=lambda file: file.path)))


def live_files(
    root: Path, version: int | None = None, *, partitions: tuple[date, date] | None = None
) -> list[LiveFile]:
    """The files of a version by path; with `partitions` only those with a received_date from the first to the last."""
    files = list(snapshot(root, version).files)
    if partitions is None:
        return files
    first, last = partitions
    return [file for file in files if first <= date.fromisoformat(file.partition["received_date"]) <= last]


def files_near(root: Path, first: date, last: date, days: int | None) -> list[str]:
    """The paths of the files with a received_date from `days` before the first to `days` after the last date.

    days: None is no limit. No table is no files.
    """
    if not exists(root):
        return []
    if days is None:
        return [file.path for file in live_files(root)]
    low = date.fromordinal(max(first.toordinal() - days - 1, 1))
    high = date.fromordinal(min(last.toordinal() + days + 1, date.max.toordinal()))
    return [file.path for file in live_files(root, partitions=(low, high))]


def _open(root: Path) -> DeltaTable | None:
    try:
        with _legible(root):
            return DeltaTable(root)
    except TableNotFoundError:
        return None


@contextmanager
def _legible(root: Path) -> Iterator[None]:
    """Turns what deltalake says of a damaged log into a TableError."""
    try:
        yield
    except TableNotFoundError:
        raise
    except (DeltaError, OSError, ValueError) as error:
        raise TableError(
            f"{root}: the log of this table cannot be read ({str(error).splitlines()[0]}). "
            "Put the folder back from a backup, or load all files into a new warehouse."
        ) from error


def _live(table: DeltaTable) -> list[dict[str, Any]]:
    import pyarrow as pa  # here, as it takes a tenth of a second, and most commands do without

    actions = pa.table(table.get_add_actions())
    wanted = [name for name in ("path", "size_bytes", "num_records", "partition") if name in actions.column_names]
    files: list[dict[str, Any]] = actions.select(wanted).to_pylist()
    return [{**file, "path": unquote(file["path"])} for file in files]


def _columns(table: DeltaTable) -> tuple[Column, ...]:
    fields = table.schema().fields
    return tuple(Column(field.name, field.metadata.get(TYPE_KEY) or OUR_TYPES[_delta_type(field)]) for field in fields)


def _delta_type(field: Field) -> str:
    if isinstance(field.type, PrimitiveType):
        return field.type.type
    raise TableError(f"column {field.name}: a {field.type.type}, which the loader doesn't write")
