"""Rows of any types as a Delta table: decides in which type each is kept, and lets its readers see the one it had.

Delta has fewer types than the engine. What it lacks is kept as a number or text that holds every value, and the type it
had stands in the field's metadata, as with JSON in the tables of events.
"""

from pathlib import Path

import duckdb
import pyarrow as pa
from deltalake import WriterProperties, write_deltalake
from duckdb.sqltypes import DuckDBPyType

from loader import delta, store
from loader.db import quote
from loader.errors import LoaderError

_BATCH = 100_000  # rows
_SAME = "boolean tinyint smallint integer bigint float double decimal varchar blob date timestamp".split()
_TEXT = ("uuid", "enum", "time", "time with time zone", "interval", "bit", "timestamp_ns", "null")
_KEPT = dict.fromkeys(_TEXT, "VARCHAR") | {
    "utinyint": "SMALLINT",
    "usmallint": "INTEGER",
    "uinteger": "BIGINT",
    "ubigint": "DECIMAL(20,0)",
    "hugeint": "DECIMAL(38,0)",
    "uhugeint": "DECIMAL(38,0)",
    "timestamp_s": "TIMESTAMP",
    "timestamp_ms": "TIMESTAMP",
    "timestamp with time zone": "TIMESTAMPTZ",
}


class TypeNotKept(LoaderError):
    """A column's type has no counterpart in a Delta table. Nothing was written."""


def kept_as(type_: DuckDBPyType) -> str:
    """The SQL type, one that Delta has, in which values of a type are kept. TypeNotKept where there is none."""
    match type_.id:
        case "list" | "array":
            return kept_as(_children(type_)["child"]) + "[]"
        case "struct":
            fields = (f"{quote(name)} {kept_as(child)}" for name, child in _children(type_).items())
            return f"STRUCT({', '.join(fields)})"
        case "map":
            of = _children(type_)
            return f"MAP({kept_as(of['key'])}, {kept_as(of['value'])})"
        case "varchar":
            return "VARCHAR"  # JSON, too
        case same if same in _SAME:
            return str(type_)
        case other if other in _KEPT:
            return _KEPT[other]
    raise TypeNotKept(f"a {type_} cannot be kept in a Delta table. Cast it, to VARCHAR say")


def _children(type_: DuckDBPyType) -> dict[str, DuckDBPyType]:
    return {name: child for name, child in type_.children if isinstance(child, DuckDBPyType)}


def replace(connection: duckdb.DuckDBPyConnection, relation: str, root: Path) -> int:
    """Makes the rows of a relation (SQL) all there is in the Delta table at `root`. Its version then.

    TypeNotKept where a column cannot be kept, DeltaError where the table cannot be written.
    """
    rows = connection.sql(f"FROM {relation}")
    cells, fields = [], {}
    for name, type_ in zip(rows.columns, rows.types, strict=True):
        try:
            cells.append(f"{quote(name)}::{kept_as(type_)} AS {quote(name)}")
        except TypeNotKept as error:
            raise TypeNotKept(f"column {name}: {error}") from None
        fields[name] = {delta.TYPE_KEY: "VARCHAR" if type_.id == "null" else str(type_)}
    reader = connection.sql(f"SELECT {', '.join(cells)} FROM {relation}").to_arrow_reader(_BATCH)
    schema = pa.schema([field.with_metadata(fields[field.name]) for field in reader.schema])
    write_deltalake(
        root,
        reader.cast(schema),
        mode="overwrite",
        schema_mode="overwrite",
        configuration=delta.PROPERTIES,
        writer_properties=WriterProperties(compression="ZSTD", compression_level=1),
    )
    written = delta.snapshot(root)
    store.settle(root, [Path(file.path) for file in written.files])
    return written.version
