"""JSON as Python's own encoder writes it: with NaN and Infinity, which a checker can then judge."""

import json
from typing import Any

import msgspec

from src.services.inference.formats.problems import malformed

MAX_DIGITS = 400


def decode(body: bytes) -> Any:
    """The decoded document.

    Strict JSON is decoded in one call into C. Anything else is looked at a second time with Python's decoder, as NaN
    is how clients in Python send a missing number, and 1e999 is a number that the checks shall name.

    Raises:
        InvalidRecordError: it is no JSON, or nested deeper than any request that makes sense.
    """
    try:
        return msgspec.json.decode(body)
    except (ValueError, RecursionError):
        pass
    try:
        text = body.decode()
        found = json.loads(text, parse_int=_whole)
        if "\\u" in text:  # an escape may stand for half a character, which is no text
            json.dumps(found, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        raise malformed("the body is not valid JSON") from None
    return found


def _whole(digits: str) -> float:
    """Python refuses to read integers of thousands of digits; as a number, such a one is infinite."""
    return int(digits) if len(digits) <= MAX_DIGITS else float(digits)
