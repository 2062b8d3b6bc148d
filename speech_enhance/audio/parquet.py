"""Writes rows to Parquet files, with a bounded number of bytes in memory at a time."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import pyarrow
import pyarrow.parquet

from ..pending_files import PendingFile

if TYPE_CHECKING:
    from datasets import Features

GROUP_BYTES, GROUP_TABLES = 16 << 20, 1000  # held in memory at a time


class RowGroups:
    """An open Parquet file. It collects small tables of about one row each into row groups.

    Args:
        file: Path, or file open for writing.
        schema: Schema of every table.
        max_tables: Largest number of tables in a group; `None` for no limit.
        contiguous: Whether the columns of a group are made contiguous first. Parquet's pages and the bytes of the file
            depend on it, but the data that is read does not.
    """

    def __init__(self, file: Path | BinaryIO, schema: pyarrow.Schema, *, max_tables: int | None, contiguous: bool):
        self._writer = pyarrow.parquet.ParquetWriter(file, schema)
        self._max_tables, self._contiguous = max_tables, contiguous
        self._waiting: list[pyarrow.Table] = []
        self._num_bytes = 0

    def write(self, table: pyarrow.Table, num_bytes: int | None = None) -> None:
        """Add a table. `num_bytes` counts for the size of a group; by default it is the table's size in memory."""
        self._waiting.append(table)
        self._num_bytes += table.nbytes if num_bytes is None else num_bytes
        if self._num_bytes >= GROUP_BYTES or len(self._waiting) == self._max_tables:
            self._flush()

    def close(self) -> None:
        """Finish the file."""
        self.__exit__(None, None, None)

    def __enter__(self) -> "RowGroups":
        return self

    def __exit__(self, kind, error, traceback) -> None:
        try:
            if kind is None:
                self._flush()
        finally:
            self._writer.close()

    def _flush(self) -> None:
        if self._waiting:
            group = pyarrow.concat_tables(self._waiting)
            self._writer.write_table(group.combine_chunks() if self._contiguous else group)
            self._waiting, self._num_bytes = [], 0


def write_parquet(path: Path, rows: Iterable[dict], features: "Features") -> int:
    """Write all `rows` with [`write_tables`]; audio is `{"bytes": …, "path": …}`. Returns the number of rows."""
    schema = features.arrow_schema
    return write_tables(path, (pyarrow.Table.from_pylist([row], schema=schema) for row in rows), schema)


def write_tables(path: Path, tables: Iterable[pyarrow.Table], schema: pyarrow.Schema) -> int:
    """Write small tables of `schema`, of about one row each, to one Parquet file. The file appears complete or not at
    all.

    Returns:
        The number of rows.

    Raises:
        OSError: if it cannot be written.
    """
    count = 0
    with (
        PendingFile(path) as pending,
        open(pending.descriptor, "wb", closefd=False) as file,
        RowGroups(file, schema, max_tables=GROUP_TABLES, contiguous=False) as groups,
    ):
        for table in tables:
            groups.write(table)
            count += table.num_rows
    return count
