"""Maps the project's errors to HTTP responses; of the request, they repeat names only."""

import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from src.core.errors import (
    ConnectionFailedError,
    InvalidInputError,
    LoopError,
    ModelNotLoadedError,
    RegistryError,
    SpoolBusyError,
    SpoolFullError,
    SpoolUnavailableError,
)
from src.serving.http.error_shapes import Detail, shaped
from src.serving.http.guards import CompressedBodyError, CrossSiteError, UnauthorizedError, UntrustedHostError
from src.serving.models.admission import OverloadedError
from src.serving.models.rollback import RollbackRefusedError
from src.serving.protocols.media_types import NotAcceptableError, UnsupportedMediaTypeError
from src.serving.tables.extra_columns import MAX_NAME
from src.serving.tables.parts import TooManyRowsError, TooMuchTextError
from src.serving.tables.problems import MALFORMED, TOO_LARGE, InvalidRecordError
from src.serving.tables.workers import WorkerNotStartedError
from src.serving.watch.metrics import UNKNOWN_MODEL


class BodyTooLargeError(InvalidInputError):
    """The request's body is larger than this service takes."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"the body is larger than {limit} bytes", kind=TOO_LARGE)


class IncompleteRequestError(LoopError):
    """The request was not received completely."""


class SlowHeadError(IncompleteRequestError):
    """The request's head took too long."""

    def __init__(self) -> None:
        super().__init__("the head of the request was not received in time; send it in one piece")


class HeadTooLargeError(IncompleteRequestError):
    """The request's head is larger than this service takes."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"the head of the request is larger than {limit} bytes")


class InvalidBytesError(IncompleteRequestError):
    """What follows a request is not HTTP."""

    def __init__(self) -> None:
        super().__init__("the bytes are not HTTP, and nothing was executed; check the request's Content-Length")


class SlowBodyError(IncompleteRequestError):
    """The request's body took too long."""

    def __init__(self) -> None:
        super().__init__("the body was not received in time; send it faster, or send less")


class StoppingError(IncompleteRequestError):
    """The service is stopping and the request was not received completely."""

    def __init__(self) -> None:
        super().__init__("the service is stopping; send the request again")


class InvalidParameterError(InvalidInputError):
    """A query parameter is unknown, or its value is invalid."""

    def __init__(self, message: str, name: str | None = None) -> None:
        super().__init__(message, kind=MALFORMED, field=name)


class UnknownModelError(InvalidInputError):
    """The requested model, or its version, is not the served one."""

    def __init__(self) -> None:
        super().__init__("this model or version is not served; GET /health says which is", kind=UNKNOWN_MODEL)


class UnknownRequestError(LoopError):
    """No retrain request has this id."""


# Error class -> status and extra headers; the most specific class of an error applies.
STATUS: Mapping[type[LoopError], tuple[int, dict[str, str]]] = {
    LoopError: (500, {}),
    UntrustedHostError: (400, {}),
    UnauthorizedError: (401, {"WWW-Authenticate": "Bearer"}),
    CrossSiteError: (403, {}),
    InvalidInputError: (422, {}),
    BodyTooLargeError: (413, {}),
    TooManyRowsError: (413, {}),
    TooMuchTextError: (413, {}),
    UnsupportedMediaTypeError: (415, {}),
    CompressedBodyError: (415, {"Accept-Encoding": "identity"}),
    NotAcceptableError: (406, {}),
    UnknownModelError: (404, {}),
    UnknownRequestError: (404, {}),
    ModelNotLoadedError: (503, {"Retry-After": "1"}),
    OverloadedError: (503, {"Retry-After": "1"}),
    WorkerNotStartedError: (503, {"Retry-After": "1"}),
    StoppingError: (503, {"Retry-After": "1"}),
    SlowHeadError: (408, {}),
    SlowBodyError: (408, {"Connection": "close"}),
    HeadTooLargeError: (431, {}),
    InvalidBytesError: (400, {}),
    SpoolBusyError: (429, {"Retry-After": "5"}),
    SpoolFullError: (507, {}),
    SpoolUnavailableError: (503, {"Retry-After": "5"}),
    RollbackRefusedError: (409, {}),
    ConnectionFailedError: (503, {"Retry-After": "5"}),
    RegistryError: (503, {"Retry-After": "5"}),
}
# Refusals of a service that cannot answer now: they come in any number, and metrics count them, so logs leave them out.
EXPECTED = (OverloadedError, ModelNotLoadedError, StoppingError)
SERVER_ERROR = 500
# Messages for Starlette's own errors.
TEXTS = {404: "not found; see GET /docs", 405: "method not allowed; see the Allow header"}
WRONG_METHOD = 405
INTERNAL_TEXT = "the service failed on this request; its log has the details under the request id"

