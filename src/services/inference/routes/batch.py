"""``POST /predict/batch``: predicts rows in one of several formats, and streams the answers in any of them."""

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Mapping

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Scope, Send

from src.services.inference.routes.endpoints import RawRoute, Service, counting_errors, documented, extra_columns_of
from src.serving.http.errors import InvalidParameterError, request_id_of, unknown_parameter
from src.serving.models.admission import Admission
from src.serving.protocols.batches import Batches
from src.serving.protocols.encoders import EXTRA
from src.serving.protocols.media_types import UnsupportedMediaTypeError, accepted, format_of
from src.serving.tables.formats import BINARY, Format
from src.serving.tables.parts import PART_ROWS
from src.serving.watch.metrics import INTERNAL, ServingMetrics

PATH = "/predict/batch"
# A smaller text costs so little that it needs no place in the queue.
SMALL_BYTES = 1 << 20
# The schemas of a body and of an answer in the document, by format.
TAKES: dict[str, str] = dict.fromkeys(Format, "Table")
TAKES |= {Format.JSON: "BatchRequest", Format.NDJSON: "RecordLines", Format.CSV: "CsvTable"}
GIVES: dict[str, str] = dict.fromkeys(Format, "AnswerTable")
GIVES |= {Format.JSON: "PredictionList", Format.NDJSON: "AnswerLines", Format.CSV: "CsvAnswers"}

router = APIRouter(route_class=RawRoute, tags=["prediction"])


@router.post(
    PATH,
    **documented(
        "Predict a batch of rows", GIVES, (406, 413, 415, 422, 503), takes=TAKES, parameters=["extra-columns"]
    ),
)
@counting_errors
async def predict_batch(request: Request, service: Service) -> Response:
    """Predict every row with the model that is served when the batch is complete.

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
    predictor = service.store.require()
    parts = await service.batches.read(predictor, came_in, body, extra, request.is_disconnected)
    is_short = sum(len(part.table) for part in parts) <= PART_ROWS
    answers = service.batches.answers(predictor, parts, goes_out, request_id_of(request.scope))
    media_type = f"{goes_out}; charset=utf-8" if goes_out is Format.CSV else str(goes_out)
    headers = {**predictor.headers, "content-type": media_type, "vary": "accept"}
    if is_short:
        async with contextlib.aclosing(answers):
            return Response(b"".join([piece async for piece in answers]), headers=headers)
    # Before the headers, which cannot be taken back if no worker becomes free.
    first = await anext(answers)
    return PiecewiseResponse(first, answers, service.metrics, headers)


def turns_of(batches: Batches, scope: Scope) -> Admission | None:
    """The admission of a large batch; None for all other requests, and for requests that their headers make invalid."""
    if scope["path"] != PATH or scope["method"] != "POST":
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
        self, first: bytes, rest: AsyncGenerator[bytes, None], metrics: ServingMetrics, headers: Mapping[str, str]
    ) -> None:
        super().__init__(self._pieces(first), headers=headers)
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
