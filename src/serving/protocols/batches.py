"""Predicts batches of any size: in parts, outside the event loop, and few large ones at a time."""

import contextlib
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import Final, NamedTuple

from starlette.requests import ClientDisconnect

from src.core.errors import InvalidInputError
from src.core.feature_table import FeatureTable
from src.core.predictions import Predictions
from src.core.settings import InferenceSettings
from src.serving.models.admission import Admission
from src.serving.models.inference_scheduler import INLINE_BYTES, InferenceScheduler
from src.serving.models.predictor import Predictor
from src.serving.protocols.arrow_encoder import ArrowEncoder
from src.serving.protocols.batch_limits import BatchLimits
from src.serving.protocols.encoders import ENCODERS, PREDICTION, Columns, Encoder, probability_columns
from src.serving.tables.extra_columns import ExtraColumns, joined_kinds
from src.serving.tables.formats import BINARY, Format
from src.serving.tables.isolated_reader import isolated_parts
from src.serving.tables.parts import PART_ROWS, PART_VALUES, Part, Rows
from src.serving.tables.problems import MAX_TOLD, InvalidRecordError, malformed
from src.serving.tables.readers import READERS
from src.serving.tables.worker_messages import ReadTask
from src.serving.tables.workers import Workers
from src.serving.watch.drift import Batch
from src.serving.watch.metrics import ServingMetrics

# A smaller text costs so little that it needs no place in the queue.
SMALL_BYTES = 1 << 20
END: Final = object()
# The longest wait of a large batch in the queue, and of any for a worker.
LARGE_BATCH_SECONDS = 10.0
# A worker's memory in addition to two copies of a body.
WORKER_BYTES = 128_000_000


class IncomingBatch(NamedTuple):
    """A batch as received, and what to do with columns that the model does not have."""

    form: Format
    body: bytearray
    extra: ExtraColumns


