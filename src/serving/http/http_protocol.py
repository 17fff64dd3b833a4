"""uvicorn's HTTP protocol with limits: time-outs of slow clients, a limit of requests, and a graceful stop.

A request that arrives in one piece needs only a few checks and no timer.
"""

import asyncio
from typing import Any

from starlette.responses import Response
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from src.core.errors import LoopError
from src.serving.http.body_limits import announced_length
from src.serving.http.edge_policy import EdgePolicy, wire_format
from src.serving.http.errors import (
    BodyTooLargeError,
    HeadTooLargeError,
    SlowBodyError,
    SlowHeadError,
    StoppingError,
)
from src.serving.http.middleware import CUT
from src.serving.http.no_upgrade import NoUpgradeProtocol
from src.serving.http.slow_clients import BODY, HEAD, NOTHING, ReaderWatch, SenderWatch
from src.serving.http.uploads import Upload
from src.serving.models.admission import OverloadedError
from src.serving.watch.metrics import LARGE_HEAD, SLOW_BODY, SLOW_HEAD, SLOW_READER

MAX_HEAD_BYTES = 1 << 16
# The worst case of a chunked body: one byte per chunk, with five bytes of framing.
FRAMING = 8
# Seconds for which a client that was turned away is not read, so that immediate retries do not slow down others.
BREATHER = 0.1
# While stopping: seconds for a first request that may be in transit, and for the rest of a body.
HEAD_LINGER = 0.3
BODY_LINGER = 1.0


