"""Decodes JSON as Python's encoder writes it, with NaN and Infinity, which are checked later."""

import json
from typing import Any

import msgspec

from src.serving.tables.problems import malformed

# Python refuses to parse integers of thousands of digits; they become infinite floats.
MAX_DIGITS = 400


def decode(body: bytes, kind: Any = Any, form: str = "") -> Any:
    """Decode a document, or raise InvalidRecordError; ``form`` is the message for one that is not of this type.

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
