"""Predicts batches of any size: in parts, outside the event loop, and few large ones at a time."""

import contextlib
import math
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Final

from starlette.requests import ClientDisconnect

from src.core.errors import InvalidInputError
from src.core.feature_schema import FeatureSchema
from src.core.feature_table import FeatureTable
from src.core.inference_settings import InferenceSettings
from src.core.predictions import Predictions
from src.serving.models.admission import Admission
from src.serving.models.inference_scheduler import INLINE_BYTES, InferenceScheduler
from src.serving.models.predictor import Predictor
from src.serving.protocols.encoders import ENCODERS, PREDICTION, Columns, probability_columns
from src.serving.tables.csv_rows import csv_rows
from src.serving.tables.json_rows import json_rows, ndjson_rows
from src.serving.tables.parts import BINARY, PART_ROWS, PART_VALUES, ExtraColumns, Format, Part, Rows, joined_kinds
from src.serving.tables.problems import MAX_TOLD, TOO_LARGE, InvalidRecordError, malformed
from src.serving.tables.worker_messages import ReadTask
from src.serving.tables.workers import Worker, Workers
from src.serving.watch.metrics import ServingMetrics

# Each yields the parts in the order of the rows, or while a part is not complete how many rows it has so far; raises
# InvalidRecordError if the rest cannot be read. A worker reads the other formats.
Reader = Callable[[FeatureSchema, bytearray, ExtraColumns | None], Iterator[Part | int]]
READERS: Mapping[Format, Reader] = {Format.JSON: json_rows, Format.NDJSON: ndjson_rows, Format.CSV: csv_rows}
END: Final = object()
# The longest wait of a large batch in the queue, and of any for a worker.
LARGE_BATCH_SECONDS = 10.0
# A worker's memory in addition to two copies of a body.
WORKER_BYTES = 128_000_000