class PatientProtocol(NoUpgradeProtocol):
    """One connection.

    The application gets a request once its body is complete, or has failed: a slow client holds a connection for a
    limited time, and some memory, but no slot.
    """

    def __init__(self, config: Any, server_state: Any, app_state: dict[str, Any], _loop: Any = None) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._edge: EdgePolicy = app_state["service"].edge
        self._phase = HEAD
        self._held: tuple[RequestResponseCycle, Any] | None = None
        self._started: RequestResponseCycle | None = None
        self._upload: Upload | None = None
        self._is_cut = False
        self._sender = SenderWatch(self.loop, self._edge.timeouts, self._sends_too_slowly)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # uvicorn's signature
        """Wait for the first request."""
        super().connection_made(transport)
        self._reader = ReaderWatch(
            self.loop, self._edge.timeouts, waiting=transport.get_write_buffer_size, stuck=self._reads_too_slowly
        )
        self._sender.start(HEAD, 0)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop all timers."""
        if self._started is not None and not self._started.response_complete:
            self._started.disconnected = True  # uvicorn notifies the latest request only, not others in between
        super().connection_lost(exc)
        self._held = None
        self._drop_upload()
        self._sender.stop()
        self._reader.stop()

    def last_answer(self) -> None:
        """The service is about to stop: close the connection after the current request, or after the next one."""
        if self.cycle is not None:
            self.cycle.keep_alive = False

    def shutdown(self) -> None:
        """The service is stopping: accept no new requests, and give incomplete ones a moment."""
        if self._held is not None:
            self.loop.call_later(BODY_LINGER, self._stop_waiting_for_body)
        if self._phase == HEAD:
            self.loop.call_later(HEAD_LINGER, self._stop_waiting_for_head)
        else:
            super().shutdown()

    def data_received(self, data: bytes) -> None:
        """Parse received data; only incomplete requests need more work."""
        if not self._phase:
            self._phase = HEAD
        super().data_received(data)
        if self._phase and not self.transport.is_closing():
            self._wait_for_more(len(data))

    def on_headers_complete(self) -> None:
        """A request's head is complete."""
        super().on_headers_complete()
        if self.skips_request:
            return
        self._phase = BODY
        if self._edge.stopping.begun:
            self.cycle.keep_alive = False

    def on_message_complete(self) -> None:
        """A request's body is complete."""
        super().on_message_complete()
        if self.skips_request:
            return
        self._wait_for_nothing()
        if self._held is not None:
            held, self._held = self._held, None
            self._start_asgi_task(*held)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        if cycle.more_body and not self._is_cut:
            self._held = (cycle, app)
            return
        if len(self.tasks) >= self._edge.max_requests:
            refusal = self._edge.turns_away(cycle.scope)  # type: ignore[arg-type] # uvicorn's type
            if refusal is not None:
                self._turn_away(cycle, refusal)
                return
        if self._upload is not None:
            upload, self._upload = self._upload, None
            app = upload.handed_to(app)
        self._started = cycle
        super()._start_asgi_task(cycle, app)

    def _release(self) -> None:
        """Pass the held request to the application, without its complete body."""
        if self._held is not None:
            held, self._held = self._held, None
            self._started = held[0]
            super()._start_asgi_task(*held)

    def _keep_body(self, cycle: RequestResponseCycle) -> None:
        """Store the received part of the body, and continue reading."""
        piece, cycle.body = cycle.body, bytearray()
        if self._upload is None:
            self._upload = self._edge.bodies.uploads_of(cycle.scope).begin(self._crowded_out)  # type: ignore[arg-type] # as above
        if self._upload.size + len(piece) > self._sender.most:
            self._cut(BodyTooLargeError(self._sender.most))
        elif self._upload.keep(piece):
            self.flow.resume_reading()

    def _crowded_out(self) -> None:
        self._edge.sheds()
        self._cut(OverloadedError())

    def _drop_upload(self) -> None:
        if self._upload is not None:
            upload, self._upload = self._upload, None
            upload.drop()

    def _turn_away(self, cycle: RequestResponseCycle, refusal: Response) -> None:
        self._drop_upload()
        cycle.response_started = cycle.response_complete = True
        # Pipelined requests would all be refused at once.
        self._write(refusal, close=not cycle.keep_alive or bool(self.pipeline))
        self.on_response_complete()
        if not self.transport.is_closing():
            self.flow.pause_reading()
            self.loop.call_later(BREATHER, self.flow.resume_reading)

    def _write(self, response: Response, *, close: bool) -> None:
        self.transport.write(wire_format(response, self.server_state.default_headers, close=close))
        if close:
            self.transport.close()

    def _wait_for_nothing(self) -> None:
        self._phase = NOTHING
        if self._sender.phase:
            self._sender.stop()

    def _wait_for_more(self, size: int) -> None:
        if self._phase != self._sender.phase:
            self._sender.start(self._phase, self._most())
            if self._phase == BODY and self._held is not None:
                self._invite_body(self._held[0])
        self._sender.taken += size
        if self._held is not None and self.flow.read_paused:
            self._keep_body(self._held[0])
        if self._phase == HEAD and self._sender.taken > MAX_HEAD_BYTES:
            self._end_head(LARGE_HEAD, HeadTooLargeError(MAX_HEAD_BYTES))
        elif self._sender.taken > FRAMING * self._sender.most + MAX_HEAD_BYTES:
            self._cut(BodyTooLargeError(self._sender.most))

    def _most(self) -> int:
        """The largest body accepted for this request."""
        return self._edge.bodies.limits.of(self.scope) if self._phase == BODY else 0  # type: ignore[arg-type] # as above

    def _invite_body(self, cycle: RequestResponseCycle) -> None:
        """Send 100 Continue; a request that is too large is passed to the application, which refuses it unread."""
        if announced_length(cycle.scope) > self._sender.most:  # type: ignore[arg-type] # as above
            self._release()
        elif cycle.waiting_for_100_continue:
            cycle.waiting_for_100_continue = False
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _sends_too_slowly(self) -> None:
        if self.flow.read_paused:  # the service itself has paused reading
            self._sender.start(self._sender.phase, self._sender.most)
        elif self._sender.phase == HEAD:
            self._end_head(SLOW_HEAD, SlowHeadError())
        else:
            self._edge.cuts(SLOW_BODY)
            self._cut(SlowBodyError())

    def _end_head(self, reason: str, error: LoopError) -> None:
        self._edge.cuts(reason)
        if self._sender.taken:
            self._write(self._edge.answers_without_request(error), close=True)
        else:
            self.transport.close()

    def _cut(self, error: LoopError) -> None:
        """Let the application answer a request whose body is incomplete."""
        self._sender.stop()
        self._drop_upload()
        if self.cycle.response_complete:  # answered already, but the client still sends
            self.transport.close()
            return
        self._is_cut = True
        self.cycle.keep_alive = False
        self.cycle.scope["state"][CUT] = error
        self._release()
        self.cycle.message_event.set()

    def _stop_waiting_for_head(self) -> None:
        if self._phase == HEAD:
            self.transport.close()

    def _stop_waiting_for_body(self) -> None:
        if self._held is not None:
            self._cut(StoppingError())

    def pause_writing(self) -> None:
        """The client reads more slowly than the application sends."""
        super().pause_writing()
        self._reader.start()

    def resume_writing(self) -> None:
        """The client has caught up."""
        super().resume_writing()
        self._reader.stop()

    def _reads_too_slowly(self) -> None:
        self._edge.cuts(SLOW_READER)
        self.transport.abort()
