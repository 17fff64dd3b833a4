"""What the front and the installed uvicorn expect of each other; uvicorn documents none of it."""

import asyncio
import socket
from types import SimpleNamespace
from typing import Any

import uvicorn
import uvloop
from starlette.types import Receive, Scope, Send

from src.serving.http.fast_predict import PendingPrediction, PlainHead
from src.serving.http.front_protocol import FrontProtocol, Overload
from src.serving.protocols.single_rows import RECORD
from tests.support.served import Connection, request

HEALTH = b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n"


class Fast:
    """Answers each plain prediction at once."""

    def plain_head(self, target: bytes, _: list[tuple[bytes, bytes]]) -> PlainHead | None:
        return PlainHead(RECORD, 2, None) if target == b"/predict" else None

    def take(self, connection: FrontProtocol, _: PlainHead, __: bytes) -> PendingPrediction:
        predictor: Any = SimpleNamespace(head_lines=b"x-model-name: iris\r\n")
        pending = PendingPrediction(connection, predictor, (), None, "id", 0.0, RECORD)
        asyncio.get_running_loop().call_soon(connection.answer, pending, b"{}")
        return pending


class App:
    """Answers each request when ``go_on`` is set."""

    def __init__(self) -> None:
        self.go_on = asyncio.Event()
        self.begun = asyncio.Event()
        metrics: Any = None
        self.service = SimpleNamespace(
            fast=Fast(),
            settings=SimpleNamespace(head_seconds=10, body_seconds=10, body_rate=1e6),
            metrics=None,
            overload=Overload(metrics, str, max_requests=100, exempt=()),
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            scope["state"]["service"] = self.service
            for event in ("startup", "shutdown"):
                await receive()
                await send({"type": f"lifespan.{event}.complete"})
            return
        self.begun.set()
        await self.go_on.wait()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})
        scope["state"]["connection"].answered()


async def exchange_and_stop(listener: socket.socket) -> None:
    app = App()
    server = uvicorn.Server(uvicorn.Config(app, http=FrontProtocol, ws="none", log_config=None, access_log=False))
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    async with Connection(*await asyncio.open_connection(*listener.getsockname())) as connection:
        connection.send(request(b"{}"))
        answer = await connection.answer()
        assert (answer.status_code, answer.headers["x-model-name"]) == (200, "iris")
        assert "date" in answer.headers
        connection.send(HEALTH.replace(b"GET", b"HEAD") + HEALTH)
        await app.begun.wait()
        assert [type(item) for item in server.server_state.connections] == [FrontProtocol]
        server.should_exit = True
        asyncio.get_running_loop().call_later(0.5, app.go_on.set)  # the server looks ten times a second
        assert (await connection.head()).headers["content-length"] == "2"
        assert (await connection.answer()).content == b"ok"
        assert await connection.is_closed()
        await asyncio.wait_for(serving, 10)
    assert not server.server_state.connections
    assert not server.server_state.tasks


def test_server_runs_the_front_and_stops_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, asyncio.Runner(loop_factory=uvloop.new_event_loop) as loop:
        loop.run(asyncio.wait_for(exchange_and_stop(listener), 20))
