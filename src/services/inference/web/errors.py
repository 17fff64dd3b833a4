"""The one place where the project's errors become HTTP answers; they repeat nothing of the request but names."""

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
from src.services.inference.formats.extra_columns import MAX_NAME
from src.services.inference.formats.parts import TooManyRowsError
from src.services.inference.formats.problems import MALFORMED, TOO_LARGE, InvalidRecordError
from src.services.inference.model.rollback import RollbackRefusedError
from src.services.inference.watch.metrics import NOT_ACCEPTABLE, UNKNOWN_MODEL, UNSUPPORTED_MEDIA_TYPE
from src.services.inference.web.admission import OverloadedError
from src.services.inference.web.error_shapes import Detail, shaped
from src.services.inference.web.guards import CrossSiteError, UnauthorizedError, UntrustedHostError


class BodyTooLargeError(InvalidInputError):
    """The request's body is larger than this service takes."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"the body is larger than {limit} bytes", kind=TOO_LARGE)


class IncompleteRequestError(LoopError):
    """The request did not come in whole, so nothing can be said of it."""


class SlowHeadError(IncompleteRequestError):
    """The request's head took too long."""

    def __init__(self) -> None:
        super().__init__("the head of the request did not come in time; send it in one piece")


class HeadTooLargeError(IncompleteRequestError):
    """The request's head is larger than this service takes."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"the head of the request is larger than {limit} bytes")


class SlowBodyError(IncompleteRequestError):
    """The request's body took too long."""

    def __init__(self) -> None:
        super().__init__("the body did not come in time; send it faster, or less at once")


class StoppingError(IncompleteRequestError):
    """The service stops before the request is in."""

    def __init__(self) -> None:
        super().__init__("the service is stopping; send the request again")


class UnsupportedMediaTypeError(InvalidInputError):
    """The request's body is not declared as something that the route takes."""

    def __init__(self, message: str = "send JSON with Content-Type: application/json") -> None:
        super().__init__(message, kind=UNSUPPORTED_MEDIA_TYPE)


class InvalidParameterError(InvalidInputError):
    """A parameter of the request's URL has a value that the route does not take, or the route has no such parameter."""

    def __init__(self, message: str, name: str | None = None) -> None:
        super().__init__(message, kind=MALFORMED, field=name)


class NotAcceptableError(InvalidInputError):
    """The route answers in no format that the client takes."""

    def __init__(self, message: str) -> None:
        super().__init__(message, kind=NOT_ACCEPTABLE)


class UnknownModelError(InvalidInputError):
    """The request is about another model, or another version of it, than the one that is served."""

    def __init__(self) -> None:
        super().__init__("this model or version is not served; GET /health says which is", kind=UNKNOWN_MODEL)


class UnknownRequestError(LoopError):
    """No retrain request has this id."""


# Error class -> status and extra headers; the most special class of an error counts.
STATUS: Mapping[type[LoopError], tuple[int, dict[str, str]]] = {
    LoopError: (500, {}),
    UntrustedHostError: (400, {}),
    UnauthorizedError: (401, {"WWW-Authenticate": "Bearer"}),
    CrossSiteError: (403, {}),
    InvalidInputError: (422, {}),
    BodyTooLargeError: (413, {}),
    TooManyRowsError: (413, {}),
    UnsupportedMediaTypeError: (415, {}),
    NotAcceptableError: (406, {}),
    UnknownModelError: (404, {}),
    UnknownRequestError: (404, {}),
    ModelNotLoadedError: (503, {"Retry-After": "1"}),
    OverloadedError: (503, {"Retry-After": "1"}),
    StoppingError: (503, {"Retry-After": "1"}),
    SlowHeadError: (408, {}),
    SlowBodyError: (408, {}),
    HeadTooLargeError: (431, {}),
    SpoolBusyError: (429, {"Retry-After": "5"}),
    SpoolFullError: (507, {}),
    SpoolUnavailableError: (503, {"Retry-After": "5"}),
    RollbackRefusedError: (409, {}),
    ConnectionFailedError: (503, {"Retry-After": "5"}),
    RegistryError: (503, {"Retry-After": "5"}),
}
# What Starlette itself refuses.
TEXTS = {404: "there is no such page; GET /docs lists what there is", 405: "this page does not take this method"}
WRONG_METHOD = 405
INTERNAL_TEXT = "the service failed on this request; its log has the details under this request id"

