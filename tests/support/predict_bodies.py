"""Raw bodies for ``POST /predict`` with what they are answered; the good record is Iris."""

import json

from tests.support.models import SETOSA

LIMIT = 1_000_000
# In every bad body; an answer that repeats it repeats the input.
MARKER = "zq7marker"
OPENING = b'{"sepal_length": 5.1, "sepal_width": 3.5, "petal_length": 1.4, "petal_width": '


def body(value: str, *, tail: str = "}") -> bytes:
    """A good record but for the last column's value."""
    return OPENING + value.encode() + tail.encode()


def padded(size: int) -> bytes:
    """A good record of exactly so many bytes."""
    good = body("0.2")
    return good + b" " * (size - len(good))


# name -> (body, status, type of the first problem)
BODIES: dict[str, tuple[bytes, int, str | None]] = {
    "good": (body("0.2"), 200, None),
    "integer": (body("2"), 200, None),
    "zero": (body("0"), 200, None),
    "negative zero": (body("-0.0"), 200, None),
    "negative": (body("-3.5e0"), 200, None),
    "subnormal": (body("1e-320"), 200, None),
    "underflow": (body("1e-999"), 200, None),
    "largest float32": (body("3.4028234e38"), 200, None),
    "integer of 20 digits": (body("18446744073709551616"), 200, None),
    "white space": (b" \r\n\t" + body(" 0.2 ") + b"\n", 200, None),
    "other order": (json.dumps(dict(reversed(SETOSA.items()))).encode(), 200, None),
    "escaped name": (body("0.2").replace(b"petal_width", b"petal\\u005fwidth"), 200, None),
    "duplicate key, last wins": (body("0.1", tail=', "petal_width": 0.2}'), 200, None),
    "exactly the limit": (padded(LIMIT), 200, None),
    "one byte over": (padded(LIMIT + 1), 413, None),
    "NaN": (body("NaN"), 422, "malformed"),
    "Infinity": (body("Infinity"), 422, "malformed"),
    "-Infinity": (body("-Infinity"), 422, "malformed"),
    "nan": (body("nan"), 422, "malformed"),
    "1e999": (body("1e999"), 422, "not_finite"),
    "-1e999": (body("-1e999"), 422, "not_finite"),
    "1e400…0": (body("1e" + "4" * 40), 422, "not_finite"),
    "1e300 overflows float32": (body("1e300"), 422, "not_finite"),
    "just over float32": (body("3.5e38"), 422, "not_finite"),
    "integer of 400 digits": (body("9" * 400), 422, "not_finite"),
    "integer of 10,000 digits": (body("9" * 10_000), 422, "not_finite"),
    "true": (body("true"), 422, "not_a_number"),
    "false": (body("false"), 422, "not_a_number"),
    "null": (body("null"), 422, "missing"),
    "numeric string": (body('"1.0"'), 422, "not_a_number"),
    "string": (body(f'"{MARKER}"'), 422, "not_a_number"),
    "empty string": (body('""'), 422, "not_a_number"),
    "list": (body("[0.2]"), 422, "not_a_number"),
    "object": (body(f'{{"{MARKER}": 1}}'), 422, "not_a_number"),
    "invalid UTF-8 in a value": (OPENING + b'"\xff\xfe"}', 422, "not_a_number"),
    "NaN as string": (body('"NaN"'), 422, "not_a_number"),
    "missing": (b'{"sepal_length": 5.1, "sepal_width": 3.5, "petal_length": 1.4}', 422, "missing"),
    "no field": (b"{}", 422, "missing"),
    "other case": (body("0.2").replace(b"petal_width", b"PETAL_WIDTH"), 422, "missing"),
    "only an unknown field": (json.dumps({MARKER: 1}).encode(), 422, "missing"),
    "extra field": (body("0.2", tail=f', "{MARKER}": 1}}'), 422, "unknown_field"),
    "extra field, deep": (
        body("0.2", tail=', "x": ' + "[" * 500 + f'"{MARKER}"' + "]" * 500 + "}"),
        422,
        "unknown_field",
    ),
    "empty name": (body("0.2", tail=', "": 1}'), 422, "unknown_field"),
    "null byte in a name": (body("0.2", tail=', "a\\u0000": 1}'), 422, "unknown_field"),
    "__proto__": (body("0.2", tail=', "__proto__": 1}'), 422, "unknown_field"),
    "duplicate key, first wrong": (body(f'"{MARKER}"', tail=', "petal_width": 0.2}'), 422, "malformed"),
    "empty": (b"", 422, "malformed"),
    "white space only": (b"  \n", 422, "malformed"),
    "truncated": (OPENING, 422, "malformed"),
    "truncated string": (OPENING + b'"' + MARKER.encode(), 422, "malformed"),
    "text": (MARKER.encode(), 422, "malformed"),
    "list of records": (b" [" + body("0.2") + b"," + body("2.5") + b"]", 200, None),
    "empty list": (b"[]", 422, "malformed"),
    "list of numbers": (b"[1, 2]", 422, "malformed"),
    "list in a list": (b"[[" + body("0.2") + b"]]", 422, "malformed"),
    "list with a bad record": (b"[" + body("0.2") + b"," + body(f'"{MARKER}"') + b"]", 422, "not_a_number"),
    "list that is cut short": (b"[" + body("0.2") + b",", 422, "malformed"),
    "bare number": (b"5.1", 422, "malformed"),
    "bare null": (b"null", 422, "malformed"),
    "bare string": (json.dumps(MARKER).encode(), 422, "malformed"),
    "two records": (body("0.2") + body("0.2"), 422, "malformed"),
    "trailing comma": (body("0.2", tail=",}"), 422, "malformed"),
    "single quotes": (body("0.2").replace(b'"', b"'"), 422, "malformed"),
    "comment": (body("0.2", tail=f"}} // {MARKER}"), 422, "malformed"),
    "leading zero": (body("00.2"), 422, "malformed"),
    "plus sign": (body("+0.2"), 422, "malformed"),
    "no digits after the point": (body("1."), 422, "malformed"),
    "hexadecimal": (body("0x10"), 422, "malformed"),
    "byte order mark": (b"\xef\xbb\xbf" + body("0.2"), 422, "malformed"),
    "UTF-16": (body("0.2").decode().encode("utf-16"), 422, "malformed"),
    "null bytes": (b"\0" * 100, 422, "malformed"),
    "null byte at the end": (body("0.2") + b"\0", 422, "malformed"),
    "invalid UTF-8": (b"\xff\xfe\xfd", 422, "malformed"),
    "invalid UTF-8 in a name": (b'{"\xff": 1}', 422, "malformed"),
    "lone surrogate": (body("0.2", tail=', "\\ud800": 1}'), 422, "malformed"),
    "form": (f"petal_width={MARKER}".encode(), 422, "malformed"),
    "lists 100,000 deep": (b"[" * 100_000, 422, "malformed"),
    "objects 100,000 deep": (b'{"x":' * 100_000, 422, "malformed"),
    "value 100,000 deep": (body("[" * 100_000 + "]" * 100_000), 422, "malformed"),
    "30,000 fields": (json.dumps({f"{MARKER}{i}": 1 for i in range(30_000)}).encode(), 422, "missing"),
}
