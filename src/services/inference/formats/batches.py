"""Answer batches of any size: in parts, away from the event loop, and few large ones at a time."""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import Final, NamedTuple

from starlette.requests import ClientDisconnect

from src.core.errors import InvalidInputError
from src.core.feature_table import FeatureTable
from src.core.predictions import Predictions
from src.core.settings import InferenceSettings
from src.services.inference.formats import BINARY, Format
from src.services.inference.formats.arrow_encoder import ArrowEncoder
from src.services.inference.formats.encoders import ENCODERS, PREDICTION, Columns, Encoder, probability_columns
from src.services.inference.formats.extra_columns import ExtraColumns, joined_kinds
from src.services.inference.formats.isolated_reader import isolated_parts
from src.services.inference.formats.parts import PART_ROWS, PART_VALUES, Part, Rows, TooManyRowsError
from src.services.inference.formats.problems import MAX_TOLD, InvalidRecordError, malformed
from src.services.inference.formats.readers import READERS
from src.services.inference.formats.worker_messages import ReadTask
from src.services.inference.formats.workers import Workers
from src.services.inference.model.calls import INLINE_BYTES, Calls
from src.services.inference.model.predictor import Predictor
from src.services.inference.watch.live_traffic import Batch
from src.services.inference.watch.metrics import ServingMetrics
from src.services.inference.web.admission import Admission

# What a smaller text costs is not worth a place in the queue.
SMALL_BYTES = 1 << 20
END: Final = object()
# How long a large batch may wait for its turn.
LARGE_BATCH_SECONDS = 10.0
# What a worker may need beside two copies of a body.
WORKER_BYTES = 128_000_000


class IncomingBatch(NamedTuple):
    """A batch as it came in, and what to do with the columns that are not the model's."""

    form: Format
    body: bytearray
    extra: ExtraColumns


class Batches:
    """Reads and answers batches.

    Args:
        calls: lends its thread.
        workers: for the formats that are read and written by a library that may crash.
        metrics: counts answered rows.
        admission: lets large batches in, each for as long as its table is in memory.
        max_values: most values (rows times columns) of one batch.
    """

    def __init__(
        self, calls: Calls, workers: Workers, metrics: ServingMetrics, admission: Admission, *, max_values: int
    ) -> None:
        self._calls = calls
        self._workers = workers
        self._metrics = metrics
        self._admission = admission
        self._max_values = max_values

    def close(self) -> None:
        """End what runs beside the service."""
        self._workers.close()

    def turns(self, came_in: Format, announced: int | None) -> Admission | None:
        """Who lets this batch in; None for a small one, which needs no turn.

        Args:
            came_in: a binary format is never small: its length says nothing of its rows.
            announced: the body's length in bytes, where it is known.
        """
        if came_in not in BINARY and announced is not None and announced <= SMALL_BYTES:
            return None
        return self._admission

    async def read(
        self, predictor: Predictor, batch: IncomingBatch, gone: Callable[[], Awaitable[bool]]
    ) -> deque[Rows]:
        """The whole batch, at least one row, once all of it is known to fit.

        Args:
            predictor: whose columns it has.
            batch: what came in.
            gone: says whether the client has left; asked between parts.

        Raises:
            InvalidRecordError: with the first problems of all rows.
            TooManyRowsError: there are more than memory is set aside for.
            ClientDisconnect: the client has left.
        """
        columns = len(predictor.schema.names)
        parts_read: deque[Rows] = deque()
        problems: list[InvalidInputError] = []
        rows = 0
        try:
            async with contextlib.aclosing(self._parts(predictor, batch, self._max_rows(columns))) as parts:
                async for part in parts:
                    if isinstance(part, InvalidRecordError):
                        problems += part.problems
                        if len(problems) >= MAX_TOLD:
                            break
                    elif part is not None and not problems:
                        _require_other_names(part, predictor)
                        rows += len(part.table)
                        columns = max(columns, len(predictor.schema.names) + len(part.kept.kinds))
                        parts_read.append(part)
                    if rows > self._max_rows(columns):
                        raise TooManyRowsError(self._max_rows(columns))
                    if len(batch.body) > INLINE_BYTES and await gone():
                        raise ClientDisconnect
        except InvalidRecordError as error:
            problems += error.problems
        if problems:
            raise InvalidRecordError(problems)
        return parts_read

    def _max_rows(self, columns: int) -> int:
        return max(1, self._max_values // columns)

    async def answers(
        self, predictor: Predictor, parts: deque[Rows], goes_out: Format, request_id: str
    ) -> AsyncGenerator[bytes, None]:
        """The encoded answers, part by part; each part's memory is given back before the next one's turn."""
        rows = sum(len(part.table) for part in parts)
        self._metrics.batch(rows)
        kinds = joined_kinds(part.kept for part in parts)
        # Wide answers go in parts of fewer rows.
        size = max(1, min(PART_ROWS, PART_VALUES // (1 + len(predictor.classes))))
        async with self._encoder(predictor, goes_out, request_id, kinds) as encoder:
            await self._calls.turn()
            at_once = not encoder.waits and self._calls.takes(predictor, rows)
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
            yield await asyncio.to_thread(encoder.end) if encoder.waits else encoder.end()

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
        if encoder.waits:  # not in the thread of the models, which others need
            return await asyncio.to_thread(encoder.part, await self._calls.in_thread(predict), kept)
        return await self._calls.in_thread(lambda: encoder.part(predict(), kept))

    async def _parts(
        self, predictor: Predictor, batch: IncomingBatch, max_rows: int
    ) -> AsyncGenerator[Part | None, None]:
        schema, body = predictor.schema, batch.body
        if batch.form in BINARY:
            task = ReadTask(batch.form, schema.columns, max_rows, batch.extra, len(body))
            async with (
                self._workers.one() as worker,
                contextlib.aclosing(isolated_parts(worker, task, schema, body)) as isolated,
            ):
                async for part in isolated:
                    yield part
            return
        parts = READERS[batch.form](schema, body, max_rows, batch.extra)
        if len(body) <= INLINE_BYTES:
            for found in parts:
                yield found
            return
        while (step := await self._calls.in_thread(lambda: next(parts, END))) is not END:
            yield step  # type: ignore[misc] # the sentinel is none of the parts


def _require_other_names(rows: Rows, predictor: Predictor) -> None:
    """Raise InvalidRecordError where a column that is kept has the name of one of the answers'."""
    taken = {PREDICTION, *probability_columns(predictor.classes)} & rows.kept.kinds.keys()
    if taken:
        raise malformed(f"the answers have columns of the same names as yours: {', '.join(sorted(taken))}; rename them")


def create_batches(settings: InferenceSettings, calls: Calls, metrics: ServingMetrics) -> Batches:
    """Batches within the limits of the settings."""
    large = settings.max_large_batches
    # Half the queue at most, so that those that wait leave the other half to predictions.
    admission = Admission(large, queue=settings.max_queue // 2, seconds=LARGE_BATCH_SECONDS, on_shed=metrics.shed)
    # One more than large batches: their answers go out as slowly as a client takes them.
    workers = Workers(count=large + 1, memory_bytes=WORKER_BYTES + 2 * settings.max_batch_bytes)
    return Batches(calls, workers, metrics, admission, max_values=settings.max_batch_values)
