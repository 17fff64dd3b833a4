"""Rows without a schema, for small protocols of fixed fields: records in JSON, JSON lines or CSV, one by one."""

import csv
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import msgspec

from src.core.counting import counted
from src.core.errors import InvalidInputError
from src.serving.tables.csv_rows import READER, SEPARATOR, text_lines
from src.serving.tables.json_rows import BETWEEN_RECORDS, END, FIRST
from src.serving.tables.parts import MAX_PIECE_BYTES, MAX_VALUE_BYTES, Format
from src.serving.tables.pieces import JsonPieces, NotJsonError, decoded, lines_of, value_of
from src.serving.tables.problems import MALFORMED, malformed

NOT_AN_OBJECT = "a row must be one JSON object (NaN and Infinity are not JSON)"

# A row's values by field, or its problem: then the values are unknown, and the next row can be read.
Record = Mapping[str, Any] | InvalidInputError


def raw_records(form: Format, body: bytearray, fields: Collection[str]) -> Iterator[Record]:
    """Read the rows of a body piece by piece. Each piece keeps a thread busy for a few milliseconds at most.

    Args:
        form: JSON (one object or an array of objects), JSON lines or CSV. Empty lines are ignored.
        body: the rows.
        fields: the columns that a CSV file may have; its cells are stripped, and empty ones left out. JSON objects are
            returned as they are. Of a field that is given twice the last value is returned. A number that no type
            holds is infinite.

    Raises:
        InvalidRecordError: the body cannot be read from this row on.
    """
    if form is Format.CSV:
        yield from _csv(body, fields)
        return
    row = 0
    try:
        for text in _lines(body) if form is Format.NDJSON else _elements(body):
            yield _object(text)
            row += 1
    except NotJsonError:
        message = "the body is not valid JSON at this row or a later one; send an object or a list of objects"
        raise malformed(message, row=row) from None


def _lines(body: bytearray) -> Iterator[bytes]:
    for piece in lines_of(body):
        yield from filter(None, map(bytes.strip, bytes(piece).split(b"\n")))


def _elements(body: bytearray) -> Iterator[bytes | msgspec.Raw]:
    """The elements of an array, or the only object."""
    pieces = JsonPieces(body)
    first = FIRST.match(body, 0, MAX_VALUE_BYTES)
    if first is None or (first[1] == b"{" and len(body) > MAX_PIECE_BYTES):
        raise NotJsonError
    if first[1] == b"{":
        yield bytes(body)
        return
    pieces.take(FIRST)
    for piece in pieces.elements(BETWEEN_RECORDS):
        yield from decoded(piece, list[msgspec.Raw])
    pieces.take(END)


def _object(text: bytes | msgspec.Raw) -> Record:
    try:
        found: dict[str, Any] = msgspec.json.decode(text, type=dict[str, Any])
    except (ValueError, RecursionError):
        pass
    else:
        return found
    try:  # value by value, as one number may be too large
        raw = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
    except (ValueError, RecursionError):
        return InvalidInputError(NOT_AN_OBJECT, kind=MALFORMED)
    return {name: value_of(value) for name, value in raw.items()}


def _csv(body: bytearray, fields: Collection[str]) -> Iterator[Record]:
    row = 0
    try:
        lines = filter(None, READER(text_lines(body)))
        header = [name.strip() for name in next(lines, [])]
        if not set(header) <= set(fields) or len(set(header)) != len(header):
            raise malformed(f"the header may name only the columns {', '.join(fields)}, each once{SEPARATOR}")
        for cells in lines:
            if len(cells) == len(header):
                yield {name: cell.strip() for name, cell in zip(header, cells, strict=True) if cell.strip()}
            else:
                message = f"a row must have {counted(len(header), 'cell')}, as the header has"
                yield InvalidInputError(message, kind=MALFORMED)
            row += 1
    except (csv.Error, UnicodeDecodeError):
        raise malformed("the body is not CSV in UTF-8 with commas between the cells from here on", row=row) from None
