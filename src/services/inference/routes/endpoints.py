"""What endpoints have in common: the service's objects, raw requests, documentation, and the counting of errors."""

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, cast

from fastapi import Depends
from fastapi.routing import APIRoute
from starlette.requests import ClientDisconnect, HTTPConnection, Request
from starlette.types import Receive, Scope, Send

from src.core.errors import InvalidInputError, ModelNotLoadedError
from src.core.feature_table import FeatureTable, Row
from src.core.prediction_log import Role
from src.services.inference.openapi.model_schemas import content_of, ref
from src.serving.http.errors import IncompleteRequestError, InvalidParameterError, request_id_of
from src.serving.models.admission import OverloadedError
from src.serving.models.inference_scheduler import INLINE_BYTES
from src.serving.models.predictor import Predictor
from src.serving.models.version_choice import RowOf
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


T = TypeVar("T")
logger = logging.getLogger(__name__)

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
    if takes:
        named["x-model-role"] = ref("x-model-role", "headers")
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


async def predicted(
    request: Request, service: "ServiceState", row_of: RowOf, work: Callable[[Predictor], Awaitable[T]]
) -> tuple[Predictor, T]:
    """Do the work of a request with the version that answers it, and return both.

    A canary never makes a request fail: whatever it raises, the work is done again with the champion.

    Args:
        request: with its body.
        service: the service's objects.
        row_of: the request's row, if it has only one; errors are those of the champion's work.
        work: decodes, predicts and encodes, or a part of it up to the first byte of the answer.
    """
    # Read once: the model may be swapped while this request waits.
    predictor = service.choice.of(request.scope["headers"], request_id_of(request.scope), _or_none(row_of))
    if predictor.role is Role.CANARY:
        try:
            return predictor, await work(predictor)
        except (ClientDisconnect, OverloadedError):
            raise
        except Exception as error:  # noqa: BLE001 - a model may raise errors of any type
            if not isinstance(error, InvalidInputError):
                failed = request_id_of(request.scope), predictor.version.version, type(error).__name__
                logger.warning("request %s is answered by the champion: the canary, version %s, raised %s", *failed)
        predictor = service.store.require()
    return predictor, await work(predictor)


def row_of_table(body: bytes | bytearray, decode: Callable[[Predictor], FeatureTable]) -> RowOf:
    """The only row of a table that takes little time to decode; all others count as batches."""

    def row_of(champion: Predictor) -> Row | None:
        table = decode(champion) if len(body) <= INLINE_BYTES else None
        return table.row(0) if table is not None and len(table) == 1 else None

    return row_of


def no_row(_: Predictor) -> None:
    """Of a batch."""


def _or_none(row_of: RowOf) -> RowOf:
    def found(champion: Predictor) -> Row | None:
        try:
            return row_of(champion)
        except InvalidInputError:
            return None

    return found
