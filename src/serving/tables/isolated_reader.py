"""Reads a batch in a worker; if the worker dies, the body is reported as malformed, which is the most likely cause."""

import asyncio
import logging
from collections.abc import AsyncGenerator

from src.core.feature_schema import FeatureSchema
from src.serving.tables.parts import Part, TooManyRowsError
from src.serving.tables.problems import malformed
from src.serving.tables.worker_messages import (
    End,
    Problems,
    ReadTask,
    Table,
    TooManyRows,
    error_of,
    rows_of,
)
from src.serving.tables.workers import Worker, WorkerLostError

logger = logging.getLogger(__name__)


async def isolated_parts(
    worker: Worker, task: ReadTask, schema: FeatureSchema, body: bytearray
) -> AsyncGenerator[Part, None]:
    """Read the parts of a body as ``parts.Reader`` yields them.

    Raises:
        InvalidRecordError: the worker could not read it within its memory and time.
        TooManyRowsError: it has too many rows.
    """
    too_many = False
    try:
        await asyncio.to_thread(worker.begin, task, body)
        while not isinstance(message := await asyncio.to_thread(worker.hear), End):
            if isinstance(message, Table):
                yield rows_of(message, schema)
            elif isinstance(message, Problems):
                yield error_of(message)
            too_many = too_many or isinstance(message, TooManyRows)
    except WorkerLostError as error:
        logger.warning("a body of %d bytes as %s was not read: %s", len(body), task.form, error)
        raise malformed(
            "the body is not a complete file of the declared format, or takes too much memory or time "
            "to read; send smaller batches"
        ) from None
    if too_many:
        raise TooManyRowsError(task.max_rows)