logger = logging.getLogger(__name__)


def request_id_of(scope: Scope) -> str:
    """The id that the outermost middleware gave this request."""
    return str(scope["state"]["request_id"])


class ErrorResponse(Response):
    """An error in the shape of the requested path's protocol."""

    def __init__(self, request_id: str, status: int, detail: Detail, headers: Mapping[str, str] | None) -> None:
        super().__init__(None, status, headers)
        self._parts = (request_id, status, detail)
        self._extra = headers

    def shaped_for(self, path: str) -> Response:
        """The response in the shape of this path's protocol."""
        status, body = shaped(path, *self._parts)
        return Response(body, status, self._extra, media_type="application/json")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it, with the served model's headers, if any."""
        response = self.shaped_for(scope["path"])
        service: Any = scope["state"].get("service")  # typed Any: ServiceState's module imports this one
        if service is not None and service.store.current is not None:
            response.headers.update(service.store.current.headers)
        await response(scope, receive, send)


def error_response(
    request_id: str, status: int, detail: Detail, headers: Mapping[str, str] | None = None
) -> ErrorResponse:
    """An error that is not one of this project's."""
    return ErrorResponse(request_id, status, detail, headers)


def install_error_handlers(app: FastAPI, methods: Mapping[str, Iterable[str]]) -> None:
    """Give all errors one shape; ``methods`` are those of each route's template."""
    app.add_exception_handler(LoopError, _loop_error)
    app.add_exception_handler(RequestValidationError, _wrong_parameters)
    app.add_exception_handler(HTTPException, _refused_by_starlette(methods))


async def _loop_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, LoopError)  # noqa: S101 - what it is registered for
    return refusal(request_id_of(request.scope), error)


def refusal(request_id: str, error: LoopError) -> ErrorResponse:
    """The response for an error of this project."""
    known = next(base for base in type(error).__mro__ if base in STATUS)
    status, headers = STATUS[known]
    detail: Detail = str(error)
    if status >= SERVER_ERROR and not isinstance(error, EXPECTED):
        logger.error("request %s: %s", request_id, detail, exc_info=error)
    if status == STATUS[InvalidInputError][0] and isinstance(error, InvalidInputError):
        problems = error.problems if isinstance(error, InvalidRecordError) else (error,)
        place = "query" if isinstance(error, InvalidParameterError) else "body"
        detail = [
            {
                "loc": [place, *(part for part in (item.row, item.field) if part is not None)],
                "msg": str(item),
                "type": item.kind,
            }
            for item in problems
        ]
    return error_response(request_id, status, detail, headers)


def unknown_parameter(name: str) -> str:
    """The message for an unknown parameter, with its name if that is short and printable."""
    shown = f" {name}" if 0 < len(name) <= MAX_NAME and name.isprintable() else ""
    return f"unknown parameter{shown}; GET /docs lists the route's parameters"


def _problem(item: Mapping[str, Any]) -> dict[str, Any]:
    problem = {key: item[key] for key in ("loc", "msg", "type")}
    if item["type"] == "extra_forbidden":  # loc ends with the name, which the client chose
        problem |= {"loc": item["loc"][:-1], "msg": unknown_parameter(str(item["loc"][-1]))}
    return problem


async def _wrong_parameters(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - what it is registered for
    # FastAPI's own response would repeat the input.
    detail = [_problem(item) for item in error.errors()]
    return error_response(request_id_of(request.scope), 422, detail)


def _refused_by_starlette(methods: Mapping[str, Iterable[str]]) -> Callable[[Request, Exception], Awaitable[Response]]:
    async def answer(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101 - what it is registered for
        if isinstance(error.__cause__, LoopError):  # FastAPI raises a 400 from any error while it reads a body
            return refusal(request_id_of(request.scope), error.__cause__)
        detail, headers = TEXTS.get(error.status_code, error.detail), error.headers
        path = str(getattr(request.scope.get("route"), "path", ""))
        if error.status_code == WRONG_METHOD and path in methods:
            # Starlette lists the methods of the first route with this path only.
            headers = {"Allow": ", ".join(sorted(methods[path]))}
        return error_response(request_id_of(request.scope), error.status_code, detail, headers)

    return answer
