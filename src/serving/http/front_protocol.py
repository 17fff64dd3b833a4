"""The connection: answers plain predictions, and gives everything else to a protocol of uvicorn's behind it."""

import asyncio
import re
from typing import Any

import httptools
import uvicorn

from src.core.errors import LoopError
from src.serving.http.body_limits import announced_length
from src.serving.http.errors import HeadTooLargeError, InvalidBytesError, SlowHeadError
from src.serving.http.fast_predict import MAX_BYTES, FastPredict, PendingPrediction
from src.serving.http.overload import BREATHER, Overload
from src.serving.http.request_parser import BODY, HEAD, NOTHING, RequestParser
from src.serving.http.timeouts import ClientTimeouts, Deadline, ReaderWatch
from src.serving.http.uvicorn_protocol import uvicorn_protocol
from src.serving.http.wire_format import last_response, prediction_response
from src.serving.watch.metrics import LARGE_HEAD, PIPELINED, SLOW_HEAD, SLOW_READER, ServingMetrics

# Of a head, and of what is received in sequence without being part of a body, such as trailers.
MAX_HEAD_BYTES = 1 << 16
# Seconds to wait for the body of a plain prediction: many clients send head and body in two packets.
BODY_WAIT = 0.1
# While stopping: seconds to wait for a request that may be in transit.
LINGER = 1.0
UPGRADE_LINE = re.compile(rb"(?i)(?<=\n)upgrade:[^\n]*\n")


