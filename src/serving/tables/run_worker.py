"""Entry point of a worker: reads and writes Arrow and Parquet for the service, with limited memory and no secrets.

A malicious body can exhaust memory or crash the library; in a worker, that does not affect the service.
"""

import contextlib
import os
import resource
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from src.core.feature_schema import FeatureSchema
from src.serving.tables.arrow_reader import arrow_parts
from src.serving.tables.arrow_writer import Sink, write_arrow
from src.serving.tables.formats import Format
from src.serving.tables.parts import TooManyRowsError
from src.serving.tables.problems import InvalidRecordError, malformed
from src.serving.tables.worker_messages import (
    End,
    Piece,
    ReadTask,
    Table,
    TooManyRows,
    WriteTask,
    arrays_of,
    problems_message,
    receive,
    send,
    table_message,
)

USED_PAGES = Path("/proc/self/statm")
FIRST_TO_END = Path("/proc/self/oom_score_adj")


def main(arguments: list[str]) -> int:
    """Carry out tasks until the service closes the pipe.

    Args:
        arguments: the memory limit of a task, in bytes.
    """
    harden(int(arguments[0]))
    with contextlib.suppress(EOFError, BrokenPipeError, KeyboardInterrupt):
        while True:
            task = receive(take)
            if isinstance(task, ReadTask):
                read(task)
            elif isinstance(task, WriteTask):
                write(task)
    return 0


def harden(memory_bytes: int) -> None:
    """Limit this process as far as the system supports it (macOS cannot limit memory)."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError, ValueError):
        FIRST_TO_END.write_text("1000")
    if USED_PAGES.exists():
        used = int(USED_PAGES.read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        resource.setrlimit(resource.RLIMIT_AS, (used + memory_bytes, used + memory_bytes))


def read(task: ReadTask) -> None:
    """Send the parts of the body that follows the task, and an ``End``."""
    body = take(task.size)
    schema = FeatureSchema(task.columns)
    try:
        for part in arrow_parts(Format(task.form), schema, body, task.max_rows, task.extra):
            if isinstance(part, InvalidRecordError):
                give(problems_message(part))
            else:
                give(table_message(part.table.columns, part.kept))
    except TooManyRowsError:
        give(TooManyRows())
    except InvalidRecordError as error:
        give(problems_message(error))
    except (BrokenPipeError, KeyboardInterrupt):
        raise
    except BaseException:  # noqa: BLE001 - a Rust panic is not an Exception; any error is caused by the body
        give(problems_message(malformed("the body is not a complete file of the declared format")))
    give(End())


def write(task: WriteTask) -> None:
    """Write the tables that follow the task; their bytes are sent in answer to the next table."""
    file = Sink()

    def tables() -> Iterator[list[NDArray[Any]]]:
        while isinstance(message := receive(take), Table):
            yield arrays_of(message)
            give(Piece(file.take()))

    write_arrow(task, tables(), file)
    give(Piece(file.take()))
    give(End())


def take(size: int) -> bytes:
    """Read exactly so many bytes from the service.

    Raises:
        EOFError: the service has closed the pipe.
    """
    found = sys.stdin.buffer.read(size)
    if len(found) < size:
        raise EOFError
    return found


def give(message: Any) -> None:
    """Send a message to the service at once."""
    send(sys.stdout.buffer.write, message)
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
