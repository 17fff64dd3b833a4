"""uvicorn's own HTTP protocol, behind another one."""

import asyncio
import functools
from typing import Any

import uvicorn
from starlette.types import Receive, Scope, Send


def uvicorn_protocol(
    config: uvicorn.Config,
    server_state: Any,
    app_state: dict[str, Any],
    loop: asyncio.AbstractEventLoop,
    transport: asyncio.Transport,
) -> asyncio.Protocol:
    """A protocol for a connection that the server knows by another one; its arguments are those of uvicorn's."""
    protocol: asyncio.Protocol = _protocol_class()(
        config=config, server_state=server_state, app_state=app_state, _loop=loop
    )
    protocol.connection_made(_OpenTransport(transport))  # type: ignore[arg-type] # has all its methods
    server_state.connections.discard(protocol)
    return protocol


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
