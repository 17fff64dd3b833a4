"""A minimal keep-alive HTTP/1.1 connection: full HTTP clients take more time than a fast server."""

import asyncio
from typing import Protocol, cast

import httptools

from benchmarks.load.figures import Job


class Owner(Protocol):
    """The owner of connections."""

    def ready(self, connection: "Connection") -> None:
        """The connection is ready for a request."""

    def answered(self, connection: "Connection", status: int) -> None:
        """The response to its request is complete."""

    def lost(self, connection: "Connection") -> None:
        """The connection was lost, not closed by ``close``."""

    def ended(self, connection: "Connection") -> None:
        """The connection was closed as announced by the server's last response."""


class Connection(asyncio.Protocol):
    """Sends prepared requests one after the other and notifies its owner of each response."""

    def __init__(self, owner: Owner) -> None:
        self.since = 0.0
        self._owner = owner
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self._closing = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the event loop."""
        self._transport = cast(asyncio.Transport, transport)
        self._owner.ready(self)

    def send(self, request: bytes) -> None:
        """Send one request; call it only when the previous response is complete."""
        # A closing transport drops the request; ``connection_lost`` follows.
        if self._transport is not None:
            self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        """Called by the event loop."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            if self._transport is not None:
                self._transport.abort()

    def on_message_complete(self) -> None:
        """Called by the parser at the end of a response."""
        if self._closing:
            return
        self._owner.answered(self, self._parser.get_status_code())
        if self._parser.should_keep_alive():
            self._owner.ready(self)
        else:
            self.close()
            self._owner.ended(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """Called by the event loop."""
        if not self._closing:
            self._owner.lost(self)

    def close(self) -> None:
        """Close the connection without further notifications."""
        self._closing = True
        if self._transport is not None:
            self._transport.close()


def request_bytes(job: Job, body: bytes) -> bytes:
    """A complete request of a job."""
    more = "".join(f"{name}: {value}\r\n" for name, value in job.headers.items())
    head = (
        f"{job.method} {job.path} HTTP/1.1\r\nhost: 127.0.0.1:{job.port}\r\ncontent-type: {job.content_type}\r\n"
        f"{more}content-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body
