"""The Open Inference Protocol, version 2, over REST: metadata, and inference with JSON or binary tensors.

``GET /v2/health/live`` and ``/v2/health/ready`` are with the other health routes.
"""

from typing import Any

import msgspec
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from src.core.predictions import Predictions
from src.services.inference.openapi.document import (
    MODEL_HEADERS,
    body_of,
    content_of,
    headers_of,
    json_of,
    parameters_of,
)
from src.services.inference.routes.raw_route import RawRoute, counting_errors, extra_columns_of
from src.services.inference.service_state import service_of
from src.serving.http.errors import UnknownModelError, request_id_of
from src.serving.models.inference_scheduler import Steps
from src.serving.models.predictor import Predictor
from src.serving.protocols.infer_answer import encode_infer, metadata_of, output_names
from src.serving.protocols.infer_request import decode_infer
from src.serving.protocols.media_types import UnsupportedMediaTypeError, is_json
from src.serving.tables.problems import malformed

JSON = "application/json"
BINARY = "application/octet-stream"
JSON_LENGTH = "Inference-Header-Content-Length"
# More digits than any body's length has.
MAX_DIGITS = 18
MODEL = "/v2/models/{model_name}"
VERSION = MODEL + "/versions/{model_version}"

OTHER = "Another model or version is served"
NOT_LOADED = "No model is loaded yet"
INFER: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The outputs, in binary where requested",
        "content": content_of({JSON: "InferResponse", BINARY: "Octets"}),
        "headers": {**MODEL_HEADERS, **headers_of("inference-header-content-length")},
    },
    400: {"description": "The request is not of the protocol, or a row does not fit the model's columns"},
    404: {"description": OTHER},
    413: {"description": "The body is too large"},
    415: {"description": "The body is declared as neither JSON nor octets, or it is compressed"},
    503: {"description": NOT_LOADED},
}
INFER_BODY = body_of({JSON: "InferRequest", BINARY: "Octets"})

router = APIRouter(route_class=RawRoute, tags=["prediction"])


def about(schema: str) -> dict[int | str, dict[str, Any]]:
    """The responses of a route with the model's metadata."""
    return {
        200: {"description": "What it is", "content": json_of(schema), "headers": MODEL_HEADERS},
        404: {"description": OTHER},
        503: {"description": NOT_LOADED},
    }


@router.get(
    "/v2",
    summary="The server, by the Open Inference Protocol",
    responses={200: {"description": "What it is", "content": json_of("ServerMetadata")}},
)
async def server(request: Request) -> Response:
    """The server's name, version, and supported extensions of the protocol."""
    app = request.app
    return _json({"name": app.title, "version": app.version, "extensions": ["binary_tensor_data"]}, {})


@router.get(
    MODEL,
    summary="The model, by the Open Inference Protocol",
    openapi_extra={"parameters": parameters_of("model-name")},
    responses=about("ModelMetadata"),
)
@router.get(
    VERSION,
    summary="A version of the model, by the Open Inference Protocol",
    openapi_extra={"parameters": parameters_of("model-name", "model-version")},
    responses=about("ModelMetadata"),
)
async def model(request: Request) -> Response:
    """The model's inputs and outputs with datatypes and shapes."""
    predictor = _predictor_for(request)
    return _json(metadata_of(predictor), predictor.headers)


@router.get(
    MODEL + "/ready",
    summary="The model's readiness, by the Open Inference Protocol",
    openapi_extra={"parameters": parameters_of("model-name")},
    responses=about("ModelReady"),
)
@router.get(
    VERSION + "/ready",
    summary="A version's readiness, by the Open Inference Protocol",
    openapi_extra={"parameters": parameters_of("model-name", "model-version")},
    responses=about("ModelReady"),
)
async def ready(request: Request) -> Response:
    """200 if the model can predict."""
    predictor = _predictor_for(request)
    return _json({"name": predictor.version.name, "ready": True}, predictor.headers)


@router.post(
    MODEL + "/infer",
    summary="Predict rows, by the Open Inference Protocol",
    openapi_extra={
        "parameters": parameters_of("model-name", "json-length", "extra-columns"),
        "requestBody": INFER_BODY,
    },
    responses=INFER,
)
@router.post(
    VERSION + "/infer",
    summary="Predict rows with a version, by the Open Inference Protocol",
    openapi_extra={
        "parameters": parameters_of("model-name", "model-version", "json-length", "extra-columns"),
        "requestBody": INFER_BODY,
    },
    responses=INFER,
)
@counting_errors
async def infer(request: Request) -> Response:
    """One output row per input row.

    The inputs are a tensor per column, or one matrix of all columns; optional columns may be left out, in a matrix at
    its end. The tensors' data may follow the JSON in binary. With extra_columns, tensors of other names are ignored, or
    returned as outputs.
    """
    service = service_of(request)
    _check_type(request)
    json_bytes, extra = _json_bytes(request), extra_columns_of(request)
    body = await request.body()
    # Read once: the model may be swapped while this request waits.
    predictor = _predictor_for(request)
    outputs = output_names(predictor)

    def steps() -> Steps[tuple[bytes, int | None]]:
        asked = decode_infer(predictor.schema, outputs, body, json_bytes, extra)
        found: Predictions = yield asked.table
        encoded = encode_infer(predictor, found, asked, request_id_of(request.scope))
        service.metrics.traffic.note_table(predictor, asked.table, found)
        return encoded

    content, length = await service.scheduler.run(predictor, len(body), steps())
    if length is None:
        return Response(content, headers=predictor.headers, media_type=JSON)
    return Response(content, headers={**predictor.headers, JSON_LENGTH: str(length)}, media_type=BINARY)


def _predictor_for(request: Request) -> Predictor:
    """The served model, if the path names it.

    Raises:
        ModelNotLoadedError: no model is loaded.
        UnknownModelError: another model is served.
    """
    predictor = service_of(request).store.require()
    version, asked = predictor.version, request.path_params
    if asked["model_name"] != version.name or asked.get("model_version", version.version) != version.version:
        raise UnknownModelError
    return predictor


def _check_type(request: Request) -> None:
    """Check the body's type. Clients send JSON as well as binary data as octets, or without a type."""
    content_type = request.headers.get("content-type")
    if (
        content_type is not None
        and content_type.partition(";")[0].strip().lower() != BINARY
        and not is_json(content_type)
    ):
        raise UnsupportedMediaTypeError(f"send {JSON} or {BINARY}")


def _json_bytes(request: Request) -> int | None:
    """The length of the JSON before binary data; None if there is only JSON."""
    value = request.headers.get(JSON_LENGTH)
    if value is None:
        return None
    if not (value.isascii() and value.isdecimal() and len(value) <= MAX_DIGITS):
        raise malformed(f"{JSON_LENGTH} must be a number of bytes")
    return int(value)


def _json(content: object, headers: dict[str, str]) -> Response:
    return Response(msgspec.json.encode(content), headers=headers, media_type=JSON)