class FrontProtocol(asyncio.Protocol):
    """One connection, for uvicorn's setting ``http``.

    Bytes are held until it is clear whose they are: ``FastPredict`` answers a plain prediction. Anything else is
    forwarded to uvicorn's protocol, and so is all that follows until its responses are complete; the application calls
    ``answered`` after each. Time-outs apply only while no response is in progress.

    Attributes:
        transport: the connection.
    """

    transport: asyncio.Transport

    def __init__(
        self,
        config: uvicorn.Config,
        server_state: Any,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self._config = config
        self._server_state = server_state
        self._app_state = app_state
        self._loop = _loop or asyncio.get_running_loop()
        service = app_state["service"]
        self._fast: FastPredict = service.fast
        self._timeouts: ClientTimeouts = service.timeouts
        self._metrics: ServingMetrics = service.metrics
        self._overload: Overload = service.overload
        self._deadline = Deadline(self._loop, self._expired)
        self._parser = RequestParser(MAX_BYTES)
        self._inner: asyncio.Protocol | None = None
        self._held = b""
        self._forwards = False
        self._pending: PendingPrediction | None = None
        self._is_new = True
        self._is_deaf = False
        self._is_last = False
        self._write_paused = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # of a TCP connection
        """Wait for the first request."""
        self.transport = transport
        self._server_state.connections.add(self)
        self._reader = ReaderWatch(self._loop, self._timeouts, transport.get_write_buffer_size, self._reads_too_slowly)
        self._deadline.set(self._timeouts.head_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop all timers."""
        self._server_state.connections.discard(self)
        self._pending = None
        self._deadline.clear()
        self._reader.stop()
        if self._inner is not None:
            self._inner.connection_lost(exc)
            self._inner = None

    def data_received(self, data: bytes) -> None:
        """Parse received data, and forward it unless it may be a plain prediction."""
        if self._is_deaf:
            return
        if self._pending is not None:  # sent ahead: uvicorn keeps the order of the responses
            self._forward()
        before = self._parser.part
        if not self._forwards:
            if self._inner is not None:
                self._inner.data_received(b"")  # stops uvicorn's keep-alive timer
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
            self._refuse(LARGE_HEAD, HeadTooLargeError(MAX_HEAD_BYTES))

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
        path = self._fast.path_of(parser.url)
        if path and parser.begun == 1 and parser.is_simple and not self._write_paused:
            scope = {"type": "http", "http_version": "1.1", "method": "POST", "path": path, "headers": parser.headers}
            if self._fast.accepts(scope):
                if parser.part == NOTHING:
                    self._pending = self._fast.take(self, scope, parser.body)
                elif announced_length(scope):
                    if is_changed:
                        self._wait(BODY_WAIT)
                    return
        if self._pending is None and not self._turns_away():
            self._forward()

    def _turns_away(self) -> bool:
        """Refuse a complete request under overload; False if it is none."""
        parser = self._parser
        if parser.begun > 1 or parser.part != NOTHING or not parser.keeps_alive:
            return False
        scope = {"method": parser.method.decode("latin-1"), "raw_path": parser.url, "headers": parser.headers}
        state = self._server_state
        response = self._overload.refusal(scope, len(state.tasks), state.default_headers)
        if response is None:
            return False
        self._held = b""
        self.transport.write(response)
        self.transport.pause_reading()
        self._loop.call_later(BREATHER, self._read_on)
        self._settle()
        return True

    def _read_on(self) -> None:
        if not self.transport.is_closing():
            self.transport.resume_reading()

    def _forward(self, data: bytes = b"") -> None:
        """Give uvicorn's protocol the data that was received last, or, if it is held, all that is held."""
        if not self._forwards:
            data, self._held = self._held, b""
            self._pending = None
            self._forwards = True
        if self._inner is None:
            state = {**self._app_state, "connection": self}
            self._inner = uvicorn_protocol(self._config, self._server_state, state, self._loop, self.transport)
            if self._write_paused:
                self._inner.pause_writing()
        self._inner.data_received(data)
        if not self._works and self._parser.part == NOTHING:
            self._settle()

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
            self._close_with(InvalidBytesError())

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
        received = data if self._forwards else self._held
        end += len(received) - len(data)
        start = received.rfind(b"%b %b HTTP/" % (parser.method, parser.url), 0, end)
        ahead, rest = received[: max(0, start)], received[end:]
        head, count = UPGRADE_LINE.subn(b"", received[max(0, start) : end])
        if parser.method == b"CONNECT" and parser.begun == 1:
            self._forward(data)  # uvicorn refuses it
            self._receive_no_more()
        elif start < 0 or not count:
            self._parser = parser.before_last()
            self._held = b"" if self._forwards else ahead
            self._receive_no_more()
            self._forward()
        elif self._forwards:
            self._parser = parser.before_last()
            self._forward(ahead)
            self.data_received(head + rest)
        else:
            self._held = b""
            self._parser = RequestParser(MAX_BYTES)
            self.data_received(ahead + head + rest)

    @property
    def _works(self) -> bool:
        """Whether a response is in progress."""
        return self._pending is not None or (self._forwards and self._parser.answered < self._parser.heads)

    def answered(self) -> None:
        """The application has completed a response."""
        self._parser.answered += 1
        if not self._works:
            self._settle()

    def _settle(self) -> None:
        """All requests are answered: wait for the next one, or for the rest of one."""
        part = self._parser.part
        if self.transport.is_closing():
            return
        if self._is_last:
            self.transport.close()
        elif part == NOTHING:
            self._forwards = False
            self._parser.forget()
            self._wait(self._config.timeout_keep_alive)
        else:
            self._wait(self._timeouts.head_seconds if part == HEAD else self._timeouts.body_seconds)

    def _wait(self, seconds: float) -> None:
        self._deadline.set(min(seconds, LINGER) if self._is_last else seconds)

    def _expired(self) -> None:
        """What was waited for has not been received in time."""
        if self._works or self.transport.is_closing():
            return
        if self._held and self._parser.part == BODY:
            self._forward()
        elif self._parser.part == HEAD and not self._is_last:
            self._refuse(SLOW_HEAD, SlowHeadError())
        else:
            if self._is_new and not self._is_last:
                self._metrics.cut(SLOW_HEAD)
            self.transport.close()

    def _refuse(self, reason: str, error: LoopError) -> None:
        """Disconnect the client; if its head is incomplete, with a response."""
        if self.transport.is_closing():
            return
        self._metrics.cut(reason)
        if self._works or self._parser.part != HEAD:
            self.transport.abort()
        else:
            self._close_with(error)

    def _close_with(self, error: LoopError) -> None:
        self.transport.write(last_response(error, self._server_state.default_headers))
        self.transport.close()

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

    def abort(self) -> None:
        """Close the connection without a response."""
        self.transport.abort()

    def shutdown(self) -> None:
        """The service is stopping and accepts no connections: close after the responses in progress."""
        self._is_last = True
        self._deadline.set(LINGER)

    def pause_writing(self) -> None:
        """The client reads more slowly than the application sends."""
        self._write_paused = True
        self._reader.start()
        if self._inner is not None:
            self._inner.pause_writing()

    def resume_writing(self) -> None:
        """The client has caught up."""
        self._write_paused = False
        self._reader.stop()
        if self._inner is not None:
            self._inner.resume_writing()

    def _reads_too_slowly(self) -> None:
        self._metrics.cut(SLOW_READER)
        self.transport.abort()
