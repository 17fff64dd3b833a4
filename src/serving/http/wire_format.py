"""Responses that are written without uvicorn."""

from collections.abc import Iterable
from http import HTTPStatus

from src.core.errors import LoopError
from src.serving.http.errors import refusal
from src.serving.http.fast_predict import PendingPrediction
from src.serving.http.request_ids import new_request_id

Headers = Iterable[tuple[bytes, bytes]]


def prediction_response(pending: PendingPrediction, body: bytes, default_headers: Headers) -> bytes:
    """The response to a plain prediction."""
    return b"HTTP/1.1 200 OK\r\n%b%bx-request-id: %b\r\ncontent-length: %d\r\n\r\n%b" % (
        _lines(default_headers),
        pending.predictor.head_lines,
        pending.request_id.encode(),
        len(body),
        body,
    )


def last_response(error: LoopError, default_headers: Headers) -> bytes:
    """The response to an incomplete head."""
    return error_response(error, new_request_id(), "", (*default_headers, (b"connection", b"close")))


def error_response(error: LoopError, request_id: str, path: str, default_headers: Headers) -> bytes:
    """The response to a request for a path."""
    response = refusal({"path": path, "state": {"request_id": request_id}}, error)
    own = ((b"x-request-id", request_id.encode()),)
    return b"HTTP/1.1 %d %b\r\n%b\r\n%b" % (
        response.status_code,
        HTTPStatus(response.status_code).phrase.encode(),
        _lines((*default_headers, *response.raw_headers, *own)),
        bytes(response.body),
    )


def _lines(headers: Headers) -> bytes:
    return b"".join([b"%b: %b\r\n" % header for header in headers])
