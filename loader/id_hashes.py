"""Which files of tables can hold an id of this load. Told by hashes of their ids, kept for the loads to come, since to
read the ids themselves takes a fifth of the load once there are many. What a duplicate is, dedup.py says.

A file's hashes are made when a load first looks for it, and belong to it for good, as data files are never changed.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import duckdb
import numpy as np
import numpy.typing as npt

Hashes = npt.NDArray[np.uint64]

FOLDER = "loader/ids"  # in the warehouse; below it lies what is kept for tables/t/f.parquet at tables/t/f.parquet.ids
_BITS = 22  # by which most hashes that can be none of the new ones are told


def holding(connection: duckdb.DuckDBPyConnection, warehouse: Path, call: str, files: Sequence[str]) -> list[str]:
    """Of these data files (absolute paths) those with an id that hashes like that of an event of this call in `item`:
    the others need not be read for duplicates."""
    if not files:
        return []
    proof = int(_hashes(connection, "SELECT xor(hash('short'), hash('of ids, by this engine')) AS hash")[0])
    new = np.sort(_hashes(connection, "SELECT hash(id) AS hash FROM item WHERE call = $call", {"call": call}))
    begins = np.zeros(1 << _BITS, bool)
    begins[new >> (64 - _BITS)] = True

    def is_near(hashes: Hashes) -> bool:
        near = hashes[begins[hashes >> (64 - _BITS)]]
        return bool((new[np.searchsorted(new, near) % len(new)] == near).any())

    def is_found(file: str) -> bool:
        place = _place(warehouse, file)
        hashes = _read(place, proof)
        if hashes is None:
            with connection.cursor() as cursor:
                hashes = np.sort(_hashes(cursor, "SELECT hash(id) AS hash FROM read_parquet($file)", {"file": file}))
            _keep(place, hashes, proof)
        return is_near(hashes)

    with ThreadPoolExecutor(2, thread_name_prefix="ids") as pool:
        return [file for file, found in zip(files, pool.map(is_found, files), strict=True) if found]


def forget(warehouse: Path) -> None:
    """Removes what is kept of files that are no more."""
    for place in (warehouse / FOLDER).rglob("*.ids"):
        if not (warehouse / place.relative_to(warehouse / FOLDER)).with_suffix("").exists():
            place.unlink()


def _place(warehouse: Path, file: str) -> Path:
    return warehouse / FOLDER / f"{Path(file).relative_to(warehouse)}.ids"


def _hashes(connection: duckdb.DuckDBPyConnection, sql: str, values: dict[str, str] | None = None) -> Hashes:
    return np.asarray(connection.execute(sql, values).fetchnumpy()["hash"], np.uint64)


def _keep(place: Path, hashes: Hashes, proof: int) -> None:
    """Keeps hashes, led by the proof and their sum: those of another version of the engine, or torn by a power cut,
    would let duplicates through."""
    place.parent.mkdir(parents=True, exist_ok=True)
    beside = place.with_name(place.name + ".part")
    with beside.open("wb") as file:  # numpy's tofile doesn't tell of a full disk that it is full
        file.write(np.array([proof, hashes.sum()], np.uint64).data)
        file.write(hashes.data)
    beside.replace(place)


def _read(place: Path, proof: int) -> Hashes | None:
    """The hashes that are kept; None if there are none that can be trusted."""
    if not place.exists():
        return None
    kept = np.fromfile(place, np.uint64)
    if len(kept) < 2 or kept[0] != proof or kept[1] != kept[2:].sum():
        return None
    hashes: Hashes = kept[2:]
    return hashes
