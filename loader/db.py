"""The engine's connection: its limits, UTC, and the SQL words (macros) that the rules of a value are written in."""

from importlib.resources import files
from pathlib import Path

import duckdb


def quote(identifier: str) -> str:
    """An SQL identifier: the only way in which a name gets into generated SQL."""
    return '"' + identifier.replace('"', '""') + '"'


def literal(text: str) -> str:
    """An SQL string: for what cannot be bound, such as lists of pointers and of files in generated SQL."""
    return "'" + text.replace("'", "''") + "'"


def connect(
    memory: int | None = None, threads: int | None = None, spill: Path | None = None, *, events: bool = True
) -> duckdb.DuckDBPyConnection:
    """An in-memory engine in UTC.

    memory: bytes it may use; None is the engine's default. spill: the folder for what does not fit; None: no spilling.
    events: whether it is to work on events, with the macros of `values.sql`, which take 40 ms to make.
    """
    config: dict[str, str | bool | int | float | list[str]] = {
        "autoinstall_known_extensions": False,
        "preserve_insertion_order": False,
    }
    if memory is not None:
        config["memory_limit"] = f"{memory}B"
    if threads is not None:
        config["threads"] = threads
    config["temp_directory"] = str(spill) if spill else ""
    connection = duckdb.connect(config=config)
    connection.execute("SET GLOBAL TimeZone = 'UTC'")
    connection.execute("SET enable_progress_bar = false")
    if events:
        connection.execute(files("loader").joinpath("values.sql").read_text())
    return connection
