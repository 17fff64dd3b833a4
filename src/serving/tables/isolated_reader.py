"""Reads a batch in a worker; if the worker dies, the body is reported as malformed, which is the most likely cause."""

import logging
from collections.abc import AsyncGenerator

from src.core.errors import InvalidInputError
from src.core.feature_schema import FeatureSchema
from src.core.feature_table import FeatureTable
from src.serving.tables.extra_columns import Kept
from src.serving.tables.parts import Part, Rows, TooMuchTextError
from src.serving.tables.problems import TOO_LARGE, InvalidRecordError, malformed
from src.serving.tables.worker_messages import End, Problems, ReadTask, Table
from src.serving.tables.workers import Worker, WorkerLostError

logger = logging.getLogger(__name__)


async def isolated_parts(worker: Worker, task: ReadTask, body: bytearray) -> AsyncGenerator[Part, None]:
    """Read the parts of a body as ``parts.Reader`` yields them.

    Raises:
        TooMuchTextError: it has more text than the task allows.
        InvalidRecordError: the worker could not read it within its memory and time.
    """
    schema = FeatureSchema(task.columns)
    try:
        await worker.run(worker.tell, task, body)
        while not isinstance(message := await worker.run(worker.hear), End):
            if isinstance(message, Table):
                table = FeatureTable.from_columns(schema, message.arrays())
                yield Rows(table, Kept(message.kinds, message.packed))
            elif isinstance(message, Problems):
                if message.problems[0][1] == TOO_LARGE:
                    raise TooMuchTextError(task.max_text)
                yield InvalidRecordError(
                    [
                        InvalidInputError(text, kind=kind, field=name, row=row)
                        for text, kind, name, row in message.problems
                    ]
                )
    except WorkerLostError as error:
        logger.warning("a body of %d bytes as %s was not read: %s", len(body), task.form, error)
        raise malformed(
            "the body is not a complete file of the declared format, or takes too much memory or time "
            "to read; send smaller batches"
        ) from None
