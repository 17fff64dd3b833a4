"""Follows the requests of a connection: which part of one is being received, and what it is."""

import re

import httptools

# The part of a request that is being received.
NOTHING, HEAD, BODY = range(3)
# Unanswered requests of a connection: each costs uvicorn some 2.5 kB.
MAX_AHEAD = 1000
# The rest of a longer body is not kept: longer records are rare, and to try one on the fast path must cost little.
MAX_KEPT_BYTES = 1 << 14
UPGRADE_LINE = re.compile(rb"(?i)(?<=\n)upgrade:[^\n]*\n")


class RequestParser:
    """Parses with the same parser as uvicorn."""

    def __init__(self) -> None:
        # Begun requests, complete heads, and complete responses, which the caller counts, since the last ``forget``.
        self.begun = self.heads = self.answered = 0
        # Of the last request; names of headers are in lower case.
        self.method = self.url = self.body = b""
        self.headers: list[tuple[bytes, bytes]] = []
        self.keeps_alive = False  # whether it is of HTTP/1.1 and on a connection that continues
        self._start()

    def _start(self) -> None:
        self._parser = httptools.HttpRequestParser(self)
        self._parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self.part = NOTHING
        self.silence = 0  # bytes received since the end of a head or the last bytes of a body

    def feed(self, data: bytes) -> None:
        """Parse received bytes.

        Raises HttpParserUpgrade, with the position of a head's end, if the head wishes for another protocol; call
        ``without_upgrade`` then. Raises HttpParserError if the bytes are not HTTP, or more than ``MAX_AHEAD`` requests
        are unanswered.
        """
        self.silence += len(data)
        self._parser.feed_data(data)

    def forget(self) -> None:
        """All requests are answered: count anew."""
        self.begun = self.heads = self.answered = 0

    def skip(self) -> None:
        """A request with the head of the last one was received, and is not parsed."""
        self.begun = self.heads = 1

    def without_upgrade(self, received: bytes, end: int) -> tuple[bytes, bytes]:
        """Start again in front of the last head, which ends at ``end``.

        Returns what is ahead of that head, and the rest without its wish for another protocol, which is to be parsed,
        or nothing for a CONNECT. Both are empty if the head does not begin in the received bytes.
        """
        self._start()
        self.begun -= 1
        self.heads -= 1
        line, start = b"%b %b HTTP/" % (self.method, self.url), end
        for _ in range(1 + sum(value.count(line) for _, value in self.headers)):  # a header may have the same text
            start = received.rfind(line, 0, max(start, 0))
        if start < 0:
            return b"", b""
        head, count = UPGRADE_LINE.subn(b"", received[start:end])
        return received[:start], head + received[end:] if count else b""

    @property
    def is_far_ahead(self) -> bool:
        """Whether more than ``MAX_AHEAD`` requests are unanswered."""
        return self.begun - self.answered > MAX_AHEAD

    def on_message_begin(self) -> None:
        """A request begins."""
        self.part = HEAD
        self.begun += 1
        if self.is_far_ahead:
            raise ValueError
        self.url = self.body = b""
        self.headers = []

    def on_url(self, url: bytes) -> None:
        """A piece of the target has arrived."""
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header has arrived, or a trailer, which is ignored."""
        if self.part == HEAD:
            self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """The head is complete."""
        self.part = BODY
        self.heads += 1
        self.silence = 0
        parser = self._parser
        self.method = parser.get_method()
        self.keeps_alive = parser.get_http_version() == "1.1" and parser.should_keep_alive()

    def on_body(self, body: bytes) -> None:
        """A piece of the body has arrived."""
        self.silence = 0
        if len(self.body) <= MAX_KEPT_BYTES:
            self.body += body

    def on_message_complete(self) -> None:
        """The request is complete."""
        self.part = NOTHING
        self.silence = 0
