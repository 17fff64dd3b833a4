"""The connection: answers plain predictions, and gives everything else to a protocol of uvicorn's behind it."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import httptools

from src.serving.http.connection import ClientConnection
from src.serving.http.errors import Headers, IncompleteRequestError, header_lines, refusal_bytes
from src.serving.http.fast_predict import FastPredict, KnownHead, PendingPrediction
from src.serving.http.guards import client_request_id, new_request_id
from src.serving.http.request_parser import BODY, HEAD, NOTHING, RequestParser
from src.serving.models.admission import QUEUE_FULL, OverloadedError
from src.serving.watch.metrics import LARGE_HEAD, PIPELINED, ServingMetrics

# Of a head, and of what is received in sequence without being part of a body, such as trailers.
MAX_HEAD_BYTES = 1 << 16
HEAD_TOO_LARGE = f"the head of the request is larger than {MAX_HEAD_BYTES} bytes"
INVALID_BYTES = "the bytes are not HTTP, and nothing was executed; check the request's Content-Length"
# Seconds to wait for the body of a plain prediction: many clients send head and body in two packets.
BODY_WAIT = 0.1
# Seconds for which a client that was turned away is not read, as some clients retry at once.
BREATHER = 0.1


@dataclass(frozen=True)
class Overload:
    """Refuses complete requests beyond those that may be in work, at a tenth of the application's cost."""

    metrics: ServingMetrics
    template_of: Callable[[str], str]  # the route of a path
    max_requests: int  # in work and in the queue
    exempt: Collection[str]  # fixed paths that are answered even under overload

    def refusal(self, request: RequestParser, in_work: int, default_headers: Headers) -> bytes | None:
        """The response, as it is sent, to a request while ``in_work`` others are; None if the application may get it.

        Refused are complete requests only, if they are the only ones of a connection that continues.
        """
        if in_work < self.max_requests or request.begun > 1 or request.part != NOTHING or not request.keeps_alive:
            return None
        path = unquote(request.url.partition(b"?")[0].decode("latin-1"))
        if path in self.exempt or not path.startswith("/"):
            return None
        self.metrics.shed(QUEUE_FULL)
        # Without a duration, which would make an overloaded service look fast.
        self.metrics.count_request(self.template_of(path), request.method.decode("latin-1"), 503)
        request_id = client_request_id({"headers": request.headers}) or new_request_id()
        response = refusal_bytes(OverloadedError(), request_id, path, default_headers)
        return b"%b%b" % response.partition(b"\r\n\r\n")[:2] if request.method == b"HEAD" else response


