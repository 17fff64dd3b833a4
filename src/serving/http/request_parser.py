"""Follows the requests of a connection: which part of one is being received, and what it is."""

import re

import httptools

# The part of a request that is being received.
NOTHING, HEAD, BODY = range(3)
# Unanswered requests of a connection: each costs uvicorn some 2.5 kB.
MAX_AHEAD = 1000
UPGRADE_LINE = re.compile(rb"(?i)(?<=\n)upgrade:[^\n]*\n")


class RequestParser:
    """Parses with the same parser as uvicorn.

    Args:
        max_body_bytes: what a body has beyond it is not kept.

    Attributes:
        part: the part that is being received.
        begun: requests that have begun, since the last ``forget``.
        heads: complete heads, since the last ``forget``.
        answered: requests whose responses are complete, since then; the caller counts them.
        silence: bytes received since the end of a head or the last bytes of a body.
        method: the method of the last request.
        url: its target.
        headers: its headers, names in lower case.
        body: its body.
        keeps_alive: whether it is of HTTP/1.1 and on a connection that continues.
    """

    def __init__(self, max_body_bytes: int) -> None:
        self._max_body_bytes = max_body_bytes
        self._parser = httptools.HttpRequestParser(self)
        self._parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self.part = NOTHING
        self.begun = 0
        self.heads = 0
        self.answered = 0
        self.silence = 0
        self.method = b""
        self.url = b""
        self.headers: list[tuple[bytes, bytes]] = []
        self.body = b""
        self.keeps_alive = False

    def feed(self, data: bytes) -> None:
        """Parse received bytes.

        Raises:
            HttpParserUpgrade: a head wishes for another protocol; the argument is the position of its end. What
                follows cannot be parsed.
            HttpParserError: the bytes are no HTTP, or more than ``MAX_AHEAD`` requests are unanswered.
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
        """What is ahead of the last head, and the rest without its wish for another protocol.

        Both are empty if the head, which ends at ``end``, does not begin in these bytes.
        """
        start = received.rfind(b"%b %b HTTP/" % (self.method, self.url), 0, end)
        head, count = UPGRADE_LINE.subn(b"", received[max(0, start) : end])
        return (received[:start], head + received[end:]) if start >= 0 and count else (b"", b"")

    def before_last(self) -> "RequestParser":
        """A parser of what follows, which has not counted the last head."""
        parser = RequestParser(self._max_body_bytes)
        parser.begun, parser.heads, parser.answered = self.begun - 1, self.heads - 1, self.answered
        return parser

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
        if len(self.body) <= self._max_body_bytes:
            self.body += body

    def on_message_complete(self) -> None:
        """The request is complete."""
        self.part = NOTHING
        self.silence = 0
