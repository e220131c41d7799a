"""One Parquet file of a table, written run by run: decides its compression, and counts what is in it."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from loader.delta import STATS_COLUMNS, DeltaFile, copy_stats

# In data pages of version 1, which all readers take. Small files: to set zstd up for each column takes longer than all
# the rest.
_LARGE: dict[str, Any] = {"compression": "zstd", "compression_level": 1}
_BATCH = 16_384  # rows that are encoded at a time
# Columns that hardly have a value twice: a dictionary of them takes longer than all the rest, and is then dropped.
_EACH_ITS_OWN = {"id", "loader_line", "original_timestamp", "sent_at", "received_at", "timestamp"}
_SMALL: dict[str, Any] = {"compression": "snappy"}


class ParquetFile:
    """A file that is being written. root: the table's folder, path: within it. cells: not NULL, by column, so far."""

    def __init__(self, root: Path, path: str, schema: pa.Schema, small: bool):
        self._root = root
        self.path = root / path
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._footer: list[pq.FileMetaData] = []
        options = _SMALL if small else _LARGE
        named = [field.name for field in schema if not pa.types.is_dictionary(field.type)]
        self._writer = pq.ParquetWriter(
            self.path,
            schema,
            store_schema=False,
            metadata_collector=self._footer,
            write_batch_size=_BATCH,
            use_dictionary=[name for name in schema.names if name not in _EACH_ITS_OWN],
            write_statistics=named,
            **options,
        )
        self.cells = dict.fromkeys(schema.names, 0)

    def write(self, rows: pa.Table) -> None:
        """Adds rows, as a row group."""
        for name, column in zip(rows.column_names, rows.columns, strict=True):
            self.cells[name] += len(column) - column.null_count
        self._writer.write_table(rows, row_group_size=max(rows.num_rows, 1))

    def close(self) -> DeltaFile:
        """Ends the file. What a table's log says of it."""
        try:
            self._writer.close()
        finally:
            self.abandon()
        (footer,) = self._footer
        statistics = {}
        for column in STATS_COLUMNS:
            if column.name not in self.cells:
                continue
            at = footer.schema.names.index(column.name)
            groups = [footer.row_group(number).column(at).statistics for number in range(footer.num_row_groups)]
            found = {"null_count": footer.num_rows - self.cells[column.name]}
            known = [group for group in groups if group is not None and group.has_min_max]
            if known and sum(group.num_values for group in known) == self.cells[column.name]:
                found |= {"min": str(min(g.min for g in known)), "max": str(max(g.max for g in known))}
            statistics[f'"{column.name}"'] = found
        size = self.path.stat().st_size
        return copy_stats((str(self.path), footer.num_rows, size, 0, statistics), self._root)

    def abandon(self) -> None:
        """Leaves the file as it is. (Else it would be ended when it is collected, where nobody hears of an error.)"""
        self._writer.is_open = False
