"""What endpoints have in common: the service's objects, raw requests, documentation, and the counting of errors."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, cast

from fastapi import Depends
from fastapi.routing import APIRoute
from starlette.requests import ClientDisconnect, HTTPConnection, Request
from starlette.types import Receive, Scope, Send

from src.core.errors import InvalidInputError, ModelNotLoadedError
from src.services.inference.openapi.model_schemas import content_of, ref
from src.serving.http.errors import IncompleteRequestError, InvalidParameterError
from src.serving.models.admission import OverloadedError
from src.serving.protocols.encoders import EXTRA
from src.serving.tables.parts import ExtraColumns
from src.serving.watch.metrics import INTERNAL, NO_MODEL

if TYPE_CHECKING:  # it imports the routes
    from src.services.inference.inference_service import ServiceState

JSON = "application/json"
# What an error means, in the documentation of a route.
ERRORS = {
    400: "The body is not of the protocol, or a row does not fit the model's columns",
    404: "Another model or version is served",
    406: "Accept names no supported format",
    413: "The body is too large",
    415: "The Content-Type is not supported, or the body is compressed",
    422: "A row does not fit the model's columns; at most 100 problems are reported",
    429: "Too many requests are waiting",
    503: "The service cannot answer now; the message says why",
    507: "The shared volume is full; nothing was accepted",
}


def service_of(connection: HTTPConnection) -> "ServiceState":
    """The service's objects."""
    return cast("ServiceState", connection.scope["state"]["service"])


async def _service(connection: HTTPConnection) -> "ServiceState":
    """Async, because FastAPI calls a plain function in a thread, which is slow while the event loop is busy."""
    return service_of(connection)


Service = Annotated["ServiceState", Depends(_service)]


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The ``responses`` of a route for errors with these statuses."""
    return {status: {"description": ERRORS[status]} for status in statuses}


def documented(  # noqa: PLR0913 - what a route may have
    summary: str,
    gives: Mapping[str, str],
    statuses: Sequence[int],
    *,
    takes: Mapping[str, str] | None = None,
    headers: Sequence[str] = (),
    parameters: Sequence[str] = (),
) -> dict[str, Any]:
    """FastAPI's arguments for a route of the served model.

    ``gives`` and ``takes`` are the schemas of the bodies by media type, ``headers`` those of the answer in addition to
    the model's, and ``statuses`` those of errors. All names are those of ``openapi/schemas.yaml``.
    """
    named = {name: ref(name, "headers") for name in ("x-model-name", "x-model-version", *headers)}
    answer = {"content": content_of(gives), "headers": named}
    extra: dict[str, Any] = {"parameters": [ref(name, "parameters") for name in parameters]}
    if takes:
        extra["requestBody"] = {"required": True, "content": content_of(takes)}
    return {"summary": summary, "responses": {200: answer, **errors(*statuses)}, "openapi_extra": extra}


class RawRoute(APIRoute):
    """A route without FastAPI's dependencies and exit stacks, which cost more than a prediction.

    Its endpoint takes the request and the service. Those that take POST predict.
    """

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Call the endpoint; a wrong method is handled by FastAPI."""
        if scope["method"] not in (self.methods or ()):
            await super().handle(scope, receive, send)
            return
        endpoint: Any = self.endpoint
        service: ServiceState = scope["state"]["service"]
        try:
            response = await endpoint(Request(scope, receive, send), service)
        except Exception as error:
            if scope["method"] == "POST":
                count_failure(service, error)
            raise
        await response(scope, receive, send)


def count_failure(service: "ServiceState", error: Exception) -> None:
    """Count a failed prediction by its reason."""
    if isinstance(error, InvalidInputError):
        service.metrics.prediction_failed(error.kind)
    elif not isinstance(error, ClientDisconnect | IncompleteRequestError | OverloadedError):
        service.metrics.prediction_failed(NO_MODEL if isinstance(error, ModelNotLoadedError) else INTERNAL)


def extra_columns_of(request: Request) -> ExtraColumns:
    """The query parameter that says what to do with columns that the model does not take."""
    try:
        return ExtraColumns(request.query_params.get(EXTRA, ExtraColumns.REFUSE))
    except ValueError:
        raise InvalidParameterError(f"{EXTRA} must be one of {', '.join(ExtraColumns)}", EXTRA) from None
