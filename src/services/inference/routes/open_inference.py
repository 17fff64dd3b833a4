"""The Open Inference Protocol, version 2, over REST: metadata, and inference with JSON or binary tensors.

``GET /v2/health/live`` and ``/v2/health/ready`` are with the other health routes.
"""

import re

import msgspec
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from src.core.errors import InvalidInputError
from src.core.predictions import Predictions
from src.services.inference.openapi.model_schemas import content_of
from src.services.inference.routes.endpoints import (
    JSON,
    RawRoute,
    Service,
    documented,
    extra_columns_of,
    predicted,
    row_of_table,
)
from src.serving.http.errors import request_id_of
from src.serving.models.inference_scheduler import Steps
from src.serving.models.predictor import Predictor
from src.serving.protocols.infer_answer import encode_infer, metadata_of, output_names
from src.serving.protocols.infer_request import InferRequest, decode_infer
from src.serving.protocols.media_types import UnsupportedMediaTypeError, is_json
from src.serving.tables.problems import malformed
from src.serving.watch.metrics import UNKNOWN_MODEL

BINARY = "application/octet-stream"
JSON_LENGTH = "Inference-Header-Content-Length"
MODEL = "/v2/models/{model_name}"
VERSION = MODEL + "/versions/{model_version}"
# Arguments of the routes of the model, and of a version of it.
METADATA = documented("The model, by the Open Inference Protocol", {JSON: "ModelMetadata"}, (404, 503))
READINESS = documented("The model's readiness, by the Open Inference Protocol", {JSON: "ModelReady"}, (404, 503))
INFERENCE = documented(
    "Predict rows, by the Open Inference Protocol",
    {JSON: "InferResponse", BINARY: "Octets"},
    (400, 404, 413, 415, 503),
    takes={JSON: "InferRequest", BINARY: "Octets"},
    headers=["inference-header-content-length"],
    parameters=["json-length", "extra-columns"],
)

router = APIRouter(route_class=RawRoute, tags=["prediction"])


@router.get(
    "/v2",
    summary="The server, by the Open Inference Protocol",
    responses={200: {"description": "What it is", "content": content_of({JSON: "ServerMetadata"})}},
)
async def server(request: Request, _: Service) -> Response:
    """The server's name, version, and supported extensions of the protocol."""
    app = request.app
    return JSONResponse({"name": app.title, "version": app.version, "extensions": ["binary_tensor_data"]})


@router.get(MODEL, **METADATA)
@router.get(VERSION, **METADATA)
async def model(request: Request, service: Service) -> Response:
    """The model's inputs and outputs with datatypes and shapes."""
    predictor = _predictor_for(request, service)
    return Response(msgspec.json.encode(metadata_of(predictor)), headers=predictor.headers, media_type=JSON)


@router.get(MODEL + "/ready", **READINESS)
@router.get(VERSION + "/ready", **READINESS)
async def ready(request: Request, service: Service) -> Response:
    """200 if the model can predict."""
    predictor = _predictor_for(request, service)
    return JSONResponse({"name": predictor.version.name, "ready": True}, headers=predictor.headers)


@router.post(MODEL + "/infer", **INFERENCE)
@router.post(VERSION + "/infer", **INFERENCE)
async def infer(request: Request, service: Service) -> Response:
    """One output row per input row.

    The inputs are a tensor per column, or one matrix of all columns; optional columns may be left out, in a matrix at
    its end. The tensors' data may follow the JSON in binary. With extra_columns, tensors of other names are ignored, or
    returned as outputs.
    """
    # Clients send JSON as well as binary data as octets, or without a type.
    content_type = request.headers.get("content-type", BINARY)
    if content_type.partition(";")[0].strip().lower() != BINARY and not is_json(content_type):
        raise UnsupportedMediaTypeError(f"send {JSON} or {BINARY}")
    json_bytes, extra = _json_bytes(request), extra_columns_of(request)
    body = await request.body()
    _predictor_for(request, service)
    request_id = request_id_of(request.scope)

    def decoded(predictor: Predictor) -> InferRequest:
        return decode_infer(predictor.schema, output_names(predictor), body, json_bytes, extra)

    def steps(predictor: Predictor) -> Steps[tuple[bytes, int | None]]:
        asked = decoded(predictor)
        found: Predictions = yield asked.table
        encoded = encode_infer(predictor, found, asked, request_id)
        service.metrics.traffic.note_table(predictor, asked.table, found, request_id, asked.kept_columns)
        return encoded

    async def answered(predictor: Predictor) -> tuple[bytes, int | None]:
        return await service.scheduler.run(predictor, len(body), steps(predictor))

    if "model_version" in request.path_params:
        predictor = _predictor_for(request, service)
        content, length = await answered(predictor)
    else:
        row_of = row_of_table(body, lambda champion: decoded(champion).table)
        predictor, (content, length) = await predicted(request, service, row_of, answered)
    if length is None:
        return Response(content, headers=predictor.headers, media_type=JSON)
    return Response(content, headers={**predictor.headers, JSON_LENGTH: str(length)}, media_type=BINARY)


def _predictor_for(request: Request, service: Service) -> Predictor:
    """The served model, if the path names it. Raises ModelNotLoadedError, or InvalidInputError if it is another."""
    predictor = service.store.require()
    version, asked = predictor.version, request.path_params
    if asked["model_name"] != version.name or asked.get("model_version", version.version) != version.version:
        raise InvalidInputError("this model or version is not served; GET /health says which is", kind=UNKNOWN_MODEL)
    return predictor


def _json_bytes(request: Request) -> int | None:
    """The length of the JSON before binary data; None if there is only JSON."""
    value = request.headers.get(JSON_LENGTH)
    if value is not None and not re.fullmatch("[0-9]{1,18}", value):
        raise malformed(f"{JSON_LENGTH} must be a number of bytes")
    return None if value is None else int(value)