class Batches:
    """Reads and predicts batches.

    Args:
        scheduler: runs the model.
        workers: for the formats that are read and written by a library that may crash.
        metrics: counts answered rows.
        admission: admits large batches, each for as long as its table is in memory.
        limits: what one batch may take in memory.
    """

    def __init__(
        self,
        scheduler: InferenceScheduler,
        workers: Workers,
        metrics: ServingMetrics,
        admission: Admission,
        limits: BatchLimits,
    ) -> None:
        self._scheduler = scheduler
        self._workers = workers
        self._metrics = metrics
        self._admission = admission
        self._limits = limits

    def close(self) -> None:
        """End the worker processes."""
        self._workers.close()

    def turns(self, came_in: Format, announced: int | None) -> Admission | None:
        """The admission of this batch; None for a small one.

        Args:
            came_in: the batch's format; a binary one is never small, as its length says little about its rows.
            announced: the body's length in bytes, if known.
        """
        if came_in not in BINARY and announced is not None and announced <= SMALL_BYTES:
            return None
        return self._admission

    async def read(
        self, predictor: Predictor, batch: IncomingBatch, gone: Callable[[], Awaitable[bool]]
    ) -> deque[Rows]:
        """Read and check the whole batch of at least one row.

        Args:
            predictor: the model, with its columns.
            batch: the received batch.
            gone: whether the client has disconnected; called between parts.

        Raises:
            InvalidRecordError: with the first problems of all rows.
            TooManyRowsError: there are more rows than memory is reserved for.
            TooMuchTextError: strings and kept columns take more memory than is reserved.
            OverloadedError: no worker became free in time.
            ClientDisconnect: the client has disconnected.
        """
        columns = len(predictor.schema.names)
        parts_read: deque[Rows] = deque()
        problems: list[InvalidInputError] = []
        rows, text = 0, 0
        try:
            async with contextlib.aclosing(self._parts(predictor, batch)) as parts:
                async for part in parts:
                    started = part if isinstance(part, int) else 0
                    if isinstance(part, InvalidRecordError):
                        problems += part.problems
                        if len(problems) >= MAX_TOLD:
                            break
                    elif isinstance(part, Rows):
                        _require_other_names(part, predictor)
                        rows += len(part.table)
                        text += part.text_bytes
                        columns = max(columns, len(predictor.schema.names) + len(part.kept.kinds))
                        if not problems:
                            parts_read.append(part)
                    self._limits.require(rows + started, columns, text)
                    if (batch.form in BINARY or len(batch.body) > INLINE_BYTES) and await gone():
                        raise ClientDisconnect
        except InvalidRecordError as error:
            problems += error.problems
        if problems:
            raise InvalidRecordError(problems)
        return parts_read

    async def answers(
        self, predictor: Predictor, parts: deque[Rows], goes_out: Format, request_id: str
    ) -> AsyncGenerator[bytes, None]:
        """The encoded answers, part by part; each part's memory is released before the next part.

        Raises:
            OverloadedError: before the first part; no worker became free in time.
        """
        rows = sum(len(part.table) for part in parts)
        self._metrics.batch_rows.observe(rows)
        kinds = joined_kinds(part.kept for part in parts)
        # Parts of wide answers have fewer rows.
        size = max(1, min(PART_ROWS, PART_VALUES // (1 + len(predictor.classes))))
        async with self._encoder(predictor, goes_out, request_id, kinds) as encoder:
            await self._scheduler.turn()
            at_once = not encoder.worker and self._scheduler.takes(predictor, rows)
            batch = self._metrics.traffic.batch(predictor)
            yield encoder.start()
            while parts:
                table, kept, _ = parts.popleft()
                nothing, columns = [None] * len(table), kept.columns()
                for start in range(0, len(table), size):
                    some = {name: columns.get(name, nothing)[start : start + size] for name in kinds}
                    part = table.part(start, start + size)
                    yield await self._answer(batch, part, some, encoder, at_once=at_once)
            self._metrics.traffic.end(batch)
            last = await encoder.worker.run(encoder.end) if encoder.worker else encoder.end()
        yield last  # a slow client keeps no worker

    @contextlib.asynccontextmanager
    async def _encoder(
        self, predictor: Predictor, goes_out: Format, request_id: str, kinds: dict[str, str]
    ) -> AsyncIterator[Encoder]:
        if goes_out not in BINARY:
            yield ENCODERS[goes_out](predictor, request_id, kinds)
            return
        async with self._workers.one() as worker:
            yield ArrowEncoder(predictor, request_id, kinds, form=goes_out, worker=worker)

    async def _answer(
        self, batch: Batch, table: FeatureTable, kept: Columns, encoder: Encoder, *, at_once: bool
    ) -> bytes:
        def predict() -> Predictions:
            found = batch.predictor.predict(table)
            self._metrics.traffic.note_part(batch, table, found)
            return found

        if at_once:
            return encoder.part(predict(), kept)
        if encoder.worker:  # not in the models' thread, which other requests need
            return await encoder.worker.run(encoder.part, await self._scheduler.in_thread(predict), kept)
        return await self._scheduler.in_thread(lambda: encoder.part(predict(), kept))

    async def _parts(self, predictor: Predictor, batch: IncomingBatch) -> AsyncGenerator[Part | int, None]:
        schema, body = predictor.schema, batch.body
        if batch.form in BINARY:
            task = ReadTask(batch.form, schema.columns, batch.extra, self._limits.text)
            async with (
                self._workers.one() as worker,
                contextlib.aclosing(isolated_parts(worker, task, body)) as isolated,
            ):
                async for part in isolated:
                    yield part
            return
        parts = READERS[batch.form](schema, body, batch.extra)
        if len(body) <= INLINE_BYTES:
            for found in parts:
                yield found
            return
        while (step := await self._scheduler.in_thread(lambda: next(parts, END))) is not END:
            yield step  # type: ignore[misc] # the sentinel is none of the parts


def _require_other_names(rows: Rows, predictor: Predictor) -> None:
    """Raise InvalidRecordError if a kept column has the name of an answer's column."""
    taken = {PREDICTION, *probability_columns(predictor.classes)} & rows.kept.kinds.keys()
    if taken:
        raise malformed(f"kept columns have names of the answer's: {', '.join(sorted(taken))}; rename them")


def create_batches(settings: InferenceSettings, scheduler: InferenceScheduler, metrics: ServingMetrics) -> Batches:
    """Create the batches' reader with the limits of the settings."""
    large = settings.max_large_batches
    # At most half the queue, which leaves the other half to predictions.
    admission = Admission(large, queue=settings.max_queue // 2, seconds=LARGE_BATCH_SECONDS, on_shed=metrics.shed)
    # One more than large batches, because a slow client keeps its worker until the answer is sent.
    slots = Admission(large + 1, queue=settings.max_concurrency, seconds=LARGE_BATCH_SECONDS, on_shed=metrics.shed)
    workers = Workers(slots.slot, memory_bytes=WORKER_BYTES + 2 * settings.max_batch_bytes)
    return Batches(scheduler, workers, metrics, admission, BatchLimits.of(settings))
