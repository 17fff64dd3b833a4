"""The responses to errors, in the shape of the path's protocol; of the request, they repeat names only."""

import logging
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any

import msgspec
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

from src.core import errors as core
from src.core.errors import InvalidInputError, LoopError
from src.serving.models.admission import OverloadedError
from src.serving.models.alias_moves import ChangeRefusedError
from src.serving.models.approval import UnknownRolloutError
from src.serving.tables.problems import MALFORMED, MAX_NAME, TOO_LARGE, InvalidRecordError
from src.serving.tables.workers import WorkerNotStartedError
from src.serving.watch.metrics import NOT_ACCEPTABLE, UNKNOWN_MODEL, UNSUPPORTED_MEDIA_TYPE

# A text, or problems as ``{"loc": ["body", row, field], "msg", "type"}``, with row and field if known.
Detail = str | list[dict[str, Any]]
Headers = Iterable[tuple[bytes, bytes]]

BAD_REQUEST, WRONG_METHOD, UNPROCESSABLE, SERVER_ERROR = 400, 405, 422, 500
# Kind of an invalid input -> status; any other one is 422.
KIND_STATUS = {TOO_LARGE: 413, UNSUPPORTED_MEDIA_TYPE: 415, NOT_ACCEPTABLE: 406, UNKNOWN_MODEL: 404}
# Error class -> status and Retry-After, in seconds; the most specific class of an error applies.
STATUS: Mapping[type[LoopError], tuple[int, int | None]] = {
    LoopError: (500, None),
    core.ModelNotLoadedError: (503, 1),
    OverloadedError: (503, 1),
    WorkerNotStartedError: (503, 1),
    core.SpoolBusyError: (429, 5),
    core.SpoolFullError: (507, None),
    core.SpoolUnavailableError: (503, 5),
    core.DamagedReportError: (503, 60),
    ChangeRefusedError: (409, None),
    UnknownRolloutError: (404, None),
    core.ConnectionFailedError: (503, 5),
    core.RegistryError: (503, 5),
}
# Refusals of a service that cannot answer now: they come in any number, and metrics count them, so logs leave them out.
EXPECTED = (OverloadedError, core.ModelNotLoadedError)
# Messages for Starlette's own errors.
TEXTS = {404: "not found; see GET /docs", 405: "method not allowed; see the Allow header"}
INTERNAL_TEXT = "the service failed on this request; its log has the details under the request id"
# The protocols' errors, by their names in the OpenAPI document.
MLFLOW_ERROR = "MlflowError"
OPEN_INFERENCE_ERROR = "ProtocolError"
MLFLOW_PATHS = frozenset({"/invocations", "/ping", "/version"})
# MLflow's error codes; it has none for other client errors.
MLFLOW_CODES = {
    404: "ENDPOINT_NOT_FOUND",
    429: "REQUEST_LIMIT_EXCEEDED",
    500: "INTERNAL_ERROR",
    503: "TEMPORARILY_UNAVAILABLE",
}
# At most so many problems are joined in one line.
MAX_IN_LINE = 5

logger = logging.getLogger(__name__)


class InvalidParameterError(InvalidInputError):
    """A query parameter is unknown, or its value is invalid."""

    def __init__(self, message: str, name: str | None = None) -> None:
        super().__init__(message, kind=MALFORMED, field=name)


class RefusedError(LoopError):
    """The service refuses the request, whatever its body is, with this status and these further headers."""

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers


class IncompleteRequestError(RefusedError):
    """The request was not received completely."""


class StoppingError(IncompleteRequestError):
    """The service is stopping and the request was not received completely."""

    def __init__(self) -> None:
        super().__init__(503, "the service is stopping; send the request again", {"Retry-After": "1"})


def install_error_handlers(app: FastAPI, methods: Mapping[str, Iterable[str]]) -> None:
    """Give all errors one shape; ``methods`` are those of each route's template."""

    @app.exception_handler(LoopError)
    async def of_this_project(request: Request, error: LoopError) -> Response:
        return refusal(request.scope, error)

    @app.exception_handler(RequestValidationError)
    async def of_parameters(request: Request, error: RequestValidationError) -> Response:
        # FastAPI's own response would repeat the input.
        return error_response(request.scope, UNPROCESSABLE, [_problem(item) for item in error.errors()])

    @app.exception_handler(HTTPException)
    async def of_starlette(request: Request, error: HTTPException) -> Response:
        if isinstance(error.__cause__, LoopError):  # FastAPI raises a 400 from any error while it reads a body
            return refusal(request.scope, error.__cause__)
        headers, path = error.headers, getattr(request.scope.get("route"), "path", "")
        if error.status_code == WRONG_METHOD and path in methods:
            # Starlette lists the methods of the first route with this path only.
            headers = {"Allow": ", ".join(sorted(methods[path]))}
        return error_response(request.scope, error.status_code, TEXTS.get(error.status_code, error.detail), headers)


