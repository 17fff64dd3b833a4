"""The shape of an error's body: the service's own, or that of the requested path's protocol."""

from typing import Any

import msgspec

from src.serving.tables.problems import MALFORMED

# A text, or problems as ``{"loc": ["body", row, field], "msg", "type"}``, with row and field if known.
Detail = str | list[dict[str, Any]]

# At most so many problems are joined in one line.
MAX_IN_LINE = 5
UNPROCESSABLE = 422
BAD_REQUEST = 400
# The names of the protocols' errors in the OpenAPI document.
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


def schema_of(path: str) -> str | None:
    """The name of the errors of a path, or of a route's template, by its protocol; None for the service's own."""
    if path in MLFLOW_PATHS:
        return MLFLOW_ERROR
    return OPEN_INFERENCE_ERROR if path == "/v2" or path.startswith("/v2/") else None


def shaped(path: str, request_id: str, status: int, detail: Detail) -> tuple[int, bytes]:
    """The status and the JSON body of an error on this path."""
    schema = schema_of(path)
    if schema is None:
        return status, msgspec.json.encode({"detail": detail, "request_id": request_id})
    known = BAD_REQUEST if status == UNPROCESSABLE else status
    if schema == OPEN_INFERENCE_ERROR:
        return known, msgspec.json.encode({"error": _line(detail)})
    is_value = isinstance(detail, list) and detail[0]["type"] != MALFORMED
    code = MLFLOW_CODES.get(status, "INVALID_PARAMETER_VALUE" if is_value else "BAD_REQUEST")
    return known, msgspec.json.encode({"error_code": code, "message": _line(detail)})


def _line(detail: Detail) -> str:
    if isinstance(detail, str):
        return detail
    shown = []
    for problem in detail[:MAX_IN_LINE]:
        rows = [f"row {part}: " for part in problem["loc"] if isinstance(part, int)]
        shown.append("".join(rows[:1]) + problem["msg"])
    more = len(detail) - len(shown)
    return "; ".join(shown) + (f"; and {more} more" if more else "")
