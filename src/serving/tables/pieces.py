"""Decodes JSON, and cuts a large body into pieces that are decoded one by one: lines, or the elements of arrays."""

import contextlib
import json
import math
import re
from collections.abc import Iterator
from typing import Any

import msgspec

from src.serving.tables.parts import MAX_PIECE_BYTES, MAX_VALUE_BYTES, PART_BYTES
from src.serving.tables.problems import malformed

# A string, even without its end so that a search takes linear time, or a sign of structure.
TOKEN = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|[][{},]', re.DOTALL)
# How a token changes the depth.
DEPTH = {b"[": 1, b"{": 1, b"]": -1, b"}": -1}
# Python refuses to parse integers of thousands of digits; they become infinite floats.
MAX_DIGITS = 400


class NotJsonError(ValueError):
    """The body is not JSON of the expected form."""


def lines_of(body: bytearray, start: int = 0) -> Iterator[bytearray]:
    """Pieces of about ``PART_BYTES``, from ``start`` on, that end with a line of at most ``MAX_PIECE_BYTES``."""
    while start < len(body):
        least = start + PART_BYTES
        end = body.find(b"\n", least, least + MAX_PIECE_BYTES) + 1 or len(body)
        if end > least + MAX_PIECE_BYTES:
            raise malformed(f"a line is longer than {MAX_PIECE_BYTES} bytes")
        yield body[start:end]
        start = end


class JsonPieces:
    """A position in a body. Its methods raise ``NotJsonError``."""

    def __init__(self, body: bytes | bytearray) -> None:
        self._body = body
        self._position = 0

    def sees(self, pattern: re.Pattern[bytes]) -> re.Match[bytes] | None:
        """The match of a pattern at this position, which then is behind it; None without one."""
        found = pattern.match(self._body, self._position, self._position + MAX_VALUE_BYTES)
        self._position = found.end() if found else self._position
        return found

    def take(self, pattern: re.Pattern[bytes]) -> re.Match[bytes]:
        """The match of a pattern that must be at this position."""
        found = self.sees(pattern)
        if not found:
            raise NotJsonError
        return found

    def elements(self, cut: re.Pattern[bytes]) -> Iterator[bytes]:
        """The array whose first element starts here, in arrays of whole elements; then the position is behind it.

        ``cut`` matches up to a comma between elements. It need not know strings: a cut in the wrong place is no JSON.
        """
        first = start = self._position
        ended = False
        while not ended:
            for end in self._ends(cut, start):
                piece = b"[" + self._body[start:end] + b"]"
                with contextlib.suppress(NotJsonError):
                    decoded(piece)
                    break
            else:
                raise NotJsonError
            if start > first and not piece[1:-1].strip():  # a comma before the bracket
                raise NotJsonError
            ended = self._body[end : end + 1] == b"]"
            self._position = start = end + 1
            yield piece

    def _ends(self, cut: re.Pattern[bytes], start: int) -> Iterator[int]:
        """Where a piece may end, at a comma or a bracket: guesses, then the end that a much slower search finds."""
        least = start + PART_BYTES
        if (end := self._body.find(b"]", start, least)) >= 0:
            yield end
        if found := cut.search(self._body, least, least + MAX_PIECE_BYTES):
            yield found.end() - 1
        elif len(self._body) <= least + MAX_PIECE_BYTES and (end := self._body.rfind(b"]", start)) >= 0:
            yield end
        depth = 0
        for token in TOKEN.finditer(self._body, start, least + MAX_PIECE_BYTES):
            depth += DEPTH.get(token[0], 0)
            if (depth < 0 and token[0] == b"]") or (not depth and token[0] == b"," and token.start() >= least):
                yield token.start()
                return


def decoded(content: bytes, kind: Any = msgspec.Raw) -> Any:
    """Decode JSON of this type, or raise ``NotJsonError``."""
    try:
        return msgspec.json.decode(content, type=kind)
    except (ValueError, RecursionError):
        raise NotJsonError from None


def value_of(raw: msgspec.Raw | None) -> object:
    """A value, infinite for a number that no type holds; for invalid JSON one that no column accepts."""
    if raw is None:
        return None
    try:
        return msgspec.json.decode(raw)
    except (ValueError, RecursionError):
        return math.inf if bytes(raw)[:1] in b"-0123456789" else ()


def decode_with_nan(body: bytes, kind: Any = Any, form: str = "") -> Any:
    """Decode JSON that may have NaN and Infinity, or raise InvalidRecordError; ``form`` is the message for other types.

    Strict JSON is decoded in one call into C. Other bodies are decoded again with Python's decoder, because Python
    clients send a missing number as NaN, and 1e999 is a number that the checks must report.
    """
    try:
        return msgspec.json.decode(body, type=kind)
    except (ValueError, RecursionError):
        pass
    try:
        text = body.decode()
        found = json.loads(text, parse_int=lambda digits: int(digits) if len(digits) <= MAX_DIGITS else float(digits))
        if "\\u" in text:  # an escape may be half of a surrogate pair, which is not text
            json.dumps(found, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        raise malformed("the body is not valid JSON") from None
    try:
        return msgspec.convert(found, kind)
    except ValueError:
        raise malformed(form) from None
