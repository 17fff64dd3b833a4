"""``POST /predict`` and ``POST /predict/batch``: records as JSON, and tables in several formats."""

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Collection
from functools import partial
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Scope, Send

from src.core.feature_table import Row
from src.services.inference.routes.endpoints import (
    JSON,
    RawRoute,
    Service,
    documented,
    extra_columns_of,
    no_row,
    predicted,
)
from src.serving.http.errors import InvalidParameterError, request_id_of, unknown_parameter
from src.serving.models.admission import Admission
from src.serving.models.predictor import Predictor
from src.serving.protocols.batches import Batches
from src.serving.protocols.encoders import EXTRA
from src.serving.protocols.media_types import UnsupportedMediaTypeError, accepted, format_of, is_json
from src.serving.tables.answers import encode_answer
from src.serving.tables.parts import BINARY, PART_ROWS, Format
from src.serving.watch.metrics import INTERNAL, ServingMetrics

JSON_SPACE = b" \t\n\r"
BATCH = "/predict/batch"
# A smaller text costs so little that it needs no place in the queue.
SMALL_BYTES = 1 << 20
# The schemas of a body and of an answer in the document, by format.
TAKES: dict[str, str] = dict.fromkeys(Format, "Table")
TAKES |= {Format.JSON: "BatchRequest", Format.NDJSON: "RecordLines", Format.CSV: "CsvTable"}
GIVES: dict[str, str] = dict.fromkeys(Format, "AnswerTable")
GIVES |= {Format.JSON: "PredictionList", Format.NDJSON: "AnswerLines", Format.CSV: "CsvAnswers"}

router = APIRouter(route_class=RawRoute, tags=["prediction"])


@router.post(
    "/predict",
    **documented(
        "Predict one record, or a list of records",
        {JSON: "PredictAnswer"},
        (413, 415, 422, 503),
        takes={JSON: "PredictRequest"},
    ),
)
async def predict(request: Request, service: Service) -> Response:
    """The answer, or one answer per record, in the same order."""
    content_type = request.headers.get("content-type")
    if content_type is not None and not is_json(content_type):
        raise UnsupportedMediaTypeError
    body = await request.body()
    request_id = request_id_of(request.scope)

    async def of_list(predictor: Predictor) -> bytes:
        parts = await service.batches.read(predictor, Format.JSON, bytearray(body), None, request.is_disconnected)
        return await _joined(service.batches.answers(predictor, parts, Format.JSON, request_id))

    async def of_record(predictor: Predictor) -> bytes:
        row = predictor.decoder.decode(body)
        answer = await service.scheduler.answer(predictor, row)
        content = encode_answer(answer, predictor.model_name, request_id)
        service.metrics.traffic.note(predictor, row, answer, request_id)
        return content

    if body.lstrip(JSON_SPACE)[:1] == b"[":
        predictor, content = await predicted(request, service, no_row, of_list)
    else:
        row_of = partial(_row_of, body)
        predictor, content = await predicted(request, service, row_of, of_record)
    return Response(content, headers=predictor.headers, media_type=JSON)


def _row_of(body: bytes, champion: Predictor) -> Row | None:
    return champion.decoder.decode_or_none(body)


async def _joined(answers: AsyncGenerator[bytes, None]) -> bytes:
    async with contextlib.aclosing(answers):
        return b"".join([piece async for piece in answers])


@router.post(
    BATCH,
    **documented(
        "Predict a batch of rows", GIVES, (406, 413, 415, 422, 503), takes=TAKES, parameters=["extra-columns"]
    ),
)
async def predict_batch(request: Request, service: Service) -> Response:
    """Predict every row with the model that is served when the batch is complete, or with a canary.

    All rows get the same version. If a canary fails before the first part of the answer is sent, the champion answers.

    The answers are in the rows' order, and in the format that Accept names, else in the request's.
    All rows are checked before the first answer is sent. After that, only a failure of the service can interrupt it;
    the connection then closes before the answer is complete. The number of rows, and the size of strings and kept
    columns, are limited as the body is.
    """
    came_in = format_of(request.headers.get("content-type"))
    goes_out = accepted(",".join(request.headers.getlist("accept")), came_in)
    for name in request.query_params:
        if name != EXTRA:  # a typo would drop columns that should be kept
            raise InvalidParameterError(unknown_parameter(name))
    extra = extra_columns_of(request)
    service.store.require()
    body = bytearray()
    async for chunk in request.stream():
        body += chunk

    async def answered(predictor: Predictor) -> Response:
        parts = await service.batches.read(predictor, came_in, body, extra, request.is_disconnected)
        rows = sum(len(part.table) for part in parts)
        answers = service.batches.answers(predictor, parts, goes_out, request_id_of(request.scope))
        headers = {**predictor.headers, "vary": "accept"}
        # Before the headers, which cannot be taken back if no worker becomes free.
        first = await (_joined(answers) if rows <= PART_ROWS else anext(answers))
        service.metrics.batch_rows.observe(rows)
        if rows <= PART_ROWS:
            return Response(first, headers=headers, media_type=goes_out)
        return PiecewiseResponse(first, answers, service.metrics, headers=headers, media_type=goes_out)

    return (await predicted(request, service, no_row, answered))[1]


def turns_of(batches: Batches, scope: Scope, paths: Collection[str]) -> Admission | None:
    """The admission of a large batch; None for all other requests, and for requests that their headers make invalid.

    ``paths`` are those of the routes that take batches.
    """
    if scope["path"] not in paths or scope["method"] != "POST":
        return None
    headers = Request(scope).headers
    try:
        came_in = format_of(headers.get("content-type"))
    except UnsupportedMediaTypeError:
        return None
    length = headers.get("content-length", "")
    # The length of a binary batch says little about its rows.
    is_small = came_in not in BINARY and length.isdigit() and int(length) <= SMALL_BYTES
    return None if is_small else batches.admission


class PiecewiseResponse(StreamingResponse):
    """A streamed answer that counts its failure, and releases its memory at once when its client disconnects."""

    def __init__(
        self, first: bytes, rest: AsyncGenerator[bytes, None], metrics: ServingMetrics, **arguments: Any
    ) -> None:
        super().__init__(self._pieces(first), **arguments)
        self._rest = rest
        self._metrics = metrics

    async def stream_response(self, send: Send) -> None:
        """Send the pieces, and close their source in any case."""
        async with contextlib.aclosing(self._rest):
            await super().stream_response(send)

    async def _pieces(self, first: bytes) -> AsyncIterator[bytes]:
        yield first
        try:
            async for piece in self._rest:
                yield piece
        except Exception:
            self._metrics.prediction_failed(INTERNAL)
            raise
