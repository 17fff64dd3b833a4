"""The states of a connection: real uvicorn behind the front, a transport and a clock that the test controls."""

import asyncio
from collections import Counter
from types import SimpleNamespace
from typing import Any

import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from src.serving.http.fast_predict import PendingPrediction, PlainHead
from src.serving.http.front_protocol import FrontProtocol, Overload
from src.serving.http.guards import announced_length
from src.serving.protocols.single_rows import RECORD
from src.serving.watch.metrics import UNMATCHED
from tests.support.fake_clock import FakeClock
from tests.support.served import request

HEAD_SECONDS, BODY_SECONDS, KEEP_ALIVE = 10, 20, 75
MAX_REQUESTS = 100
PLAIN = request(b"{}")
HEAD, HALF = PLAIN[:-2], PLAIN[:30]
OTHER = b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n"
CHUNKED = request(b"", content_length="", transfer_encoding="chunked")


class Transport(asyncio.Transport):
    """Notes what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = b""
        self.unsent = 0
        self.is_read = True
        self.ending = ""

    def write(self, data: Any) -> None:
        assert not self.ending, "written to a closed connection"
        self.sent += data

    def close(self) -> None:
        self.ending = self.ending or "closed"

    def abort(self) -> None:
        self.ending = "aborted"

    def is_closing(self) -> bool:
        return bool(self.ending)

    def pause_reading(self) -> None:
        self.is_read = False

    def resume_reading(self) -> None:
        self.is_read = True

    def get_write_buffer_size(self) -> int:
        return self.unsent


class Fast:
    """In place of ``FastPredict``: takes all that it accepts, and answers when it is asked to."""

    def __init__(self) -> None:
        self.has_room = True
        self.taken: list[PendingPrediction] = []
        self.bodies: list[bytes] = []

    def plain_head(self, target: bytes, headers: list[tuple[bytes, bytes]]) -> PlainHead | None:
        if target != b"/predict" or (b"x-accept", b"no") in headers:
            return None
        length = announced_length({"headers": headers})
        return PlainHead(RECORD, length, None) if length < 1000 else None

    def take(self, connection: FrontProtocol, _: PlainHead, body: bytes) -> PendingPrediction | None:
        if not self.has_room:
            return None
        predictor: Any = SimpleNamespace(head_lines=b"x-model-name: iris\r\n")
        self.taken.append(PendingPrediction(connection, predictor, (), None, "id", 0.0, RECORD))
        self.bodies.append(body)
        return self.taken[-1]


class World:
    """A connection and both of its ends."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.transport = Transport()
        self.fast = Fast()
        self.cut = Counter[str]()
        self.refused: list[Any] = []
        self.state = ServerState()
        self.state.default_headers = [(b"date", b"today")]
        self.scopes: list[Scope] = []
        self.bodies: list[bytes] = []
        self.disconnects = 0
        self.reads_body = True
        self.go_on = asyncio.Event()
        self.go_on.set()
        config = uvicorn.Config(self.app, interface="asgi3", timeout_keep_alive=KEEP_ALIVE, log_config=None)
        config.load()
        settings = SimpleNamespace(head_seconds=HEAD_SECONDS, body_seconds=BODY_SECONDS, body_rate=100)
        metrics: Any = SimpleNamespace(
            cut=lambda reason: self.cut.update([reason]),
            shed=self.refused.append,
            count_request=lambda *labels: self.refused.append(labels),
        )
        overload = Overload(metrics, lambda _: UNMATCHED, max_requests=MAX_REQUESTS, exempt={"/live"})
        service = SimpleNamespace(fast=self.fast, settings=settings, metrics=metrics, overload=overload)
        self.front = FrontProtocol(config, self.state, {"service": service}, self.clock)
        self.front.connection_made(self.transport)

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Reads the body, sends the start of a response, waits, and sends its end."""
        self.scopes.append(scope)
        body = b""
        has_more = self.reads_body
        while has_more:
            message = await receive()
            if message["type"] == "http.disconnect":
                self.disconnects += 1
                return
            body += message["body"]
            has_more = message["more_body"]
        self.bodies.append(body)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"first", "more_body": True})
        await self.go_on.wait()
        await send({"type": "http.response.body", "body": b"last"})
        scope["state"]["connection"].answered()

    async def send(self, *pieces: bytes) -> bytes:
        """Send bytes; return what is written until nothing more happens."""
        self.transport.sent = b""
        for piece in pieces:
            self.front.data_received(piece)
        return await self.settle()

    async def settle(self) -> bytes:
        for _ in range(10):
            await asyncio.sleep(0)
        return self.transport.sent

    async def finish(self) -> bytes:
        """Let the application end its responses."""
        self.transport.sent = b""
        self.go_on.set()
        return await self.settle()

    def answer(self) -> bytes:
        """Let ``FastPredict`` answer what it has taken last."""
        self.transport.sent = b""
        assert self.front.answer(self.fast.taken[-1], b"{1}")
        return self.transport.sent

    def is_open_until(self, moment: float) -> bool:
        """Whether the connection ends at this moment, and not before."""
        self.clock.go_to(moment - 0.01)
        was_open = not self.transport.ending
        self.clock.go_to(moment)
        return was_open and bool(self.transport.ending)
