"""What a table is: its name, its folder, its columns and their types. Pure data, known to every stage."""

import hashlib
import re
from dataclasses import dataclass

# The types a column can have (warehouse-schema.md, section 5). JSON is stored as VARCHAR holding JSON text.
TYPES = ("BIGINT", "DOUBLE", "BOOLEAN", "VARCHAR", "JSON", "TIMESTAMPTZ", "DATE")


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its name and one of `TYPES`."""

    name: str
    type: str

    @property
    def sql_type(self) -> str:
        """The type as DuckDB and Parquet hold it: JSON is VARCHAR, the others are themselves."""
        return "VARCHAR" if self.type == "JSON" else self.type


def folder_of(table: str) -> str:
    """The folder of a table: its name where that is ASCII, else `x_` + 16 hex digits of its SHA-256.

    That is also the folder of a name that looks like one, so that no two tables share a folder.
    """
    if table.isascii() and not re.fullmatch("x_[0-9a-f]{16}", table):
        return table
    return "x_" + hashlib.sha256(table.encode()).hexdigest()[:16]