class Batches:
    """Reads and predicts batches."""

    def __init__(self, settings: InferenceSettings, scheduler: InferenceScheduler, metrics: ServingMetrics) -> None:
        self._scheduler = scheduler
        self._metrics = metrics
        large, seconds = settings.max_large_batches, LARGE_BATCH_SECONDS
        # Admits large batches, each for as long as its table is in memory; half the queue is left to predictions.
        self.admission = Admission(large, queue=settings.max_queue // 2, seconds=seconds, on_shed=metrics.shed)
        # One more than large batches, because a slow client keeps its worker until the answer is sent.
        slots = Admission(large + 1, queue=settings.max_concurrency, seconds=seconds, on_shed=metrics.shed)
        self.workers = Workers(slots.slot, memory_bytes=WORKER_BYTES + 2 * settings.max_batch_bytes)
        self._max_values = settings.max_batch_values
        # Bytes of strings and kept columns: those of all large batches take half as much memory as a body.
        self._max_text = max(1, settings.max_batch_bytes // 2 // large)

    async def read(
        self,
        predictor: Predictor,
        form: Format,
        body: bytearray,
        extra: ExtraColumns | None,
        gone: Callable[[], Awaitable[bool]],
    ) -> deque[Rows]:
        """Read and check the whole batch of at least one row; ``gone`` says whether the client has disconnected.

        ``extra`` is None for a list of records on a route without that parameter: they have no other fields. Raises
        InvalidRecordError with the first problems of all rows, InvalidInputError if it takes more memory than is
        reserved, OverloadedError if no worker becomes free in time, and ClientDisconnect.
        """
        width = columns = len(predictor.schema.names)
        is_long = form in BINARY or len(body) > INLINE_BYTES
        found: deque[Rows] = deque()
        problems: list[InvalidInputError] = []
        rows, text = 0, 0
        try:
            async with contextlib.aclosing(self._parts(predictor.schema, form, body, extra)) as parts:
                async for part in parts:
                    if isinstance(part, InvalidRecordError):
                        problems += part.problems
                        if len(problems) >= MAX_TOLD:
                            break
                    elif isinstance(part, Rows):
                        _require_other_names(part, predictor)
                        rows += len(part.table)
                        text += part.text_bytes
                        columns = max(columns, width + len(part.kept.kinds))
                        if not problems:
                            found.append(part)
                    self._require_memory(rows + (part if isinstance(part, int) else 0), columns, text)
                    if is_long and await gone():
                        raise ClientDisconnect
        except InvalidRecordError as error:
            problems += error.problems
        if problems:
            raise InvalidRecordError(problems)
        return found

    async def answers(
        self, predictor: Predictor, parts: deque[Rows], goes_out: Format, request_id: str
    ) -> AsyncGenerator[bytes, None]:
        """The encoded answers, part by part; each part's memory is released before the next part.

        Raises OverloadedError before the first part if no worker becomes free in time.
        """
        rows = sum(len(part.table) for part in parts)
        kinds = joined_kinds(part.kept for part in parts)
        # Parts of wide answers have fewer rows.
        size = max(1, min(PART_ROWS, PART_VALUES // (1 + len(predictor.classes))))
        async with self._worker_for(goes_out) as worker:
            encoder = ENCODERS[goes_out](predictor, request_id, kinds, worker)
            await self._scheduler.turn()
            batch = self._metrics.traffic.batch(predictor, request_id, rows)
            waiting: deque[tuple[FeatureTable, Columns]] = deque()

            def tables() -> Iterator[FeatureTable]:
                for some in _slices(parts, kinds, size):
                    waiting.append(some)
                    yield some[0]

            def encode(found: Predictions) -> bytes:
                table, kept = waiting.popleft()
                self._metrics.traffic.note_part(batch, table, found, kept)
                return encoder.part(found, kept)

            if worker is None and self._scheduler.takes(predictor, rows):
                for table in tables():
                    yield encode(self._scheduler.call(predictor, table))
            else:
                # Not in the models' thread, which other requests need, if it is to wait for a worker.
                run = worker.run if worker else self._scheduler.in_thread
                async with contextlib.aclosing(self._scheduler.each(predictor, tables())) as predicted:
                    async for found in predicted:
                        yield await run(partial(encode, found))
            batch.end()
            last = await worker.run(encoder.end) if worker else encoder.end()
        yield last  # a slow client keeps no worker

    def _worker_for(self, form: Format) -> AbstractAsyncContextManager[Worker | None]:
        return self.workers.one() if form in BINARY else contextlib.nullcontext()

    async def _parts(
        self, schema: FeatureSchema, form: Format, body: bytearray, extra: ExtraColumns | None
    ) -> AsyncGenerator[Part | int, None]:
        async with self._worker_for(form) as worker:
            if worker:
                task = ReadTask(form, schema, extra)
                async with contextlib.aclosing(worker.parts(task, body)) as isolated:
                    async for part in isolated:
                        yield part
                return
        step = partial(next, READERS[form](schema, body, extra), END)
        while (found := step() if len(body) <= INLINE_BYTES else await self._scheduler.in_thread(step)) is not END:
            yield found

    def _require_memory(self, rows: int, columns: int, text: int) -> None:
        max_rows = max(1, self._max_values // columns)
        if rows > max_rows:
            raise InvalidInputError(f"the batch has more than {max_rows} rows; send several batches", kind=TOO_LARGE)
        if text > self._max_text:
            raise InvalidInputError(
                f"the strings and kept columns of the batch take more than {self._max_text} bytes; send several "
                "batches, or drop other columns with extra_columns=ignore",
                kind=TOO_LARGE,
            )


def _slices(parts: deque[Rows], kinds: Iterable[str], size: int) -> Iterator[tuple[FeatureTable, Columns]]:
    """Take the parts, and cut them into tables of at most so many rows with their kept columns."""
    while parts:
        table, kept = parts.popleft()
        nothing, columns = [None] * len(table), kept.columns()
        step = math.ceil(len(table) / math.ceil(len(table) / size))  # tables of equal size
        for start in range(0, len(table), step):
            some = {name: columns.get(name, nothing)[start : start + step] for name in kinds}
            yield table.part(start, start + step), some


def _require_other_names(rows: Rows, predictor: Predictor) -> None:
    """Raise InvalidRecordError if a kept column has the name of an answer's column."""
    taken = {PREDICTION, *probability_columns(predictor.classes)} & rows.kept.kinds.keys()
    if taken:
        raise malformed(f"kept columns have names of the answer's: {', '.join(sorted(taken))}; rename them")
