"""Answers as Arrow or Parquet. Runs in a worker only."""

import io
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from arro3.core import Array, DataType, Field, RecordBatch, RecordBatchReader, Schema
from arro3.io import write_ipc, write_ipc_stream, write_parquet
from numpy.typing import NDArray

from src.serving.tables.extra_columns import BOOLEAN, DOUBLE, LONG, TEXT, UNKNOWN
from src.serving.tables.formats import Format
from src.serving.tables.worker_messages import WriteTask

# Rows per group, which a reader holds in memory at a time, as does the writer.
ROW_GROUP = 1 << 16
TYPES: Mapping[str, Callable[[], DataType]] = {
    TEXT: DataType.utf8,
    DOUBLE: DataType.float64,
    LONG: DataType.int64,
    BOOLEAN: DataType.bool,
    UNKNOWN: DataType.utf8,
}
WRITERS: Mapping[Format, Callable[[RecordBatchReader, Any], None]] = {
    Format.ARROW_STREAM: write_ipc_stream,
    Format.ARROW_FILE: write_ipc,
    Format.PARQUET: lambda batches, file: write_parquet(
        batches, file, compression="snappy", max_row_group_size=ROW_GROUP
    ),
}


def write_arrow(task: WriteTask, tables: Iterator[list[NDArray[Any]]], file: "Sink") -> None:
    """Write tables with the task's columns to the file."""
    types = [TYPES[kind]() for kind in task.kinds.values()]
    fields = [Field(name, kind, nullable=True) for name, kind in zip(task.kinds, types, strict=True)]
    schema = Schema(fields, metadata=task.metadata)

    def batches() -> Iterator[RecordBatch]:
        for columns in tables:
            arrays = [
                Array(column.tolist(), kind) if column.dtype == object else Array.from_numpy(column)
                for column, kind in zip(columns, types, strict=True)
            ]
            yield RecordBatch.from_arrays(arrays, schema=schema)

    WRITERS[Format(task.form)](RecordBatchReader.from_batches(schema, batches()), file)


class Sink(io.RawIOBase):
    """A file whose bytes are removed while it is written."""

    def __init__(self) -> None:
        super().__init__()
        self._written = bytearray()

    def writable(self) -> bool:
        """It is."""
        return True

    def write(self, data: Any) -> int:
        """Append bytes."""
        self._written += data
        return len(data)

    def take(self) -> bytes:
        """The bytes written since the last call."""
        taken, self._written = self._written, bytearray()
        return bytes(taken)
