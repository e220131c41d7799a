"""One Parquet file of a table: what its table's log is told of it, and a disk that is full."""

import gc
import json
import resource
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from loader.parquet import ParquetFile

INSTANT = pa.timestamp("us", "UTC")
SCHEMA = pa.schema([("id", pa.large_string()), ("received_at", INSTANT), ("timestamp", INSTANT), ("n", pa.int64())])


def rows(*values: tuple[str, int, int | None]) -> pa.Table:
    """Rows of id, milliseconds of both times, n."""
    ids, times, numbers = zip(*values, strict=True)
    instants = [datetime.fromtimestamp(time / 1000, UTC) for time in times]
    return pa.table([ids, instants, [None] * len(ids), numbers], schema=SCHEMA)


def test_the_log_is_told_what_is_in_it(tmp_path: Path) -> None:
    file = ParquetFile(tmp_path, "received_date=1970-01-01/1.parquet", SCHEMA, small=True)
    first, second = rows(("b", 2, 1), ("c", 1, None)), rows(("a", 3, 2))
    file.write(first)
    file.write(second)
    told = file.close()
    path = tmp_path / told.path
    assert (told.path, told.partition) == ("received_date=1970-01-01/1.parquet", {"received_date": "1970-01-01"})
    assert (told.rows, told.size) == (3, path.stat().st_size)
    assert json.loads(told.stats) == {
        "numRecords": 3,
        "minValues": {"id": "a", "received_at": "1970-01-01T00:00:00.001Z"},
        "maxValues": {"id": "c", "received_at": "1970-01-01T00:00:00.003Z"},
        "nullCount": {"id": 0, "received_at": 0, "timestamp": 3},
    }
    assert file.cells == {"id": 3, "received_at": 3, "timestamp": 0, "n": 2}
    assert pq.ParquetFile(path).read().to_pylist() == first.to_pylist() + second.to_pylist()


def test_no_bounds_where_a_row_group_has_none(tmp_path: Path) -> None:
    """Arrow keeps none of a text as long as that."""
    file = ParquetFile(tmp_path, "1.parquet", SCHEMA, small=True)
    file.write(rows(("a", 1, 1)))
    file.write(rows(("b" * 10_000, 2, 1)))
    assert "minValues" not in json.loads(file.close().stats)


@pytest.mark.parametrize("small", [True, False])
def test_a_small_file_is_packed_the_quick_way(small: bool, tmp_path: Path) -> None:
    file = ParquetFile(tmp_path, "1.parquet", SCHEMA, small)
    file.write(rows(("a", 1, 1)))
    file.close()
    column = pq.read_metadata(tmp_path / "1.parquet").row_group(0).column(0)
    assert column.compression == ("SNAPPY" if small else "ZSTD")


@pytest.mark.parametrize("step", ["write", "close"])
def test_a_file_that_cannot_be_written_is_told_of_once(step: str, tmp_path: Path) -> None:
    """An error in a file that is collected would be printed: pytest makes a failure of that."""
    file = ParquetFile(tmp_path, "1.parquet", SCHEMA, small=True)
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4, most))  # as much as there is already
    try:
        with pytest.raises(OSError, match="too large"):
            file.write(rows(("a", 1, 1))) if step == "write" else file.close()
        if step == "write":
            file.abandon()
        del file
        gc.collect()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
