"""One TCP connection, byte by byte: for what no HTTP client would send."""

import json
import re
import socket
import time
from typing import Any, NamedTuple


class RawAnswer(NamedTuple):
    """What came back before the server closed, or the first answer on a connection that it keeps."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class RawClient:
    """A connection to a port of this machine."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=20)
        self._buffer = b""

    def __enter__(self) -> "RawClient":
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def send(self, content: bytes) -> None:
        self._socket.sendall(content)

    def drip(self, content: bytes, interval: float, *, seconds: float = 20) -> float:
        """Send byte after byte until the server answers or closes; return the seconds that it took."""
        began = time.monotonic()
        self._socket.settimeout(interval)
        try:
            for byte in content:
                try:
                    self._socket.sendall(bytes([byte]))
                    self._buffer += self._socket.recv(1 << 16)
                    return time.monotonic() - began
                except TimeoutError:
                    assert time.monotonic() - began < seconds, "the server waits and waits"
                except ConnectionError:
                    return time.monotonic() - began
            raise AssertionError("the server has taken it all")
        finally:
            self._socket.settimeout(20)

    def answer(self) -> RawAnswer:
        """The next whole answer."""
        while (found := self._take()) is None:
            data = self._socket.recv(1 << 16)
            assert data, f"closed after {self._buffer!r}"
            self._buffer += data
        return found

    def wait(self, seconds: float) -> None:
        """Wait for anything to come.

        Raises:
            TimeoutError: nothing has.
        """
        self._socket.settimeout(seconds)
        try:
            self._buffer += self._socket.recv(1 << 16)
        finally:
            self._socket.settimeout(20)

    def is_closed(self) -> bool:
        """Wait for what comes next; whether it is the end."""
        if self._buffer:
            return False
        try:
            self._buffer += self._socket.recv(1 << 16)
        except ConnectionError:
            return True
        return not self._buffer

    def _take(self) -> RawAnswer | None:
        head, separator, rest = self._buffer.partition(b"\r\n\r\n")
        if not separator:
            return None
        first, *lines = head.decode("latin-1").split("\r\n")
        match = re.match(r"HTTP/1\.1 (\d{3}) ", first)
        assert match, first
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        length = int(headers.get("content-length", 0))
        if len(rest) < length:
            return None
        self._buffer = rest[length:]
        return RawAnswer(int(match[1]), headers, rest[:length])