def refusal(scope: Scope, error: LoopError) -> Response:
    """The response for an error of this project."""
    if isinstance(error, InvalidInputError):
        status = KIND_STATUS.get(error.kind, UNPROCESSABLE)
        return error_response(scope, status, _problems(error) if status == UNPROCESSABLE else str(error))
    if isinstance(error, RefusedError):
        return error_response(scope, error.status, str(error), error.headers)
    status, seconds = next(STATUS[base] for base in type(error).__mro__ if base in STATUS)
    if status >= SERVER_ERROR and not isinstance(error, EXPECTED):
        logger.error("request %s: %s", request_id_of(scope), error, exc_info=error)
    return error_response(scope, status, str(error), {"Retry-After": str(seconds)} if seconds else None)


def refusal_bytes(error: LoopError, request_id: str, path: str, headers: Headers) -> bytes:
    """The same response for a request that the application does not get, with further headers, to be sent as it is."""
    response = refusal({"path": path, "state": {"request_id": request_id}}, error)
    status = HTTPStatus(response.status_code)
    lines = header_lines((*headers, *response.raw_headers, (b"x-request-id", request_id.encode())))
    return b"HTTP/1.1 %d %b\r\n%b\r\n%b" % (status, status.phrase.encode(), lines, bytes(response.body))


def header_lines(headers: Headers) -> bytes:
    """Headers as they are sent."""
    return b"".join([b"%b: %b\r\n" % header for header in headers])


def error_response(scope: Scope, status: int, detail: Detail, headers: Mapping[str, str] | None = None) -> Response:
    """An error in the shape of the path's protocol, with the headers of the served model, if any."""
    schema = schema_of(scope["path"])
    content: dict[str, Any] = {"detail": detail, "request_id": request_id_of(scope)}
    if schema == OPEN_INFERENCE_ERROR:
        content = {"error": _line(detail)}
    elif schema == MLFLOW_ERROR:
        is_value = isinstance(detail, list) and detail[0]["type"] != MALFORMED
        code = MLFLOW_CODES.get(status, "INVALID_PARAMETER_VALUE" if is_value else "BAD_REQUEST")
        content = {"error_code": code, "message": _line(detail)}
    if schema is not None and status == UNPROCESSABLE:
        status = BAD_REQUEST
    response = Response(msgspec.json.encode(content), status, headers, media_type="application/json")
    service: Any = scope["state"].get("service")  # typed Any: ServiceState's module imports this one
    if service is not None and service.store.current is not None:
        response.headers.update(service.store.current.headers)
    return response


def schema_of(path: str) -> str | None:
    """The name of the errors of a path, or of a route's template, by its protocol; None for the service's own."""
    if path in MLFLOW_PATHS:
        return MLFLOW_ERROR
    return OPEN_INFERENCE_ERROR if path == "/v2" or path.startswith("/v2/") else None


def request_id_of(scope: Scope) -> str:
    """The id that the outermost middleware gave this request."""
    return str(scope["state"]["request_id"])


def unknown_parameter(name: str) -> str:
    """The message for an unknown parameter, with its name if that is short and printable."""
    shown = f" {name}" if 0 < len(name) <= MAX_NAME and name.isprintable() else ""
    return f"unknown parameter{shown}; GET /docs lists the route's parameters"


def _problem(item: Mapping[str, Any]) -> dict[str, Any]:
    problem = {key: item[key] for key in ("loc", "msg", "type")}
    if item["type"] == "extra_forbidden":  # loc ends with the name, which the client chose
        problem |= {"loc": item["loc"][:-1], "msg": unknown_parameter(str(item["loc"][-1]))}
    return problem


def _problems(error: InvalidInputError) -> Detail:
    place = "query" if isinstance(error, InvalidParameterError) else "body"
    return [
        {
            "loc": [place, *(part for part in (item.row, item.field) if part is not None)],
            "msg": str(item),
            "type": item.kind,
        }
        for item in (error.problems if isinstance(error, InvalidRecordError) else (error,))
    ]


def _line(detail: Detail) -> str:
    if isinstance(detail, str):
        return detail
    shown = []
    for problem in detail[:MAX_IN_LINE]:
        rows = [f"row {part}: " for part in problem["loc"] if isinstance(part, int)]
        shown.append("".join(rows[:1]) + problem["msg"])
    more = len(detail) - len(shown)
    return "; ".join(shown) + (f"; and at least {more} more" if more else "")
