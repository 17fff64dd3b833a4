"""``POST /predict``: one record in, one class and its probabilities out."""

from collections.abc import Awaitable, Callable
from typing import cast

import msgspec
from fastapi import APIRouter
from fastapi.routing import APIRoute
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from src.core.errors import InvalidInputError, ModelNotLoadedError
from src.services.inference.errors import UnsupportedMediaTypeError, request_id_of
from src.services.inference.metrics import INTERNAL, NO_MODEL
from src.services.inference.schemas import ModelName, Prediction, PredictionList
from src.services.inference.service_state import ServiceState, service_of

JSON_SPACE = b" \t\n\r"


class RawRoute(APIRoute):
    """A documented route whose endpoint takes the request itself.

    FastAPI's own way to an endpoint (dependencies, two exit stacks) costs more than the prediction.
    """

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Call the endpoint; a wrong method goes the usual way."""
        if scope["method"] not in (self.methods or ()):
            await super().handle(scope, receive, send)
            return
        endpoint = cast(Callable[[Request], Awaitable[Response]], self.endpoint)
        response = await endpoint(Request(scope, receive, send))
        await response(scope, receive, send)


router = APIRouter(route_class=RawRoute, tags=["prediction"])


@router.post(
    "/predict",
    summary="Predict the class of one record",
    responses={
        413: {"description": "The body is too large"},
        415: {"description": "The body is not declared as JSON"},
        422: {"description": "The record does not fit the model's columns"},
        503: {"description": "No model is loaded yet"},
    },
)
async def predict(request: Request) -> Response:
    """Answer with the model that is served now."""
    service = service_of(request)
    try:
        return await _answer(request, service)
    except InvalidInputError as error:
        service.metrics.prediction_error(error.kind)
        raise
    except ModelNotLoadedError:
        service.metrics.prediction_error(NO_MODEL)
        raise
    except ClientDisconnect:
        raise
    except Exception:
        service.metrics.prediction_error(INTERNAL)
        raise


async def _answer(request: Request, service: ServiceState) -> Response:
    content_type = request.headers.get("content-type")
    if content_type is not None and not is_json(content_type):
        raise UnsupportedMediaTypeError
    body = await request.body()
    # No await from here on: the model taken here is the one that is counted.
    predictor = service.store.require()
    model = ModelName(predictor.version.name, predictor.version.version)
    request_id = request_id_of(request.scope)
    if body.lstrip(JSON_SPACE)[:1] == b"[":
        answers = predictor.answer(predictor.decoder.decode_list(body))
        service.metrics.predictions(answers)
        content = msgspec.json.encode(PredictionList(answers, model, request_id))
    else:
        (answer,) = answers = predictor.answer([predictor.decoder.decode(body)])
        service.metrics.predictions(answers)
        content = msgspec.json.encode(
            Prediction(
                prediction=answer.prediction, probabilities=answer.probabilities, model=model, request_id=request_id
            )
        )
    return Response(content, media_type="application/json")


def is_json(content_type: str) -> bool:
    """Whether a Content-Type is JSON as FastAPI understands it: ``application/json`` or ``application/*+json``."""
    media_type = content_type.partition(";")[0].strip().lower()
    return media_type == "application/json" or (media_type.startswith("application/") and media_type.endswith("+json"))