logger = logging.getLogger(__name__)


def request_id_of(scope: Scope) -> str:
    """The id that the outermost middleware gave this request."""
    return str(scope["state"]["request_id"])


class ErrorResponse(Response):
    """An error, in the shape that belongs to the page that was asked for."""

    def __init__(self, request_id: str, status: int, detail: Detail, headers: Mapping[str, str] | None) -> None:
        super().__init__(None, status, headers)
        self._parts = (request_id, status, detail)
        self._extra = headers

    def shaped_for(self, path: str) -> Response:
        """As the clients of this page know it."""
        status, body = shaped(path, *self._parts)
        return Response(body, status, self._extra, media_type="application/json")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it, with the model that is served, if there is one."""
        response = self.shaped_for(scope["path"])
        service: Any = scope["state"].get("service")  # ServiceState knows who sends this
        if service is not None and service.store.current is not None:
            response.headers.update(service.store.current.headers)
        await response(scope, receive, send)


def error_response(
    request_id: str, status: int, detail: Detail, headers: Mapping[str, str] | None = None
) -> ErrorResponse:
    """An error that is not one of this project's."""
    return ErrorResponse(request_id, status, detail, headers)


def install_error_handlers(app: FastAPI, methods: Mapping[str, Iterable[str]]) -> None:
    """Answer every refused request in one shape; ``methods`` are those of each route's template."""
    app.add_exception_handler(LoopError, _loop_error)
    app.add_exception_handler(RequestValidationError, _wrong_parameters)
    app.add_exception_handler(HTTPException, _refused_by_starlette(methods))


async def _loop_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, LoopError)  # noqa: S101 - what it is registered for
    return refusal(request_id_of(request.scope), error)


def refusal(request_id: str, error: LoopError) -> ErrorResponse:
    """The answer that an error of this project stands for."""
    known = next(base for base in type(error).__mro__ if base in STATUS)
    status, headers = STATUS[known]
    detail: Detail = str(error)
    if isinstance(error, SpoolUnavailableError | SpoolFullError):  # for whoever runs the service to mend
        logger.error("request %s: %s", request_id, detail)
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
    """The message that a route has no such parameter, with its name where that is fit to be repeated."""
    shown = f"{name} is" if 0 < len(name) <= MAX_NAME and name.isprintable() else "there is"
    return f"{shown} a parameter that this route does not have; /docs lists them"


def _told(item: Mapping[str, Any]) -> dict[str, Any]:
    told = {key: item[key] for key in ("loc", "msg", "type")}
    if item["type"] == "extra_forbidden":  # the place is the name that somebody made up
        told |= {"loc": item["loc"][:-1], "msg": unknown_parameter(str(item["loc"][-1]))}
    return told


async def _wrong_parameters(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - what it is registered for
    # FastAPI's own answer would repeat the input.
    detail = [_told(item) for item in error.errors()]
    return error_response(request_id_of(request.scope), 422, detail)


def _refused_by_starlette(methods: Mapping[str, Iterable[str]]) -> Callable[[Request, Exception], Awaitable[Response]]:
    async def answer(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101 - what it is registered for
        detail, headers = TEXTS.get(error.status_code, error.detail), error.headers
        path = str(getattr(request.scope.get("route"), "path", ""))
        if error.status_code == WRONG_METHOD and path in methods:
            # Starlette tells the methods of the first route with this path.
            headers = {"Allow": ", ".join(sorted(methods[path]))}
        return error_response(request_id_of(request.scope), error.status_code, detail, headers)

    return answer
