"""HTTP load from many keep-alive connections, each of which asks again as soon as it is answered."""

import asyncio
import json
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import NamedTuple, cast

from tests.support.models import SETOSA

HEAD = re.compile(rb"HTTP/1\.1 (\d{3}) .*?\r\n\r\n", re.DOTALL)
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
CLOSE = re.compile(rb"\r\nconnection: *close\r\n", re.IGNORECASE)


def request(
    method: str = "POST", path: str = "/predict", body: bytes | None = None, headers: Mapping[str, str] | None = None
) -> bytes:
    """A whole HTTP request; a prediction if nothing else is said."""
    body = json.dumps(SETOSA).encode() if body is None and method == "POST" else body or b""
    usual = {"Host": "localhost", "Content-Type": "application/json", "Content-Length": str(len(body))}
    fields = {**usual, **(headers or {})}
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items()), "", ""]
    return "\r\n".join(lines).encode() + body


class Answer(NamedTuple):
    """One answered request: when it was answered, how, and how long it took, in seconds."""

    at: float
    status: int
    seconds: float


@dataclass
class Load:
    """What came back.

    Attributes:
        answers: every answer, in order.
        dropped: requests without one on connections that the server had not said it would close.
        refused: connections that were not taken.
    """

    answers: list[Answer] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)
    refused: int = 0
    closed: int = 0
    ended: bool = False

    def statuses(self, since: float = 0) -> Counter[int]:
        return Counter(answer.status for answer in self.answers if answer.at >= since)

    def seconds(self, share: float, status: int = 200) -> float:
        """The latency that this share of the answers with a status stays below."""
        times = sorted(answer.seconds for answer in self.answers if answer.status == status)
        return times[min(int(len(times) * share), len(times) - 1)]


@asynccontextmanager
async def keep_asking(port: int, connections: int, content: bytes | None = None) -> AsyncIterator[Load]:
    """Ask on this many connections within the block; one that the server closes is opened again."""
    load = Load()
    asked = request() if content is None else content
    clients = [asyncio.create_task(_client(port, asked, load)) for _ in range(connections)]
    try:
        yield load
    finally:
        load.ended = True
        await asyncio.gather(*clients)


async def _client(port: int, content: bytes, load: Load) -> None:
    loop = asyncio.get_running_loop()
    while not load.ended:
        ended = loop.create_future()
        try:
            await loop.create_connection(lambda end=ended: _Connection(content, load, end), "127.0.0.1", port)
        except OSError:
            load.refused += 1
            with suppress(TimeoutError):
                await asyncio.wait_for(asyncio.shield(ended), 0.05)
            continue
        await ended


class _Connection(asyncio.Protocol):
    def __init__(self, content: bytes, load: Load, end: asyncio.Future[None]) -> None:
        self._content = content
        self._load = load
        self._end = end
        self._buffer = b""
        self._asked = 0.0
        self._waits = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop has a class of its own
        self._ask()

    def _ask(self) -> None:
        if self._load.ended:
            self._transport.close()
            return
        self._asked = time.monotonic()
        self._waits = True
        self._transport.write(self._content)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head = HEAD.match(self._buffer)
        if head is None:
            return
        length = LENGTH.search(head[0])
        assert length is not None, head[0]
        if len(self._buffer) < head.end() + int(length[1]):
            return
        self._buffer = b""
        self._waits = False
        now = time.monotonic()
        self._load.answers.append(Answer(now, int(head[1]), now - self._asked))
        if CLOSE.search(head[0]):
            self._load.closed += 1
            self._transport.close()
        else:
            self._ask()

    def connection_lost(self, error: Exception | None) -> None:
        if self._waits:
            self._load.dropped[type(error).__name__ if error else "end of file"] += 1
        self._end.set_result(None)
