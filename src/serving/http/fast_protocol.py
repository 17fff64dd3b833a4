"""The HTTP protocol with the fast path: a request that may be plain is held back until it is complete."""

from collections.abc import Iterable
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from src.serving.http.body_limits import announced_length
from src.serving.http.fast_predict import ROUTE, FastPredict, PendingPrediction
from src.serving.http.http_protocol import PatientProtocol
from src.serving.http.slow_clients import BODY, HEAD

TARGET = ROUTE.encode()


class FastProtocol(PatientProtocol):
    """One connection.

    A complete record is taken by ``FastPredict``, or passed to the ordinary route as if it had not been held back.
    """

    # The body, so far, of a request that is held back.
    _plain_body: bytes | None = None
    # The request that ``FastPredict`` has taken.
    _pending: PendingPrediction | None = None

    def __init__(self, config: Any, server_state: Any, app_state: dict[str, Any], _loop: Any = None) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._fast: FastPredict = app_state["service"].fast

    def on_message_begin(self) -> None:
        """Another request begins."""
        if self._plain_body is not None:
            # Pipelined: the ordinary route keeps the order of responses.
            self._go_ordinary_way()
            self._phase = HEAD
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """A request's head is complete."""
        if (
            self.url == TARGET
            and self.parser.get_method() == b"POST"
            and self.parser.get_http_version() == "1.1"
            and self.parser.should_keep_alive()
            and not self.expect_100_continue
            and not self.flow.write_paused
            and (self.cycle is None or self.cycle.response_complete)
            and not self.parser.should_upgrade()  # else its body would be parsed by a new parser
        ):
            self._plain_body = b""
            self._phase = BODY
        else:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A piece of a body has arrived."""
        if self._plain_body is None:
            super().on_body(body)
        else:
            self._plain_body += body

    def on_message_complete(self) -> None:
        """A request's body is complete."""
        if self._plain_body is not None:
            self._pending = self._fast.take(self, self.scope, self._plain_body)  # type: ignore[arg-type] # uvicorn's type
            if self._pending is not None:
                self._wait_for_nothing()
                return
            self._go_ordinary_way()
        super().on_message_complete()

    def answer(self, pending: PendingPrediction, body: bytes) -> bool:
        """Send the response; False if the request was passed to the ordinary route, or the client has disconnected."""
        if pending is not self._pending or self.transport.is_closing():
            return False
        self._plain_body = self._pending = None
        self.transport.write(_head(self.server_state.default_headers, pending, len(body)) + body)
        self.on_response_complete()
        return True

    def take_ordinary_way(self, pending: PendingPrediction) -> None:
        """Pass the request to the application."""
        if pending is self._pending and not self.transport.is_closing():
            self._go_ordinary_way()

    def abort(self) -> None:
        """Close the connection without a response."""
        self.transport.abort()

    def shutdown(self) -> None:
        """The service is stopping."""
        self._go_ordinary_way()
        super().shutdown()

    def _wait_for_more(self, size: int) -> None:
        # Many clients send head and body in two packets. A chunked body's length is unknown.
        if self._plain_body is not None and not 0 < announced_length(self.scope) <= self._fast.max_body_bytes:  # type: ignore[arg-type] # as above
            self._go_ordinary_way()
        super()._wait_for_more(size)

    def _most(self) -> int:
        return super()._most() if self._plain_body is None else self._fast.max_body_bytes

    def _cut(self, error: Any) -> None:
        self._go_ordinary_way()  # the body will not be complete
        super()._cut(error)

    def _go_ordinary_way(self) -> None:
        if self._plain_body is None:
            return
        body, self._plain_body = self._plain_body, None
        taken, self._pending = self._pending, None
        super().on_headers_complete()
        super().on_body(body)
        if taken is not None:
            super().on_message_complete()


def _head(default_headers: Iterable[tuple[bytes, bytes]], pending: PendingPrediction, length: int) -> bytes:
    """The response's head in wire format."""
    lines = [b"%b: %b\r\n" % header for header in default_headers]
    return b"%b%b%bx-request-id: %b\r\ncontent-length: %d\r\n\r\n" % (
        STATUS_LINE[200],
        b"".join(lines),
        pending.predictor.head_lines,
        pending.request_id.encode(),
        length,
    )
