"""The published warehouse, opened for reading: which file, in UTC, by views that are where the file says."""

from pathlib import Path

import duckdb

from loader import publish, store
from loader.errors import LoaderError


def connect(folder: Path, memory: int | None = None, threads: int | None = None) -> duckdb.DuckDBPyConnection:
    """`warehouse.duckdb`, read-only, in UTC. memory: bytes that the engine may use; None is its default.

    Raises LoaderError where there is no warehouse, nothing is published, or the folder was moved since.
    """
    folder = store.check_path(folder)
    store.check_format(folder)
    path = folder / publish.NAME
    if not path.exists():
        raise LoaderError(f"{path}: there is nothing published yet. Load something, or run: loader publish")
    config: dict[str, str | bool | int | float | list[str]] = {"autoinstall_known_extensions": False}
    if memory is not None:
        config["memory_limit"] = f"{memory}B"
    if threads is not None:
        config["threads"] = threads
    try:
        connection = duckdb.connect(str(path), read_only=True, config=config)
    except duckdb.Error as error:
        raise LoaderError(f"{path}: cannot open this file. Run: loader publish\n{error}") from error
    connection.execute("SET TimeZone = 'UTC'; SET enable_progress_bar = false")
    made_for = Path(connection.execute("SELECT warehouse FROM loader.published").fetchall()[0][0])
    if made_for != folder and not (made_for.exists() and made_for.samefile(folder)):
        connection.close()
        raise LoaderError(f"{folder}: was moved here from {made_for}. Run: loader publish")
    return connection
