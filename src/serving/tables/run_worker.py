"""Entry point of a worker: reads and writes Arrow and Parquet for the service, with limited memory and no secrets.

A malicious body can exhaust memory or crash the library; in a worker, that does not affect the service.
"""

import contextlib
import io
import os
import resource
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from arro3.core import Array, DataType, Field, RecordBatch, RecordBatchReader, Schema
from arro3.io import write_ipc, write_ipc_stream, write_parquet

from src.serving.tables.arrow_reader import arrow_parts
from src.serving.tables.parts import BOOLEAN, DOUBLE, LONG, Format, Rows
from src.serving.tables.problems import InvalidRecordError, malformed
from src.serving.tables.worker_messages import End, Piece, Problems, ReadTask, Table, WriteTask, receive, send

# Rows per group, which a reader holds in memory at a time, as does the writer.
ROW_GROUP = 1 << 16
# The types of kept columns by their kinds; others are texts.
TYPES = {DOUBLE: DataType.float64, LONG: DataType.int64, BOOLEAN: DataType.bool}
WRITERS: Mapping[Format, Callable[[RecordBatchReader, Any], None]] = {
    Format.ARROW_STREAM: write_ipc_stream,
    Format.ARROW_FILE: write_ipc,
    Format.PARQUET: partial(write_parquet, compression="snappy", max_row_group_size=ROW_GROUP),
}


def main(arguments: list[str]) -> int:
    """Carry out tasks until the service closes the pipe, whose descriptor and a task's memory limit are given."""
    descriptor, memory_bytes = map(int, arguments)
    harden(memory_bytes)
    # The pipe's end, or Ctrl-C in the service's terminal.
    with contextlib.suppress(EOFError, OSError, KeyboardInterrupt), Connection(descriptor) as pipe:
        while True:
            task = receive(pipe)
            if isinstance(task, ReadTask):
                read(task, pipe.recv_bytes(), pipe)
            elif isinstance(task, WriteTask):
                write(task, pipe)
    return 0


def harden(memory_bytes: int) -> None:
    """Limit this process as far as the system supports it (macOS cannot limit memory)."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError, ValueError):
        Path("/proc/self/oom_score_adj").write_text("1000")  # the first to end when memory is short
    used_pages = Path("/proc/self/statm")
    if used_pages.exists():
        used = int(used_pages.read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        resource.setrlimit(resource.RLIMIT_AS, (used + memory_bytes, used + memory_bytes))


def read(task: ReadTask, body: bytes, pipe: Connection) -> None:
    """Send the parts of a body, and an ``End``."""
    try:
        for part in arrow_parts(task.form, task.schema, body, task.extra):
            send(pipe, Table.of(part.table.columns, part.kept) if isinstance(part, Rows) else problems_of(part))
    except InvalidRecordError as error:
        send(pipe, problems_of(error))
    except (ConnectionError, KeyboardInterrupt):
        raise
    except BaseException:  # noqa: BLE001 - a Rust panic is not an Exception; any error is caused by the body
        send(pipe, problems_of(malformed("the body is not a complete file of the declared format")))
    send(pipe, End())


def problems_of(error: InvalidRecordError) -> Problems:
    """Problems as a message."""
    return Problems([(str(item), item.kind, item.field, item.row) for item in error.problems])


def write(task: WriteTask, pipe: Connection) -> None:
    """Write the tables that follow the task; their bytes are sent in answer to the next table."""
    types = [TYPES.get(kind, DataType.utf8)() for kind in task.kinds.values()]
    fields = [Field(name, kind, nullable=True) for name, kind in zip(task.kinds, types, strict=True)]
    schema = Schema(fields, metadata=task.metadata)
    file = io.BytesIO()

    def taken() -> bytes:
        """The bytes since the last call."""
        data = file.getvalue()
        file.seek(0)
        file.truncate()
        return data

    def batches() -> Iterator[RecordBatch]:
        while isinstance(message := receive(pipe), Table):
            arrays = [
                Array(column.tolist(), kind) if column.dtype == object else Array.from_numpy(column)
                for column, kind in zip(message.arrays(), types, strict=True)
            ]
            yield RecordBatch.from_arrays(arrays, schema=schema)
            send(pipe, Piece(taken()))

    WRITERS[task.form](RecordBatchReader.from_batches(schema, batches()), file)
    send(pipe, End(taken()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
