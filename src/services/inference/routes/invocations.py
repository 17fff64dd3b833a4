"""MLflow's scoring protocol, as ``mlflow models serve`` implements it: ``POST /invocations`` and ``GET /version``."""

from collections.abc import Callable

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from src.core.feature_table import FeatureTable
from src.core.predictions import Predictions
from src.services.inference.routes.endpoints import JSON, RawRoute, Service, documented, predicted, row_of_table
from src.serving.http.errors import request_id_of
from src.serving.models.inference_scheduler import Steps
from src.serving.models.predictor import Predictor
from src.serving.protocols.media_types import UnsupportedMediaTypeError
from src.serving.protocols.mlflow_scoring import decode_csv, decode_json, encode

CSV = "text/csv"
UTF8 = {"", "charset=utf-8", 'charset="utf-8"'}
DECODERS = {JSON: decode_json, CSV: decode_csv}
# The MLflow version of this protocol; a test compares answers with that version's server.
MLFLOW_VERSION = "3.17.2"

router = APIRouter(route_class=RawRoute, tags=["prediction"])


@router.get("/version", summary="The MLflow version whose scoring protocol this is", response_class=PlainTextResponse)
async def version(_: Request, __: Service) -> Response:
    """As text. It says nothing about the model."""
    return PlainTextResponse(MLFLOW_VERSION)


@router.post(
    "/invocations",
    **documented(
        "Predict rows, as MLflow's server does",
        {JSON: "InvocationsAnswer"},
        (400, 413, 415, 503),
        takes={JSON: "InvocationsRequest", CSV: "ScoringCsv"},
    ),
)
async def invocations(request: Request, service: Service) -> Response:
    """One prediction per row: the class's label, or a number.

    The body is an object with one of dataframe_split, dataframe_records, instances and inputs, or CSV with a header.
    Columns that the model does not have, and params, are ignored.
    """
    decode = _decoder_for(request.headers.get("content-type"))
    body = await request.body()
    request_id = request_id_of(request.scope)

    def steps(predictor: Predictor) -> Steps[bytes]:
        table = decode(predictor.schema, body)
        found: Predictions = yield table
        service.metrics.traffic.note_table(predictor, table, found, request_id)
        return encode(found.values)

    async def answered(predictor: Predictor) -> bytes:
        return await service.scheduler.run(predictor, len(body), steps(predictor))

    row_of = row_of_table(body, lambda champion: decode(champion.schema, body))
    predictor, content = await predicted(request, service, row_of, answered)
    return Response(content, headers=predictor.headers, media_type=JSON)


def _decoder_for(content_type: str | None) -> Callable[..., FeatureTable]:
    media_type, *parameters = [part.strip().lower() for part in (content_type or JSON).split(";")]
    if media_type not in DECODERS or not set(parameters) <= UTF8:
        raise UnsupportedMediaTypeError(f"send {JSON} or {CSV}, in UTF-8 and with no other parameter")
    return DECODERS[media_type]
