"""Scans a large JSON body without decoding it, and cuts its arrays into small ones that are decoded one by one."""

import codecs
import json
import re
from collections.abc import Callable, Iterator

import msgspec

from src.serving.tables.parts import MAX_PIECE_BYTES, MAX_VALUE_BYTES, PART_BYTES
from src.serving.tables.problems import InvalidRecordError

SPACE = re.compile(r"[ \t\n\r]*")
# Between two records, unless it is part of a string.
BETWEEN_RECORDS = re.compile(rb"\}[ \t\n\r]*,")
AFTER_VALUE = re.compile(rb"[,\]]")
# Decodes one value and returns its end; numbers of any length are left as texts.
ELEMENT = json.JSONDecoder(parse_int=str, parse_float=str)
COMMA = ord(",")
UTF8 = codecs.getincrementaldecoder("utf-8")
JSON = msgspec.json.Decoder(msgspec.Raw)

Guess = Callable[[bytes | bytearray, int], int]


class JsonPieces:
    """A position in a body.

    Args:
        body: the body.
        refusal: creates the error to raise where the body is not JSON of the expected form.
    """

    def __init__(self, body: bytes | bytearray, refusal: Callable[[], InvalidRecordError]) -> None:
        self._body = body
        self._refusal = refusal
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
            raise self._refusal()
        return found

    def elements(self, guess: Guess) -> Iterator[bytes]:
        """The array whose first element starts here, in arrays of whole elements; then the position is behind it.

        Args:
            guess: finds the comma or bracket that ends a piece from its start, or a negative number. It need not
                know strings: a cut in the wrong place is no JSON.
        """
        start, ended, is_first = self._position, False, True
        while not ended:
            end = guess(self._body, start)
            piece = b"[" + self._body[start:end] + b"]"
            if end < 0 or not _is_json(piece):
                end = self._end(start)
                piece = b"[" + self._body[start:end] + b"]"
                if not _is_json(piece):
                    raise self._refusal()
            if not is_first and not piece[1:-1].strip():  # a comma before the bracket
                raise self._refusal()
            ended, is_first = self._body[end] != COMMA, False
            self._position = start = end + 1
            yield piece

    def _end(self, start: int) -> int:
        """The same, found element by element, which takes ten times as long."""
        place = 0
        try:
            text = UTF8().decode(self._body[start : start + PART_BYTES + MAX_PIECE_BYTES])
            while True:
                _, place = ELEMENT.raw_decode(text, _skipped(text, place))
                place = _skipped(text, place)
                if text[place] == "]" or (text[place] == "," and place >= PART_BYTES):
                    return start + len(text[:place].encode())
                if text[place] != ",":
                    raise self._refusal()
                place += 1
        except (ValueError, IndexError, RecursionError):
            raise self._refusal() from None


def record_end(body: bytes | bytearray, start: int) -> int:
    """Guess the end of a piece of an array of objects that is the whole body."""
    least = start + PART_BYTES
    if found := BETWEEN_RECORDS.search(body, least, least + MAX_PIECE_BYTES):
        return found.end() - 1
    return body.rfind(b"]", start) if len(body) <= least + MAX_PIECE_BYTES else -1


def value_end(body: bytes | bytearray, start: int) -> int:
    """Guess the end of a piece of an array of plain values."""
    least = start + PART_BYTES
    if (end := body.find(b"]", start, least)) >= 0:
        return end
    found = AFTER_VALUE.search(body, least, least + MAX_PIECE_BYTES)
    return found.start() if found else -1


def _skipped(text: str, place: int) -> int:
    found = SPACE.match(text, place)
    return found.end() if found else place


def _is_json(piece: bytes) -> bool:
    try:
        JSON.decode(piece)
    except (ValueError, RecursionError):
        return False
    return True
