"""uvicorn's HTTP protocol, which ignores requests for another protocol (``Upgrade``).

A server may ignore them, and some clients send them with every first request, such as Java's for HTTP/2. httptools,
however, treats all data after such a head as the other protocol's, so that a body would be lost.
"""

import sys

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

# Headers of the upgrade alone. Other values of Connection (close, keep-alive) are kept.
WISHES = frozenset({b"upgrade", b"http2-settings"})


class NoUpgradeProtocol(HttpToolsProtocol):
    """One connection. A request without an upgrade costs one call of the parser.

    Attributes:
        skips_request: the parser reports a request that will be parsed again, without the upgrade.
    """

    skips_request = False
    # Where the head with the upgrade ended in the received data.
    _head_end: int | None = None

    def data_received(self, data: bytes) -> None:
        """Parse received data."""
        super().data_received(data)
        if self._head_end is not None:
            self._receive_again(memoryview(data))

    def on_headers_complete(self) -> None:
        """A request's head is complete."""
        # CONNECT is not an upgrade; the data after it cannot be parsed otherwise.
        if self.parser.should_upgrade() and self.parser.get_method() != b"CONNECT" and not self._should_upgrade():
            self.skips_request = True
        else:
            super().on_headers_complete()

    def on_message_complete(self) -> None:
        """A request's body is complete, or it has none."""
        if not self.skips_request:
            super().on_message_complete()

    def _unsupported_upgrade_warning(self) -> None:
        """Called by uvicorn while it handles the parser's exception, which has the position of the head's end."""
        error = sys.exc_info()[1]
        if self.skips_request and isinstance(error, httptools.HttpParserUpgrade):
            self._head_end = error.args[0]

    def _receive_again(self, rest: memoryview) -> None:
        """Parse the head without the upgrade, and the data after it, with a new parser, as the old one has stopped."""
        while self._head_end is not None:
            rest, self._head_end = rest[self._head_end :], None
            head = self._head_without_wish()
            self.skips_request = False
            self.parser = httptools.HttpRequestParser(self)
            self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn creates it
            super().data_received(head)
            if rest and not self.transport.is_closing():
                super().data_received(rest)  # type: ignore[arg-type] # the parser accepts any buffer

    def _head_without_wish(self) -> bytes:
        version = self.parser.get_http_version().encode()
        lines = [b"%b %b HTTP/%b" % (self.parser.get_method(), self.url, version)]
        lines += [b"%b: %b" % (name, _without_wish(name, value)) for name, value in self.headers if name not in WISHES]
        return b"\r\n".join((*lines, b"", b""))


def _without_wish(name: bytes, value: bytes) -> bytes:
    if name != b"connection":
        return value
    return b", ".join(token for part in value.split(b",") if (token := part.strip()).lower() not in WISHES)
