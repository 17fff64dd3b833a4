"""Recognizes a request head that was parsed before: most clients repeat theirs, byte for byte."""

from src.serving.http.fast_predict import PlainHead

# A longer head is parsed every time.
MAX_BYTES = 1 << 11


class KnownHead:
    """The last head of a connection's plain predictions.

    Attributes:
        plain: the parsed head.
    """

    plain: PlainHead

    def __init__(self) -> None:
        self._start = b""
        self._size = 0

    def remember(self, request: bytes, body: bytes, plain: PlainHead) -> None:
        """Recognize the head of this complete request from now on, if it announces the body's length.

        The parser ignores line ends behind a body: of a request that ends with one, the body's position is unknown.
        """
        start = request[: -len(body)]
        is_last = not request.endswith((b"\r", b"\n"))
        if body and len(body) == plain.length and len(start) <= MAX_BYTES and is_last:
            self._start, self._size, self.plain = start, len(request), plain

    def body_of(self, data: bytes) -> bytes | None:
        """The body, if the data are a complete request with the same head."""
        if len(data) != self._size or not data.startswith(self._start):
            return None
        return data[len(self._start) :]
