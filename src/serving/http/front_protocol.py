"""The connection: answers plain predictions, and gives everything else to a protocol of uvicorn's behind it."""

import asyncio
from typing import Any

import httptools
import uvicorn

from src.serving.http.connection import ClientConnection
from src.serving.http.errors import IncompleteRequestError
from src.serving.http.fast_predict import MAX_BYTES, FastPredict, PendingPrediction
from src.serving.http.known_head import KnownHead
from src.serving.http.overload import Overload, rest_from_reading
from src.serving.http.request_parser import BODY, HEAD, NOTHING, RequestParser
from src.serving.http.uvicorn_protocol import UvicornProtocol
from src.serving.http.wire_format import prediction_response
from src.serving.watch.metrics import LARGE_HEAD, PIPELINED

# Of a head, and of what is received in sequence without being part of a body, such as trailers.
MAX_HEAD_BYTES = 1 << 16
HEAD_TOO_LARGE = f"the head of the request is larger than {MAX_HEAD_BYTES} bytes"
INVALID_BYTES = "the bytes are not HTTP, and nothing was executed; check the request's Content-Length"
# Seconds to wait for the body of a plain prediction: many clients send head and body in two packets.
BODY_WAIT = 0.1


class FrontProtocol(ClientConnection):
    """One connection, for uvicorn's setting ``http``.

    Bytes are held until it is clear whose they are: ``FastPredict`` answers a plain prediction. Anything else is
    forwarded to uvicorn's protocol, and so is all that follows until its responses are complete; the application calls
    ``answered`` after each.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        server_state: Any,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        service = app_state["service"]
        loop = _loop or asyncio.get_running_loop()
        super().__init__(server_state, service.timeouts, config.timeout_keep_alive, service.metrics, loop)
        self._fast: FastPredict = service.fast
        self._overload: Overload = service.overload
        self._inner = UvicornProtocol(config, server_state, {**app_state, "connection": self}, loop)
        self._held = b""
        self._forwards = False
        self._known = KnownHead()
        self._pending: PendingPrediction | None = None
        self._is_deaf = False

    @property
    def _works(self) -> bool:
        return self._pending is not None or (self._forwards and self._parser.answered < self._parser.heads)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the application."""
        super().connection_lost(exc)
        self._pending = None
        self._inner.lose(exc)

    def pause_writing(self) -> None:
        """The client reads more slowly than the application sends."""
        super().pause_writing()
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        """The client has caught up."""
        super().resume_writing()
        self._inner.resume_writing()

    def data_received(self, data: bytes) -> None:
        """Parse received data, and forward it unless it may be a plain prediction."""
        if self._is_deaf:
            return
        if self._pending is not None:  # sent ahead: uvicorn keeps the order of the responses
            self._forward()
        before = self._parser.part
        if not self._forwards:
            self._inner.stop_idle_timer()
            if self._takes_again(data):
                return
            self._held += data
        try:
            self._parser.feed(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._ignore_upgrade(data, upgrade.args[0])
            return
        except httptools.HttpParserError:
            self._end_at_error(data)
            return
        if self._forwards:
            self._forward(data)
        else:
            self._decide(is_changed=self._parser.part != before)
        if self._parser.silence > MAX_HEAD_BYTES:
            self._refuse(LARGE_HEAD, IncompleteRequestError(431, HEAD_TOO_LARGE))

    def _decide(self, *, is_changed: bool) -> None:
        """Say whose the held bytes are; ``is_changed`` if another part is being received."""
        parser = self._parser
        if not parser.begun:  # line ends between requests
            self._held = b""
            return
        self._is_new = False
        if parser.begun == 1 and parser.part == HEAD:
            if is_changed:
                self._wait(self._timeouts.head_seconds)
            return
        if parser.begun == 1 and parser.is_simple and not self._inner.is_paused:
            plain = self._fast.plain_head(parser.url, parser.headers)
            if plain is not None and parser.part == NOTHING:
                self._pending = self._fast.take(self, plain, parser.body)
                self._known.remember(self._held, parser.body, plain)
            elif plain is not None and plain.length:
                if is_changed:
                    self._wait(BODY_WAIT)
                return
        if self._pending is None and not self._is_refused():
            self._forward()

    def _is_refused(self) -> bool:
        """Whether the request was refused, as too many are in work."""
        state = self._server_state
        response = self._overload.refusal(self._parser, len(state.tasks), state.default_headers)
        if response is None:
            return False
        self._held = b""
        self.transport.write(response)
        rest_from_reading(self.transport, self._loop)
        self._settle()
        return True

    def _takes_again(self, data: bytes) -> bool:
        """Whether a complete request with a known head was received and taken, without parsing it."""
        body = None if self._held or self._inner.is_paused else self._known.body_of(data)
        if body is None:
            return False
        self._pending = self._fast.take(self, self._known.plain, body)
        if self._pending is None:
            return False
        self._held = data
        self._parser.skip()
        return True

    def _forward(self, data: bytes = b"") -> None:
        """Give uvicorn's protocol the data that was received last, or, if it is held, all that is held."""
        if not self._forwards:
            data, self._held = self._held, b""
            self._pending = None
            self._forwards = True
        self._inner.feed(self.transport, data)
        if not self._works and self._parser.part == NOTHING:
            self._settle()

    def _release(self) -> bool:
        is_held = bool(self._held) and self._parser.part == BODY
        if is_held:
            self._forward()
        return is_held

    def _settle(self) -> None:
        if self._parser.part == NOTHING:
            self._forwards = False
        super()._settle()

    def _end_at_error(self, data: bytes) -> None:
        """The data that was received last cannot be parsed: close, after the responses in progress."""
        if self._parser.is_far_ahead:
            self._metrics.cut(PIPELINED)
            self.transport.abort()
        elif self._parser.part == BODY or not self._parser.heads:
            self._forward(data)  # uvicorn refuses it
        elif self._works:
            self._receive_no_more()
        else:  # uvicorn would execute the requests in front of it, and answer 400 all the same
            self._close_with(IncompleteRequestError(400, INVALID_BYTES))

    def _receive_no_more(self) -> None:
        """Ignore what follows, and close after the responses in progress."""
        self._is_deaf = self._is_last = True

    def _ignore_upgrade(self, data: bytes, end: int) -> None:
        """Parse a head again without its wish for another protocol, as httptools stops after such a head.

        A server may ignore the wish. Some clients send it with every first request, such as Java's for HTTP/2. If part
        of the head was forwarded already, its request is not answered, and the client may send it again.

        Args:
            data: what was received last.
            end: where the head ends in it.
        """
        parser = self._parser
        if parser.method == b"CONNECT" and parser.begun == 1:
            self._forward(data)  # uvicorn refuses it
            self._receive_no_more()
            return
        received = data if self._forwards else self._held
        split = parser.without_upgrade(received, end + len(received) - len(data))
        self._held = b""
        if not self._forwards and split is not None:
            self._parser = RequestParser(MAX_BYTES)
            self.data_received(b"".join(split))
        elif not self._forwards:
            self._close_with(IncompleteRequestError(400, INVALID_BYTES))
        else:
            self._parser = parser.before_last()
            ahead, rest = split or (b"", b"")
            if not rest:
                self._receive_no_more()
            self._forward(ahead)
            self.data_received(rest)

    def answered(self) -> None:
        """The application has completed a response."""
        self._parser.answered += 1
        if not self._works:
            self._settle()

    def answer(self, pending: PendingPrediction, body: bytes) -> bool:
        """Send the response; False if the request was passed to the ordinary route, or the client has disconnected."""
        if pending is not self._pending or self.transport.is_closing():
            return False
        self._pending = None
        self._held = b""
        self.transport.write(prediction_response(pending, body, self._server_state.default_headers))
        self._settle()
        return True

    def take_ordinary_way(self, pending: PendingPrediction) -> None:
        """Pass the request to the application."""
        if pending is self._pending and not self.transport.is_closing():
            self._forward()
