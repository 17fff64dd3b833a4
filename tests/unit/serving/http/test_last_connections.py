import asyncio
import contextlib
import select
import socket
import sys
from collections.abc import Iterator

import pytest

from src.serving.http.last_connections import take_last_connections

pytestmark = pytest.mark.anyio


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0), backlog=100) as server:
        server.settimeout(0)
        yield server


async def test_all_that_wait_are_accepted_first(listener: socket.socket) -> None:
    accepted = []
    with contextlib.ExitStack() as stack:
        for _ in range(10):
            stack.enter_context(socket.create_connection(listener.getsockname()))
        loop = asyncio.get_running_loop()
        loop.add_reader(listener, lambda: accepted.append(listener.accept()[0]))
        await take_last_connections(listener)
        loop.remove_reader(listener)
        assert len(accepted) == 10
        assert not select.select([listener], [], [], 0)[0]
        for connection in accepted:
            connection.close()


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such filter")
async def test_nobody_connects_any_more(listener: socket.socket) -> None:
    await take_last_connections(listener)
    with pytest.raises(TimeoutError):
        socket.create_connection(listener.getsockname(), timeout=0.2)


async def test_nobody_waits_for_ever(listener: socket.socket) -> None:
    with socket.create_connection(listener.getsockname()):
        await take_last_connections(listener)  # though nobody accepts
