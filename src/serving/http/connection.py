"""A client's connection: its time-outs, its end, and uvicorn's own HTTP protocol behind it."""

import asyncio
import functools
from collections.abc import Callable
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from src.core.errors import LoopError
from src.core.inference_settings import InferenceSettings
from src.serving.http.errors import IncompleteRequestError, refusal_bytes
from src.serving.http.fast_predict import PendingPrediction
from src.serving.http.guards import new_request_id
from src.serving.http.request_parser import HEAD, NOTHING, RequestParser
from src.serving.watch.metrics import SLOW_HEAD, SLOW_READER, ServingMetrics

# While stopping: seconds to wait for a request that may be in transit.
LINGER = 1.0
HEAD_TOO_SLOW = "the head of the request was not received in time; send it in one piece"
# Before uvicorn's protocol is needed: one that does nothing.
NO_PROTOCOL = asyncio.Protocol()


class Deadline:
    """A time limit, at whose end ``expired`` is called. Moving it later, as with each request, costs no timer."""

    def __init__(self, loop: asyncio.AbstractEventLoop, expired: Callable[[], None]) -> None:
        self._loop = loop
        self._expired = expired
        self._at = 0.0
        self._timer: asyncio.TimerHandle | None = None
        # When the timer fires. uvloop's timers of a time that is over do not know it.
        self._due = 0.0

    def set(self, seconds: float) -> None:
        """Expire in so many seconds, and not before."""
        self._at = self._loop.time() + seconds
        if self._timer is None or self._at < self._due:
            self._arm()

    def clear(self) -> None:
        """Do not expire."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self) -> None:
        self.clear()
        self._due = self._at
        self._timer = self._loop.call_at(self._at, self._fire)

    def _fire(self) -> None:
        self._timer = None
        if self._at > self._loop.time():  # it was moved
            self._arm()
        else:
            self._expired()


class ClientConnection(asyncio.Protocol):
    """Disconnects a client that sends or reads too slowly; time-outs apply only while no response is in progress."""

    transport: asyncio.Transport

    def __init__(
        self,
        config: uvicorn.Config,
        server_state: Any,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self._service = service = app_state["service"]
        self._loop = loop = _loop or asyncio.get_running_loop()
        self._server_state = server_state
        self._settings: InferenceSettings = service.settings
        self._metrics: ServingMetrics = service.metrics
        self._keep_alive_seconds = config.timeout_keep_alive
        self._deadline = Deadline(loop, self._expired)
        self._reader = Deadline(loop, self._check_reader)
        self._max_unsent = 0.0
        self._is_paused = False
        self._create = functools.partial(
            HttpToolsProtocol, config, server_state, {**app_state, "connection": self}, loop
        )
        self._inner = NO_PROTOCOL
        self._parser = RequestParser()
        self._pending: PendingPrediction | None = None
        self._forwards = False
        self._is_new = True
        self._is_last = False

    @property
    def _works(self) -> bool:
        """Whether a response is in progress."""
        return self._pending is not None or (self._forwards and self._parser.answered < self._parser.heads)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # of a TCP connection
        """Wait for the first request."""
        self.transport = transport
        self._server_state.connections.add(self)
        self._deadline.set(self._settings.head_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop all timers, and tell the application."""
        self._server_state.connections.discard(self)
        self._deadline.clear()
        self._reader.clear()
        self._pending = None
        self._inner.connection_lost(exc)
        self._inner = NO_PROTOCOL

    def pause_writing(self) -> None:
        """The client reads more slowly than the application sends."""
        self._is_paused = True
        self._watch_reader()
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        """The client has caught up."""
        self._is_paused = False
        self._reader.clear()
        self._inner.resume_writing()

    def shutdown(self) -> None:
        """The service is stopping and accepts no connections: close after the responses in progress."""
        self._is_last = True
        self._deadline.set(LINGER)

    def answered(self) -> None:
        """The application has completed a response."""
        self._parser.answered += 1
        if not self._works:
            self._settle()

    def _feed(self, data: bytes) -> None:
        """Pass bytes to uvicorn's protocol, which is created with the first ones."""
        if self._inner is NO_PROTOCOL:
            transport: Any = _OpenTransport(self.transport)
            self._inner = inner = self._create()
            inner.connection_made(transport)
            self._server_state.connections.discard(inner)
            if self._is_paused:
                inner.pause_writing()
        self._inner.data_received(data)

    def _settle(self) -> None:
        """All requests are answered: wait for the next one, or for the rest of one."""
        part = self._parser.part
        if part == NOTHING:
            self._forwards = False
            self._parser.forget()
        if self.transport.is_closing():
            return
        if self._is_last:
            self.transport.close()
        elif part == NOTHING:
            self._wait(self._keep_alive_seconds)
        else:
            self._wait(self._settings.head_seconds if part == HEAD else self._settings.body_seconds)

    def _wait(self, seconds: float) -> None:
        self._deadline.set(min(seconds, LINGER) if self._is_last else seconds)

    def _expired(self) -> None:
        """What was waited for has not been received in time."""
        if self._works or self.transport.is_closing():
            return
        is_slow = self._parser.part == HEAD and not self._is_last
        if is_slow or (self._is_new and not self._is_last):
            self._metrics.cut(SLOW_HEAD)
        if is_slow:
            self._close_with(IncompleteRequestError(408, HEAD_TOO_SLOW))
        else:
            self.transport.close()

    def _close_with(self, error: LoopError) -> None:
        headers = (*self._server_state.default_headers, (b"connection", b"close"))
        self.transport.write(refusal_bytes(error, new_request_id(), "", headers))
        self.transport.close()

    def _watch_reader(self) -> None:
        """The connection's buffer is full: the client must read ``body_rate`` for ``body_seconds``."""
        seconds, rate = self._settings.body_seconds, self._settings.body_rate
        self._max_unsent = max(0.0, self.transport.get_write_buffer_size() - seconds * rate)
        self._reader.set(seconds)

    def _check_reader(self) -> None:
        if self.transport.get_write_buffer_size() > self._max_unsent:
            self._metrics.cut(SLOW_READER)
            self.transport.abort()
        else:
            self._watch_reader()


class _OpenTransport:
    """A transport that ignores what is written after its end.

    When a connection is lost, uvicorn stops the last request only. Others, sent ahead of it, continue to write.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(data)
