"""Decodes JSON as Python's encoder writes it, with NaN and Infinity, which are checked later."""

import json
from typing import Any

import msgspec

from src.serving.tables.problems import malformed

MAX_DIGITS = 400


def decode(body: bytes) -> Any:
    """Decode a document.

    Strict JSON is decoded in one call into C. Other bodies are decoded again with Python's decoder, because Python
    clients send a missing number as NaN, and 1e999 is a number that the checks must report.

    Raises:
        InvalidRecordError: it is not JSON, or nested too deeply.
    """
    try:
        return msgspec.json.decode(body)
    except (ValueError, RecursionError):
        pass
    try:
        text = body.decode()
        found = json.loads(text, parse_int=_whole)
        if "\\u" in text:  # an escape may be half of a surrogate pair, which is not text
            json.dumps(found, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        raise malformed("the body is not valid JSON") from None
    return found


def _whole(digits: str) -> float:
    """Python refuses to parse integers of thousands of digits; they become infinite floats."""
    return int(digits) if len(digits) <= MAX_DIGITS else float(digits)