class FrontProtocol(ClientConnection):
    """One connection, for uvicorn's setting ``http``.

    Bytes are held until it is clear whose they are: ``FastPredict`` answers a plain prediction. Anything else is
    forwarded to uvicorn's protocol, and so is all that follows until its responses are complete; the application calls
    ``answered`` after each.
    """

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._fast: FastPredict = self._service.fast
        self._overload: Overload = self._service.overload
        self._held = b""
        self._known = KnownHead()
        self._is_deaf = False

    def data_received(self, data: bytes) -> None:
        """Parse received data, and forward it unless it may be a plain prediction."""
        while data and not self._is_deaf:
            data = self._receive(data)

    def _receive(self, data: bytes) -> bytes:
        """Parse some data; returns what is left of it, after a wish for another protocol."""
        if self._pending is not None:  # sent ahead: uvicorn keeps the order of the responses
            self._forward(self._held)
        before, heads = self._parser.part, self._parser.heads
        received = data
        if not self._forwards:
            self._inner.data_received(b"")  # the connection is in use: stops uvicorn's timer
            if self._takes_again(data):
                return b""
            received = self._held = self._held + data
        try:
            self._parser.feed(data)
        except httptools.HttpParserUpgrade as upgrade:
            return self._ignore_upgrade(received, upgrade.args[0] + len(received) - len(data))
        except httptools.HttpParserError:
            self._end_at_error(received, heads, is_in_body=before == BODY)
            return b""
        if self._forwards:
            self._forward(data)
        else:
            self._decide(is_changed=self._parser.part != before)
        if self._parser.silence > MAX_HEAD_BYTES:
            self._end_at_large_head()
        return b""

    def _takes_again(self, data: bytes) -> bool:
        """Whether a complete request with a known head was received and taken, without parsing it."""
        body = None if self._held or self._is_paused else self._known.body_of(data)
        if body is not None:
            self._pending = self._fast.take(self, self._known.plain, body)
        if self._pending is None:
            return False
        self._held = data
        self._parser.skip()
        return True

    def _decide(self, *, is_changed: bool) -> None:
        """Say whose the held bytes are; ``is_changed`` if another part is being received."""
        parser = self._parser
        if not parser.begun:  # line ends between requests
            self._held = b""
            return
        self._is_new = False
        if parser.begun == 1 and parser.part == HEAD:
            if is_changed:
                self._wait(self._settings.head_seconds)
            return
        if parser.begun == 1 and parser.keeps_alive and parser.method == b"POST" and not self._is_paused:
            plain = self._fast.plain_head(parser.url, parser.headers)
            if plain is not None and parser.part == NOTHING:
                self._pending = self._fast.take(self, plain, parser.body)
                self._known.remember(self._held, parser.body, plain)
            elif plain is not None and plain.length:
                if is_changed:
                    self._wait(BODY_WAIT)
                return
        if self._pending is None:
            self._forward_or_refuse()

    def _forward_or_refuse(self) -> None:
        state = self._server_state
        response = self._overload.refusal(self._parser, len(state.tasks), state.default_headers)
        if response is None:
            self._forward(self._held)
            return
        self._held = b""
        self.transport.write(response)
        self.transport.pause_reading()
        self._loop.call_later(BREATHER, self.transport.resume_reading)
        self._settle()

    def _forward(self, data: bytes) -> None:
        """Give bytes to uvicorn's protocol, and all that follow until their responses are complete."""
        self._held = b""
        self._pending = None
        self._forwards = True
        self._feed(data)
        if not self._works and self._parser.part == NOTHING:
            self._settle()

    def _expired(self) -> None:
        if self._held and self._parser.part == BODY and not self.transport.is_closing():
            self._forward(self._held)  # the application waits for the rest of the body
        else:
            super()._expired()

    def _end_at_large_head(self) -> None:
        if self.transport.is_closing():
            return
        self._metrics.cut(LARGE_HEAD)
        if self._works or self._parser.part != HEAD:
            self.transport.abort()
        else:
            self._close_with(IncompleteRequestError(431, HEAD_TOO_LARGE))

    def _end_at_error(self, received: bytes, heads: int, *, is_in_body: bool) -> None:
        """What was received last, behind so many complete heads and perhaps in a body, cannot be parsed."""
        if self._parser.is_far_ahead:
            self._metrics.cut(PIPELINED)
            self.transport.abort()
        elif (is_in_body and self._forwards) or self._parser.part == BODY or not self._parser.heads:
            self._forward(received)  # uvicorn refuses it
        else:
            self._parser.heads = heads  # the application does not get the others
            self._receive_no_more()

    def _receive_no_more(self) -> None:
        """Ignore what follows, and close after the responses in progress."""
        if self._works:
            self._is_deaf = self._is_last = True
        else:  # uvicorn would execute the requests in front of it, and answer 400 all the same
            self._close_with(IncompleteRequestError(400, INVALID_BYTES))

    def _ignore_upgrade(self, received: bytes, end: int) -> bytes:
        """Take a head's wish for another protocol out of it, as httptools takes no body behind such a head.

        A server may ignore the wish. Some clients send it with every first request, such as Java's for HTTP/2. If part
        of the head was forwarded already, its request is not executed. The head ends at ``end`` of what was received
        last, or of all that is held. Returns what is to be parsed again: the head without its wish, and what follows.
        """
        ahead, rest = self._parser.without_upgrade(received, end)
        if rest and not self._forwards:
            self._held = ahead
        elif ahead:
            self._forward(ahead)
        if rest:
            return rest
        if self._forwards and not self._works:
            self.transport.close()  # without a response, so that clients send the request again
        else:
            self._receive_no_more()
        return b""

    def answer(self, pending: PendingPrediction, body: bytes) -> bool:
        """Send the response; False if the request was passed to the ordinary route, or the client has disconnected."""
        if pending is not self._pending or self.transport.is_closing():
            return False
        self._pending = None
        self._held = b""
        self.transport.write(
            b"HTTP/1.1 200 OK\r\n%b%bx-request-id: %b\r\ncontent-length: %d\r\n\r\n%b"
            % (
                header_lines(self._server_state.default_headers),
                pending.predictor.head_lines,
                pending.request_id.encode(),
                len(body),
                body,
            )
        )
        self._settle()
        return True

    def take_ordinary_way(self, pending: PendingPrediction) -> None:
        """Pass the request to the application."""
        if pending is self._pending and not self.transport.is_closing():
            self._forward(self._held)
