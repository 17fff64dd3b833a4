"""uvicorn's HTTP protocol, answering who asks for another protocol (``Upgrade``) as if they had not asked.

A server may ignore the wish, and some clients attach it to every first request: Java's, for HTTP/2. httptools, however,
takes all that follows such a head for the other protocol's, so that a body would be lost.
"""

import sys

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

# They speak of the wish alone. What else Connection says (close, keep-alive) stays.
WISHES = frozenset({b"upgrade", b"http2-settings"})


class NoUpgradeProtocol(HttpToolsProtocol):
    """One connection. Who wishes for nothing costs one question to the parser.

    Attributes:
        skips_request: the parser is telling of a request that will come again, without its wish.
    """

    skips_request = False
    # Where the head with the wish ended in what was received.
    _head_end: int | None = None

    def data_received(self, data: bytes) -> None:
        """Take in what has come."""
        super().data_received(data)
        if self._head_end is not None:
            self._receive_again(memoryview(data))

    def on_headers_complete(self) -> None:
        """A request's head is in."""
        # CONNECT is no wish: what follows it has no other meaning.
        if self.parser.should_upgrade() and self.parser.get_method() != b"CONNECT" and not self._should_upgrade():
            self.skips_request = True
        else:
            super().on_headers_complete()

    def on_message_complete(self) -> None:
        """A request's body is in, or it has none."""
        if not self.skips_request:
            super().on_message_complete()

    def _unsupported_upgrade_warning(self) -> None:
        """Called by uvicorn while it handles the parser's exception, which alone knows where the head ended."""
        error = sys.exc_info()[1]
        if self.skips_request and isinstance(error, httptools.HttpParserUpgrade):
            self._head_end = error.args[0]

    def _receive_again(self, rest: memoryview) -> None:
        """Have a new parser, as the old one reads no further, take the head without the wish, and what followed it."""
        while self._head_end is not None:
            rest, self._head_end = rest[self._head_end :], None
            head = self._head_without_wish()
            self.skips_request = False
            self.parser = httptools.HttpRequestParser(self)
            self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn's own
            super().data_received(head)
            if rest and not self.transport.is_closing():
                super().data_received(rest)  # type: ignore[arg-type] # the parser takes any buffer

    def _head_without_wish(self) -> bytes:
        version = self.parser.get_http_version().encode()
        lines = [b"%b %b HTTP/%b" % (self.parser.get_method(), self.url, version)]
        lines += [b"%b: %b" % (name, _without_wish(name, value)) for name, value in self.headers if name not in WISHES]
        return b"\r\n".join((*lines, b"", b""))


def _without_wish(name: bytes, value: bytes) -> bytes:
    if name != b"connection":
        return value
    return b", ".join(token for part in value.split(b",") if (token := part.strip()).lower() not in WISHES)
