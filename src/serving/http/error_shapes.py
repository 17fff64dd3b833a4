"""The shape of an error's body: the service's own, or that of the requested path's protocol."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import msgspec

from src.serving.tables.problems import MALFORMED

# A text, or problems as ``{"loc": ["body", row, field], "msg", "type"}``, with row and field if known.
Detail = str | list[dict[str, Any]]

# At most so many problems are joined in one line.
MAX_IN_LINE = 5
UNPROCESSABLE = 422
BAD_REQUEST = 400
# MLflow's error codes; it has none for other client errors.
MLFLOW_CODES = {
    404: "ENDPOINT_NOT_FOUND",
    429: "REQUEST_LIMIT_EXCEEDED",
    500: "INTERNAL_ERROR",
    503: "TEMPORARILY_UNAVAILABLE",
}


class Protocol(StrEnum):
    """A protocol with its own shape of errors."""

    MLFLOW = "mlflow"
    OPEN_INFERENCE = "open_inference"


# The names of the shapes in the OpenAPI document.
PROTOCOL_ERRORS: Mapping[Protocol | None, str] = {
    Protocol.MLFLOW: "MlflowError",
    Protocol.OPEN_INFERENCE: "ProtocolError",
}


def protocol_of(path: str) -> Protocol | None:
    """The protocol that a path, or a route's template, belongs to; None for the service's own."""
    if path in {"/invocations", "/ping", "/version"}:
        return Protocol.MLFLOW
    return Protocol.OPEN_INFERENCE if path == "/v2" or path.startswith("/v2/") else None


def shaped(path: str, request_id: str, status: int, detail: Detail) -> tuple[int, bytes]:
    """The status and the JSON body of an error on this path."""
    protocol = protocol_of(path)
    if protocol is Protocol.MLFLOW:
        return _mlflow(status, detail)
    if protocol is Protocol.OPEN_INFERENCE:
        return _known_to_protocols(status), msgspec.json.encode({"error": _line(detail)})
    return status, msgspec.json.encode({"detail": detail, "request_id": request_id})


def _mlflow(status: int, detail: Detail) -> tuple[int, bytes]:
    is_value = isinstance(detail, list) and detail[0]["type"] != MALFORMED
    code = MLFLOW_CODES.get(status, "INVALID_PARAMETER_VALUE" if is_value else "BAD_REQUEST")
    return _known_to_protocols(status), msgspec.json.encode({"error_code": code, "message": _line(detail)})


def _known_to_protocols(status: int) -> int:
    return BAD_REQUEST if status == UNPROCESSABLE else status


def _line(detail: Detail) -> str:
    if isinstance(detail, str):
        return detail
    shown = [_with_row(problem) for problem in detail[:MAX_IN_LINE]]
    more = len(detail) - len(shown)
    return "; ".join(shown) + (f"; and {more} more" if more else "")


def _with_row(problem: dict[str, Any]) -> str:
    rows = [part for part in problem["loc"] if isinstance(part, int)]
    return f"row {rows[0]}: {problem['msg']}" if rows else str(problem["msg"])
