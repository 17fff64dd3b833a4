"""A client's connection: its time-outs, and its end."""

import asyncio
from abc import ABC, abstractmethod
from typing import Any

from src.core.errors import LoopError
from src.serving.http.errors import IncompleteRequestError
from src.serving.http.fast_predict import MAX_BYTES
from src.serving.http.request_parser import HEAD, NOTHING, RequestParser
from src.serving.http.timeouts import ClientTimeouts, Deadline, ReaderWatch
from src.serving.http.wire_format import last_response
from src.serving.watch.metrics import SLOW_HEAD, SLOW_READER, ServingMetrics

# While stopping: seconds to wait for a request that may be in transit.
LINGER = 1.0


class ClientConnection(asyncio.Protocol, ABC):
    """Disconnects a client that sends or reads too slowly; time-outs apply only while no response is in progress.

    Args:
        server_state: uvicorn's, shared by all connections.
        timeouts: the time-outs.
        keep_alive_seconds: the time-out between requests.
        metrics: counts disconnected clients.
        loop: runs the timers.

    Attributes:
        transport: the connection.
    """

    transport: asyncio.Transport

    def __init__(
        self,
        server_state: Any,
        timeouts: ClientTimeouts,
        keep_alive_seconds: float,
        metrics: ServingMetrics,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._server_state = server_state
        self._timeouts = timeouts
        self._keep_alive_seconds = keep_alive_seconds
        self._metrics = metrics
        self._loop = loop
        self._deadline = Deadline(loop, self._expired)
        self._parser = RequestParser(MAX_BYTES)
        self._is_new = True
        self._is_last = False

    @property
    @abstractmethod
    def _works(self) -> bool:
        """Whether a response is in progress."""

    @abstractmethod
    def _release(self) -> bool:
        """Stop to hold an incomplete body; False if none is held."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # of a TCP connection
        """Wait for the first request."""
        self.transport = transport
        self._server_state.connections.add(self)
        self._reader = ReaderWatch(self._loop, self._timeouts, transport.get_write_buffer_size, self._reads_too_slowly)
        self._deadline.set(self._timeouts.head_seconds)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """Stop all timers."""
        self._server_state.connections.discard(self)
        self._deadline.clear()
        self._reader.stop()

    def pause_writing(self) -> None:
        """The client reads more slowly than the application sends."""
        self._reader.start()

    def resume_writing(self) -> None:
        """The client has caught up."""
        self._reader.stop()

    def abort(self) -> None:
        """Close the connection without a response."""
        self.transport.abort()

    def shutdown(self) -> None:
        """The service is stopping and accepts no connections: close after the responses in progress."""
        self._is_last = True
        self._deadline.set(LINGER)

    def _settle(self) -> None:
        """All requests are answered: wait for the next one, or for the rest of one."""
        part = self._parser.part
        if self.transport.is_closing():
            return
        if self._is_last:
            self.transport.close()
        elif part == NOTHING:
            self._parser.forget()
            self._wait(self._keep_alive_seconds)
        else:
            self._wait(self._timeouts.head_seconds if part == HEAD else self._timeouts.body_seconds)

    def _wait(self, seconds: float) -> None:
        self._deadline.set(min(seconds, LINGER) if self._is_last else seconds)

    def _expired(self) -> None:
        """What was waited for has not been received in time."""
        if self._works or self.transport.is_closing() or self._release():
            return
        if self._parser.part == HEAD and not self._is_last:
            message = "the head of the request was not received in time; send it in one piece"
            self._refuse(SLOW_HEAD, IncompleteRequestError(408, message))
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

    def _reads_too_slowly(self) -> None:
        self._metrics.cut(SLOW_READER)
        self.transport.abort()
