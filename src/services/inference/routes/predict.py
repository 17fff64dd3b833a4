"""``POST /predict``: predicts one record or a list of records."""

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from src.core.predictions import Predictions
from src.services.inference.routes.endpoints import JSON, RawRoute, Service, counting_errors, documented
from src.serving.http.errors import request_id_of
from src.serving.models.inference_scheduler import Steps
from src.serving.models.predictor import Predictor
from src.serving.protocols.encoders import ENCODERS
from src.serving.protocols.media_types import UnsupportedMediaTypeError, is_json
from src.serving.tables.answers import encode_answer
from src.serving.tables.formats import Format
from src.serving.tables.json_rows import list_tables
from src.serving.watch.live_traffic import LiveTraffic

JSON_SPACE = b" \t\n\r"

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
@counting_errors
async def predict(request: Request, service: Service) -> Response:
    """The answer, or one answer per record, in the same order."""
    content_type = request.headers.get("content-type")
    if content_type is not None and not is_json(content_type):
        raise UnsupportedMediaTypeError
    body = await request.body()
    # Read once: the model may be swapped while this request waits.
    predictor = service.store.require()
    request_id = request_id_of(request.scope)
    if body.lstrip(JSON_SPACE)[:1] == b"[":
        steps = _list_steps(service.metrics.traffic, predictor, body, request_id)
        content = await service.scheduler.run(predictor, len(body), steps)
    else:
        row = predictor.decoder.decode(body)
        answer = await service.scheduler.answer(predictor, row)
        content = encode_answer(answer, predictor.model_name, request_id)
        service.metrics.traffic.note(predictor, row, answer)
    return Response(content, headers=predictor.headers, media_type=JSON)


def _list_steps(traffic: LiveTraffic, predictor: Predictor, body: bytes, request_id: str) -> Steps[bytes]:
    encoder, batch = ENCODERS[Format.JSON](predictor, request_id), traffic.batch(predictor)
    pieces: list[bytes] = []
    for table in (yield from list_tables(predictor.decoder, body)):
        found: Predictions = yield table
        traffic.note_part(batch, table, found)
        pieces.append(encoder.part(found))
    batch.end()
    return b"".join([*pieces, encoder.end()])
