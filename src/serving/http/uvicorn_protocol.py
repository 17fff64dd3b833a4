"""uvicorn's own HTTP protocol, behind another one."""

import asyncio
import functools
from typing import Any

import uvicorn
from starlette.types import Receive, Scope, Send


class UvicornProtocol:
    """uvicorn's protocol for a connection that the server knows by another one; created with the first bytes for it.

    Args:
        config: of the server, and so on: the arguments of uvicorn's protocol.

    Attributes:
        is_paused: whether the client reads more slowly than the application sends.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        server_state: Any,
        app_state: dict[str, Any],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._create = functools.partial(
            _protocol_class(), config=config, server_state=server_state, app_state=app_state, _loop=loop
        )
        self._server_state = server_state
        self._protocol: asyncio.Protocol | None = None
        self.is_paused = False

    def feed(self, transport: asyncio.Transport, data: bytes) -> None:
        """Pass received bytes."""
        if self._protocol is None:
            self._protocol = protocol = self._create()
            protocol.connection_made(_OpenTransport(transport))
            self._server_state.connections.discard(protocol)
            if self.is_paused:
                protocol.pause_writing()
        self._protocol.data_received(data)

    def stop_idle_timer(self) -> None:
        """The connection is in use."""
        if self._protocol is not None:
            self._protocol.data_received(b"")

    def lose(self, error: Exception | None) -> None:
        """The connection is lost."""
        if self._protocol is not None:
            self._protocol.connection_lost(error)
            self._protocol = None

    def pause_writing(self) -> None:
        """The client reads more slowly than the application sends."""
        self.is_paused = True
        if self._protocol is not None:
            self._protocol.pause_writing()

    def resume_writing(self) -> None:
        """The client has caught up."""
        self.is_paused = False
        if self._protocol is not None:
            self._protocol.resume_writing()


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


@functools.cache
def _protocol_class() -> Any:
    config = uvicorn.Config(_no_app, http="httptools", ws="none", lifespan="off", log_config=None)
    config.load()
    return config.http_protocol_class


async def _no_app(_: Scope, __: Receive, ___: Send) -> None:
    """An application for a configuration that serves none."""
